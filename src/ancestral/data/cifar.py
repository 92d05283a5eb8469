"""CIFAR-10 in any of four forms without pickles: binary records (loose or in their archive), npz files, or sheets.

- Binary: 10,000 records a file, each a label byte and 3 x 32 x 32 bytes, channels first. From the .tar.gz they are read
  as a stream: members are picked by their exact names and nothing is unpacked onto the disk.
- npz: cifar10_train.npz and cifar10_test.npz with x (N, 32, 32, 3) and y (N,).
- Sheets: train-NN.webp and test-NN.webp, lossless, 2,000 tiles each in rows of 40, labels in train_labels.u8 and
  test_labels.u8.

Whatever the form, the pixels and labels must hash to the known values: the order is the standard one.
"""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ancestral.data.cache import cached, digest
from ancestral.data.download import RemoteFile, check_sha256, download
from ancestral.data.fitting import form, refit
from ancestral.data.images import decode, to_array
from ancestral.data.imageset import Collection, ImageSet, shuffled
from ancestral.data.places import advice, data_folders
from ancestral.errors import InputError
from ancestral.files import cache_folder, open_regular, read_bytes
from ancestral.progress import StagedWork
from ancestral.settings import DataSettings

NAME = "cifar10"
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BINARY = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
ARCHIVE_FOLDER = "cifar-10-batches-bin"
ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    170052171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
RECORD = 1 + 3 * 32 * 32
MAX_ARCHIVE_BYTES = 2**29
"""More than all members together; a stream that goes on after that is not the archive."""
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


Reader = Callable[[], dict[str, Labelled]]


def cifar10(settings: DataSettings) -> StagedWork[Collection]:
    """CIFAR-10 (Krizhevsky 2009) at the settings' size and colours, decoded once; official test part last.

    Raises:
        InputError: no form of it is at hand or can be downloaded, or its content is not CIFAR-10's.
    """

    def build(scratch: Path) -> StagedWork[tuple[Collection, np.ndarray]]:
        reader = yield from locate()
        parts = reader()
        train, test = (checked(part, parts[part]) for part in ("train", "test"))
        pixels = yield from refit(np.concatenate([train.pixels, test.pixels]), settings)
        labels = np.concatenate([train.labels, test.labels]).astype(np.int64)
        order = np.concatenate([shuffled(train.labels, len(train.labels)), np.arange(len(train.labels), len(labels))])
        whole = ImageSet(pixels, labels, CLASS_NAMES, None, None, digest(place, fingerprint))
        return Collection(whole, num_test=len(test.labels)), order

    fingerprint = digest(*(known.pixels + known.labels for known in KNOWN.values()))
    place = digest(NAME, form(settings))
    return (yield from cached(place, fingerprint, build))


def locate() -> StagedWork[Reader]:
    """A reader of the first form found on this machine; the archive is downloaded where there is none."""
    downloads = cache_folder() / "downloads" / NAME
    for folder in [*data_folders(NAME), downloads]:
        if (reader := form_in(folder)) is not None:
            return reader
    archive = yield from download(ARCHIVE, downloads, advice(NAME, downloads))
    check_sha256(archive, ARCHIVE.sha256)
    return lambda: read_archive(archive)


def form_in(folder: Path) -> Reader | None:
    """A reader of the form of CIFAR-10 that `folder` holds, if any."""
    for loose in (folder, folder / ARCHIVE_FOLDER):
        if (loose / BINARY["train"][0]).is_file():
            return lambda: read_binary(loose)
    if (folder / ARCHIVE.name).is_file():
        return lambda: read_archive(folder / ARCHIVE.name)
    if (folder / f"{NAME}_train.npz").is_file():
        return lambda: {part: read_npz(folder / f"{NAME}_{part}.npz") for part in KNOWN}
    if (folder / "train_labels.u8").is_file():
        return lambda: {part: read_sheets(folder, part) for part in KNOWN}
    return None


def checked(part: str, found: Labelled) -> Labelled:
    """`found`, if it is that part of CIFAR-10.

    Raises:
        InputError: other pixels or labels, or another number of them.
    """
    known = KNOWN[part]
    if len(found.pixels) != known.num_images:
        raise InputError(f"expected {known.num_images} images in CIFAR-10's {part} part, got {len(found.pixels)}")
    for what, array, expected in (("pixels", found.pixels, known.pixels), ("labels", found.labels, known.labels)):
        if (actual := sha256(array.tobytes()).hexdigest()) != expected:
            raise InputError(
                f"expected CIFAR-10's {part} {what} with sha256 {expected}, got {actual}; fetch the files again"
            )
    return found


