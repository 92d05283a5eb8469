"""The typed tree of settings: one schema for Python, files, the command line and the report.

Every model is frozen and refuses unknown keys; the text under each field is its help everywhere. This module stands
in the lowest row and imports no torch, so each part of the package takes its own branch of the tree as an argument
and no setting is written twice. A setting that another one makes meaningless is an error, never ignored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ancestral.contracts import described, in_known_spelling
from ancestral.errors import InputError
from ancestral.files import read_json, read_toml

MOST_TIMESTEPS = 100_000
MOST_IMAGES = 1_000_000
"""That are computed, generated or measured at once."""
MOST_CLASS_EMBEDS = 1_000_000
PositiveInt = Annotated[int, Field(ge=1, le=2**53)]
NumTimesteps = Annotated[int, Field(ge=1, le=MOST_TIMESTEPS)]
NumImages = Annotated[int, Field(ge=1, le=MOST_IMAGES)]
Side = Annotated[int, Field(ge=1, le=2**14)]
"""Of an image, px."""
Width = Annotated[int, Field(ge=1, le=2**14)]
"""Channels."""
Depth = Annotated[int, Field(ge=1, le=100)]
"""Blocks one after another."""
Threads = Annotated[int, Field(ge=1, le=4096)]
MOST_SEED = 2**63 - 1
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]


if TYPE_CHECKING:
    from pydantic._internal._model_construction import ModelMetaclass
else:
    ModelMetaclass = type(BaseModel)  # which has no public name


class _InOneLine(ModelMetaclass):
    """Settings that are made in Python answer as those of a file: in one line."""

    def __call__(cls, *args: Any, **values: Any) -> Any:
        try:
            return super().__call__(*args, **values)
        except ValidationError as error:
            names = field_names(cast(type[Settings], cls))
            raise InputError(f"{cls.__name__}: {described(error.errors(), names)}") from None


class Settings(BaseModel, metaclass=_InOneLine):
    """Frozen, no unknown keys, no NaN or infinity; field docstrings are the help. Names are taken in any spelling."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _names_in_any_spelling(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        kinds = {name: field.annotation for name, field in cls.model_fields.items()}
        return {name: in_known_spelling(value, kinds.get(name), name) for name, value in values.items()}

    def __setattr__(self, name: str, value: Any) -> None:
        raise InputError(f"expected {name} to stay as it is, since settings are frozen; make others with model_copy")


S = TypeVar("S", bound=Settings)


