"""How to compute; the tree of settings, what one branch asks of another, and how it is made of values and files."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from ancestral.contracts import first_fault
from ancestral.errors import InputError, SettingError
from ancestral.files import read_json, read_toml
from ancestral.names import SAME, spelled
from ancestral.settings.base import NumImages, S, Seed, Settings, Threads, choices, field_names
from ancestral.settings.codec import AnyCodec, AutoencoderSettings, PixelSettings
from ancestral.settings.data import DataSettings
from ancestral.settings.diffusion import DiffusionSettings
from ancestral.settings.network import AnyNetwork, UNetSettings
from ancestral.settings.sampling import SamplingSettings
from ancestral.settings.text import AnyText, NoText
from ancestral.settings.training import TrainingSettings


class ComputeSettings(Settings):
    """How the machine is used, which changes nothing beyond rounding. Left open, `ancestral tune`'s measurements of
    this network on this machine decide, or without them what is right on most machines."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the network's products. auto: bfloat16 where the machine is fast in it (AMX, CUDA, or so measured), else
    float32."""
    compile: Literal["auto", "no", "whole"] = "auto"
    """Compile the network for training (no; whole on CUDA)."""
    threads: Threads | None = None
    """Threads to compute with on a CPU."""
    micro_batch: NumImages | None = None
    """Images of a batch that are computed at once: fewer take less memory, the gradient is the same (the whole)."""
    chunk: NumImages | None = None
    """Images generated at once (64; 512 on CUDA)."""
    engine: Literal["auto", "torch", "onnxruntime", "openvino"] = "auto"
    """What calls the network where images are generated on a CPU; training is torch's (torch)."""

    @model_validator(mode="after")
    def _engine_has_the_precision(self) -> ComputeSettings:
        if (self.engine, self.precision) == ("onnxruntime", "bfloat16"):
            raise ValueError(
                "expected the precision float32 with the engine onnxruntime, got bfloat16, in which it computes no "
                "convolutions; take float32, or the engine openvino"
            )
        return self


class Config(Settings):
    """Everything a run is made of."""

    data: DataSettings = DataSettings()
    codec: Annotated[AnyCodec, Field(discriminator="name")] = PixelSettings()
    """What is diffused. pixels: the images themselves. plain, kl, vq: latents of an autoencoder that is trained first
    (docs/autoencoders.md). frozen: those of one that exists already."""
    diffusion: DiffusionSettings = DiffusionSettings()
    network: Annotated[AnyNetwork, Field(discriminator="name")] = UNetSettings()
    """unet: convolutions at several resolutions. dit: a transformer on patches of the image.
    linear-attention: a U-Net that attends at every level, in linear time at most."""
    text: Annotated[AnyText, Field(discriminator="name")] = NoText()
    """none: captions are not read. learned: a tokenizer and an encoder of one's own, learned from the captions. frozen:
    those in a folder of transformers, CLIP or T5 (extra `text`)."""
    training: TrainingSettings = TrainingSettings(minutes=30)
    sampling: SamplingSettings = SamplingSettings()
    compute: ComputeSettings = ComputeSettings()
    seed: Seed = 0
    """Seed of everything that is random."""

    @model_validator(mode="after")
    def _branches_fit_together(self) -> Config:
        loss, diffusion = self.training.loss, self.diffusion
        if (loss == "hybrid") != (diffusion.variance == "learned") and loss != "vlb":
            raise ValueError(
                f"expected the loss hybrid or vlb with diffusion.variance learned and no hybrid without, got {loss} "
                f"with {diffusion.variance}: only a bound trains a variance"
            )
        network, reads = self.network, self.text.name != "none"
        if isinstance(network, UNetSettings) and network.cross_attention is not None and not reads:
            raise ValueError("expected no network.cross_attention with text.name none: there is no text to attend to")
        if isinstance(network, UNetSettings) and not network.middle_norm and reads:
            raise ValueError(f"expected network.middle_norm with text.name {self.text.name}, whose block normalises")
        pooled = isinstance(self.text, NoText) or self.text.pooled
        if not pooled and not network.attends_to_text:
            raise ValueError("expected text.pooled with a network in which nothing attends to the text, got it off")
        if loss == "continuous" and (diffusion.time, diffusion.schedule.name) != ("log-snr", "log-snr"):
            raise ValueError(
                "expected diffusion.time log-snr and diffusion.schedule.name log-snr with the loss continuous, got "
                f"{diffusion.time} and {diffusion.schedule.name}: it trains at times between the timesteps"
            )
        if (by := self.sampling.guidance_by) != "classifier-free":
            raise ValueError(
                f"expected sampling.guidance_by classifier-free, got {by}: name other networks to `sample`"
            )
        if self.codec.name != "pixels":
            self._has_latents()
        if self.sampling.steps > (timesteps := diffusion.schedule.num_timesteps):
            raise ValueError(f"expected sampling.steps <= num_timesteps = {timesteps}, got {self.sampling.steps}")
        return self

    def _has_latents(self) -> None:
        """That nothing is asked of latents which pixels alone have: a bound, levels, and changes at each step."""
        name, loss = self.codec.name, self.training.loss
        if (chance := self.training.augment) > 0:
            raise ValueError(
                f"expected training.augment 0 with codec.name {name}, whose latents are made before training, got "
                f"{chance}; leave it out, or train on pixels"
            )
        if (clip := self.sampling.clip) != "none":
            raise ValueError(f"expected sampling.clip none with codec.name {name}, whose x0 has no bound, got {clip}")
        if loss in ("vlb", "hybrid") or self.diffusion.prediction == "levels":
            got = f"{loss} and {self.diffusion.prediction}"
            raise ValueError(
                f"expected another training.loss than vlb and hybrid and another diffusion.prediction than levels with "
                f"codec.name {name}, got {got}: they are of the 256 levels of pixels"
            )

    @property
    def own_training(self) -> TrainingSettings:
        """How the network is trained: by what an autoencoder that is trained first leaves of the budget."""
        training, codec = self.training, self.codec
        return training.parted(codec.share)[1] if isinstance(codec, AutoencoderSettings) else training


