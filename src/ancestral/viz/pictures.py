"""Grids, strips and films of images, with labels, and files that say how they were made.

Images are enlarged by whole factors, each pixel becoming a square: never blurred, never resampled.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ancestral.colors import MODES
from ancestral.errors import InputError
from ancestral.files import write_whole
from ancestral.tensors import Pixels
from ancestral.viz import boxes
from ancestral.viz.boxes import Box
from ancestral.viz.films import film_bytes as film_bytes
from ancestral.viz.films import pick as pick
from ancestral.viz.films import save_film as save_film

MARGIN, GAP = 16, 6  # background around every picture and between images, px
CHESS = (255, 204)  # the two greys of the chessboard that shows through transparency


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
        images: (B, C, H, W), C = 1 to 4 as in `colors`; a chessboard shows through transparency.
        columns: None: about as many as rows, dividing B where that is possible.
        scale: whole factor of enlargement; None: small images become about 96 px.
        labels: one for each image, set beneath it, or one for each row, set before it.
    """
    box = _grid(images, _columns(len(images)) if columns is None else columns, scale, labels, gap)
    if title is not None:
        box = boxes.column([boxes.text(title, 18, max(box.width, 240)), box], 10, across=0.0)
    return boxes.framed(box, MARGIN)


def pairs(left: Pixels, right: Pixels) -> Box:
    """Images (B, C, H, W) beside others of their size, a pair a row, with nothing between or around them."""
    rows = zip(_tiles(left, None, 2), _tiles(right, None, 2), strict=True)
    return boxes.table([[*row] for row in rows], 0)


def strip(rows: Sequence[tuple[str, UInt8[Tensor, "S _ H W"]]], times: Sequence[int]) -> Box:
    """Labelled rows of (S, C, H, W) images of a chain below its S timesteps: xₜ above the estimate of x₀, or schedules
    above one another; C may differ from row to row."""
    for label, images in rows:
        if (len(images), *images.shape[2:]) != (len(times), *rows[0][1].shape[2:]):
            wanted, got = (len(times), "C", *rows[0][1].shape[2:]), tuple(images.shape)
            raise InputError(f"expected row {label!r} of shape {wanted}, got {got}; give one image per timestep")
    tiles = [_tiles(images, None, len(times)) for _, images in rows]
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

    Both have (B, C, H, W) images for each of the falling timesteps, which are shown, with a bar that fills up as t
    falls from the first of them to 0; `names` stand above the grids.
    """
    if not len(frames_x_t) == len(frames_x0) == len(times) > 0:
        got = f"{len(frames_x_t)}, {len(frames_x0)} and {len(times)}"
        raise InputError(f"expected as many x_t as x0 as timesteps, at least one, got {got}; give one each per frame")
    columns = _columns(len(frames_x_t[0])) if columns is None else columns
    scale = _film_scale(frames_x_t[0], columns) if scale is None else scale
    frames = []
    for *pair, t in zip(frames_x_t, frames_x0, times, strict=True):
        grids = [_grid(images, columns, scale, None, gap=3) for images in pair]
        parts = [boxes.column([boxes.text(n, 18), g], 6, across=0.0) for n, g in zip(names, grids, strict=True)]
        arrange = boxes.column if grids[0].width > grids[0].height else boxes.row
        frames.append(_frame(arrange(parts, MARGIN), f"t = {t}", 1 - t / max(times[0], 1), across=0.0))
    return frames


def morph(images: Pixels, names: Sequence[str]) -> list[Box]:
    """A picture for each of (B, C, H, W) images on a path, its name and a bar above it; there and back again."""
    scale = _film_scale(images[:1], 1)
    tiles = [_grid(images[i : i + 1], 1, scale, None, gap=3) for i in range(len(names))]
    last = max(len(names) - 1, 1)
    there = [_frame(tile, name, i / last, 0.5) for i, (tile, name) in enumerate(zip(tiles, names, strict=True))]
    return [*there, *there[-2:0:-1]]


def alike(images: Sequence[UInt8[Tensor, "_ _ H W"]]) -> list[UInt8[Tensor, "_ _ H W"]]:
    """Batches of (B, C, H, W) with the channels of all of them: colour where one has it, opacity where one has that."""
    num_colors = 3 if any(each.shape[1] > 2 for each in images) else 1
    some_alpha = any(each.shape[1] in (2, 4) for each in images)
    converted = []
    for each in images:
        has_alpha = each.shape[1] in (2, 4)
        colors = (each[:, :-1] if has_alpha else each).expand(-1, num_colors, -1, -1)
        opacity = each[:, -1:] if has_alpha else torch.full_like(each[:, :1], 255)
        converted.append(torch.cat([colors, opacity], dim=1) if some_alpha else colors)
    return converted


def png_bytes(image: Box, metadata: Mapping[str, str] | None = None) -> bytes:
    """`image` as a PNG file that holds `metadata` as text chunks (keys of at most 79 Latin-1 letters)."""
    info, out = PngInfo(), BytesIO()
    for key, value in (metadata or {}).items():
        info.add_text(key, value)
    image.save(out, "PNG", pnginfo=info, optimize=True)
    return out.getvalue()


def save_png(image: Box, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write `image` and what made it (seed, sampler, steps, guidance, weights): whole or not at all."""
    if path.suffix.lower() != ".png":
        raise InputError(f"expected a picture to end in .png, got {path.name!r}; rename the file")
    write_whole(path, png_bytes(image, metadata))


