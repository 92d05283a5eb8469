"""Films as files: GIF, animated PNG, animated WebP, and MP4 where the program ffmpeg is.

A GIF keeps one palette for all of its frames and gives up frames and colours until it is small enough to be sent: noise
cannot be compressed, and of a chain's frames most are noise.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ancestral.errors import InputError
from ancestral.files import write_whole
from ancestral.outputs import FILM
from ancestral.viz.boxes import Box

F = TypeVar("F")
FILMS = (".gif", ".png", ".apng", ".webp", ".mp4")
GIF_BYTES = 1_000_000  # what a GIF is made smaller for, as far as the ways below go
GREY_WAYS = ((34, 64), (26, 32), (20, 24), (16, 16), (12, 16))
COLOUR_WAYS = ((34, 64), (24, 64), (17, 64), (12, 64), (12, 32))
"""Frames and colours, at most, tried in this order where all frames, each in its own 256 colours, are too large."""


def pick(frames: Sequence[F], n: int) -> list[F]:
    """`n` of `frames`, evenly spread, the first and the last among them; all if there are fewer; the last if n = 1."""
    if n < 1:
        raise InputError(f"expected at least one frame to pick, got n = {n}; ask for 1 or more")
    if n >= len(frames):
        return list(frames)
    return [frames[round(i * (len(frames) - 1) / (n - 1))] for i in range(n)] if n > 1 else [frames[-1]]


def film_bytes(frames: Sequence[Box], suffix: str = ".gif", seconds: float = 6.0, hold: float = 1.5) -> bytes:
    """`frames` as an endless film; an MP4 ends.

    Args:
        frames: pictures of one size; where there are more than 50 a second, that many are picked evenly.
        suffix: .gif (up to 256 colours and a megabyte or little more: fewer frames and colours where it is not),
            .png or .apng (exact), .webp (exact to the eye), .mp4 (of any length small).
        seconds: from the first frame to the last.
        hold: seconds for which the last frame stays before the film starts again.
    """
    check_film(suffix)
    # a GIF counts in hundredths of a second, and browsers slow down what is faster than two of them
    frames = pick(frames, max(2, int(seconds * 50)))
    if suffix == ".mp4":
        return _mp4(frames, seconds, hold)
    if suffix == ".gif":
        return _small_gif(frames, seconds, hold)
    if suffix == ".webp":
        return _saved(frames, "WEBP", seconds, hold, quality=80, method=4, xmp=FILM)
    info = PngInfo()
    info.add_text("Software", FILM.decode())
    return _saved(frames, "PNG", seconds, hold, pnginfo=info)


def save_film(frames: Sequence[Box], path: Path, seconds: float = 6.0, hold: float = 1.5) -> None:
    """Writes a film whose kind the suffix of `path` names, as in `film_bytes`: whole or not at all."""
    write_whole(path, film_bytes(frames, path.suffix.lower(), seconds, hold))


def check_film(suffix: str) -> None:
    """That films of this kind can be made here."""
    if suffix not in FILMS:
        raise InputError(f"expected --film to end in {', '.join(FILMS)}, got {suffix!r}; rename the file")
    if suffix == ".mp4" and shutil.which("ffmpeg") is None:
        raise InputError("expected the program ffmpeg for a film .mp4, got none; install it, or name the film .webp")


def _saved(frames: Sequence[Image.Image], kind: str, seconds: float, hold: float, **how: object) -> bytes:
    out, (first, *rest) = BytesIO(), frames
    each = max(2, round(100 * seconds / len(frames)))  # hundredths of a second; Pillow asks for thousandths
    durations = [10 * each] * len(rest) + [10 * round(100 * hold)]
    first.save(out, kind, save_all=True, append_images=rest, duration=durations, loop=0, **how)
    return out.getvalue()


def _small_gif(frames: Sequence[Box], seconds: float, hold: float) -> bytes:
    """As it is, or in the first of the ways that is small enough, else in the last."""
    small = len(frames) * frames[0].width * frames[0].height <= 4_000_000  # else palettes take long to find
    content = _saved([*map(_in_own_palette, frames)], "GIF", seconds, hold, comment=FILM) if small else b""
    for most, colours in GREY_WAYS if all(map(_is_grey, frames)) else COLOUR_WAYS:
        if 0 < len(content) <= GIF_BYTES:
            break
        content = _saved(_in_one_palette(pick(frames, most), colours), "GIF", seconds, hold, comment=FILM)
    return content


def _in_own_palette(frame: Box) -> Image.Image:
    """A frame in at most 256 colours: exact if it is grey; else without dither, which would speckle flat squares, and
    by that of Pillow's ways that errs least, keeps the background's colour and makes the smallest files."""
    if _is_grey(frame):
        return frame.getchannel(0)
    return frame.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)


def _in_one_palette(frames: Sequence[Box], colours: int) -> list[Image.Image]:
    """Frames in one palette of so many colours; of grey ones evenly spaced greys, else those of the last frames."""
    if all(map(_is_grey, frames)):
        steps = np.round(np.arange(256) * (colours - 1) / 255).astype(np.uint8)
        greys = np.repeat(np.round(np.linspace(0, 255, colours)).astype(np.uint8), 3)
        return [_with_palette(steps[np.asarray(frame.getchannel(0))], greys) for frame in frames]
    width, height = (max(1, side // 3) for side in frames[0].size)
    some = pick(frames[-(-3 * len(frames) // 4) :] or frames, 4)  # what noise looks like matters less
    sheet = Image.new("RGB", (width, height * len(some)))
    for i, frame in enumerate(some):
        sheet.paste(frame.resize((width, height), Image.Resampling.NEAREST), (0, i * height))
    few = sheet.point([level >> 4 << 4 for level in range(256)] * 3)  # of many colours the cover is slow to find
    found = few.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE).getpalette()
    palette = np.array(found, dtype=np.uint8).reshape(-1, 3)
    background = np.array(frames[0].getpixel((0, 0)), dtype=np.int64)
    palette[np.square(palette - background).sum(axis=1).argmin()] = background
    # the nearest colour for each of 32 levels of red, green and blue
    levels = np.stack(np.meshgrid(*[np.arange(4, 256, 8)] * 3, indexing="ij"), axis=-1)[..., None, :]
    nearest = np.square(levels - palette.astype(np.int64)).sum(axis=-1).argmin(axis=-1).astype(np.uint8)
    indices = (nearest[tuple(np.moveaxis(np.asarray(frame) >> 3, -1, 0))] for frame in frames)
    return [_with_palette(each, palette) for each in indices]


def _with_palette(indices: np.ndarray, palette: np.ndarray) -> Image.Image:
    image = Image.fromarray(indices).convert("P")
    image.putpalette(palette.tobytes())
    return image


def _is_grey(frame: Box) -> bool:
    red, green, blue = frame.split()
    return red.tobytes() == green.tobytes() == blue.tobytes()


def _mp4(frames: Sequence[Box], seconds: float, hold: float) -> bytes:
    """H.264 of even sides, at the rate at which the frames take `seconds`; the last one stays."""
    rate = len(frames) / seconds
    width, height = (side - side % 2 for side in frames[0].size)
    shown = [*frames, *[frames[-1]] * round(hold * rate)]
    pixels = b"".join(np.asarray(frame)[:height, :width].tobytes() for frame in shown)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "film.mp4"
        given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", f"{rate:.6f}", "-i", "-"]
        made = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "18", "-movflags", "+faststart"]
        command = ["ffmpeg", "-v", "error", *given, *made, "-metadata", f"comment={FILM.decode()}", str(out)]
        done = subprocess.run(command, input=pixels, capture_output=True, check=False)
        if done.returncode or not out.is_file():
            said = (done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
            raise InputError(f"expected ffmpeg to write H.264, got: {said}; name the film .webp or .gif")
        return out.read_bytes()
