"""`python -m benchmarks.perceptual`: which perceptual loss an autoencoder should be trained by.

Autoencoders of one shape see the same images by each loss. Their reconstructions of held-out images are judged by PSNR,
SSIM, the distance by random filters of other seeds than any was trained with, and the Fréchet distance to real held-out
images in the features of a classifier, of another seed than the features trained by. What is found is written to
benchmarks/results/perceptual-<data>.json as it comes; `--table` prints it.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ancestral.data.datasets import load
from ancestral.data.imageset import Parts
from ancestral.evaluation.codec_quality import decoded, quality
from ancestral.evaluation.evaluate import evaluate
from ancestral.evaluation.settings import EvaluationSettings
from ancestral.files import write_whole
from ancestral.hub.autoencoder import read_autoencoder
from ancestral.jobs.perceptual import learned
from ancestral.networks.latents import LatentCodec
from ancestral.presets import for_codec
from ancestral.processes import SINGLE_PROCESS
from ancestral.progress import finish
from ancestral.settings import CodecConfig, merged
from ancestral.tensors import from_pixels
from ancestral.training.codec import CodecTask
from ancestral.training.codec_losses import RandomFilters
from ancestral.training.loop import train
from ancestral.training.run import CodecRunFolder

LOSSES: dict[str, dict[str, Any]] = {
    "none": {"perceptual": 0.0},
    "filters, 0.1": {"perceptual": 0.1},
    "filters, 0.5": {"perceptual": 0.5},
    "filters, 1": {"perceptual": 1.0},
    "gradients, 0.5": {"perceptual": 0.5, "perceptual_by": "gradients"},
    "features, 0.5": {"perceptual": 0.5, "perceptual_by": "features"},
}
JUDGES = range(1000, 1004)  # seeds of filters


def main(argv: Sequence[str] | None = None) -> int:
    """Trains and measures what is missing."""
    parser = argparse.ArgumentParser("python -m benchmarks.perceptual", description=__doc__)
    parser.add_argument("--data", default="textures", help="what is encoded [textures]")
    parser.add_argument("--size", type=int, default=32, help="side of the images, px [32]")
    parser.add_argument("--images", type=int, default=12_000, help="seen by each [12000]")
    parser.add_argument("--precision", default="auto", help="of training [auto]")
    parser.add_argument("--table", action="store_true", help="print what is there, in Markdown")
    words = parser.parse_args(argv)
    file = Path(__file__).parent / "results" / f"perceptual-{words.data}.json"
    found = json.loads(file.read_text()) if file.is_file() else {}
    for name, changes in LOSSES.items() if not words.table else ():
        if name not in found:
            config = merged(for_codec(words.data, words.size, flip=True), {"codec": changes}, name)
            budget = {"minutes": None, "images": words.images, "sample_every_steps": 10**6}
            tree = {"training": budget, "compute": {"precision": words.precision}}
            found[name] = measured(merged(config, tree, name))
            write_whole(file, json.dumps(found, indent=1) + "\n")
    print(table(found))
    return 0


def measured(config: CodecConfig) -> dict[str, float]:
    """What an autoencoder of these settings is worth, trained in a folder that is thrown away."""
    parts = load(config.data)
    with tempfile.TemporaryDirectory() as folder:
        run = CodecRunFolder(Path(folder) / "run")
        perceive = finish(learned(config, parts, run, SINGLE_PROCESS))
        task = CodecTask(config, parts.train, torch.device("cpu"), perceive=perceive)
        for _ in train(task, parts, run, lambda text: None):
            pass
        return judged(read_autoencoder(run.codec), parts)


@torch.no_grad()
def judged(codec: LatentCodec, parts: Parts) -> dict[str, float]:
    """Means over the held-out images."""
    pixels = torch.tensor(parts.test.pixels()).permute(0, 3, 1, 2)
    moments = [codec.moments(part) for part in torch.split(pixels, 64)]
    mean, std = (torch.cat(each) for each in zip(*moments, strict=True))
    made = decoded(codec, mean, (pixels.shape[2], pixels.shape[3]))
    found, filters = quality(pixels, made), [RandomFilters(pixels.shape[1], seed) for seed in JUDGES]
    x, y = from_pixels(pixels), from_pixels(made)
    labels = None if parts.test.labels is None else torch.tensor(parts.test.labels)
    numbers = evaluate(made, labels, parts, EvaluationSettings())["generated against test"].numbers
    return {
        "PSNR": found.psnr.value,
        "SSIM": found.ssim.value,
        "other filters": float(torch.stack([each(x, y).mean() for each in filters]).mean()),
        "frechet": next(number.value for number in numbers if number.name == "frechet"),
        "bits in a latent": float((0.5 * (mean.square() + std.square() - 1) - std.log()).mean()) / 0.6931,
    }


def table(found: dict[str, dict[str, float]]) -> str:
    """Every loss, in Markdown."""
    columns = [*next(iter(found.values()), {})]
    lines = ["| perceptual loss | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for name, numbers in found.items():
        lines.append(f"| {name} | " + " | ".join(f"{numbers[column]:.4g}" for column in columns) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
