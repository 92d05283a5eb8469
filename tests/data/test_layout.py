"""How a folder is read: its parts, its classes, what is left out, and that every reader of it agrees."""

import json
import os
import unicodedata
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from standing import Forked, Source

from ancestral.data import cache
from ancestral.data.check import check
from ancestral.data.datasets import load
from ancestral.data.imageset import ImageSet, cuts
from ancestral.data.layout import class_folders, divided, folders_of, part_of
from ancestral.data.listing import fingerprint, first_bytes, list_images, other_kind
from ancestral.data.packing import pack
from ancestral.errors import InputError
from ancestral.folders import kind_of
from ancestral.settings import DataSettings

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def paint(root: Path, names: list[str]) -> Path:
    """An image of noise of its own under each name, as PNG where the suffix says nothing else."""
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (8, 8, 3), np.uint8)
        suffix = Path(name).suffix.lower()
        Image.fromarray(pixels).save(root / name, "JPEG" if suffix in (".jpg", ".jpeg", ".jfif") else "PNG")
    return root


def names(pattern: str, count: int, start: int = 0) -> list[str]:
    return [pattern.format(i) for i in range(start, start + count)]


def settings(root: Path, **others: object) -> DataSettings:
    return DataSettings.model_validate({"source": str(root), "size": 8, **others})


def told(images: ImageSet) -> dict[str, str]:
    """Name -> class of each image of a part."""
    labels = [images.class_names[label] for label in images.labels] if images.labels is not None else [""] * len(images)
    return dict(zip(images.names or (), labels, strict=True))


def by_class(files: list[str], numbers: bool = False) -> set[str | None]:
    return {*class_folders(divided(folders_of(files), "auto").paths, numbers)[0].values()}


@pytest.mark.parametrize(
    ("folder", "part"),
    [
        ("train", "train"), ("Training", "train"), ("TRAIN", "train"), ("training_set", "train"),
        ("train2017", "train"), ("images_train", "train"), ("val", "validation"), ("valid", "validation"),
        ("Validation", "validation"), ("dev", "validation"), ("val-images", "validation"), ("test", "test"),
        ("testing", "test"), ("Test Set", "test"),
        ("trains", None), ("tester", None), ("cat", None), ("test1", None), ("latest", None), ("device", None),
    ],
)  # fmt: skip
def test_the_part_that_a_folder_is_called(folder: str, part: str | None) -> None:
    assert part_of(folder) == part


SPLIT: dict[str, tuple[list[str], dict[str, set[str]], tuple[str, ...]]] = {
    "splits of classes": (
        [*names("train/cat/{}.png", 4), *names("train/dog/{}.png", 4), *names("test/cat/{}.png", 2)],
        {"train": {"train"}, "test": {"test"}},
        ("cat", "dog"),
    ),
    "without classes": ([*names("Train/{}.png", 4), *names("VALID/{}.png", 2)], {"validation": {"VALID"}}, ()),
    "doubled": (
        [*names("train/train/a/{}.png", 3), *names("train/train/b/{}.png", 3), *names("test/images/a/{}.png", 2)],
        {"train": {"train"}, "test": {"test"}},
        ("a", "b"),
    ),
    "prefixed": (
        [f"seg_{part}/seg_{part}/{name}/{i}.png" for part in ("train", "test") for name in "ab" for i in range(3)],
        {"train": {"seg_train"}, "test": {"seg_test"}},
        ("a", "b"),
    ),
    "numbered": ([*names("train/{}.png", 4), *names("test1/{}.png", 2)], {"test": {"test1"}}, ()),
    "in a folder": ([*names("data/train/{}.png", 4), *names("data/dev/{}.png", 2)], {"validation": {"data/dev"}}, ()),
    "in classes": (
        [f"{name}/{part}/{i}.png" for name in "ab" for part in ("train", "test") for i in range(3)],
        {"train": {"a/train", "b/train"}, "test": {"a/test", "b/test"}},
        ("a", "b"),
    ),
    "beside images": ([*names("{}.png", 5), *names("test/{}.png", 2)], {"test": {"test"}}, ()),
    "classes once more": (
        [*names("a/{}.png", 4), *names("b/{}.png", 4), *names("test/a/{}.png", 2), *names("val/b/{}.png", 2)],
        {"test": {"test"}, "validation": {"val"}},
        ("a", "b"),
    ),
    "a class to test on alone": (
        [*names("train/a/{}.png", 3), *names("train/b/{}.png", 3), *names("test/c/{}.png", 2)],
        {"test": {"test/c"}},
        ("a", "b", "c"),
    ),
}


