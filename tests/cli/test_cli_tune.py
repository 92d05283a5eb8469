"""`ancestral tune`: what it stores is what the other verbs compute with, and nothing else decides."""

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_calls import TINY, call, snapshot
from torch import Tensor
from torch.nn import Module
from torch.nn.modules.module import register_module_forward_pre_hook

from ancestral import compute
from ancestral.compute import Choices
from ancestral.jobs import tune as worker
from ancestral.networks.unet import UNet
from ancestral.pipeline import Pipeline
from ancestral.tuning import Trial, Tuning
from ancestral.tuning.choosing import PairedTimes, Speed

FASTEST = Choices(micro_batch=4, chunk=32)
QUICK = ["--minutes", "0.003"]


def found(pipeline: Pipeline, minutes: float, compiling: bool) -> Generator[str, None, Tuning]:
    """What a machine might find that is fastest on four images at a time."""
    usual = compute.defaults(pipeline.device, pipeline.latent_spec).overlaid(pipeline.config.compute)
    comparisons = (
        Trial("training", "micro_batch", None, 4, PairedTimes((2.0, 3.0), (1.0, 1.5)), True),
        Trial("training", "together", "usual", "chosen", PairedTimes((2.0,), (1.0,)), True),
        Trial("generating", "chunk", 64, 128, None, False, "no time left"),
    )
    yield "measuring"
    choices = FASTEST.overlaid(pipeline.config.compute)
    return Tuning(usual, choices, comparisons, {"training": Speed(10.0, 20.0)})


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tuned here is nobody else's; no number of threads comes from outside."""
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is measured."""
    monkeypatch.setattr(worker.tuner, "tuning", found)


@contextmanager
def batches() -> Iterator[list[int]]:
    """Of how many images each call of a U-Net is."""
    seen: list[int] = []

    def look(module: Module, given: tuple[Tensor, ...]) -> None:
        if isinstance(module, UNet):
            seen.append(len(given[0]))

    handle = register_module_forward_pre_hook(look)
    yield seen
    handle.remove()


def tuned(cache: Path) -> list[Path]:
    return [*(cache / "cache" / "tuned").glob("*")]


def test_a_pipeline_is_measured_by_real_steps_and_left_as_it_is(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = snapshot(trained)
    code, out, err = call(capsys, "tune", trained, *QUICK, "--json")
    assert code == 0, err
    tree = json.loads(out)
    assert {each["choice"] for each in tree["comparisons"]} >= {"micro_batch", "chunk"}
    assert Path(tree["stored"]).is_file() and Path(tree["stored"]) in tuned(tmp_path)
    assert snapshot(trained) == before
    assert "left" in err, "progress says how much time is left"
    assert Pipeline.load(trained, "cpu").compute.model_dump() == tree["choices"]


@pytest.mark.usefixtures("made_up")
def test_training_generating_and_evaluating_compute_as_tuned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["digits", *TINY]
    code, out, _ = call(capsys, "tune", *words)
    assert code == 0 and "micro_batch 4, chunk 32" in out and str(tuned(tmp_path)[0]) in out
    train = call(capsys, "train", *words, "--training.steps", "1", "--out", "run")
    assert train.code == 0 and "4 images at a time (as tuned)" in train.out
    stored = json.loads((tmp_path / "run" / "compute.json").read_text())["choices"]
    assert (stored["micro_batch"], stored["chunk"]) == (4, 32)

    few = ["--num-images", "40", "--steps", "1"]
    with batches() as chunks:
        assert call(capsys, "sample", "run", *few).code == 0
    assert chunks[-2:] == [32, 8] and max(chunks) == 32
    with batches() as chunks:
        assert call(capsys, "sample", "run", *few, "--compute.chunk", "16").code == 0
    assert chunks[-3:] == [16, 16, 8] and max(chunks) == 16, "what is asked for outranks what was measured"


@pytest.mark.usefixtures("made_up", "quick_features")
def test_evaluating_takes_settings_of_computing_too(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with batches() as chunks:
        assert call(capsys, "evaluate", trained, "--images", "8", "--compute.chunk", "5", "--steps", "1").code == 0
    assert chunks[-2:] == [5, 3] and max(chunks) == 5


@pytest.mark.usefixtures("made_up")
def test_a_run_that_began_before_goes_on_as_it_began(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trap: a resumed run that is no longer the uninterrupted one because its machine was tuned meanwhile."""
    words = ["digits", *TINY, "--out", "run", "--training.steps"]
    call(capsys, "train", *words, "1")
    before = (tmp_path / "run" / "compute.json").read_text()
    call(capsys, "tune", "digits", *TINY)
    out = call(capsys, "train", *words, "2", "--training.lr_schedule", "cosine").out
    assert (tmp_path / "run" / "compute.json").read_text() == before and "tuned" not in out


