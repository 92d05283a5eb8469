"""`python -m benchmarks.presets [NAME ...]`: trains presets by their budgets, measures each, and shows what came out.

For each, small ones first: `ancestral train` in a process of its own, then the verb that measures what the preset is
for, on images it was not trained on, then a grid of the first seeds beside real images. The results go to
benchmarks/results/presets-<machine>.json, and from there into the README's table and docs/presets.md. Runs stay in
--runs: the same command goes on where it stopped, and does nothing that is there again.

Presets for a GPU are rehearsed at a tenth of their width where there is none: their learning curve is drawn.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from math import lcm
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ancestral.cli.main import main as ancestral_here
from ancestral.files import read_json, write_whole
from ancestral.jobs.target import overlaid
from ancestral.presets import PRESETS
from ancestral.settings import AnyNetwork, Config, UNetSettings, flat
from ancestral.training.logs import read_log
from ancestral.training.run import RunFolder
from benchmarks.machine import device, machine
from benchmarks.preset_figures import figures_of, held_out_loss, measuring, result_of
from benchmarks.preset_page import Entry, pages
from benchmarks.preset_pictures import draw_curve, draw_grid
from distribution.models import ancestral

ROOT = Path(__file__).parents[1]
FOR_GPU = ("ddpm-cifar10", "cifar10-gpu")
REHEARSED_MINUTES, TENTH, GROUPS = 20.0, 10, 4  # of those, where there is no GPU
CURVE_IMAGES = 5000  # seen between two points of a learning curve
QUICK_TRAINING, QUICK_SAMPLING, QUICK_IMAGES = {"steps": 20, "batch_size": 8}, {"steps": 4}, 40


class Plan(NamedTuple):
    """What of a preset's settings is changed, and what its run and its results are called."""

    name: str
    changes: dict[str, Any]
    label: str
    narrowed: bool

    @property
    def config(self) -> Config:
        return overlaid(PRESETS[self.name](), self.changes, self.label)

    @property
    def words(self) -> list[str]:
        """Of the command that trains it, but for the folder."""
        options = ((f"--{name}", *(each if isinstance(each, tuple) else (each,))) for name, each in flat(self.changes))
        return ["train", self.name, *(str(word) for option in options for word in option)]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what is asked for; 2 where a preset could not be, after the others; that of a verb that was stopped."""
    asked = _parser().parse_args(argv)
    if asked.threads:
        os.environ["OMP_NUM_THREADS"] = str(asked.threads)
        torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as passing:
        root = asked.root or (Path(passing) if asked.quick else ROOT)
        code = 0 if asked.table else measure(asked, root)
        for file, text in pages(root).items() if (root / "README.md").is_file() else ():
            write_whole(file, text)
    return code


def measure(asked: argparse.Namespace, root: Path) -> int:
    """Does what is missing, preset after preset, and keeps each in the machine's file."""
    here, runs, code = machine(), asked.runs or root / "runs" / "presets", 0
    file = root / "benchmarks" / "results" / f"presets-{here.slug}.json"
    images = QUICK_IMAGES if asked.quick else asked.images
    told = {"share": 0.0 if asked.quick else asked.share, "rate": asked.rate, "threads": torch.get_num_threads()}
    for name in asked.names or usual():
        plan = planned(name, asked.share, asked.rate, asked.quick)
        if _entries(file).get(plan.label, {}).get("settings") == settings_hash(plan.config):
            print(f"{plan.label} is measured: {file}", flush=True)
            continue
        try:
            entry = measured(plan, (runs / plan.label).absolute(), root / "docs" / "pictures", images)
        except subprocess.CalledProcessError as fault:
            print(f"{plan.label} is not measured: code {fault.returncode}", file=sys.stderr, flush=True)
            code = 2 if 0 < fault.returncode < 128 else fault.returncode
            if code != 2:  # it was stopped
                break
        else:
            entries = {**_entries(file), plan.label: {**entry, **told}}  # others may have been measured beside it
            write_whole(file, json.dumps({"machine": asdict(here), "entries": entries}, indent=1) + "\n")
            print(f"{plan.label} is measured: {file}", flush=True)
    return code


def _entries(file: Path) -> dict[str, Entry]:
    """What is measured already, by label."""
    entries: dict[str, Entry] = read_json(file)["entries"] if file.is_file() else {}
    return entries


def usual() -> list[str]:
    """All that this machine can do in hours, small ones first."""
    minutes = {name: PRESETS[name]().training.minutes for name in PRESETS}
    minutes |= dict.fromkeys(FOR_GPU, REHEARSED_MINUTES) if device() == "cpu" else {}
    return sorted((name for name in minutes if minutes[name]), key=lambda name: minutes[name] or 0.0)


