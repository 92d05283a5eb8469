"""The page of the data doctor: whole, self-contained, and true to the report."""

import io
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_html import Seen

from ancestral.data.check import check
from ancestral.errors import InputError
from ancestral.jobs.check_data import pictures, seen
from ancestral.jobs.show import contact_sheet
from ancestral.report import data_page
from ancestral.settings import DataSettings

HOSTILE = "<img src=x onerror=alert(1)>"


def scene(seed: int, side: int = 48) -> Image.Image:
    small = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Something for every section, under names that want to be markup."""
    root = tmp_path / "<i>birds & co"
    for name in ("cat", HOSTILE):
        (root / name).mkdir(parents=True)
    for i in range(6):
        scene(i).save(root / ("cat", HOSTILE)[i % 2] / f"{i}.png")
    scene(0).save(root / HOSTILE / "copy.bmp")
    scene(2, 96).save(root / "cat" / "larger.png")
    Image.new("RGB", (48, 48), "red").save(root / "cat" / "flat.png")
    (root / "cat" / f"{HOSTILE}.png").touch()
    (root / "cat" / "page.jpg").write_text("<html>")
    return root


def page_of(folder: Path, out: Path, recipe: bool = True) -> str:
    settings = DataSettings(source=str(folder), size=32)
    report = check(str(folder), settings)
    sheet = contact_sheet(seen(settings, {name for name, _ in report.bad}, 8), "images") if recipe else None
    told = ["ancestral train 'x y'", "a note"] if recipe else []
    data_page.write_page(out, report, told, sheet, pictures(settings))
    return out.read_text(encoding="utf-8")


def part(page: str, anchor: str) -> str:
    found = re.search(rf'<section id="{anchor}">(.*?)</section>', page, re.DOTALL)
    assert found, anchor
    return found[1]


def pictures_in(markup: str) -> list[Image.Image]:
    seen = Seen(markup)
    sources = [str(a["src"]) for tag, a in zip(seen.tags, seen.attributes, strict=True) if tag == "img"]
    return [Image.open(io.BytesIO(b64decode(source.partition("base64,")[2], validate=True))) for source in sources]


def test_every_finding_has_its_section_and_every_link_leads_to_one(folder: Path, tmp_path: Path) -> None:
    page = page_of(folder, tmp_path / "page.html")
    seen = Seen(page)
    sections = re.findall(r'<section id="(\w+)">', page)
    assert sections == ["sheet", "recipe", "bad", "unused", "classes", "shared", "same", "alike", "flat"]
    links = [a["href"] for tag, a in zip(seen.tags, seen.attributes, strict=True) if tag == "a"]
    assert links == [f"#{anchor}" for anchor in sections]
    assert "ancestral train 'x y'" in Seen(part(page, "recipe")).text and "a note" in seen.text
    assert "cannot be used: 2 files" in seen.text, "warnings stand at the top"


def test_bad_files_stand_with_their_reasons(folder: Path, tmp_path: Path) -> None:
    text = Seen(part(page_of(folder, tmp_path / "page.html"), "bad")).text
    assert f"cat/{HOSTILE}.pngis empty" in text and "cat/page.jpgis not a PNG" in text


def test_duplicates_are_shown_beside_one_another(folder: Path, tmp_path: Path) -> None:
    page = page_of(folder, tmp_path / "page.html")
    same, alike = (pictures_in(part(page, anchor)) for anchor in ("same", "alike"))
    assert len(same) == len(alike) == 2
    assert np.array_equal(*map(np.asarray, same))
    assert not np.array_equal(*(np.asarray(image.resize((96, 96))) for image in alike))
    words = Seen(part(page, "alike")).text
    assert "cat/2.png" in words and "cat/larger.png" in words and "% of the contrast" in words
    (flat,) = pictures_in(part(page, "flat"))
    assert flat.convert("RGB").getcolors() == [(flat.width * flat.height, (255, 0, 0))]


def test_nothing_is_fetched_run_or_taken_for_markup(folder: Path, tmp_path: Path) -> None:
    page = page_of(folder, tmp_path / "page.html")
    seen = Seen(page)
    assert not {"script", "iframe", "object", "embed", "form", "base", "i"} & {*seen.tags}
    for attributes in seen.attributes:
        assert not any(name == "style" or name.startswith("on") for name in attributes)
        for name in {"src", "href", "srcset"} & {*attributes}:
            assert str(attributes[name]).startswith(("data:", "#"))
    assert HOSTILE in seen.text and "<i>birds & co" in seen.text
    (css,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    policy = next(str(a["content"]) for a in seen.attributes if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert f"'sha256-{b64encode(sha256(css.encode()).digest()).decode()}'" in policy


def test_every_picture_has_words_and_the_size_it_says(folder: Path, tmp_path: Path) -> None:
    page = page_of(folder, tmp_path / "page.html")
    seen = Seen(page)
    said = [a for tag, a in zip(seen.tags, seen.attributes, strict=True) if tag == "img"]
    for attributes, image in zip(said, pictures_in(page), strict=True):
        assert attributes["alt"] and image.size == (int(str(attributes["width"])), int(str(attributes["height"])))
    sheet = pictures_in(part(page, "sheet"))[0]
    assert min(sheet.size) > 200


def test_long_lists_are_cut_and_say_so(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    for i in range(data_page.LISTED + 1):
        (tmp_path / "many" / f"bad-{i}.png").touch()
    for i in range(data_page.SHOWN + 1):
        for copy in "ab":
            scene(i).save(tmp_path / "many" / f"{i}{copy}.png")
    page = page_of(tmp_path / "many", tmp_path / "page.html", recipe=False)
    assert f"The first {data_page.LISTED} of {data_page.LISTED + 1}" in Seen(part(page, "bad")).text
    assert part(page, "bad").count("<tr>") == data_page.LISTED + 1, "and the head"
    assert "1 more groups" in Seen(part(page, "same")).text
    assert part(page, "same").count("<figure>") == data_page.SHOWN


def test_a_folder_with_nothing_wrong_has_no_empty_sections(tmp_path: Path) -> None:
    (tmp_path / "fine").mkdir()
    for i in range(3):
        scene(i).save(tmp_path / "fine" / f"{i}.png")
    assert re.findall(r'<section id="(\w+)">', page_of(tmp_path / "fine", tmp_path / "page.html")) == [
        "sheet",
        "recipe",
    ]
    assert re.findall(r'<section id="(\w+)">', page_of(tmp_path / "fine", tmp_path / "page.html", recipe=False)) == []
    with pytest.raises(InputError, match="got a folder"):
        page_of(tmp_path / "fine", tmp_path)