def read_binary(folder: Path) -> dict[str, Labelled]:
    """Both parts from loose binary files."""
    parts = {}
    for part, names in BINARY.items():
        batches = []
        for name in names:
            try:
                with open_regular(folder / name) as file:
                    batches.append(read_records(file.read(most_bytes()), f"{folder / name}"))
            except OSError as error:
                raise InputError(f"cannot read {folder / name}: {error.strerror}; fetch it again") from None
        parts[part] = _joined(batches)
    return parts


def read_archive(path: Path) -> dict[str, Labelled]:
    """Both parts out of the .tar.gz, as a stream.

    Raises:
        InputError: damaged, or a member is missing.
    """
    wanted = {f"{ARCHIVE_FOLDER}/{name}": name for names in BINARY.values() for name in names}
    try:
        with open_regular(path) as file, tarfile.open(fileobj=file, mode="r|gz") as archive:
            batches = {wanted[name]: read_records(data, f"{path}/{name}") for name, data in members(archive, wanted)}
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise InputError(f"expected CIFAR-10's binary archive, got {path}: {error}; fetch it again") from None
    if missing := set(wanted.values()) - set(batches):
        raise InputError(f"expected {sorted(missing)[0]} in {path}, got an archive without it; fetch it again")
    return {part: _joined([batches[name] for name in names]) for part, names in BINARY.items()}


def members(archive: tarfile.TarFile, wanted: dict[str, str]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the wanted regular files of a stream of at most `MAX_ARCHIVE_BYTES`, by exact name."""
    for member in archive:
        if member.offset_data + member.size > MAX_ARCHIVE_BYTES:
            raise InputError(f"expected at most {MAX_ARCHIVE_BYTES} bytes in the archive of CIFAR-10, got more")
        if member.name in wanted and member.isreg() and (file := archive.extractfile(member)) is not None:
            yield member.name, file.read(most_bytes())


def most_bytes() -> int:
    """One more than a binary file holds: nothing longer is ever read, and what is longer shows."""
    return KNOWN["test"].num_images * RECORD + 1


def read_records(data: bytes, name: str) -> Labelled:
    """The records of one binary file.

    Raises:
        InputError: another length.
    """
    num_records = KNOWN["test"].num_images
    if len(data) != num_records * RECORD:
        raise InputError(f"expected {num_records} records of {RECORD} bytes in {name}, got another length")
    records = np.frombuffer(data, np.uint8).reshape(num_records, RECORD)
    pixels = records[:, 1:].reshape(num_records, 3, 32, 32).transpose(0, 2, 3, 1)
    return Labelled(np.ascontiguousarray(pixels), records[:, 0].copy())


def read_npz(path: Path) -> Labelled:
    """x and y of an .npz file; nothing pickled is read.

    Raises:
        InputError: missing, damaged, or of other shapes.
    """
    try:
        with open_regular(path) as file, np.load(file, allow_pickle=False) as arrays:
            pixels, labels = arrays["x"], arrays["y"]
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(f"expected arrays x and y in {path}, got: {error}") from None
    if pixels.shape[1:] != (32, 32, 3) or pixels.dtype != np.uint8 or labels.shape != pixels.shape[:1]:
        raise InputError(f"expected uint8 (N, 32, 32, 3) and (N,) in {path}, got {pixels.shape} and {labels.shape}")
    return Labelled(pixels, labels.astype(np.uint8))


def read_sheets(folder: Path, part: str) -> Labelled:
    """One part from its sheets of tiles and its label bytes.

    Raises:
        InputError: a sheet is missing, damaged or of another size.
    """
    per_sheet = SHEET_ROWS * SHEET_COLUMNS
    sheets = range(-(-KNOWN[part].num_images // per_sheet))
    labels = np.frombuffer(read_bytes(folder / f"{part}_labels.u8"), np.uint8)
    return Labelled(np.concatenate([read_sheet(folder / f"{part}-{i:02d}.webp") for i in sheets]), labels)


def read_sheet(path: Path) -> np.ndarray:
    """(2000, 32, 32, 3): the tiles of a sheet, row by row."""
    sheet = to_array(decode(path, channels=3))
    if sheet.shape != (SHEET_ROWS * 32, SHEET_COLUMNS * 32, 3):
        raise InputError(
            f"expected a sheet of {SHEET_ROWS} x {SHEET_COLUMNS} tiles of 32 x 32, got {sheet.shape} in {path}"
        )
    return sheet.reshape(SHEET_ROWS, 32, SHEET_COLUMNS, 32, 3).swapaxes(1, 2).reshape(-1, 32, 32, 3)


def _joined(batches: list[Labelled]) -> Labelled:
    return Labelled(*(np.concatenate(arrays) for arrays in zip(*batches, strict=True)))
