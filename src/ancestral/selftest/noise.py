"""Noise without state and the map to pixels: recorded numbers, and that only the seed matters."""

import torch

from ancestral.oracles import double
from ancestral.rng import ImageNoise, generator, mix
from ancestral.selftest.checks import Check, apart, largest
from ancestral.tensors import from_pixels, to_pixels

SEED_OF_17 = 5955173394685240372
"""`mix(17, "sample")`, as recorded."""
STREAMS = ("sample", "chain", "probes", "measurement")
"""Names under which noise is drawn."""
DRAWN = (-1.4930069097636214, 1.5770358482092568, 0.6468870969403772)
"""First numbers of image 17."""


def recorded(_: torch.device) -> float:
    """Image 17's own seed and its first draws, as they were recorded; draws are made on the CPU for every device."""
    first = ImageNoise([17], (3,), dtype=torch.float64)()[0]
    return apart(first, double(*DRAWN)) + abs(mix(17, "sample") - SEED_OF_17)


def same_in_any_batch(device: torch.device) -> float:
    """Image 17 alone, among others, asked again: the second draw of each."""

    def second(seeds: list[int]) -> torch.Tensor:
        noise = ImageNoise(seeds, (1, 4, 4), device)
        noise()
        return noise()

    return apart(second([17])[0], second([3, 17, 5])[1]) + apart(second([17, 2])[0], second([17])[0])


def moments(_: torch.device) -> float:
    """Mean, variance and correlation of two neighbouring seeds over 20,000 numbers, in standard errors."""
    one, two = ImageNoise([1, 2], (20_000,), dtype=torch.float64)()
    root = 20_000**0.5
    off = (one.mean() * root, (one.square().mean() - 1) * root / 2**0.5, (one * two).mean() * root)
    return largest(abs(float(each)) for each in off)


def positions(_: torch.device) -> float:
    """How many of 3000 positions share their first number with another."""
    first = [float(torch.rand((), generator=generator(seed, step, "t"), dtype=torch.float64))
             for seed in range(3) for step in range(1000)]  # fmt: skip
    return float(3000 - len({*first}))


def alike(_: torch.device) -> float:
    """The largest correlation between streams, seeds and draws of an image, 4096 numbers each, in standard errors.

    The first draw is x_T, the later ones are the noise of the steps: a stream by another name is another noise.
    """
    noises = [ImageNoise([7, 8], (4096,), dtype=torch.float64, stream=name) for name in STREAMS]
    draws = torch.cat([noise() for noise in noises for _ in range(3)])
    found = draws @ draws.T / 4096**0.5
    return float((found - found.diagonal().diag()).abs().max())


def read_alike(_: torch.device) -> float:
    """How many positions share a seed with another: of numbers that read alike in a row, and with one part changed."""
    parts: list[tuple[int, *tuple[int | str, ...]]]
    parts = [(1, 23), (12, 3), (1, 2, 3), (123,), (1, "23"), (1, 23, "t"), (1, 23, "eps"), (2, 23), (1, 24), (1, 23, 4)]
    parts += [(1, 23, "t", 4), (1, 23, "t", 5), (1, "t", 23), (0, "t", 23), (-1, "t", 23), (1, "t", -23)]
    text = {"/".join(map(str, part)) for part in parts}
    return float(len(text) - len({mix(*part) for part in parts}))


def pixels(device: torch.device) -> float:
    """0..255 to [-1, 1] and back; 0, 51, 255 are -1, -0.6, 1."""
    every = torch.arange(256, device=device).to(torch.uint8)
    known = from_pixels(every)[torch.tensor([0, 51, 255], device=device)].double()
    return apart(to_pixels(from_pixels(every)).int(), every.int()) + apart(known, double(-1, -0.6, 1, device=device))


CHECKS = (
    Check("recorded numbers of seed 17", 1e-12, recorded),
    Check("image 17 alone is image 17 in a batch", 0, same_in_any_batch),
    Check("mean, variance, correlation, in standard errors", 4, moments),
    Check("no two positions share their numbers", 0, positions),
    Check("streams, seeds and draws: unrelated, in standard errors", 5, alike),
    Check("no two positions share a seed", 0, read_alike),
    Check("pixels to [-1, 1] and back", 1e-7, pixels),
)
