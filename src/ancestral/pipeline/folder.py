"""A pipeline at rest: a diffusers folder that also holds `ancestral.json`, the settings and the names of the classes.

Beside them may lie the analytic variance that was measured. Nothing in the folder says how a machine is used.
"""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from ancestral import hub
from ancestral.codec import Codec
from ancestral.diffusion.variances import Analytic
from ancestral.errors import CannotWrite, InputError
from ancestral.files import as_path, carry_over, put_in_place, read_json, write_whole
from ancestral.folders import AUTOENCODERS, OWN_FILE, autoencoder_in, check_takes_pipeline, is_pipeline_part
from ancestral.hub.autoencoder import read_autoencoder, write_autoencoder
from ancestral.hub.frozen_text import FrozenReader
from ancestral.hub.scheduler import VARIANCE_TYPES
from ancestral.migrations import settings as migrated
from ancestral.models import check_unchanged, model_remedy, resolved
from ancestral.networks.backbone import Backbone, build
from ancestral.networks.conditions import Told
from ancestral.networks.latents import CODECS as AUTOENCODER_CODECS
from ancestral.networks.latents import LatentCodec
from ancestral.networks.rounding import FloatBits
from ancestral.networks.text import StatesShape, TextShape, shape_of
from ancestral.networks.weights import NOTE, fill_own, tensors_hash, weights_hash, write_own
from ancestral.pipeline.building import CODECS, build_schedule, latent_spec, outputs
from ancestral.settings import (
    AnyText,
    AttributeSpec,
    ComputeSettings,
    Config,
    FrozenText,
    ImageSpec,
    LearnedText,
    NoText,
    SamplingSettings,
    TextSpec,
    parse,
)
from ancestral.text_reader import TOKENIZER, TextReader
from ancestral.tokenizer import Tokenizer

SAID_TWICE: dict[str, Callable[[hub.DiffusersFolder], object]] = {
    "network": lambda folder: hub.canonical(folder.network),
    "images": lambda folder: (folder.network.in_channels, folder.network.height, folder.network.width),
    "output channels": lambda folder: folder.network.out_channels,
    "class embeddings": lambda folder: folder.network.num_class_embeds,
    "attributes": lambda folder: folder.network.num_attributes,
    "text": lambda folder: folder.network.text,
    "prediction": lambda folder: folder.schedule.prediction,
    "variance": lambda folder: VARIANCE_TYPES[folder.schedule.variance],
    "shift": lambda folder: folder.schedule.shift,
}
"""What both the settings and the rest of a folder say, beside the betas."""
VARIANCE_FILE = "variance.json"  # the analytic variance and the hash of the weights it was measured with


class Contents(NamedTuple):
    """What a folder holds. `analytic`: the variance that was measured with these weights, or None."""

    config: Config
    spec: ImageSpec
    codec: Codec
    network: nn.Module
    analytic: Analytic | None = None
    tokenizer: TextReader | None = None


def build_network(config: Config, spec: ImageSpec) -> Backbone:
    """The network that the settings describe, with random weights; `spec`: of x0."""
    told = Told(
        len(spec.class_names), spec.null_class != "none", len(spec.attributes), shape_of(config.text, spec.text)
    )
    network = build(config.network, spec.channels, outputs(config.diffusion, spec), told)
    if spec.height % (multiple := network.side_multiple) or spec.width % multiple:
        raise InputError(
            f"expected images whose sides are multiples of {multiple} pixels, as its patch or levels ask, got "
            f"{spec.height}x{spec.width}; set data.size, or network.patch or network.widths"
        )
    return network


def network_of(config: Config, spec: ImageSpec, stored: hub.NetworkFolder) -> Backbone:
    """The network that the settings describe, with weights that are stored; `spec`: of x0."""
    if isinstance(spec.null_class, int):
        stored = stored.with_row_moved(spec.null_class, len(spec.class_names))
    network = build_network(config, spec)
    network.load_state_dict(stored.tensors)
    return network


