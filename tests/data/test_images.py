"""One file to pixels: every mode, every orientation, every way a file can be wrong."""

import io
import os
import signal
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image
from written import chunk, png, tiff

from ancestral.data.decoding import scans, silence
from ancestral.data.images import BadImage, decode, fit, flatten, parse_color, to_array
from ancestral.data.parallel import Room, each
from ancestral.errors import InputError
from ancestral.image_inputs import as_images
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


@pytest.mark.parametrize(("mode", "dtype"), [("I;16", "<u2"), ("I;16B", ">u2")])
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_is_rescaled(tmp_path: Path, mode: str, dtype: str, suffix: str) -> None:
    """Trap: conversion to L clips everything above 255 to white. 257 steps of 16 bits are one of 8."""
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
    """Of 32 bits, whole numbers too: that all of an image are small says nothing of the next one."""
    for values in (np.array([[0.5, 2.0]], np.float32), np.array([[0, 257]], np.int32)):
        path = save(tmp_path / "a.tiff", Image.fromarray(values))
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


def progressive(repeats: int, side: int = 64) -> bytes:
    """A progressive JPEG whose last scan comes again and again, which every decoder takes."""
    out = io.BytesIO()
    Image.new("L", (side, side), 128).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    last = data.rindex(b"\xff\xc4", 0, data.rindex(b"\xff\xda"))
    return data[:-2] + data[last:-2] * repeats + b"\xff\xd9"


def test_a_jpeg_of_many_scans_is_refused_by_its_markers(tmp_path: Path) -> None:
    """Trap: 315 kB that take half a minute, in which no signal is heard."""
    path = tmp_path / "a.jpg"
    path.write_bytes(progressive(0))
    decode(path)
    path.write_bytes(progressive(100))
    with pytest.raises(BadImage, match=r"in 106 scans, more than the 100"):
        decode(path)


def test_scans_are_those_of_the_first_image_and_not_of_what_lies_beside_it(tmp_path: Path) -> None:
    """A thumbnail in a segment, and a film that a telephone appends, hold bytes that look like markers."""
    data = jpeg()
    segment = b"\xff\xe1" + struct.pack(">H", 2 + 300) + b"\xff\xda" * 150
    assert scans(data) == scans(data[:2] + segment + data[2:] + b"\xff\xda" * 150) == 1


def test_a_hundred_scans_of_a_large_image_are_refused(tmp_path: Path) -> None:
    """Scans times pixels is the time it takes."""
    data = progressive(30)
    at = data.index(b"\xff\xc2") + 5
    (tmp_path / "a.jpg").write_bytes(data[:at] + struct.pack(">HH", 7000, 8000) + data[at + 4 :])
    with pytest.raises(BadImage, match="in 36 scans"):
        decode(tmp_path / "a.jpg")


@pytest.mark.parametrize("start", [b"\xff\xc0", b"\xff\xc2"])
def test_a_jpeg_of_fewer_bytes_than_its_size_takes_is_refused(tmp_path: Path, start: bytes) -> None:
    """Trap: two kilobytes that say 8000 x 7000 were eight seconds of work and a grey picture, without a word."""
    data = jpeg() if start == b"\xff\xc0" else progressive(0)
    at = data.index(start) + 5
    (tmp_path / "a.jpg").write_bytes(data[:at] + struct.pack(">HH", 7000, 8000) + data[at + 4 :])
    with pytest.raises(BadImage, match=r"8000 x 7000 pixels, which [\d,]+ bytes cannot hold"):
        decode(tmp_path / "a.jpg")


def test_the_smallest_jpeg_of_its_size_is_read(tmp_path: Path) -> None:
    """One colour, optimised codes: nothing holds a picture in less."""
    path = save(tmp_path / "a.jpg", Image.new("L", (4000, 4000), 128), progressive=True, optimize=True)
    assert decode(path).size == (4000, 4000)


def test_a_palette_that_is_missing_is_no_black_picture(tmp_path: Path) -> None:
    """Trap: Pillow shows zeros where a PNG of palette colours has no palette."""
    path = png(tmp_path / "a.png", np.array([[[1], [2]]]), 8, 3)
    with pytest.raises(BadImage, match="it has no palette"):
        decode(path)


