"""Pipelines of latents: what is saved is what is generated with, and diffusers' own pipelines give the same images."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.cli_calls import snapshot
from combinations import combined
from networks.test_autoencoder import randomised
from pipelines import SMALL, answering
from torch import Tensor

from ancestral import edits
from ancestral.condition import Condition
from ancestral.errors import InputError
from ancestral.hub.autoencoder import read_autoencoder, write_autoencoder
from ancestral.networks.autoencoder import Autoencoder
from ancestral.networks.latents import LatentCodec, latent_codec, latent_statistics
from ancestral.networks.quantizer import vectors_of
from ancestral.pipeline import Pipeline
from ancestral.rng import generator
from ancestral.settings import ComputeSettings, Config, ImageSpec, SamplingSettings, merged
from ancestral.tensors import from_pixels
from ancestral.tokenizer import Tokenizer

KINDS = ("plain", "kl", "vq")
every_kind = pytest.mark.parametrize("kind", KINDS)
TINY = {"widths": (8, 16), "channels": 2, "norm_groups": 4}
TOKENIZER = Tokenizer.learn(["a small red circle", "a large blue square", "a red square"], length=9)
TEXT = {"name": "learned", "width": 16, "layers": 1}
CROSS = {"widths": (8, 16), "layers": 1, "attention": (1,), "norm_groups": 4}
TRANSFORMER = {"name": "dit", "width": 16, "layers": 1, "heads": 2}
FLOAT32 = ComputeSettings(precision="float32")
WEIGHTS = "vae/diffusion_pytorch_model.safetensors"
SEEDS = range(5, 8)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore")
    torch.manual_seed(0)


def diffusers_class(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import diffusers

        return getattr(diffusers, name)


def pixels(count: int = 8, channels: int = 3, size: tuple[int, int] = (16, 16)) -> Tensor:
    return torch.randint(0, 256, (count, channels, *size), dtype=torch.uint8)


def codec_of(kind: str, folder: Path, channels: int = 3, **changes: Any) -> LatentCodec:
    """One out of a folder, as every run has it, whose latents are standardised for some images."""
    settings = merged(Config(sampling=SamplingSettings(clip="none")), {"codec": {**TINY, "name": kind, **changes}}, "")
    network = randomised(Autoencoder(settings.codec, channels))  # type: ignore[arg-type]
    images = pixels(channels=channels)
    if network.quantize is not None:
        with torch.no_grad():
            found = vectors_of(network.encoded(from_pixels(images)))
            network.quantize.take(found[torch.randperm(len(found))[: network.settings.codes]])
    write_autoencoder(folder, latent_codec(network, *latent_statistics(network, [images])))
    return read_autoencoder(folder)


def latent(
    kind: str,
    folder: Path,
    shape: tuple[int, int, int] = (3, 16, 16),
    classes: tuple[str, ...] = (),
    text: bool = False,
    **changes: Any,
) -> Pipeline:
    """A pipeline of random weights, in latents of half the sides; nothing is written but its codec."""
    codec = codec_of(kind, folder / "codec", shape[0])
    base = Config(network=SMALL, compute=FLOAT32, sampling=SamplingSettings(steps=4, clip="none"))
    given = {"codec": {**TINY, "name": kind}, **({"text": TEXT, "network": CROSS} if text else {}), **changes}
    spec = ImageSpec(channels=shape[0], height=shape[1], width=shape[2], class_names=classes)
    tokenizer = TOKENIZER if text else None
    return answering(Pipeline.fresh(merged(base, given, "test"), spec, "cpu", codec=codec, tokenizer=tokenizer))


def kind_in(folder: Path) -> str:
    return str(json.loads((folder / "model_index.json").read_text())["_class_name"])


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        Pipeline.load(folder, "cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# saved and loaded


@pytest.mark.parametrize(("kind", "told"), combined(KINDS, ["nothing", "classes", "text"]))
def test_what_is_saved_generates_the_same_wherever_it_is_loaded(
    kind: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = latent(kind, tmp_path, classes=("cat", "dog") if told == "classes" else (), text=told == "text")
    made.save(tmp_path / "pipeline")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = Pipeline.load("../pipeline", "cpu", FLOAT32)
    assert (again.config, again.spec) == (made.config, made.spec) and again.weights_hash() == made.weights_hash()
    assert isinstance(again.codec, LatentCodec) and isinstance(made.codec, LatentCodec)
    assert again.codec.hash == made.codec.hash and type(again.codec) is type(made.codec)
    condition = (
        made.in_turn(3) if told == "classes" else made.condition(None, 3, prompt="red" if made.tokenizer else None)
    )
    images = made.generate(SEEDS, condition)
    assert images.shape == (3, 3, 16, 16) and images.float().std(dim=0).max() > 1, "seeds differ"
    assert torch.equal(again.generate(SEEDS, condition), images)
    again.save("again")
    assert {path.removeprefix("again"): each for path, each in snapshot(Path("again")).items()} == {
        path.removeprefix("../pipeline"): each for path, each in snapshot(Path("../pipeline")).items()
    }


def test_the_class_in_the_index_is_one_that_gives_the_same_images(tmp_path: Path) -> None:
    """Elsewhere a flow has no such scheduler, latents are square, and texts reach no codebook."""
    path = {"schedule": {"name": "rectified"}, "prediction": "flow", "time": "flow"}
    wide, flow = (3, 16, 32), dict[str, Any](diffusion=path)
    for number, (expected, made) in enumerate(
        [
            ("LDMPipeline", latent("kl", tmp_path)),
            ("LDMPipeline", latent("vq", tmp_path)),
            ("AncestralPipeline", latent("kl", tmp_path, wide)),
            ("AncestralPipeline", latent("kl", tmp_path, classes=("cat", "dog"))),
            ("AncestralPipeline", latent("kl", tmp_path, **flow)),
            (
                "AncestralPipeline",
                latent("kl", tmp_path, network=TRANSFORMER),
            ),
            ("StableDiffusionPipeline", latent("kl", tmp_path, wide, text=True)),
            ("StableDiffusionPipeline", latent("plain", tmp_path, text=True)),
            ("AncestralPipeline", latent("vq", tmp_path, text=True)),
            ("AncestralPipeline", latent("kl", tmp_path, text=True, **flow)),
        ]
    ):
        made.save(tmp_path / str(number))
        assert kind_in(tmp_path / str(number)) == expected, number
        again = Pipeline.load(tmp_path / str(number), "cpu", FLOAT32)
        assert torch.equal(again.generate([3], made.in_turn(1)), made.generate([3], made.in_turn(1)))


def test_a_damaged_or_missing_autoencoder_is_one_line(tmp_path: Path) -> None:
    latent("kl", tmp_path).save(tmp_path / "whole")
    (tmp_path / "whole/vqvae").rename(tmp_path / "whole/vae")  # either name will do
    Pipeline.load(tmp_path / "whole", "cpu")
    folder = tmp_path / "p"

    def faulty() -> Path:
        shutil.rmtree(folder, ignore_errors=True)
        return Path(shutil.copytree(tmp_path / "whole", folder))

    shutil.rmtree(faulty() / "vae")
    assert "autoencoder" in refusal(folder) and "copy the whole folder again" in refusal(folder)
    (faulty() / "vae/config.json").unlink()
    assert "vae/config.json" in refusal(folder)
    (faulty() / "vae/config.json").write_text("{")
    assert "vae/config.json" in refusal(folder)
    (faulty() / WEIGHTS).unlink()
    assert "vae" in refusal(folder)
    weights = faulty() / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "vae" in refusal(folder)
    edit(faulty() / "vae/config.json", block_out_channels=[8, 8])
    assert "vae" in refusal(folder)
    shutil.rmtree(faulty() / "vae")
    codec_of("vq", folder / "vae")
    assert "saved with, kl, got vq; copy the whole folder again" in refusal(folder)
    shutil.rmtree(faulty() / "vae")
    codec_of("kl", folder / "vae", channels=3, widths=(8, 16, 16))
    assert "differ in images" in refusal(folder)


def test_another_device_has_weights_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = latent("kl", tmp_path)
    assert made.to("cpu") is made and isinstance(made.codec, LatentCodec)
    assert made.codec.to(made.device) is made.codec
    monkeypatch.setattr("ancestral.pipeline.pipeline.on_device", torch.device)
    moved = made.to("meta")
    for pipeline, device in ((made, "cpu"), (moved, "meta")):
        assert isinstance(pipeline.codec, LatentCodec)
        found = {pipeline.device, pipeline.codec.device, *(each.device for each in pipeline.network.parameters())}
        assert found == {torch.device(device)}


# sizes


@every_kind
def test_images_whose_sides_no_factor_divides_are_as_large_as_those_of_training(kind: str, tmp_path: Path) -> None:
    """Trap: what an autoencoder continued is taken for a part of the image."""
    made = latent(kind, tmp_path, (1, 9, 13))
    assert made.latent_shape == (2, 5, 7)
    *_, last = made.steps(SEEDS)
    images = made.generate(SEEDS)
    assert images.shape == (3, 1, 9, 13)
    assert torch.equal(images, made.codec.decode(last.x_s)[..., :9, :13])
    assert made.decode(last.x_s, (10, 14)).shape[2:] == (10, 14) and made(1, seed=5)[0].size == (13, 9)


def test_a_larger_canvas_is_as_large_as_asked_for_and_not_below_the_pipeline(tmp_path: Path) -> None:
    """All of it is convolutions: what is far from the edges of a canvas does not depend on its size."""
    made = latent("kl", tmp_path)
    *_, last = edits.canvas(made, 24, 17, [3])
    assert last.x_s.shape == (1, 2, 12, 9)
    assert made.decode(last.x_s, (24, 17)).shape == (1, 3, 24, 17) and made.decode(last.x_s).shape == (1, 3, 24, 18)
    with pytest.raises(InputError, match="a canvas of at least 16 x 16 pixels, got 12 x 32"):
        edits.canvas(made, 12, 32, [3])
    x0 = torch.randn(1, 2, 40, 40)
    whole, part = made.codec.decode(x0), made.codec.decode(x0[..., :24, :24])
    assert not torch.equal(whole[..., :48, :48], part), "edges are seen"
    differ = (whole[..., :48, :48].int() - part.int()).abs().amax(dim=(0, 1))
    assert differ.shape == (48, 48) and bool(differ[-1].any())


# diffusers gives the same images


def by_diffusers(folder: Path, name: str, scheduler: str) -> Any:
    theirs = diffusers_class(name).from_pretrained(folder)
    theirs.set_progress_bar_config(disable=True)
    config = {**theirs.scheduler.config}
    assert not config["clip_sample"]
    theirs.scheduler = diffusers_class(scheduler).from_config(config, set_alpha_to_one=True)
    return theirs


def in_0_1(made: Pipeline, x0: Tensor) -> Tensor:
    assert isinstance(made.codec, LatentCodec)
    return (made.codec.images(x0) / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)


@pytest.mark.parametrize(("kind", "prediction"), combined(KINDS, ["eps", "x0", "v"]))
def test_the_latent_pipeline_of_diffusers_gives_the_same_images(kind: str, prediction: str, tmp_path: Path) -> None:
    made = latent(kind, tmp_path, diffusion={"prediction": prediction})
    made.save(tmp_path / "p")
    assert kind_in(tmp_path / "p") == "LDMPipeline"
    for scheduler, sampling in (
        ("DDIMScheduler", SamplingSettings(sampler="ddim", steps=5, clip="none")),
        ("DDPMScheduler", SamplingSettings(sampler="ancestral", steps=1, clip="none")),  # more steps draw noise
    ):
        theirs = by_diffusers(tmp_path / "p", "LDMPipeline", scheduler)
        generators = [generator(seed, "sample") for seed in SEEDS]
        shown = theirs(3, generators, num_inference_steps=sampling.steps, output_type="np").images
        *_, last = made.steps(SEEDS, None, sampling)
        found = in_0_1(made, last.x_s)
        assert found.std(dim=0).max() > 2e-3, "images differ"
        near = (found - torch.from_numpy(shown)).abs() <= 1e-4
        assert near.double().mean() > (0.8 if kind == "vq" else 0.9999), "two codes may be as near"


@pytest.mark.parametrize(("kind", "guidance"), combined(["plain", "kl"], [1.0, 3.0]))
def test_stable_diffusions_pipeline_gives_the_same_images(kind: str, guidance: float, tmp_path: Path) -> None:
    """Trap 37: u + w (c - u), where u is what the empty text gives."""
    pytest.importorskip("transformers")
    made = latent(kind, tmp_path, text=True, diffusion={"prediction": "v"})
    made.save(tmp_path / "p")
    assert kind_in(tmp_path / "p") == "StableDiffusionPipeline"
    theirs = by_diffusers(tmp_path / "p", "StableDiffusionPipeline", "DDIMScheduler")
    sampling = SamplingSettings(sampler="ddim", steps=5, clip="none", guidance=guidance)
    told = Condition(tokens=TOKENIZER.encode(prompts := ["a red circle", "a blue square", "blue"]))
    first, *_, last = made.steps(SEEDS, told, sampling)
    shown = theirs(
        prompts, 16, 16, num_inference_steps=5, guidance_scale=guidance, latents=first.x_t.clone(), output_type="np"
    ).images
    torch.testing.assert_close(in_0_1(made, last.x_s), torch.from_numpy(shown), atol=1e-4, rtol=0)
    *_, plain = made.steps(SEEDS, told, replace_guidance(sampling, 1.5))
    assert (in_0_1(made, plain.x_s) - in_0_1(made, last.x_s)).abs().max() > 1e-3, "guidance is seen"
    theirs.save_pretrained(tmp_path / "theirs")
    assert (tmp_path / "theirs/tokenizer/tokenizer.json").is_file(), "a form of its own"
    again = Pipeline.load(tmp_path / "theirs", "cpu", FLOAT32)
    assert again.tokenizer is not None and again.tokenizer.hash == TOKENIZER.hash and again.spec.shape == (3, 16, 16)
    *_, end = again.steps(SEEDS, told, sampling.model_copy(update={"guidance": 1.0}))
    *_, alone = made.steps(SEEDS, told, sampling.model_copy(update={"guidance": 1.0}))
    torch.testing.assert_close(in_0_1(again, end.x_s), in_0_1(made, alone.x_s), atol=1e-4, rtol=0)


def replace_guidance(sampling: SamplingSettings, guidance: float) -> SamplingSettings:
    return sampling.model_copy(update={"guidance": guidance})


def foreign(folder: Path, vae: Any, **scheduler: Any) -> Any:
    """A pipeline that diffusers made and saved."""
    unet = diffusers_class("UNet2DModel")(
        sample_size=8, in_channels=3, out_channels=3, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    told = {"clip_sample": False, "timestep_spacing": "trailing", "num_train_timesteps": 50, **scheduler}
    theirs = diffusers_class("LDMPipeline")(
        vqvae=randomised(vae), unet=randomised(unet), scheduler=diffusers_class("DDIMScheduler")(**told)
    )
    theirs.set_progress_bar_config(disable=True)
    theirs.save_pretrained(folder)
    return theirs


def autoencoder_kl(**changes: Any) -> Any:
    shape: dict[str, Any] = {
        "block_out_channels": (8, 16), "latent_channels": 3, "norm_num_groups": 4, "sample_size": 16,
        "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
    }  # fmt: skip
    return diffusers_class("AutoencoderKL")(**shape, **changes)


def vq_model(**changes: Any) -> Any:
    shape: dict[str, Any] = {
        "block_out_channels": (8, 16), "latent_channels": 3, "norm_num_groups": 4, "num_vq_embeddings": 16,
        "down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2,
    }  # fmt: skip
    return diffusers_class("VQModel")(**shape, **changes)


@pytest.mark.parametrize(("make", "scale"), combined([autoencoder_kl, vq_model], [1.0, 0.18215]))
def test_a_folder_that_diffusers_wrote_gives_its_images(make: Any, scale: float, tmp_path: Path) -> None:
    """Trap 9: the scale is the pipeline's, whose latents it divides."""
    theirs = foreign(tmp_path, make(scaling_factor=scale))
    read = Pipeline.load(tmp_path, "cpu", FLOAT32)
    assert read.spec.shape == (3, 16, 16) and read.latent_shape == (3, 8, 8) and read.config.sampling.clip == "none"
    *_, last = read.steps(SEEDS, None, SamplingSettings(sampler="ddim", steps=5, clip="none"))
    generators = [generator(seed, "sample") for seed in SEEDS]
    shown = theirs(3, generators, num_inference_steps=5, output_type="np").images
    torch.testing.assert_close(in_0_1(read, last.x_s), torch.from_numpy(shown), atol=1e-4, rtol=1e-4)


