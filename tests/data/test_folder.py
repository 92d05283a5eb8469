"""Anybody's folder: what is found, how it is labelled, that it is never touched, and when it is decoded anew."""

import json
import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ancestral.data.datasets import load, loading
from ancestral.data.images import BadImage, decode
from ancestral.data.imageset import ImageSet, Parts
from ancestral.errors import CannotWrite, InputError
from ancestral.migrations import settings as migrated
from ancestral.progress import ProgressEvent, finish
from ancestral.settings import DataSettings

OLD_RUN = Path(__file__).parents[1] / "old_run"


def paint(path: Path, level: int, color: bool = True, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, 0, 0) if color else (level,) * 3).save(path)


def everything(source: Path, follow: Callable[[ProgressEvent], None] = lambda event: None, **settings: object) -> Parts:
    """All usable images in the training part."""
    asked = {"source": str(source), "validation": 0, "test": 0, "size": 8, **settings}
    return finish(loading(DataSettings.model_validate(asked)), follow)


def never(event: ProgressEvent) -> None:
    """A progress that is not to be told."""
    pytest.fail(f"{event.what} of what lies in the cache")


def by_name(parts: Parts) -> dict[str, int]:
    """Name -> red level of its top left pixel."""
    assert parts.train.names is not None
    return {n: int(x[0, 0, 0]) for n, x in zip(parts.train.names, parts.train.images, strict=True)}


def snapshot(root: Path) -> str:
    """A hash of every name, kind, time of change and content under `root`."""
    lines = []
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
        lines.append(f"{path} {status.st_mode} {status.st_size} {status.st_mtime_ns} {content}")
    return sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def test_nested_upper_case_and_webp_are_found(tmp_path: Path) -> None:
    """Trap: upper-case extensions and webp skipped. Hidden files and other files are left out."""
    names = ["a.PNG", "b.webp", "deep/er/c.JPG", "deep/d.TiFF", "e.gif", "f.bmp"]
    for level, name in enumerate(names):
        paint(tmp_path / name, 10 * level)
    paint(tmp_path / ".hidden.png", 1)
    paint(tmp_path / ".cache" / "x.png", 1)
    (tmp_path / "notes.txt").write_text("no image")
    parts = everything(tmp_path)
    assert sorted(parts.train.names or ()) == sorted(names) and parts.bad == ()
    assert all(abs(by_name(parts)[name] - 10 * level) <= 3 for level, name in enumerate(names))


def test_images_keep_their_own_labels_and_names(tmp_path: Path) -> None:
    for level in range(40):
        paint(tmp_path / ("cats" if level % 4 else "dogs") / f"{level}.png", level)
    parts = load(DataSettings(source=str(tmp_path), validation=0.25, test=0.25, size=8))
    assert parts.train.class_names == ("cats", "dogs")
    assert [len(part) for part in parts[:3]] == [20, 10, 10]
    for part in parts[:3]:
        assert part.names is not None and part.labels is not None
        for name, label, image in zip(part.names, part.labels, part.images, strict=True):
            assert name == f"{part.class_names[label]}/{image[0, 0, 0]}.png"
        assert abs((part.labels == 1).mean() - 0.25) <= 0.1, "each part holds the classes in proportion"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a/1.png", "b/2.png"], ("a", "b")),
        (["png/a/1.png", "png/b/2.png"], ("a", "b")),
        (["a/x/1.png", "a/y/2.png", "b/3.png"], ("a", "b")),
        (["10/a.png", "9/a.png", "2/a.png"], ("2", "9", "10")),
        (["ab/1.png", "ac/2.png"], ("ab", "ac")),
        (["a/1.png", "b/2.png", "3.png"], ("a", "b")),
        (["a/1.png", "b/2.png", "3.png", "4.png", "5.png"], ()),
        (["a/1.png", "a/2.png"], ()),
        (["1.png", "2.png"], ()),
        (["pets/1.png", "pets/a/2.png", "pets/b/3.png"], ("a", "b")),
    ],
)
def test_labels_from_folders(tmp_path: Path, names: list[str], expected: tuple[str, ...]) -> None:
    for level, name in enumerate(names):
        paint(tmp_path / name, level)
    assert everything(tmp_path).train.class_names == expected
    assert everything(tmp_path, labels="none").train.class_names == ()