def with_tokens(config: Config, spec: ImageSpec, tokenizer: TextReader | None) -> ImageSpec:
    """`spec` with the tokens of a tokenizer, or without one those that the settings ask for; none without text."""
    if tokenizer is not None and tokenizer.name != config.text.name:
        got = f"got one that is {tokenizer.name}; set text.name {tokenizer.name}"
        raise InputError(f"expected no such tokenizer with text.name {config.text.name}, {got}")
    if isinstance(config.text, FrozenText) and isinstance(tokenizer, FrozenReader):
        wanted, found = (f"length {each.length}, masked {each.masked}" for each in (config.text, tokenizer))
        if wanted != found:
            raise InputError(f"expected the settings of text to be those of its reader, {found}, got {wanted}")
    if isinstance(config.text, NoText):
        return spec.model_copy(update={"text": None})
    if tokenizer is not None:
        return spec.model_copy(update={"text": tokenizer.spec})
    if isinstance(config.text, LearnedText) and spec.text is None:
        asked = TextSpec(vocab_size=config.text.vocab_size, length=config.text.length)
        return spec.model_copy(update={"text": asked})
    return spec


def write_folder(folder: Path | str, contents: Contents, bits: FloatBits = 32) -> None:
    """Writes the folder whole, beside the old one first, whose place it takes; other files in a pipeline's are kept.

    `bits`: of a weight in the files; an encoder of texts that exists already stays as it is. With 16 the analytic
    variance is left out, which was measured with other weights.
    """
    if bits not in (32, 16):
        raise InputError(f"expected weights in 32 or 16 bits, got {bits}")
    folder = Path(os.path.abspath(as_path(folder)))  # noqa: PTH100 (dots are taken away, a link is not followed)
    check_takes_pipeline(folder)
    building = folder.with_name(f".{folder.name}.new")
    try:
        carry_over(building, folder, is_pipeline_part)  # of a save that was killed
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        spec, codec = contents.spec, contents.codec
        side = min(spec.height, spec.width)
        if isinstance(contents.network, Backbone):
            weights = contents.network.state_dict()
            seen = _as_diffusers(contents.config, latent_spec(codec, spec), weights)
            others = None if contents.tokenizer is None else contents.tokenizer.parts
            hub.write_diffusers(building, seen, codec, side, others, bits)
        else:
            write_own(building, contents.network, bits)
            if isinstance(codec, LatentCodec):
                write_autoencoder(building / AUTOENCODERS[0], codec, side, bits)
        if contents.tokenizer is not None:
            contents.tokenizer.write(building, (folder, folder.parent))
        write_settings(building, contents.config, contents.spec, name_of(contents.codec))
        if contents.analytic is not None and bits == 32:
            write_variance(building, contents.network, contents.analytic)
        put_in_place(building, folder, is_pipeline_part)
    except InputError:  # of weights that 16 bits do not hold
        shutil.rmtree(building, ignore_errors=True)
        raise
    except (OSError, CannotWrite) as fault:
        shutil.rmtree(building, ignore_errors=True)
        why = fault.strerror if isinstance(fault, OSError) else fault
        raise CannotWrite(f"cannot write the pipeline folder {folder}: {why}") from None


def write_settings(folder: Path, config: Config, spec: ImageSpec, codec: str) -> None:
    """Writes the settings, the names of the classes and that of the codec into a pipeline folder."""
    write_whole(folder / OWN_FILE, settings_text(config, spec, codec))


def settings_text(config: Config, spec: ImageSpec, codec: str) -> str:
    """What `write_settings` writes; nothing of it says how a machine is used."""
    config = config.model_copy(update={"compute": ComputeSettings()})
    tree = {"config": config.model_dump(mode="json"), "images": spec.model_dump(mode="json"), "codec": codec}
    return json.dumps(tree, indent=2) + "\n"


def write_variance(folder: Path, network: nn.Module, analytic: Analytic) -> None:
    """Writes the analytic variance that was measured with a network into a pipeline folder."""
    about = {"weights": weights_hash(network), "images": analytic.num_images}
    write_whole(folder / VARIANCE_FILE, json.dumps({**about, "ratio": analytic.ratio.tolist()}) + "\n")


