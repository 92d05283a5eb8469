"""`ancestral selftest`: lines, sentence, JSON and exit codes, with checks made up for it."""

import json
import math
import re

import pytest
import torch
from cli_calls import call

from ancestral import selftest
from ancestral.selftest.checks import Check


def raises(device: torch.device) -> float:
    raise ValueError("two\nlines")


HOLDS = Check("a law that holds", 1e-12, lambda device: 2.5e-16)
EXACT = Check("exactly so", 0, lambda device: 0.0)
FAILS = Check("a law that does not", 1e-12, lambda device: 0.125)


def given(monkeypatch: pytest.MonkeyPatch, **groups: list[Check]) -> None:
    monkeypatch.setattr(selftest, "GROUPS", groups)


def test_lines_are_aligned_under_their_group(capsys, monkeypatch) -> None:
    given(monkeypatch, schedules=[HOLDS, EXACT], bound=[EXACT._replace(name="another law altogether")])
    code, out, err = call(capsys, "selftest")
    assert code == 0 and err == ""
    lines = out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith("  ")][:2] == ["schedules", "bound"]
    checks = [line for line in lines if line.endswith("  ok")]
    assert len(checks) == 3 and len({len(line) for line in checks}) == 1
    assert checks[0].split() == ["a", "law", "that", "holds", "2.5e-16", "1e-12", "ok"]
    assert re.fullmatch(r"All 3 checks held on cpu, in \d+ seconds\.", lines[-1])


def test_one_failure_is_named_and_is_the_exit_code(capsys, monkeypatch) -> None:
    given(monkeypatch, schedules=[FAILS, HOLDS], bound=[Check("breaks", 1e-3, raises)])
    code, out, _ = call(capsys, "selftest")
    assert code == 1
    first, second = (line for line in out.splitlines() if "FAILED" in line and not line.startswith("2"))
    assert first.split()[-3:] == ["0.12", "1e-12", "FAILED"]
    assert second.endswith("inf    0.001  FAILED ValueError: two lines")
    assert out.splitlines()[-1].startswith("2 of 3 checks FAILED on cpu")


def test_json_says_the_same(capsys, monkeypatch) -> None:
    given(monkeypatch, bound=[HOLDS, Check("breaks", 1e-3, raises), Check("no number", 1.0, lambda device: math.nan)])
    code, out, err = call(capsys, "selftest", "--json")
    tree = json.loads(out)
    assert code == 1 and err == "" and len(out.splitlines()) == 1
    assert tree["held"] is False and tree["device"] == "cpu" and tree["seconds"] >= 0
    assert tree["checks"][0] == {
        "group": "bound",
        "name": "a law that holds",
        "error": 2.5e-16,
        "allowed": 1e-12,
        "fault": "",
        "held": True,
    }
    assert [each["error"] for each in tree["checks"][1:]] == [None, None]
    assert tree["checks"][1]["fault"] == "ValueError: two\nlines"


def test_checks_compute_where_they_are_told(capsys, monkeypatch) -> None:
    asked = []
    given(monkeypatch, bound=[Check("n", 1.0, lambda device: asked.append(device) or 0.0)])
    assert call(capsys, "selftest", "--device", "cpu").code == 0
    assert asked == [torch.device("cpu")]
    if not torch.cuda.is_available():
        code, _, err = call(capsys, "selftest", "--device", "cuda")
        assert code == 2 and "expected a CUDA device" in err
    assert call(capsys, "selftest", "--device", "abacus").code == 2
    assert call(capsys, "selftest", "runs/digits").code == 2
