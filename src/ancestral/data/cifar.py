"""CIFAR-10 in any of four forms without pickles: binary records (loose or in their archive), npz files, or sheets.

- Binary: 10,000 records a file, each a label byte and 3 x 32 x 32 bytes, channels first. From the .tar.gz,
  whose SHA-256 is known, they are read as a stream: nothing is unpacked onto the disk.
- npz: cifar10_train.npz and cifar10_test.npz with x (N, 32, 32, 3) and y (N,).
- Sheets: train-NN.webp and test-NN.webp, lossless, 2,000 tiles each in rows of 40, labels in train_labels.u8 and
  test_labels.u8.

Whatever the form, the pixels and labels must hash to the known values: the order is the standard one.
"""

import tarfile
import zipfile
import zlib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ancestral.data.builtin import Official, official
from ancestral.data.download import RemoteFile, data_folders, locate
from ancestral.data.images import decode, to_array
from ancestral.data.imageset import Collection
from ancestral.errors import InputError
from ancestral.files import open_regular, read_bytes
from ancestral.progress import StagedWork
from ancestral.settings import DataSettings

NAME = "cifar10"
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BINARY = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
ARCHIVE_FOLDER = "cifar-10-batches-bin"
ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    170052171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
RECORD = 1 + 3 * 32 * 32
SHEET_ROWS, SHEET_COLUMNS = 50, 40


class Known(NamedTuple):
    """What a part must be: how many images, and the SHA-256 of its pixels (N, 32, 32, 3) and of its label bytes."""

    num_images: int
    pixels: str
    labels: str


KNOWN = {
    "train": Known(
        50_000,
        "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a",
        "2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
    ),
    "test": Known(
        10_000,
        "f9b1e2130bab680db56eb06d886f7f1ad0f1183907ceff4659d1735c890f5b04",
        "cec8a24a1e92aa2ecaa0bbd3dbfa86bf6cd8759fbd209a832824c8cf0afca9d5",
    ),
}


class Labelled(NamedTuple):
    """(N, 32, 32, 3) pixels and (N,) labels, uint8."""

    pixels: np.ndarray
    labels: np.ndarray


def cifar10(settings: DataSettings) -> StagedWork[Collection]:
    """CIFAR-10 (Krizhevsky 2009) at the settings' size and colours, decoded once; official test part last."""

    def read() -> StagedWork[Official]:
        found = [parts for folder in data_folders(NAME) if (parts := form_in(folder)) is not None]
        parts = found[0] if found else read_archive((yield from locate(ARCHIVE, NAME)))
        return *checked("train", parts["train"]), *checked("test", parts["test"])

    return official(NAME, CLASS_NAMES, [known.pixels + known.labels for known in KNOWN.values()], read, settings)


def form_in(folder: Path) -> dict[str, Labelled] | None:
    """Both parts in whichever loose form `folder` holds, if any."""
    for loose in (folder, folder / ARCHIVE_FOLDER):
        if (loose / BINARY["train"][0]).is_file():
            names, most = (name for names in BINARY.values() for name in names), KNOWN["test"].num_images * RECORD
            return read_binary({name: read_bytes(loose / name, most) for name in names})
    if (folder / f"{NAME}_train.npz").is_file():
        return {part: read_npz(folder / f"{NAME}_{part}.npz") for part in KNOWN}
    if (folder / "train_labels.u8").is_file():
        return {part: read_sheets(folder, part) for part in KNOWN}
    return None


def checked(part: str, found: Labelled) -> Labelled:
    """`found`, if it is that part of CIFAR-10."""
    known = KNOWN[part]
    if found.pixels.shape != (known.num_images, 32, 32, 3):
        raise InputError(
            f"expected {known.num_images} images of 32 x 32 in CIFAR-10's {part} part, got {found.pixels.shape}"
        )
    for what, array, expected in (("pixels", found.pixels, known.pixels), ("labels", found.labels, known.labels)):
        if (actual := sha256(array.tobytes()).hexdigest()) != expected:
            raise InputError(
                f"expected CIFAR-10's {part} {what} with sha256 {expected}, got {actual}; fetch the files again"
            )
    return found


def read_archive(path: Path) -> dict[str, Labelled]:
    """Both parts out of the .tar.gz, whose sha256 has been checked, as a stream."""
    with tarfile.open(path, "r|gz") as archive:
        contents = {Path(each.name).name: file.read() for each in archive if (file := archive.extractfile(each))}
    return read_binary(contents)


def read_binary(contents: Mapping[str, bytes]) -> dict[str, Labelled]:
    """Both parts out of binary files, by name."""
    parts = {}
    for part, names in BINARY.items():
        data, num_images = b"".join(contents[name] for name in names), KNOWN[part].num_images
        if len(data) != num_images * RECORD:
            raise InputError(
                f"expected {num_images} records of {RECORD} bytes in {', '.join(names)}, got another length"
            )
        records = np.frombuffer(data, np.uint8).reshape(num_images, RECORD)
        pixels = records[:, 1:].reshape(num_images, 3, 32, 32).transpose(0, 2, 3, 1)
        parts[part] = Labelled(np.ascontiguousarray(pixels), records[:, 0].copy())
    return parts


def read_npz(path: Path) -> Labelled:
    """x and y of an .npz file; nothing pickled is read."""
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as arrays:
            return Labelled(arrays["x"], arrays["y"].astype(np.uint8))
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(f"expected arrays x and y in {path}, got: {error}") from None


def read_sheets(folder: Path, part: str) -> Labelled:
    """One part from its sheets of tiles, row by row, and its label bytes."""
    tiles = []
    for i in range(-(-KNOWN[part].num_images // (SHEET_ROWS * SHEET_COLUMNS))):
        path = folder / f"{part}-{i:02d}.webp"
        sheet = to_array(decode(path, channels=3))
        if sheet.shape != (SHEET_ROWS * 32, SHEET_COLUMNS * 32, 3):
            raise InputError(
                f"expected a sheet of {SHEET_ROWS} x {SHEET_COLUMNS} tiles of 32 x 32, got {sheet.shape} in {path}"
            )
        tiles.append(sheet.reshape(SHEET_ROWS, 32, SHEET_COLUMNS, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3))
    labels = np.frombuffer(read_bytes(folder / f"{part}_labels.u8"), np.uint8)
    return Labelled(np.concatenate(tiles), labels)