def planned(name: str, share: float, rate: float | None = None, quick: bool = False) -> Plan:
    """A share of the preset's own budget; `rate`: by the images that its minutes are at so many images a second."""
    config, narrow = PRESETS[name](), name in FOR_GPU and device() == "cpu"
    minutes = REHEARSED_MINUTES if narrow else config.training.minutes
    training: dict[str, Any] = {}
    if quick:
        training |= QUICK_TRAINING
    elif minutes is not None and rate is not None:
        training["images"] = round(60 * share * minutes * rate)
    elif minutes is not None and (narrow or share != 1):
        training["minutes"] = share * minutes
    elif minutes is None and share != 1:
        own = {"images": config.training.images, "steps": config.training.steps}
        training |= {kind: round(share * value) for kind, value in own.items() if value is not None}
    if narrow:
        every = max(1, CURVE_IMAGES // config.training.batch_size)
        training |= {"log_every_steps": every, "validate_every_steps": every}
    changes = {
        "training": training,
        "network": narrowed(config.network) if narrow else {},
        "sampling": QUICK_SAMPLING if quick else {},
    }
    marks = [f"{share:g}"] * (share != 1) + ["narrow"] * narrow
    return Plan(name, {branch: each for branch, each in changes.items() if each}, "-".join([name, *marks]), narrow)


def narrowed(network: AnyNetwork) -> dict[str, Any]:
    """What makes a U-Net a tenth as wide, as nearly as groups and heads allow: the groups are fewer with the widths."""
    assert isinstance(network, UNetSettings), "as the presets for a GPU have"
    multiple = lcm(GROUPS, network.heads or network.head_width or 1)
    widths = tuple(multiple * max(1, round(width / TENTH / multiple)) for width in network.widths)
    return {"widths": widths, "norm_groups": GROUPS}


def measured(plan: Plan, folder: Path, pictures: Path, images: int | None) -> Entry:
    """Trains, measures and draws what is not there yet, and says what came out."""
    run, words = RunFolder(folder), [] if plan.narrowed else measuring(plan.config, images)
    processor_share = trained(plan.words, folder)
    if words and not (folder / result_of(words)).is_file():
        spoken = [words[0], str(folder), *words[1:], "--yes"]
        if code := ancestral_here(spoken):
            raise subprocess.CalledProcessError(code, spoken)
    if plan.narrowed:
        draw_curve(run, pictures / f"preset-{plan.label}-curve.png")
    figures = [held_out_loss(run)] if plan.narrowed else figures_of(run)
    return {
        "preset": plan.name,
        "label": plan.label,
        "narrowed": plan.narrowed,
        "when": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "command": " ".join(["ancestral", *plan.words]),
        "settings": settings_hash(plan.config),
        "training": {**training_of(run), "processor_share": processor_share},
        "measured_by": " ".join(["ancestral", words[0], f"runs/{plan.name}", *words[1:]]) if words else "",
        "figures": [figure._asdict() for figure in figures],
        "caption": draw_grid(run, plan.config, pictures / f"preset-{plan.label}.png"),
    }


def trained(words: Sequence[str], folder: Path) -> float:
    """Trains to the end of the budget in a process of its own; how many cores it had on the average, of all times that
    the run went on."""
    file = folder.with_name(f"{folder.name}.seconds.json")
    seconds = read_json(file) if file.is_file() else {"processor": 0.0, "wall": 0.0, "finished": False}
    if not seconds["finished"]:
        began, used = time.monotonic(), _processor_seconds()
        try:
            ancestral([*words, "--out", str(folder), "--yes"], folder.parent)
            seconds["finished"] = True
        finally:
            seconds["processor"] += _processor_seconds() - used
            seconds["wall"] += time.monotonic() - began
            write_whole(file, json.dumps(seconds) + "\n")
    return float(seconds["processor"] / seconds["wall"])


def training_of(run: RunFolder) -> dict[str, Any]:
    """What the logs of a finished run say; of an autoencoder before it, how many images that saw."""
    log, timing = read_log(run.log), read_log(run.timing)
    images, minutes = log[-1]["images"], timing[-1]["minutes"]
    first = read_log(RunFolder(run.autoencoder).log)[-1]["images"] if run.autoencoder.is_dir() else None
    return {
        "images": images,
        "minutes": minutes,
        "images_per_second": images / minutes / 60,
        "watching_minutes": sum(line["watching_seconds"] for line in timing) / 60,
        "autoencoder_images": first,
        "compute": read_json(run.compute),
    }


def settings_hash(config: Config) -> str:
    """Of all settings but those of how a machine computes."""
    return sha256(config.model_dump_json(exclude={"compute"}).encode()).hexdigest()[:16]


def commit() -> str:
    """The last one that changed the package."""
    words = ["git", "log", "-1", "--format=%h", "--", "src"]
    return subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def _processor_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.presets", description=__doc__)
    alone = "images a second that this machine alone sees: on a busy one, the budget is the images of so many minutes"
    parser.add_argument("names", nargs="*", metavar="NAME", help="presets [all that have a budget in minutes]")
    parser.add_argument("--share", type=float, default=1.0, help="of each preset's own budget [1]; the table says so")
    parser.add_argument("--rate", type=float, metavar="N", help=alone)
    parser.add_argument("--images", type=int, help="to generate and measure [1000, prompts 500; bits: all]")
    parser.add_argument("--threads", type=int, help="to train and measure with [torch's]")
    parser.add_argument("--quick", action="store_true", help="a few steps, thrown away: to see that everything runs")
    parser.add_argument("--table", action="store_true", help="only write README and docs/presets.md from the results")
    parser.add_argument("--runs", type=Path, help="where runs are kept [ROOT/runs/presets]")
    parser.add_argument("--root", type=Path, help="where README, docs and results are written [this repository]")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