@pytest.mark.parametrize("case", SPLIT)
def test_folders_of_parts_are_the_parts(tmp_path: Path, case: str) -> None:
    """Nothing from a test or validation folder is ever trained on; loading, checking and packing agree."""
    files, wanted, class_names = SPLIT[case]
    chosen = settings(paint(tmp_path / "in", files), validation=0.2, test=0.2)
    parts = load(chosen)
    assert parts.train.class_names == class_names
    for name, part in zip(("train", "validation", "test"), parts[:3], strict=True):
        inside = {file for file in files if any(file.startswith(f"{folder}/") for folder in wanted.get(name, ()))}
        assert not inside or ({*told(part)} <= inside and (name == "train" or {*told(part)} == inside))
    report = check(chosen.source, chosen)
    assert [*report.parts.values()] == [len(part) for part in parts[:3]] and (*report.classes,) == class_names
    assert report.untrained == parts.untrained == (("c",) if "c" in class_names else ())
    assert any("--data.splits none" in note for note in parts.notes) and report.notes == parts.notes
    dest = str(tmp_path / "packed")
    pack(chosen, dest, 3)
    streamed = load(DataSettings(source=dest, validation=0.2, test=0.2))
    assert [told(part) for part in streamed[:3]] == [told(part) for part in parts[:3]]


def test_parts_can_be_read_as_classes_and_others_as_parts(tmp_path: Path) -> None:
    root = paint(tmp_path, [*names("train/{}.png", 4), *names("test/{}.png", 4)])
    assert load(settings(root, splits="none")).train.class_names == ("test", "train")
    mixed = paint(tmp_path / "mixed", [f"{name}/{i}.png" for name in ("cat", "dog", "test") for i in range(6)])
    auto = load(settings(mixed))
    assert auto.train.class_names == ("cat", "dog", "test")
    assert any("--data.splits folders" in note for note in auto.notes), "it can be read in two ways"
    forced = load(settings(mixed, splits="folders", labels="none"))
    assert {*told(forced.test)} == {*names("test/{}.png", 6)}


def test_a_folder_of_test_images_alone_is_not_trained_on(tmp_path: Path) -> None:
    root = paint(tmp_path, names("test/{}.png", 5))
    with pytest.raises(InputError, match=r"those of test alone; .*--data.splits none"):
        load(settings(root))
    assert len(load(settings(root, splits="none", validation=0, test=0)).train) == 5
    assert len(load(settings(root / "test", validation=0, test=0)).train) == 5


def test_images_of_a_part_that_has_no_classes_are_left_out_and_said(tmp_path: Path) -> None:
    """ImageNet's validation images lie in one folder: they do not cost the training images their classes."""
    files = [f"train/{name}/{i}.JPEG" for name in ("n01", "n02") for i in range(5)] + names("val/{}.JPEG", 4)
    parts = load(settings(paint(tmp_path, files), validation=0, test=0))
    assert parts.train.class_names == ("n01", "n02") and len(parts.validation) == 0
    assert {name for name, _ in parts.bad} == {*names("val/{}.JPEG", 4)}
    assert any("4 of 14 images" in note for note in parts.notes)
    plain = load(settings(tmp_path, labels="none", validation=0, test=0))
    assert len(plain.validation) == 4 and len(plain.train) == 10


@pytest.mark.parametrize("own", [(None, None), (3, None), (None, 3), (3, 2)])
def test_fractions_are_cut_from_the_images_to_train_on(own: tuple[int | None, int | None]) -> None:
    """Trap: a test part that is cut from the end takes the images of the validation folder."""
    (a, b), (c, d), (e, f) = cuts(20, *own, 0.2, 0.2)
    kept = 20 - (own[0] or 0) - (own[1] or 0)
    assert sorted([*range(a, b), *range(c, d), *range(e, f)]) == [*range(20)]
    assert (a, d - c, f - e) == (0, own[0] or round(0.2 * kept), own[1] or round(0.2 * kept))
    assert own[1] is None or (e, f) == (20 - own[1], 20)
    assert own[0] is None or c == kept


