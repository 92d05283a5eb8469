"""The built-in data sets: the right values, honest parts; the known files, read strictly."""

import gzip
import io
import tarfile
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ancestral.data import builtin, cifar, datasets
from ancestral.data.builtin import photo_bands
from ancestral.data.cifar import Known, Labelled
from ancestral.data.datasets import BUILT_IN, load
from ancestral.data.download import RemoteFile
from ancestral.errors import InputError
from ancestral.files import packaged
from ancestral.settings import DataSettings


def test_digits_are_scikit_learns() -> None:
    """Trap: 0..16 taken for 0..15 or 0..255. 16 is white; every digit's count is kept."""
    from sklearn.datasets import load_digits

    parts = load(DataSettings(source="digits"))
    images = np.concatenate([part.images for part in parts[:3]])
    labels = np.concatenate([part.labels for part in parts[:3] if part.labels is not None])
    bunch = load_digits()
    assert images.shape == (1797, 8, 8, 1) and images.max() == 255 and images.min() == 0
    assert np.bincount(labels).tolist() == np.bincount(bunch.target).tolist()
    found = {
        (label, *(image.ravel() * (16 / 255)).round().astype(int)) for label, image in zip(labels, images, strict=True)
    }
    assert found == {
        (label, *image.ravel().astype(int)) for label, image in zip(bunch.target, bunch.images, strict=True)
    }
    assert parts.train.class_names == tuple("0123456789")


def test_parts_of_digits_are_disjoint_stratified_and_repeatable() -> None:
    settings = DataSettings(source="digits", validation=0.1, test=0.2)
    parts, again = load(settings), load(settings)
    assert [len(part) for part in parts[:3]] == [1258, 180, 359]
    for part, same in zip(parts[:3], again[:3], strict=True):
        np.testing.assert_array_equal(part.images, same.images)
        assert part.hash == same.hash and part.labels is not None
        assert np.abs(np.bincount(part.labels, minlength=10) / len(part) - 0.1).max() < 0.02


def test_size_and_colours_of_a_built_in_set() -> None:
    parts = load(DataSettings(source="digits", size=(16, 12), color="rgb", fit="squash"))
    assert parts.train.shape == (3, 16, 12)
    np.testing.assert_array_equal(parts.train.images[..., 0], parts.train.images[..., 2])
    assert load(DataSettings(source="digits", labels="none")).train.class_names == ()


@pytest.mark.parametrize("size", [8, 32, (48, 40), 200])
def test_parts_of_photos_never_overlap(size: int | tuple[int, int]) -> None:
    """Trap: crops at random positions put the same pixels into training and test. Bands of columns share none."""
    settings = DataSettings(source="photos", size=size)
    height, width = settings.height_width or (0, 0)
    bands = photo_bands(settings, 427, 640)
    columns = [set(range(*band)) for band in bands]
    assert sum(map(len, columns)) == 640 and len(set.union(*columns)) == 640
    assert all(len(band) >= width for band in columns)
    if size in (8, 200):
        return
    from sklearn.datasets import load_sample_images

    parts = load(settings)
    assert min(len(part) for part in parts[:3]) > 0 and parts.train.shape == (3, height, width)
    pictures = load_sample_images().images
    for part, band in zip(parts[:3], bands, strict=True):
        rows = {picture[y, slice(*band)].tobytes() for picture in pictures for y in range(427)}
        crop = part.images[len(part) // 3]
        assert any(crop[0].tobytes() in row for row in rows), "a crop's first row stands inside its own band"


def test_what_reads_a_packages_file_does_not_import_it() -> None:
    """Trap: scikit-learn, imported for its digits, took a fifth of the time to the first training step."""
    import sklearn.datasets

    assert packaged("sklearn", "datasets/data/digits.csv.gz").is_file()
    assert packaged("sklearn", "datasets").samefile(Path(sklearn.datasets.__file__).parent)
    with pytest.raises(InputError, match="expected the package nowhere"):
        packaged("nowhere", "file")


def test_photos_too_large_say_how_large_they_may_be() -> None:
    with pytest.raises(InputError, match="at most 213"):
        load(DataSettings(source="photos", size=300))


def test_grey_photos() -> None:
    assert load(DataSettings(source="photos", size=64, color="grey")).train.shape == (1, 64, 64)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))


