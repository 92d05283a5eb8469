"""Pipelines with text as folders, whose parts diffusers and transformers open one by one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ancestral.condition import UNTOLD, Condition
from ancestral.errors import InputError
from ancestral.hub.unet_condition import UNET_CONDITION
from ancestral.networks.backbone import build, weightless
from ancestral.networks.conditions import Told
from ancestral.pipeline import Pipeline
from ancestral.settings import Config, ImageSpec, SamplingSettings, TrainingSettings, UNetSettings, merged
from ancestral.tokenizer import Tokenizer

TOKENIZER = Tokenizer.learn(["a small red circle", "a large blue square", "a red square"], length=9)
TEXTS = ["a red circle", "", "a large large blue, blue circle and more than fits"]
WIDE = {"widths": [8, 48, 64], "layers": 1, "attention": [1, 2], "norm_groups": 4}
UNET = "unet/diffusion_pytorch_model.safetensors"
HEADS = {**WIDE, "heads": 8, "time_order": "cos-sin", "time_frequency_shift": 0}
STABLE_DIFFUSION: dict[str, Any] = {
    "_class_name": "UNet2DConditionModel",
    "_diffusers_version": "0.6.0",
    "act_fn": "silu",
    "attention_head_dim": 8,
    "block_out_channels": [320, 640, 1280, 1280],
    "center_input_sample": False,
    "cross_attention_dim": 768,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "downsample_padding": 1,
    "flip_sin_to_cos": True,
    "freq_shift": 0,
    "in_channels": 4,
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "norm_eps": 1e-05,
    "norm_num_groups": 32,
    "out_channels": 4,
    "sample_size": 64,
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
}
CLIP: dict[str, Any] = {
    "_name_or_path": "openai/clip-vit-large-patch14",
    "architectures": ["CLIPTextModel"],
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "dropout": 0.0,
    "eos_token_id": 2,
    "hidden_act": "quick_gelu",
    "hidden_size": 768,
    "initializer_factor": 1.0,
    "initializer_range": 0.02,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 77,
    "model_type": "clip_text_model",
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "pad_token_id": 1,
    "projection_dim": 768,
    "torch_dtype": "float32",
    "transformers_version": "4.22.0.dev0",
    "vocab_size": 49408,
}
"""The files of Stable Diffusion 1.5, as they are published."""


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def written(
    folder: Path, classes: int = 0, network: dict[str, Any] | None = None, channels: int = 3, **text: Any
) -> Pipeline:
    """A pipeline of random weights, saved."""
    changes = {"network": network or WIDE, "text": {"name": "learned", "width": 16, "layers": 2, **text}}
    base = Config(training=TrainingSettings(steps=1), sampling=SamplingSettings(steps=2))
    spec = ImageSpec(channels=channels, height=8, width=16, class_names=tuple("abc"[:classes]))
    pipeline = Pipeline.fresh(merged(base, changes, "test"), spec, "cpu", tokenizer=TOKENIZER)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in pipeline.network.parameters():
            parameter.normal_(0, 0.2 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    pipeline.save(folder)
    return pipeline


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize(
    ("network", "pooled", "heads"),
    [
        (WIDE, True, [1, 1, 2]),
        (
            {**WIDE, "attention": [2], "head_width": 16, "time_order": "cos-sin", "time_conditioning": "scale-shift"},
            True,
            [1, 3, 4],
        ),
        (
            {**WIDE, "downsample_padding": "right-bottom", "cross_attention": [2, 1], "attention": [2, 1]},
            True,
            [1, 1, 2],
        ),
        (HEADS, False, [8, 8, 8]),
    ],
    ids=["plain", "scale-shift", "right-bottom", "not pooled"],
)
def test_each_part_is_opened_alone_and_answers_alike(
    tmp_path: Path, classes: int, network: dict[str, Any], pooled: bool, heads: list[int]
) -> None:
    """Trap 39: `attention_head_dim` is the number of heads there, by level."""
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    pipeline = written(tmp_path / "p", classes, network, pooled=pooled)
    config = json.loads((tmp_path / "p/unet/config.json").read_text())
    assert (config["attention_head_dim"], config["addition_embed_type"]) == (heads, "text" if pooled else None)
    unet = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "p/unet").eval()
    encoder, said = transformers.CLIPTextModel.from_pretrained(tmp_path / "p/text_encoder", output_loading_info=True)
    assert not said["missing_keys"] and not said["unexpected_keys"] and not said["mismatched_keys"]
    tokenizer = transformers.CLIPTokenizer.from_pretrained(tmp_path / "p/tokenizer")
    theirs = tokenizer(TEXTS, padding="max_length", truncation=True, return_tensors="pt").input_ids
    tokens = TOKENIZER.encode(TEXTS)
    assert torch.equal(theirs, tokens)
    x, time = torch.randn(3, 3, 8, 16), torch.tensor([0, 500, 999])
    labels = torch.tensor([0, UNTOLD, 2]) if classes else None
    with torch.no_grad():
        states = encoder.eval()(theirs).last_hidden_state
        rows = None if labels is None else labels.masked_fill(labels < 0, classes)
        wanted = unet(x, time, encoder_hidden_states=states, class_labels=rows).sample
        found = pipeline.network.eval()(x, time, Condition(labels, tokens=tokens))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    index = json.loads((tmp_path / "p/model_index.json").read_text())
    assert index["_class_name"] == "AncestralPipeline" and index["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert (index["text_encoder"], index["tokenizer"]) == (
        ["transformers", "CLIPTextModel"],
        ["transformers", "CLIPTokenizer"],
    )


def test_the_pooled_text_is_at_its_first_end(tmp_path: Path) -> None:
    """Trap 31: what fills a row up is the end too. By the numbers in the file, and as of old (eos_token_id 2) by the
    largest of a row."""
    transformers = pytest.importorskip("transformers")
    written(tmp_path / "p")
    tokens = TOKENIZER.encode(["red", *TEXTS[1:]])
    first = [row.index(TOKENIZER.end) for row in tokens.tolist()]
    assert first == [1 + len(TOKENIZER.tokens("red")), 1, TOKENIZER.length - 1] and first[0] < first[2]
    config = tmp_path / "p/text_encoder/config.json"
    for legacy in (False, True):
        if legacy:
            changed(config, eos_token_id=2)
        with torch.no_grad():
            found = transformers.CLIPTextModel.from_pretrained(tmp_path / "p/text_encoder").eval()(tokens)
        torch.testing.assert_close(found.pooler_output, found.last_hidden_state[torch.arange(3), first])


@pytest.mark.parametrize(
    ("network", "text", "name"),
    [
        (WIDE, {}, "UNet2DConditionModel"),
        ({**WIDE, "attention": [2, 1], "cross_attention": [1, 2], "head_width": 8}, {}, "UNet2DConditionModel"),
        (WIDE, {"pooled": False}, "UNet2DConditionModel"),
        (HEADS, {}, "UNet2DConditionModel"),
        ({**WIDE, "attention": [2], "heads": 2}, {}, "UNet2DConditionModel"),
        ({**WIDE, "cross_attention": [2]}, {}, "AncestralUNet"),
        ({**WIDE, "cross_attention": [2]}, {"pooled": False}, "AncestralUNet"),
        (WIDE, {"masked": True}, "AncestralUNet"),
        ({**WIDE, "stem": 4}, {}, "AncestralUNet"),
        ({"name": "dit", "width": 16, "layers": 2, "heads": 2}, {}, "AncestralNetwork"),
    ],
    ids=[
        *("theirs", "in other words", "not pooled", "heads", "usual heads", "one level", "one level, not pooled"),
        *("masked", "stem", "transformer"),
    ],
)
def test_what_is_written_is_read_with_its_tokenizer(
    tmp_path: Path, network: dict[str, Any], text: dict[str, Any], name: str
) -> None:
    before = written(tmp_path / "p", 3, network, **text)
    place = "transformer" if name == "AncestralNetwork" else "unet"
    config = json.loads((tmp_path / "p" / place / "config.json").read_text())
    assert config["_class_name"] == name
    assert ("pooled" in config.get("text", {})) == (name == "AncestralUNet" and "pooled" in text), "said as of old"
    after = Pipeline.load(tmp_path / "p", "cpu")
    assert after.weights_hash() == before.weights_hash()
    assert (after.config.network, after.config.text, after.spec) == (
        before.config.network,
        before.config.text,
        before.spec,
    )
    assert after.tokenizer is not None and after.tokenizer.hash == TOKENIZER.hash
    assert after.spec.text is not None and after.spec.text.vocab_size == len(TOKENIZER) < 1024
    after.save(tmp_path / "again")
    files = [path.relative_to(tmp_path / "p") for path in (tmp_path / "p").rglob("*") if path.is_file()]
    assert {*map(str, files)} >= {"text_encoder/model.safetensors", "tokenizer/vocab.json"}
    assert all((tmp_path / "p" / path).read_bytes() == (tmp_path / "again" / path).read_bytes() for path in files)


def test_levels_that_are_named_in_another_order_are_the_same_network(tmp_path: Path) -> None:
    """Trap: a folder, with text or without, that its own writer then takes for one of two that do not fit."""
    config = merged(Config(), {"network": {**WIDE, "attention": [2, 1, 2]}}, "test")
    before = Pipeline.fresh(config, ImageSpec(channels=1, height=8, width=8), "cpu")
    before.save(tmp_path / "p")
    assert Pipeline.load(tmp_path / "p", "cpu").weights_hash() == before.weights_hash()


def test_the_encoder_lies_in_its_own_folder_alone(tmp_path: Path) -> None:
    pipeline = written(tmp_path / "p")
    unet, encoder = load_file(tmp_path / "p" / UNET), load_file(tmp_path / "p/text_encoder/model.safetensors")
    assert {*unet} | {f"text_encoder.{name}" for name in encoder} == {*pipeline.network.state_dict()}
    assert not any("text_encoder" in name for name in unet) and not any("text_encoder" in name for name in encoder)


def test_a_folder_without_our_settings_is_read_by_what_it_says(tmp_path: Path) -> None:
    before = written(tmp_path / "p", 3)
    (tmp_path / "p/ancestral.json").unlink()
    after = Pipeline.load(tmp_path / "p", "cpu", null_class=3)
    assert after.weights_hash() == before.weights_hash() and after.spec.text == before.spec.text
    assert after.tokenizer is not None and after.tokenizer.encode(["a red circle"]).shape == (1, 9)


def test_the_chain_reads_the_text_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 36, in a chain of several steps with guidance, two rows for each image; and what it makes is unchanged."""
    pipeline = written(tmp_path / "p")
    settings = SamplingSettings(steps=4, guidance=3.0)
    told, calls = Condition(tokens=TOKENIZER.encode(TEXTS)), []
    encode = type(pipeline.network.text_encoder).forward  # type: ignore[union-attr]

    def counted(self: Any, tokens: torch.Tensor) -> torch.Tensor:
        calls.append(len(tokens))
        return encode(self, tokens)

    monkeypatch.setattr(type(pipeline.network.text_encoder), "forward", counted)
    *_, last = pipeline.steps(range(3), told, settings)
    assert calls == [6]
    monkeypatch.setattr(type(pipeline.network), "embedded", lambda self, condition, count: condition)
    *_, each = pipeline.steps(range(3), told, settings)
    assert len(calls) == 5
    torch.testing.assert_close(last.x_s, each.x_s, atol=1e-5, rtol=1e-5)