def test_labels_and_captions_from_csv(tmp_path: Path) -> None:
    for level in range(4):
        paint(tmp_path / "in" / f"{level}.png", level)
    (tmp_path / "metadata.csv").write_text(
        'file_name,label,text\nin/0.png,odd,"a, quoted"\nin/1.png,even,two\nin/2.png,odd,ünï\nin/9.png,odd,gone\n',
        "utf-8",
    )
    parts = everything(tmp_path)
    found = {}
    assert parts.train.names is not None and parts.train.labels is not None and parts.train.captions is not None
    for name, label, text in zip(parts.train.names, parts.train.labels, parts.train.captions, strict=True):
        found[name] = (parts.train.class_names[label], text)
    assert found == {"in/0.png": ("odd", "a, quoted"), "in/1.png": ("even", "two"), "in/2.png": ("odd", "ünï")}
    assert dict(parts.bad) == {
        "in/3.png": "is not in metadata.csv",
        "in/9.png": "is in metadata.csv but not in the folder",
    }


def test_captions_alone_from_jsonl(tmp_path: Path) -> None:
    rows = [{"file_name": f"{i}.png", "text": f"picture {i}\u2028"} for i in range(3)]
    for i in range(3):
        paint(tmp_path / f"{i}.png", i)
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), "utf-8")
    train = everything(tmp_path).train
    assert train.labels is None and train.names is not None and train.captions is not None
    assert all(text == f"picture {name[0]}\u2028" for name, text in zip(train.names, train.captions, strict=True))


def test_no_caption_is_dropped_for_want_of_others(tmp_path: Path) -> None:
    """Trap: a column that the first line lacks, and metadata that only one of two folders has texts in."""
    for i in range(4):
        paint(tmp_path / "ab"[i % 2] / f"{i}.png", i)
    (tmp_path / "a" / "metadata.jsonl").write_text('{"file_name": "0.png", "n": 1}\n{"file_name": "2.png", "n": 2}')
    (tmp_path / "b" / "metadata.csv").write_text("file_name,text\n1.png,one\n3.png,\n")
    train = everything(tmp_path).train
    assert dict(zip(train.names or (), train.captions or (), strict=True)) == {
        "a/0.png": "", "a/2.png": "", "b/1.png": "one", "b/3.png": "",
    }  # fmt: skip
    assert by_attributes(train) == {0: (1,), 2: (2,), 1: (None,), 3: (None,)}
    (tmp_path / "a" / "metadata.jsonl").write_text('{"file_name": "0.png"}\n{"file_name": "2.png", "text": "two"}')
    with pytest.raises(InputError, match="expected text in row 1"):
        everything(tmp_path)


