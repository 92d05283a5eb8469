"""Non-leaking augmentation (Karras et al. 2022, appendix F.2): training images are changed, and the network is told how
each was, by a vector that is 0 for an image as it is. Told 0, as whoever generates tells it, it makes plain images.

Beyond an edge lies what is on this side of it, mirrored. A changed image has 256 levels, as all images have.
"""

import math
from collections.abc import Collection

import torch
from torch import Generator
from torch.nn import functional as F

from ancestral.condition import Augmentation
from ancestral.tensors import Images, PerImage, Pixels, from_pixels, to_pixels

KINDS = {"flip": 1, "translate": 2, "scale": 1, "rotate": 2, "color": 3}
"""Numbers in a vector of each kind, by its name in the settings: mirrored; right, down; larger; cosine - 1 and sine of
an angle; brightness, contrast, saturation."""
SIZE = sum(KINDS.values())
TRANSLATION = 1 / 8  # of a side, at most
SCALE, BRIGHTNESS, CONTRAST, SATURATION = 1.25, 0.4, 2**0.5, 2.0  # what a number of 1 means


def drawn(
    shape: tuple[int, int, int], count: int, chance: float, kinds: Collection[str], draws: Generator
) -> Augmentation:
    """The vectors of so many images of `shape` (C, H, W), each of `kinds` with this chance. Whole pixels are moved; the
    saturation of grey is 0."""
    channels, height, width = shape
    happens = torch.rand(count, len(KINDS), generator=draws) < chance
    happens &= torch.tensor([kind in kinds for kind in KINDS])
    places, even = torch.rand(2, count, generator=draws), 2 * torch.rand(5, count, generator=draws) - 1
    right, down = (_whole(place, most(side)) for place, side in zip(places, (width, height), strict=True))
    scale, turn, brightness, contrast, saturation = even
    color = brightness, contrast, saturation * (num_colors(channels) == 3)
    rotation = (math.pi * turn).cos() - 1, (math.pi * turn).sin()
    vectors = torch.stack([torch.ones(count), right, down, scale, *rotation, *color], dim=1)
    return torch.where(happens.repeat_interleave(torch.tensor([*KINDS.values()]), dim=1), vectors, 0.0)


def changed(pixels: Pixels, vectors: Augmentation) -> Pixels:
    """The images, changed as their vectors say: mirrored, turned, enlarged, moved, then coloured."""
    mirrored, right, down, scale, cosine, sine, *color = vectors.unbind(1)
    x, count = from_pixels(pixels), num_colors(pixels.shape[1])
    height, width = x.shape[2:]
    x = _moved(x, mirrored, right * most(width), down * most(height), SCALE**scale, cosine + 1, sine)
    x = torch.cat([_colored(x[:, :count], *color), x[:, count:]], dim=1)
    return to_pixels(x).contiguous(memory_format=torch.channels_last)


def most(side: int) -> int:
    """Pixels by which an image is moved at most."""
    return max(1, round(TRANSLATION * side))


def num_colors(channels: int) -> int:
    """Channels that are colours; of 2 and of 4 the last is the opacity."""
    return channels - (channels in (2, 4))


def _whole(place: PerImage, most: int) -> PerImage:
    """Of 0 to 1, -most to most in whole numbers, as a share of `most`."""
    return ((2 * most + 1) * place).floor() / most - 1


def _moved(
    x: Images, mirrored: PerImage, right: PerImage, down: PerImage, scale: PerImage, cosine: PerImage, sine: PerImage
) -> Images:
    """From each place of the image the way back to where it was. Places are pixels from the middle."""
    across, below = (torch.arange(side, device=x.device) - (side - 1) / 2 for side in (x.shape[3], x.shape[2]))
    u = (across - right[:, None, None]) / scale[:, None, None]  # (B, 1, W)
    v = (below[:, None] - down[:, None, None]) / scale[:, None, None]  # (B, H, 1)
    cosine, sine, sign = (each[:, None, None] for each in (cosine, sine, 1 - 2 * mirrored))
    u, v = sign * (cosine * u + sine * v), cosine * v - sine * u
    places = torch.stack([2 * u / x.shape[3], 2 * v / x.shape[2]], dim=3)
    return F.grid_sample(x, places, mode="bilinear", padding_mode="reflection", align_corners=False)


def _colored(x: Images, brightness: PerImage, contrast: PerImage, saturation: PerImage) -> Images:
    """Brighter by an amount, then farther from mid-grey by a factor, then from the mean of its colours by another."""
    added, factor, apart = (
        each[:, None, None, None] for each in (BRIGHTNESS * brightness, CONTRAST**contrast, SATURATION**saturation)
    )
    x = (x + added) * factor
    grey = x.mean(1, keepdim=True)
    return grey + apart * (x - grey)