class DataSettings(Settings):
    """Which images, and how they are fitted to one size."""

    source: str = "digits"
    """digits, photos, mnist, fashion-mnist, cifar10, a folder of images, or a packed data set: a folder or a URL."""
    size: Side | tuple[Side, Side] | None = None
    """Side, or height and width, in pixels. None: as the data set comes; 32 for photos and folders."""
    color: Literal["auto", "grey", "grey-alpha", "rgb", "rgba"] = "auto"
    """auto: grey where every image is grey, else rgb, opaque. grey-alpha and rgba: transparency is learnt too."""
    fit: Literal["crop", "pad", "squash"] = "crop"
    """How another aspect ratio becomes ours: crop the centre, pad with the background, or squash."""
    background: str = "white"
    """What shows through transparency and fills padding: a colour name or #rrggbb."""
    flip: bool = False
    """Mirror half of the training images left to right."""
    labels: Literal["auto", "none", "folders"] = "auto"
    """auto: train on class labels where the data has them. folders: a folder's images are by class as its sub-folders
    are called, whatever else says so."""
    splits: Literal["auto", "none", "folders"] = "auto"
    """auto: sub-folders called train, test and val (valid, validation, dev) are the parts of a folder's images. none:
    they are sub-folders like others. folders: they are, even beside others, whose images are trained on."""
    validation: Fraction = 0.05
    """Fraction of the images held out to watch the loss while training, where there is no validation part already."""
    test: Fraction = 0.1
    """Fraction held out for evaluation, where there is no test part already."""

    @property
    def height_width(self) -> tuple[int, int] | None:
        """`size` as (height, width), or None for the data set's own."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> DataSettings:
        if self.validation + self.test >= 1:
            raise ValueError(f"expected validation + test < 1, got {self.validation} + {self.test}")
        return self


class ScheduleSettings(Settings):
    """How the signal fades: alpha_bar over the timesteps. Ends left at None take the schedule's published values."""

    name: Literal["linear", "cosine", "scaled-linear", "sigmoid", "log-snr", "betas"] = "cosine"
    """linear and scaled-linear: in beta and its root. cosine, sigmoid: in alpha_bar. log-snr: linear in log-SNR. betas:
    your own."""
    num_timesteps: NumTimesteps = 1000
    """T, the number of noising steps."""
    beta_start: Annotated[float, Field(gt=0, lt=1)] | None = None
    """First beta of linear (1e-4) and scaled-linear (8.5e-4), at T = 1000; rescaled by 1000 / T."""
    beta_end: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Last beta of linear (0.02) and scaled-linear (0.012), at T = 1000; rescaled by 1000 / T."""
    log_snr_max: float | None = None
    """Log-SNR at t = 1 of log-snr (13.3)."""
    log_snr_min: float | None = None
    """Log-SNR at t = T of log-snr (-5)."""
    betas: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(max_length=MOST_TIMESTEPS)] | None = None
    """The T betas of the schedule `betas`; only the last may be 1."""
    zero_terminal_snr: bool = False
    """Rescale so that nothing of the image is left at t = T (needs prediction x0 or v)."""

    @model_validator(mode="after")
    def _only_what_the_schedule_uses(self) -> ScheduleSettings:
        uses = {
            "linear": {"beta_start", "beta_end"},
            "scaled-linear": {"beta_start", "beta_end"},
            "log-snr": {"log_snr_max", "log_snr_min"},
            "betas": {"betas"},
        }.get(self.name, set())
        for field in ("beta_start", "beta_end", "log_snr_max", "log_snr_min", "betas"):
            if getattr(self, field) is not None and field not in uses:
                raise ValueError(f"expected no {field} with the schedule {self.name}, which does not use it")
        top = 13.3 if self.log_snr_max is None else self.log_snr_max
        bottom = -5.0 if self.log_snr_min is None else self.log_snr_min
        if top <= bottom:
            raise ValueError(f"expected log_snr_max above log_snr_min, got {top} and {bottom}")
        if self.zero_terminal_snr and self.num_timesteps < 2:
            raise ValueError("expected at least two timesteps with zero_terminal_snr")
        if self.name == "betas" and len(self.betas or ()) != self.num_timesteps:
            raise ValueError(f"expected num_timesteps = {self.num_timesteps} betas, got {len(self.betas or ())}")
        return self


ReverseVariance = Literal["beta", "beta_published", "beta_tilde", "analytic"]
"""Of the reverse steps of a network without a learned one."""


class DiffusionSettings(Settings):
    """The process and what the network predicts."""

    schedule: ScheduleSettings = ScheduleSettings()
    prediction: Literal["eps", "x0", "v", "levels"] = "eps"
    """What the network's output means: the noise, the image, v = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0, or how
    likely each of the 256 levels of every pixel is."""
    variance: Literal["beta", "beta_published", "beta_tilde", "learned"] = "beta_tilde"
    """Variance of a reverse step: beta is exact for unit-variance data, beta_tilde for constant data; beta_published:
    beta, but of the last step beta_tilde, as in the DDPM paper's program; learned: the network says where between."""
    time: Literal["index", "log-snr"] = "index"
    """What the network is told of time: the timestep's index, or the log-SNR, which also names the times between."""

    @model_validator(mode="after")
    def _something_to_predict_from(self) -> DiffusionSettings:
        no_signal = self.schedule.zero_terminal_snr or (self.schedule.betas or (0.0,))[-1] == 1
        if no_signal and self.prediction == "eps":
            raise ValueError("expected prediction x0 or v with zero_terminal_snr (at t = T, eps says nothing of x0)")
        return self


