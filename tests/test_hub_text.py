"""Pipelines with text as folders, whose parts diffusers and transformers open one by one."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ancestral.condition import UNTOLD, Condition
from ancestral.errors import InputError
from ancestral.pipeline import Pipeline
from ancestral.settings import Config, ImageSpec, SamplingSettings, TrainingSettings, merged
from ancestral.tokenizer import Tokenizer

TOKENIZER = Tokenizer.learn(["a small red circle", "a large blue square", "a red square"], length=9)
TEXTS = ["a red circle", "", "a large large blue, blue circle and more than fits"]
WIDE = {"widths": [8, 48, 64], "layers": 1, "attention": [1, 2], "norm_groups": 4}
UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def written(folder: Path, classes: int = 0, network: dict[str, Any] | None = None, **text: Any) -> Pipeline:
    """A pipeline of random weights, saved."""
    changes = {"network": network or WIDE, "text": {"name": "learned", "width": 16, "layers": 2, **text}}
    base = Config(training=TrainingSettings(steps=1), sampling=SamplingSettings(steps=2))
    spec = ImageSpec(channels=3, height=8, width=16, class_names=tuple("abc"[:classes]))
    pipeline = Pipeline.fresh(merged(base, changes, "test"), spec, "cpu", tokenizer=TOKENIZER)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in pipeline.network.parameters():
            parameter.normal_(0, 0.2 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    pipeline.save(folder)
    return pipeline


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize(
    "network",
    [
        WIDE,
        {**WIDE, "attention": [2], "head_width": 16, "time_order": "cos-sin", "time_conditioning": "scale-shift"},
        {**WIDE, "downsample_padding": "right-bottom", "cross_attention": [2, 1], "attention": [2, 1]},
    ],
    ids=["plain", "scale-shift", "right-bottom"],
)
def test_each_part_is_opened_alone_and_answers_alike(tmp_path: Path, classes: int, network: dict[str, Any]) -> None:
    """Trap 39: `attention_head_dim` is the number of heads there, by level."""
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    pipeline = written(tmp_path / "p", classes, network)
    config = json.loads((tmp_path / "p/unet/config.json").read_text())
    assert config["attention_head_dim"] == ([1, 3, 4] if "head_width" in network else [1, 1, 2])
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
        ({**WIDE, "cross_attention": [2]}, {}, "AncestralUNet"),
        (WIDE, {"masked": True}, "AncestralUNet"),
        ({**WIDE, "stem": 4}, {}, "AncestralUNet"),
        ({"name": "dit", "width": 16, "layers": 2, "heads": 2}, {}, "AncestralNetwork"),
    ],
    ids=["theirs", "in other words", "one level", "masked", "stem", "transformer"],
)
def test_what_is_written_is_read_with_its_tokenizer(
    tmp_path: Path, network: dict[str, Any], text: dict[str, Any], name: str
) -> None:
    before = written(tmp_path / "p", 3, network, **text)
    place = "transformer" if name == "AncestralNetwork" else "unet"
    assert json.loads((tmp_path / "p" / place / "config.json").read_text())["_class_name"] == name
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
    assert "eos and pad_token_id" in fault("text_encoder/config.json", eos_token_id=2)
    assert "tokenizer of" in fault("tokenizer/tokenizer_config.json", model_max_length=10)
    assert "differ in text" in fault("text_encoder/config.json", num_attention_heads=2)
    latents = {"vae": ["diffusers", "AutoencoderKL"], "_class_name": "StableDiffusionPipeline"}
    assert "got 'StableDiffusionPipeline'" in (said := fault("model_index.json", **latents)) and "its vae" in said


def test_a_stable_diffusion_folder_is_refused_and_no_crash(tmp_path: Path) -> None:
    """As diffusers writes the smallest of them: the index, and a U-Net whose text is not pooled."""
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
