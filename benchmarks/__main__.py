"""`python -m benchmarks`: measures, prints tables, writes benchmarks/results/<machine>.json and a chart beside it."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from rich.console import Console

from ancestral.files import write_whole
from ancestral.machine import keep_freed_memory
from ancestral.viz.plots import figure_to_png
from benchmarks import profile_plot, profile_table
from benchmarks.bandwidth import bandwidths
from benchmarks.ceiling import Ceiling, best, bfloat16_gain, ceilings
from benchmarks.checkpoint import checkpoints
from benchmarks.choices import choices
from benchmarks.data import batches
from benchmarks.drawing import drawing
from benchmarks.machine import Machine, machine
from benchmarks.memory import memory
from benchmarks.pairs import Cases, Result, compare
from benchmarks.parts import parts
from benchmarks.plot import ratios
from benchmarks.processes import processes
from benchmarks.profile import profiles
from benchmarks.record import file_for, written
from benchmarks.run import sampling_run
from benchmarks.startup import startup
from benchmarks.step import forward, sampling, training
from benchmarks.table import as_result, table

BENCHMARKS: dict[str, Callable[[bool], Cases]] = {
    "training": training,
    "forward": forward,
    "sampling": sampling,
    "run": sampling_run,
    "data": batches,
    "startup": startup,
    "memory": memory,
    "checkpoint": checkpoints,
    "choices": choices,
    "choices-paper": partial(choices, key="paper"),
    "parts": parts,
    "processes": processes,
    "drawing": drawing,
}
PROFILE = "profile"
"""The one that compares nobody: where our own time goes."""
NAMES = (*BENCHMARKS, PROFILE)
ASKED_FOR = {"choices", "choices-paper", "parts", "processes", "drawing", PROFILE}
"""Run only by name: they serve whoever tunes the package, and take long."""
ROUNDS, QUICK_ROUNDS = 5, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what the words ask for."""
    words = _parser().parse_args(argv)
    keep_freed_memory()  # as ancestral's trainer does: the peers of this process gain by it too
    console, here, rounds = Console(width=150), machine(), words.rounds or (QUICK_ROUNDS if words.quick else ROUNDS)
    console.print(f"{here.gpu or here.processor}, {here.cores} cores, {here.threads} threads, torch {here.torch}")
    highest = ceilings(words.quick)
    for product in highest:
        console.print(
            f"  {product.precision:9} {product.kind:13} {product.shape:34} {product.gflops_per_second:8.0f} GFLOP/s"
        )
    console.print(f"  a convolution in bfloat16: {bfloat16_gain(highest):.2f} times as fast as in float32")
    file = file_for(here, words.out, words.quick)
    for name in words.only or [name for name in NAMES if name not in ASKED_FOR]:
        if name == PROFILE:
            _profile(file, here, highest, words.quick, rounds, console)
            continue
        results = _measure(name, words.quick, words.full, rounds, console)
        record = written(file, here, highest, {name: results})
        console.print(table(name, results, best(highest)))
        stored = [as_result(each) for each in record["benchmarks"][name]["results"]]
        chart = ratios(f"{name}, {here.gpu or here.processor}, {here.cores} cores", stored)
        write_whole(file.with_name(f"{file.stem}-{name}.png"), figure_to_png(chart))
    console.print(f"written: {file}, and a chart for each benchmark beside it")
    return 0


def _profile(file: Path, here: Machine, highest: list[Ceiling], quick: bool, rounds: int, console: Console) -> None:
    streams = bandwidths(quick)
    console.print(profile_table.bandwidth_table(streams))
    found = profiles(quick, rounds, best(highest), streams, lambda what: console.print(f"[dim]{PROFILE}: {what}[/dim]"))
    written(file, here, highest, {PROFILE: found}, {"bandwidth": [asdict(each) for each in streams]})
    for each in found:
        console.print(profile_table.table(each))
    chart = profile_plot.shares(f"{here.gpu or here.processor}, {here.cores} cores", found)
    write_whole(file.with_name(f"{file.stem}-{PROFILE}.png"), figure_to_png(chart, dpi=110))


def _measure(name: str, quick: bool, full: bool, rounds: int, console: Console) -> list[Result]:
    """All cases of a benchmark, each said as it begins."""
    benchmark = partial(sampling_run, full=full) if name == "run" else BENCHMARKS[name]
    results = []
    for case in benchmark(quick):
        console.print(f"[dim]{name}: {case.name}[/dim]")
        results.append(compare(case, rounds))
    return results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="tiny networks: to see that everything runs")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"measured rounds [{ROUNDS}]")
    parser.add_argument("--full", action="store_true", help="run: every peer's chain to its last step")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