class NetworkSettings(Settings):
    """The shape of the U-Net. Levels count from 0, full resolution; each next one halves it."""

    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=14)] = (64, 128, 128)
    """Channels at each level."""
    layers: Depth = 2
    """ResNet blocks at each level on the way down (one more on the way up)."""
    attention: Annotated[tuple[int, ...], Field(max_length=14)] = (2,)
    """Levels that attend after every ResNet block."""
    middle_layers: Annotated[int, Field(ge=0, le=100)] = 1
    """Attention and ResNet block pairs in the middle, after its first ResNet block."""
    middle_attention: bool = True
    """Attend in the middle."""
    middle_norm: bool = True
    """Normalise what the middle attends to; published networks with scale-shift do not."""
    head_width: Width | None = None
    """Channels of an attention head. None: one head."""
    stem: Width | None = None
    """Channels of the first convolution; the time embedding is four times as wide. None: those of level 0."""
    dropout: Fraction = 0.0
    """Dropout inside every ResNet block."""
    norm_groups: Width = 32
    """Groups of every group normalisation; must divide every width."""
    norm_eps: PositiveFloat = 1e-5
    """Added to the variance in every normalisation."""
    fourier: Annotated[tuple[Annotated[int, Field(ge=0, le=12)], ...], Field(max_length=13)] = ()
    """Exponents n: the network also sees sin(2^n pi x) and cos(2^n pi x) of every pixel."""
    output_rank: Width | None = None
    """Channels out of which a 1x1 convolution mixes the output: for predictions of many channels (levels)."""
    time_conditioning: Literal["add", "scale-shift"] = "add"
    """How the time embedding enters a ResNet block: added, or as scale and shift of its second normalisation."""
    time_order: Literal["sin-cos", "cos-sin"] = "sin-cos"
    """Order of the halves of the sinusoidal embedding."""
    time_frequency_shift: Literal[0, 1] = 1
    """Lowest frequency of the embedding: 1 / 10000 with 1, one step above it with 0."""
    downsample_padding: Literal["even", "right-bottom"] = "even"
    """Zeros around the image before a stride-2 convolution; the DDPM paper's network pads right and bottom only."""

    @model_validator(mode="after")
    def _sizes_divide(self) -> NetworkSettings:
        for width in {*self.widths, self.stem or self.widths[0]}:
            if width % self.norm_groups:
                raise ValueError(f"expected widths that norm_groups = {self.norm_groups} divides, got {width}")
        if (self.stem or self.widths[0]) % 2:
            raise ValueError(f"expected an even first width, got {self.stem or self.widths[0]}")
        attends = [self.widths[level] for level in self.attention if 0 <= level < len(self.widths)]
        if len(attends) != len(self.attention):
            raise ValueError(f"expected attention levels in 0..{len(self.widths) - 1}, got {list(self.attention)}")
        if self.middle_attention and self.middle_layers:
            attends.append(self.widths[-1])
        elif not self.middle_norm:
            raise ValueError("expected middle_norm without an attention in the middle, which is all that it is for")
        for width in attends:
            if self.head_width and width % self.head_width:
                raise ValueError(f"expected attended widths that head_width = {self.head_width} divides, got {width}")
        return self


