"""Whether bfloat16 pays is measured once for a machine: what is kept, what is believed, and what is said."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ranks import environment
from standing import Forked, Source
from test_compute import bytes_that_are_no_text, half, rewrite

from ancestral import bfloat16
from ancestral.bfloat16 import is_faster, load_ratio, measured_ratio, ratio_file

MEASURES = "from ancestral import bfloat16; bfloat16.CONVOLUTIONS = ((1, 8, 4),)\n"
"""Little enough for a machine that only emulates it."""
ASKS = MEASURES + (
    "import logging; logging.basicConfig(level=logging.INFO, format='%(message)s'); print(bfloat16.is_faster('this'))"
)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A cache of its own, little to measure, and a machine that no test has measured before: its name."""
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bfloat16, "CONVOLUTIONS", ((1, 8, 4),))
    return str(request.node.nodeid)


def keep(machine: str, ratio: float) -> Path:
    file = ratio_file(machine)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"machine": machine, "bfloat16": ratio}))
    return file


@pytest.mark.parametrize(("ratio", "faster"), [(0.1, False), (1.1, False), (1.3, True), (9.0, True)])
def test_what_is_kept_decides_and_little_is_not_enough(alone: str, ratio: float, faster: bool) -> None:
    """Trap: a machine on which noise decides, anew each time."""
    before = keep(alone, ratio).read_bytes()
    assert is_faster(alone) is is_faster(alone, measuring=False) is faster
    assert ratio_file(alone).read_bytes() == before
    assert load_ratio("another machine") is None


def test_nothing_is_measured_where_that_is_not_wanted(alone: str) -> None:
    assert not is_faster(alone, measuring=False) and not ratio_file(alone).exists()


def asked(cache: Path, **told: str) -> tuple[str, str]:
    """(the answer, what was said) of a new process."""
    environment = os.environ | told | {"ANCESTRAL_CACHE": str(cache)}
    with Forked(Source(ASKS), Path.cwd(), environment) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.strip(), err.strip()


def test_it_is_measured_kept_and_said_once(tmp_path: Path) -> None:
    first, said = asked(tmp_path)
    assert "measured once for this machine: bfloat16 is " in said and said.count("\n") == 0
    assert said.endswith("bfloat16" if first == "True" else "float32")
    (kept,) = (tmp_path / "bfloat16").iterdir()
    assert (json.loads(kept.read_text())["bfloat16"] >= bfloat16.LEAST) == (first == "True")
    assert asked(tmp_path) == (first, "")


def test_only_the_main_process_says_it(tmp_path: Path) -> None:
    assert asked(tmp_path, **environment(1, 2, 1))[1] == ""
    assert [*(tmp_path / "bfloat16").iterdir()], "though it may be the one that measures"


DAMAGES: dict[str, Callable[[Path], None]] = {
    "half of it": half,
    "no text": bytes_that_are_no_text,
    "no ratio": rewrite(lambda tree: {"machine": tree["machine"]}),
    "a ratio of nothing": rewrite(lambda tree: tree | {"bfloat16": 0.0}),
    "a word": rewrite(lambda tree: tree | {"bfloat16": "fast"}),
    "a list": rewrite(lambda tree: [tree]),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_measured_again_and_replaced(name: str, alone: str) -> None:
    DAMAGES[name](keep(alone, 1e9))
    faster = is_faster(alone)
    ratio = load_ratio(alone)
    assert ratio is not None and ratio < 1e9 and (ratio >= bfloat16.LEAST) is faster


def test_where_nothing_can_be_kept_it_is_measured_and_used_and_said(
    alone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "file"))
    caplog.set_level(logging.INFO, "ancestral")
    answers = {is_faster(alone) for _ in range(2)}
    assert len(answers) == 1 and "cannot write" in caplog.text and len(caplog.records) == 1


def test_measuring_leaves_torch_as_it_was() -> None:
    """Trap: a seeded run that draws other numbers, or computes on one thread, the first time on a machine."""
    before, state = torch.get_num_threads(), torch.get_rng_state()
    with torch.inference_mode():
        assert measured_ratio() > 0
        assert torch.is_inference_mode_enabled() and not torch.is_grad_enabled()
    assert torch.get_num_threads() == before and torch.equal(torch.get_rng_state(), state)