@pytest.mark.usefixtures("made_up")
def test_a_dry_run_stores_nothing_and_forgetting_takes_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["tune", "digits", *TINY]
    assert "nothing is stored" in call(capsys, *words, "--dry-run").out and tuned(tmp_path) == []
    assert "nothing was stored" in call(capsys, *words, "--forget").out
    call(capsys, *words)
    (file,) = tuned(tmp_path)
    assert str(file) in call(capsys, *words, "--forget").out and tuned(tmp_path) == []
    call(capsys, *words)
    assert json.loads(call(capsys, *words, "--forget", "--json").out) == {"forgotten": str(file)}


@pytest.mark.usefixtures("made_up")
def test_the_table_says_what_was_tried_and_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    out = call(capsys, "tune", "digits", *TINY, "--dry-run").out
    (parts,) = [line.split() for line in out.splitlines() if "micro_batch" in line and "chosen" not in line]
    assert parts == ["micro_batch", "4", "as", "usual", "2.00", "x", "2", "taken"]
    assert "no time left" in out
    assert "training: 20.0 images/s, with the usual choices 10.0" in out


@pytest.mark.usefixtures("made_up")
def test_json_is_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    called = call(capsys, "tune", "digits", *TINY, "--dry-run", "--json", "--compute.threads", "1")
    tree = json.loads(called.out)
    assert {*tree} == {"machine", "usual", "choices", "comparisons", "images_per_second", "stored"}
    assert tree["stored"] is None and tree["choices"]["threads"] == 1
    first, last = tree["comparisons"][0], tree["comparisons"][-1]
    assert (first["ratio"], first["ratios"], first["taken"]) == (2.0, [2.0, 2.0], True)
    assert (last["ratio"], last["ratios"], last["note"]) == (None, [], "no time left")
    assert tree["images_per_second"]["training"] == {"before": 10.0, "after": 20.0}


@pytest.mark.usefixtures("made_up")
def test_a_settings_file_names_the_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_text(
        "compute.chunk = 9\n[network]\nwidths = [16]\nnorm_groups = 4\nattention = []\n"
    )
    tree = json.loads(call(capsys, "tune", "--config", "mine.toml", "--dry-run", "--json").out)
    assert tree["choices"]["chunk"] == 9


@pytest.mark.usefixtures("made_up")
def test_a_run_and_its_pipeline_are_one_network(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(capsys, "tune", trained)
    call(capsys, "tune", trained / "pipeline")
    assert len(tuned(tmp_path)) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "expected a preset"),
        (("digitz",), "did you mean digits"),
        (("digits", "--minutes", "0"), "--minutes: expected more than 0"),
        (("digits", "--minutes", "nan"), "--minutes: expected a finite number"),
        (("digits", "--forget", "--minutes", "1"), "--forget alone"),
        (("digits", "--compute.thread", "1"), "compute.threads"),
        (("digits", "--compute.threads", "0"), "compute.threads"),
        (("RUN", "--network.widths", "8"), "only --compute settings"),
        (("RUN", "--compute.chunk", "0"), "chunk"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(
    words: tuple[str, ...], message: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    called = call(capsys, "tune", *(str(trained) if word == "RUN" else word for word in words))
    assert called.code == 2 and message in called.err and called.err.count("\n") == 1


@pytest.mark.usefixtures("made_up")
def test_a_busy_machine_is_warned_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap: one thread found fastest beside another training run, and kept for good."""
    for load, warned in ((1000.0, True), (0.0, False)):
        monkeypatch.setattr(worker.os, "getloadavg", lambda load=load: (load, load, load))
        assert ("busy" in call(capsys, "tune", "digits", *TINY, "--dry-run").err) == warned
