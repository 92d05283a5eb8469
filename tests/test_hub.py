"""diffusers folders: round trips with the project itself as the oracle, and every kind of damage."""

import json
import os
import pickle
import stat
import struct
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from combinations import combined
from safetensors.torch import load_file, save_file

from ancestral.condition import NOTHING_TOLD, Condition
from ancestral.diffusion.parameterization import PredictsEps, PredictsV
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import from_betas
from ancestral.diffusion.variances import Variance, beta, interpolated
from ancestral.errors import CannotWrite, InputError, NonFinite
from ancestral.hub import (
    DiffusersFolder,
    NetworkFolder,
    ScheduleDescription,
    read_diffusers,
    write_diffusers,
)
from ancestral.hub.unet import is_diffusers_unet
from ancestral.networks.conditions import Told
from ancestral.networks.unet import UNet
from ancestral.pipeline import Pipeline
from ancestral.sampling.denoiser import Denoiser, NetworkDenoiser, StaticClip
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import Ancestral
from ancestral.settings import NetworkSettings, SamplingSettings, UNetSettings


class Diffusers:
    """The classes of diffusers, which takes seconds to import: the first test that needs one does."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest, which looks at all that a module holds for fixtures
            raise AttributeError(name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(import_module("diffusers"), name)


diffusers = Diffusers()

SETTINGS = UNetSettings(widths=(8, 16), layers=1, attention=(1,), norm_groups=4, head_width=8, dropout=0.1)
BETAS = tuple(torch.linspace(1e-3, 0.3, 10, dtype=torch.float64).tolist())
SCHEDULE = ScheduleDescription(BETAS, prediction="v", variance="beta", clip="none")
UNET, SCHEDULER = "unet/config.json", "scheduler/scheduler_config.json"
STEM = "diffusion_pytorch_model"
WEIGHTS = f"unet/{STEM}.safetensors"


@pytest.fixture(autouse=True)
def quiet_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    warnings.simplefilter("ignore", FutureWarning)
    torch.manual_seed(0)


def contents(
    settings: UNetSettings = SETTINGS,
    classes: int = 0,
    size: tuple[int, int] = (8, 8),
    channels: int = 2,
    learned: bool = False,
) -> DiffusersFolder:
    outputs = 2 * channels if learned else channels
    network = UNet(settings, channels, outputs, Told(classes))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0, 0.1)
    embeds = classes + 1 if classes else None
    return DiffusersFolder(
        NetworkFolder(settings, channels, outputs, *size, embeds, dict(network.state_dict())),
        replace(SCHEDULE, variance="learned") if learned else SCHEDULE,
    )


def rebuilt(network: NetworkFolder) -> UNet:
    classes = network.num_class_embeds or 0
    unet = UNet(network.settings, network.in_channels, network.out_channels, Told(classes, null_class=False))
    unet.load_state_dict(network.tensors, strict=True)
    return unet.eval()


def edit(path: Path, **changes: Any) -> None:
    """Lay `changes` over a JSON file; `...` removes a key."""
    values = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_diffusers(tmp_path / "pipeline", contents())
    return tmp_path / "pipeline"


def short(value: Any) -> str:
    """A parameter as the name of a test."""
    return str(value)[:60]


def refusal(folder: Path) -> str:
    """The one line with which `folder` is refused."""
    with pytest.raises(InputError) as caught:
        read_diffusers(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Round trips

VARIED = {
    "plain": {},
    "scale-shift": {"time_conditioning": "scale-shift", "time_order": "cos-sin", "time_frequency_shift": 0},
    "right-bottom": {"downsample_padding": "right-bottom", "head_width": None, "norm_eps": 1e-6},
    "no attention": {"attention": (), "middle_attention": False},
    "everywhere": {"attention": (0, 1), "layers": 3},
    "own stem": {"stem": 4},
    "long middle": {"middle_layers": 2},
    "no middle": {"middle_layers": 0},
    "fourier": {"fourier": (0, 7)},
    "positions": {"positions": True},
    "rank": {"output_rank": 5},
    "heads": {"head_width": None, "heads": 4},
    "resnet": {"resampling": "resnet", "time_conditioning": "scale-shift"},
    "waves": {"waves": 12},
}


@pytest.mark.parametrize("name", VARIED)
@pytest.mark.parametrize(("classes", "size"), [(0, (8, 8)), (3, (8, 12)), (0, (7, 7))])
def test_what_is_written_is_read(name: str, classes: int, size: tuple[int, int], tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update=VARIED[name])
    written = contents(settings, classes, size)
    write_diffusers(tmp_path / "new" / "pipeline", written)
    read = read_diffusers(tmp_path / "new" / "pipeline")
    assert replace(read.network, tensors={}) == replace(written.network, tensors={})
    assert read.schedule == written.schedule
    assert read.network.tensors.keys() == written.network.tensors.keys()
    assert all(torch.equal(read.network.tensors[name], tensor) for name, tensor in written.network.tensors.items())


@pytest.mark.parametrize(("name", "classes"), combined([*[*VARIED][:5], "resnet"], [0, 3]))
def test_diffusers_loads_what_is_written_and_gives_the_same_output(name: str, classes: int, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update=VARIED[name])
    written = contents(settings, classes)
    write_diffusers(tmp_path, written)
    theirs = diffusers.UNet2DModel.from_pretrained(tmp_path / "unet", low_cpu_mem_usage=False).eval()
    x, time = torch.randn(2, 2, 8, 8), torch.tensor([0, 9])
    labels = torch.tensor([1, classes]) if classes else None
    with torch.no_grad():
        expected = theirs(x, time, class_labels=labels).sample
        torch.testing.assert_close(rebuilt(written.network)(x, time, Condition(labels)), expected, atol=1e-5, rtol=1e-5)


def test_ddpm_pipeline_loads_an_unconditional_folder_and_draws_from_it(folder: Path) -> None:
    pipeline = diffusers.DDPMPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(generator=torch.Generator().manual_seed(0), num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 8, 8, 2) and images.std() > 0.01
    scheduler = pipeline.scheduler
    torch.testing.assert_close(scheduler.betas.double(), torch.tensor(BETAS, dtype=torch.float64), atol=1e-7, rtol=0)
    config = scheduler.config
    assert (config.prediction_type, config.variance_type, config.clip_sample) == ("v_prediction", "fixed_large", False)
    scheduler.set_timesteps(5)
    assert scheduler.timesteps.tolist() == [9, 7, 5, 3, 1]


@pytest.mark.parametrize("clip", ["none", "static", "dynamic"])
def test_clipping_means_the_same_to_diffusers(clip: Any, tmp_path: Path) -> None:
    write_diffusers(tmp_path, replace(contents(), schedule=replace(SCHEDULE, clip=clip, prediction="x0")))
    scheduler = diffusers.DDPMScheduler.from_pretrained(tmp_path / "scheduler")
    x0 = torch.linspace(-4, 4, 32).reshape(1, 2, 4, 4)
    drawn = scheduler.step(x0, 5, torch.randn(1, 2, 4, 4)).pred_original_sample
    bound = x0.abs().flatten().quantile(0.995)
    expected = {"none": x0, "static": x0.clamp(-1, 1), "dynamic": x0.clamp(-bound, bound) / bound}[clip]
    torch.testing.assert_close(drawn, expected)
    assert read_diffusers(tmp_path).schedule.clip == clip


def saved_by_diffusers(folder: Path, **scheduler: Any) -> Any:
    theirs = diffusers.UNet2DModel(
        sample_size=(8, 12), in_channels=1, out_channels=1, block_out_channels=(8, 8), layers_per_block=1,
        down_block_types=("AttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "AttnUpBlock2D"),
        norm_num_groups=4, attention_head_dim=4,
    )  # fmt: skip
    diffusers.DDPMPipeline(theirs, diffusers.DDPMScheduler(**scheduler)).save_pretrained(folder)
    return theirs.eval()


def test_what_diffusers_saves_is_read_strictly_and_gives_the_same_output(tmp_path: Path) -> None:
    theirs = saved_by_diffusers(tmp_path, variance_type="fixed_small", prediction_type="sample")
    read = read_diffusers(tmp_path)
    assert (read.network.height, read.network.width, read.network.num_class_embeds) == (8, 12, None)
    assert (read.schedule.prediction, read.schedule.variance, read.schedule.clip) == ("x0", "beta_tilde", "static")
    x, time = torch.randn(2, 1, 8, 12), torch.tensor([0, 999])
    with torch.no_grad():
        torch.testing.assert_close(rebuilt(read.network)(x, time), theirs(x, time).sample, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "scheduler",
    [
        {},
        {"beta_start": 1e-3, "beta_end": 0.1, "num_train_timesteps": 50},
        {"beta_schedule": "scaled_linear", "beta_start": 8.5e-4, "beta_end": 0.012},
        {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 100},
        {"trained_betas": [0.1, 0.2, 0.3], "num_train_timesteps": 3},
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    ],
    ids=short,
)
def test_schedules_are_those_of_diffusers(scheduler: dict[str, Any], tmp_path: Path) -> None:
    """diffusers does not rescale its betas with T, and computes them in float32."""
    saved_by_diffusers(tmp_path, **scheduler)
    betas = torch.tensor(read_diffusers(tmp_path).schedule.betas, dtype=torch.float64)
    expected = diffusers.DDPMScheduler(**scheduler).betas.double()
    torch.testing.assert_close(betas, expected, atol=1e-5, rtol=1e-3)
    assert (betas[-1] == 1) == ("rescale_betas_zero_snr" in scheduler)


def test_a_schedule_that_ends_in_pure_noise_goes_there_and_back(tmp_path: Path) -> None:
    schedule = replace(SCHEDULE, betas=(*BETAS[:-1], 1.0))
    write_diffusers(tmp_path, replace(contents(), schedule=schedule))
    assert read_diffusers(tmp_path).schedule == schedule
    assert diffusers.DDPMScheduler.from_pretrained(tmp_path / "scheduler").alphas_cumprod[-1] == 0


def test_old_flat_folders_with_old_attention_names_and_half_precision(folder: Path, tmp_path: Path) -> None:
    new = read_diffusers(folder).network
    flat = tmp_path / "flat"
    flat.mkdir()
    for source in ("model_index.json", UNET, SCHEDULER):
        (flat / Path(source).name).write_bytes((folder / source).read_bytes())
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    tensors = {}
    for name, tensor in load_file(folder / WEIGHTS).items():
        for current, before in old.items():
            name = name.replace(current, before)
        tensors[name] = tensor.half()
    assert any(".query." in name for name in tensors)
    save_file(tensors, flat / Path(WEIGHTS).name)
    read = read_diffusers(flat).network
    assert read.settings == new.settings
    for name, tensor in new.tensors.items():
        assert read.tensors[name].dtype == torch.float32
        torch.testing.assert_close(read.tensors[name], tensor, atol=1e-3, rtol=1e-3)


def test_a_missing_head_width_means_eight_and_null_means_one_head(folder: Path) -> None:
    edit(folder / UNET, attention_head_dim=...)
    assert read_diffusers(folder).network.settings.head_width == 8
    edit(folder / UNET, attention_head_dim=None)
    assert read_diffusers(folder).network.settings.head_width is None


def test_files_are_readable_by_others_and_weights_say_their_format(folder: Path) -> None:
    """safetensors itself writes mode 0600."""
    assert stat.S_IMODE((folder / WEIGHTS).stat().st_mode) == 0o644
    header = (folder / WEIGHTS).read_bytes()
    assert json.loads(header[8 : 8 + struct.unpack("<Q", header[:8])[0]])["__metadata__"] == {"format": "pt"}


def test_channels_last_weights_are_written(tmp_path: Path) -> None:
    written = contents()
    moved = {
        n: t.to(memory_format=torch.channels_last) if t.ndim == 4 else t for n, t in written.network.tensors.items()
    }
    write_diffusers(tmp_path, replace(written, network=replace(written.network, tensors=moved)))
    read = read_diffusers(tmp_path).network.tensors
    assert all(torch.equal(read[name], tensor) for name, tensor in moved.items())


def test_what_is_a_diffusers_unet() -> None:
    assert is_diffusers_unet(SETTINGS, 8, 6)
    assert is_diffusers_unet(SETTINGS.model_copy(update={"stem": 8}), 8, 8)
    assert not is_diffusers_unet(SETTINGS, 8, 7)
    assert not is_diffusers_unet(UNetSettings(widths=(32, 32, 32, 32), attention=()), 28, 28)
    for beyond in ("own stem", "long middle", "no middle", "fourier", "positions", "rank", "waves"):
        assert not is_diffusers_unet(SETTINGS.model_copy(update=VARIED[beyond]), 8, 8)


def test_diffusers_refuses_by_name_what_it_cannot_be(tmp_path: Path) -> None:
    write_diffusers(tmp_path, contents(SETTINGS.model_copy(update={"stem": 4})))
    assert json.loads((tmp_path / UNET).read_text())["_class_name"] == "AncestralUNet"
    with pytest.raises((ValueError, AttributeError, OSError), match=r"AncestralPipeline|ancestral"):
        diffusers.DDPMPipeline.from_pretrained(tmp_path)


# What others hand over: variants, shards, other samplers


def in_variant(unet: Path, tensors: dict[str, torch.Tensor], variant: str = "fp16") -> None:
    save_file({name: tensor.half() for name, tensor in tensors.items()}, unet / f"{STEM}.{variant}.safetensors")


def in_shards(unet: Path, tensors: dict[str, torch.Tensor], variant: str = "", index: str = "") -> None:
    """As diffusers cuts them: every second tensor in the first of two."""
    names, told = sorted(tensors), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file = f"{STEM}{variant}-{number:05d}-of-00002.safetensors"
        save_file({name: tensors[name].half() if variant else tensors[name] for name in part}, unet / file)
        told |= dict.fromkeys(part, file)
    content = {"metadata": {"total_size": 1}, "weight_map": told}
    (unet / (index or f"{STEM}.safetensors.index.json")).write_text(json.dumps(content))


LAYOUTS: dict[str, Callable[[Path, dict[str, torch.Tensor]], None]] = {
    "variant": in_variant,
    "shards": in_shards,
    "shards of a variant": lambda unet, tensors: in_shards(
        unet, tensors, ".fp16", f"{STEM}.safetensors.index.fp16.json"
    ),
    "shards of a variant, as others name their index": lambda unet, tensors: in_shards(
        unet, tensors, ".fp16", f"{STEM}.fp16.safetensors.index.json"
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_weights_are_found_in_every_layout_of_diffusers(folder: Path, layout: str) -> None:
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    LAYOUTS[layout](folder / "unet", tensors)
    read = read_diffusers(folder).network.tensors
    tolerance = 1e-3 if "variant" in layout else 0
    for name, tensor in tensors.items():
        torch.testing.assert_close(read[name], tensor, atol=tolerance, rtol=tolerance)


def test_diffusers_own_shards_are_read(folder: Path) -> None:
    """With the project itself as the oracle of the layout."""
    before = read_diffusers(folder).network.tensors
    theirs = diffusers.UNet2DModel.from_pretrained(folder / "unet", low_cpu_mem_usage=False)
    (folder / WEIGHTS).unlink()
    theirs.save_pretrained(folder / "unet", max_shard_size="10KB", variant="fp16")
    assert len([*(folder / "unet").glob("*.safetensors")]) > 1
    read = read_diffusers(folder).network.tensors
    assert all(torch.equal(read[name], tensor) for name, tensor in before.items())


def test_the_plain_file_is_read_before_a_variant(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    in_variant(folder / "unet", {name: tensor * 0 for name, tensor in tensors.items()})
    in_shards(folder / "unet", {name: tensor * 0 for name, tensor in tensors.items()})
    assert torch.equal(read_diffusers(folder).network.tensors["conv_in.weight"], tensors["conv_in.weight"])


@pytest.mark.parametrize("name", [f"{STEM}.ema.safetensors", "model.onnx", "flax_model.msgpack"])
def test_what_stands_in_place_of_weights_is_named(folder: Path, name: str) -> None:
    (folder / WEIGHTS).rename(folder / "unet" / name)
    assert name in refusal(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda told: told.update({"conv_in.bias": "../outside.safetensors"}), "beside it"),
        (lambda told: told.update({"conv_in.bias": "/etc/passwd"}), "beside it"),
        (lambda told: told.update({"conv_in.bias": 7}), "beside it"),
        (lambda told: told.clear(), "beside it"),
        (lambda told: told.update({"conv_in.bias": f"{STEM}-00003-of-00002.safetensors"}), "00003-of-00002"),
        (lambda told: told.update({"conv_in.bias": told["conv_in.weight"]}), "'conv_in.bias' where the index says"),
        (lambda told: told.pop("conv_in.bias"), "'conv_in.bias' where the index says"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(
    folder: Path, change: Callable[[dict[str, Any]], None], expected: str
) -> None:
    in_shards(folder / "unet", load_file(folder / WEIGHTS))
    (folder / WEIGHTS).unlink()
    index = folder / "unet" / f"{STEM}.safetensors.index.json"
    content = json.loads(index.read_text())
    change(content["weight_map"])
    index.write_text(json.dumps(content))
    assert expected in refusal(folder)


def test_a_tensor_that_stands_twice_is_refused(folder: Path) -> None:
    """In two shards, or under its old and its new name: either way one of the two would win in silence."""
    tensors = load_file(folder / WEIGHTS)
    name = next(name for name in tensors if name.endswith("attentions.0.to_q.weight"))
    save_file({**tensors, name.replace("to_q", "query"): tensors[name] + 1}, folder / WEIGHTS)
    assert "once, got it in" in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_weights_that_are_no_numbers_are_refused_by_name(folder: Path, value: float) -> None:
    """The last is a number in float64, but none in the float32 that is computed in."""
    tensors = load_file(folder / WEIGHTS)
    save_file({**tensors, "conv_in.bias": torch.full((8,), value, dtype=torch.float64)}, folder / WEIGHTS)
    with pytest.raises(NonFinite, match=r"infinity in conv_in\.bias of .*safetensors"):
        read_diffusers(folder)


SAMPLERS = {
    "DDIMScheduler": ("ddim", "static"),
    "PNDMScheduler": ("ipndm-4", "none"),
    "LMSDiscreteScheduler": ("ipndm-4", "none"),
    "EulerDiscreteScheduler": ("euler", "none"),
    "EulerAncestralDiscreteScheduler": ("ancestral", "none"),
    "HeunDiscreteScheduler": ("heun", "none"),
    "DPMSolverMultistepScheduler": ("dpm++2m", "none"),
    "DPMSolverSinglestepScheduler": ("dpm++2s", "none"),
    "UniPCMultistepScheduler": ("unipc-2", "none"),
    "DEISMultistepScheduler": ("deis-2", "none"),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_schedulers_of_other_samplers_are_read_at_their_defaults(folder: Path, name: str) -> None:
    """The same betas; DPM-Solver writes -Infinity among its keys. The sampler is ours of the same rule."""
    warnings.simplefilter("ignore", DeprecationWarning)  # of numpy, at what some of them do
    theirs = getattr(diffusers, name)(num_train_timesteps=100)
    theirs.save_pretrained(folder / "scheduler")
    schedule = read_diffusers(folder).schedule
    torch.testing.assert_close(torch.tensor(schedule.betas), theirs.betas.float(), atol=1e-7, rtol=1e-6)
    assert (schedule.sampler, schedule.clip) == SAMPLERS[name]


def test_a_ddim_pipeline_of_diffusers_draws_by_ddim(tmp_path: Path) -> None:
    theirs = diffusers.UNet2DModel.from_pretrained(saved_unet(tmp_path), low_cpu_mem_usage=False)
    diffusers.DDIMPipeline(theirs, diffusers.DDIMScheduler(num_train_timesteps=100)).save_pretrained(tmp_path / "ddim")
    sampling = Pipeline.load(tmp_path / "ddim").config.sampling
    assert (sampling.sampler, sampling.steps, sampling.clip) == ("ddim", 50, "static")


def saved_unet(folder: Path) -> Path:
    saved_by_diffusers(folder)
    return folder / "unet"


@pytest.mark.parametrize("classes", [None, 1, 3])
def test_scale_shift_at_the_defaults_of_diffusers_is_read(classes: int | None, tmp_path: Path) -> None:
    """There the attention in the middle is not normalised; swish is silu; every class is one."""
    theirs = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        resnet_time_scale_shift="scale_shift", act_fn="swish", num_class_embeds=classes, dropout=0.2,
    ).eval()  # fmt: skip
    diffusers.DDPMPipeline(theirs, diffusers.DDPMScheduler()).save_pretrained(tmp_path / "theirs")
    read = read_diffusers(tmp_path / "theirs")
    x, time = torch.randn(2, 1, 8, 8), torch.tensor([0, 999])
    labels = None if classes is None else torch.tensor([0, classes - 1])
    with torch.no_grad():
        expected = theirs(x, time, class_labels=labels).sample
        torch.testing.assert_close(rebuilt(read.network)(x, time, Condition(labels)), expected, atol=1e-5, rtol=1e-5)
    write_diffusers(tmp_path / "ours", read)
    again = diffusers.UNet2DModel.from_pretrained(tmp_path / "ours" / "unet", low_cpu_mem_usage=False).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(x, time, class_labels=labels).sample, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("at", [".", "unet"])
def test_a_network_without_its_scheduler_is_told_what_is_missing(folder: Path, at: str) -> None:
    (folder / "model_index.json").unlink()
    message = refusal(folder / at)
    assert "without its scheduler" in message and "save_pretrained" in message


def test_a_schedule_that_float64_cannot_hold_is_refused_with_its_bound(tmp_path: Path) -> None:
    saved_by_diffusers(tmp_path, num_train_timesteps=5000, beta_end=0.5)
    message = refusal(tmp_path)
    assert "beta_end" in message and "at most 0.269" in message
    edit(tmp_path / SCHEDULER, beta_end=0.269)
    assert len(read_diffusers(tmp_path).schedule.betas) == 5000


# Learned variance


def test_a_learned_range_is_written_and_read(tmp_path: Path) -> None:
    written = contents(channels=3, learned=True)
    write_diffusers(tmp_path, written)
    assert json.loads((tmp_path / SCHEDULER).read_text())["variance_type"] == "learned_range"
    assert json.loads((tmp_path / UNET).read_text())["out_channels"] == 6
    read = read_diffusers(tmp_path)
    assert read.schedule == written.schedule and read.network.out_channels == 6
    assert all(torch.equal(read.network.tensors[name], tensor) for name, tensor in written.network.tensors.items())


def test_a_learned_range_that_diffusers_saves_is_read(tmp_path: Path) -> None:
    """There and back: diffusers loads our folder, saves it, and we read the same from its own."""
    written = contents(learned=True)
    write_diffusers(tmp_path / "ours", written)
    diffusers.DDPMPipeline.from_pretrained(tmp_path / "ours", low_cpu_mem_usage=False).save_pretrained(
        tmp_path / "theirs"
    )
    read = read_diffusers(tmp_path / "theirs")
    assert read.schedule == replace(written.schedule, betas=read.schedule.betas)
    assert replace(read.network, tensors={}) == replace(written.network, tensors={})
    assert all(torch.equal(read.network.tensors[name], tensor) for name, tensor in written.network.tensors.items())


def our_chain(folder: Path, steps: int, variance: Variance) -> list[torch.Tensor]:
    """x_s of every step of our ancestral sampling of a folder, noise from seed 1."""
    read = read_diffusers(folder)
    diffusion = GaussianDiffusion(
        from_betas(read.schedule.betas), {"eps": PredictsEps(), "v": PredictsV()}[read.schedule.prediction], variance
    )
    denoise: Denoiser = NetworkDenoiser(diffusion, rebuilt(read.network))
    denoise = StaticClip(denoise, diffusion.schedule) if read.schedule.clip == "static" else denoise
    draws = torch.Generator().manual_seed(1)

    def noise() -> torch.Tensor:
        return torch.randn(2, 1, 8, 8, generator=draws)

    with torch.no_grad():
        chain = sample(denoise, Ancestral(diffusion), noise(), diffusion.schedule.trailing(steps), noise)
        return [step.x_s for step in chain]


def their_chain(folder: Path, steps: int) -> list[torch.Tensor]:
    """x_s of every step of diffusers' own pipeline, noise from seed 1."""
    pipeline = diffusers.DDPMPipeline.from_pretrained(folder, low_cpu_mem_usage=False)
    draws = torch.Generator().manual_seed(1)
    pipeline.scheduler.set_timesteps(steps)
    x, path = torch.randn(2, 1, 8, 8, generator=draws), []
    with torch.no_grad():
        for time in pipeline.scheduler.timesteps:
            x = pipeline.scheduler.step(pipeline.unet(x, time).sample, time, x, generator=draws).prev_sample
            path.append(x)
    return path