def changed(path: Path, **keys: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))


def test_what_does_not_go_together_is_refused_in_one_line(tmp_path: Path) -> None:
    written(tmp_path / "whole", 3)

    def fault(*places: str, **keys: Any) -> str:
        shutil.rmtree(tmp_path / "p", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "p")
        for place in places:
            if keys:
                changed(tmp_path / "p" / place, **keys)
            else:
                shutil.rmtree(tmp_path / "p" / place)
        with pytest.raises(InputError) as said:
            Pipeline.load(tmp_path / "p", "cpu")
        assert "\n" not in str(said.value)
        return str(said.value)

    assert "text_encoder" in fault("text_encoder")
    assert "cross_attention_dim 16" in fault("unet/config.json", cross_attention_dim=32)
    assert "attention_head_dim as many as block_out_channels" in fault("unet/config.json", attention_head_dim=[1, 1])
    assert "addition_embed_type" in fault("unet/config.json", addition_embed_type="text_time")
    assert "use_linear_projection" in fault("unet/config.json", use_linear_projection=True)
    assert "hidden_act" in fault("text_encoder/config.json", hidden_act="gelu")
    assert "addition_embed_type_num_heads 4, got 8" in fault("unet/config.json", addition_embed_type_num_heads=8)
    assert "'add_embedding" in fault("unet/config.json", addition_embed_type=None)
    assert "heads of one width or of one number" in fault("unet/config.json", attention_head_dim=[1, 2, 3])
    assert "heads = 5 divides, got 48" in fault("unet/config.json", attention_head_dim=5)
    assert "eos and pad_token_id" in fault("text_encoder/config.json", eos_token_id=3)
    assert "intermediate_size 64" in fault("text_encoder/config.json", intermediate_size=32)
    assert "tokenizer of" in fault("tokenizer/tokenizer_config.json", model_max_length=10)
    assert "differ in text" in fault("text_encoder/config.json", num_attention_heads=2)
    latents = {"vae": ["diffusers", "AutoencoderKL"], "_class_name": "StableDiffusionPipeline"}
    assert "the autoencoder of the StableDiffusionPipeline" in (said := fault("model_index.json", **latents))
    assert "as vae or vqvae, got none" in said


