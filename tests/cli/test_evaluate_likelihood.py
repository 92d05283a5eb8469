"""`ancestral likelihood`: its price, its table and JSON, how it goes on, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_calls import TINY, call

from ancestral.cli.measure import quarters
from ancestral.data.imageset import Parts
from ancestral.evaluation.bound_sums import Sums
from ancestral.evaluation.likelihood import Likelihood, Measurement, Stretch
from ancestral.jobs.events import FileEvent, NoteEvent, ProgressEvent, ResultEvent
from ancestral.jobs.likelihood import likelihood
from ancestral.jobs.measurement_settings import LikelihoodJobSettings
from ancestral.jobs.measuring import data_of
from ancestral.pipeline import Pipeline
from ancestral.progress import StagedWork, finish
from ancestral.training.run import RunFolder

FEW = ("--images", "20", "--timesteps", "3", "--compute.chunk", "6")


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def kept(run: Path) -> dict[str, Any]:
    return {**json.loads((run / "likelihood.json").read_text()), "seconds": 0}


def stopping(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in a chunk, once `after` chunks are done."""
    real = Measurement.sums

    def interrupted(self: Measurement, chunk: int) -> Sums:
        if chunk == after:
            raise KeyboardInterrupt
        return real(self, chunk)

    monkeypatch.setattr(Measurement, "sums", interrupted)


def test_the_price_comes_first_and_the_terms_are_told_and_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "likelihood", run, *FEW)
    assert code == 0 and "20 images x 4 calls: 80 network calls of one image each, about" in err
    result = Likelihood.model_validate_json((run / "likelihood.json").read_text())
    assert (result.num_images, result.timesteps, result.dims, result.steps) == (20, 3, 64, 1000)
    assert "p(x), no class given" in out and "by quarters" in out and str(run / "likelihood.json") in out
    assert f"{result.total.value:.2f}"[:2] in out and not (run / "likelihood.partial.jsonl").exists()
    code, out, _ = call(capsys, "likelihood", run, *FEW, "--json")
    told = json.loads(out)
    assert told.pop("price")["network_calls"] == 80
    assert {**told, "seconds": 0} == kept(run), "the same seed measures the same"