def _grid(images: Pixels, columns: int, scale: int | None, labels: Sequence[str] | None, gap: int) -> Box:
    """The grid without margin and title."""
    if columns < 1:
        raise InputError(f"expected at least one column, got {columns}; ask for 1 or more")
    tiles = _tiles(images, scale, columns)
    of_images = labels is not None and len(labels) == len(tiles)
    if labels is not None and of_images:
        tiles = _captioned(tiles, labels)
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    if labels is not None and not of_images:
        if len(labels) != len(rows):
            wanted = f"{len(tiles)} labels (one per image) or {len(rows)} (one per row)"
            raise InputError(f"expected {wanted}, got {len(labels)}; give one of these")
        names = _row_labels(labels, _font_size(tiles[0]))
        rows = [[name, *line] for name, line in zip(names, rows, strict=True)]
    return boxes.table(rows, gap, down=0.0 if of_images else 0.5)


def _captioned(tiles: Sequence[Box], labels: Sequence[str]) -> list[Box]:
    """Each tile above its caption, in cells of one width, wide enough for a short word."""
    size = _font_size(tiles[0])
    width = max(tiles[0].width, 5 * size) + 6
    below = [boxes.framed(boxes.text(label, size, width - 6), 3) for label in labels]
    cells = [boxes.column([tile, text], 0) for tile, text in zip(tiles, below, strict=True)]
    widest = max(cell.width for cell in cells)
    return [boxes.pad(cell, widest, cell.height) for cell in cells]


def _row_labels(labels: Sequence[str], size: int) -> list[Box]:
    """Labels before rows, flush left, larger than those of columns: there is room, and the ₜ of xₜ is small."""
    texts = [boxes.text(label, size + 3, width=200) for label in labels]
    width = max(text.width for text in texts) + 8
    return [boxes.pad(text, width, text.height, across=0.0) for text in texts]


def _frame(content: Box, words: str, done: float, across: float) -> Box:
    """A picture of a film, beneath words and a bar that is dark up to `done` in 0..1; `across` as in `boxes.pad`."""
    parts = [boxes.text(words, 18), boxes.progress(done, content.width), content]
    return boxes.framed(boxes.column(parts, 8, across), MARGIN)


def _tiles(images: Pixels, scale: int | None, columns: int) -> list[Box]:
    """Each image as an RGB picture, every pixel a square of `scale` px."""
    if len(images) == 0 or images.shape[1] not in MODES:
        got = tuple(images.shape)
        raise InputError(f"expected (B, 1 to 4, H, W) images, at least one, got {got}; give grey or RGB images")
    scale = _scale(images, columns) if scale is None else scale
    if scale < 1:
        raise InputError(f"expected a scale of at least 1, got {scale}; ask for a whole factor")
    pixels = images.detach().cpu().permute(0, 2, 3, 1).numpy()
    return [_opaque(large) for large in pixels.repeat(scale, axis=1).repeat(scale, axis=2)]


def _opaque(pixels: np.ndarray) -> Box:
    """(H, W, C) uint8 as an RGB picture; a chessboard shows through what is transparent."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
    if pixels.shape[2] not in (2, 4):
        return image.convert("RGB")
    down, across = np.indices(pixels.shape[:2]) // 8
    squares = np.where((down + across) % 2, *CHESS).astype(np.uint8)
    board = Image.fromarray(squares).convert("RGBA")
    return Image.alpha_composite(board, image.convert("RGBA")).convert("RGB")


def _scale(images: Pixels, columns: int) -> int:
    """The whole factor that makes the shorter side about 96 px, and `columns` of them no wider than 1600 px."""
    height, width = images.shape[2:]
    return max(1, min(round(96 / min(height, width)), 1600 // (columns * width)))


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