@pytest.fixture
def tiny_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """MNIST with 30 and 10 images of 28 x 28 in $ANCESTRAL_DATA/mnist; image i is filled with i, its label i % 10."""
    monkeypatch.setenv("ANCESTRAL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for part, first, count in (("train", 0, 30), ("t10k", 100, 10)):
        values = np.arange(first, first + count, dtype=np.uint8)
        images = np.broadcast_to(values[:, None, None], (count, 28, 28))
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", values % 10)
    contents = {file.name: (folder / file.name).read_bytes() for file in builtin.MNIST.files}
    a, b, c, d = (RemoteFile(name, len(data), sha256(data).hexdigest(), ()) for name, data in contents.items())
    tiny = builtin.IdxDataset("mnist", builtin.MNIST.class_names, (a, b, c, d))
    monkeypatch.setitem(datasets.BUILT_IN, "mnist", partial(builtin.idx_dataset, tiny))
    return folder


def test_idx_images_keep_their_labels(tiny_mnist: Path) -> None:
    parts = load(DataSettings(source="mnist", validation=0.2))
    assert [len(part) for part in parts[:3]] == [24, 6, 10]
    for part in parts[:3]:
        assert part.labels is not None
        np.testing.assert_array_equal(part.images[:, 5, 5, 0] % 10, part.labels)
    assert parts.test.images[:, 0, 0, 0].tolist() == list(range(100, 110)), "the official test part, in its order"
    assert sorted([*parts.train.images[:, 0, 0, 0], *parts.validation.images[:, 0, 0, 0]]) == list(range(30))


def test_files_may_lie_in_the_data_folder_itself(tiny_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in tiny_mnist.iterdir():
        path.rename(tiny_mnist.parent / path.name)
    assert len(load(DataSettings(source="mnist", validation=0)).train) == 30


def test_idx_with_a_wrong_sha256_is_refused(tiny_mnist: Path) -> None:
    path = tiny_mnist / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"expected .*train-images.* with sha256"):
        load(DataSettings(source="mnist"))


PER_FILE = 20
"""Records of a binary file in the tests, instead of 10,000."""


@pytest.fixture
def tiny_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Labelled]:
    """Both parts of a CIFAR-10 of 100 and 20 images, whose known hashes are set to theirs."""
    monkeypatch.setenv("ANCESTRAL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    parts = {
        part: Labelled(random.integers(0, 256, (n, 32, 32, 3), np.uint8), random.integers(0, 10, n).astype(np.uint8))
        for part, n in (("train", 5 * PER_FILE), ("test", PER_FILE))
    }
    known = {
        part: Known(len(x.labels), sha256(x.pixels.tobytes()).hexdigest(), sha256(x.labels.tobytes()).hexdigest())
        for part, x in parts.items()
    }
    monkeypatch.setattr(cifar, "KNOWN", known)
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    return parts


def records(part: Labelled, start: int) -> bytes:
    """One binary file: label, then red, green and blue planes, record by record."""
    chosen = slice(start, start + PER_FILE)
    rows = zip(part.labels[chosen], part.pixels[chosen], strict=True)
    return b"".join(bytes([label]) + b"".join(image[:, :, c].tobytes() for c in range(3)) for label, image in rows)


def binary_files(parts: dict[str, Labelled]) -> dict[str, bytes]:
    files = {f"data_batch_{i + 1}.bin": records(parts["train"], i * PER_FILE) for i in range(5)}
    return {**files, "test_batch.bin": records(parts["test"], 0)}


