"""The data sets that come by their names: scikit-learn's handwritten digits and crops of its two photographs, always at
hand; MNIST and Fashion-MNIST from four gzipped idx files, found on this machine or downloaded. CIFAR-10: cifar.py.

An idx file is a magic number 0x00000800 + number of axes, each axis as a big-endian 32-bit number, then bytes.
"""

import gzip
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from ancestral.colors import COLOR_CHANNELS, MODES
from ancestral.data.cache import cached, digest
from ancestral.data.download import RemoteFile, locate
from ancestral.data.images import fit, form, picture_of, to_array
from ancestral.data.imageset import Collection, ImageSet, arranged, frozen
from ancestral.errors import InputError
from ancestral.files import packaged
from ancestral.progress import ProgressEvent, StagedWork
from ancestral.settings import DataSettings

PHOTO_SIZE = 32
DIGITS = tuple(str(digit) for digit in range(10))
# Images to train on, (N, H, W, C) uint8, their labels (N,), and those of the test part.
Official = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class IdxDataset:
    """A data set of four idx files: training images and labels, test images and labels."""

    name: str
    class_names: tuple[str, ...]
    files: tuple[RemoteFile, ...]


def _idx_files(mirrors: tuple[str, ...], *known: tuple[int, str]) -> tuple[RemoteFile, ...]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(
        RemoteFile(f"{name}-ubyte.gz", size, sha256, tuple(f"{mirror}{name}-ubyte.gz" for mirror in mirrors))
        for name, (size, sha256) in zip(names, known, strict=True)
    )


MNIST = IdxDataset(
    "mnist",
    DIGITS,
    _idx_files(
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
        (9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        (1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
)
FASHION_MNIST = IdxDataset(
    "fashion-mnist",
    ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    _idx_files(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        (26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        (4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
)


def digits(settings: DataSettings) -> StagedWork[Collection]:
    """1,797 handwritten digits, 8 x 8 grey (Alpaydin and Kaynak, 1998); their 0..16 becomes 0..255."""
    with gzip.open(packaged("sklearn", "datasets/data/digits.csv.gz"), "rt") as file:
        table = np.loadtxt(file, delimiter=",")  # a digit a line: its 64 pixels, and which it is
    pixels = np.round(table[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    images = yield from refit(pixels, settings)
    labels = table[:, -1].astype(np.int64)
    whole = ImageSet(images, labels, DIGITS, None, None, sha256(images.tobytes() + labels.tobytes()).hexdigest())
    return Collection(whole.ordered(arranged(labels, len(labels))))


def photos(settings: DataSettings) -> StagedWork[Collection]:
    """Every crop on a grid of two photographs, 427 x 640 RGB. Each part has its own bands of columns: none overlap."""
    files = [packaged("sklearn", f"datasets/images/{name}.jpg") for name in ("china", "flower")]
    pictures = [np.asarray(Image.open(file)) for file in files]
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


def idx_dataset(dataset: IdxDataset, settings: DataSettings) -> StagedWork[Collection]:
    """`dataset` at the settings' size and colours, decoded once; training part shuffled, official test part last."""

    def read() -> StagedWork[Official]:
        arrays = []
        for file in dataset.files:
            path = yield from locate(file, dataset.name)
            arrays.append(read_idx(path))
        train, train_labels, test, test_labels = arrays
        return train[..., None], train_labels, test[..., None], test_labels

    return official(dataset.name, dataset.class_names, [file.sha256 for file in dataset.files], read, settings)


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in a gzipped idx file, whose sha256 has been checked."""
    data = gzip.decompress(path.read_bytes())
    start = 4 + 4 * data[3]
    return np.frombuffer(data, np.uint8, offset=start).reshape(np.frombuffer(data[4:start], ">u4").tolist())


def official(
    name: str,
    class_names: tuple[str, ...],
    known: Iterable[str],
    read: Callable[[], StagedWork[Official]],
    settings: DataSettings,
) -> StagedWork[Collection]:
    """A data set that comes with a test part, fitted once: the training part shuffled, the test part last, as it is.
    `known`: SHA-256 of all its content."""
    fingerprint, place = digest(*known), digest(name, form(settings))

    def build(scratch: Path) -> StagedWork[tuple[Collection, np.ndarray]]:
        train, train_labels, test, test_labels = yield from read()
        pixels = yield from refit(np.concatenate([train, test]), settings)
        labels = np.concatenate([train_labels, test_labels]).astype(np.int64)
        order = np.concatenate([arranged(train_labels, len(train)), np.arange(len(train), len(labels))])
        whole = ImageSet(pixels, labels, class_names, None, None, digest(place, fingerprint))
        return Collection(whole, num_test=len(test)), order

    return cached(place, fingerprint, build)


def refit(pixels: np.ndarray, settings: DataSettings) -> StagedWork[np.ndarray]:
    """(N, H, W, C) uint8 -> (N, height, width, 1 to 4) as `settings.size`, `color` and `fit` say."""
    height, width = settings.height_width or pixels.shape[1:3]
    channels = COLOR_CHANNELS.get(settings.color) or pixels.shape[3]
    if pixels.shape[1:] == (height, width, channels):
        return pixels
    fitted = np.empty((len(pixels), height, width, channels), np.uint8)
    for i, image in enumerate(pixels):
        picture = picture_of(image).convert(MODES[channels])
        fitted[i] = to_array(fit(picture, height, width, settings.fit, settings.background))
        if (i + 1) % 500 == 0:
            yield ProgressEvent("resizing", i + 1, len(pixels))
    return fitted