class TrainingSettings(Settings):
    """Algorithm 1 and its budget. Training ends at the first limit that is reached."""

    steps: PositiveInt | None = None
    """Budget in optimiser steps."""
    images: PositiveInt | None = None
    """Budget in images seen."""
    minutes: Annotated[float, Field(gt=0, le=1e8)] | None = None
    """Budget in minutes of training on this machine."""
    batch_size: NumImages = 128
    """Images of one optimiser step."""
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    """adamw decays the weights apart from the gradient. muon: Adam, but inner weights take orthogonal steps."""
    lr: PositiveFloat = 2e-4
    """Learning rate after warm-up."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay of the optimiser's two moments."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Weight decay of adamw (0.01)."""
    warmup_images: Annotated[int, Field(ge=0, le=2**53)] = 20_000
    """Images over which the learning rate rises from 0."""
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls to 0 over the budget."""
    clip_norm: PositiveFloat | None = 1.0
    """Gradients with a larger norm are scaled down to it. None: no clipping."""
    ema_decay: Fraction = 0.9999
    """Decay of the averaged weights at each step; while young it is (1 + n) / (10 + n) after n steps."""
    loss: Literal["simple", "vlb", "hybrid", "continuous"] = "simple"
    """simple: squared error (DDPM). vlb: the bound on the log-likelihood, bits per dimension. hybrid: simple for the
    mean and vlb for a learned variance. continuous: the bound of infinitely many steps."""
    timesteps: Literal["uniform", "stratified", "importance"] = "uniform"
    """How a batch draws its timesteps: independently; one in each of as many equal parts; or stratified, and more
    often where recent losses are large, which their weight makes up for."""
    weighting: Literal["simple", "min-snr"] = "simple"
    """simple: every timestep counts alike (DDPM). min-snr: the weight min(SNR, gamma) in x0."""
    min_snr_gamma: PositiveFloat | None = None
    """gamma of min-snr (5)."""
    label_dropout: Fraction = 0.1
    """Share of training images whose label is hidden, which is what guidance needs."""
    log_every_steps: PositiveInt = 50
    """Steps between two lines of the log."""
    validate_every_steps: PositiveInt = 500
    """Steps between two held-out losses."""
    sample_every_steps: PositiveInt = 2000
    """Steps between two grids of samples."""
    checkpoint_every_steps: PositiveInt = 1000
    """Steps between two checkpoints."""
    checkpoint_every_minutes: Annotated[float, Field(gt=0, le=1e8)] = 5.0
    """A checkpoint at least this often."""
    keep_checkpoints: PositiveInt = 2
    """Newest checkpoints to keep."""
    milestone_every_steps: PositiveInt | None = None
    """Checkpoints at multiples of this are kept for good, beside the newest. None: none."""
    on_divergence: Literal["stop", "rollback"] = "stop"
    """What follows ten steps in a row that are not finite. rollback: back to the last checkpoint that is a multiple of
    checkpoint_every_steps, and on from there with half the learning rate."""
    rollbacks: PositiveInt | None = None
    """Times that rollback goes back before training stops all the same (3)."""

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> TrainingSettings:
        if self.steps is None and self.images is None and self.minutes is None:
            raise ValueError("expected a budget: set steps, images or minutes")
        if self.weight_decay is not None and self.optimizer != "adamw":
            raise ValueError(f"expected no weight_decay with {self.optimizer}: use optimizer adamw")
        if self.weighting == "min-snr" and self.loss != "simple":
            raise ValueError(
                f"expected no weighting min-snr with the loss {self.loss}, whose weights are the bound's own"
            )
        if self.min_snr_gamma is not None and self.weighting != "min-snr":
            raise ValueError("expected no min_snr_gamma with weighting simple: use weighting min-snr")
        if self.rollbacks is not None and self.on_divergence != "rollback":
            raise ValueError("expected no rollbacks with on_divergence stop: use on_divergence rollback")
        return self


class SamplingSettings(Settings):
    """How images are generated, unless asked otherwise."""

    sampler: Literal[
        "ancestral", "ddim", "euler", "heun", "dpm++2m", "dpm++3m", "dpm++2s", "dpm++3s", "dpm++2m-sde",
        "unipc-1", "unipc-2", "unipc-3", "deis-2", "deis-3", "deis-4", "ipndm-2", "ipndm-3", "ipndm-4",
    ] = "ddim"  # fmt: skip
    """ancestral: Algorithm 2 at any stride. ddim: deterministic at eta 0. The others follow the probability flow at a
    higher order; `ancestral sweep` measures which is best for a network."""
    steps: NumTimesteps = 50
    """Steps from noise to image; at most T. Each calls the network once; of heun and dpm++2s twice, of dpm++3s three
    times."""
    grid: Literal["trailing", "log-snr", "middle", "karras", "quadratic"] | None = None
    """Where the steps fall: evenly in t; in log-SNR; in log-SNR within noise of 80 to 0.03 times the signal; in
    sigma^(1/7); in the root of t. None: the sampler's own."""
    eta: Annotated[float, Field(ge=0, le=1)] | None = None
    """Noise of ddim and dpm++2m-sde: 0 is none (default of ddim), 1 as much as ancestral sampling (of dpm++2m-sde)."""
    variance: ReverseVariance | None = None
    """Variance of an ancestral step. None: diffusion.variance. analytic: the one that `ancestral variance` measured."""
    guidance: Annotated[float, Field(ge=0)] = 1.0
    """1 is none, more follows the label more closely, 0 ignores it."""
    guidance_by: Literal["classifier-free", "autoguidance", "classifier"] = "classifier-free"
    """What guides: the network's own prediction of no class (classifier-free guidance), that of a weaker network of the
    same class (autoguidance), or a classifier of noisy images, which also lends classes to a network without any."""
    negative: str | None = None
    """A class to move away from, in place of no class."""
    guidance_rescale: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How far guided images are brought back to the contrast that they would have without: 0 not, 1 all the way."""
    guidance_interval: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]] | None = None
    """Guide only at these levels of noise over signal, from and to, such as 0.3 3. None: at all."""
    clip: Literal["none", "static", "dynamic"] = "static"
    """Keep the x0 estimate in [-1, 1]: by clipping, or by scaling it by its 99.5th percentile."""
    cache: NumTimesteps = 1
    """Compute the network's first level at every step, those below it only every so many; 1: all at every step."""

    @model_validator(mode="after")
    def _noise_belongs_to_its_sampler(self) -> SamplingSettings:
        if self.eta is not None and self.sampler not in ("ddim", "dpm++2m-sde"):
            raise ValueError(f"expected no eta with the sampler {self.sampler}: eta belongs to ddim and dpm++2m-sde")
        if self.variance is not None and self.sampler != "ancestral":
            raise ValueError(f"expected no variance with the sampler {self.sampler}: it belongs to ancestral")
        return self

    @model_validator(mode="after")
    def _guidance_has_something_to_act_on(self) -> SamplingSettings:
        shapes = {
            "negative": self.negative is not None,
            "guidance_rescale": self.guidance_rescale > 0,
            "guidance_interval": self.guidance_interval is not None,
        }
        for name in (name for name, given in shapes.items() if given):
            if self.guidance in (0, 1) and self.guidance_by != "classifier":
                raise ValueError(f"expected a guidance other than 0 and 1 with {name}: there is nothing to guide")
            if self.guidance_by != "classifier-free" and name == "negative":
                raise ValueError(f"expected no negative with guidance_by {self.guidance_by}: it stands for no class")
            if self.guidance_by == "classifier" and name == "guidance_rescale":
                raise ValueError("expected no guidance_rescale with guidance_by classifier, which has no second image")
        low, high = self.guidance_interval or (0.0, 1.0)
        if low >= high:
            raise ValueError(f"expected a guidance_interval that rises, got {low} and {high}")
        if self.guidance_interval is not None and self.cache > 1:
            raise ValueError("expected cache 1 with a guidance_interval: between its ends what is kept would grow old")
        return self