@pytest.mark.parametrize("steps", [10, 5])
@pytest.mark.parametrize(("prediction", "clip"), [("eps", "static"), ("v", "none")])
def test_a_learned_chain_agrees_with_diffusers(steps: int, prediction: Any, clip: Any, tmp_path: Path) -> None:
    """From the same noise every x_s is the same; with a fixed variance it is another.

    On a strided chain diffusers adds noise to the last step too, whose width runs from 1e-10 to all of beta with the
    spread. That step is left out.
    """
    written = contents(SETTINGS.model_copy(update={"dropout": 0.0}), channels=1, learned=True)
    schedule = replace(written.schedule, prediction=prediction, clip=clip)
    write_diffusers(tmp_path, replace(written, schedule=schedule))
    ours, theirs = our_chain(tmp_path, steps, interpolated), their_chain(tmp_path, steps)
    alike = steps if steps == len(BETAS) else steps - 1
    assert len(ours) == len(theirs) == steps
    for x, expected in zip(ours[:alike], theirs[:alike], strict=True):
        torch.testing.assert_close(x, expected, atol=1e-3, rtol=1e-3)
    fixed = our_chain(tmp_path, steps, beta)
    assert (fixed[alike - 1] - theirs[alike - 1]).abs().max() > 0.05


@pytest.mark.parametrize(("variance_type", "learned"), [("fixed_small", True), ("learned_range", False)])
def test_channels_and_variance_must_belong_together(variance_type: str, learned: bool, tmp_path: Path) -> None:
    write_diffusers(tmp_path, contents(channels=3, learned=learned))
    edit(tmp_path / SCHEDULER, variance_type=variance_type)
    message = refusal(tmp_path)
    assert f"expected out_channels {3 if learned else 6}" in message and f"got {6 if learned else 3}" in message
    assert variance_type in message


