"""Two hundred kills at random moments of saving, and never a checkpoint lost or half."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 200


@pytest.mark.slow
def test_two_hundred_kills_while_saving_lose_nothing_that_was_saved(tmp_path: Path) -> None:
    script = Path(__file__).with_name("saving.py")
    command = [sys.executable, str(script), "random", str(tmp_path), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    kills = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(kills) == KILLS and all(kill["killed"] for kill in kills)
    assert all(kill["whole"] and not kill["said"] for kill in kills)
    assert all(kill["step"] >= kill["finished"] for kill in kills), "a save that had returned was lost"
    steps = [kill["step"] for kill in kills]
    assert steps == sorted(steps) and steps[-1] > 0
    left_behind = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert len(left_behind) <= 1, "each save removes what a killed one left"
