"""`python -m benchmarks.recipes`: which recipe gives the best images for a minute of this machine.

Every variant changes one thing of a base recipe. First the speed of each is measured in pairs against the base's. Then
each is trained for the number of images that it would see in the same minutes on an idle machine, so that neither
other work nor the order of the runs can favour any; several at a time, on one thread each. What counts is measured on
images generated afterwards against images not trained on, in the features of a classifier trained on the training part.

Results go to benchmarks/results/recipes-<base>-<seconds>s.json as they come; runs that are there are not made again.
`--table` prints them: the mean over the training seeds, and where there are several their standard error.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

import torch

from ancestral.data.datasets import load
from ancestral.evaluation.evaluate import evaluate
from ancestral.evaluation.settings import EvaluationSettings
from ancestral.files import write_whole
from ancestral.pipeline import Pipeline
from ancestral.presets import PRESETS
from ancestral.settings import Config, SamplingSettings, merged
from ancestral.training.denoiser import Denoising
from ancestral.training.loop import train
from ancestral.training.run import RunFolder
from ancestral.training.step import Trainer
from benchmarks.pairs import Case, Contestant, compare, timed
from benchmarks.recipe_variants import BASES, Changes

IMAGES = 500
ROUNDS = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Measures speeds, then trains and measures what is missing."""
    words = _parser().parse_args(argv)
    file = Path(words.out) / f"recipes-{words.base}-{round(60 * words.minutes)}s.json"
    if words.table:
        print(table(json.loads(file.read_text())))
        return 0
    if words.one:
        name, seed, images = words.one[0], int(words.one[1]), int(words.one[2])
        print(json.dumps(quality(words.base, BASES[words.base].variants[name], seed, images)))
        return 0
    about = {"minutes": words.minutes, "rate": words.rate}
    record = json.loads(file.read_text()) if file.is_file() else {**about, "speeds": {}, "runs": {}}
    wanted = words.only or [*BASES[words.base].variants]
    for name in wanted:
        if name not in record["speeds"]:
            record["speeds"][name] = speed(words.base, BASES[words.base].variants[name])
            print(name, record["speeds"][name], flush=True)
            write_whole(file, json.dumps(record, indent=1) + "\n")
    if words.speeds:
        return 0
    jobs = [(name, seed) for seed in range(words.seeds) for name in wanted if f"{name}/{seed}" not in record["runs"]]
    with ThreadPoolExecutor(words.at_once) as pool:
        budgets = {name: budget(words.minutes, words.rate, record["speeds"][name]["ratio"]) for name in wanted}
        runs = {pool.submit(_apart, words.base, name, seed, budgets[name]): f"{name}/{seed}" for name, seed in jobs}
        for done in as_completed(runs):
            record["runs"][runs[done]] = done.result()
            print(runs[done], done.result(), flush=True)
            write_whole(file, json.dumps(record, indent=1) + "\n")
    return 0


