"""`python -m benchmarks.markdown RESULTS.json`: a machine's results as the tables that the documentation shows."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.ceiling import Ceiling, best
from benchmarks.pairs import Measured, Result
from benchmarks.record import Record
from benchmarks.table import as_result, gflops_per_second, quantity

COLUMNS = ("case", "who", "median", "times ours", "goal", "multiply-adds", "of the ceiling")


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the tables of the file that is named."""
    (name,) = sys.argv[1:] if argv is None else argv
    print(markdown(json.loads(Path(name).read_text(encoding="utf-8"))))
    return 0


def markdown(record: Record) -> str:
    """Every benchmark of a record, a table each; columns that would be empty are left out."""
    ceiling = best([Ceiling(**each) for each in record["ceiling"]])
    parts = []
    for name, found in record["benchmarks"].items():
        if name == "profile":  # it has tables of its own: profile_table
            continue
        rows = [row for each in found["results"] for row in _rows(as_result(each), ceiling)]
        kept = [i for i in range(len(COLUMNS)) if any(row[i] for row in rows)]
        lines = [[COLUMNS[i] for i in kept], ["---"] * len(kept), *([row[i] for i in kept] for row in rows)]
        parts.append(f"### {name}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(parts)


def _rows(result: Result, ceiling: Mapping[str, float]) -> Iterator[list[str]]:
    for number, one in enumerate(result.measured):
        rate = gflops_per_second(one, result.unit)
        yield [
            "" if number else result.name,
            one.name + (f" ({one.note})" if one.note else ""),
            quantity(one.value.median, result.unit),
            f"**{one.ratio.median:.3g}** ({one.ratio.low:.3g} to {one.ratio.high:.3g})" if one.ratio else "",
            _goal(one, result),
            f"{one.multiply_adds / 1e9:.1f} G" if one.multiply_adds else "",
            f"{rate / ceiling[one.precision]:.0%}" if rate and one.precision in ceiling else "",
        ]


def _goal(one: Measured, result: Result) -> str:
    if one.ratio is not None:
        return f"at least {one.goal:g}" if one.goal else ""
    return f"at most {quantity(result.at_most, result.unit)}" if result.at_most is not None else ""


if __name__ == "__main__":
    raise SystemExit(main())