def test_an_unbounded_learned_variance_is_refused_by_name(tmp_path: Path) -> None:
    write_diffusers(tmp_path, contents(learned=True))
    edit(tmp_path / SCHEDULER, variance_type="learned")
    message = refusal(tmp_path)
    assert "did you mean learned_range" in message and "got 'learned'" in message


# Damage

FILES = ["model_index.json", UNET, SCHEDULER, WEIGHTS]


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert Path(name).name in refusal(folder)


@pytest.mark.parametrize("name", FILES[:3])
@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[1]",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"dropout": NaN}',
        b'{"norm_eps": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_malformed_json_is_named(folder: Path, name: str, text: bytes) -> None:
    (folder / name).write_bytes(text)
    assert Path(name).name in refusal(folder)


def test_a_vast_json_file_is_not_read(folder: Path) -> None:
    with (folder / UNET).open("wb") as file:
        file.truncate(2**40)
    assert "at most 16,777,216 bytes" in refusal(folder)


def test_no_folder_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        assert "expected a pipeline folder" in refusal(path)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("model_index.json", {"_class_name": "IFPipeline"}),
        ("model_index.json", {"_class_name": ...}),
        (UNET, {"_class_name": "UNet3DConditionModel"}),
        (UNET, {"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}),
        (UNET, {"down_block_types": "DownBlock2D"}),
        (UNET, {"up_block_types": ["UpBlock2D", "AttnUpBlock2D"]}),
        (UNET, {"act_fn": "gelu"}),
        (UNET, {"downsample_type": "kernel"}),
        (UNET, {"upsample_type": "resnet"}),
        (UNET, {"center_input_sample": True}),
        (UNET, {"time_embedding_type": "fourier"}),
        (UNET, {"time_embedding_dim": 64}),
        (UNET, {"mid_block_type": None}),
        (UNET, {"mid_block_scale_factor": 1.4}),
        (UNET, {"class_embed_type": "timestep"}),
        (UNET, {"attn_norm_num_groups": 2}),
        (UNET, {"resnet_time_scale_shift": "spatial"}),
        (UNET, {"freq_shift": 2}),
        (UNET, {"flip_sin_to_cos": 1}),
        (UNET, {"downsample_padding": 2}),
        (UNET, {"block_out_channels": [8, "16"]}),
        (UNET, {"block_out_channels": []}),
        (UNET, {"block_out_channels": [8] * 1000}),
        (UNET, {"block_out_channels": [8, 10**12]}),
        (UNET, {"layers_per_block": 10**9}),
        (UNET, {"layers_per_block": True}),
        (UNET, {"in_channels": 0}),
        (UNET, {"out_channels": -1}),
        (UNET, {"sample_size": None}),
        (UNET, {"sample_size": [8, 8, 8]}),
        (UNET, {"sample_size": 10**9}),
        (UNET, {"num_class_embeds": 0}),
        (UNET, {"num_class_embeds": 10**15}),
        (UNET, {"dropout": 1.5}),
        (UNET, {"norm_eps": "1e-5"}),
        (UNET, {"attention_head_dim": 0}),
        (UNET, {"a_key_of_tomorrow": 1}),
        (SCHEDULER, {"_class_name": "KarrasVeScheduler"}),
        (SCHEDULER, {"_class_name": "EulerDiscreteScheduler", "timestep_type": "continuous"}),
        (SCHEDULER, {"variance_type": "learned"}),
        (SCHEDULER, {"variance_type": "learned_range"}),
        (SCHEDULER, {"variance_type": ["fixed_small"]}),
        (SCHEDULER, {"prediction_type": "flow"}),
        (SCHEDULER, {"trained_betas": [0.5]}),
        (SCHEDULER, {"trained_betas": [1.0] + [0.1] * 9}),
        (SCHEDULER, {"trained_betas": None, "beta_schedule": "laplace"}),
        (SCHEDULER, {"beta_start": 0}),
        (SCHEDULER, {"num_train_timesteps": 10**12}),
        (SCHEDULER, {"clip_sample": True, "clip_sample_range": 2.0}),
        (SCHEDULER, {"thresholding": True, "sample_max_value": 5.0}),
        (SCHEDULER, {"thresholding": True, "dynamic_thresholding_ratio": 0.9}),
        (SCHEDULER, {"predict_epsilon": False}),
        (SCHEDULER, {"a_key_of_tomorrow": 1}),
    ],
    ids=short,
)
def test_a_key_that_cannot_be_honoured_is_named(folder: Path, name: str, changes: dict[str, Any]) -> None:
    edit(folder / name, **changes)
    message = refusal(folder)
    assert [*changes][-1] in message
    assert Path(name).name in message