def test_scale_and_shift_of_a_folder_are_honoured(tmp_path: Path) -> None:
    theirs = foreign(tmp_path, autoencoder_kl(scaling_factor=0.5, shift_factor=0.25))
    read, x0 = Pipeline.load(tmp_path, "cpu"), torch.randn(2, 3, 8, 8)
    assert isinstance(read.codec, LatentCodec)
    with torch.no_grad():
        shown = theirs.vqvae.decode(x0 / 0.5 + 0.25).sample
        encoded = (theirs.vqvae.encode(from_pixels(pixels(2))).latent_dist.mean - 0.25) * 0.5
    torch.testing.assert_close(read.codec.images(x0), shown, atol=1e-4, rtol=1e-4)
    torch.manual_seed(0)
    assert encoded.shape == read.codec.encode(pixels(2)).shape
    read.save(tmp_path / "ours")  # where both are folded into the weights
    again = Pipeline.load(tmp_path / "ours", "cpu")
    config = json.loads((tmp_path / "ours/vqvae/config.json").read_text())
    assert (config["scaling_factor"], config["shift_factor"]) == (1.0, None) and isinstance(again.codec, LatentCodec)
    torch.testing.assert_close(again.codec.images(x0), shown, atol=1e-4, rtol=1e-4)


def test_a_scheduler_that_clips_latents_is_refused_by_name(tmp_path: Path) -> None:
    """Trap: DDIM's own file clips unless it says otherwise, to a range that latents do not have."""
    foreign(tmp_path, autoencoder_kl(), clip_sample=True)
    assert "clip_sample" in refusal(tmp_path)


