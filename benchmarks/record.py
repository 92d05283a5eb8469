"""Results as JSON, one file for each machine: a benchmark that is run again replaces its own results and no others."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ancestral.files import write_whole
from benchmarks.ceiling import Ceiling
from benchmarks.machine import Machine
from benchmarks.pairs import Result
from benchmarks.profile import Profile

Record = dict[str, Any]
"""{"machine": ..., "ceiling": [...], "benchmarks": {name: {"when": ..., "torch": ..., "results": [...]}}}"""


def file_for(machine: Machine, folder: Path, quick: bool) -> Path:
    """The machine's file; rehearsals have one of their own."""
    return folder / f"{machine.slug}{'-quick' if quick else ''}.json"


def written(
    file: Path,
    machine: Machine,
    ceilings: Sequence[Ceiling],
    results: Mapping[str, Sequence[Result | Profile]],
    more: Mapping[str, Any] | None = None,
) -> Record:
    """The file's record with these results in it, and `more` beside them; also written."""
    before: Record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"benchmarks": {}}
    now, torch = datetime.now(UTC).isoformat(timespec="seconds"), machine.torch
    new = {
        name: {"when": now, "torch": torch, "threads": machine.threads, **(more or {})}
        | {"results": [asdict(each) for each in found]}
        for name, found in results.items()
    }
    record = {
        "machine": asdict(machine),
        "ceiling": [asdict(each) for each in ceilings],
        "benchmarks": {**before["benchmarks"], **new},
    }
    write_whole(file, json.dumps(record, indent=1) + "\n")
    return record
