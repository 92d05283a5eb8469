"""Profiles as tables: on a terminal, and for the page, of one file or of two beside each other, by
`python -m benchmarks.profile_table RESULTS.json [LATER.json]`.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from benchmarks.bandwidth import Bandwidth
from benchmarks.pairs import Spread
from benchmarks.profile import Profile, Share
from benchmarks.table import quantity

COLUMNS = ("", "time", "of the step", "calls", "GMAC", "MB", "multiply-adds need", "bytes need", "roofline", "times it")
LARGEST = 6
"""Kinds that a summary names."""
LEAST_SHARE = 0.005
"""Of both profiles that are compared, below which a kind has no row."""


def main(argv: Sequence[str] | None = None) -> int:
    """Prints what is in one file, a row for each step, or a table of two files for each."""
    before, *after = (stored(Path(name)) for name in (sys.argv[1:] if argv is None else argv))
    print(compared(before, *after) if after else summary(before))
    return 0


def stored(file: Path) -> list[Profile]:
    """The profiles of a file of results."""
    record = json.loads(file.read_text(encoding="utf-8"))
    return [as_profile(each) for each in record["benchmarks"]["profile"]["results"]]


def as_profile(tree: Mapping[str, Any]) -> Profile:
    """A profile as it was before it was JSON."""
    spreads = {name: Spread(**tree[name]) for name in ("seconds", "profiled")}
    return Profile(**{**tree, **spreads, "shares": [Share(**each) for each in tree["shares"]]})


def table(profile: Profile) -> Table:
    """One profile for a terminal."""
    out = Table(title=_title(profile), title_justify="left")
    for column in COLUMNS:
        out.add_column(column, justify="left" if column == "" else "right")
    for row in _rows(profile):
        out.add_row(*row)
    return out


def summary(profiles: Sequence[Profile]) -> str:
    """A row for each profile, for the page: its time, and the kinds that take most of it."""
    header = [
        "",
        "precision",
        "a step",
        "of the ceiling",
        "times the roofline",
        "what takes longest (times its roofline)",
    ]
    rows = [
        [
            f"{each.step}, {each.workload}",
            each.precision,
            quantity(each.seconds.median, "s"),
            f"{each.of_ceiling:.0%}",
            f"{each.seconds.median / each.least:.2g}",
            ", ".join(_largest(each)),
        ]
        for each in profiles
    ]
    return _table([header, ["---", "---", "---:", "---:", "---:", "---"], *rows])


def _largest(profile: Profile) -> Iterator[str]:
    total = sum(each.seconds for each in profile.shares)
    for each in profile.shares[:LARGEST]:
        times = f" ({each.seconds / each.least:.3g})" if each.least else ""
        yield f"{each.kind.replace(', ', ' ')} {each.seconds / total:.0%}{times}"


def bandwidth_table(found: Sequence[Bandwidth]) -> Table:
    """GB/s by working set."""
    kinds = [*dict.fromkeys(each.kind for each in found)]
    out = Table("GB/s", *kinds, title="bandwidth", title_justify="left")
    for size in dict.fromkeys(each.working_set for each in found):
        rates = [f"{each.gigabytes_per_second:.1f}" for each in found if each.working_set == size]
        out.add_row(f"{size / 2**20:.3g} MiB", *rates)
    return out


def compared(before: Sequence[Profile], after: Sequence[Profile]) -> str:
    """Each profile that both have: milliseconds of every kind, and how many times its roofline that is."""
    later = {each.name: each for each in after}
    return "\n\n".join(_compared(each, later[each.name]) for each in before if each.name in later)


def _compared(before: Profile, after: Profile) -> str:
    names = dict.fromkeys(each.kind for each in [*before.shares, *after.shares])
    kinds = {name: (_of(before, name), _of(after, name)) for name in names}
    totals = before.profiled.median, after.profiled.median
    rows = [
        [kind, *_cells(was, totals[0]), *_cells(now, totals[1])]
        for kind, (was, now) in kinds.items()
        if any(each and each.seconds >= LEAST_SHARE * total for each, total in zip((was, now), totals, strict=True))
    ]
    ends = [
        cell
        for each in (before, after)
        for cell in (quantity(each.seconds.median, "s"), "", f"{each.seconds.median / each.least:.1f}")
    ]
    header = ["", "before", "of the step", "times roofline", "after", "of the step", "times roofline"]
    ruler = ["---", *["---:"] * 6]
    return f"{before.name}\n\n" + _table([header, ruler, *rows, ["the whole step, not profiled", *ends]])


def _of(profile: Profile, kind: str) -> Share | None:
    return next((each for each in profile.shares if each.kind == kind), None)


def _cells(share: Share | None, total: float) -> list[str]:
    if share is None:
        return ["", "", ""]
    return [quantity(share.seconds, "s"), f"{share.seconds / total:.1%}", _times(share)]


def _title(profile: Profile) -> str:
    least = profile.least
    return (
        f"{profile.name}: {quantity(profile.seconds.median, 's')} a step "
        f"({quantity(profile.seconds.low, 's')} .. {quantity(profile.seconds.high, 's')}), under the profiler "
        f"{quantity(profile.profiled.median, 's')}; {profile.of_ceiling:.0%} of the ceiling, "
        f"{profile.seconds.median / least:.2g} times the roofline, {quantity(least, 's')}"
    )


def _rows(profile: Profile) -> Iterator[list[str]]:
    total = sum(each.seconds for each in profile.shares)
    for each in profile.shares:
        counted = each.operations > 0
        yield [
            each.kind,
            quantity(each.seconds, "s"),
            f"{each.seconds / total:.1%}",
            f"{each.operations}" if counted else "",
            f"{each.multiply_adds / 1e9:.3g}" if each.multiply_adds else "",
            f"{each.bytes / 1e6:.3g}" if counted else "",
            quantity(each.for_multiply_adds, "s") if each.multiply_adds else "",
            quantity(each.for_bytes, "s") if counted else "",
            quantity(each.least, "s") if counted else "",
            _times(each),
        ]


def _times(share: Share) -> str:
    return f"{share.seconds / share.least:.3g}" if share.least else ""


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    raise SystemExit(main())
