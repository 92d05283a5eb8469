"""A network at rest, whatever it is, and the form in which a file has it: one of diffusers', or our own.

A network that diffusers cannot be is written under the class name `AncestralUNet` or `AncestralNetwork`, which
diffusers will refuse by name, with our settings as they are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field
from torch import Tensor

from ancestral.errors import InputError, NonFinite
from ancestral.hub.keys import Json, Keys, keys_of
from ancestral.hub.text import of_encoder, read_encoder, read_shape, without_encoder
from ancestral.hub.weights import read_tensors
from ancestral.networks.backbone import build, weightless
from ancestral.networks.conditions import Told
from ancestral.networks.text import StatesShape, TextShape
from ancestral.networks.weights import first_not_finite
from ancestral.settings import MOST_CLASS_EMBEDS, Config, NetworkSettings, parse
from ancestral.text_reader import TEXT_ENCODER

CLASS_EMBEDDING = "class_embedding.weight"  # the tensor with a row for each class
SizeKey = Annotated[int, Field(ge=1, le=16_384)]
_Channels = Annotated[int, Field(ge=1, le=4096)]
T = TypeVar("T")


class ImageKeys(Keys):
    sample_size: SizeKey | Annotated[list[SizeKey], Field(min_length=2, max_length=2)]
    in_channels: _Channels = 3
    out_channels: _Channels | None = 3


class _Own(ImageKeys):
    """The file of a network that diffusers cannot be."""

    num_class_embeds: Annotated[int, Field(ge=1, le=MOST_CLASS_EMBEDS)] | None = None
    num_attributes: Annotated[int, Field(ge=0, le=4096)] = 0
    text: dict[str, Any] | None = None
    settings: dict[str, Any]


@dataclass(frozen=True)
class NetworkFolder:
    """A network at rest: its settings, the images it is for, and its tensors under our names."""

    settings: NetworkSettings
    in_channels: int
    out_channels: int
    height: int
    width: int
    num_class_embeds: int | None  # one of which may stand for no class; None: no classes
    tensors: dict[str, Tensor] = field(repr=False)
    null_is_last: bool = field(default=False, compare=False)  # whether the file itself says so
    num_attributes: int = 0  # numbers that it is told of an image, which only our own files can say
    text: TextShape | StatesShape | None = None  # the texts that it is told, and how it reads them

    @property
    def sample_size(self) -> int | list[int]:
        """As a file has it."""
        return self.height if self.height == self.width else [self.height, self.width]

    def built(self) -> dict[str, Tensor]:
        """The state of a network of these settings, built without memory."""
        told = Told(self.num_class_embeds or 0, False, self.num_attributes, self.text)
        with weightless():
            return build(self.settings, self.in_channels, self.out_channels, told).state_dict()

    def check_tensors(self, unlike: Callable[[str], InputError], source: Path) -> None:
        """That they are those of its settings, and finite. `unlike`: the error that says what there is instead."""
        built = self.built()
        for name in sorted(built.keys() ^ self.tensors.keys()):
            raise unlike(f"{'no ' if name in built else ''}tensor for {name}")
        for name, tensor in built.items():
            if tensor.shape != (found := self.tensors[name].shape):
                raise unlike(f"{tuple(found)} for {name}, not {tuple(tensor.shape)}")
        if (bad := first_not_finite(self.tensors)) is not None:
            raise NonFinite(f"expected finite weights, got NaN or infinity for {bad} in {source}; take other weights")

    def with_row_moved(self, source: int, target: int) -> "NetworkFolder":
        """The same with one row of the class embedding taken out and put in elsewhere, the others in order."""
        order = [*range(self.num_class_embeds or 0)]
        order.insert(target, order.pop(source))
        return replace(self, tensors={**self.tensors, CLASS_EMBEDDING: self.tensors[CLASS_EMBEDDING][order]})


def with_images(
    settings: NetworkSettings, keys: ImageKeys, num_class_embeds: int | None, null_is_last: bool = False
) -> NetworkFolder:
    """What a file says, without any tensors."""
    height, width = keys.sample_size if isinstance(keys.sample_size, list) else (keys.sample_size, keys.sample_size)
    out_channels = keys.out_channels or keys.in_channels
    return NetworkFolder(settings, keys.in_channels, out_channels, height, width, num_class_embeds, {}, null_is_last)


@dataclass(frozen=True)
class Form:
    name: str  # of its class there
    read: Callable[[Json, Path], NetworkFolder]  # the keys of a file that lies at a path
    fits: Callable[[NetworkFolder], bool]  # whether a network can be written so
    config: Callable[[NetworkFolder], Json]  # the keys of its file
    stored: Callable[[Mapping[str, Any]], dict[str, Any]] = dict  # what bears our tensors' names, under the file's
    loaded: Callable[[dict[str, Tensor], Path], dict[str, Tensor]] = lambda tensors, path: tensors  # the other way
    text: Callable[[Json, Path], TextShape | None] = lambda values, path: None  # what the network's own encoder reads

    def with_tensors(self, network: NetworkFolder, folder: Path) -> NetworkFolder:
        """The network with the tensors of a folder, whose shapes must be those of one built without memory; those of
        its text encoder lie beside it."""
        shapes = {name: list(tensor.shape) for name, tensor in network.built().items()}
        tensors = self.loaded(read_tensors(folder, self.stored(without_encoder(shapes))), folder)
        if isinstance(network.text, TextShape):
            tensors |= read_encoder(folder.with_name(TEXT_ENCODER), of_encoder(shapes))
        return replace(network, tensors=tensors)


def own(name: str) -> Form:
    """The form of a network that diffusers cannot be."""
    return Form(name, _read, lambda network: True, _config, text=_text)


def _read(values: Json, path: Path) -> NetworkFolder:
    keys = keys_of(_Own, values, path)
    text = {"name": "none" if keys.text is None else "learned"}
    said = parse(Config, {"network": keys.settings, "text": text}, f"settings in {path}")
    seen = with_images(said.network, keys, keys.num_class_embeds)
    return replace(seen, num_attributes=keys.num_attributes)


def _text(values: Json, path: Path) -> TextShape | None:
    if (said := keys_of(_Own, values, path).text) is None:
        return None
    shape = read_shape(path.parent.with_name(TEXT_ENCODER))
    shape = shape._replace(masked=said.get("masked") is True, pooled=said.get("pooled") is not False)
    if _said(shape) != said:
        raise InputError(f"expected the text encoder beside {path} to be the one that it says, got another; copy both")
    return shape


def _config(network: NetworkFolder) -> Json:
    return {
        "sample_size": network.sample_size,
        "in_channels": network.in_channels,
        "out_channels": network.out_channels,
        "num_class_embeds": network.num_class_embeds,
        **({"num_attributes": network.num_attributes} if network.num_attributes else {}),
        **({"text": _said(network.text)} if network.text else {}),
        "settings": network.settings.model_dump(mode="json"),
    }


def _said(text: TextShape | StatesShape) -> Json:
    """As a file has it, which says nothing of a vector of the whole where there is one, as in all files of old."""
    return {name: value for name, value in text._asdict().items() if name != "pooled" or not value}
