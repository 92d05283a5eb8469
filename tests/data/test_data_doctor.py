"""The data doctor: every kind of bad file is named and costs nothing, images that look the same are found, and what it
recommends can be typed."""

import io
import json
import os
import shlex
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ancestral.cli.main import main
from ancestral.data.check import balance, check, enlargement, num_long, remarks
from ancestral.data.datasets import load
from ancestral.data.finding import ALIKE, ANYWHERE, centred, contrast, shared, star_groups, waves
from ancestral.jobs import check_data, pacing
from ancestral.jobs.check_data import pictures, seen, spread
from ancestral.jobs.target import plan
from ancestral.presets import for_codec, for_folder, in_latents
from ancestral.settings import Config, DataSettings, ImageSpec, KLSettings, TrainingSettings, merged, parse

BOMB_BYTES = 32 * 2**20
"""What all bad files together may add to the memory that the same folder takes without them."""
MEASURED = """
import sys
import sklearn.neighbors
from ancestral.jobs import check_data, pacing
from ancestral.settings import DataSettings
from ancestral.data.check import check
from ancestral.machine import cpu_field

peaks = []
for folder in sys.argv[1:]:
    report = check(folder, DataSettings())
    peaks.append(1024 * int(cpu_field("/proc/self/status", "VmHWM").split()[0]))
print(report.num_images, len(report.bad), *peaks)
"""
"""The peak is that of the process since it began this program: getrusage counts the memory of who started it too."""


