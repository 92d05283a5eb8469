"""Folders of other projects: a folder of a diffusers pipeline to and from settings and tensors. Written are those of a
`DDPMPipeline`, an `LDMPipeline` (latents, told nothing) and a `StableDiffusionPipeline` (latents, told a text), each
where it gives the same images; else that of an `AncestralPipeline`, which says which parts are diffusers' own.

    model_index.json
    scheduler/scheduler_config.json
    unet/config.json                             (transformer/ or network/ where it is no U-Net)
    unet/diffusion_pytorch_model.safetensors
    text_encoder/config.json                     (with model.safetensors and tokenizer/, where it is told a text)
    vae/ or vqvae/                               (the autoencoder of which it sees latents, where it does)

Older repositories keep all files in the root, the network's settings as config.json, and name attention's layers query,
key, value and proj_attn; both are read, neither is written. So are folders of other samplers (`DDIMPipeline`), and
weights in half precision and in shards.

Nothing here is executed: JSON and safetensors only, never a pickle. A setting that this package cannot honour is an
error that names it, and the shapes in a weights file are compared with those its settings imply before any is loaded.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ancestral.codec import PIXELS, Codec, PixelCodec
from ancestral.errors import InputError
from ancestral.files import read_json, write_whole
from ancestral.folders import AUTOENCODERS, autoencoder_in, what_is
from ancestral.gaussian import LEVELS
from ancestral.hub.autoencoder import class_of, write_autoencoder
from ancestral.hub.dit import DIT
from ancestral.hub.dit import from_meta as from_meta
from ancestral.hub.keys import DIFFUSERS_VERSION, Json, read_named
from ancestral.hub.network import Form, own
from ancestral.hub.network import NetworkFolder as NetworkFolder
from ancestral.hub.scheduler import VARIANCE_TYPES, read_schedule, scheduler_config
from ancestral.hub.scheduler import ScheduleDescription as ScheduleDescription
from ancestral.hub.text import without_encoder, write_encoder
from ancestral.hub.unet import UNET
from ancestral.hub.unet_condition import UNET_CONDITION
from ancestral.hub.unet_condition import canonical as canonical
from ancestral.hub.weights import WEIGHTS
from ancestral.networks.latents import KLCodec, LatentCodec, PlainCodec
from ancestral.networks.rounding import FloatBits, in_bits
from ancestral.networks.text import StatesShape, TextShape
from ancestral.networks.weights import write_tensors
from ancestral.text_reader import TEXT_ENCODER, TOKENIZER

MODEL_INDEX = "model_index.json"
LATENT, OF_TEXT = "LDMPipeline", "StableDiffusionPipeline"
PIPELINES = ("DDPMPipeline", "DDIMPipeline", "PNDMPipeline", "AncestralPipeline", LATENT, OF_TEXT)
OWN = own("AncestralNetwork")
PLACES = {"unet": ("unet", UNET, own("AncestralUNet")), "dit": ("transformer", DIT, OWN)}
"""By the name of a network: the folder it lies in, its form there, and its form where diffusers cannot be it."""
OTHERS = ("network", OWN, OWN)
ABSENT = {name: [None, None] for name in ("safety_checker", "feature_extractor", "image_encoder")}
"""Parts of a `StableDiffusionPipeline` that it may do without."""


@dataclass(frozen=True)
class DiffusersFolder:
    network: NetworkFolder
    schedule: ScheduleDescription


def read_diffusers(folder: Path, given: StatesShape | None = None) -> DiffusersFolder:
    """The network and the schedule in a diffusers folder, nested or flat. Weights come as float32 on the CPU. `given`:
    the states that an encoder gives the network; None: it reads its texts itself, if any."""
    if not folder.is_dir():
        raise InputError(f"expected a pipeline folder, got {folder}, which is no folder")
    pipeline = _pipeline_in(folder)
    inside = (folder / place for place, *_ in (*PLACES.values(), OTHERS))
    at = next((place for place in inside if place.is_dir()), folder)
    places = ["scheduler/scheduler_config.json", "scheduler/config.json", "scheduler_config.json"]
    places += ["config.json"] if at != folder else []
    there = next((place for place in places if (folder / place).is_file()), places[0 if at != folder else 2])
    forms = {form.name: form for _, *both in (*PLACES.values(), OTHERS) for form in both}
    forms[UNET_CONDITION.name] = UNET_CONDITION
    schedule, (name, values) = read_schedule(folder / there), read_named(at / "config.json", (*forms,))
    if pipeline == OF_TEXT:
        schedule = replace(schedule, clip="none")  # whatever its file says: it never clips latents
    if pipeline == LATENT and schedule.clip != "none":
        raise InputError(
            f"expected a scheduler that does not clip in {folder / there}, since latents have no bound, got one that "
            "does; set its clip_sample and thresholding false"
        )
    network = forms[name].read(values, at / "config.json")
    network = replace(network, text=given or forms[name].text(values, at / "config.json"))
    # a variance is learned exactly where the network has a second half of channels for it
    means = LEVELS if schedule.prediction == "levels" else 1
    expected = network.in_channels * (means + (schedule.variance == "learned"))
    if network.out_channels != expected:
        raise InputError(
            f"expected out_channels {expected} in {folder}, as in_channels {network.in_channels} and the variance_type "
            f"of scheduler_config.json ({VARIANCE_TYPES[schedule.variance]}) imply, got {network.out_channels}"
        )
    return DiffusersFolder(forms[name].with_tensors(network, at), schedule)


def write_diffusers(
    folder: Path,
    contents: DiffusersFolder,
    codec: Codec = PIXELS,
    sample_size: int = 32,
    others: Mapping[str, list[str]] | None = None,
    bits: FloatBits = 32,
) -> None:
    """Writes `contents` as a diffusers folder, over what stands there under the same names; the index comes last.

    Args:
        codec: between images and what the network sees. An autoencoder is written too.
        sample_size: side of its images, px.
        others: parts that are written by others, with the library and the class of each.
        bits: of a weight in the files; vectors keep 32.
    """
    network, schedule = contents.network, contents.schedule
    place, theirs, ours = PLACES.get(network.settings.name, OTHERS)
    theirs = UNET_CONDITION if theirs is UNET and network.text else theirs
    told = schedule.time == "index" and schedule.prediction not in ("flow", "levels")
    shared = (told or schedule.shift is not None) and not network.num_attributes and theirs.fits(network)
    form = theirs if shared else ours
    version = {"_diffusers_version": DIFFUSERS_VERSION}
    config = {"_class_name": form.name, **(version if shared else {}), **form.config(network)}
    parts, tensors = {}, in_bits(network.tensors, bits)
    if isinstance(network.text, TextShape):
        write_encoder(folder / TEXT_ENCODER, network.text, tensors)
        parts[TEXT_ENCODER] = ["transformers", "CLIPTextModel"]
    parts |= others or {}
    kind = _pipeline_class(form, network, schedule, codec, parts)
    if isinstance(codec, LatentCodec):
        at = "vqvae" if kind == LATENT else "vae"
        write_autoencoder(folder / at, codec, sample_size, bits)
        parts[at] = ["diffusers", class_of(codec)]
    scheduler = scheduler_config(schedule) | ({"steps_offset": 1} if kind == OF_TEXT else {})  # it sees to that itself
    _write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    _write_json(folder / place / "config.json", config)
    write_tensors(folder / place / WEIGHTS, form.stored(without_encoder(tensors)))
    index = {
        "_class_name": kind,
        **version,
        "scheduler": ["diffusers", scheduler["_class_name"]],
        place: ["ancestral" if form is ours else "diffusers", form.name],
        **parts,
        **({**ABSENT, "requires_safety_checker": False} if kind == OF_TEXT else {}),
    }
    _write_json(folder / MODEL_INDEX, index)


def _pipeline_class(
    form: Form, network: NetworkFolder, schedule: ScheduleDescription, codec: Codec, parts: Mapping[str, list[str]]
) -> str:
    """The pipeline of diffusers that gives the images of ours, or our own. There latents are not clipped, a text is
    read by a `CLIPTextModel` and all its tokens are seen."""
    clips = schedule.clip != "none"
    if form is UNET and isinstance(codec, PixelCodec):
        return "DDPMPipeline"
    if network.num_class_embeds or clips or schedule.shift is not None:  # their schedulers are not those of flows
        return "AncestralPipeline"
    if form is UNET and isinstance(codec, LatentCodec) and network.height == network.width:
        return LATENT
    text = network.text
    read = isinstance(text, TextShape) and not text.masked and parts.get(TOKENIZER, [""])[-1] == "CLIPTokenizer"
    seen = isinstance(codec, KLCodec | PlainCodec)
    return OF_TEXT if form is UNET_CONDITION and read and seen else "AncestralPipeline"


def _pipeline_in(folder: Path) -> str:
    """The class of the pipeline in a folder. Other classes have parts that change what the network sees, and are
    refused."""
    index = folder / MODEL_INDEX
    if not index.exists() and any((folder / place).is_file() for place in ("config.json", "unet/config.json")):
        raise InputError(
            f"expected a pipeline folder with {MODEL_INDEX}, got {folder}, a network without its scheduler; name the "
            "folder above, or save both by DDPMPipeline(unet, scheduler).save_pretrained(FOLDER)"
        )
    if not index.exists():
        raise InputError(f"expected a run, or a pipeline folder with {MODEL_INDEX}, got {what_is(folder)}")
    values = read_json(index)
    if "movq" in values:
        raise InputError(
            f"expected a pipeline of pixels, or of the latents of an AutoencoderKL or VQModel, got one of a movq in "
            f"{folder}; load it by diffusers"
        )
    name, _ = read_named(index, PIPELINES)
    if name in (LATENT, OF_TEXT) and autoencoder_in(folder) is None:
        raise InputError(
            f"expected the autoencoder of the {name} in {folder} as {' or '.join(AUTOENCODERS)}, got none; copy the "
            "whole folder again"
        )
    return name


def _write_json(path: Path, values: Json) -> None:
    write_whole(path, json.dumps(values, indent=2, allow_nan=False) + "\n")
