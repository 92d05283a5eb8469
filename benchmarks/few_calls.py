"""`python -m benchmarks.few_calls RUN`: a few network calls against ancestral sampling at a thousand, on a trained run.

Each choice draws as many images as the others, by three sampling seeds, with seeds that `ancestral sweep` has not
seen: so a sampler that the sweep has chosen is not judged by the images it was chosen for. What is compared is the
Fréchet distance to the test images, in features of a classifier of the data set, and the share of images in which it
sees the class that was asked for. Three seeds tell how far to trust a mean.

Results go to benchmarks/results/few-calls-<name of the run>.json as they come; what is there is not drawn again.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ancestral.data.datasets import load
from ancestral.data.imageset import ImageSet, Parts
from ancestral.evaluation.evaluate import as_pixels, extractor_of
from ancestral.evaluation.features import Extractor
from ancestral.evaluation.metrics import frechet_distance, neighbourhood
from ancestral.files import write_whole
from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import build_sampler
from ancestral.progress import finish
from ancestral.rng import mix
from ancestral.settings import ComputeSettings, SamplingSettings, parse

SEEDS = (1, 2, 3)
LONG = "ancestral,trailing,1000"
MOST_TEST_IMAGES = 5000

Row = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what is missing, then prints the table."""
    words = _parser().parse_args(argv)
    pipeline = Pipeline.load(words.run, compute=ComputeSettings(precision=words.precision))
    parts = load(pipeline.config.data)
    file = Path(words.out) / f"few-calls-{Path(words.run).resolve().name}.json"
    about = {"weights": pipeline.weights_hash(), "images": words.images, "test_images": len(tested(parts))}
    record = _before(file, about)
    extractor = finish(extractor_of(parts, 0))
    for seed in SEEDS:
        for name in words.choices:
            for guidance in words.guidance:
                key = f"{name},{guidance:g},{seed}"
                if key not in record["rows"]:
                    record["rows"][key] = measured(pipeline, parts, extractor, name, guidance, seed, words.images)
                    write_whole(file, json.dumps(record, indent=1) + "\n")
                    print(key, record["rows"][key], flush=True)
    record["accuracy"] = extractor.accuracy
    record["floor"] = floor(parts, extractor, words.images)
    write_whole(file, json.dumps(record, indent=1) + "\n")
    print("\n".join(table(record)))
    return 0


def measured(
    pipeline: Pipeline, parts: Parts, extractor: Extractor, name: str, guidance: float, seed: int, images: int
) -> Row:
    """What one choice's images of one seed are worth."""
    settings = asked(pipeline, name, guidance)
    labels = torch.arange(images) % pipeline.num_classes if pipeline.num_classes else None
    began = time.monotonic()
    drawn = pipeline.generate([mix(seed, "few calls", i) for i in range(images)], labels, settings)
    seconds, real = time.monotonic() - began, extractor.features(as_pixels(tested(parts)))
    features = extractor.features(drawn)
    near = neighbourhood(real[:images], features)
    agreement = None
    if labels is not None and extractor.kind == "labels":
        agreement = float((extractor.classify(drawn) == labels).double().mean())
    return {
        "calls": build_sampler(settings, pipeline.diffusion).network_calls(settings.steps),
        "frechet": frechet_distance(features, real),
        "agreement": agreement,
        "recall": near.recall.value,
        "coverage": near.coverage.value,
        "seconds": seconds,
    }


def asked(pipeline: Pipeline, name: str, guidance: float) -> SamplingSettings:
    """The settings that `sampler,grid,steps` name; clipping is the pipeline's."""
    sampler, grid, steps = name.split(",")
    values = {
        "sampler": sampler,
        "grid": grid,
        "steps": steps,
        "guidance": guidance,
        "clip": pipeline.config.sampling.clip,
    }
    return parse(SamplingSettings, values, name)


def tested(parts: Parts) -> ImageSet:
    """The test images that count."""
    return parts.test.sliced(0, MOST_TEST_IMAGES)


def floor(parts: Parts, extractor: Extractor, images: int) -> float:
    """Fréchet distance of as many training images to the test images."""
    train, real = (extractor.features(as_pixels(each)) for each in (parts.train.sliced(0, images), tested(parts)))
    return frechet_distance(train, real)


def table(record: Row) -> list[str]:
    """Markdown: a line for each choice and guidance, means of the seeds with their standard errors."""
    groups: dict[str, list[Row]] = {}
    for key, row in record["rows"].items():
        groups.setdefault(key.rpartition(",")[0], []).append(row)
    usual = statistics.mean(row["frechet"] for row in groups[f"{LONG},1"]) if f"{LONG},1" in groups else math.nan
    lines = [
        "| sampler, grid, steps, guidance | calls | Fréchet | over ancestral's | agreement | recall | coverage |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rows in groups.items():
        cells = [_shown(rows, quantity) for quantity in ("frechet", "agreement", "recall", "coverage")]
        ratio = statistics.mean(row["frechet"] for row in rows) / usual
        lines.append(f"| {name} | {rows[0]['calls']} | {cells[0]} | {ratio:.3f} | {' | '.join(cells[1:])} |")
    facts = f"training images against test images: {record['floor']:.3f}; accuracy of the classifier"
    return [*lines, "", f"{facts}: {record['accuracy']:.4f}"]


def _shown(rows: Sequence[Row], quantity: str) -> str:
    """Mean and standard error over the seeds; nothing where nothing was measured."""
    values = [row[quantity] for row in rows if row[quantity] is not None]
    if not values:
        return ""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {error:.3f}"


def _before(file: Path, about: Row) -> Row:
    """The record so far, or a new one where the file is of other weights or another number of images."""
    record: Row = json.loads(file.read_text()) if file.is_file() else {}
    return record if about.items() <= record.items() else {**about, "rows": {}}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.few_calls", description=__doc__)
    parser.add_argument("run", help="folder of a trained run")
    parser.add_argument("choices", nargs="+", metavar="SAMPLER,GRID,STEPS", help=f"such as {LONG}")
    parser.add_argument("--guidance", type=float, nargs="+", default=[1.0], metavar="NUMBER", help="[1]")
    parser.add_argument("--images", type=int, default=400, metavar="N", help="drawn by each, for each seed [400]")
    parser.add_argument("--precision", default="auto", help="as --compute.precision [auto]")
    parser.add_argument("--out", default="benchmarks/results", metavar="DIR", help="[benchmarks/results]")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
