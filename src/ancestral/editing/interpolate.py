"""Paths between two noises.

The mean of two independent normal vectors has half their variance: it lies inside the shell where noise lives, and
what a network makes of it is flat and grey. Along the great circle it stays on the shell (White 2016):

    d(u) = [sin((1 - u) w) d_a + sin(u w) d_b] / sin w,   cos w = d_a . d_b,   d = x / |x|      (1)
    x(u) = [(1 - u) |a| + u |b|] d(u)                                                           (2)

(1) has norm 1 for every u, and turning both ends turns the path, so between directions that are uniform on the sphere
d(u) is uniform. The textbook form applies (1) to a and b themselves, and keeps the norm only where theirs are equal.

Between independent noises the exact law is kept by the arc that takes their angle for the right angle it nearly is:

    x(u) = cos(u pi / 2) a + sin(u pi / 2) b ~ N(0, I)                                          (3)

Inverted images (`inversion.py`) are not independent: between them, (2).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from ancestral.errors import InputError
from ancestral.tensors import Data, broadcast_like


def slerp(a: Data, b: Data, u: float) -> Data:
    """x(u) of (2) for every pair of images, (B, ...): a at u = 0, b at u = 1. Ends must not be opposite."""
    norm_a, norm_b = (x.flatten(1).norm(dim=1) for x in (a, b))
    if not bool((torch.minimum(norm_a, norm_b) > 0).all()):
        raise InputError("expected two ends other than 0, got one that has no direction")
    ends = a / broadcast_like(norm_a, a), b / broadcast_like(norm_b, b)
    # by the half-angle: accurate where the ends nearly agree, at which an arc cosine is not
    apart, together = ((ends[0] + sign * ends[1]).flatten(1).norm(dim=1) for sign in (-1, 1))
    angle = 2 * torch.atan2(apart, together)
    if bool((together < 1e-6).any()):
        raise InputError("expected two ends that are not opposite, got a and -a; take another seed")
    parts = (part * torch.sinc(part * angle / math.pi) / torch.sinc(angle / math.pi) for part in (1 - u, u))
    direction = sum(broadcast_like(weight, a) * end for weight, end in zip(parts, ends, strict=True))
    return broadcast_like(torch.lerp(norm_a, norm_b, u), a) * direction


def arc(a: Data, b: Data, u: float) -> Data:
    """x(u) of (3), (B, ...): normal for independent normal ends, and for no others."""
    return math.cos(u * math.pi / 2) * a + math.sin(u * math.pi / 2) * b


def path(a: Data, b: Data, count: int) -> Float[Tensor, "count B ..."]:
    """`count` points of (2), evenly spaced in u, both ends among them."""
    if count < 2:
        raise InputError(f"expected at least 2 points of a path, got {count}")
    return torch.stack([slerp(a, b, k / (count - 1)) for k in range(count)])