def parse(kind: type[S], values: Any, where: str) -> S:
    """`values` as `kind`, or an InputError of one line that names the first fault and `where` it stands."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise SettingError(where, *first_fault(error.errors(), field_names(kind))) from None


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every setting in a nested dump."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def leaves(settings: Settings, prefix: str = "", every: bool = False) -> Iterator[tuple[str, FieldInfo, Any]]:
    """(dotted name, field, value) of every setting under `settings` that is not itself a branch.

    Args:
        every: with the fields of all choices of a branch, those that it does not have now at their defaults.
    """
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if not isinstance(value, Settings):
            yield prefix + name, field, value
        elif choices(field):
            yield from _leaves_of_choice(value, field, f"{prefix}{name}.", every)
        else:
            yield from leaves(value, f"{prefix}{name}.", every)


def _leaves_of_choice(chosen: Settings, branch: FieldInfo, prefix: str, every: bool) -> Iterator[Any]:
    """The name of the choice, whose help is that of the branch; its fields, which say whose they are unless all have
    them. What several choices have under one name means the same and is of one type.
    """
    kinds, own = choices(branch), dict(chosen)
    yield f"{prefix}name", _altered(branch, annotation=Literal[tuple(kinds)]), own.pop("name")
    every_kind = [type(chosen), *(kinds.values() if every else ())]
    for name in dict.fromkeys(name for kind in every_kind for name in kind.model_fields if name != "name"):
        having = {word: kind.model_fields[name] for word, kind in kinds.items() if name in kind.model_fields}
        field = next(iter(having.values()))
        about = field.description if len(having) == len(kinds) else f"{', '.join(having)}: {field.description}"
        yield prefix + name, _altered(field, description=about), own.get(name, field.default)


def _altered(field: FieldInfo, **changed: Any) -> FieldInfo:
    altered = copy(field)
    for name, value in changed.items():
        setattr(altered, name, value)
    return altered


def merged(base: S, changes: dict[str, Any], where: str) -> S:
    """`base` with the nested `changes` laid over it, checked as a whole."""
    return parse(type(base), _laid(base, changes), where)


def _laid(base: Settings, changes: dict[str, Any]) -> dict[str, Any]:
    values, fields = dict(base), type(base).model_fields
    for name, change in changes.items():
        under = values.get(name)
        if isinstance(under, Settings) and isinstance(change, dict):
            change = _laid_on_branch(under, change, fields[name])
        values[name] = change
    return values


def _laid_on_branch(under: Settings, changes: dict[str, Any], branch: FieldInfo) -> dict[str, Any]:
    """What becomes another choice keeps the settings that both inherit, such as the number of timesteps."""
    kinds, name = choices(branch), changes.get("name")
    kind = kinds.get(spelled(name, kinds, SAME["name"])) if isinstance(name, str) else None
    if kind is None or isinstance(under, kind):
        return _laid(under, changes)
    inherited = [each for each in type(under).__mro__ if issubclass(each, Settings) and issubclass(kind, each)]
    return {**{name: value for name, value in under if name in inherited[0].model_fields}, **changes}


def sampling_with(base: SamplingSettings, changes: dict[str, Any], where: str) -> SamplingSettings:
    """`base` with `changes` laid over it, checked as a whole; what belongs to its sampler goes with it."""
    values = base.model_dump()
    changed = parse(SamplingSettings, {"sampler": changes["sampler"]}, where) if "sampler" in changes else base
    if changed.sampler != base.sampler:
        values["eta"] = values["variance"] = values["grid"] = None
    return parse(SamplingSettings, {**values, **changes}, where)


def read_settings(path: Path) -> dict[str, Any]:
    """The nested settings in a .toml or .json file. Raises InputError where it is neither, or malformed."""
    readers = {".toml": read_toml, ".json": read_json}
    if path.suffix.lower() not in readers:
        raise InputError(f"expected a settings file that ends in .toml or .json, got {path}")
    return readers[path.suffix.lower()](path)