def test_settings_that_do_not_divide_are_refused(folder: Path) -> None:
    edit(folder / UNET, attention_head_dim=3)
    assert "head_width = 3" in refusal(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"layers": 10**9},
        {"middle_layers": 10**9},
        {"widths": [4] * 1000},
        {"widths": [2**40]},
        {"depth": 3},
        {"stem": "x"},
    ],
    ids=short,
)
def test_settings_of_our_own_class_are_checked_as_well(changes: dict[str, Any], tmp_path: Path) -> None:
    write_diffusers(tmp_path, contents(SETTINGS.model_copy(update={"stem": 4})))
    settings = json.loads((tmp_path / UNET).read_text())["settings"]
    edit(tmp_path / UNET, settings=settings | changes)
    assert "settings" in refusal(tmp_path)


def header_of(content: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(change: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    def damage(content: bytes) -> bytes:
        header, body = header_of(content)
        change(header)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + body

    return damage


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "truncated in the header": lambda content: content[:100],
    "truncated in the data": lambda content: content[:-1],
    "bytes added": lambda content: content + b"0",
    "header of 2^60 bytes": lambda content: struct.pack("<Q", 2**60) + content[8:],
    "another format": lambda content: pickle.dumps({"a": 1}),
    "gigantic shape": with_header(lambda header: header["conv_in.weight"].update(shape=[10**9, 10**9])),
    "offsets beyond the end": with_header(lambda header: header["conv_in.weight"].update(data_offsets=[0, 2**50])),
    "no such tensor": with_header(lambda header: header.update({"evil\n": header.pop("conv_in.weight")})),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_weights_are_refused(folder: Path, kind: str) -> None:
    path = folder / WEIGHTS
    path.write_bytes(DAMAGE[kind](path.read_bytes()))
    assert path.name in refusal(folder)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda tensors: tensors.pop("mid_block.resnets.0.norm1.bias"), "'mid_block.resnets.0.norm1.bias' is missing"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "'extra' belongs to no layer"),
        (
            lambda tensors: tensors.update({"conv_in.bias": torch.zeros(9)}),
            r"shape [8] as its config.json says, got [9]",
        ),
        (lambda tensors: tensors.update({"conv_in.bias": torch.zeros(8, dtype=torch.int64)}), "got I64"),
    ],
)
def test_weights_of_another_network_are_refused(folder: Path, change: Callable[..., Any], expected: str) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)
    assert expected in refusal(folder)


