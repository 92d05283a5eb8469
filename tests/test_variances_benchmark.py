"""The comparison of variances: equal trainings, one network under several variances, and tables of the rows."""

import json
from pathlib import Path

import pytest
import torch
from pipelines import answering
from torch import nn

from ancestral.condition import NOTHING_TOLD
from ancestral.data.datasets import load
from ancestral.data.imageset import Parts
from ancestral.evaluation.evaluate import as_pixels
from ancestral.evaluation.likelihood import Amount
from ancestral.pipeline import Pipeline
from ancestral.presets import PRESETS
from ancestral.settings import SamplingSettings
from ancestral.tensors import from_pixels
from benchmarks import variances
from benchmarks.variances import NAMES, Bound, Plan, Record, Row, analytic, as_chosen, bits, in_words, recipe, tables

PLAN = Plan(base="digits", prediction="eps", images=64, steps=4, draw=8, held_out=6, terms=5)
UNCLIPPED = SamplingSettings(sampler="ancestral", steps=4, clip="none")


@pytest.fixture(scope="module")
def digits() -> Parts:
    return load(PRESETS["digits"]().data)


def pipeline_of(digits: Parts, prediction: str = "eps", loss: str = "simple") -> Pipeline:
    plan = PLAN.model_copy(update={"prediction": prediction})
    return answering(Pipeline.fresh(recipe(plan, loss, seed=0), digits.train.spec))


@pytest.mark.parametrize("base", variances.HELD_OUT)
def test_the_two_networks_differ_in_loss_and_variance_alone(base: str) -> None:
    plan = PLAN.model_copy(update={"base": base})
    simple, hybrid = recipe(plan, "simple", 3), recipe(plan, "hybrid", 3)
    assert (simple.training.loss, simple.diffusion.variance) == ("simple", "beta_tilde")
    assert (hybrid.training.loss, hybrid.diffusion.variance) == ("hybrid", "learned")
    as_simple = {
        "training": hybrid.training.model_copy(update={"loss": "simple"}),
        "diffusion": hybrid.diffusion.model_copy(update={"variance": "beta_tilde"}),
    }
    assert hybrid.model_copy(update=as_simple) == simple
    assert (simple.training.images, simple.training.minutes, simple.training.steps) == (64, None, None)
    assert simple.training.timesteps == "stratified" and simple.diffusion.prediction == "eps" and simple.seed == 3


def test_another_variance_is_the_same_network_with_other_noise(digits: Parts) -> None:
    pipeline = pipeline_of(digits, prediction="x0")
    own, small, large = (as_chosen(pipeline, name, digits.train, None, UNCLIPPED) for name in ("", *NAMES[2:0:-1]))
    assert own.network is large.network is pipeline.network
    drawn = [each.generate(range(3), None, UNCLIPPED) for each in (pipeline, own, small, large)]
    assert drawn[0].equal(drawn[1]) and drawn[0].equal(drawn[2]), "beta_tilde is what the pipeline was made with"
    assert not drawn[0].equal(drawn[3])
    assert pipeline.generate(range(3), None, UNCLIPPED).equal(drawn[0]), "the pipeline itself was changed"


def test_the_learned_variance_is_left_to_the_network(digits: Parts) -> None:
    pipeline = pipeline_of(digits, loss="hybrid")
    chosen = as_chosen(pipeline, "learned", digits.train, NOTHING_TOLD, UNCLIPPED)
    assert chosen.diffusion == pipeline.diffusion


def test_a_network_that_says_zero_errs_by_the_images_themselves(digits: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predicting x0 = 0, its mean squared error is the images' mean square at every t, whatever the noise."""
    monkeypatch.setattr(variances, "ESTIMATED_ON", 70)
    monkeypatch.setattr(variances, "ESTIMATED_AT", 6)
    pipeline = pipeline_of(digits, prediction="x0")
    nn.init.zeros_(pipeline.network.conv_out.weight)
    nn.init.zeros_(pipeline.network.conv_out.bias)
    found = analytic(pipeline, digits.train, NOTHING_TOLD, UNCLIPPED).ratio
    seen = from_pixels(as_pixels(digits.train.sliced(0, pipeline.compute.chunk))).double()
    timesteps = pipeline.diffusion.schedule.uniform_log_snr(variances.ESTIMATED_AT)[:-1]
    expected = seen.square().mean() / (1 - pipeline.diffusion.schedule.alpha_bar_at(timesteps))
    torch.testing.assert_close(found[timesteps - 1], expected, rtol=1e-6, atol=0)


def test_the_gain_is_paired_over_the_same_images_and_noise(digits: Parts) -> None:
    pipeline = pipeline_of(digits)
    (bound, images), (again, same) = (bits(PLAN, pipeline, 0, digits.test, "full") for _ in range(2))
    assert images == same and bound == again
    assert sum(images) / len(images) == pytest.approx(bound.total.value, rel=1e-9)
    parts = bound.prior + bound.diffusion + bound.reconstruction
    assert bound.total.value == pytest.approx(parts, rel=1e-12)
    gained = variances._gaining(bound, [bit - 0.5 for bit in images], images)
    assert gained.gain.value == pytest.approx(-0.5) and gained.gain.standard_error < 1e-12


def test_results_of_other_settings_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "variances-digits.json"
    file.write_text(Record(plan=PLAN).model_dump_json())
    asked = ["digits", "--images", "65", "--results", str(tmp_path), "--out", str(tmp_path / "networks")]
    assert variances.main(asked) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "images=64" in said and "images=65" in said and "move it away" in said
    assert json.loads(file.read_text())["rows"] == [] and [*tmp_path.iterdir()] == [file]


def row(seed: int, variance: str, value: float, gain: float) -> Row:
    amount, exact = Amount(value=value, standard_error=0.3), Amount(value=gain, standard_error=0.01)
    bound = Bound(total=amount, prior=0.0, diffusion=value, reconstruction=0.0, gain=exact)
    real = Amount(value=1.0, standard_error=0.1)
    return Row(seed=seed, variance=variance, frechet=amount, real=real, agreement=1.0, strided=bound, full=bound)


def test_with_several_seeds_errors_are_of_their_mean() -> None:
    rows = [row(seed, name, 2.0 * seed + extra, -extra) for seed in (0, 1) for extra, name in enumerate(NAMES)]
    text = tables(Record(plan=PLAN, rows=tuple(rows)))
    summary, differences, every = (block.splitlines()[2:] for block in text.split("\n\n"))
    assert summary[0].startswith("| learned | 2 | 1.0 ± 1.0 |")
    assert [line.split(" | ")[:2] for line in differences] == [
        ["| beta", "-1"],
        ["| beta_tilde", "-2"],
        ["| analytic", "-3"],
    ]
    assert len(every) == 8


def test_with_one_seed_errors_are_of_the_measurement() -> None:
    rows = [row(0, name, 2.0 + extra, -extra) for extra, name in enumerate(NAMES)]
    summary, differences, _ = tables(Record(plan=PLAN, rows=tuple(rows))).split("\n\n")
    assert "| learned | 1 | 2.00 ± 0.30 |" in summary
    assert "| beta | -1.00 ± 0.42 | -1.000 ± 0.010 |" in differences, "distances: 0.3 and 0.3 in squares; bits: paired"
    assert in_words([Amount(value=1.0, standard_error=0.3)]) == "1.00 ± 0.30"