def test_stable_diffusions_networks_are_read_as_they_are_published(tmp_path: Path) -> None:
    """Traps 31 and 39. The autoencoder's size is in the tests of autoencoders."""
    for place, keys in (("unet", STABLE_DIFFUSION), ("text_encoder", CLIP)):
        (tmp_path / place).mkdir()
        (tmp_path / place / "config.json").write_text(json.dumps(keys))
    network = UNET_CONDITION.read(STABLE_DIFFUSION, tmp_path / "unet/config.json")
    text = UNET_CONDITION.text(STABLE_DIFFUSION, tmp_path / "unet/config.json")
    assert network.settings == UNetSettings(
        widths=(320, 640, 1280, 1280), attention=(0, 1, 2), heads=8, time_order="cos-sin", time_frequency_shift=0
    )
    assert (network.in_channels, network.out_channels, network.height, network.width) == (4, 4, 64, 64)
    assert text is not None and (text.length, text.width, text.masked, text.pooled) == (77, 768, False, False)
    with weightless():
        built = build(network.settings, 4, 4, Told(text=text))
    sizes = {"unet": [0, 0], "text_encoder": [0, 0]}
    for name, tensor in built.state_dict().items():
        size = sizes["text_encoder" if name.startswith("text_encoder.") else "unet"]
        size[0], size[1] = size[0] + tensor.numel(), size[1] + 1
    assert sizes == {"unet": [859_520_964, 686], "text_encoder": [123_060_480, 196]}