BUCKETS = [f"{i // 10:05d}/img{i:08d}.png" for i in range(25)]


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (BUCKETS, {None}),
        ([f"{i // 10}/{i}.png" for i in range(25)], {"0", "1", "2"}),
        ([f"{i % 10}/{i}.png" for i in range(100)], set("0123456789")),
        ([f"{c:05d}/{c}-{i}.png" for c, n in enumerate((30, 4, 50)) for i in range(n)], {"00000", "00001", "00002"}),
        ([f"{c:02d}/{i}.png" for c in range(3) for i in range(4)], {"00", "01", "02"}),
        ([f"part_{i % 3}/{i}.png" for i in range(9)], {None}),
        ([f"{i:02x}/{i}.png" for i in range(256)], {None}),
        ([f"{word}/{word}.png" for word in ("bad", "bed", "cab")], {"bad", "bed", "cab"}),
        ([f"{i // 10:05d}/{c}/{c}{i}.png" for i in range(20) for c in "ab"], {"a", "b"}),
        ([f"train/{i // 10:05d}/{i}.png" for i in range(20)] + ["test/00000/99.png"], {None}),
    ],
)
def test_folders_that_only_hold_so_many_images_are_no_classes(files: list[str], expected: set[str | None]) -> None:
    assert by_class(files) == expected
    if expected == {None}:
        assert len(by_class(files, numbers=True)) > 1, "unless they are asked for"


def test_numbered_folders_are_said_with_the_setting_that_decides(tmp_path: Path) -> None:
    parts = load(settings(paint(tmp_path, BUCKETS)))
    assert parts.train.class_names == () and any("--data.labels folders" in note for note in parts.notes)
    assert load(settings(tmp_path, labels="folders")).train.class_names == ("00000", "00001", "00002")
    uneven = [f"{c:05d}/{c}-{i}.png" for c, n in enumerate((2, 9)) for i in range(n)]
    assert any("--data.labels none" in note for note in load(settings(paint(tmp_path / "b", uneven))).notes)


@pytest.mark.parametrize("form", ["pairs", "mapping", "labels mapping"])
def test_labels_of_a_dataset_json_are_the_classes(tmp_path: Path, form: str) -> None:
    pairs = [[name, i % 2] for i, name in enumerate(BUCKETS)]
    tree: object = {"pairs": {"labels": pairs}, "mapping": dict(pairs), "labels mapping": {"labels": dict(pairs)}}[form]
    paint(tmp_path / "in", BUCKETS)
    (tmp_path / "in" / "dataset.json").write_text(json.dumps(tree))
    train = load(settings(tmp_path, validation=0, test=0)).train
    assert told(train) == {f"in/{name}": str(number) for name, number in pairs}


@pytest.mark.parametrize("text", ['{"labels": null}', '{"a": 1}', "[1]", "{", '{"labels": [["x.png", [0.5]]]}'])
def test_another_dataset_json_is_not_read_and_that_is_said_or_counted(tmp_path: Path, text: str) -> None:
    paint(tmp_path, [f"{name}/{i}.png" for name in "ab" for i in range(4)])
    (tmp_path / "dataset.json").write_text(text)
    parts = load(settings(tmp_path))
    assert parts.train.class_names == ("a", "b") and any("dataset.json" in note for note in parts.notes)