class ComputeSettings(Settings):
    """How the machine is used, which changes nothing beyond rounding. Left open, `ancestral tune`'s measurements of
    this network on this machine decide, or without them what is right on most machines."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the network's products. auto: bfloat16 where the machine computes in it (AMX, CUDA), else float32."""
    compile: Literal["auto", "no", "whole"] = "auto"
    """Compile the network for training (no; whole on CUDA)."""
    threads: Threads | None = None
    """Threads to compute with on a CPU."""
    micro_batch: NumImages | None = None
    """Images of a batch that are computed at once: fewer take less memory, the gradient is the same (the whole)."""
    chunk: NumImages | None = None
    """Images generated at once (64; 512 on CUDA)."""


class Config(Settings):
    """Everything a run is made of."""

    data: DataSettings = DataSettings()
    diffusion: DiffusionSettings = DiffusionSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings(minutes=30)
    sampling: SamplingSettings = SamplingSettings()
    compute: ComputeSettings = ComputeSettings()
    seed: Seed = 0
    """Seed of everything that is random."""

    @model_validator(mode="after")
    def _losses_find_what_they_train(self) -> Config:
        loss, diffusion = self.training.loss, self.diffusion
        if (loss == "hybrid") != (diffusion.variance == "learned") and loss != "vlb":
            raise ValueError(
                f"expected the loss hybrid or vlb with diffusion.variance learned and no hybrid without, got {loss} "
                f"with {diffusion.variance}: only a bound trains a variance"
            )
        if loss == "continuous" and (diffusion.time, diffusion.schedule.name) != ("log-snr", "log-snr"):
            raise ValueError(
                "expected diffusion.time log-snr and diffusion.schedule.name log-snr with the loss continuous, got "
                f"{diffusion.time} and {diffusion.schedule.name}: it trains at times between the timesteps"
            )
        return self

    @model_validator(mode="after")
    def _guided_by_itself(self) -> Config:
        if self.sampling.guidance_by != "classifier-free":
            raise ValueError(
                f"expected sampling.guidance_by classifier-free, got {self.sampling.guidance_by}: other networks are "
                f"named when images are generated, by --weaker or --classifier"
            )
        return self

    @model_validator(mode="after")
    def _no_more_steps_than_timesteps(self) -> Config:
        if self.sampling.steps > self.diffusion.schedule.num_timesteps:
            raise ValueError(
                f"expected sampling.steps <= num_timesteps = {self.diffusion.schedule.num_timesteps}, "
                f"got {self.sampling.steps}"
            )
        return self


