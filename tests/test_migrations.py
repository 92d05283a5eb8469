"""What earlier versions wrote is read under the names of today.

`old_run` was written by the version before guidance was called by its names in the literature: a run of a tiny network,
a sweep of it, and an image that it made; evaluation.json by one that called what is generated drawn.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ancestral.compute import Choices
from ancestral.data.datasets import load
from ancestral.evaluation.evaluate import read_evaluation
from ancestral.evaluation.sweep import read_sweep
from ancestral.jobs.repeating import recipe
from ancestral.migrations import computed, evaluation, no_choices, settings, sweep
from ancestral.pipeline import Pipeline
from ancestral.settings import ComputeSettings, DiffusionSettings, LinearSchedule, merged, parse
from ancestral.training.loop import train
from ancestral.training.run import RunFolder

OLD = Path(__file__).parent / "old_run"
NEW_WORDS = {"no-class": "classifier-free", "weaker": "autoguidance", "classifier": "classifier"}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "run"))


def test_the_files_are_those_of_before() -> None:
    """Guards against a fixture that was written anew: then nothing here would be tested."""
    assert json.loads((OLD / "config.json").read_text())["sampling"]["guidance_by"] == "no-class"
    own = json.loads((OLD / "pipeline" / "ancestral.json").read_text())
    assert own["config"]["sampling"]["guidance_by"] == "no-class"
    assert own["config"]["diffusion"]["schedule"]["log_snr_min"] is None, "each schedule had the settings of all"
    assert "contender" in json.loads((OLD / "sweep.json").read_text())["rows"][0]


def test_a_run_and_its_pipeline_are_read(old: Path) -> None:
    run = RunFolder(old)
    assert run.read_config().sampling.guidance_by == "classifier-free"
    assert Pipeline.load(run.pipeline, "cpu").config.sampling.guidance_by == "classifier-free"


def test_a_run_begun_before_goes_on(old: Path) -> None:
    """From its own checkpoint: the log goes on where it was, byte for byte, and nothing starts afresh."""
    before, said = (old / "log.jsonl").read_bytes(), list[str]()
    config = merged(RunFolder(old).read_config(), {"training": {"steps": 9}}, "the test")
    parts = load(config.data)
    *_, last = train(Pipeline.fresh(config, parts.train.spec, "cpu"), parts, old, said.append, extend=True)
    assert "resuming at step 6 (48 images)" in said and last.step == 9
    log = (old / "log.jsonl").read_bytes()
    assert log.startswith(before) and [json.loads(line)["step"] for line in log.splitlines()] == [3, 6, 9]
    assert read_state(old) == {"step": 9, "images": 72, "ema_updates": 9, "skipped": 0}


def read_state(run: Path) -> dict[str, int]:
    state = json.loads((run / "checkpoints" / "step-00000009" / "state.json").read_text())
    return {name: state[name] for name in ("step", "images", "ema_updates", "skipped")}


def test_an_image_says_how_it_was_made_in_words_of_today(old: Path) -> None:
    """So that `ancestral sample --from` of an old file is understood, by the network that made it."""
    file = old / "seed-0.png"
    made = recipe(file)
    assert made.settings["guidance_by"] == "classifier-free" and made.settings["guidance"] == "2.0"
    assert made.networks["weights"] == Pipeline.load(old / "pipeline", "cpu").weights_hash()


def test_a_sweep_is_read(old: Path) -> None:
    found, rows = read_sweep(old / "sweep.json"), json.loads((old / "sweep.json").read_text())["rows"]
    assert [row.choice.model_dump() for row in found.rows] == [row["contender"] for row in rows]
    assert found.present is not None and found.present.sampling.guidance_by == "classifier-free"


def test_an_evaluation_is_read(old: Path) -> None:
    found, before = read_evaluation(old / "evaluation.json"), json.loads((old / "evaluation.json").read_text())
    assert "num_drawn" in before and found.num_generated == 200
    assert found["generated against test"]["frechet"].value == before["comparisons"][0]["numbers"][0]["value"]


@pytest.mark.parametrize(("old_word", "word"), NEW_WORDS.items())
def test_every_way_to_guide_has_its_new_name(old_word: str, word: str) -> None:
    assert settings({"sampling": {"guidance_by": old_word, "steps": 3}}) == {
        "sampling": {"guidance_by": word, "steps": 3}
    }


def test_a_schedule_has_its_own_settings_alone() -> None:
    """And those that were left open are the schedule's published ones, as they were."""
    before = {"name": "linear", "num_timesteps": 9, "beta_start": 0.1, "beta_end": None, "log_snr_min": None}
    now = settings({"diffusion": {"schedule": {**before, "betas": None}}})
    expected = LinearSchedule(num_timesteps=9, beta_start=0.1, beta_end=0.02)
    assert parse(DiffusionSettings, now["diffusion"], "the test").schedule == expected


@pytest.mark.parametrize(
    "tree", [None, 3, "text", [], {}, {"rows": "none"}, {"rows": [1], "present": 2}, {"guidance_by": 5}]
)
def test_what_is_no_such_file_is_left_to_whoever_checks_it(tree: Any) -> None:
    assert settings(tree) == tree and sweep(tree) == tree and evaluation(tree) == tree


def test_what_is_of_today_stays() -> None:
    tree = {"rows": [{"choice": {"sampler": "ddim"}}], "sampling": {"guidance_by": "autoguidance"}}
    assert sweep(tree) == tree


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({"memory": "auto", "guidance": "auto", "chunk": None}, {"chunk": None}),
        ({"memory": "channels-first", "compile": "graphs"}, {"compile": "whole"}),
        ({"compile": "no", "guidance": "two-calls"}, {"compile": "no"}),
    ],
)
def test_how_a_machine_is_used_has_fewer_choices(before: dict[str, object], now: dict[str, object]) -> None:
    """That of sampling whose name is guidance stays."""
    tree = {"sampling": {"guidance": 2.0}, "compute": before}
    other = {*before.values()} & {"channels-first", "two-calls"}
    assert len(no_choices(tree)) == len(other) and all(value in no_choices(tree)[0] for value in other)
    assert settings(tree) == {**tree, "compute": now}


@pytest.mark.parametrize("gone", [{"memory": "channels-first"}, {"compile": "blocks"}, {"compile": "graphs"}])
def test_a_run_computed_in_a_way_that_is_gone_is_told_that_it_is_equal_up_to_rounding(
    gone: dict[str, str], tmp_path: Path
) -> None:
    """And one that was computed as all are now says nothing."""
    old = json.loads((OLD / "compute.json").read_text())
    assert computed(old)["machine"] == old["machine"] and "memory" not in computed(old)["choices"]
    old["choices"] |= gone
    (tmp_path / "compute.json").write_text(json.dumps(old))
    said: list[str] = []
    RunFolder(tmp_path).resume_choices(Choices(), ComputeSettings(), old["machine"], said.append)
    assert len(said) == 1 and "equal up to rounding" in said[0]
