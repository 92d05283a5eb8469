"""Grids, strips and films of images, with labels, and files that say how they were made.

Images are enlarged by whole factors, each pixel becoming a square: never blurred, never resampled.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from math import ceil, isqrt
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile, PngInfo
from torch import Tensor

from ancestral.errors import InputError
from ancestral.files import write_whole
from ancestral.tensors import Pixels
from ancestral.viz import boxes
from ancestral.viz.boxes import Box

MARGIN = 16
"""Background around every picture, px."""
GAP = 6
"""Background between images, px."""
TILE = 96
"""Side to which small images are enlarged, about, px."""
WIDEST = 1600
"""Width that enlarging does not exceed, px."""
LABEL_WIDTH = 200
"""Width at which row labels wrap, px."""
FILM_SUFFIXES = {".gif": "GIF", ".png": "PNG", ".apng": "PNG"}
MOST_FRAMES_PER_SECOND = 50
"""A GIF counts in hundredths of a second, and browsers slow down what is faster than two of them."""

F = TypeVar("F")


def pick(frames: Sequence[F], n: int) -> list[F]:
    """`n` of `frames`, evenly spread, the first and the last among them; all if there are fewer; the last if n = 1."""
    if n < 1:
        raise InputError(f"expected at least one frame to pick, got n = {n}; ask for 1 or more")
    if n >= len(frames):
        return list(frames)
    return [frames[round(i * (len(frames) - 1) / (n - 1))] for i in range(n)] if n > 1 else [frames[-1]]


def grid(
    images: Pixels,
    columns: int | None = None,
    scale: int | None = None,
    labels: Sequence[str] | None = None,
    gap: int = GAP,
    title: str | None = None,
) -> Box:
    """Images in reading order, row by row.

    Args:
        images: (B, C, H, W), C = 1 or 3.
        columns: None: about as many as rows, dividing B where that is possible.
        scale: whole factor of enlargement; None: small images become about 96 px.
        labels: one for each image, set beneath it, or one for each row, set before it.
        gap: between images, px.

    Raises:
        InputError: no images, channels other than 1 or 3, columns or scale below 1, labels for neither images nor rows.
    """
    columns = _columns(len(images)) if columns is None else columns
    return boxes.framed(_titled(_grid(images, columns, scale, labels, gap), title), MARGIN)


def strip(rows: Sequence[tuple[str, UInt8[Tensor, "S _ H W"]]], times: Sequence[int], scale: int | None = None) -> Box:
    """Labelled rows of a chain at the same timesteps: xₜ above the estimate of x₀, or one schedule above another.

    Args:
        rows: label and (S, C, H, W) images, in the order of `times`; C may differ from row to row.
        times: S timesteps, set above the columns.
        scale: as in `grid`.
    """
    for label, images in rows:
        if len(images) != len(times) or images.shape[2:] != rows[0][1].shape[2:]:
            wanted = (len(times), "C", *rows[0][1].shape[2:])
            raise InputError(
                f"expected row {label!r} of shape {wanted}, got {tuple(images.shape)}; give one per timestep"
            )
    tiles = [_tiles(images, scale, len(times)) for _, images in rows]
    size = _font_size(tiles[0][0])
    names = _row_labels(["", *(label for label, _ in rows)], size)
    header = [boxes.text(f"t = {t}", size) for t in times]
    cells = [[name, *line] for name, line in zip(names, [header, *tiles], strict=True)]
    return boxes.framed(boxes.table(cells, GAP), MARGIN)


def film(
    frames_x_t: Sequence[Pixels],
    frames_x0: Sequence[Pixels],
    times: Sequence[int],
    columns: int | None = None,
    scale: int | None = None,
    names: tuple[str, str] = ("xₜ", "estimate of x₀"),
) -> list[Box]:
    """One picture per timestep: the grid of xₜ beside (where grids are wide: above) that of the estimates of x₀.

    Args:
        frames_x_t, frames_x0: for every timestep (B, C, H, W) images.
        times: falling timesteps; each is shown, with a bar that fills up as t falls from the first of them to 0.
        columns, scale: as in `grid`.
        names: what stands above the two grids.
    """
    if not len(frames_x_t) == len(frames_x0) == len(times) > 0:
        got = f"{len(frames_x_t)}, {len(frames_x0)} and {len(times)}"
        raise InputError(
            f"expected as many x_t as x0 as timesteps, at least one, got {got}; give one of each per frame"
        )
    columns = _columns(len(frames_x_t[0])) if columns is None else columns
    scale = _film_scale(frames_x_t[0], columns) if scale is None else scale
    return [
        _film_frame((x_t, x0), t, 1 - t / max(times[0], 1), columns, scale, names)
        for x_t, x0, t in zip(frames_x_t, frames_x0, times, strict=True)
    ]


def png_bytes(image: Box, metadata: Mapping[str, str] | None = None) -> bytes:
    """`image` as a PNG file that holds `metadata` as text chunks (keys of at most 79 Latin-1 letters)."""
    info, out = PngInfo(), BytesIO()
    for key, value in (metadata or {}).items():
        info.add_text(key, value)
    image.save(out, "PNG", pnginfo=info, optimize=True)
    return out.getvalue()


def film_bytes(frames: Sequence[Box], suffix: str = ".gif", seconds: float = 6.0, hold: float = 1.5) -> bytes:
    """`frames` as an endless GIF or animated PNG.

    Args:
        frames: pictures of one size; where there are more than 50 a second, that many are picked evenly.
        suffix: .gif (grey films exact, coloured ones within a palette for each frame), .png or .apng (exact).
        seconds: from the first frame to the last.
        hold: seconds for which the last frame stays before the film starts again.
    """
    if suffix not in FILM_SUFFIXES:
        raise InputError(f"expected a film to end in {', '.join(FILM_SUFFIXES)}, got {suffix!r}; rename the file")
    frames = pick(frames, max(2, int(seconds * MOST_FRAMES_PER_SECOND)))
    durations = [max(2, round(100 * seconds / len(frames))) * 10] * (len(frames) - 1) + [round(100 * hold) * 10]
    first, *rest = [_paletted(f) for f in frames] if suffix == ".gif" else frames
    out = BytesIO()
    first.save(out, FILM_SUFFIXES[suffix], save_all=True, append_images=rest, duration=durations, loop=0)
    return out.getvalue()


def save_png(image: Box, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write `image` and what made it (seed, sampler, steps, guidance, weights): whole or not at all."""
    if path.suffix.lower() != ".png":
        raise InputError(f"expected a picture to end in .png, got {path.name!r}; rename the file")
    write_whole(path, png_bytes(image, metadata))


