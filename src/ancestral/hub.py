"""Folders of other projects: a diffusers `DDPMPipeline` folder to and from settings and tensors.

    model_index.json
    scheduler/scheduler_config.json
    unet/config.json
    unet/diffusion_pytorch_model.safetensors

Older repositories keep all files in the root, the network's settings as config.json, and name attention's layers query,
key, value and proj_attn; both are read, neither is written.

Nothing here is executed: JSON and safetensors only, never a pickle. A setting that this package cannot honour is an
error that names it, and the shapes in a weights file are compared with those its settings imply before any is loaded.

diffusers' `UNet2DModel` has no stem of its own width, one middle layer, and sizes that halve evenly. A network beyond
that is written in the same places under the class name `AncestralUNet`, which diffusers will refuse by name.
"""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ancestral.config import NetworkSettings, parse
from ancestral.diffusion import schedules
from ancestral.errors import CannotWrite, InputError
from ancestral.gaussian import LEVELS
from ancestral.networks.unet import UNet

MODEL_INDEX = "model_index.json"
PIPELINES = ("DDPMPipeline", "AncestralPipeline")
WEIGHTS = "diffusion_pytorch_model.safetensors"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
DIFFUSERS_VERSION = "0.36.0"
"""Version whose keys we write."""
NAMES_IN_OLD_FILES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
NOT_OF_THE_SCHEDULE = {"timestep_spacing", "steps_offset", "tensor_format"}
"""Keys of a scheduler that only say where its steps fall, which is chosen when sampling, and in which array library."""
FLOAT_TYPES = ("F64", "F32", "F16", "BF16")
MAX_JSON_BYTES = 16 * 2**20

Json = dict[str, Any]
Prediction = Literal["eps", "x0", "v", "levels"]
Variance = Literal["beta", "beta_tilde", "learned"]
"""learned: the second half of the output channels says where the log-variance lies between beta_tilde and beta."""
Clip = Literal["none", "static", "dynamic"]
V = TypeVar("V")

PREDICTION_TYPES: dict[Prediction, str] = {
    "eps": "epsilon",
    "x0": "sample",
    "v": "v_prediction",
    "levels": "levels",
}
"""Names of diffusers, which has none for the last: it refuses the folder."""
VARIANCE_TYPES: dict[Variance, str] = {"beta": "fixed_large", "beta_tilde": "fixed_small", "learned": "learned_range"}
"""Names of diffusers. Its "learned", an output that is the variance itself and has no bounds, is refused."""


@dataclass(frozen=True)
class NetworkFolder:
    """A network at rest: its settings, the images it is for, and its tensors under diffusers' names.

    `num_class_embeds` counts the null class, which is the last one; None: no classes.
    """

    settings: NetworkSettings
    in_channels: int
    out_channels: int
    height: int
    width: int
    num_class_embeds: int | None
    tensors: dict[str, Tensor] = field(repr=False)

    @property
    def num_classes(self) -> int:
        """Real classes, as `UNet` counts them: 0 without classes."""
        return (self.num_class_embeds or 1) - 1


@dataclass(frozen=True)
class ScheduleDescription:
    """A noise schedule and what goes with it: T betas in float64, a last one of 1 meaning zero terminal SNR."""

    betas: tuple[float, ...] = field(repr=False)
    prediction: Prediction
    variance: Variance
    clip: Clip
    time: Literal["index", "log-snr"] = "index"


@dataclass(frozen=True)
class DiffusersFolder:
    """What a diffusers pipeline folder holds."""

    network: NetworkFolder
    schedule: ScheduleDescription


def read_diffusers(folder: Path) -> DiffusersFolder:
    """The network and the schedule in a diffusers folder, nested or flat. Weights come as float32 on the CPU.

    Where the steps fall is chosen when sampling and is not read. Where there are classes, the last one is taken for the
    null class, as in the folders written here.

    Raises:
        InputError: a missing or damaged file, a setting that cannot be honoured, weights that are not safetensors,
            or weights whose names or shapes are not those of the settings.
    """
    if not folder.is_dir():
        raise InputError(f"expected a pipeline folder, got {folder}, which is no folder")
    _check_pipeline(_Keys(folder / MODEL_INDEX))
    nested = (folder / "unet").is_dir()
    schedule = _schedule(_Keys(folder / ("scheduler" if nested else ".") / "scheduler_config.json"))
    contents = DiffusersFolder(_network(folder / "unet" if nested else folder), schedule)
    _check_channels(folder, contents)
    return contents


