"""The held-out loss of averages of several lengths beside that of a run's own average, image by image.

All see the same images, timesteps and noise. So the difference of two averages is the mean of the differences of each
image's losses, whose standard error is far smaller than that of a loss.
"""

from math import sqrt
from pathlib import Path

from ancestral.files import read_json
from ancestral.settings import NumImages, Settings, parse
from ancestral.tensors import PerImage

FILE = "ema.json"
MOST_RESIDUAL = 0.1  # of a profile, above which an average is not taken for one of its length
CLEAR = 2.0  # standard errors, beyond which a difference is more than chance


class ImageMean(Settings):
    """A mean over images and its standard error."""

    value: float
    standard_error: float

    @classmethod
    def of(cls, numbers: PerImage) -> "ImageMean":
        return cls(value=float(numbers.mean()), standard_error=float(numbers.std()) / sqrt(len(numbers)))


class LengthRow(Settings):
    """An average of a length: what of its profile is missed, its loss, and how much higher than the own average's."""

    length: float
    residual: float
    loss: ImageMean
    difference: ImageMean


class AverageLengths(Settings):
    """What `ancestral ema` measures, of a run at a step; `own`: the loss of the run's own average, whose weights have
    the hash `weights`."""

    step: int
    weights: str
    num_images: NumImages
    own: ImageMean
    rows: tuple[LengthRow, ...]

    @property
    def best(self) -> LengthRow | None:
        """The row of the least loss; None where all profiles are missed by more than `MOST_RESIDUAL`."""
        rows = [row for row in self.rows if row.residual <= MOST_RESIDUAL]
        return min(rows, key=lambda row: row.difference.value, default=None)

    @property
    def is_clear(self) -> bool:
        """Whether the best is better than the own average by more than chance."""
        best = self.best
        return best is not None and best.difference.value < -CLEAR * best.difference.standard_error


def row_of(length: float, residual: float, losses: PerImage, own: PerImage) -> LengthRow:
    """`losses`, `own`: (B,) of the same images."""
    difference = ImageMean.of(losses - own)
    return LengthRow(length=length, residual=residual, loss=ImageMean.of(losses), difference=difference)


def read_lengths(file: Path) -> AverageLengths:
    """What `ancestral ema` wrote; an InputError where it cannot be read."""
    return parse(AverageLengths, read_json(file), str(file))
