"""What there is to know of one image, and which images are the same, look the same, or are shared by two classes.

A large photograph is held once and never as floating-point numbers: what is measured comes from its histogram and from
a thumbnail. Two images look the same where their thumbnails of 16 x 16 cells, each less its mean, a' and b', are near
in two ways:

    r.m.s.(a' - b')  <=  ALIKE c   and   max |a' - b'|  <=  ANYWHERE c                                           (1)

c is the contrast, the larger of the two: how far a thumbnail's cells are from the mean of their channel, r.m.s. So the
threshold is a share of what an image shows and not of what it could show. The first catches another size, format or
quality and another brightness, the second lets a small but plain difference count: closed eyes, the hands of a clock. A
crop, a mirrored image and another colour do not look the same.

Nobody compares all pairs. Project on some orthonormal waves, of which none is constant, and divide by c: u and v. Then

    |u - v|^2  <=  |a' - b'|^2 / (|a'| |b'|)  <=  ALIKE^2 / (1 - ALIKE),   lengths less the means of channels    (2)

so a k-d tree of u finds every pair that can pass, and (1) is asked of those alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageStat

from ancestral.data.folder import is_grey
from ancestral.data.images import FileFacts, flatten, load, parse_color, to_array

THUMBNAIL = 16  # side of the thumbnails by which images are compared, px
SAME_COLOUR = 8  # levels of 0..255 within which two pixels count as of one colour
ALIKE = 0.08  # average difference of two images that look the same, as a share of their contrast: at most
ANYWHERE = 0.4  # their difference in any one cell, likewise
FAINTEST = 2.0  # contrast of a thumbnail, in levels of 0..255, under which it shows too little to be compared
WAVES = 4  # waves across and down that pairs are sought by: 16 of grey


class Finding(NamedTuple):
    facts: FileFacts
    height: int  # upright
    width: int
    grey: bool  # whether red, green and blue are equal everywhere
    spread: float  # standard deviation of the channel that varies most, in levels of 0..255
    filled: float  # share of the pixels that have one colour, within `SAME_COLOUR`
    pixels: str  # SHA-256 of size and pixels, in hexadecimal
    thumbnail: np.ndarray  # (16, 16, 3) uint8, each number the average of a cell


@dataclass(frozen=True)
class Alike:
    """At least two files that look like the first; the largest average difference from it, as a share of contrast."""

    files: tuple[str, ...]
    difference: float


def examine(path: Path, background: str) -> Finding:
    """Decodes one file as training would; a BadImage for every fault of it."""
    image, facts = load(path)
    return describe(flatten(image, parse_color(background)), facts)


def describe(image: Image.Image, facts: FileFacts) -> Finding:
    """The finding on an upright, opaque "L" or "RGB" image."""
    pixels = to_array(image)
    content = sha256(str(pixels.shape).encode())
    content.update(np.ascontiguousarray(pixels).data)
    spread = max(ImageStat.Stat(image).stddev)
    thumbnail = np.array(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX).convert("RGB"))
    looks = is_grey(pixels), spread, _filled(image), content.hexdigest(), thumbnail
    return Finding(facts, image.height, image.width, *looks)


def _filled(image: Image.Image) -> float:
    """The share of pixels near the commonest level, of the channel in which that is least."""
    counts = np.array(image.histogram(), dtype=np.float64).reshape(-1, 256)
    commonest = counts.argmax(axis=1)
    near = abs(np.arange(256) - commonest[:, None]) <= SAME_COLOUR
    return float((counts * near).sum(axis=1).min() / counts[0].sum())


def same(found: Mapping[str, Finding]) -> tuple[tuple[str, ...], ...]:
    """Groups of names with the same pixels."""
    return tuple(tuple(names) for names in _by_pixels(found) if len(names) > 1)


def alike(found: Mapping[str, Finding]) -> tuple[Alike, ...]:
    """Groups of names that look like their first, (1), though their pixels differ; each name in one group at most. Of
    images with the same pixels the first stands for all."""
    names = [first for first, *_ in _by_pixels(found)]
    if len(names) < 2:
        return ()
    thumbnails = np.stack([found[name].thumbnail for name in names])
    plain = np.flatnonzero(contrast(thumbnails) >= FAINTEST)
    groups = star_groups(thumbnails[plain])
    return tuple(Alike(tuple(names[plain[i]] for i in group), difference) for group, difference in groups)


def shared(groups: Sequence[Sequence[str]], class_of: Mapping[str, int]) -> tuple[Sequence[str], ...]:
    """The groups whose members lie in more than one class, the second of each in another class than the first."""
    found = []
    for first, *rest in groups:
        others = [name for name in rest if class_of.get(name) != class_of.get(first)]
        if others:
            found.append((first, others[0], *(name for name in rest if name != others[0])))
    return tuple(found)


def _by_pixels(found: Mapping[str, Finding]) -> list[list[str]]:
    """Names, those with the same pixels together."""
    groups: dict[str, list[str]] = {}
    for name, finding in found.items():
        groups.setdefault(finding.pixels, []).append(name)
    return [*groups.values()]


def star_groups(thumbnails: np.ndarray) -> list[tuple[list[int], float]]:
    """(members, the largest difference from the first) of the groups among (N, 16, 16, 3) thumbnails. Who looks like
    somebody in a group, but not like its first, begins another: a film of a thousand frames is not one."""
    from sklearn.neighbors import KDTree

    if len(thumbnails) < 2:
        return []
    shown, size = centred(thumbnails), contrast(thumbnails)
    where = shown @ waves().T / size[:, None] / np.sqrt(shown.shape[1])
    tree, reach = KDTree(where), ALIKE / np.sqrt(1 - ALIKE) + 1e-5
    taken, groups = np.zeros(len(shown), bool), []
    for i in np.flatnonzero(tree.query_radius(where, reach, count_only=True) > 1):
        if taken[i]:
            continue
        near = tree.query_radius(where[i : i + 1], reach)[0]
        near = np.sort(near[(near > i) & ~taken[near]])
        apart, most = abs(shown[near] - shown[i]), np.maximum(size[near], size[i])
        average = np.sqrt((apart**2).mean(axis=1)) / most
        passed = (average <= ALIKE) & (apart.max(axis=1) <= ANYWHERE * most)
        if passed.any():
            taken[near[passed]] = True
            groups.append(([int(i), *near[passed].tolist()], float(average[passed].max())))
    return groups


def centred(thumbnails: np.ndarray) -> np.ndarray:
    """(N, 16, 16, 3) uint8 -> (N, 768) float32, each less its mean."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat


def contrast(thumbnails: np.ndarray) -> np.ndarray:
    """(N,) in levels of 0..255: how far cells are from the mean of their channel."""
    return np.sqrt(thumbnails.reshape(len(thumbnails), -1, 3).var(axis=1, dtype=np.float32).mean(axis=1))


def waves() -> np.ndarray:
    """(15, 768) float32: orthonormal cosines across and down a grey thumbnail, the constant left out."""
    cells = (np.arange(THUMBNAIL) + 0.5) / THUMBNAIL
    lines = np.cos(np.pi * np.arange(WAVES)[:, None] * cells)
    lines /= np.linalg.norm(lines, axis=1, keepdims=True)
    both = np.einsum("ay,bx->abyx", lines, lines).reshape(WAVES**2, -1)[1:]
    return (np.repeat(both, 3, axis=1) / np.sqrt(3)).astype(np.float32)
