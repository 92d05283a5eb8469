"""What is kept of runs that were trained and measured: a JSON file for each machine, an entry for each run; and the
options of the commands that fill it, which go on where they were stopped."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from ancestral.errors import InputError
from ancestral.files import read_json, write_whole
from ancestral.settings import Config
from benchmarks.machine import machine

ROOT = Path(__file__).parents[1]
Entry = dict[str, Any]


class Planned(Protocol):
    """A run that is to be measured."""

    @property
    def label(self) -> str:
        """What its entry, its folder and its pictures are called."""

    @property
    def settings(self) -> str:
        """A hash of all that its figures depend on."""


P = TypeVar("P", bound=Planned)


def carried_out(
    asked: argparse.Namespace,
    measure: Callable[[argparse.Namespace, Path], int],
    pages: Callable[[Path], dict[Path, str]],
) -> int:
    """Measures unless the pages alone are asked for, then writes these; the exit code of `measure`, 2 for an
    InputError of it."""
    if asked.threads:
        os.environ["OMP_NUM_THREADS"] = str(asked.threads)
        torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as passing:
        root = asked.root or (Path(passing) if asked.quick else ROOT)
        try:
            code = 0 if asked.table else measure(asked, root)
        except InputError as fault:
            print(fault, file=sys.stderr)
            return 2
        for file, text in pages(root).items():
            write_whole(file, text)
    return code


def keep_each(
    kind: str, asked: argparse.Namespace, root: Path, plans: Iterable[P], measured: Callable[[P], Entry]
) -> int:
    """Does what is missing, plan after plan, and keeps each in the machine's file of this kind; 2 where one could not
    be measured, after the others; the code of a verb that was stopped."""
    here, code = machine(), 0
    file = root / "benchmarks" / "results" / f"{kind}-{here.slug}.json"
    told = {"share": 0.0 if asked.quick else asked.share, "rate": asked.rate, "threads": torch.get_num_threads()}
    for plan in plans:
        if _entries_in(file).get(plan.label, {}).get("settings") == plan.settings:
            print(f"{plan.label} is measured: {file}", flush=True)
            continue
        try:
            found = measured(plan)
        except subprocess.CalledProcessError as fault:
            print(f"{plan.label} is not measured: code {fault.returncode}", file=sys.stderr, flush=True)
            code = 2 if 0 < fault.returncode < 128 else fault.returncode
            if code != 2:  # it was stopped
                break
        else:
            dated = {"label": plan.label, "settings": plan.settings, "when": datetime.now(UTC).date().isoformat()}
            # read again: the same command may have added others meanwhile
            entries = {**_entries_in(file), plan.label: {**dated, "commit": commit(), **found, **told}}
            write_whole(file, json.dumps({"machine": asdict(here), "entries": entries}, indent=1) + "\n")
            print(f"{plan.label} is measured: {file}", flush=True)
    return code


def read_entries(root: Path, kind: str) -> list[Entry]:
    """Of every results file of this kind, each entry with the machine it was measured on; the file of what was measured
    by hand has one word for all of them."""
    entries = []
    for file in sorted((root / "benchmarks" / "results").glob(f"{kind}-*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        entries += [{**entry, "machine": record["machine"]} for entry in record["entries"].values()]
    return entries


def settings_hash(config: Config) -> str:
    """Of all settings but those of how a machine computes."""
    return sha256(config.model_dump_json(exclude={"compute"}).encode()).hexdigest()[:16]


def busy(entry: Entry) -> str:
    """Where training got less of the machine than it could have used."""
    share = entry["training"]["processor_share"]
    return f", on a busy machine: {100 * share:.0f} % of a core" if share < 0.9 * entry["threads"] else ""


def computed_on(entry: Entry) -> str:
    """The machine, and what of the package was measured."""
    machine, minutes = entry["machine"], entry["training"]["minutes"]
    return (
        f"{minutes:.1f} minutes, {entry['threads']} of {machine['cores']} threads of {machine['processor']} "
        f"({machine['products']}), torch {machine['torch']}. {entry['when']}, package as of commit {entry['commit']}, "
        f"settings {entry['settings']}."
    )


def commit() -> str:
    """The last one that changed the package."""
    words = ["git", "log", "-1", "--format=%h", "--", "src"]
    return subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def add_options(parser: argparse.ArgumentParser, share: str, images: str, runs: str) -> None:
    """Those of every command that trains, measures and writes pages; the words are what the help says of three."""
    alone = "images a second that this machine alone sees: on a busy one, the budget is the images of so many minutes"
    parser.add_argument("--share", type=float, default=1.0, help=f"of {share} [1]; the page says so")
    parser.add_argument("--rate", type=float, metavar="N", help=alone)
    parser.add_argument("--images", type=int, help=f"to generate and measure [{images}]")
    parser.add_argument("--threads", type=int, help="to train and measure with [torch's]")
    parser.add_argument("--quick", action="store_true", help="a few steps, thrown away: to see that everything runs")
    parser.add_argument("--table", action="store_true", help="only write the pages from the results")
    parser.add_argument("--runs", type=Path, help=f"where runs are kept [ROOT/runs/{runs}]")
    parser.add_argument("--root", type=Path, help="where pages and results are written [this repository]")


def _entries_in(file: Path) -> dict[str, Entry]:
    """By label; none where there is no file yet."""
    entries: dict[str, Entry] = read_json(file)["entries"] if file.is_file() else {}
    return entries