def name_of(codec: Codec) -> str:
    """What a folder calls its codec: by its name in `CODECS`, an autoencoder by what it is, one of one's own by its
    class."""
    if isinstance(codec, LatentCodec):
        return codec.network.settings.name
    names = (name for name, kind in CODECS.items() if kind is type(codec))
    return next(names, f"{type(codec).__module__}.{type(codec).__qualname__}")


def _codec_named(name: str, given: Codec | None, folder: Path) -> Codec:
    codec = given
    if given is None and name in AUTOENCODER_CODECS:
        codec = _read_autoencoder_in(folder)
    elif given is None and name in CODECS:
        codec = CODECS[name]()
    if codec is None or name_of(codec) != name:
        got, kind = "none" if codec is None else name_of(codec), name.rpartition(".")[2]
        own = name in (*CODECS, *AUTOENCODER_CODECS)
        how = "copy the whole folder again" if own else f"give it: Pipeline.load(folder, codec={kind}(...))"
        raise InputError(f"expected the codec that {folder} was saved with, {name}, got {got}; {how}")
    return codec


def _read_autoencoder_in(folder: Path) -> LatentCodec:
    place = autoencoder_in(folder) or folder / AUTOENCODERS[0]
    return read_autoencoder(place)


def read_folder(folder: Path | str, null_class: int | None, network: nn.Module | None, codec: Codec | None) -> Contents:
    """What is in a folder, on the CPU; arguments and errors as of `Pipeline.load`."""
    folder = _pipeline_folder(resolved(folder))
    check_unchanged(folder)
    if (folder / NOTE).is_file():
        network = fill_own(folder, network)
        config, spec, name = read_own_file(folder / OWN_FILE)
        contents = Contents(config, spec, _codec_named(name, codec, folder), network)
    elif network is None:
        contents = _read_diffusers(folder, null_class, codec)
    else:
        raise InputError(f"expected no network for {folder}, which says itself what its network is; leave it out")
    return contents._replace(analytic=_read_variance(folder / VARIANCE_FILE, contents))


def _read_diffusers(folder: Path, null_class: int | None, given: Codec | None) -> Contents:
    if not (folder / OWN_FILE).exists():
        contents = hub.read_diffusers(folder)
        given = _read_autoencoder_in(folder) if given is None and autoencoder_in(folder) else given
        config, spec = as_ours(contents, null_class, given)
        name = "pixels" if given is None else name_of(given)
    elif null_class is None:
        config, spec, name = read_own_file(folder / OWN_FILE)
        contents = hub.read_diffusers(folder, _given(config, spec))
    else:
        raise InputError(f"expected no null class, got {null_class}: {folder / OWN_FILE} says which it is")
    codec = _codec_named(name, given, folder)
    seen = latent_spec(codec, spec)
    _check_agreement(folder, config, seen, contents)
    network = network_of(config, seen, contents.network)
    tokenizer = read_tokenizer(folder, config.text)
    check_reads(tokenizer, spec.text, folder)
    return Contents(config, spec, codec, network, tokenizer=tokenizer)


def stored(folder: Path) -> tuple[str, SamplingSettings]:
    """The hash of the weights in a folder that `save` wrote, and how they are sampled; no network is made of them."""
    config, spec, _ = read_own_file(folder / OWN_FILE)
    return tensors_hash(hub.read_diffusers(folder, _given(config, spec)).network.tensors), config.sampling


def _given(config: Config, spec: ImageSpec) -> StatesShape | None:
    """The states that an encoder outside gives the network; None: there is no such encoder."""
    shape = shape_of(config.text, spec.text)
    return shape if isinstance(shape, StatesShape) else None