def with_attributes(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for level in range(6):
        paint(folder / f"{level}.bmp", level)
    rows = "0.bmp,0.5,true,12,red\n1.bmp,,FALSE,,3\n2.bmp,-1e3,1,nan,4\n3.bmp,2,0,,5\n4.bmp,3,0,,6\n5.bmp,4,0,,7\n"
    (folder / "metadata.csv").write_text(f"file_name,age,smile,one,size\n{rows}")
    return folder


def test_columns_of_numbers_are_attributes(tmp_path: Path) -> None:
    """Through the cache and the division; an empty cell is not told, true and false are 1 and 0."""
    expected = {0: (0.5, 1, 12), 1: (None, 0, None), 2: (-1000, 1, None), 3: (2, 0, None), 4: (3, 0, None)}
    parts = everything(with_attributes(tmp_path))
    for _ in range(2):  # decoded, and from the cache
        assert parts.train.attribute_names == ("age", "smile", "one") and len(parts.train) == 6
        (note,) = parts.notes
        assert note.endswith("metadata.csv is no attribute: 1 of 6 values are no numbers, such as 'red'")
        found = by_attributes(parts.train)
        assert {level: found[level] for level in expected} == expected
        parts = everything(tmp_path, never)
    thirds = everything(tmp_path, validation=0.34, test=0.34)
    assert {level: row for part in thirds[:3] for level, row in by_attributes(part).items()} == found
    assert by_attributes(parts.train.ordered(np.arange(6)[::-1])) == found


def by_attributes(images: ImageSet) -> dict[int, tuple[float | None, ...]]:
    """Red level -> the attributes, None where not told."""
    assert images.attributes is not None and images.attributes.dtype == np.float32
    rows = [tuple(None if np.isnan(x) else float(x) for x in row) for row in images.attributes]
    return {int(pixels[0, 0, 0]): row for pixels, row in zip(images.images, rows, strict=True)}


def test_what_was_decoded_before_there_were_attributes_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And an entry that has lost its attributes is decoded anew."""
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "cache"))
    paint(tmp_path / "plain" / "0.png", 0)
    paint(tmp_path / "plain" / "1.png", 1)
    everything(tmp_path / "plain")
    (entry,) = (tmp_path / "cache").rglob("entry.json")
    about = json.loads(entry.read_text())
    assert about.pop("attribute_names") == []
    entry.write_text(json.dumps(about))
    assert len(everything(tmp_path / "plain", never).train) == 2
    found = by_attributes(everything(with_attributes(tmp_path / "told")).train)
    (file,) = (tmp_path / "cache").rglob("attributes.npy")
    file.unlink()
    assert by_attributes(everything(tmp_path / "told").train) == found


def test_attributes_are_chosen_by_name_or_left(tmp_path: Path) -> None:
    some = everything(with_attributes(tmp_path), attributes=["one", "age"]).train
    assert some.attribute_names == ("one", "age") and by_attributes(some)[0] == (12, 0.5)
    none = everything(tmp_path, attributes="none").train
    assert none.attributes is None and none.attribute_names == () and none.hash != some.hash
    with pytest.raises(InputError, match=r"data.attributes out of .*\(age, smile, one\), got 'size'$"):
        everything(tmp_path, attributes="size")


def test_what_is_told_of_images_by_line_is_read_too(tmp_path: Path) -> None:
    rows = [{"file_name": "0.png", "a": True, "b": None, "c": [1]}, {"file_name": "1.png", "b": 2, "c": 1}]
    for i in range(2):
        paint(tmp_path / f"{i}.png", i)
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    train = everything(tmp_path).train
    assert train.attribute_names == ("a", "b")
    assert by_attributes(train) == {0: (1, None), 1: (None, 2)}


def test_images_without_attributes_keep_the_hash_that_runs_are_tied_to(tmp_path: Path) -> None:
    """As it was before there were attributes, of which an old run reads none, whatever columns there are."""
    for level in range(4):
        paint(tmp_path / f"{level}.bmp", level)
    rows = [{"file_name": f"{i}.bmp", "label": f"l{i % 2}", "text": f"it's {i}", "id": i} for i in range(4)]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    old = migrated({"data": json.loads((OLD_RUN / "config.json").read_text())["data"]})["data"]
    assert old["attributes"] == ["none"]
    assert (
        everything(tmp_path, attributes=old["attributes"]).train.hash
        == "fb09c7e2ac4fd0728f571f14a34ef34d689f84e18bb8f9e6e6c34cde532e715b"
    )
    assert everything(tmp_path).train.attribute_names == ("id",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_name,label\n../secret.png,a\n", "inside the folder"),
        ("file_name,label\n/etc/a.png,a\n", "inside the folder"),
        ("file_name,label\n0.png,a\n0.png,b\n", "twice"),
        ("file_name,label\n0.png,a\n1.png,\n", "expected label in row 2"),
        ("file_name,text\n0.png,a red, round bird\n", "quotes around"),
        ("file_name,label,label\n0.png,a,b\n", "each column once"),
        ("file_name\n0.png\n", "label or text"),
        ("file_name,mood\n0.png,good\n1.png,7\n", "columns of numbers"),
        ("file_name,far\n0.png,1e39\n1.png,inf\n", "columns of numbers"),
        ("name,label\n0.png,a\n", "file_name"),
        ("", "no rows"),
        ("file_name,label\n\xff0.png,a\n", "to be UTF-8 text"),
    ],
)
def test_faulty_metadata_is_one_clear_line(tmp_path: Path, text: str, message: str) -> None:
    for i in range(2):
        paint(tmp_path / f"{i}.png", i)
    (tmp_path / "metadata.csv").write_text(text, "latin-1")
    with pytest.raises(InputError, match=message) as caught:
        everything(tmp_path)
    assert "\n" not in str(caught.value)


def test_bad_files_are_listed_and_the_rest_is_used(tmp_path: Path) -> None:
    for i in range(3):
        paint(tmp_path / f"{i}.png", i)
    (tmp_path / "page.jpg").write_text("<html>")
    (tmp_path / "zero.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    parts = everything(tmp_path)
    assert len(parts.train) == 3
    assert {name: reason.split()[1] for name, reason in parts.bad} == {
        "page.jpg": "not",
        "zero.png": "empty",
        "pipe.png": "not",
    }
    assert everything(tmp_path).bad == parts.bad, "the cache remembers them"


def test_strange_names_are_found_and_printed_safely(tmp_path: Path) -> None:
    names = [os.fsencode("smørrebrød 🍞.png"), b"new\nline.png", b"latin-\xe9.png"]
    for level, name in enumerate(names):
        paint(tmp_path / os.fsdecode(name), level)
    paint(tmp_path / os.fsdecode(b"\xe9 folder") / "a.png", 9)
    for _ in range(2):  # decoded, then from the cache
        assert set(everything(tmp_path).train.names or ()) == {
            "smørrebrød 🍞.png", r"new\nline.png", r"latin-\xe9.png", r"\xe9 folder/a.png",
        }  # fmt: skip


def test_links_are_followed_once(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    for i in range(3):
        paint(elsewhere / f"{i}.png", i)
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(elsewhere)
    (root / "again").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(root)
    (root / "self").symlink_to(root)
    paint(root / "own.png", 7)
    assert sorted(everything(root).train.names or ()) == ["again/0.png", "again/1.png", "again/2.png", "own.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_reported(tmp_path: Path) -> None:
    for i in range(3):
        paint(tmp_path / f"{i}.png", i)
    (tmp_path / "locked").mkdir(mode=0)
    assert everything(tmp_path).bad == (("locked", "cannot be listed: Permission denied"),)


def test_grey_is_noticed_and_can_be_overruled(tmp_path: Path) -> None:
    for i in range(4):
        paint(tmp_path / f"{i}.png", 50 * i, color=False)
    assert everything(tmp_path).train.shape == (1, 8, 8)
    assert everything(tmp_path, color="rgb").train.shape == (3, 8, 8)
    assert by_name(everything(tmp_path)) == {f"{i}.png": 50 * i for i in range(4)}
    paint(tmp_path / "4.png", 100)
    assert everything(tmp_path).train.shape == (3, 8, 8), "one coloured image makes the set coloured"
    assert everything(tmp_path, color="grey").train.shape == (1, 8, 8)


def test_decoded_once_then_mapped(tmp_path: Path) -> None:
    for i in range(5):
        paint(tmp_path / f"{i}.png", i)
    first = everything(tmp_path)
    second = everything(tmp_path, never)
    assert isinstance(second.train.images, np.memmap) and not second.train.images.flags.writeable
    np.testing.assert_array_equal(first.train.images, second.train.images)
    assert (first.train.names, first.train.hash) == (second.train.names, second.train.hash)


@pytest.mark.parametrize("change", ["pixels", "added", "removed", "metadata", "size", "background"])
def test_what_changes_the_content_is_decoded_anew(tmp_path: Path, change: str) -> None:
    for i in range(5):
        paint(tmp_path / f"{i}.png", i)
    before = everything(tmp_path)
    settings: dict[str, object] = {}
    if change == "pixels":
        paint(tmp_path / "3.png", 200)
    elif change == "added":
        paint(tmp_path / "5.png", 5)
    elif change == "removed":
        (tmp_path / "3.png").unlink()
    elif change == "metadata":
        (tmp_path / "metadata.csv").write_text("file_name,text\n" + "".join(f"{i}.png,t\n" for i in range(5)))
    else:
        settings = {"size": 4} if change == "size" else {"background": "red"}
    after = everything(tmp_path, **settings)
    assert after.train.hash != before.train.hash
    if change == "pixels":
        assert by_name(after)["3.png"] == 200
    assert before.train.images.sum() >= 0, "what is mapped already stays readable"


def test_the_division_does_not_decode_again(tmp_path: Path) -> None:
    for i in range(20):
        paint(tmp_path / f"{i}.png", i)
    everything(tmp_path)
    parts = finish(loading(DataSettings(source=str(tmp_path), size=8, validation=0.2, test=0.3)), never)
    assert [len(part) for part in parts[:3]] == [10, 4, 6]


def test_a_killed_decode_leaves_no_half_cache(tmp_path: Path) -> None:
    for i in range(5):
        paint(tmp_path / f"{i}.png", i)

    def killed(event: ProgressEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        everything(tmp_path, killed)
    assert by_name(everything(tmp_path)) == {f"{i}.png": i for i in range(5)}


@pytest.mark.parametrize("damage", ["truncated", "no entry", "half an entry", "gone"])
def test_a_damaged_cache_is_decoded_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "cache"))
    for i in range(5):
        paint(tmp_path / "in" / f"{i}.png", i)
    everything(tmp_path / "in")
    (entry,) = (tmp_path / "cache" / "decoded").glob("*/*")
    if damage == "truncated":
        os.truncate(entry / "images.npy", 200)
    elif damage == "no entry":
        (entry / "entry.json").unlink()
    elif damage == "half an entry":
        os.truncate(entry / "entry.json", 20)
    else:
        shutil.rmtree(entry)
    assert by_name(everything(tmp_path / "in")) == {f"{i}.png": i for i in range(5)}
    assert len(list((tmp_path / "cache" / "decoded").glob("*/*"))) == 1, "older states and scratch are cleared away"


def test_another_process_may_win_the_race(tmp_path: Path) -> None:
    for i in range(5):
        paint(tmp_path / f"{i}.png", i)

    def overtaken(event: ProgressEvent) -> None:
        everything(tmp_path)

    assert by_name(everything(tmp_path, overtaken)) == {f"{i}.png": i for i in range(5)}


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(2):
        paint(tmp_path / f"{i}.png", i)
    (tmp_path / "file").touch()
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "file"))
    with pytest.raises(CannotWrite, match="ANCESTRAL_CACHE"):
        everything(tmp_path)


def test_the_folder_is_never_touched(tmp_path: Path) -> None:
    for i in range(5):
        paint(tmp_path / f"{i}.png", i)
    (tmp_path / "zero.png").touch()
    before = snapshot(tmp_path)
    everything(tmp_path)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "got an empty folder"),
        (lambda root: (root / "a.txt").write_text("x"), "got 1 of .txt"),
        (lambda root: paint(root / "a.png", 1), "at least two images .* got 1"),
        (lambda root: (root / "a.png").write_text("x"), "got none; 1 unusable, the first: a.png is not a PNG"),
        (lambda root: root.rmdir(), "got none at .*; check the path"),
        (lambda root: (root.rmdir(), root.write_text("x")), "got a file: "),
    ],
)
def test_useless_folders_are_one_clear_line(tmp_path: Path, make: object, message: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    make(root)  # type: ignore[operator]
    with pytest.raises(InputError, match=message) as caught:
        everything(root)
    assert "\n" not in str(caught.value)


def test_300_mixed_real_files(data_folder: Path, tmp_path: Path) -> None:
    """Palette, alpha, grey and non-square files: each comes out as it does alone, and none of them is touched."""
    tiles = sorted((data_folder / "pixel-tiles").rglob("*.png"))[::14]
    textures = sorted((data_folder / "textures").rglob("*.png"))[::8]
    for kind, files in (("tiles", tiles), ("textures", textures)):
        (tmp_path / kind).mkdir()
        for i, path in enumerate(files[:150]):
            (tmp_path / kind / f"{i}{path.suffix}").write_bytes(path.read_bytes())
    before = snapshot(tmp_path)
    parts = load(DataSettings(source=str(tmp_path), background="magenta", fit="pad"))
    assert snapshot(tmp_path) == before
    assert parts.bad == () and sum(len(part) for part in parts[:3]) == min(150, len(tiles)) + min(150, len(textures))
    assert parts.train.class_names == ("textures", "tiles") and parts.train.shape == (3, 32, 32)
    for name, image in zip(parts.test.names or (), parts.test.images, strict=True):
        if name.startswith("tiles"):  # 32 x 32 already: pixel for pixel
            alone = decode(tmp_path / name, 3, "magenta")
            np.testing.assert_array_equal(image, np.asarray(alone))


def test_a_bad_image_is_an_input_error() -> None:
    assert issubclass(BadImage, InputError)