ODD_EXIF = {
    "text": b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0A\0\0\0\0\0\0\0",
    "fraction without a number": b"II*\0\x08\0\0\0\x01\0\x12\x01\x05\0\x01\0\0\0\x1a" + bytes(11),
    "cut off": b"II",
}


@pytest.mark.parametrize("said", ODD_EXIF.values(), ids=ODD_EXIF)
def test_an_orientation_that_cannot_be_read_is_none(tmp_path: Path, said: bytes) -> None:
    """EXIF is no part of the picture; viewers show it, and so it is used: from a file, and from Pillow's image."""
    image = Image.fromarray(np.ascontiguousarray(STORED[1]))
    path = save(tmp_path / "a.webp", image, lossless=True, exif=b"Exif\0\0" + said)
    found = to_array(decode(path))
    np.testing.assert_array_equal(found, to_array(image))
    with Image.open(path) as opened:
        assert torch.equal(as_images(opened, (3, *found.shape[:2])), as_images(found, (3, *found.shape[:2])))


def test_text_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    """Trap: an iTXt, zTXt or profile of a PNG of a few kilobytes."""
    bomb = zlib.compress(bytes(2**26), 9)
    for name, content in ((b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0"), (b"iCCP", b"a\0\0")):
        path = png(tmp_path / "a.png", np.zeros((2, 2, 1), int), 8, 0, chunk(name, content + bomb))
        with pytest.raises(BadImage, match="too large"):
            decode(path)


def test_room_is_shared_and_what_needs_all_of_it_is_alone() -> None:
    """Of 100 bytes: three of 40 never at once, and 1000 only where nobody else is."""
    room, inside, seen = Room(100), [], []

    def work(wanted: int) -> None:
        with room.held(wanted):
            inside.append(wanted)
            seen.append(sum(min(each, 100) for each in inside))
            inside.remove(wanted)

    threads = [Thread(target=work, args=(wanted,)) for wanted in (40, 1000, 40, 1000, 40) * 20]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 100 and max(seen) <= 100


def test_pillow_is_silent_while_files_are_decoded(tmp_path: Path) -> None:
    """A warning would be an error here; outside it is one still."""
    with silence, silence:
        warnings.warn_explicit("odd", UserWarning, "a.py", 1, module="PIL.TiffImagePlugin")
    with pytest.raises(UserWarning):
        warnings.warn_explicit("odd", UserWarning, "a.py", 1, module="PIL.TiffImagePlugin")


DECODES = """
import sys, threading
from pathlib import Path
from ancestral.data.decoding import scans
from ancestral.data.parallel import Room, each
from ancestral.data.decoding import silence

def work(path):
    print("begun", flush=True)
    threading.Event().wait()

list(each(work, [Path(str(i)) for i in range(9)]))
"""


def test_an_interrupted_process_waits_for_no_file_that_is_being_decoded() -> None:
    """Trap: a pool of threads that is waited for when the interpreter ends."""
    with subprocess.Popen([sys.executable, "-c", DECODES], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=20) != 0


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize(
    "kind", ["rgba16.png", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("rgba16.tif", "rgba.png"))]
)
def test_decoding_takes_no_more_memory_than_is_held_for_it(tmp_path: Path, kind: str) -> None:
    """What `each` shares out is an estimate by the header: it must not be too small. 4 million pixels."""
    samples = np.broadcast_to(np.uint16(0), (2000, 2000, 4))
    path = tmp_path / kind
    if kind == "rgba16.tif":
        blocks = [zlib.compress(bytes(2000 * 2000 * 8), 1)]
        tiff(path, samples, 16, {259: [8], 262: [2], 338: [1]}, blocks=blocks)
    elif kind == "rgba16.png":
        rows = (b"\0" + bytes(2000 * 8)) * 2000
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 2000, 2000, 16, 6, 0, 0, 0))
        body = header + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    else:
        Image.new("RGBA", (2000, 2000)).save(path)
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    used, held = map(int, done.stdout.split())
    assert used < held


PEAK = """
import sys
from pathlib import Path
from PIL import Image
from ancestral.data.finding import examine
from ancestral.data.images import memory_to_decode
from ancestral.machine import cpu_field

def peak():
    return 1024 * int(cpu_field("/proc/self/status", "VmHWM").split()[0])

path = Path(sys.argv[1])
held = memory_to_decode(path)
before = peak()
examine(path, "white")
print(peak() - before, held)
"""