class ImageSpec(Settings):
    """What a pipeline generates: the shape of an image and the names of the classes (empty: unconditional)."""

    channels: Width
    height: Side
    width: Side
    class_names: tuple[str, ...] = ()
    null_class: Annotated[int, Field(ge=0)] | Literal["last", "none"] = "last"
    """Which class embedding of the folder stands for no class: last, as in all that is trained here; none of them; or
    that of an index. The others are the classes, in order."""

    @model_validator(mode="after")
    def _null_class_is_one_of_them(self) -> ImageSpec:
        if isinstance(self.null_class, int) and self.null_class >= (self.num_class_embeds or 0):
            raise ValueError(f"expected null_class in 0..{len(self.class_names)}, got {self.null_class}")
        return self

    @property
    def num_class_embeds(self) -> int | None:
        """Class embeddings of the network, that of no class included; None: no classes."""
        return len(self.class_names) + (self.null_class != "none") if self.class_names else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width


def parse(kind: type[S], values: Any, where: str) -> S:
    """`values` as `kind`, or one line that names the first fault and `where` it stands.

    Raises:
        InputError: unknown key (with the nearest known one), wrong type, or a value out of range.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{where}: {described(error.errors(), field_names(kind))}") from None


def field_names(kind: type[Settings], prefix: str = "") -> list[str]:
    """Dotted names of every setting under `kind`."""
    names = []
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            names += field_names(field.annotation, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every setting in a nested dump."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def merged(base: Config, changes: dict[str, Any], where: str) -> Config:
    """`base` with the nested `changes` laid over it, checked as a whole."""

    def lay(under: Any, over: Any) -> Any:
        if not (isinstance(under, dict) and isinstance(over, dict)):
            return over
        return {**under, **{key: lay(under.get(key), value) for key, value in over.items()}}

    return parse(Config, lay(base.model_dump(), changes), where)


def sampling_with(base: SamplingSettings, changes: dict[str, Any], where: str) -> SamplingSettings:
    """`base` with `changes` laid over it; what belongs to its sampler goes with it.

    Raises:
        InputError: a faulty setting, or settings that do not go together.
    """
    values = base.model_dump()
    changed = parse(SamplingSettings, {"sampler": changes["sampler"]}, where) if "sampler" in changes else base
    if changed.sampler != base.sampler:
        values["eta"] = values["variance"] = values["grid"] = None
    return parse(SamplingSettings, {**values, **changes}, where)


def read_settings(path: Path) -> dict[str, Any]:
    """The nested settings in a .toml or .json file.

    Raises:
        InputError: missing, unreadable or malformed file, or another format.
    """
    readers = {".toml": read_toml, ".json": read_json}
    if path.suffix.lower() not in readers:
        raise InputError(f"expected a settings file that ends in .toml or .json, got {path}")
    return readers[path.suffix.lower()](path)