def test_a_network_of_other_latents_is_refused(tmp_path: Path) -> None:
    foreign(tmp_path, autoencoder_kl())
    shutil.rmtree(tmp_path / "vqvae")
    codec_of("kl", tmp_path / "vqvae")
    assert "expected a network of the autoencoder's 2 latent channels, got one of 3" in refusal(tmp_path)


# tiles


def test_images_of_tiles_roll_with_their_latents(tmp_path: Path) -> None:
    """Their edges are like any other place then, which they are not where the decoder sees zeros around them."""
    pipeline = latent("kl", tmp_path)
    x0 = torch.randn(4, 2, 12, 12)
    rolled = x0.roll((3, 5), (-2, -1))

    def apart(decode: Callable[[Tensor], Tensor]) -> Tensor:
        return (decode(rolled).int() - decode(x0).roll((6, 10), (-2, -1)).int()).abs()

    assert apart(lambda x0: edits.decoded_tiles(pipeline, x0)).max() <= 2
    assert apart(pipeline.decode).max() > 20
    assert edits.decoded_tiles(pipeline, x0).shape == (4, 3, 24, 24)


def test_tiles_are_of_whole_latents(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"multiples of 2, .*got 16x15"):
        edits.tile(latent("kl", tmp_path), 16, 15, SEEDS)
