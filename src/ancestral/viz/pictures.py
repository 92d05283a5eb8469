"""Grids, strips and films of images, with labels, and files that say how they were made.

Images are enlarged by whole factors, each pixel becoming a square: never blurred, never resampled.
"""

from collections.abc import Mapping, Sequence
from io import BytesIO
from math import ceil, isqrt
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
from ancestral.viz.png_text import read_metadata as read_metadata

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
SQUARE, CHESS = 8, (255, 204)
"""Side, px, and the two greys of the chessboard that shows through transparency."""


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
        gap: between images, px.

    Raises:
        InputError: no images, channels other than 1 to 4, columns or scale below 1, labels for neither images nor rows.
    """
    columns = _columns(len(images)) if columns is None else columns
    return boxes.framed(_titled(_grid(images, columns, scale, labels, gap), title), MARGIN)


def strip(rows: Sequence[tuple[str, UInt8[Tensor, "S _ H W"]]], times: Sequence[int]) -> Box:
    """Labelled rows of a chain at the same timesteps: xₜ above the estimate of x₀, or one schedule above another.

    Args:
        rows: label and (S, C, H, W) images, in the order of `times`; C may differ from row to row.
        times: S timesteps, set above the columns.
    """
    for label, images in rows:
        if len(images) != len(times) or images.shape[2:] != rows[0][1].shape[2:]:
            wanted = (len(times), "C", *rows[0][1].shape[2:])
            raise InputError(
                f"expected row {label!r} of shape {wanted}, got {tuple(images.shape)}; give one per timestep"
            )
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
    frames = []
    for *pair, t in zip(frames_x_t, frames_x0, times, strict=True):
        grids = [_grid(images, columns, scale, None, gap=3) for images in pair]
        parts = [boxes.column([boxes.text(n, 18), g], 6, across=0.0) for n, g in zip(names, grids, strict=True)]
        arrange = boxes.column if grids[0].width > grids[0].height else boxes.row
        frames.append(_frame(arrange(parts, MARGIN), f"t = {t}", 1 - t / max(times[0], 1), across=0.0))
    return frames


def morph(images: Pixels, names: Sequence[str]) -> list[Box]:
    """One picture for each image of a path, with its name and a bar that fills up; there and back again.

    Args:
        images: (B, C, H, W), in the order of the path.
        names: what stands above each.
    """
    scale = _film_scale(images[:1], 1)
    tiles = [_grid(images[i : i + 1], 1, scale, None, gap=3) for i in range(len(names))]
    last = max(len(names) - 1, 1)
    there = [_frame(tile, name, i / last, 0.5) for i, (tile, name) in enumerate(zip(tiles, names, strict=True))]
    return [*there, *there[-2:0:-1]]


def alike(images: Sequence[UInt8[Tensor, "_ _ H W"]]) -> list[UInt8[Tensor, "_ _ H W"]]:
    """Batches of (B, C, H, W) with the channels of all of them: colour where one has it, opacity where one has that."""
    color = 3 if any(each.shape[1] > 2 for each in images) else 1
    alpha = any(each.shape[1] in (2, 4) for each in images)
    return [_with_channels(each, color, alpha) for each in images]


def _with_channels(images: Pixels, color: int, alpha: bool) -> UInt8[Tensor, "B _ H W"]:
    own = images.shape[1] - (images.shape[1] in (2, 4))
    shown = images[:, :own].expand(-1, color, -1, -1)
    if not alpha:
        return shown
    opacity = images[:, own:] if images.shape[1] > own else torch.full_like(images[:, :1], 255)
    return torch.cat([shown, opacity], dim=1)


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
    count = ceil(len(tiles) / columns)
    if labels is not None and len(labels) == len(tiles):
        return boxes.table(_rows(_captioned(tiles, labels), columns), gap, down=0.0)
    if labels is not None and len(labels) == count:
        names = _row_labels(labels, _font_size(tiles[0]))
        return boxes.table([[name, *line] for name, line in zip(names, _rows(tiles, columns), strict=True)], gap)
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


def _row_labels(labels: Sequence[str], size: int) -> list[Box]:
    """Labels before rows, larger than those of columns: there is room, and the ₜ of xₜ is small."""
    return boxes.flush_left([boxes.text(label, size + 3, LABEL_WIDTH) for label in labels], room=8)


def _titled(box: Box, title: str | None) -> Box:
    if title is None:
        return box
    return boxes.column([boxes.text(title, 18, max(box.width, 240)), box], 10, across=0.0)


def _frame(content: Box, words: str, done: float, across: float) -> Box:
    """A picture of a film, beneath words and a bar that is dark up to `done` in 0..1; `across` as in `boxes.pad`."""
    return boxes.framed(
        boxes.column([boxes.text(words, 18), boxes.progress(done, content.width), content], 8, across), MARGIN
    )


def _tiles(images: Pixels, scale: int | None, columns: int) -> list[Box]:
    """Each image as an RGB picture, every pixel a square of `scale` px."""
    if len(images) == 0 or images.shape[1] not in MODES:
        raise InputError(
            f"expected (B, 1 to 4, H, W) images, at least one, got {tuple(images.shape)}; give grey or RGB, with or "
            "without transparency"
        )
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
    down, across = np.indices(pixels.shape[:2]) // SQUARE
    squares = np.where((down + across) % 2, *CHESS).astype(np.uint8)
    board = Image.fromarray(squares).convert("RGBA")
    return Image.alpha_composite(board, image.convert("RGBA")).convert("RGB")


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
