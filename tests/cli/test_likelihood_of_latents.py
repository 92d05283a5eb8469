"""`ancestral likelihood` of a pipeline of latents: three terms, the autoencoder alone, and what is refused."""

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_calls import call
from latent_pipelines import averaging
from pipelines import answering

from ancestral.codec import Codec
from ancestral.data.imageset import Parts
from ancestral.evaluation.likelihood import Likelihood, read_likelihood
from ancestral.evaluation.pixel_likelihood import fitting_decoder
from ancestral.jobs import likelihood
from ancestral.jobs.measuring import data_of
from ancestral.networks.latents import VQCodec
from ancestral.pipeline import Pipeline
from ancestral.progress import finish
from ancestral.report.facts import read_facts
from ancestral.report.measurements import likelihood as section
from ancestral.training.run import RunFolder

FEW = ("--images", "20", "--timesteps", "3", "--compute.chunk", "6")


def latent(monkeypatch: pytest.MonkeyPatch, run: Path, codec: Codec) -> None:
    """From now on the run's pipeline is one of latents, whose network answers something."""
    saved = Pipeline.load(run, "cpu").config
    compute = saved.compute.model_copy(update={"precision": "float32", "chunk": 6})
    config = saved.model_copy(update={"compute": compute})
    spec = Pipeline.load(run, "cpu").spec
    made = answering(Pipeline.fresh(config, spec, "cpu", codec=codec))
    monkeypatch.setattr(Pipeline, "load", lambda *_, **__: made)
    monkeypatch.setattr(likelihood, "likelihood", partial(likelihood.likelihood, load=Pipeline.load))


@pytest.fixture
def run(unconditional: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = Path(shutil.copytree(unconditional, tmp_path / "run"))
    latent(monkeypatch, copy, averaging())
    return copy


def parts_of(run: Path) -> Parts:
    return finish(data_of(run, RunFolder(run).read_config(), Pipeline.load(run)))


def kept(run: Path) -> dict[str, Any]:
    return {**json.loads((run / "likelihood.json").read_text()), "seconds": 0}


def test_three_terms_and_the_autoencoder_alone_are_told_and_kept(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "likelihood", run, *FEW, "--chain", "40", "--flow", "4")
    assert code == 0, err
    result = read_likelihood(run / "likelihood.json")
    assert result.latents is not None and (result.dims, result.latents.dims, result.variance) == (64, 16, "beta")
    for words in ("20 test images of 64 dimensions in 16 latents", "-log p(x|z)", "bound on -log p(z)", "L_0",
                  "the autoencoder alone", "KL(q(z|x) || N(0, I))", "saved over the autoencoder alone",
                  "4 images' latents under the probability flow"):  # fmt: skip
        assert words in out, words
    assert f"{result.total.value:.2f}"[:3] in out and (run / "likelihood.png").is_file()
    told = json.loads(call(capsys, "likelihood", run, *FEW, "--json").out)
    assert told["latents"]["gain"].keys() == {"value", "standard_error"} and told["flow"] is None


def test_pixels_are_fitted_on_images_to_train_on(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trap: a scale that has seen the images it is then measured on."""
    assert call(capsys, "likelihood", run, *FEW).code == 0
    result, parts = read_likelihood(run / "likelihood.json"), parts_of(run)
    train, test = (
        finish(fitting_decoder(averaging(), part, 0, torch.device("cpu"), 6)) for part in (parts.train, parts.test)
    )
    assert result.latents is not None and result.latents.decoder == train != test and train.num_images == 500


def test_stopped_it_goes_on_to_the_same_figures(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ancestral.evaluation.likelihood import Measurement

    assert call(capsys, "likelihood", run, *FEW).code == 0
    whole, real = kept(run), Measurement.sums

    def interrupted(self: Measurement, chunk: int) -> Any:
        if chunk == 2:
            raise KeyboardInterrupt
        return real(self, chunk)

    (run / "likelihood.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Measurement, "sums", interrupted)
        assert call(capsys, "likelihood", run, *FEW).code == 130
    again = call(capsys, "likelihood", run, *FEW)
    assert "going on after 12 of 20 images" in again.err and kept(run) == whole


def test_what_has_no_density_is_one_line(
    unconditional: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = averaging()
    latent(monkeypatch, unconditional, VQCodec(codec.network, codec.mean, codec.std))
    code, _, err = call(capsys, "likelihood", unconditional, *FEW)
    assert code == 2 and err.count("\n") == 1 and "one of VQCodec's latents, of which no density is known" in err


def test_the_report_has_the_terms_and_one_picture(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "likelihood", run, *FEW, "--chain", "40", "--flow", "4").code == 0
    shown = section(read_facts(run))
    result: Likelihood = read_likelihood(run / "likelihood.json")
    assert result.latents is not None and shown.count("<img") == 1
    for words in (
        "given their latents",
        "the autoencoder alone",
        "64 numbers in 16 latents",
        "the latents of 4 images",
    ):
        assert words in shown, words
    assert "Progressive coding" not in shown
