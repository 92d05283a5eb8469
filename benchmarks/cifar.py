"""`python -m benchmarks.cifar`: trains the recipe for one GPU on CIFAR-10, draws, measures, and writes it all down.

The run itself stays in a folder of its own, where the same command goes on with it and `ancestral report` finds it. Of
its speed the median over the lines of its log counts, without the first, in which the network was compiled. Operations
are counted, not estimated: see `benchmarks/flops.py`.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from ancestral.data.datasets import load
from ancestral.data.imageset import Parts
from ancestral.evaluation.evaluate import evaluate
from ancestral.evaluation.settings import EvaluationSettings
from ancestral.files import write_whole
from ancestral.pipeline import Pipeline
from ancestral.presets import PRESETS
from ancestral.settings import Config, merged
from ancestral.tensors import Labels, Pixels
from ancestral.training.logs import read_log
from ancestral.training.loop import train
from ancestral.training.run import RunFolder
from ancestral.viz.pictures import grid, save_png
from benchmarks.flops import step_flops
from benchmarks.machine import machine
from benchmarks.ours import call

PRESET = "cifar10-gpu"
QUICK: dict[str, Any] = {
    "network": {"widths": (16, 32), "layers": 1, "attention": (1,), "norm_groups": 8},
    "training": {"minutes": None, "steps": 12, "batch_size": 8, "warmup_images": 40, "log_every_steps": 3},
    "sampling": {"steps": 4},
    "compute": {"compile": "no"},
}
"""The same in miniature: to see that everything runs."""
ON_GRID = 100


@dataclass(frozen=True)
class Size:
    """How much is generated and compared. None of `training_images`: all there are."""

    generated: int
    compared: int
    training_images: int | None
    test_images: int | None


WHOLE, MINIATURE = Size(10_000, 10_000, None, None), Size(16, 16, 600, 100)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what the words ask for; 2 where there is no GPU and nobody insisted."""
    words = _parser().parse_args(argv)
    if not (torch.cuda.is_available() or words.quick or words.minutes):
        print("expected a GPU; rehearse with --quick, or give --minutes to train on this machine", file=sys.stderr)
        return 2
    size, here = MINIATURE if words.quick else WHOLE, machine()
    config = recipe(words.quick, words.minutes)
    parts = parts_of(config, size)
    file = words.out / f"{here.slug}-cifar{'-quick' if words.quick else ''}.json"
    with tempfile.TemporaryDirectory() as passing:
        run = RunFolder(Path(passing) / "run" if words.quick else words.run)
        trained(config, parts, run)
        pipeline = Pipeline.load(run.path)
        labels = torch.arange(size.generated) % pipeline.num_classes
        generated, seconds = timed_generating(pipeline, labels)
        found = evaluate(generated, labels, parts, EvaluationSettings(max_images=size.compared))
        record = {
            "machine": asdict(here),
            "config": config.model_dump(mode="json"),
            "training": training_record(run, config, pipeline),
            "generating": {"images": size.generated, "network_calls": config.sampling.steps, "seconds": seconds},
            "evaluation": found.model_dump(mode="json"),
        }
    write_whole(file, json.dumps(record, indent=1) + "\n")
    save_png(grid(generated[:ON_GRID], columns=10), file.with_suffix(".png"))
    print(json.dumps({name: record[name] for name in ("training", "generating")}, indent=1))
    print(f"distance to the test part {found['generated against test']['frechet'].value:.4g}, written: {file}")
    return 0


def recipe(quick: bool, minutes: float | None) -> Config:
    """The preset, for so many minutes, or in miniature."""
    config = PRESETS[PRESET]()
    if quick:
        return merged(config, QUICK, "the rehearsal")
    return merged(config, {"training": {"minutes": minutes}}, "--minutes") if minutes else config


def parts_of(config: Config, size: Size) -> Parts:
    """The data set, or as much of it as a rehearsal can wait for."""
    parts = load(config.data)
    train = parts.train.sliced(0, size.training_images or len(parts.train))
    return parts._replace(train=train, test=parts.test.sliced(0, size.test_images or len(parts.test)))


def trained(config: Config, parts: Parts, run: RunFolder) -> None:
    """Trains to the end of the budget, or goes on to it, saying where it is."""
    for progress in train(Pipeline.fresh(config, parts.train.spec), parts, run):
        loss = (progress.record or {}).get("held_out_loss")
        if loss is not None:
            print(f"{progress.fraction:4.0%} step {progress.step:,}: held-out loss {loss:.5f}", flush=True)


def timed_generating(pipeline: Pipeline, labels: Labels) -> tuple[Pixels, float]:
    """An image for every label, from seeds 0, 1, 2, ..., and the seconds it took."""
    start = time.perf_counter()
    generated = pipeline.generate(range(len(labels)), labels)
    return generated, time.perf_counter() - start


def training_record(run: RunFolder, config: Config, pipeline: Pipeline) -> dict[str, Any]:
    """What the run's logs say of its speed and its end."""
    log, timing = read_log(run.log), read_log(run.timing)
    batch = config.training.batch_size
    operations = step_flops(pipeline.network, call, (batch, *pipeline.spec.shape)) / batch
    rate = median(line["images_per_second"] for line in timing[1:] or timing)
    watching, seconds = sum(line["watching_seconds"] for line in timing), 60 * timing[-1]["minutes"]
    return {
        "images": log[-1]["images"],
        "steps": log[-1]["step"],
        "minutes": timing[-1]["minutes"],
        "images_per_second": rate,
        "gflops_per_image": operations / 1e9,
        "tflops_per_second": rate * operations / 1e12,
        "share_of_watching": watching / seconds,
        "held_out_loss": next(line["held_out_loss"] for line in reversed(log) if "held_out_loss" in line),
        "compute": json.loads(run.compute.read_text(encoding="utf-8")),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.cifar", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tiny network for a few steps: to see that all runs")
    parser.add_argument("--minutes", type=float, help=f"of training [{PRESETS[PRESET]().training.minutes:.0f}]")
    parser.add_argument("--run", type=Path, default=Path("runs") / PRESET, help="folder of the run")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
