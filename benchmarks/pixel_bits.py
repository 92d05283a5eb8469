"""`python -m benchmarks.pixel_bits RUN [--images N]`: which pixels of the test part cost the bits, and at what noise.

For a run on the loss `continuous`, whose integrand is a sum over pixels: it is taken apart by the level a pixel really
has, into the background, the plateau of a stroke and the grey edge between, and by log-SNR.
"""

import argparse
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from ancestral.data.datasets import load
from ancestral.diffusion.level import Noised
from ancestral.pipeline import Pipeline
from ancestral.rng import generator
from ancestral.tensors import Pixels, from_pixels

CLASSES = {"background, level 0": (0, 0), "edge, 1 to 249": (1, 249), "plateau, 250 to 255": (250, 255)}
"""Lowest and highest level of each."""
STRETCHES = (2.0, 4.0, 6.0, 8.0, 10.0)
"""Of log-SNR, between its ends."""
PASSES, BATCH = 48, 50


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pixel_bits", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=200)
    words = parser.parse_args(argv)
    pipeline = Pipeline.load(words.run)
    test = load(pipeline.config.data).test
    chosen = torch.randperm(len(test), generator=generator(0, "pixel bits"))[: words.images]
    pixels = torch.tensor(test.images[chosen.numpy()]).permute(0, 3, 1, 2)
    edges = edges_of(pipeline)
    heads = [f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges)]
    print(f"| pixels | share | {' | '.join(heads)} | bits/dim | bits for each |")
    print("|---" * (len(heads) + 4) + "|")
    bits = integrand(pipeline, pixels, edges)
    for (name, mask), row in zip(masks(pixels).items(), bits, strict=True):
        share, total = float(mask.double().mean()), float(row.sum())
        cells = " | ".join(f"{value:.3f}" for value in row.tolist())
        print(f"| {name} | {share:.3f} | {cells} | {total:.3f} | {total / max(share, 1e-9):.2f} |")
    return 0


def edges_of(pipeline: Pipeline) -> list[float]:
    """The ends of the stretches of log-SNR, rising."""
    clean, noisy = map(float, pipeline.diffusion.schedule.ends_of_log_snr)
    return [noisy, *(edge for edge in STRETCHES if noisy < edge < clean), clean]


def masks(pixels: Pixels) -> dict[str, Tensor]:
    """Where the pixels of each class are, shaped as `pixels`."""
    return {name: (pixels >= low) & (pixels <= high) for name, (low, high) in CLASSES.items()}


@torch.inference_mode()
def integrand(pipeline: Pipeline, pixels: Pixels, edges: Sequence[float]) -> Tensor:
    """Bits per dimension by class and stretch, (3, stretches) float64; all of them add to the continuous bound."""
    schedule, network = pipeline.diffusion.schedule, pipeline.network.eval()
    clean, noisy = map(float, schedule.ends_of_log_snr)
    x0, found, draws = from_pixels(pixels), torch.zeros(len(CLASSES), len(edges) - 1).double(), generator(0, "noise")
    ends, classes = torch.tensor(edges[1:-1]).double(), torch.stack([*masks(pixels).values()])
    for _ in range(PASSES):
        # one noise level to an image, evenly over the range: the order and the offset are drawn
        u = (torch.randperm(len(x0), generator=draws) + torch.rand(1, generator=draws, dtype=torch.float64)) / len(x0)
        for part in torch.split(torch.arange(len(x0)), BATCH):
            level, x = schedule.level_between(u[part]), x0[part]
            eps = torch.randn(x.shape, generator=draws)
            x_t = Noised.at(level, x, eps).x_t.contiguous(memory_format=torch.channels_last)
            output = network(x_t, pipeline.diffusion.network_time(level, x_t))
            eps_hat = pipeline.diffusion.parameterization.decode(output, x_t, *level.over(x_t))[1]
            by_class = ((eps_hat - eps).double().square() * classes[:, part]).flatten(2).sum(2)
            found.index_add_(1, torch.bucketize(level.log_snr, ends), by_class)
    return found * (clean - noisy) / (2 * math.log(2) * PASSES * pixels.numel())


if __name__ == "__main__":
    raise SystemExit(main())
