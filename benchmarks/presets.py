"""`python -m benchmarks.presets [NAME ...]`: trains presets by their budgets, measures each, and shows what came out.

For each, small ones first: `ancestral train` in a process of its own, then the verb that measures what the preset is
for, on images it was not trained on, then a grid of the first seeds beside real images. The results go to
benchmarks/results/presets-<machine>.json, and from there into the README's table and docs/presets.md. Runs stay in
--runs: the same command goes on where it stopped, and does nothing that is there again.

Presets for a GPU are rehearsed at a tenth of their width where there is none: their learning curve is drawn.
"""

import argparse
import subprocess
from collections.abc import Sequence
from math import lcm
from pathlib import Path
from typing import Any, NamedTuple

from ancestral.cli.main import main as ancestral_here
from ancestral.jobs.target import overlaid
from ancestral.presets import PRESETS
from ancestral.settings import AnyNetwork, Config, UNetSettings
from ancestral.training.run import RunFolder
from benchmarks.entries import Entry, add_options, carried_out, keep_each, settings_hash
from benchmarks.machine import device
from benchmarks.preset_figures import figures_of, held_out_loss, measuring, result_of
from benchmarks.preset_page import pages
from benchmarks.preset_pictures import draw_curve, draw_grid
from benchmarks.trained import trained, training_of, training_words

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
    def settings(self) -> str:
        return settings_hash(self.config)

    @property
    def words(self) -> list[str]:
        """Of the command that trains it, but for the folder."""
        return training_words(self.name, self.changes)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what is asked for; 2 where a preset could not be, after the others; that of a verb that was stopped."""
    return carried_out(_parser().parse_args(argv), measure, pages)


def measure(asked: argparse.Namespace, root: Path) -> int:
    """Does what is missing, preset after preset, and keeps each in the machine's file."""
    runs, images = asked.runs or root / "runs" / "presets", QUICK_IMAGES if asked.quick else asked.images
    plans = [planned(name, asked.share, asked.rate, asked.quick) for name in asked.names or usual()]

    def done(plan: Plan) -> Entry:
        return measured(plan, (runs / plan.label).absolute(), root / "docs" / "pictures", images)

    return keep_each("presets", asked, root, plans, done)


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
        "narrowed": plan.narrowed,
        "command": " ".join(["ancestral", *plan.words]),
        "training": {**training_of(run), "processor_share": processor_share},
        "measured_by": " ".join(["ancestral", words[0], f"runs/{plan.name}", *words[1:]]) if words else "",
        "figures": [figure._asdict() for figure in figures],
        "caption": draw_grid(run, plan.config, pictures / f"preset-{plan.label}.png"),
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.presets", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="presets [all that have a budget in minutes]")
    add_options(parser, "each preset's own budget", "1000, prompts 500; bits: all", "presets")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