def _as_diffusers(config: Config, spec: ImageSpec, tensors: dict[str, Tensor]) -> hub.DiffusersFolder:
    channels, height, width = spec.shape
    diffusion, betas = config.diffusion, tuple(build_schedule(config.diffusion.schedule).betas.tolist())
    out_channels, clip = outputs(diffusion, spec), config.sampling.clip
    network = hub.NetworkFolder(config.network, channels, out_channels, height, width, spec.num_class_embeds, tensors)
    network = replace(network, num_attributes=len(spec.attributes), text=shape_of(config.text, spec.text))
    if tensors and isinstance(spec.null_class, int):
        network = network.with_row_moved(len(spec.class_names), spec.null_class)
    described = hub.ScheduleDescription(betas, diffusion.prediction, diffusion.variance, clip, diffusion.time)
    said = (diffusion.prediction, diffusion.time, diffusion.variance == "learned")
    if diffusion.schedule.name == "rectified" and said == ("flow", "flow", False):
        shift = diffusion.schedule.shift
        described = hub.ScheduleDescription((), "flow", "beta_tilde", "none", "flow", "ddim", shift)
    return hub.DiffusersFolder(network, described)


def _pipeline_folder(folder: Path) -> Path:
    """`folder`, or the pipeline inside it where it is a run."""
    if not folder.is_dir():
        raise InputError(
            f"expected a run or pipeline folder, got {folder}, which is no folder; check the path, or {model_remedy()}"
        )
    if (folder / "pipeline").is_dir():
        return folder / "pipeline"
    if (folder / "config.json").is_file() and (folder / "lock").is_file():
        raise InputError(f"the run {folder} has saved no pipeline yet; let it train up to its first checkpoint")
    return folder


def _check_agreement(folder: Path, config: Config, spec: ImageSpec, contents: hub.DiffusersFolder) -> None:
    """Raises InputError where the settings say another network or noise than the rest of the folder."""
    ours = _as_diffusers(config, spec, {})
    # two machines may round the betas of one formula differently
    betas, stored = (torch.tensor(each.schedule.betas, dtype=torch.float64) for each in (ours, contents))
    same_betas = betas.shape == stored.shape and torch.allclose(betas, stored, rtol=1e-9, atol=1e-9)
    wrong = [name for name, said in SAID_TWICE.items() if said(ours) != said(contents)] + ["betas"] * (not same_betas)
    if wrong:
        raise InputError(
            f"expected {OWN_FILE} and the other files in {folder} to describe one pipeline, got two that differ in "
            f"{', '.join(wrong)}; copy the whole folder again"
        )


def read_own_file(path: Path) -> tuple[Config, ImageSpec, str]:
    """What `write_settings` wrote; older files name no codec. Raises InputError where the file is damaged."""
    own = migrated(read_json(path))
    missing = {"config", "images"} - own.keys()
    if missing:
        raise InputError(f"{path} is damaged (it says no {min(missing)}); copy the pipeline folder again")
    config, spec = parse(Config, own["config"], str(path)), parse(ImageSpec, own["images"], str(path))
    return config, spec, str(own.get("codec", "pixels"))


def read_tokenizer(folder: Path, settings: AnyText) -> TextReader | None:
    """What reads texts as the settings say, out of a folder that has it among its parts; None: it has none."""
    if isinstance(settings, NoText) or not (folder / TOKENIZER).exists():
        return None
    if isinstance(settings, FrozenText):
        return FrozenReader(folder, settings.length, settings.masked)
    return Tokenizer.load(folder / TOKENIZER)


def check_reads(tokenizer: TextReader | None, told: TextSpec | None, folder: Path) -> None:
    """That what reads texts, out of a folder, is what a network was trained with that is told them so."""
    if tokenizer is None and told is not None and told.encoder is not None:
        raise InputError(f"expected {told.words} in {folder}, got none; copy the whole folder again")
    if tokenizer is not None and told is not None and tokenizer.spec != told:
        raise InputError(f"expected {told.words} in {folder}, got {tokenizer.spec.words}; copy the whole folder again")


def named_tokenizer(settings: AnyText) -> TextReader | None:
    """What reads texts as the settings say, out of the folder that they name; None: they name none."""
    if not isinstance(settings, FrozenText):
        return None
    return FrozenReader(as_path(settings.folder), settings.length, settings.masked)


def told_text(folder: Path) -> TextSpec | None:
    """What the network in a pipeline's folder is told of texts; None: nothing, or nobody can say."""
    with suppress(InputError):
        return read_own_file(folder / OWN_FILE)[1].text
    return None


