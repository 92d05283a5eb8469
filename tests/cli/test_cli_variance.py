"""`ancestral variance`, and what takes the analytic variance from the pipeline folder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cli_calls import call

from ancestral.pipeline import Pipeline
from ancestral.pipeline.folder import VARIANCE_FILE
from ancestral.viz.png_texts import read_metadata


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def test_what_is_measured_is_drawn_by_and_measured_with(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network of two steps knows next to nothing: the best variance is far above beta_tilde, and says so in bits."""
    done = call(capsys, "variance", run, "--images", "12", "--timesteps", "9")
    assert done.code == 0 and "12 held-out images at 9 timesteps" in done.out
    pipeline = Pipeline.load(run)
    assert pipeline.analytic is not None and len(pipeline.analytic.ratio) == 1000
    assert float(pipeline.analytic.ratio[-1]) > 0.5
    words = ("sample", run, "--num-images", "2", "--steps", "4", "--sampler", "ancestral")
    assert call(capsys, *words, "--variance", "analytic", "--out", "a", "--each").code == 0
    assert call(capsys, *words, "--variance", "beta_tilde", "--out", "b", "--each").code == 0
    assert Path("a/seed-0.png").read_bytes() != Path("b/seed-0.png").read_bytes()
    assert read_metadata(Path("a/seed-0.png"))["variance"] == "analytic"
    totals = {}
    for variance in ("analytic", "beta_tilde"):
        likelihood = (
            "likelihood",
            run,
            "--images",
            "8",
            "--chain",
            "5",
            "--variance",
            variance,
            "--json",
        )
        done = call(capsys, *likelihood)
        assert done.code == 0, done.err
        totals[variance] = json.loads(done.out)
        assert totals[variance]["variance"] == variance
    assert totals["analytic"]["diffusion"]["value"] < totals["beta_tilde"]["diffusion"]["value"]


def test_the_batch_size_does_not_matter(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ancestral.data.datasets import load
    from ancestral.jobs.variance import measured
    from ancestral.progress import finish
    from ancestral.settings import ComputeSettings

    grid = torch.tensor([1000, 300, 20])
    tables = []
    for chunk in (3, 64):
        pipeline = Pipeline.load(run, "cpu", ComputeSettings(chunk=chunk))
        held_out = load(pipeline.config.data).validation.sliced(0, 8)
        tables.append(finish(measured(pipeline, held_out, grid, 0)).ratio)
    torch.testing.assert_close(tables[0], tables[1], rtol=1e-5, atol=0)


def test_a_measurement_on_more_images_stays(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["variance", run, "--timesteps", "2", "--images"]
    assert call(capsys, *words, "4").code == call(capsys, *words, "4").code == 0
    before = (run / "pipeline" / VARIANCE_FILE).read_bytes()
    code, out, err = call(capsys, *words, "3")
    assert (code, out, len(err.splitlines())) == (2, "", 1) and "4 images" in err and "--overwrite" in err
    assert (run / "pipeline" / VARIANCE_FILE).read_bytes() == before
    assert call(capsys, *words, "3", "--overwrite").code == 0


def test_it_belongs_to_its_weights(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "variance", run, "--images", "4", "--timesteps", "3").code == 0
    file = run / "pipeline" / VARIANCE_FILE
    file.write_text(json.dumps({**json.loads(file.read_text()), "weights": "of others"}))
    assert Pipeline.load(run).analytic is None
    done = call(
        capsys, "sample", run, "--num-images", "1", "--steps", "2", "--sampler", "ancestral", "--variance", "analytic"
    )
    assert done.code == 2 and "run `ancestral variance` first" in done.err
    done = call(capsys, "likelihood", run, "--images", "4", "--variance", "analytic")
    assert done.code == 2 and "run `ancestral variance` first" in done.err


def test_it_stays_with_a_pipeline_that_is_copied_by_loading_and_saving(run: Path, tmp_path: Path) -> None:
    from ancestral.diffusion.variances import Analytic

    analytic = Analytic(torch.linspace(1, 0, 1000, dtype=torch.float64))
    replace(Pipeline.load(run), analytic=analytic).save(tmp_path / "copy")
    again = Pipeline.load(tmp_path / "copy").analytic
    assert again is not None and torch.equal(again.ratio, analytic.ratio)


@pytest.mark.parametrize("content", ["{", '{"weights": "x", "ratio": [1.0]}', '{"ratio": []}', "[]"])
def test_a_damaged_file_is_one_line(run: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "pipeline" / VARIANCE_FILE).write_text(content)
    done = call(capsys, "sample", run, "--num-images", "1")
    assert done.code == 2 and "variance.json is damaged" in done.err and done.err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--images", "1"), "--images: expected at least 2"),
        (("--timesteps", "0"), "--timesteps: expected at least 1"),
        (("--seed", "x"), "--seed"),
    ],
)
def test_wrong_words_are_one_line(run: Path, words: tuple, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "variance", run, *words)
    assert done.code == 2 and message in done.err and done.err.count("\n") == 1


def test_a_variance_is_the_ancestral_samplers(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "sample", run, "--num-images", "1", "--variance", "beta")
    assert done.code == 2 and "no variance with the sampler ddim" in done.err


def test_a_network_that_has_learned_its_own_has_no_use_for_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from cli_calls import TINY

    learned = ("--diffusion.variance", "learned", "--training.loss", "hybrid", "--training.steps", "1")
    assert call(capsys, "train", "digits", *TINY, *learned, "--out", tmp_path / "learned").code == 0
    done = call(capsys, "variance", tmp_path / "learned")
    assert done.code == 2 and "has learned its own" in done.err