def test_evaluate_says_the_same_and_the_job_needs_no_command_line(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--images", "8", "--timesteps", "2", "--json")
    told = [
        json.loads(call(capsys, *verb, run, *words).out) for verb in (("likelihood",), ("evaluate", "--likelihood"))
    ]
    for each in told:
        each.update(seconds=0, price=None)
    assert told[0] == told[1]
    kinds = [type(event) for event in likelihood(LikelihoodJobSettings(run=run, num_images=8, timesteps=2))]
    assert kinds == [NoteEvent, ProgressEvent, FileEvent, ResultEvent] and capsys.readouterr().out == ""


def test_interrupted_it_goes_on_to_the_same_figures(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(capsys, "likelihood", run, *FEW).code == 0
    whole = kept(run)
    (run / "likelihood.json").unlink()
    with monkeypatch.context() as patch:
        stopping(2, patch)
        stopped = call(capsys, "likelihood", run, *FEW)
    assert stopped.code == 130 and "stopped; 12 of 20 images" in stopped.err and not (run / "likelihood.json").exists()
    with (run / "likelihood.partial.jsonl").open("a") as file:
        file.write('{"chunk":2,"sums":{"pri')
    again = call(capsys, "likelihood", run, *FEW)
    assert "going on after 12 of 20 images" in again.err and "8 images x 4 calls" in again.err
    assert kept(run) == whole and not (run / "likelihood.partial.jsonl").exists()


def test_other_settings_start_anew(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stopping(2, patch)
        call(capsys, "likelihood", run, *FEW)
    other = call(capsys, "likelihood", run, *FEW, "--seed", "1")
    assert other.code == 0 and "starting anew" in other.err and kept(run)["seed"] == 1


def test_classes_are_given_when_asked(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = call(capsys, "likelihood", run, *FEW, "--chain", "9", "--timesteps", "all", "--given-classes").out
    assert "p(x | class)" in out and "9 steps of T = 1,000, all of them" in out
    assert (kept(run)["given_classes"], kept(run)["steps"], kept(run)["timesteps"]) == (True, 9, 8)


REFUSED = {
    ("--guidance", "2"): "unknown option --guidance",
    ("--inception", "a.pth"): "unknown option --inception",
    ("--images", "1"): "--images: expected at least 2",
    ("--timesteps", "0"): "--timesteps: expected at least 1",
    ("--chain", "0"): "--chain: expected at least 1",
    ("--seed", "-1"): "--seed: expected at least 0",
}


@pytest.mark.parametrize("words", REFUSED, ids=" ".join)
def test_no_option_is_ignored(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "likelihood", "nowhere", *words)
    assert code == 2 and REFUSED[words] in err and len(err.splitlines()) == 1


def test_without_classes_none_can_be_given(unconditional: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "likelihood", unconditional, *FEW, "--given-classes")
    assert code == 2 and "trained without them" in err and not (unconditional / "likelihood.partial.jsonl").exists()


def test_no_test_images_are_one_line(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: as many as is usual of none are none, which no settings allow."""
    real = finish(data_of(run, RunFolder(run).read_config(), Pipeline.load(run, "cpu")))
    none = real._replace(test=real.test.sliced(0, 0))

    def read(*words: object) -> StagedWork[Parts]:
        yield ProgressEvent("decoding", 1, 1)
        return none

    monkeypatch.setattr("ancestral.jobs.likelihood.data_of", read)
    code, _, err = call(capsys, "likelihood", run)
    assert code == 2 and len(err.splitlines()) == 1 and "expected at least 2 test images, got 0" in err


def test_quarters_of_log_snr_share_the_bits(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "likelihood", run, *FEW)
    result = Likelihood.model_validate_json((run / "likelihood.json").read_text())
    bits = {-6.0: 1.0, -2.0: 2.0, -1.9: 1.0, 2.0: 4.0, 6.0: 2.0}
    stretches = tuple(
        Stretch(t=9, s=8, log_snr=level, bits=b, standard_error=0.1, rmse=1.0) for level, b in bits.items()
    )
    amount = result.diffusion.model_copy(update={"value": 10.0})
    told = quarters(result.model_copy(update={"stretches": stretches, "diffusion": amount}))
    assert told.endswith("log-SNR -6.0 to 6.0, by quarters: 10%, 30%, 40%, 20%")


@pytest.mark.slow
def test_a_network_told_the_log_snr_is_measured_at_any_number_of_timesteps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The finer the chain the lower the bound of the same network; one told an index knows its own T alone."""
    model = (
        *("--diffusion.prediction", "levels", "--diffusion.time", "log-snr", "--diffusion.schedule.name", "log-snr"),
        *("--network.output_rank", "4", "--training.loss", "continuous", "--training.steps", "2"),
    )
    assert call(capsys, "train", "digits", *TINY, *model, "--out", tmp_path / "run").code == 0
    totals = {}
    for T in ("60", "5000"):
        words = ("--images", "40", "--timesteps", "30", "--num-timesteps", T, "--json")
        done = call(capsys, "likelihood", tmp_path / "run", *words)
        assert done.code == 0, done.err
        result = json.loads(done.out)
        assert result["num_timesteps"] == int(T) and result["timesteps"] == 30
        totals[T] = result["total"]["value"]
    assert totals["5000"] < 0.95 * totals["60"]


def test_a_network_told_an_index_knows_its_own_timesteps_alone(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = call(capsys, "likelihood", trained, "--num-timesteps", "60")
    assert done.code == 2 and "told the noise itself" in done.err and done.err.count("\n") == 1