def _read_variance(path: Path, contents: Contents) -> Analytic | None:
    """What `write_variance` wrote, or None where there is none or it was measured with other weights."""
    if not path.exists():
        return None
    remedy = "remove it, and measure again by `ancestral variance`"
    try:
        found = read_json(path)
    except InputError as fault:
        raise InputError(f"{path} is damaged ({fault}); {remedy}") from None
    ratio, steps = found.get("ratio"), contents.config.diffusion.schedule.num_timesteps
    if not isinstance(ratio, list) or len(ratio) != steps or not all(type(share) in (int, float) for share in ratio):
        raise InputError(f"{path} is damaged (no T shares); {remedy}")
    measured = Analytic(torch.tensor(ratio, dtype=torch.float64))
    return measured if found.get("weights") == weights_hash(contents.network) else None


def as_ours(contents: hub.DiffusersFolder, null_class: int | None, codec: Codec | None) -> tuple[Config, ImageSpec]:
    """Settings that say what a folder of diffusers holds; its classes are named by their index there. `codec`: of whose
    latents its network sees; None: it sees pixels."""
    network, described = contents.network, contents.schedule
    null, count = _null_class(network, null_class), network.num_class_embeds or 0
    left_out = count - 1 if null == "last" else null
    steps = len(described.betas) or 1000
    schedule = {"name": "betas", "num_timesteps": steps, "betas": described.betas}
    if described.shift is not None:
        schedule = {"name": "rectified", "shift": described.shift}
    said = {"prediction": described.prediction, "variance": described.variance, "time": described.time}
    diffusion = {"schedule": schedule, **said}
    chain = steps if described.sampler == "ancestral" else min(50, steps)
    sampling = {"sampler": described.sampler, "steps": chain, "clip": described.clip if codec is None else "none"}
    training = {"minutes": 30, "loss": "hybrid" if described.variance == "learned" else "simple"}
    config = parse(Config, {"diffusion": diffusion, "training": training, "sampling": sampling}, "the diffusers folder")
    shape = network.text if isinstance(network.text, TextShape) else None
    spec = ImageSpec(
        channels=network.in_channels,
        height=network.height,
        width=network.width,
        class_names=tuple(str(index) for index in range(count) if index != left_out),
        null_class=null,
        attributes=tuple(AttributeSpec(name=str(index)) for index in range(network.num_attributes)),
        text=shape and TextSpec(vocab_size=shape.vocab_size, length=shape.length),
    )
    text = LearnedText(**shape._asdict()) if shape else NoText()
    config = config.model_copy(update={"network": network.settings, "text": text})
    return (config, spec) if codec is None else _of_latents(config, spec, codec)


def _of_latents(config: Config, spec: ImageSpec, codec: Codec) -> tuple[Config, ImageSpec]:
    """The same of the images of an autoencoder, from the size of what its network sees."""
    if not isinstance(codec, LatentCodec):
        raise InputError(f"expected no codec for a folder of diffusers but an autoencoder, got {name_of(codec)}")
    own = codec.network.settings
    if spec.channels != own.channels:
        raise InputError(
            f"expected a network of the autoencoder's {own.channels} latent channels, got one of {spec.channels}; copy "
            "the whole folder again"
        )
    sides = {"height": spec.height * own.factor, "width": spec.width * own.factor}
    images = spec.model_copy(update={"channels": codec.network.image_channels, **sides})
    return config.model_copy(update={"codec": own}), images


def _null_class(network: hub.NetworkFolder, asked: int | None) -> int | Literal["last", "none"]:
    """What `ImageSpec.null_class` says of a folder of diffusers."""
    count = network.num_class_embeds or 0
    if asked is None:
        return "none" if count and not network.null_is_last else "last"
    if network.null_is_last and asked != count - 1:
        raise InputError(f"expected null class {count - 1}, a transformer's last, got {asked}; leave it out")
    if count < 2:
        raise InputError(f"expected no null class, got {asked}: this network has {count or 'no'} class embeddings")
    if not 0 <= asked < count:
        raise InputError(f"expected a null class in 0..{count - 1}, got {asked}")
    return "last" if asked == count - 1 else asked
