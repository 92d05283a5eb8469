"""`python -m benchmarks.caching RUN`: what feature caching saves and costs on a trained run.

For every number of steps, chains with and without a cache are timed in alternation; then images of the same seeds are
drawn and measured twice: their Fréchet distance to the test part, which nobody trained on, and how far they are, in
levels of 0..255, from the uncached images of the same number of steps. Whether a cache is worth having is read across
the rows: fewer steps without one also save time.

Results go to benchmarks/results/caching-<name of the run>.json as they come; rows that are there are not made again.
"""

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ancestral.data.datasets import load
from ancestral.data.imageset import Parts
from ancestral.evaluation.evaluate import evaluate
from ancestral.evaluation.settings import EvaluationSettings
from ancestral.files import write_whole
from ancestral.pipeline import Pipeline
from ancestral.settings import SamplingSettings
from ancestral.tensors import Labels, Pixels
from benchmarks.pairs import Case, Contestant, Measured, compare, timed

CACHES = (1, 2, 3, 5)
STEPS = (10, 25, 50, 100)
ROUNDS = 5

Row = dict[str, float]
"""What was measured of one number of steps with one cache."""


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what is missing, then prints the table."""
    words = _parser().parse_args(argv)
    pipeline = Pipeline.load(words.run)
    file = Path(words.out) / f"caching-{Path(words.run).resolve().name}.json"
    record = _before(file, {"weights": pipeline.weights_hash(), "images": words.images})
    if not words.table:
        parts = load(pipeline.config.data)
        for steps in (each for each in words.steps if str(each) not in record["steps"]):
            record["steps"][str(steps)] = rows(pipeline, parts, steps, words.images, words.timed, words.rounds)
            write_whole(file, json.dumps(record, indent=1) + "\n")
            print(f"{steps} steps measured", flush=True)
    print(table(record))
    return 0


def _before(file: Path, about: dict[str, Any]) -> dict[str, Any]:
    """The record so far, or a new one where the file is of other weights or another number of images."""
    record: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    return record if about.items() <= record.items() else {**about, "steps": {}}


def rows(pipeline: Pipeline, parts: Parts, steps: int, images: int, timed_images: int, rounds: int) -> dict[str, Row]:
    """Cache -> what it costs and gives, at one number of steps."""
    labels, found = labels_for(pipeline, images), {}
    uncached = draw(pipeline, labels, images, settings(pipeline, steps, 1))
    for cache, measured in times(pipeline, steps, timed_images, rounds).items():
        drawn = draw(pipeline, labels, images, settings(pipeline, steps, cache))
        distance = evaluate(drawn, labels, parts, EvaluationSettings())["generated against test"]["frechet"]
        found[str(cache)] = {
            "seconds": measured.value.median,
            **({} if measured.ratio is None else vars(measured.ratio)),
            "frechet": distance.value,
            "frechet_error": distance.standard_error or 0.0,
            "levels_from_uncached": float((drawn.double() - uncached.double()).square().mean().sqrt()),
        }
    return found


def times(pipeline: Pipeline, steps: int, images: int, rounds: int) -> dict[int, Measured]:
    """Seconds an image, whole chains in alternation; the ratio is that to the uncached chain."""
    labels = labels_for(pipeline, images)
    contestants = [
        Contestant(
            str(cache), timed(partial(draw, pipeline, labels, images, settings(pipeline, steps, cache)), 0.2, images)
        )
        for cache in CACHES
    ]
    found = compare(Case(f"{steps} steps", contestants), rounds).measured
    return dict(zip(CACHES, found, strict=True))


def settings(pipeline: Pipeline, steps: int, cache: int) -> SamplingSettings:
    """The run's own way to draw, but for steps and cache."""
    return pipeline.config.sampling.model_copy(update={"steps": steps, "cache": cache})


def draw(pipeline: Pipeline, labels: Labels | None, images: int, how: SamplingSettings) -> Pixels:
    """The images of seeds 0, 1, 2, ..."""
    return pipeline.generate(range(images), labels, how)


def labels_for(pipeline: Pipeline, images: int) -> Labels | None:
    """Every class in turn, where there are classes."""
    return torch.arange(images) % pipeline.num_classes if pipeline.num_classes else None


def table(record: dict[str, Any]) -> str:
    """All rows in Markdown."""
    columns = ("steps", "cache", "ms an image", "time", "min .. max", "Fréchet", "levels from uncached")
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for steps, caches in sorted(record["steps"].items(), key=lambda item: int(item[0])):
        lines += [f"| {steps} | {cache} | {_cells(row)} |" for cache, row in caches.items()]
    return "\n".join(lines)


def _cells(row: Row) -> str:
    ratio = f"{row['median']:.2f} | {row['low']:.2f} .. {row['high']:.2f}" if "median" in row else "1 | "
    distance = f"{row['frechet']:.2f} ± {row['frechet_error']:.2f}"
    return f"{1e3 * row['seconds']:.1f} | {ratio} | {distance} | {row['levels_from_uncached']:.1f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.caching", description=__doc__)
    parser.add_argument("run", help="folder of a trained run, whose data set is at hand")
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS, help="numbers of steps [10 25 50 100]")
    parser.add_argument("--images", type=int, default=500, help="images that distances are measured on [500]")
    parser.add_argument("--timed", type=int, default=16, help="images of a timed chain [16]")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timed rounds [5]")
    parser.add_argument("--table", action="store_true", help="print what is there, in Markdown")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results"), help="folder of the results")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
