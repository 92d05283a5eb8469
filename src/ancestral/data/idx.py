"""MNIST and Fashion-MNIST from their four gzipped idx files, found on this machine or downloaded.

An idx file is a magic number 0x00000800 + number of axes, each axis as a big-endian 32-bit number, then bytes.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ancestral.data.download import RemoteFile, locate
from ancestral.data.fitting import official
from ancestral.data.imageset import Collection
from ancestral.progress import StagedWork
from ancestral.settings import DataSettings


@dataclass(frozen=True)
class IdxDataset:
    """A data set of four idx files: training images and labels, test images and labels."""

    name: str
    class_names: tuple[str, ...]
    files: tuple[RemoteFile, RemoteFile, RemoteFile, RemoteFile]


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


def idx_dataset(dataset: IdxDataset, settings: DataSettings) -> StagedWork[Collection]:
    """`dataset` at the settings' size and colours, decoded once; training part shuffled, official test part last.

    Raises:
        InputError: a file is nowhere to be had, or is not the one its sha256 announces.
    """

    def read() -> StagedWork[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        arrays = []
        for file in dataset.files:
            path = yield from locate(file, dataset.name)
            arrays.append(read_idx(path))
        train, train_labels, test, test_labels = arrays
        return train[..., None], train_labels, test[..., None], test_labels

    known = (file.sha256 for file in dataset.files)
    return official(dataset.name, dataset.class_names, known, read, settings)


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in a gzipped idx file, whose sha256 has been checked."""
    data = gzip.decompress(path.read_bytes())
    start = 4 + 4 * data[3]
    return np.frombuffer(data, np.uint8, offset=start).reshape(np.frombuffer(data[4:start], ">u4").tolist())
