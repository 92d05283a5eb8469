"""MNIST and Fashion-MNIST from their four gzipped idx files, found on this machine or downloaded.

An idx file is a magic number 0x00000800 + number of axes, each axis as a big-endian 32-bit number, then bytes.
"""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ancestral.data.cache import cached, digest
from ancestral.data.download import RemoteFile, check_sha256, download
from ancestral.data.fitting import StageProgress, form, refit
from ancestral.data.imageset import Collection, ImageSet, shuffled
from ancestral.data.places import advice, data_folders
from ancestral.errors import InputError
from ancestral.files import cache_folder, open_regular
from ancestral.settings import DataSettings

SIDE = 28


@dataclass(frozen=True)
class IdxDataset:
    """A data set of four idx files: training images and labels, test images and labels."""

    name: str
    class_names: tuple[str, ...]
    files: tuple[RemoteFile, RemoteFile, RemoteFile, RemoteFile]
    num_train: int = 60_000
    num_test: int = 10_000


def _files(mirrors: tuple[str, ...], *known: tuple[int, str]) -> tuple[RemoteFile, RemoteFile, RemoteFile, RemoteFile]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    a, b, c, d = (
        RemoteFile(f"{name}-ubyte.gz", size, sha256, tuple(f"{mirror}{name}-ubyte.gz" for mirror in mirrors))
        for name, (size, sha256) in zip(names, known, strict=True)
    )
    return a, b, c, d


MNIST = IdxDataset(
    "mnist",
    tuple(str(digit) for digit in range(10)),
    _files(
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
    _files(
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


def idx_dataset(dataset: IdxDataset, settings: DataSettings, on_progress: StageProgress | None = None) -> Collection:
    """`dataset` at the settings' size and colours, decoded once; training part shuffled, official test part last.

    Raises:
        InputError: a file is nowhere to be had, or is not the one its sha256 announces.
    """

    def build(scratch: Path) -> tuple[Collection, np.ndarray]:
        train, train_labels, test, test_labels = read_files(dataset, on_progress)
        pixels = refit(np.concatenate([train, test])[..., None], settings, on_progress)
        labels = np.concatenate([train_labels, test_labels]).astype(np.int64)
        order = np.concatenate([shuffled(train_labels, len(train)), np.arange(len(train), len(labels))])
        whole = ImageSet(pixels, labels, dataset.class_names, None, None, digest(place, fingerprint))
        return Collection(whole, num_test=len(test)), order

    fingerprint = digest(*(file.sha256 for file in dataset.files))
    place = digest(dataset.name, form(settings))
    return cached(place, fingerprint, build)


def read_files(dataset: IdxDataset, on_progress: StageProgress | None = None) -> list[np.ndarray]:
    """The four arrays: (60000, 28, 28), (60000,), (10000, 28, 28) and (10000,), uint8."""
    train, test = dataset.num_train, dataset.num_test
    shapes = [(train, SIDE, SIDE), (train,), (test, SIDE, SIDE), (test,)]
    paths = [locate(file, dataset.name, on_progress) for file in dataset.files]
    return [read_idx(path, shape) for path, shape in zip(paths, shapes, strict=True)]


def locate(file: RemoteFile, name: str, on_progress: StageProgress | None = None) -> Path:
    """`file` of the data set `name` on this machine, downloaded if need be, its sha256 checked.

    Raises:
        InputError: not to be had, or not the file expected.
    """
    here = [folder / file.name for folder in data_folders(name) if (folder / file.name).is_file()]
    folder = cache_folder() / "downloads" / name
    path = here[0] if here else download(file, folder, advice(name, folder), on_progress)
    check_sha256(path, file.sha256)
    return path


def read_idx(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """The uint8 array of `shape` in a gzipped idx file; no more than that is ever unpacked.

    Raises:
        InputError: another magic number, shape or length, or damaged compression.
    """
    header = b"\0\0\x08" + bytes([len(shape)]) + b"".join(axis.to_bytes(4, "big") for axis in shape)
    size = int(np.prod(shape))
    try:
        with open_regular(path) as packed, gzip.open(packed) as file:
            data = file.read(len(header) + size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"expected a gzipped idx file, got {path}: {error}; fetch it again") from None
    if data[:4] != header[:4]:
        raise InputError(f"expected idx magic {header[:4].hex()}, got {data[:4].hex()} in {path}; fetch it again")
    if data[: len(header)] != header or len(data) != len(header) + size:
        raise InputError(f"expected an idx file of shape {shape}, got another shape or length: {path}; fetch it again")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)