def write_diffusers(folder: Path, contents: DiffusersFolder) -> None:
    """Write `contents` as a diffusers folder, over what stands there under the same names; the index comes last.

    Raises:
        CannotWrite: the disk is full, or the folder is gone or read-only.
    """
    network = contents.network
    schedule = contents.schedule
    told = schedule.time == "index" and schedule.prediction != "levels"
    shared = told and is_diffusers_unet(network.settings, network.height, network.width)
    try:
        _write_json(folder / "scheduler" / "scheduler_config.json", _scheduler_config(schedule))
        _write_json(folder / "unet" / "config.json", _unet_config(network) if shared else _own_config(network))
        _write_tensors(folder / "unet" / WEIGHTS, network.tensors)
        _write_json(folder / MODEL_INDEX, _model_index(shared))
    except (OSError, SafetensorError) as fault:
        raise CannotWrite(f"cannot write the pipeline folder {folder}: {fault}") from None


def is_diffusers_unet(settings: NetworkSettings, height: int, width: int) -> bool:
    """Whether diffusers' `UNet2DModel` can be this network and run images of this size."""
    halvings = 2 ** (len(settings.widths) - 1)
    own_stem = settings.stem not in (None, settings.widths[0])
    own_ends = own_stem or settings.fourier or settings.output_rank
    return not own_ends and settings.middle_layers == 1 and height % halvings == 0 and width % halvings == 0


def _check_pipeline(keys: "_Keys") -> None:
    """Other pipelines have parts that change what the network sees: a latent space, a text."""
    keys.choice("_class_name", None, dict.fromkeys(PIPELINES))


def _check_channels(folder: Path, contents: DiffusersFolder) -> None:
    """A variance is learned exactly where the network has a second half of channels for it."""
    network, variance = contents.network, contents.schedule.variance
    means = LEVELS if contents.schedule.prediction == "levels" else 1
    expected = network.in_channels * (means + (variance == "learned"))
    if network.out_channels != expected:
        raise InputError(
            f"expected out_channels {expected} in {folder}, as in_channels {network.in_channels} and the variance_type "
            f"of scheduler_config.json ({VARIANCE_TYPES[variance]}) imply, got {network.out_channels}"
        )


# Reading: keys of a JSON file