@pytest.mark.parametrize("prefix", ["text_model.", ""], ids=["of old", "of now"])
def test_what_diffusers_and_transformers_save_of_that_shape_is_read_and_written(tmp_path: Path, prefix: str) -> None:
    """With the keys that Stable Diffusion's files have; a file of old numbers the encoder's places too."""
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    small = {"block_out_channels": [32, 64], "cross_attention_dim": 16, "sample_size": [8, 16], "layers_per_block": 1}
    kinds = {"down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"]}
    kinds |= {"up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"]}
    theirs = diffusers.UNet2DConditionModel.from_config({**STABLE_DIFFUSION, **small, **kinds}).eval()
    words = {"vocab_size": len(TOKENIZER), "max_position_embeddings": 9, "num_hidden_layers": 2}
    encoder_keys = {**CLIP, **words, "hidden_size": 16, "intermediate_size": 64, "num_attention_heads": 4}
    encoder = transformers.CLIPTextModel(transformers.CLIPTextConfig(**encoder_keys)).eval()
    with torch.no_grad():
        for parameter in (*theirs.parameters(), *encoder.parameters()):
            parameter.normal_(0, 0.2 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    written(tmp_path / "p", channels=4)
    for part in ("unet", "text_encoder"):
        shutil.rmtree(tmp_path / "p" / part)
    (tmp_path / "p/ancestral.json").unlink()
    theirs.save_pretrained(tmp_path / "p/unet")
    (tmp_path / "p/text_encoder").mkdir()
    (tmp_path / "p/text_encoder/config.json").write_text(json.dumps(encoder_keys))
    tensors = {prefix + name.removeprefix("text_model."): each for name, each in encoder.state_dict().items()}
    if prefix:
        (tmp_path / "p/unet/config.json").write_text(json.dumps({**STABLE_DIFFUSION, **small, **kinds}))
        tensors["text_model.embeddings.position_ids"] = torch.arange(9)[None]
    save_file(tensors, tmp_path / "p/text_encoder/model.safetensors")
    ours = Pipeline.load(tmp_path / "p", "cpu")
    assert ours.config.network == UNetSettings(
        widths=(32, 64), layers=1, attention=(0,), heads=8, time_order="cos-sin", time_frequency_shift=0
    )
    ours.save(tmp_path / "again")
    again = diffusers.UNet2DConditionModel.from_pretrained(tmp_path / "again/unet").eval()
    tokens, x, time = TOKENIZER.encode(TEXTS), torch.randn(3, 4, 8, 16), torch.tensor([0, 500, 999])
    with torch.no_grad():
        states = encoder(tokens).last_hidden_state
        wanted = theirs(x, time, encoder_hidden_states=states).sample
        assert torch.equal(again(x, time, encoder_hidden_states=states).sample, wanted)
        read = transformers.CLIPTextModel.from_pretrained(tmp_path / "again/text_encoder").eval()
        assert torch.equal(read(tokens).last_hidden_state, states)
        found = ours.network.eval()(x, time, Condition(tokens=tokens))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_a_stable_diffusion_folder_is_refused_and_no_crash(tmp_path: Path) -> None:
    """As diffusers writes the smallest of them: the index, and a U-Net without the encoder of its text."""
    diffusers = pytest.importorskip("diffusers")
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 8), norm_num_groups=4, cross_attention_dim=16, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    unet.save_pretrained(tmp_path / "sd/unet")
    diffusers.DDIMScheduler().save_pretrained(tmp_path / "sd/scheduler")
    parts = {"unet": ["diffusers", "UNet2DConditionModel"], "scheduler": ["diffusers", "DDIMScheduler"]}
    index = tmp_path / "sd/model_index.json"
    for name, others in (("StableDiffusionPipeline", {"vae": ["diffusers", "AutoencoderKL"]}), ("DDIMPipeline", {})):
        index.write_text(json.dumps({"_class_name": name, **parts, **others}))
        with pytest.raises(InputError) as said:
            Pipeline.load(tmp_path / "sd", "cpu")
        assert "\n" not in str(said.value)
