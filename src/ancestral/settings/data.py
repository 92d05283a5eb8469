"""Settings of the images that are trained on."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from ancestral.settings.base import Fraction, Settings, Side


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
