"""Captions of a folder: every source, which of them counts, what is said of them, and that old runs stay valid."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ancestral.data.caption_check import CaptionCheck
from ancestral.data.captions import of_name
from ancestral.data.check import check, remarks
from ancestral.data.datasets import collecting, load
from ancestral.data.imageset import Collection
from ancestral.data.packing import pack
from ancestral.errors import InputError
from ancestral.migrations import settings as migrated
from ancestral.progress import ProgressEvent, finish
from ancestral.report.data_page import write_page
from ancestral.settings import DataSettings

OLD = {"labels": "auto", "splits": "auto", "flip": False, "color": "auto", "fit": "crop", "background": "white"}


def write(root: Path, files: Mapping[str, str | None]) -> Path:
    """Texts, and an image of its own where there is None."""
    for level, (name, text) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            Image.new("L", (4, 4), level).save(path, "PNG")
        else:
            path.write_text(text, "utf-8")
    return root


def read(root: Path, **settings: Any) -> tuple[dict[str, str] | None, Collection]:
    """Captions by name, None where there are none, and the whole."""
    whole = finish(collecting(DataSettings.model_validate({"source": str(root), "size": 4, **settings})))
    names, texts = whole.images.names or (), whole.images.captions
    return None if texts is None else dict(zip(names, texts, strict=True)), whole


IMAGES: dict[str, str | None] = {"a.png": None, "b.png": None, "c.jpeg": None}


def test_a_text_beside_an_image_is_its_caption(tmp_path: Path) -> None:
    """Its lines as one; a text that belongs to no image is left out and counted, an image without one has none."""
    texts = {"a.txt": "\ufeffa red fox\r\n on\u2003snow\n", "b.txt": "\n", "notes.txt": "of the photographer"}
    found, whole = read(write(tmp_path, {**IMAGES, **texts}))
    assert found == {"a.png": "a red fox on snow", "b.png": "", "c.jpeg": ""}
    assert [(each.example, each.count) for each in whole.left_out] == [("notes.txt", 1)]
    assert whole.notes == ("2 captions are read from a .txt beside each; --data.captions none trains without captions",)
    assert read(tmp_path, captions="none")[0] is None and read(tmp_path, captions="metadata")[0] is None


def test_class_folders_are_classes_beside_captions(tmp_path: Path) -> None:
    files = {f"{kind}/{i}.png": None for kind in ("cat", "dog") for i in range(2)}
    found, whole = read(write(tmp_path, {**files, "cat/0.txt": "a cat", "dog/1.txt": "a dog"}))
    assert whole.images.class_names == ("cat", "dog")
    assert found == {"cat/0.png": "a cat", "cat/1.png": "", "dog/0.png": "", "dog/1.png": "a dog"}


def test_texts_of_boxes_are_no_captions_unless_asked_for(tmp_path: Path) -> None:
    """Trap: what detectors are trained on is a .txt of numbers beside each image."""
    write(tmp_path, {**IMAGES, "a.txt": "0 0.5 0.5 0.2 0.1\n", "b.txt": "3 .1 .1 .2 .2"})
    found, whole = read(tmp_path)
    assert found is None and "hold no words" in whole.notes[0]
    assert read(tmp_path, captions="txt")[0] == {"a.png": "0 0.5 0.5 0.2 0.1", "b.png": "3 .1 .1 .2 .2", "c.jpeg": ""}


def test_a_table_names_images_in_folders_below_it(tmp_path: Path) -> None:
    """In whole, or by what their path ends with where that is of one alone."""
    files = {"png/x/fox.png": None, "png/y/fox.png": None, "png/x/owl.png": None, "fish.png": None, "in/fish.png": None}
    rows = (
        "file\tgroup\tcaption",
        "x/fox.png\tg\ta red fox",
        "owl.png\t\t an owl ",
        "fish.png\t\ta fish",
        "fox.png\t\tno",
    )
    table = "\r\n".join([*rows, ""])
    found, whole = read(write(tmp_path, {**files, "captions.tsv": table}), labels="none")
    assert found == {
        "png/x/fox.png": "a red fox", "png/y/fox.png": "", "png/x/owl.png": "an owl",
        "fish.png": "a fish", "in/fish.png": "",
    }  # fmt: skip
    assert any("1 of 4 names in captions.tsv are of no image, or of several, such as fox.png" in n for n in whole.notes)
    assert not whole.left_out


def test_of_several_sources_the_first_counts(tmp_path: Path) -> None:
    """Metadata before captions.tsv before .txt, image by image; where they differ it is said."""
    (tmp_path / "sub").mkdir()
    files = {
        "captions.tsv": "file_name\ttext\nsub/a.png\tby table\nb.png\tby table\n",
        "sub/a.txt": "by metadata", "b.txt": "by text", "c.txt": "by text",
        "sub/a.png": None, "b.png": None, "c.jpeg": None,
    }  # fmt: skip
    write(tmp_path, files)
    (tmp_path / "metadata.jsonl").write_text(
        '{"file_name": "sub/a.png", "text": "by metadata"}\n{"file_name": "b.png", "text": "b by metadata"}'
    )
    found, whole = read(tmp_path)
    assert found == {"sub/a.png": "by metadata", "b.png": "b by metadata"}, "metadata says which images there are"
    differ = [note for note in whole.notes if "differ" in note]
    assert differ == [
        "2 captions differ in captions.tsv, and what is said before it counts",
        "1 captions differ in a .txt beside each, and what is said before it counts",
    ]
    (tmp_path / "metadata.jsonl").unlink()
    assert read(tmp_path, labels="none")[0] == {"sub/a.png": "by table", "b.png": "by table", "c.jpeg": "by text"}
    assert read(tmp_path, captions="txt")[0] == {"sub/a.png": "by metadata", "b.png": "by text", "c.jpeg": "by text"}


def test_captions_follow_the_files_they_are_read_from(tmp_path: Path) -> None:
    """Through the cache, which is not read where a text has changed; and packed."""
    write(tmp_path, {**IMAGES, "a.txt": "one"})
    first = read(tmp_path)[1].images
    (tmp_path / "a.txt").write_text("another")
    second, whole = read(tmp_path)
    assert second == {"a.png": "another", "b.png": "", "c.jpeg": ""} and whole.images.hash != first.hash
    settings = DataSettings(source=str(tmp_path), size=4)
    pack(settings, "memory://captioned")
    packed = load(DataSettings(source="memory://captioned", validation=0, test=0)).train
    assert dict(zip(packed.names or (), packed.captions or (), strict=True)) == second
    bare = load(DataSettings(source="memory://captioned", captions="none")).train
    assert bare.captions is None
    with pytest.raises(InputError, match=r"expected data\.captions auto or none"):
        load(DataSettings(source="memory://captioned", captions="names"))


def test_runs_from_before_read_what_they_read(tmp_path: Path) -> None:
    """Images with a .txt beside them keep the hash and the cache that an old run is tied to, which read none of it."""
    root = write(tmp_path / "images", IMAGES)
    before = read(root)[1].images.hash
    write(root, {"a.txt": "a text", "captions.tsv": "file\tcaption\na.png\tanother\n"})
    old = {"source": str(root), "size": 4, "validation": 0.1, "test": 0.1, **OLD}
    settings = DataSettings.model_validate(migrated({"data": old})["data"])
    assert settings.captions == "metadata"

    def never(event: ProgressEvent) -> None:
        pytest.fail("decoded anew")

    whole = finish(collecting(settings), never)
    assert whole.images.hash == before and whole.images.captions is None
    assert read(root)[1].images.hash != before


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("a red fox.png", "a red fox"),
        ("in/a-red_fox__12.png", "a red fox"),
        ("a red fox (2).jpeg", "a red fox"),
        ("3 red foxes.png", "3 red foxes"),
        ("0012.png", ""),
        ("v1.5 of it.webp", "v1.5 of it"),
        ("ünï", "ünï"),
    ],
)
def test_a_name_says_what_is_in_an_image(name: str, caption: str) -> None:
    assert of_name(name) == caption


def test_names_are_captions_on_request(tmp_path: Path) -> None:
    write(tmp_path, {"a_red_fox1.png": None, "007.png": None, "007.txt": "not this"})
    assert read(tmp_path, captions="names")[0] == {"a_red_fox1.png": "a red fox", "007.png": ""}
    with pytest.raises(InputError, match=r"data\.captions auto or none with digits, which has no files"):
        load(DataSettings(source="digits", captions="names"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"captions.tsv": "name\twords\na.png\tfox\n"}, "expected columns file and caption"),
        ({"captions.tsv": "file\tcaption\tcaption\na.png\tx\ty\n"}, "expected each column once in"),
        ({"captions.tsv": "file\tcaption\na.png\n"}, "expected 2 values in line 2 of"),
        ({"captions.tsv": "file\tcaption\na.png\tx\na.png\ty\n"}, "'a.png' twice"),
        ({"a.txt": "x" * (2**20 + 1)}, "at most 1,048,576 bytes, got more; mend it"),
        ({}, None),
    ],
)
def test_faulty_captions_are_one_clear_line(tmp_path: Path, files: dict[str, str], message: str | None) -> None:
    write(tmp_path, {**IMAGES, **files})
    asked = {} if message else {"captions": "txt"}
    with pytest.raises(InputError, match=message or "expected a .txt beside images in .*, got none") as caught:
        read(tmp_path, **asked)
    assert "\n" not in str(caught.value)


def test_text_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    write(tmp_path, IMAGES)
    (tmp_path / "a.txt").write_bytes("fähre".encode("latin-1"))
    with pytest.raises(InputError, match=r"a\.txt to be UTF-8 text, got another byte at 1; mend it, or set"):
        read(tmp_path)


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """Eight images: one caption twice, one of 40 digits, one of 99, one empty, one missing."""
    said = ["a red fox", "a red fox", "the Red owl", "9" * 40, "9" * 99, "", "<b>x</b>"]
    rows = [f"{i}.png\t{text}" for i, text in enumerate(said)]
    images: dict[str, str | None] = {f"{i}.png": None for i in range(8)}
    return write(tmp_path / "images", {**images, "captions.tsv": "\n".join(["file\tcaption", *rows])})


def test_the_check_names_what_is_wrong_with_captions(faulty: Path) -> None:
    report = check(str(faulty), DataSettings())
    found = report.captions
    assert isinstance(found, CaptionCheck) and report.num_captions == 6
    assert (found.missing, found.empty) == (("7.png",), ("5.png",))
    assert (found.distinct, found.num_repeated, found.repeated) == (5, 1, (("a red fox", 2),))
    assert (found.length, found.cut, found.very_long, found.longest) == (32, ("3.png", "4.png"), ("4.png",), 101)
    assert found.words[:4] == (("9", 139), ("red", 3), ("a", 2), ("b", 2))
    assert (found.num_words, found.num_once) == (8, 3)
    words = " ".join(remarks(report))
    assert "without a caption: 2 images of 8" in words
    assert "longer than 32 tokens: 2 captions, the end of which is dropped; the longest has 101" in words
    assert json.loads(json.dumps(asdict(report)))["captions"]["cut"] == ["3.png", "4.png"]
    assert check(str(faulty), DataSettings(captions="none")).captions is None


def test_the_page_shows_captions_and_takes_none_for_markup(faulty: Path, tmp_path: Path) -> None:
    report = check(str(faulty), DataSettings())
    write_page(tmp_path / "page.html", report, [], None, lambda name: Image.open(faulty / name))
    page = (tmp_path / "page.html").read_text("utf-8")
    assert 'id="captions"' in page and "cut at 32 tokens" in page and "a red fox" in page and "<b>x</b>" not in page