def noise(seed: int, *shape: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def scene(seed: int, side: int = 96) -> Image.Image:
    """Soft shapes in colours, as photographs have them."""
    small = noise(seed, 6, 6, 3)
    return small.resize((side, side), Image.Resampling.BICUBIC)


def png(width: int, height: int, rows: bytes) -> bytes:
    """A grey 1-bit PNG whose header says `width` x `height`."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


BOMB = png(16_000, 16_000, bytes(2001 * 16_000))
"""31 KiB that are 256 million pixels."""
BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "zero bytes": (".png", lambda path: path.touch(), "is empty"),
    "truncated": (".jpg", lambda path: path.write_bytes(jpeg(noise(0, 64, 64, 3))[:-900]), "is damaged"),
    "web page": (".jpg", lambda path: path.write_text("<!doctype html><p>404"), "is not a PNG"),
    "text": (".png", lambda path: path.write_text("no picture"), "is not a PNG"),
    "many pixels": (".png", lambda path: path.write_bytes(BOMB), "more than the 64,000,000"),
    "long side": (".png", lambda path: path.write_bytes(png(20_000, 9, b"")), "a side longer than the 16,384"),
    "no width": (".png", lambda path: path.write_bytes(png(0, 5, b"")), "is not a PNG"),
    "broken link": (".png", lambda path: path.symlink_to("gone.png"), "cannot be read: No such file"),
    "link to itself": (".png", lambda path: path.symlink_to(path.name), "cannot be read: Too many levels"),
    "pipe": (".png", os.mkfifo, "is not a regular file"),
}
if os.geteuid():
    BAD["secret"] = (".png", lambda path: (path.touch(), path.chmod(0)), "cannot be read: Permission denied")
ODD: dict[str, tuple[str, Callable[[Path, int], object]]] = {
    "cmyk": (".jpg", lambda path, i: noise(i, 24, 24, 3).convert("CMYK").save(path)),
    "deep": (".png", lambda path, i: Image.frombytes("I;16", (24, 24), noise(i, 24, 48).tobytes()).save(path)),
    "palette": (".png", lambda path, i: noise(i, 24, 24, 3).quantize(16).save(path)),
    "grey alpha": (".png", lambda path, i: noise(i, 24, 24, 2).save(path)),
    "moving": (
        ".gif",
        lambda path, i: noise(i, 24, 24).save(path, save_all=True, append_images=[noise(i + 1, 24, 24)]),
    ),
}


def folder_with_bad(root: Path, count: int, num_bad: int) -> dict[str, str]:
    """`count` files in two classes, `num_bad` of them bad in every way by turns; bad name -> what is to be said."""
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
    expected = {}
    for i in range(num_bad):
        kind, (suffix, make, reason) = list(BAD.items())[i % len(BAD)]
        name = f"{('cat', 'dog')[i % 2]}/{kind} {i}{suffix}"
        make(root / name)
        expected[name] = reason
    for i in range(count - num_bad):
        kind, (suffix, write) = list(ODD.items())[i % len(ODD)]
        write(root / ("cat", "dog")[i % 2] / f"{kind} {i}{suffix}", i)
    return expected


def measured(*folders: Path) -> list[int]:
    """Usable images and bad files of the last of the folders, and the peak memory after each of them, in bytes."""
    command = [sys.executable, "-c", MEASURED, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_every_kind_of_bad_file_is_named_with_its_reason_and_the_rest_is_used(tmp_path: Path) -> None:
    expected = folder_with_bad(tmp_path, 300, 30)
    report = check(str(tmp_path), DataSettings())
    assert {name for name, _ in report.bad} == {*expected}
    assert [(name, why) for name, why in report.bad if expected[name] not in why] == []
    assert report.num_images == 270 and report.formats == {"JPEG": 54, "PNG": 162, "GIF": 54}
    assert {"CMYK", "I;16", "P", "LA"} <= {*report.modes}
    assert report.classes == {"cat": 135, "dog": 135}
    assert len(load(DataSettings(source=str(tmp_path), validation=0, test=0)).train) == 270, "training uses the same"


def test_a_moving_gif_counts_by_its_first_frame(tmp_path: Path) -> None:
    ODD["moving"][1](tmp_path / "moving.gif", 3)
    noise(3, 24, 24).convert("RGB").save(tmp_path / "first.png")
    assert check(str(tmp_path), DataSettings()).duplicates == (("first.png", "moving.gif"),)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_bad_files_cost_no_memory(tmp_path: Path) -> None:
    """Trap: a few kilobytes that unpack to gigabytes."""
    folder_with_bad(tmp_path / "clean", 60, 0)
    folder_with_bad(tmp_path / "bad", 80, 20)
    num_images, num_bad, clean, with_bad = measured(tmp_path / "clean", tmp_path / "bad")
    assert (num_images, num_bad) == (60, 20)
    assert with_bad - clean < BOMB_BYTES


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_ten_thousand_images_of_which_one_in_a_hundred_is_bad(tmp_path: Path) -> None:
    folder_with_bad(tmp_path / "clean", 500, 0)
    folder_with_bad(tmp_path / "bad", 10_000, 100)
    num_images, num_bad, clean, with_bad = measured(tmp_path / "clean", tmp_path / "bad")
    assert (num_images, num_bad) == (9_900, 100)
    assert with_bad - clean < BOMB_BYTES + 10_000 * 8192, "the bad, and thumbnails of all"


def test_another_size_format_or_brightness_looks_the_same_and_another_picture_does_not(tmp_path: Path) -> None:
    first = scene(0)
    variants = {
        "half": first.resize((48, 48), Image.Resampling.LANCZOS),
        "brighter": first.point([min(255, level + 6) for level in range(256)] * 3),
    }
    others = {
        "mirrored": first.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "cropped": first.crop((12, 12, 96, 96)),
        "recoloured": Image.merge("RGB", first.split()[::-1]),
        "another": scene(1),
    }
    marked = first.copy()
    marked.paste((0, 0, 0) if np.asarray(first)[40:50, 40:50].mean() > 127 else (255, 255, 255), (42, 42, 50, 50))
    first.save(tmp_path / "a first.png")
    (tmp_path / "b photo.jpg").write_bytes(jpeg(first, 75))
    for name, image in {**variants, **others, "marked": marked}.items():
        image.save(tmp_path / f"{name}.png")
    (group,) = check(str(tmp_path), DataSettings()).near_duplicates
    assert group.files == ("a first.png", "b photo.jpg", "brighter.png", "half.png")
    assert 0 < group.difference <= ALIKE


def test_images_with_the_same_pixels_are_told_once(tmp_path: Path) -> None:
    """Copies of an image are no near-duplicates of it, and one of them stands for all beside what looks like it."""
    scene(0).save(tmp_path / "a.png")
    scene(0).save(tmp_path / "b.png")
    scene(0).resize((64, 64), Image.Resampling.LANCZOS).save(tmp_path / "c.png")
    report = check(str(tmp_path), DataSettings())
    assert report.duplicates == (("a.png", "b.png"),)
    assert [group.files for group in report.near_duplicates] == [("a.png", "c.png")]


def families(seed: int) -> np.ndarray:
    """Thumbnails of 60 scenes, each with neighbours from much the same to plainly different, in no order."""
    random = np.random.default_rng(seed)
    scenes = np.stack([np.asarray(scene(i, 16)) for i in range(60)]).repeat(4, axis=0).astype(np.float64)
    scenes = scenes * random.uniform(0.3, 1, (240, 1, 1, 1)) ** random.integers(0, 2, (240, 1, 1, 1))
    scenes += random.normal(size=scenes.shape) * random.choice([0, 1, 3, 6], (240, 1, 1, 1))
    return random.permutation(scenes.clip(0, 255).round().astype(np.uint8))


@pytest.mark.parametrize("seed", range(4))
def test_the_tree_misses_nothing_that_comparing_all_pairs_finds(seed: int) -> None:
    thumbnails = families(seed)
    shown, size = centred(thumbnails).astype(np.float64), contrast(thumbnails)
    taken, expected = set(), []
    for i in range(len(shown)):
        apart, most = abs(shown - shown[i]), np.maximum(size, size[i])
        near = ((apart**2).mean(1) <= (ALIKE * most) ** 2) & (apart.max(1) <= ANYWHERE * most)
        group = [j for j in np.flatnonzero(near).tolist() if j > i and j not in taken]
        if i not in taken and group:
            taken |= {*group}
            expected.append([i, *group])
    assert len(expected) > 20
    assert [members for members, _ in star_groups(thumbnails)] == expected


def test_the_waves_are_orthonormal_and_blind_to_constant_channels() -> None:
    assert np.allclose(waves() @ waves().T, np.eye(len(waves())), atol=1e-6)
    assert np.allclose(waves().reshape(-1, 256, 3).sum(axis=1), 0, atol=1e-6)


def test_a_flat_colour_is_nearly_constant_with_a_speck_and_looks_like_no_other(tmp_path: Path) -> None:
    for i, level in enumerate((200, 201, 203)):
        Image.new("RGB", (64, 64), (level, 90, 10)).save(tmp_path / f"flat {i}.png")
    speck = Image.new("RGB", (64, 64), "white")
    speck.paste("black", (0, 0, 8, 8))
    speck.save(tmp_path / "speck.png")
    noise(0, 64, 64, 3).save(tmp_path / "noise.png")
    report = check(str(tmp_path), DataSettings())
    assert report.constant == ("flat 0.png", "flat 1.png", "flat 2.png")
    assert report.nearly_constant == ("speck.png",) and report.near_duplicates == ()
    assert any("one colour or little else: 4 images" in remark for remark in remarks(report))


def test_classes_that_share_an_image_are_told(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        scene(ord(name[0])).save(tmp_path / name / "own.png")
        scene(ord(name[0])).save(tmp_path / name / "own again.png")
        scene(0).save(tmp_path / name / "both.png")
    scene(1).save(tmp_path / "cat" / "large.png")
    scene(1, 64).save(tmp_path / "dog" / "small.png")
    report = check(str(tmp_path), DataSettings())
    assert report.shared == (("cat/both.png", "dog/both.png"), ("cat/large.png", "dog/small.png"))
    assert any("in more than one class: 2 groups" in remark for remark in remarks(report))
    assert shared([("a", "b", "c"), ("a", "b")], {"a": 0, "b": 0, "c": 1}) == (("a", "c", "b"),), "a pair that shows it"
    for file in (tmp_path / "dog").iterdir():
        file.rename(tmp_path / "cat" / f"dog {file.name}")
    assert check(str(tmp_path), DataSettings()).shared == (), "one class contradicts nothing"


def test_balance_names_the_smallest_and_the_largest() -> None:
    found = balance({"a": 30, "b": 5, "c": 600})
    assert found is not None
    assert (found.smallest, found.largest, found.ratio, found.few) == (("b", 5), ("c", 600), 120, ("b",))
    assert balance({}) is None


def test_uneven_and_small_classes_are_warned_of_where_training_uses_them(tmp_path: Path) -> None:
    for name, count in (("few", 2), ("many", 24)):
        (tmp_path / name).mkdir()
        for i in range(count):
            noise(100 * count + i, 8, 8, 3).save(tmp_path / name / f"{i}.png")
    told = remarks(check(str(tmp_path), DataSettings()))
    assert "uneven classes: many has 24 images, 12 times the 2 of few, which will be generated worse" in told
    assert "fewer than 20 images: few (1 class)" in told
    assert not any("class" in remark for remark in remarks(check(str(tmp_path), DataSettings(labels="none"))))


@pytest.mark.parametrize(
    ("size", "to", "fit", "factor"),
    [
        ((20, 40), (32, 32), "crop", 1.6),
        ((20, 40), (32, 32), "pad", 0.8),
        ((20, 40), (32, 32), "squash", 1.6),
        ((64, 64), (32, 64), "crop", 1.0),
        ((10, 10), (40, 20), "pad", 2.0),
    ],
)
def test_what_is_enlarged_depends_on_the_fit(
    size: tuple[int, int], to: tuple[int, int], fit: str, factor: float
) -> None:
    assert enlargement(size, to, fit) == pytest.approx(factor)


def test_small_and_long_images_are_warned_of_at_the_size_that_is_asked_for(tmp_path: Path) -> None:
    for i, (height, width) in enumerate([(16, 16), (20, 40), (64, 64), (64, 60)]):
        noise(i, height, width, 3).save(tmp_path / f"{i}.png")
    report = check(str(tmp_path), parse(DataSettings, {"size": 32, "fit": "crop"}, "the test"))
    assert (report.size, report.num_enlarged, report.most_enlarged, report.num_long) == ((32, 32), 2, 2.0, 1)
    told = remarks(report)
    assert any("enlarged to 32x32, up to 2.0 times" in remark and "--data.size 16" in remark for remark in told)
    assert any("wide as long: 1 image; a crop loses over a third" in remark for remark in told)
    suited = check(str(tmp_path), DataSettings())
    assert (suited.size, suited.num_enlarged) == ((16, 16), 0)
    assert num_long([(10, 15), (16, 10)]) == 1, "half as long again is not yet long"


def test_the_sheet_shows_all_classes_exactly_as_training_has_them(tmp_path: Path) -> None:
    for name, count in (("a", 9), ("b", 2), ("c", 5)):
        (tmp_path / name).mkdir()
        for i in range(count):
            noise(ord(name) + i, 20, 30, 4).save(tmp_path / name / f"{i}.png")
    (tmp_path / "b" / "bad.png").touch()
    settings = DataSettings(source=str(tmp_path), size=16, fit="pad", background="red", validation=0, test=0)
    shown, whole = seen(settings, {"b/bad.png"}, 9), load(settings).train
    assert shown.labels is not None and shown.labels.tolist() == [0] * 4 + [1] * 2 + [2] * 3
    assert shown.class_names == ("a", "b", "c") and shown.names is not None and whole.names is not None
    for name, pixels in zip(shown.names, shown.images, strict=True):
        assert np.array_equal(pixels, whole.images[whole.names.index(name)])
    assert seen(settings.model_copy(update={"labels": "none"}), {"b/bad.png"}, 9).labels is None


def test_images_are_spread_over_their_class() -> None:
    assert spread(None, 10, 4).tolist() == [0, 3, 6, 9] and spread(None, 3, 8).tolist() == [0, 1, 2]
    labels = np.array([0] * 8 + [1] * 2)
    assert spread(labels, 10, 5).tolist() == [0, 4, 7, 8, 9]
    assert spread(np.arange(100), 100, 5).tolist() == [0, 1, 2, 3, 4], "more classes than room"


def test_pictures_are_whole_and_found_by_their_printed_names(tmp_path: Path) -> None:
    scene(0).save(tmp_path / "two\nlines.png")
    show = pictures(DataSettings(source=str(tmp_path)))
    assert np.array_equal(np.asarray(show("two\\nlines.png")), np.asarray(scene(0)))
    assert pictures(DataSettings(source="digits"))("image 3").size == (8, 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """24 images of 64 x 64 in two classes, and one bad file; its name wants quotes."""
    root = tmp_path / "my birds"
    for i in range(24):
        (root / f"class {i % 2}").mkdir(parents=True, exist_ok=True)
        scene(i, 64).save(root / f"class {i % 2}" / f"{i}.png")
    (root / "class 0" / "bad.png").touch()
    return root


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--size", "16", "--fit", "squash"],
        ["--size", "16", "24", "--color", "grey", "--flip"],
        ["--background", "light blue", "--labels", "none", "--validation", "0.2"],
    ],
)
def test_the_command_that_is_recommended_trains_with_what_was_checked(
    flags: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "light blue" in flags:
        flags[1] = "lightblue"
    assert main(["data", "check", str(folder), "--no-measure", *flags]) == 0
    typed = shlex.split(capsys.readouterr().err.splitlines()[-1].removeprefix("train with: "))
    assert main([*typed[1:], "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    data = found.get("config", found)["data"]
    assert Path(data["source"]) == folder and data["fit"] == ("squash" if "squash" in flags else "crop")
    assert data["size"] == ([16, 24] if "24" in flags else 16 if "16" in flags else 64)
    assert (data["labels"], data["flip"]) == ("none" if "none" in flags else "auto", "--flip" in flags)


def pace_of(steps: int) -> pacing.DevicePace:
    return pacing.DevicePace(1.0, steps, 20.0, 1.0, 2**30, 16, 10, "cpu")


@pytest.mark.parametrize(
    ("steps", "tried", "size"),
    [({32: 9000, 64: 2500}, [32, 64], 64), ({32: 9000, 64: 1500}, [32, 64], 32), ({32: 900}, [32], 32)],
)
def test_the_size_is_the_largest_that_leaves_enough_steps(
    steps: dict[int, int],
    tried: list[int],
    size: int,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = []

    def pace(config: Config, spec: ImageSpec, *_: object) -> pacing.DevicePace:
        if config.codec.name == "kl":
            return replace(pace_of(1000), first=replace(pace_of(500), seconds_per_step=2.0))
        asked.append(spec.height)
        return pace_of(steps[spec.height])

    monkeypatch.setattr("ancestral.jobs.pacing.pace", pace)
    assert main(["data", "check", str(folder), "--json", "--measure"]) == 0
    recipe = json.loads(capsys.readouterr().out)["recipe"]
    assert (asked, recipe["size"], recipe["pace"]["steps"]) == (tried, [size, size], steps[size])
    assert ("few" in recipe["note"]) == (steps[size] < check_data.FEWEST_STEPS or size < 64)
    larger = recipe["larger"]  # half of the budget has to hold 2000 steps of 2 s, the other half as many of 1 s
    assert larger["command"].endswith("--data.size 64 --data.fit crop --codec kl --training.minutes 140")
    assert (larger["pace"]["steps"], larger["pace"]["first"]["steps"]) == (4200, 2100)


def test_a_pace_is_measured_and_a_budget_is_the_nearest_limit(folder: Path) -> None:
    config = plan(str(folder), None, {"data": {"size": 16}}, None).config
    spec = ImageSpec(channels=3, height=16, width=16, class_names=("a", "b"))
    found = pacing.pace(config, spec, 60, pacing.torch.device("cpu"))
    assert found.weights > 1_000_000 and found.minutes == pytest.approx(20, rel=0.05)
    assert found.visits == pytest.approx(found.steps * config.training.batch_size / 60)
    assert found.peak_bytes > 4 * 4 * found.weights, "weights, their average, and two moments"
    assert found.first is None, "no autoencoder"
    budget = TrainingSettings(minutes=1.0, images=320, steps=500, batch_size=16)
    assert [pacing.steps_of(budget, seconds) for seconds in (0.01, 10.0)] == [20, 6]


def test_the_pace_of_latents_is_that_of_an_autoencoder_and_of_what_it_leaves() -> None:
    data = DataSettings(source="x", size=16)
    config = in_latents(for_folder("x").model_copy(update={"data": data}), KLSettings(widths=(8, 16), share=0.25))
    config = merged(config, {"network": {"widths": (8, 16), "attention": ()}, "training": {"minutes": 20.0}}, "")
    spec = ImageSpec(channels=3, height=16, width=16)
    found = pacing.pace(config, spec, 60, pacing.torch.device("cpu"))
    assert found.first is not None and found.first.at_once == for_codec("x").training.batch_size
    assert (found.minutes, found.first.minutes) == (pytest.approx(15, rel=0.05), pytest.approx(5, rel=0.05))
    assert found.first.peak_bytes > found.first.weights * 16, "weights, gradients, moments and their average"


def test_where_memory_is_short_a_step_is_timed_in_the_parts_that_training_would_take(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ancestral.training.memory.available_bytes", lambda device: 60 * 2**20)
    monkeypatch.setattr("ancestral.jobs.pacing.seconds_per_step", lambda task, images: float(task.compute.micro_batch))
    config = plan(str(folder), None, {"data": {"size": 32}}, None).config
    spec = ImageSpec(channels=3, height=32, width=32, class_names=())
    for recipe in (config, in_latents(config, KLSettings())):
        found = pacing.pace(recipe, spec, 60, pacing.torch.device("cpu"))
        found = found.first or found
        assert found.at_once == found.seconds_per_step < config.training.batch_size


def test_json_holds_everything_and_measures_nothing_unless_asked(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet, page = tmp_path / "out" / "sheet.png", tmp_path / "page.html"
    assert main(["data", "check", str(folder), "--json", "--sheet", str(sheet), "--page", str(page)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recipe"]["pace"] is None and found["recipe"]["size"] == [64, 64]
    assert found["balance"] == {
        "smallest": ["class 0", 12],
        "largest": ["class 1", 12],
        "ratio": 1.0,
        "few": ["class 0", "class 1"],
    }
    assert found["warnings"][0] == "cannot be used: 1 file"
    assert (found["sheet"], found["page"]) == (str(sheet), str(page))
    with Image.open(sheet) as image:
        assert min(image.size) > 300
    assert page.read_text().startswith("<!doctype html>")


def test_built_in_data_sets_are_recommended_their_own_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "digits", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recipe"]["command"] == "ancestral train digits"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--sheet", "a.jpg"], "--sheet to end in .png"),
        (["--page", "a.txt"], "--page to end in .html"),
        (["--measure", "--no-measure"], "got both"),
        (["--sheet", "{folder}/new/a.png"], "which would be trained on"),
        (["--page", "/proc/self/status/a.html"], "is no folder"),
    ],
)
def test_what_cannot_be_written_is_said_before_anything_is_read(
    words: list[str], expected: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("ancestral.jobs.check_data.check_of", None)
    assert main(["data", "check", str(folder), *(word.format(folder=folder) for word in words)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


def test_a_folder_of_bad_files_still_has_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").touch()
    words = ["--json", "--page", str(tmp_path / "page.html"), "--sheet", str(tmp_path / "sheet.png")]
    assert main(["data", "check", str(tmp_path / "images"), *words]) == 2
    found = json.loads(capsys.readouterr().out)
    assert (found["recipe"], found["sheet"]) == (None, None) and not (tmp_path / "sheet.png").exists()
    assert "is empty" in (tmp_path / "page.html").read_text()
