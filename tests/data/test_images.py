"""One file to pixels: every mode, every orientation, every way a file can be wrong."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ancestral.data.images import BadImage, decode, each, fit, flatten, parse_color, to_array
from ancestral.errors import InputError
from ancestral.text import printable

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
UPRIGHT = np.array([[RED, GREEN, BLUE], [WHITE, (0, 0, 0), (90, 90, 90)]], np.uint8)
"""2 x 3, no two pixels alike: every turn and mirror of it shows."""

STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.swapaxes(0, 1),
    6: np.rot90(UPRIGHT, 1),
    7: np.rot90(UPRIGHT, 2).swapaxes(0, 1),
    8: np.rot90(UPRIGHT, -1),
}
"""What a camera stores so that the tag makes it UPRIGHT (TIFF 6.0, tag 274: where row 0 and column 0 belong)."""


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def pixels(path: Path, channels: int | None = None, background: str = "white") -> np.ndarray:
    return to_array(decode(path, channels, background))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, suffix: str) -> None:
    """Trap: EXIF orientation lost, or applied twice where the decoder did it already (TIFF)."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", image, exif=exif, **options)
    np.testing.assert_array_equal(pixels(path), UPRIGHT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_of_a_jpeg(tmp_path: Path, orientation: int) -> None:
    """Large flat blocks survive the JPEG's losses: the corners tell which way round it is."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED[orientation].repeat(16, 0).repeat(16, 1)))
    path = save(tmp_path / "a.jpg", image, exif=exif, quality=95, subsampling=0)
    np.testing.assert_allclose(pixels(path)[8::16, 8::16].astype(int), UPRIGHT.astype(int), atol=12)


def modes() -> dict[str, tuple[Image.Image, np.ndarray, dict[str, object]]]:
    """Name -> (image to save as PNG, what a blue background must give, saving options)."""
    grey = np.array([[0, 100], [200, 255]], np.uint8)
    alpha = np.array([[255, 0], [255, 255]], np.uint8)
    on_blue = np.stack([grey] * 3, -1)
    on_blue[0, 1] = BLUE
    half = np.array([[[255, 255, 255, 128]]], np.uint8)
    palette = Image.frombytes("P", (2, 2), bytes([0, 1, 2, 3]))
    palette.putpalette([*RED, *GREEN, *BLUE, *WHITE])
    colors = np.array([[RED, GREEN], [BLUE, WHITE]], np.uint8)
    see_through = colors.copy()
    see_through[0, 0] = BLUE
    per_entry = colors.copy()
    per_entry[0, 1] = BLUE
    return {
        "L": (Image.fromarray(grey), grey[..., None], {}),
        "1": (Image.fromarray(grey > 150), np.array([[[0], [0]], [[255], [255]]], np.uint8), {}),
        "RGB": (Image.fromarray(colors), colors, {}),
        "LA": (Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), on_blue, {}),
        "RGBA": (Image.fromarray(np.dstack([on_blue, alpha])), on_blue, {}),
        "RGBA half": (Image.fromarray(half), np.array([[[128, 128, 255]]], np.uint8), {}),
        "P": (palette, colors, {}),
        "P one index": (palette, see_through, {"transparency": 0}),
        "P bytes": (palette, per_entry, {"transparency": bytes([255, 0, 255, 255])}),
        "L transparent level": (Image.fromarray(grey), on_blue, {"transparency": 100}),
        "RGB transparent colour": (Image.fromarray(colors), see_through, {"transparency": RED}),
    }


@pytest.mark.parametrize("name", modes())
def test_every_mode_becomes_opaque_8_bit(tmp_path: Path, name: str) -> None:
    """Trap: palette read as grey levels, alpha dropped (what lies under it shows), transparency in a chunk missed."""
    image, expected, options = modes()[name]
    np.testing.assert_array_equal(pixels(save(tmp_path / "a.png", image, **options), background="#0000ff"), expected)


@pytest.mark.parametrize(("mode", "dtype"), [("I;16", "<u2"), ("I;16B", ">u2"), ("I", "<i4")])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_is_rescaled(tmp_path: Path, mode: str, dtype: str, suffix: str) -> None:
    """Trap: conversion to L clips everything above 255 to white. 257 steps of 16 bits are one of 8."""
    if (mode, suffix) == ("I", "png"):
        pytest.skip("Pillow no longer writes this")
    values = np.array([[0, 257, 128 * 257], [128 * 257 + 128, 128 * 257 + 129, 65535]])
    image = Image.frombytes(mode, (3, 2), values.astype(dtype).tobytes())
    expected = np.array([[0, 1, 128], [128, 129, 255]], np.uint8)[..., None]
    np.testing.assert_array_equal(pixels(save(tmp_path / f"a.{suffix}", image)), expected)


def test_16_bit_grey_with_a_transparent_level(tmp_path: Path) -> None:
    image = Image.frombytes("I;16", (2, 1), np.array([65535, 25700], "<u2").tobytes())
    path = save(tmp_path / "a.png", image)
    data = path.read_bytes()
    chunk = b"tRNS" + (25700).to_bytes(2, "big")
    chunk = (2).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    place = data.index(b"IDAT") - 4
    path.write_bytes(data[:place] + chunk + data[place:])
    np.testing.assert_array_equal(pixels(path, background="red"), [[WHITE, RED]])


def test_values_without_a_white_level_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tiff", Image.fromarray(np.array([[0.5, 2.0]], np.float32)))
    with pytest.raises(BadImage, match="8 or 16 bits"):
        decode(path)


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk_is_converted(tmp_path: Path, suffix: str) -> None:
    """Trap: CMYK taken for RGBA, or inverted. Full cyan is no red at all; no ink is white."""
    inks = np.zeros((16, 32, 4), np.uint8)
    inks[:, :16, 0] = 255
    path = save(tmp_path / f"a.{suffix}", Image.frombytes("CMYK", (32, 16), inks.tobytes()))
    found = pixels(path).astype(int)
    np.testing.assert_allclose(found[8, 8], [0, 255, 255], atol=6)
    np.testing.assert_allclose(found[8, 24], [255, 255, 255], atol=6)


def test_channels_are_as_asked(tmp_path: Path) -> None:
    grey = save(tmp_path / "g.png", Image.fromarray(np.full((2, 2), 7, np.uint8)))
    color = save(tmp_path / "c.PNG", Image.new("RGB", (2, 2), RED))
    assert [pixels(grey, c).shape[2] for c in (None, 1, 3)] == [1, 1, 3]
    assert [pixels(color, c).shape[2] for c in (None, 1, 3)] == [3, 1, 3]
    assert pixels(color, 1)[0, 0, 0] == 76  # ITU-R 601: red is 0.299 of white


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in (RED, GREEN)]
    for suffix, options in (("gif", {}), ("webp", {"lossless": True})):
        path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(pixels(path)[0, 0], RED)


@pytest.fixture
def stripes() -> Image.Image:
    """60 x 20, left, middle and right thirds red, green and blue."""
    array = np.zeros((20, 60, 3), np.uint8)
    for i, color in enumerate((RED, GREEN, BLUE)):
        array[:, 20 * i : 20 * (i + 1)] = color
    return Image.fromarray(array)


def test_crop_keeps_the_aspect_ratio(stripes: Image.Image) -> None:
    """Trap: aspect ratio squashed silently. The middle third alone fills a square."""
    np.testing.assert_array_equal(to_array(fit(stripes, 20, 20, "crop")), np.full((20, 20, 3), GREEN))
    smaller = to_array(fit(stripes, 10, 10, "crop"))[:, 3:-3]  # Lanczos looks three pixels over the edge
    np.testing.assert_array_equal(smaller, np.full((10, 4, 3), GREEN))


def test_pad_keeps_everything(stripes: Image.Image) -> None:
    found = to_array(fit(stripes, 60, 60, "pad", "white"))
    np.testing.assert_array_equal(found[20:40], to_array(stripes))
    np.testing.assert_array_equal(found[[0, 19, 40, 59]], np.full((4, 60, 3), 255))


def test_squash_is_what_was_asked_for(stripes: Image.Image) -> None:
    found = to_array(fit(stripes, 30, 30, "squash"))
    assert [tuple(found[15, x]) for x in (5, 15, 25)] == [RED, GREEN, BLUE]


def test_shrinking_averages() -> None:
    """Trap: no antialiasing. A one-pixel chessboard is grey from afar; picked pixels are black or white."""
    board = np.indices((256, 256)).sum(0) % 2 * 255
    found = to_array(fit(Image.fromarray(board.astype(np.uint8)), 16, 16, "crop"))
    assert found.min() >= 126 and found.max() <= 129


def test_the_right_size_is_left_alone() -> None:
    array = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    for how in ("crop", "pad", "squash"):
        np.testing.assert_array_equal(to_array(fit(Image.fromarray(array), 9, 7, how)), array)


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(
    ("width", "height"), [(16_385, 1), (9_000, 9_000), (10_000, 10_000), (16_000, 16_000), (2**31 - 1, 2**31 - 1)]
)
def test_bombs_are_refused_by_their_header(tmp_path: Path, width: int, height: int) -> None:
    """64 Mpx is refused whether Pillow is silent (81 Mpx), warns (100 Mpx) or raises (256 Mpx)."""
    (tmp_path / "a.png").write_bytes(png_header(width, height))
    with pytest.raises(BadImage, match=r"more than the|longer than the"):
        decode(tmp_path / "a.png")


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("zero.png", b"", "is empty"),
        ("page.jpg", b"<!DOCTYPE html><title>404</title>", "is not a PNG"),
        ("note.png", b"hello\n", "is not a PNG"),
        ("half.jpg", jpeg()[: len(jpeg()) // 2], "is damaged"),
        ("drawing.eps.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a PNG"),
        ("short.png", png_header(8, 8), "is damaged"),
    ],
)
def test_a_bad_file_gives_its_reason(tmp_path: Path, name: str, data: bytes, reason: str) -> None:
    """Truncated JPEGs pass Pillow's verify(); EPS would start Ghostscript."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(BadImage, match=reason) as caught:
        decode(tmp_path / name)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2


def test_files_too_large_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.png").open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    with pytest.raises(BadImage, match="more than the 64 allowed"):
        decode(tmp_path / "a.png")


def test_pipes_devices_and_lost_links_are_not_opened(tmp_path: Path) -> None:
    """Opening a pipe that nobody writes to would wait for ever."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "lost.png").symlink_to("nowhere.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name, reason in (
        ("pipe", "regular"),
        ("zero", "regular"),
        ("lost", "cannot be read"),
        ("loop", "cannot be read"),
    ):
        with pytest.raises(BadImage, match=reason):
            decode(tmp_path / f"{name}.png")


def test_names_print_on_one_line() -> None:
    assert printable(os.fsdecode(b"caf\xe9\n\x1b[2J.png")) == r"caf\xe9\n\x1b[2J.png"
    assert printable("smørrebrød 🍞.png") == "smørrebrød 🍞.png"


def test_background_must_be_a_colour() -> None:
    assert parse_color("#102030") == (16, 32, 48)
    with pytest.raises(InputError, match="colour name"):
        parse_color("see-through")


def test_each_keeps_order_and_goes_on_after_faults(tmp_path: Path) -> None:
    def work(path: Path) -> int:
        if path.name == "13":
            raise BadImage(path, "is unlucky")
        return int(path.name)

    results = list(each(work, (Path(str(i)) for i in range(100))))
    assert isinstance(results[13], BadImage)
    assert [r for r in results if not isinstance(r, BadImage)] == [i for i in range(100) if i != 13]


def test_flatten_rounds_alpha_to_nearest() -> None:
    """A ramp of alpha over black is the ramp itself: nothing is truncated."""
    ramp = np.full((1, 256, 4), 255, np.uint8)
    ramp[0, :, 3] = np.arange(256)
    found = to_array(flatten(Image.fromarray(ramp), (0, 0, 0)))
    np.testing.assert_array_equal(found[0, :, 0], np.arange(256))
