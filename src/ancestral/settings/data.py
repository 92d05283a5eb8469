"""Settings of the images that are trained on, and what the images are that a pipeline generates."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ancestral.settings.base import Fraction, NumImages, PositiveFloat, Settings, Side, Width
from ancestral.settings.text import TextSpec

NUM_THINGS = {"shapes-one": (1,), "shapes": (2,), "shapes-three": (1, 2, 3)}
"""The data sets of drawn scenes, and how many things these have."""
DATA_SETS = ("digits", "photos", "mnist", "fashion-mnist", "cifar10", *NUM_THINGS)
"""Names of data sets, wherever they are given; a folder of such a name is given as ./name."""


def _several(value: Any) -> Any:
    """A word alone as one of several."""
    return (value,) if isinstance(value, str) else value


class DataSettings(Settings):
    """Which images, and how they are fitted to one size."""

    source: str = "digits"
    """digits, photos, mnist, fashion-mnist, cifar10, shapes, shapes-one, shapes-three, a folder of images, or a packed
    data set: a folder or a URL."""
    size: Side | tuple[Side, Side] | None = None
    """Side, or height and width, in pixels. None: as the data set comes; 32 for photos, shapes and folders."""
    color: Literal["auto", "grey", "grey-alpha", "rgb", "rgba"] = "auto"
    """auto: grey where every image is grey, else rgb, opaque. grey-alpha and rgba: transparency is learnt too."""
    fit: Literal["crop", "pad", "squash"] = "crop"
    """How another aspect ratio becomes ours: crop the centre, pad with the background, or squash."""
    background: str = "white"
    """What shows through transparency and fills padding: a colour name or #rrggbb."""
    flip: bool = False
    """Mirror half of the training images left to right."""
    labels: Literal["auto", "none", "folders"] = "auto"
    """auto: train on class labels where the data has them. folders: by sub-folder, whatever else the folder says."""
    attributes: Annotated[tuple[str, ...], BeforeValidator(_several)] = ("auto",)
    """auto: every column of numbers in a folder's metadata is an attribute of its images. none: no column is. Else the
    names of those that are."""
    captions: Literal["auto", "none", "metadata", "txt", "names"] = "auto"
    """auto: the texts in a folder's metadata, then captions.tsv, then a .txt beside each image. metadata, txt: those
    alone. names: the names of the files. none: no captions."""
    where: Annotated[tuple[str, ...], BeforeValidator(_several)] = ()
    """COLUMN=VALUE: of a folder, only the images of which metadata or captions.tsv says so. Of one column any of
    several values, of several columns all."""
    splits: Literal["auto", "none", "folders"] = "auto"
    """auto: sub-folders called train, test and val (valid, validation, dev) are the parts of a folder's images. none:
    they are sub-folders like others. folders: they are, even beside others, whose images are trained on."""
    validation: Fraction = 0.05
    """Fraction of the images held out to watch the loss while training, where there is no validation part already."""
    test: Fraction = 0.1
    """Fraction held out for evaluation, where there is no test part already."""
    scenes: NumImages | Literal["endless"] = 20_000
    """How many scenes of shapes there are. endless: each is drawn as it is asked for, and 3,072 more are held out."""

    @property
    def height_width(self) -> tuple[int, int] | None:
        """`size` as (height, width), or None for the data set's own."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    @model_validator(mode="after")
    def _leaves_something_to_train_on(self) -> DataSettings:
        if self.validation + self.test >= 1:
            raise ValueError(f"expected validation + test < 1, got {self.validation} + {self.test}")
        return self

    @model_validator(mode="after")
    def _where_names_columns(self) -> DataSettings:
        if wrong := [each for each in self.where if not each.partition("=")[0].strip() or "=" not in each]:
            raise ValueError(f"expected data.where COLUMN=VALUE, such as variant=base, got {wrong[0]!r}")
        return self


class AttributeSpec(Settings):
    """A number that a network is told of an image, and the mean and deviation of those it was trained on."""

    name: str
    mean: float = 0.0
    std: PositiveFloat = 1.0

    def standardised(self, value: Any) -> Any:
        """The number, or an array of them, as a network is told it."""
        return (value - self.mean) / self.std


class ImageSpec(Settings):
    """What a pipeline generates: the shape of an image, the names of the classes and the attributes it may have."""

    channels: Width
    height: Side
    width: Side
    class_names: tuple[str, ...] = ()
    null_class: Annotated[int, Field(ge=0)] | Literal["last", "none"] = "last"
    """Which class embedding of the folder stands for no class: last, as in all that is trained here; none of them; or
    that of an index. The others are the classes, in order."""
    attributes: tuple[AttributeSpec, ...] = ()
    text: Annotated[TextSpec | None, Field(exclude_if=lambda text: text is None)] = None
    """The tokens of a text that is told. None: no text is."""

    @model_validator(mode="after")
    def _null_class_is_one_of_them(self) -> ImageSpec:
        if isinstance(self.null_class, int) and self.null_class >= (self.num_class_embeds or 0):
            raise ValueError(f"expected null_class in 0..{len(self.class_names)}, got {self.null_class}")
        return self

    @property
    def attribute_names(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.attributes)

    @property
    def kinds(self) -> str:
        """What a network may be told of an image: "10 classes, 2 attributes (age, smiling), text"; "": nothing."""
        names = self.attribute_names
        kinds = [f"{len(self.class_names)} classes"] if self.class_names else []
        some = ", ".join([*names[:6], *["..."] * (len(names) > 6)])
        kinds += [f"{len(names)} attribute{'s' * (len(names) > 1)} ({some})"] * bool(names)
        return ", ".join([*kinds, *["text"] * (self.text is not None)])

    @property
    def num_class_embeds(self) -> int | None:
        """Class embeddings of the network, that of no class included; None: no classes."""
        return len(self.class_names) + (self.null_class != "none") if self.class_names else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width