def test_metadata_is_read_at_every_level_and_the_nearest_counts(tmp_path: Path) -> None:
    paint(tmp_path, [*names("train/{}.png", 4), *names("test/{}.png", 4)])
    rows = [f"{part}/{i}.png,outer" for part in ("train", "test") for i in range(4)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    inner = [f"{i}.png,{'even' if i % 2 == 0 else 'odd'}" for i in range(3)]
    (tmp_path / "train" / "metadata.csv").write_text("\n".join(["file_name,label", *inner]))
    parts = load(settings(tmp_path, validation=0))
    assert told(parts.train) == {
        "train/0.png": "even", "train/1.png": "odd", "train/2.png": "even", "train/3.png": "outer"
    }  # fmt: skip
    assert {*told(parts.test).values()} == {"outer"} and parts.untrained == ()


def test_names_count_in_any_unicode_form_and_with_either_separator(tmp_path: Path) -> None:
    paint(tmp_path, [f"{NFD}/0.png", "ab/1.png", "ab/2.png", "with\\stroke.png"])
    rows = [f"{NFC}/0.png,x", "ab\\1.png,y", ".\\ab\\2.png,y", "with\\stroke.png,x"]
    (tmp_path / "metadata.csv").write_text("\r\n".join(["file_name,label", *rows]), "utf-8")
    train = load(settings(tmp_path, validation=0, test=0))
    assert told(train.train) == {f"{NFD}/0.png": "x", "ab/1.png": "y", "ab/2.png": "y", "with\\stroke.png": "x"}
    assert train.bad == ()
    for row in ("ab/1.png,y", "..\\secret.png,x", "C:\\..\\x.png,y"):
        (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label", "ab\\1.png,x", row]), "utf-8")
        with pytest.raises(InputError, match=r"in two spellings|inside the folder"):
            load(settings(tmp_path))


def test_class_folders_in_two_unicode_forms_are_one_class(tmp_path: Path) -> None:
    files = [f"train/{NFC}/1.png", "train/b/2.png", f"train/{NFC}/3.png", f"test/{NFD}/4.png"]
    parts = load(settings(paint(tmp_path, files), validation=0))
    assert len(parts.train.class_names) == 2 and {*told(parts.test).values()} < {*told(parts.train).values()}


def test_one_stray_image_is_left_out_by_name(tmp_path: Path) -> None:
    files = [f"{name}/{i}.png" for name in "ab" for i in range(10)]
    parts = load(settings(paint(tmp_path, [*files, "stray.png"]), validation=0, test=0))
    assert {*told(parts.train)} == {*files} and parts.bad == (("stray.png", "has no class"),)
    assert len(load(settings(tmp_path, labels="none", validation=0, test=0)).train) == 21
    many = load(settings(paint(tmp_path, names("more{}.png", 15)), validation=0, test=0))
    assert many.train.class_names == () and len(many.train) == 36
    assert any("--data.labels folders" in note for note in many.notes)


def test_files_are_judged_by_content_and_the_rest_is_counted(tmp_path: Path) -> None:
    """Trap: JPEG files called .jfif, and files without a suffix, that nobody mentions."""
    paint(tmp_path, ["a.png", "b.jfif", "c", "d.JPEG", "e.dat", "wrong.txt", ".hidden.png", ".git/x.png"])
    paint(tmp_path, ["__MACOSX/a.png", ".ipynb_checkpoints/a.png"])
    (tmp_path / "notes.TXT").write_text("no image")
    (tmp_path / "BMW.txt").write_text("BM is how this begins, and it is no bitmap")
    (tmp_path / "raw.NEF").write_bytes(b"II*\0" + bytes(99))
    (tmp_path / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    (tmp_path / "zero.png").touch()
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    os.mkfifo(tmp_path / "pipe")
    parts = load(settings(tmp_path, validation=0, test=0))
    assert {*told(parts.train)} == {"a.png", "b.jfif", "c", "d.JPEG", "e.dat", "wrong.txt"}
    left_out = json.loads(json.dumps(asdict(check(str(tmp_path), settings(tmp_path)))))["left_out"]
    assert {(each["reason"], each["suffix"]): each["count"] for each in left_out} == {
        ("is empty", ".png"): 1,
        ("not an image", ".txt"): 2,
        ("hidden", ".png"): 1,
        ("a hidden folder", "folder"): 3,
        ("camera raw, which is not read", ".nef"): 1,
        ("HEIC, which is not read", ".heic"): 1,
        ("a file manager's own", ".ds_store"): 1,
        ("not a regular file, or unreadable", "no suffix"): 1,
    }  # fmt: skip
    assert first_bytes(tmp_path / "pipe") is None, "never opened: this would wait for ever"


def test_what_ancestral_wrote_is_no_image_and_changes_nothing(tmp_path: Path) -> None:
    """`cd pictures; ancestral train .` puts its run among them: the same command finds the same images."""
    files = [f"{name}/{i}.png" for name in "ab" for i in range(4)]
    before = load(settings(paint(tmp_path, files)))
    seen = fingerprint(list_images(tmp_path))
    paint(tmp_path / "runs" / "mine", ["samples/1.png", "generated/grid.png"])
    (tmp_path / "runs" / "mine" / "lock").touch()
    (tmp_path / "runs" / "mine" / "config.json").write_text("{}")
    paint(tmp_path / "drawer", ["assets/1.png"])
    (tmp_path / "drawer" / "model_index.json").write_text("{}")
    after = load(settings(tmp_path))
    assert after.train.hash == before.train.hash and fingerprint(list_images(tmp_path)) == seen
    assert after.notes == ("pictures in the pipeline drawer, the run runs/mine are not used",)


@pytest.mark.parametrize(
    ("make", "kind", "verb"),
    [
        (lambda at: [(at / name).touch() for name in ("config.json", "lock")], "run", "ancestral train"),
        (lambda at: (at / "model_index.json").touch(), "pipeline", "ancestral sample"),
        (lambda at: [(at / name).touch() for name in ("manifest.json", "state.json")], "checkpoint", "ancestral train"),
        (lambda at: (at / "packing.json").touch(), "packed data set", "ancestral train"),
    ],
)
def test_a_folder_of_ours_is_answered_with_its_verb(
    tmp_path: Path, make: Callable[[Path], object], kind: str, verb: str
) -> None:
    make(paint(tmp_path, ["1.png", "2.png"]))
    assert kind_of(tmp_path) == kind
    with pytest.raises(InputError, match=f"got a {kind}: .*; {verb}"):
        list_images(tmp_path)


FULL_DISK = """
import resource, signal, sys
from ancestral.settings import DataSettings
from ancestral.data.datasets import load
from ancestral.errors import CannotWrite
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    load(DataSettings(source=sys.argv[1], size=32))
except CannotWrite as fault:
    print(fault)
"""


@pytest.mark.parametrize("limit", [10_000, pytest.param(61_500, marks=pytest.mark.slow)])
def test_a_full_cache_is_one_line_and_leaves_no_scratch(tmp_path: Path, limit: int) -> None:
    """Twenty images take 61,440 bytes, and their file in the cache 128 more: full while decoding, and while storing."""
    paint(tmp_path / "in", names("{}.png", 20))
    environment = os.environ | {"ANCESTRAL_CACHE": str(tmp_path / "cache")}
    with Forked(Source(FULL_DISK, tmp_path / "in", limit), tmp_path, environment) as process:
        out, _ = process.communicate()
    assert len(out.splitlines()) == 1 and "cannot write" in out
    assert [*(tmp_path / "cache" / "decoded").glob("*/*")] == []


def test_nothing_is_written_through_a_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap: on a full disk that kills the process by SIGBUS."""
    mapped = np.lib.format.open_memmap
    monkeypatch.setattr(np.lib.format, "open_memmap", lambda file, mode, **others: {"r": mapped}[mode](file, mode="r"))
    paint(tmp_path, names("{}.png", 4))
    train = load(settings(tmp_path, validation=0, test=0)).train
    assert isinstance(train.images, np.memmap) and train.images.shape == (4, 8, 8, 3)


def test_what_a_killed_process_was_decoding_is_taken_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "cache"))
    home = tmp_path / "cache" / "decoded" / "another source"
    (home / ".killed").mkdir(parents=True)
    (home / ".killed" / cache.LOCK).touch()
    paint(tmp_path / "in", names("{}.png", 4))
    with cache._scratch(home) as busy:
        assert not (home / ".killed").exists()
        load(settings(tmp_path / "in"))
        assert busy.exists(), "its process lives"


def test_what_a_killed_packing_left_half_is_taken_away(tmp_path: Path) -> None:
    paint(tmp_path / "in", names("{}.png", 4))
    dest = tmp_path / "packed"
    pack(settings(tmp_path / "in"), str(dest))
    wanted = {file.name for file in dest.iterdir()}
    (dest / ".00000-rgb.bin.0123abcd").touch()
    (dest / ".mine").touch()
    assert pack(settings(tmp_path / "in"), str(dest)).already
    assert {file.name for file in dest.iterdir()} == {*wanted, ".mine"}


@pytest.mark.parametrize(
    ("first", "suffix", "kind"),
    [
        (b"P6\n8 8\n255\n", ".ppm", "PPM"),
        (b"P2 # by hand\n8 8", ".pgm", "PGM"),
        (b"P4\n8 8\n", "", "PBM"),
        (b"P7\nWIDTH 8", ".pam", "PAM"),
        (b"Pf\n8 8\n-1.0\n", ".pfm", "PFM"),
        (b"\x00\x00\x0a" + bytes(9), ".tga", "TGA"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", ".eps", "EPS"),
        (b"P1 is our plan", ".txt", None),
        (b"\x00\x00\x0a" + bytes(9), ".bin", None),
    ],
)
def test_pictures_that_are_not_read_are_called_what_they_are(first: bytes, suffix: str, kind: str | None) -> None:
    assert other_kind(first, suffix) == kind