def save_film(frames: Sequence[Box], path: Path, seconds: float = 6.0, hold: float = 1.5) -> None:
    """Write a film whose kind the suffix of `path` names, as in `film_bytes`: whole or not at all."""
    write_whole(path, film_bytes(frames, path.suffix.lower(), seconds, hold))


def read_metadata(path: Path) -> dict[str, str]:
    """The text that `save_png` stored in the PNG at `path`."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            assert isinstance(image, PngImageFile)
            return {key: str(value) for key, value in image.text.items()}
    except (UnidentifiedImageError, OSError) as fault:
        raise InputError(
            f"expected a PNG file, got {str(path)!r} ({fault}); name a picture that ancestral saved"
        ) from None


def _grid(images: Pixels, columns: int, scale: int | None, labels: Sequence[str] | None, gap: int) -> Box:
    """The grid without margin and title."""
    if columns < 1:
        raise InputError(f"expected at least one column, got {columns}; ask for 1 or more")
    tiles = _tiles(images, scale, columns)
    count = ceil(len(tiles) / columns)
    if labels is not None and len(labels) == len(tiles):
        return boxes.table(_rows(_captioned(tiles, labels), columns), gap, down=0.0)
    if labels is not None and len(labels) == count:
        return boxes.table(_with_row_labels(_rows(tiles, columns), labels), gap)
    if labels is not None:
        wanted = f"{len(tiles)} labels (one per image) or {count} (one per row)"
        raise InputError(f"expected {wanted}, got {len(labels)}; give one of these")
    return boxes.table(_rows(tiles, columns), gap)


def _rows(tiles: Sequence[Box], columns: int) -> list[list[Box]]:
    return [list(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]


def _captioned(tiles: Sequence[Box], labels: Sequence[str]) -> list[Box]:
    """Each tile above its caption, in cells of one width, wide enough for a short word."""
    size = _font_size(tiles[0])
    width = max(tiles[0].width, 5 * size) + 6
    below = [boxes.framed(boxes.text(label, size, width - 6), 3) for label in labels]
    cells = [boxes.column([tile, text], 0) for tile, text in zip(tiles, below, strict=True)]
    widest = max(cell.width for cell in cells)
    return [boxes.pad(cell, widest, cell.height) for cell in cells]


def _with_row_labels(rows: Sequence[Sequence[Box]], labels: Sequence[str]) -> list[list[Box]]:
    size = _font_size(rows[0][0])
    return [[name, *line] for name, line in zip(_row_labels(labels, size), rows, strict=True)]


def _row_labels(labels: Sequence[str], size: int) -> list[Box]:
    """Labels before rows, larger than those of columns: there is room, and the ₜ of xₜ is small."""
    return boxes.flush_left([boxes.text(label, size + 3, LABEL_WIDTH) for label in labels], room=8)


def _titled(box: Box, title: str | None) -> Box:
    if title is None:
        return box
    return boxes.column([boxes.text(title, 18, max(box.width, 240)), box], 10, across=0.0)


def _film_frame(
    pair: tuple[Pixels, Pixels], t: int, done: float, columns: int, scale: int, names: tuple[str, str]
) -> Box:
    grids = [_grid(images, columns, scale, None, gap=3) for images in pair]
    panels = [boxes.column([boxes.text(n, 18), g], 6, across=0.0) for n, g in zip(names, grids, strict=True)]
    arrange = boxes.column if grids[0].width > grids[0].height else boxes.row
    both = arrange(panels, MARGIN)
    clock = [boxes.text(f"t = {t}", 18), boxes.progress(done, both.width)]
    return boxes.framed(boxes.column([*clock, both], 8, across=0.0), MARGIN)


def _tiles(images: Pixels, scale: int | None, columns: int) -> list[Box]:
    """Each image as an RGB picture, every pixel a square of `scale` px."""
    if len(images) == 0 or images.shape[1] not in (1, 3):
        raise InputError(
            f"expected (B, 1 or 3, H, W) images, at least one, got {tuple(images.shape)}; give grey or RGB"
        )
    scale = _scale(images, columns) if scale is None else scale
    if scale < 1:
        raise InputError(f"expected a scale of at least 1, got {scale}; ask for a whole factor")
    pixels = images.detach().cpu().permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
    return [Image.fromarray(np.ascontiguousarray(p)) for p in pixels.repeat(scale, axis=1).repeat(scale, axis=2)]


def _scale(images: Pixels, columns: int) -> int:
    """The whole factor that makes the shorter side about 96 px without making `columns` of them too wide."""
    height, width = images.shape[2:]
    return max(1, min(round(TILE / min(height, width)), WIDEST // (columns * width)))


def _film_scale(images: Pixels, columns: int) -> int:
    """As for two such grids side by side; one image alone is shown at twice the size."""
    return _scale(images, 2 * columns) * (2 if len(images) == 1 else 1)


def _columns(count: int) -> int:
    """The least number of columns, at least as many as rows, that divides `count`; if far from square, the root."""
    root = isqrt(max(count - 1, 0)) + 1
    return next((c for c in range(root, 2 * root) if count % c == 0), root)


def _font_size(tile: Box) -> int:
    """Letters in proportion to what they name, so that they shrink and stay legible with it."""
    return min(20, max(13, round(tile.width / 5.7)))


def _paletted(frame: Box) -> Box:
    """A frame in at most 256 colours: exact if it is grey; else without dither, which would speckle flat squares.

    Of Pillow's ways, maximum coverage refined by k-means has the smallest error (r.m.s. 2.8 of 255 on photographs,
    7.8 on noise; median cut alone 3.7 and 12), keeps the background's colour and makes the smallest files.
    """
    red, green, blue = frame.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        return red
    return frame.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