def archive(files: dict[str, bytes], folder: str = "cifar-10-batches-bin") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["loose", "in their folder", "archive", "npz", "sheets"])
def test_every_form_of_cifar10_is_the_same(
    tiny_cifar: dict[str, Labelled], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    folder = tmp_path / "data" / "cifar10"
    if form in ("loose", "in their folder"):
        place = folder / cifar.ARCHIVE_FOLDER if form == "in their folder" else folder
        place.mkdir(exist_ok=True)
        for name, data in binary_files(tiny_cifar).items():
            (place / name).write_bytes(data)
    elif form == "archive":
        files = {"readme.html": b"x" * 9999, "../../escape.bin": b"x", **binary_files(tiny_cifar)}
        data = archive(files)
        (folder / cifar.ARCHIVE.name).write_bytes(data)
        known = RemoteFile(cifar.ARCHIVE.name, len(data), sha256(data).hexdigest(), ())
        monkeypatch.setattr(cifar, "ARCHIVE", known)
    elif form == "npz":
        for part, (pixels, labels) in tiny_cifar.items():
            np.savez(folder / f"cifar10_{part}.npz", x=pixels, y=labels)
    else:
        monkeypatch.setattr(cifar, "SHEET_ROWS", 5)
        monkeypatch.setattr(cifar, "SHEET_COLUMNS", 4)
        for part, (pixels, labels) in tiny_cifar.items():
            (folder / f"{part}_labels.u8").write_bytes(labels.tobytes())
            for sheet in range(len(pixels) // 20):
                rows = [np.concatenate(pixels[sheet * 20 + 4 * r : sheet * 20 + 4 * r + 4], axis=1) for r in range(5)]
                path = folder / f"{part}-{sheet:02d}.webp"
                Image.fromarray(np.concatenate(rows)).save(path, lossless=True, exact=True)
    parts = load(DataSettings(source="cifar10", validation=0.1))
    np.testing.assert_array_equal(parts.test.images, tiny_cifar["test"].pixels)
    assert parts.test.labels is not None and parts.test.labels.tolist() == tiny_cifar["test"].labels.tolist()
    seen = {image.tobytes(): label for part in parts[:2] for image, label in zip(part.images, part.labels, strict=True)}
    train = tiny_cifar["train"]
    assert seen == {image.tobytes(): label for image, label in zip(train.pixels, train.labels, strict=True)}
    assert not list(tmp_path.rglob("escape*")) and not list((tmp_path / "cache").rglob("*.bin")), "nothing is unpacked"


def test_cifar10_with_one_pixel_changed_is_refused(tiny_cifar: dict[str, Labelled], tmp_path: Path) -> None:
    files = binary_files(tiny_cifar)
    files["data_batch_3.bin"] = files["data_batch_3.bin"][:-1] + b"\0"
    for name, data in files.items():
        (tmp_path / "data" / "cifar10" / name).write_bytes(data)
    with pytest.raises(InputError, match="train pixels with sha256"):
        load(DataSettings(source="cifar10"))


@pytest.mark.parametrize("fault", ["another", "cut off", "no archive"])
def test_a_faulty_archive_is_one_clear_line(tiny_cifar: dict[str, Labelled], tmp_path: Path, fault: str) -> None:
    data = archive(binary_files(tiny_cifar))
    data = {"cut off": data[: len(data) // 2], "no archive": b"<html>"}.get(fault, data)
    (tmp_path / "data" / "cifar10" / cifar.ARCHIVE.name).write_bytes(data)
    with pytest.raises(InputError, match=r"expected .*cifar-10-binary.* with sha256") as caught:
        load(DataSettings(source="cifar10"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", ["short", "long", "missing"])
def test_binary_files_of_another_length_are_refused(
    tiny_cifar: dict[str, Labelled], tmp_path: Path, fault: str
) -> None:
    files = binary_files(tiny_cifar)
    files["test_batch.bin"] = (files["test_batch.bin"] + b"\0")[: None if fault == "long" else -2]
    for name, data in files.items():
        (tmp_path / "data" / "cifar10" / name).write_bytes(data)
    if fault == "missing":
        (tmp_path / "data" / "cifar10" / "test_batch.bin").unlink()
    with pytest.raises(InputError, match=r"test_batch\.bin"):
        load(DataSettings(source="cifar10"))


def test_pickled_arrays_are_not_read(tiny_cifar: dict[str, Labelled], tmp_path: Path) -> None:
    """A canary: unpickling this array would create a file."""

    class Canary:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "sung",)  # type: ignore[return-value]

    array = np.empty(1, object)
    array[0] = Canary()
    np.savez(tmp_path / "data" / "cifar10" / "cifar10_train.npz", x=array, y=array, allow_pickle=True)
    with pytest.raises(InputError, match="arrays x and y"):
        load(DataSettings(source="cifar10"))
    assert not (tmp_path / "sung").exists()


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("mnist", [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]),
        ("fashion-mnist", [6000] * 10),
        ("cifar10", [5000] * 10),
    ],
)
def test_the_real_sets_have_their_published_counts(data_folder: Path, name: str, counts: list[int]) -> None:
    parts = load(DataSettings(source=name))
    labels = [part.labels for part in parts[:2] if part.labels is not None]
    assert np.bincount(np.concatenate(labels)).tolist() == counts
    assert len(parts.test) == 10_000 and isinstance(parts.train.images, np.memmap)
    if name == "mnist":  # mean and deviation of the training images, as published everywhere
        pixels = np.concatenate([part.images for part in parts[:2]]) / 255
        assert pixels.mean() == pytest.approx(0.1307, abs=5e-5) and pixels.std() == pytest.approx(0.3081, abs=5e-5)


def test_names_are_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCESTRAL_DATA", str(tmp_path))
    (tmp_path / "textures").mkdir()
    named = {"digits", "photos", "mnist", "fashion-mnist", "cifar10", "shapes-one", "shapes", "shapes-three"}
    assert set(BUILT_IN) == named
    for wrong, right in (("fashion_mnist", "fashion-mnist"), ("digit", "digits"), ("texture", "textures")):
        with pytest.raises(InputError, match=f"did you mean {right}"):
            load(DataSettings(source=wrong))
    with pytest.raises(InputError, match="known are digits"):
        load(DataSettings(source="qqqqqq"))


def test_a_bare_name_is_found_in_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCESTRAL_DATA", str(tmp_path))
    (tmp_path / "mine").mkdir()
    for level in range(3):
        Image.new("L", (4, 4), level).save(tmp_path / "mine" / f"{level}.png")
    assert len(load(DataSettings(source="mine", validation=0, test=0)).train) == 3
