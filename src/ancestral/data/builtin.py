"""The two data sets that are always at hand: scikit-learn's handwritten digits and crops of its two photographs."""

from hashlib import sha256

import numpy as np

from ancestral.data.fitting import refit
from ancestral.data.imageset import Collection, ImageSet, arranged, frozen
from ancestral.errors import InputError
from ancestral.progress import StagedWork
from ancestral.settings import DataSettings

PHOTO_SIZE = 32


def digits(settings: DataSettings) -> StagedWork[Collection]:
    """1,797 handwritten digits, 8 x 8 grey (Alpaydin and Kaynak, 1998); their 0..16 becomes 0..255."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    images = yield from refit(pixels, settings)
    labels = bunch.target.astype(np.int64)
    names = tuple(str(digit) for digit in range(10))
    whole = ImageSet(images, labels, names, None, None, sha256(images.tobytes() + labels.tobytes()).hexdigest())
    return Collection(whole.ordered(arranged(labels, len(labels))))


def photos(settings: DataSettings) -> StagedWork[Collection]:
    """Every crop on a grid of two photographs, 427 x 640 RGB. Each part has its own bands of columns: none overlap.

    Raises:
        InputError: crops that are too large for the bands.
    """
    from sklearn.datasets import load_sample_images

    pictures = [np.asarray(picture, dtype=np.uint8) for picture in load_sample_images().images]
    height, width = settings.height_width or (PHOTO_SIZE, PHOTO_SIZE)
    bands = photo_bands(settings, *pictures[0].shape[:2])
    parts = [np.concatenate([crops(picture[:, slice(*band)], height, width) for picture in pictures]) for band in bands]
    order = arranged(None, len(parts[0]))
    sized = settings.model_copy(update={"size": (height, width)})
    pixels = yield from refit(np.concatenate([parts[0][order], *parts[1:]]), sized)
    whole = ImageSet(frozen(pixels), None, (), None, None, sha256(pixels.tobytes()).hexdigest())
    return Collection(whole, num_validation=len(parts[1]), num_test=len(parts[2]))


def photo_bands(settings: DataSettings, height: int, width: int) -> tuple[tuple[int, int], ...]:
    """Columns (start, stop) of the training, validation and test bands; one asked for is a crop wide at least."""
    crop_height, crop_width = settings.height_width or (PHOTO_SIZE, PHOTO_SIZE)
    held = [max(round(f * width), crop_width) if f > 0 else 0 for f in (settings.validation, settings.test)]
    train = width - sum(held)
    if train < crop_width or crop_height > height:
        raise InputError(
            f"expected crops that fit three bands of a {height} x {width} photograph, "
            f"got {crop_height} x {crop_width}; set a size of at most {min(height, width // 3)}"
        )
    return (0, train), (train, train + held[0]), (train + held[0], width)


def crops(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """(N, height, width, C): crops of (H, W, C) on a grid of an eighth of their size; none where none fits."""
    if picture.shape[1] < width:
        return np.empty((0, height, width, picture.shape[2]), np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(picture, (height, width), axis=(0, 1))
    windows = windows[:: max(1, height // 8), :: max(1, width // 8)]
    return windows.transpose(0, 1, 3, 4, 2).reshape(-1, height, width, picture.shape[2])
