"""The report on a folder: it counts what is there and names what is wrong."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ancestral.data.check import Attribute, check, suggest_fit, suggest_size
from ancestral.errors import InputError
from ancestral.settings import DataSettings


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Two classes of noise in several formats and sizes; a duplicate, a flat, a turned and a 16-bit image, two bad."""
    random = np.random.default_rng(0)

    def noise(*shape: int) -> Image.Image:
        return Image.fromarray(random.integers(0, 256, shape, np.uint8))

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = noise(40, 60, 3)
    first.save(tmp_path / "a" / "1.png")
    first.save(tmp_path / "b" / "copy.bmp")
    noise(50, 50, 4).save(tmp_path / "a" / "alpha.webp", lossless=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(48, 90, 3).save(tmp_path / "b" / "turned.JPG", exif=exif)
    Image.new("L", (64, 64), 200).save(tmp_path / "b" / "flat.png")
    Image.frombytes("I;16", (50, 50), random.bytes(5000)).save(tmp_path / "b" / "deep.png")
    (tmp_path / "a" / "zero.png").touch()
    (tmp_path / "b" / "page.jpg").write_text("<html>")
    return tmp_path


def test_everything_is_counted(mixed: Path) -> None:
    report = check(str(mixed), DataSettings())
    assert report.num_images == 6
    assert report.formats == {"PNG": 3, "BMP": 1, "WEBP": 1, "JPEG": 1}
    assert report.modes == {"RGB": 3, "RGBA": 1, "L": 1, "I;16": 1}
    assert (report.heights, report.widths) == ((40, 90), (48, 64)), "upright sizes"
    assert (report.num_alpha, report.num_16_bit, report.num_rotated) == (1, 1, 1)
    assert {name: reason.split()[1] for name, reason in report.bad} == {"a/zero.png": "empty", "b/page.jpg": "not"}
    assert report.duplicates == (("a/1.png", "b/copy.bmp"),)
    assert report.constant == ("b/flat.png",)
    assert report.classes == {"a": 2, "b": 4} and report.labelled
    assert report.channels == 3 and report.num_captions == 0


def test_the_report_is_json(mixed: Path) -> None:
    found = json.loads(json.dumps(asdict(check(str(mixed), DataSettings(labels="none", color="grey")))))
    assert found["channels"] == 1 and found["labelled"] is False and found["bad"][0][0] == "a/zero.png"


def test_a_folder_of_bad_files_is_reported_not_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("text")
    report = check(str(tmp_path), DataSettings())
    assert report.num_images == 0 and len(report.bad) == 1


def test_captions_are_counted(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i}.png")
    (tmp_path / "metadata.csv").write_text("file_name,text\n0.png,a\n1.png,b\n")
    report = check(str(tmp_path), DataSettings())
    assert (report.num_images, report.num_captions, report.channels) == (2, 2, 1)


def test_attributes_are_told_with_their_range(tmp_path: Path) -> None:
    for i in range(4):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i}.png")
    (tmp_path / "metadata.csv").write_text("file_name,age,odd\n0.png,,0\n1.png,2,1\n2.png,8.5,0\n3.png,,1\n")
    assert check(str(tmp_path), DataSettings()).attributes == (Attribute("age", 2, 8.5, 0.5), Attribute("odd", 0, 1, 1))
    assert check(str(tmp_path), DataSettings(attributes=("none",))).attributes == ()


def test_suggestions() -> None:
    assert [suggest_size(sides) for sides in ([8], [32] * 5, [40] * 9 + [20], [1000] * 9, [])] == [16, 32, 32, 256, 16]
    assert suggest_fit([(10, 10)] * 3 + [(10, 20)]) == "crop"
    assert suggest_fit([(10, 10)] + [(10, 20)] * 3) == "pad"


def test_nothing_is_written(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCESTRAL_CACHE", str(mixed.parent / "untouched"))
    check(str(mixed), DataSettings())
    assert not (mixed.parent / "untouched").exists()


def test_built_in_names_and_wrong_ones() -> None:
    report = check("digits", DataSettings())
    assert (report.num_images, report.channels, sum(report.classes.values())) == (1797, 1, 1797)
    assert report.heights == report.widths == (8, 8)
    with pytest.raises(InputError, match="check the path"):
        check("/no/such/folder", DataSettings())


def test_real_tiles(data_folder: Path) -> None:
    """The counts of modes are those that `file` gives; icons that are white on transparency vanish on white."""
    report = check(str(data_folder / "pixel-tiles" / "png32" / "gui"), DataSettings())
    assert report.num_images == 272 and report.heights == report.widths == (32, 32)
    assert report.bad == (("prompt_no.png", "has no class"), ("prompt_yes.png", "has no class"))
    assert any(len(group) > 20 for group in report.duplicates)
    on_black = check(str(data_folder / "pixel-tiles" / "png32" / "gui"), DataSettings(background="black"))
    assert all(len(group) < 20 for group in on_black.duplicates)