def _apart(base: str, name: str, seed: int, images: int) -> dict[str, float]:
    """`quality` in a process of its own, on one thread."""
    command = [sys.executable, "-m", "benchmarks.recipes", base, "--one", name, str(seed), str(images)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def budget(minutes: float, rate: float, ratio: float) -> int:
    """Images that a variant sees in `minutes` where the base sees `rate` a second and the variant `ratio` as many."""
    return round(60 * minutes * rate * ratio)


def recipe(base: str, changes: Changes, seed: int = 0, images: int | None = None) -> Config:
    """The base recipe with `changes`, and a budget in images."""
    config = merged(merged(PRESETS[base](), BASES[base].changes, "the base"), changes, "the variant")
    budget = {"minutes": None, "images": images or 10_000, "sample_every_steps": 10**6, "validate_every_steps": 10**6}
    return merged(config, {"seed": seed, "training": {**budget, "checkpoint_every_minutes": 1e6}}, "the budget")


def speed(base: str, changes: Changes) -> dict[str, float]:
    """Images a second of a variant, over those of the base, in alternation."""
    return speed_of(recipe(base, {}), recipe(base, changes))


def speed_of(*both: Config) -> dict[str, float]:
    """The same of any two recipes for the same data, the second over the first."""
    parts = load(both[0].data)
    trainers = [Trainer(Denoising(Pipeline.fresh(config, parts.train.spec)), parts.train) for config in both]
    contestants = [
        Contestant(name, timed(trainer.advance, 0.4, trainer.settings.batch_size))
        for name, trainer in zip(("base", "variant"), trainers, strict=True)
    ]
    _, variant = compare(Case("", contestants), ROUNDS).measured
    assert variant.ratio is not None
    return {"ratio": 1 / variant.ratio.median, "images_per_second": 1 / variant.value.median}


def quality(base: str, changes: Changes, seed: int, images: int) -> dict[str, float]:
    """Trains on `images` images in a folder that is thrown away, generates and measures."""
    of = BASES[base]
    return {**quality_of(recipe(base, changes, seed, images), of.sampling, of.compared), "images": images}


def quality_of(
    config: Config,
    sampling: SamplingSettings = SamplingSettings(steps=25),  # noqa: B008 (frozen)
    compared: Literal["test", "validation"] = "test",
    count: int = IMAGES,
) -> dict[str, float]:
    """The same of any recipe, by `count` generated images beside this part."""
    parts = load(config.data)
    pipeline = Pipeline.fresh(config, parts.train.spec)
    with tempfile.TemporaryDirectory() as folder:
        run, held_out = RunFolder(Path(folder) / "run"), 0.0
        for progress in train(pipeline, parts, run, say=lambda text: None):
            if progress.record and "held_out_loss" in progress.record:
                held_out = progress.record["held_out_loss"]
        trained = Pipeline.load(run.path)
    labels = torch.arange(count) % trained.num_classes if trained.num_classes else None
    drawn = trained.generate(range(count), labels, sampling)
    if compared == "validation":
        parts = parts._replace(test=parts.validation)
    found = evaluate(drawn, labels, parts, EvaluationSettings())
    numbers = {number.name: number.value for number in found["generated against test"].numbers}
    agreement = {"agreement": found.agreement.value} if found.agreement else {}
    parameters = sum(each.numel() for each in pipeline.network.parameters())
    return {"held_out_loss": held_out, **numbers, **agreement, "parameters": parameters}


def table(record: dict[str, Any]) -> str:
    """Every variant, best Fréchet distance first, in Markdown."""
    seeds: dict[str, list[dict[str, float]]] = {}
    for key, run in record["runs"].items():
        seeds.setdefault(key.rpartition("/")[0], []).append(run)
    labelled = all("agreement" in run for run in record["runs"].values())
    columns = ["frechet", "kernel", *(["agreement"] if labelled else []), "held_out_loss"]
    lines = ["| variant | seeds | images/s | images | " + " | ".join(columns) + " |", "|---" * (4 + len(columns)) + "|"]
    for name, runs in sorted(seeds.items(), key=lambda item: mean(run["frechet"] for run in item[1])):
        speed = record["speeds"][name]["ratio"]
        numbers = [_with_error([run[column] for run in runs], 2 if column == "frechet" else 3) for column in columns]
        lines.append(f"| {name} | {len(runs)} | {speed:.2f} x | {runs[0]['images']:,} | " + " | ".join(numbers) + " |")
    return "\n".join(lines)


def _with_error(values: list[float], digits: int) -> str:
    error = f" ± {stdev(values) / len(values) ** 0.5:.{digits}f}" if len(values) > 1 else ""
    return f"{mean(values):.{digits}f}{error}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.recipes", description=__doc__)
    parser.add_argument("base", choices=BASES, help="the recipe that is changed")
    parser.add_argument("--minutes", type=float, default=0.75, help="of this machine, idle, for each run [0.75]")
    parser.add_argument("--rate", type=float, default=366.0, help="images a second of the base recipe, idle")
    parser.add_argument("--seeds", type=int, default=3, help="training seeds of each variant [3]")
    parser.add_argument("--at-once", type=int, default=2, help="runs at the same time, a thread each [2]")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the variants")
    parser.add_argument("--speeds", action="store_true", help="measure speeds only")
    parser.add_argument("--table", action="store_true", help="print what is there, in Markdown")
    parser.add_argument("--one", nargs=3, metavar=("NAME", "SEED", "IMAGES"), help=argparse.SUPPRESS)
    parser.add_argument("--out", default=str(Path(__file__).parent / "results"), help="folder of the results")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