class _Keys:
    """The keys of one JSON object; each must be asked for, and what nobody asks for is refused.

    Every fault is reported under the file and the key it stands in.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.values = path, _read_json(path)
        self.asked = {key for key in self.values if key.startswith("_")}

    def fault(self, key: str, expected: str) -> InputError:
        """The error that names `key`, what was expected of it and what it is."""
        return InputError(f"expected {key} in {self.path} to be {expected}, got {_shown(self.values.get(key))}")

    def get(self, key: str, default: V, expected: str, accepts: Callable[[Any], bool]) -> V:
        """The value of `key`, `default` where it is missing; it must be one that `accepts` lets pass."""
        self.asked.add(key)
        value = self.values.get(key, default)
        if not accepts(value):
            raise self.fault(key, expected)
        return value

    def count(self, key: str, default: int, most: int) -> int:
        """A whole number in 1..most."""
        return self.get(key, default, f"a whole number in 1..{most}", lambda value: _is_count(value, most))

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number in (low, high)."""
        return float(self.get(key, default, f"a number between {low} and {high}", _between(low, high)))

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        return self.get(key, default, "true or false", lambda value: isinstance(value, bool))

    def choice(self, key: str, default: Any, meanings: dict[Any, V]) -> V:
        """What the value of `key` means here."""
        known = ", ".join(json.dumps(name) for name in meanings)
        return meanings[self.get(key, default, f"one of {known}", lambda value: _is_among(value, meanings))]

    def only(self, key: str, value: Any) -> None:
        """Refuse any value of `key` but the one that is built in here."""
        self.choice(key, value, {value: value})

    def finish(self) -> None:
        """Refuse keys that nobody asked for: they may change what the others mean."""
        unknown = sorted(self.values.keys() - self.asked)
        if unknown:
            raise InputError(f"expected only keys that can be honoured in {self.path}, got {unknown[0]}")


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _between(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low < value < high


def _is_fraction(value: Any) -> bool:
    return _between(0.0, 1.0)(value) or (value == 0 and not isinstance(value, bool))


def _is_among(value: Any, names: dict[Any, Any]) -> bool:
    return any(value == name and isinstance(value, bool) == isinstance(name, bool) for name in names)


def _read_json(path: Path) -> Json:
    """The JSON object in a file, NaN and infinity refused."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_JSON_BYTES + 1)
    except OSError as fault:
        raise InputError(f"expected the file {path}, got: {fault.strerror}; copy the whole folder") from None
    if len(text) > MAX_JSON_BYTES:
        raise InputError(f"expected {path} to be a small JSON file, got more than {MAX_JSON_BYTES >> 20} MiB")
    try:
        values = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as fault:
        raise InputError(f"expected {path} to be JSON, got: {fault}; copy it again") from None
    if not isinstance(values, dict):
        raise InputError(f"expected {path} to hold a JSON object, got {type(values).__name__}")
    return values


def _refuse_constant(name: str) -> None:
    raise ValueError(f"the value {name}")


# Reading: the schedule


def _schedule(keys: _Keys) -> ScheduleDescription:
    keys.only("_class_name", "DDPMScheduler")
    predictions: dict[str, Prediction] = {name: prediction for prediction, name in PREDICTION_TYPES.items()}
    variances: dict[str, Variance] = {name: variance for variance, name in VARIANCE_TYPES.items()} | {
        "fixed_small_log": "beta_tilde"
    }
    description = ScheduleDescription(
        betas=_betas(keys),
        prediction=keys.choice("prediction_type", "epsilon", predictions),
        variance=keys.choice("variance_type", "fixed_small", variances),
        clip=_clip(keys),
    )
    keys.only("predict_epsilon", True)
    keys.asked |= NOT_OF_THE_SCHEDULE
    keys.finish()
    return description


def _clip(keys: _Keys) -> Clip:
    """Thresholding wins over clipping; with its default maximum of 1 it is clipping."""
    thresholds, clips = keys.flag("thresholding", False), keys.flag("clip_sample", True)
    keys.asked |= {"dynamic_thresholding_ratio", "sample_max_value", "clip_sample_range"}
    if thresholds:
        keys.only("dynamic_thresholding_ratio", 0.995)
        most = keys.get("sample_max_value", 1.0, "1, or 1000 and more", _is_one_or_vast)
        return "static" if most == 1 else "dynamic"
    if clips:
        keys.only("clip_sample_range", 1.0)
    return "static" if clips else "none"


def _is_one_or_vast(value: Any) -> bool:
    return value == 1 or _between(999.0, math.inf)(value)


def _betas(keys: _Keys) -> tuple[float, ...]:
    num_timesteps = keys.count("num_train_timesteps", 1000, 100_000)
    start = keys.number("beta_start", 0.0001, 0.0, 1.0)
    end = keys.number("beta_end", 0.02, 0.0, 1.0)
    formulas: dict[str, Callable[[], Tensor]] = {
        "linear": lambda: torch.linspace(start, end, num_timesteps, dtype=torch.float64),
        "scaled_linear": lambda: torch.linspace(start**0.5, end**0.5, num_timesteps, dtype=torch.float64) ** 2,
        "squaredcos_cap_v2": lambda: schedules.cosine(num_timesteps).betas,
    }
    own = _own_betas(keys, num_timesteps)
    keys.asked.add("beta_schedule")
    betas = torch.tensor(own, dtype=torch.float64) if own else keys.choice("beta_schedule", "linear", formulas)()
    if keys.flag("rescale_betas_zero_snr", False):
        betas = schedules.zero_terminal_snr(schedules.from_betas(betas)).betas
    return tuple(betas.tolist())


def _own_betas(keys: _Keys, num_timesteps: int) -> list[float] | None:
    """`trained_betas`, which stand above every formula; only the last may be 1."""

    def fits(value: Any) -> bool:
        if value is None:
            return True
        if not isinstance(value, list) or len(value) != num_timesteps or not all(map(_between(0.0, 1.0), value[:-1])):
            return False
        return value[-1] == 1 or _between(0.0, 1.0)(value[-1])

    return keys.get("trained_betas", None, f"null or {num_timesteps} numbers between 0 and 1", fits)


# Reading: the network


def _network(folder: Path) -> NetworkFolder:
    keys = _Keys(folder / "config.json")
    own = keys.values.get("_class_name") == "AncestralUNet"
    settings = _own_settings(keys) if own else _unet_settings(keys)
    height, width = _size(keys)
    sides: Json = {
        "settings": settings,
        "in_channels": keys.count("in_channels", 3, 4096),
        "out_channels": keys.count("out_channels", 3, 4096),
        "height": height,
        "width": width,
        "num_class_embeds": keys.get("num_class_embeds", None, "null or a whole number in 2..1000000", _is_class_count),
    }
    keys.finish()
    empty = NetworkFolder(**sides, tensors={})
    return NetworkFolder(**sides, tensors=_read_tensors(folder / WEIGHTS, _expected_shapes(empty)))


def _is_class_count(value: Any) -> bool:
    return value is None or (_is_count(value, 1_000_000) and value > 1)


def _size(keys: _Keys) -> tuple[int, int]:
    def fits(value: Any) -> bool:
        sides = value if isinstance(value, list) and len(value) == 2 else [value]
        return all(_is_count(side, 16_384) for side in sides)

    size: Any = keys.get("sample_size", None, "a side, or height and width, in 1..16384", fits)
    return (size[0], size[1]) if isinstance(size, list) else (size, size)


def _own_settings(keys: _Keys) -> NetworkSettings:
    values = keys.get("settings", None, "the settings of the network", lambda value: isinstance(value, dict))
    settings = parse(NetworkSettings, dict(values or {}), f"settings in {keys.path}")
    largest = max(len(settings.widths), settings.layers, settings.middle_layers)
    if largest > 64 or max(*settings.widths, settings.stem or 1) > 16_384:
        raise keys.fault("settings", "at most 64 levels and layers and at most 16384 channels")
    return settings


def _unet_settings(keys: _Keys) -> NetworkSettings:
    """The settings of a `UNet2DModel`; a missing key means what it means in diffusers."""
    keys.only("_class_name", "UNet2DModel")
    for key, value in _BUILT_IN.items():
        keys.only(key, value)
    keys.choice("act_fn", "silu", {"silu": "silu", "swish": "silu"})
    keys.asked.add("num_train_timesteps")  # used by learned time embeddings only, which are refused above
    widths = keys.get("block_out_channels", [224, 448, 672, 896], "1 to 16 widths in 1..16384", _is_widths)
    keys.get("time_embedding_dim", None, f"null or {4 * widths[0]}", lambda value: value in (None, 4 * widths[0]))
    settings: Json = {
        "widths": widths,
        "layers": keys.count("layers_per_block", 2, 64),
        "attention": _attention_levels(keys, len(widths)),
        "middle_attention": keys.flag("add_attention", True),
        "head_width": keys.get("attention_head_dim", 8, "null or a width in 1..16384", _is_width_or_null),
        "dropout": keys.get("dropout", 0.0, "a number from 0 to below 1", _is_fraction),
        "norm_groups": keys.count("norm_num_groups", 32, 16_384),
        "norm_eps": keys.number("norm_eps", 1e-5, 0.0, 1.0),
        "time_conditioning": keys.choice(
            "resnet_time_scale_shift", "default", {"default": "add", "scale_shift": "scale-shift"}
        ),
        "time_order": "cos-sin" if keys.flag("flip_sin_to_cos", True) else "sin-cos",
        "time_frequency_shift": keys.choice("freq_shift", 0, {0: 0, 1: 1}),
        "downsample_padding": keys.choice("downsample_padding", 1, {1: "even", 0: "right-bottom"}),
    }
    _same_groups_in_the_middle(keys, settings)
    return parse(NetworkSettings, settings, str(keys.path))


_BUILT_IN = {
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "class_embed_type": None,
}
"""Keys of diffusers that have one value here."""


def _is_width_or_null(value: Any) -> bool:
    return value is None or _is_count(value, 16_384)


def _is_widths(value: Any) -> bool:
    return isinstance(value, list) and 1 <= len(value) <= 16 and all(_is_count(width, 16_384) for width in value)


def _attention_levels(keys: _Keys, levels: int) -> list[int]:
    """Levels of attention blocks; the way up must mirror the way down."""

    def types(key: str, default: Sequence[str], kinds: Sequence[str]) -> list[str]:
        expected = f"{levels} of {' and '.join(kinds)}"
        return keys.get(
            key,
            list(default),
            expected,
            lambda value: isinstance(value, list) and len(value) == levels and all(kind in kinds for kind in value),
        )

    down = types("down_block_types", ["DownBlock2D"] + ["AttnDownBlock2D"] * 3, ["DownBlock2D", "AttnDownBlock2D"])
    up = types("up_block_types", ["AttnUpBlock2D"] * 3 + ["UpBlock2D"], ["UpBlock2D", "AttnUpBlock2D"])
    attends = [kind == "AttnDownBlock2D" for kind in down]
    if attends != [kind == "AttnUpBlock2D" for kind in reversed(up)]:
        raise keys.fault("up_block_types", f"the mirror image of down_block_types {_shown(down)}")
    return [level for level, attending in enumerate(attends) if attending]


def _same_groups_in_the_middle(keys: _Keys, settings: Json) -> None:
    """Refuse a middle attention with other groups: with scale_shift, null means that it is not normalised at all."""
    groups = settings["norm_groups"]
    fine = (groups,) if settings["time_conditioning"] == "scale-shift" else (groups, None)
    if not settings["middle_attention"]:
        keys.asked.add("attn_norm_num_groups")
    else:
        keys.get("attn_norm_num_groups", None, f"norm_num_groups = {groups}", lambda value: value in fine)


def _expected_shapes(network: NetworkFolder) -> dict[str, list[int]]:
    """Name and shape of every tensor, from a network built without memory."""
    with torch.device("meta"):
        built = UNet(network.settings, network.in_channels, network.out_channels, network.num_classes)
    return {name: list(tensor.shape) for name, tensor in built.state_dict().items()}


# Reading: the weights


def _read_tensors(path: Path, shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """The tensors of a safetensors file as float32, refused before loading if names or shapes differ."""
    if not path.is_file():
        raise InputError(f"expected the weights {path}, {_what_is_there(path.parent)}")
    try:
        with safe_open(path, framework="pt") as file:
            names = {_current_name(name): name for name in file.keys()}  # noqa: SIM118
            _check_names(path, set(names), set(shapes))
            for name, shape in shapes.items():
                _check_slice(path, name, file.get_slice(names[name]), shape)
            return {name: file.get_tensor(names[name]).float() for name in shapes}
    except (OSError, SafetensorError) as fault:
        raise InputError(f"expected {path} to be a whole safetensors file, got: {fault}; copy it again") from None


def _what_is_there(folder: Path) -> str:
    pickles = sorted(file.name for pattern in PICKLES for file in folder.glob(pattern))
    if not pickles:
        return "got none; copy the whole folder"
    return f"got {pickles[0]}; only safetensors are read, because loading {Path(pickles[0]).suffix} files can run code"


def _current_name(name: str) -> str:
    """`name` with attention's layers as they are called now."""
    owner, _, kind = name.rpartition(".")
    above, _, layer = owner.rpartition(".")
    in_attention = "attentions" in above.split(".")
    return f"{above}.{NAMES_IN_OLD_FILES.get(layer, layer)}.{kind}" if in_attention else name


def _check_names(path: Path, found: set[str], expected: set[str]) -> None:
    for names, problem in ((expected - found, "is missing"), (found - expected, "belongs to no layer")):
        if names:
            raise InputError(f"expected {path} to fit its config.json, got a file where {min(names)!r} {problem}")


def _check_slice(path: Path, name: str, tensor: Any, shape: list[int]) -> None:
    got, kind = list(tensor.get_shape()), tensor.get_dtype()
    if got != shape:
        raise InputError(f"expected {name} in {path} of shape {shape} as its config.json says, got {got}")
    if kind not in FLOAT_TYPES:
        raise InputError(f"expected {name} in {path} of a type among {', '.join(FLOAT_TYPES)}, got {kind}")


# Writing


def _write_json(path: Path, values: Json) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Contiguous on the CPU, readable by others: safetensors itself would write mode 0600."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, path, metadata={"format": "pt"})
    path.chmod(0o644)


def _model_index(shared: bool) -> Json:
    pipeline = "DDPMPipeline" if shared else "AncestralPipeline"
    unet = ["diffusers", "UNet2DModel"] if shared else ["ancestral", "AncestralUNet"]
    return {
        "_class_name": pipeline,
        "_diffusers_version": DIFFUSERS_VERSION,
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": unet,
    }


def _scheduler_config(schedule: ScheduleDescription) -> Json:
    return {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": DIFFUSERS_VERSION,
        "num_train_timesteps": len(schedule.betas),
        "trained_betas": list(schedule.betas),
        "prediction_type": PREDICTION_TYPES[schedule.prediction],
        "variance_type": VARIANCE_TYPES[schedule.variance],
        "clip_sample": schedule.clip == "static",
        "clip_sample_range": 1.0,
        "thresholding": schedule.clip == "dynamic",
        "dynamic_thresholding_ratio": 0.995,
        "sample_max_value": 1e6,  # never reached: 1, its default, would make thresholding mere clipping
        "timestep_spacing": "trailing",
        "steps_offset": 0,
        "rescale_betas_zero_snr": False,
    }


def _images(network: NetworkFolder) -> Json:
    square = network.height == network.width
    return {
        "sample_size": network.height if square else [network.height, network.width],
        "in_channels": network.in_channels,
        "out_channels": network.out_channels,
        "num_class_embeds": network.num_class_embeds,
    }


def _own_config(network: NetworkFolder) -> Json:
    return {"_class_name": "AncestralUNet", **_images(network), "settings": network.settings.model_dump(mode="json")}


def _unet_config(network: NetworkFolder) -> Json:
    settings = network.settings
    attends = [level in settings.attention for level in range(len(settings.widths))]
    return {
        "_class_name": "UNet2DModel",
        "_diffusers_version": DIFFUSERS_VERSION,
        **_images(network),
        **_BUILT_IN,
        "act_fn": "silu",
        "block_out_channels": list(settings.widths),
        "layers_per_block": settings.layers,
        "down_block_types": ["AttnDownBlock2D" if attending else "DownBlock2D" for attending in attends],
        "up_block_types": ["AttnUpBlock2D" if attending else "UpBlock2D" for attending in reversed(attends)],
        "add_attention": settings.middle_attention,
        "attention_head_dim": settings.head_width,
        "dropout": settings.dropout,
        "norm_num_groups": settings.norm_groups,
        "attn_norm_num_groups": settings.norm_groups,
        "norm_eps": settings.norm_eps,
        "resnet_time_scale_shift": {"add": "default", "scale-shift": "scale_shift"}[settings.time_conditioning],
        "flip_sin_to_cos": settings.time_order == "cos-sin",
        "freq_shift": settings.time_frequency_shift,
        "downsample_padding": {"even": 1, "right-bottom": 0}[settings.downsample_padding],
    }