def test_settings_of_a_gigantic_network_are_refused_before_it_is_allocated(folder: Path) -> None:
    """Within every limit, but a terabyte of weights: the file's header tells otherwise."""
    edit(folder / UNET, block_out_channels=[8, 16_384], layers_per_block=64, attention_head_dim=None)
    assert WEIGHTS.split("/")[1] in refusal(folder)


class Canary:
    """What a malicious file would do when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "model.pt", "model.ckpt"])
def test_a_malicious_pickle_is_refused_and_not_run(folder: Path, name: str) -> None:
    canary = folder / "canary"
    content = pickle.dumps(Canary(canary))
    (folder / WEIGHTS).unlink()
    (folder / "unet" / name).write_bytes(content)
    message = refusal(folder)
    assert name in message and "only safetensors are read" in message
    (folder / WEIGHTS).write_bytes(content)
    refusal(folder)
    assert not canary.exists()
    pickle.loads(content)
    assert canary.exists()  # the trap itself works


def test_a_folder_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match="cannot write"):
        write_diffusers(tmp_path / "file" / "pipeline", contents())
    (tmp_path / "pipeline" / WEIGHTS).mkdir(parents=True)
    with pytest.raises(InputError, match="to be a regular file or none yet, got a folder"):
        write_diffusers(tmp_path / "pipeline", contents())


def test_a_learned_range_of_diffusers_is_drawn_by_and_kept(tmp_path: Path) -> None:
    """Its variance coefficient reaches the reverse steps, and the pipeline that is saved again is the one that was
    read.
    """
    write_diffusers(tmp_path / "theirs", contents(channels=3, learned=True))
    pipeline = Pipeline.load(tmp_path / "theirs")
    x_t, t = torch.randn(2, *pipeline.spec.shape), torch.tensor(7)
    prediction = pipeline.denoiser(NOTHING_TOLD, SamplingSettings(clip="none"))(x_t, t)
    assert prediction.variance_coeff is not None
    step = pipeline.diffusion.p_posterior(prediction, x_t, t, torch.tensor(3))
    fixed = pipeline.diffusion.schedule.beta_tilde(t, torch.tensor(3)).log()
    assert step.log_var.shape == x_t.shape and (step.log_var - fixed).abs().max() > 1e-3
    pipeline.save(tmp_path / "ours")
    assert torch.equal(pipeline.generate([1, 2]), Pipeline.load(tmp_path / "ours").generate([1, 2]))


def test_a_network_that_diffusers_does_not_know_is_not_said_to_be_its(tmp_path: Path) -> None:
    network = NetworkFolder(NetworkSettings(name="other"), 1, 1, 8, 8, None, {})
    write_diffusers(tmp_path, DiffusersFolder(network, ScheduleDescription((0.1, 0.2), "eps", "beta", "none")))
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["network"] == ["ancestral", "AncestralNetwork"] and index["_class_name"] == "AncestralPipeline"
