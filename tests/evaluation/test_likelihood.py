"""Bits per dimension as a measurement: the sample is unbiased, its errors are true, its parts add up."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pipelines import TINY, answering
from torch import Tensor

from ancestral.data.datasets import load
from ancestral.data.imageset import ImageSet
from ancestral.diffusion.likelihood import bound_terms
from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import log_snr_linear, zero_terminal_snr
from ancestral.errors import InputError, NonFinite
from ancestral.evaluation.bound_sums import Subsample, Sums, chunk_sums, divided
from ancestral.evaluation.likelihood import Likelihood, error_within, mean, planned
from ancestral.evaluation.settings import LikelihoodSettings
from ancestral.oracles import GaussianData, double, eps_process
from ancestral.pipeline import Pipeline
from ancestral.rng import ImageNoise
from ancestral.settings import Config, CosineSchedule, DiffusionSettings, SamplingSettings, merged
from ancestral.tensors import from_pixels

SCHEDULE = log_snr_linear(21, 9.0, -6.0)
DIFFUSION = eps_process(SCHEDULE)
FULL = torch.arange(21, -1, -1)
STEPS = 20


def denoise(x_t: Tensor, t: Tensor) -> Prediction:
    """Of other Gaussian data than these pixels: affine, and wrong."""
    return GaussianData(SCHEDULE, double(0.1), double(0.3))(x_t, t)


def pixels(count: int, seed: int, dims: int = 3) -> Tensor:
    """Gaussian data on the 256 levels, (count, dims)."""
    x = torch.randn(count, dims, generator=torch.Generator().manual_seed(seed)) * 0.4
    return from_pixels(((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)).double()


def sums_of(x0: Tensor, draws: int, seed: int = 0, noise: Callable[[], Tensor] | None = None) -> Sums:
    sample = Subsample(seed, len(x0), len(x0), STEPS, draws)
    noise = noise or ImageNoise(sample.noise_seeds(torch.arange(len(x0))), x0.shape[1:], dtype=torch.float64)
    walk = divided(SCHEDULE, FULL, sample.widest_gap)
    return chunk_sums(DIFFUSION, denoise, x0, walk, sample, sample.visits(0, len(x0)), noise)


def totals(sums: Sums) -> list[float]:
    return [sum(terms) for terms in zip(sums.prior, sums.diffusion, sums.reconstruction, strict=True)]


# Which steps are visited.


@pytest.mark.parametrize(("steps", "draws"), [(10, 3), (7, 5), (999, 32), (4, 2)])
def test_every_step_is_visited_alike(steps: int, draws: int) -> None:
    """Also where the parts end inside a step."""
    of_an_image = [Subsample(seed, 50, 1, steps, draws).visits(0, 1)[0] for seed in range(400)]
    part = torch.stack(of_an_image).double() / steps * draws
    assert bool(((part.diff(dim=1)) >= 0).all()), "in rising order"
    assert part.mean(0).tolist() == pytest.approx((torch.arange(draws) + 0.5 - draws / steps / 2).tolist(), abs=0.08)
    over_images = torch.bincount(Subsample(1, 3000, 3000, steps, draws).visits(0, 3000).flatten(), minlength=steps)
    assert (over_images - 3000 * draws / steps).abs().max() < 6, "chance would leave some 50 away"


@given(st.integers(1, 60), st.integers(2, 90), st.integers(1, 20), st.integers(0, 5))
def test_no_stretch_of_the_widest_gap_is_left_out(images: int, steps: int, draws: int, seed: int) -> None:
    sample = Subsample(seed, images, images, steps, min(draws, steps))
    seen = sorted({-1, *sample.visits(0, images).flatten().tolist(), steps})
    assert max(b - a - 1 for a, b in pairwise(seen)) < max(sample.widest_gap, 1)


def test_an_image_is_given_the_same_whatever_else_is_measured() -> None:
    few, many = Subsample(3, 100, 10, 50, 7), Subsample(3, 100, 60, 50, 7)
    assert few.images().tolist() == many.images()[:10].tolist() and len({*many.images().tolist()}) == 60
    assert few.visits(0, 10).tolist() == many.visits(0, 60)[:10].tolist()
    assert few.visits(4, 6).tolist() == few.visits(0, 10)[4:6].tolist()
    assert few.images().tolist() != Subsample(4, 100, 10, 50, 7).images().tolist()


def test_images_are_chosen_alike() -> None:
    chosen = torch.stack([torch.bincount(Subsample(seed, 20, 5, 9, 3).images(), minlength=20) for seed in range(400)])
    assert chosen.double().mean(0).tolist() == pytest.approx([0.25] * 20, abs=0.08)


# The estimate.


@pytest.mark.parametrize("draws", [2, 3, 7])
def test_a_sample_of_timesteps_is_unbiased_against_the_full_sum(draws: int) -> None:
    """The terms span three orders of magnitude; at noise that is always the same, only the choice of t is random."""
    x0 = pixels(1, 0).expand(1000, -1)
    noise = torch.tensor([0.5, -1.2, 0.9]).double().expand_as(x0)
    everything = sums_of(x0[:1], STEPS, noise=lambda: noise[:1])
    part = sums_of(x0, draws, noise=lambda: noise)
    assert sum(part.diffusion) / 1000 == pytest.approx(everything.diffusion[0], rel=5e-3)
    assert part.reconstruction[0] == everything.reconstruction[0] and part.prior[0] == everything.prior[0]
    within = Subsample(0, 1000, 1000, STEPS, draws).widest_gap
    assert len(part.bits) == len(everything.bits) == STEPS and within == 1
    assert [bits / 1000 for bits in part.bits] == pytest.approx(everything.bits, rel=0.03)


@pytest.mark.parametrize("draws", [2, 5, STEPS])
def test_error_bars_cover(draws: int) -> None:
    """200 measurements of fresh images: about 68 % within one error of their common mean, which is the truth."""
    samples = [Subsample(seed, 40, 40, STEPS, draws) for seed in range(200)]
    x0, walk = pixels(8000, 0), divided(SCHEDULE, FULL, 1)
    visits = torch.cat([sample.visits(0, 40) for sample in samples])
    normal = torch.Generator().manual_seed(1)
    sums = chunk_sums(
        DIFFUSION, denoise, x0, walk, samples[0], visits, lambda: torch.randn(8000, 3, generator=normal).double()
    )
    estimates = [mean(values) for values in torch.tensor(totals(sums)).reshape(200, 40).tolist()]
    truth = mean([estimate.value for estimate in estimates])
    hits = [abs(estimate.value - truth.value) < estimate.standard_error for estimate in estimates]
    assert 0.6 < sum(hits) / 200 < 0.85, "more is allowed than less: timesteps are spread evenly"
    spread, told = truth.standard_error * math.sqrt(200), mean([e.standard_error for e in estimates]).value
    assert 0.7 < spread / told < 1.1


@pytest.mark.parametrize("draws", [2, 5, 6])
def test_the_error_of_timesteps_is_what_is_left_when_images_are_all_alike(draws: int) -> None:
    found = [sums_of(pixels(1, 7).expand(300, -1), draws, seed) for seed in range(6)]
    whole = mean([mean(sums.diffusion).standard_error ** 2 for sums in found]).value
    within = mean([error_within([sums]) ** 2 for sums in found]).value
    assert 0.8 < within / whole < (1.25 if draws % 2 == 0 else 2.5), "an odd one out is counted twice"


def test_the_error_of_timesteps_is_small_when_only_images_differ() -> None:
    sums = sums_of(pixels(60, 1), STEPS, noise=lambda: torch.ones(60, 3).double())
    assert error_within([sums]) < 0.3 * mean(sums.diffusion).standard_error


def test_every_term_of_every_image_is_that_of_the_bound() -> None:
    x0, draws = pixels(5, 3), ImageNoise(range(5), (3,), dtype=torch.float64)
    first, *rest = [draws() for _ in range(STEPS + 1)]
    sums = sums_of(x0, STEPS, noise=iter([first, *rest]).__next__)
    terms = [*bound_terms(DIFFUSION, denoise, x0, FULL, iter([*rest, first]).__next__)]
    bits = torch.stack([term.nats for term in terms]) / math.log(2) / 3
    assert sums.prior == pytest.approx(bits[0].tolist(), rel=1e-12)
    assert sums.reconstruction == pytest.approx(bits[-1].tolist(), rel=1e-12)
    assert sums.diffusion == pytest.approx(bits[1:-1].sum(0).tolist(), rel=1e-12)
    assert sums.bits == pytest.approx(bits[1:-1].sum(1).tolist(), rel=1e-12)


def test_the_error_of_the_predicted_image_is_in_pixel_levels() -> None:
    x0 = pixels(6, 2)

    def five_levels_off(x_t: Tensor, t: Tensor) -> Prediction:
        return Prediction(t, x0 + 5 / 127.5, x_t)

    sample = Subsample(0, 6, 6, STEPS, 4)
    walk = divided(SCHEDULE, FULL, sample.widest_gap)
    sums = chunk_sums(DIFFUSION, five_levels_off, x0, walk, sample, sample.visits(0, 6), lambda: x0 * 0)
    assert sum(sums.visits) == 24 and min(sums.visits) > 0
    errors = [error / visits for error, visits in zip(sums.errors_squared, sums.visits, strict=True)]
    assert errors == pytest.approx([25.0] * len(errors))


def test_a_chain_is_divided_evenly_in_log_snr_from_end_to_end() -> None:
    for chain in (torch.arange(21, -1, -1), torch.tensor([21, 15, 14, 6, 2, 1, 0])):
        walk = divided(SCHEDULE, chain, 1)
        assert walk.edges == tuple(range(len(chain) - 1)), "as few steps as these are a stretch each"
    long = divided(log_snr_linear(1000), torch.arange(1000, -1, -1), 1)
    lengths = torch.tensor(long.edges).diff()
    assert len(lengths) == 64 and set(lengths.tolist()) == {15, 16} and (long.edges[0], long.edges[-1]) == (0, 999)
    assert torch.tensor(divided(log_snr_linear(1000), long.chain, 40).edges).diff().min() >= 40
    assert divided(SCHEDULE, torch.tensor([21, 0]), 1).edges == ()


# Of a network.


CONFIG = Config(
    diffusion=DiffusionSettings(schedule=CosineSchedule(num_timesteps=12)),
    network=TINY,
    sampling=SamplingSettings(steps=4),
)


@pytest.fixture(scope="module")
def images() -> ImageSet:
    return load(CONFIG.data).test


def pipeline_of(images: ImageSet, chunk: int = 8, changes: dict[str, object] | None = None) -> Pipeline:
    compute = {"chunk": chunk, "precision": "float32"}
    config = merged(CONFIG, {"compute": compute, **(changes or {})}, "test")
    return answering(Pipeline.fresh(config, images.spec, "cpu"))


def measured(pipeline: Pipeline, images: ImageSet, **settings: object) -> Likelihood:
    plan = planned(pipeline, images, LikelihoodSettings.model_validate(settings))
    return plan.result([plan.sums(chunk) for chunk in range(plan.num_chunks)])


@pytest.mark.parametrize("timesteps", [5, None])
def test_the_figures_do_not_depend_on_the_batch(images: ImageSet, timesteps: int | None) -> None:
    one, other = (measured(pipeline_of(images, chunk), images, num_images=13, timesteps=timesteps) for chunk in (3, 8))
    assert one.total.value == pytest.approx(other.total.value, rel=1e-6)
    assert one.error_from_timesteps == pytest.approx(other.error_from_timesteps, rel=1e-5)
    for left, right in zip(one.stretches, other.stretches, strict=True):
        assert tuple(left.model_dump().values()) == pytest.approx(tuple(right.model_dump().values()), rel=1e-5)


def test_the_parts_add_up(images: ImageSet) -> None:
    result = measured(pipeline_of(images), images, num_images=20, timesteps=4, seed=3)
    assert result.diffusion.value == sum(stretch.bits for stretch in result.stretches)
    terms = result.prior, result.diffusion, result.reconstruction
    assert result.total.value == sum(term.value for term in terms)
    squares = result.error_from_images**2 + result.error_from_timesteps**2
    assert result.total.standard_error == pytest.approx(math.sqrt(squares)) and result.error_from_timesteps > 0
    assert (result.dims, result.num_timesteps, result.steps, result.timesteps) == (64, 12, 12, 4)
    ends = [(stretch.t, stretch.s) for stretch in result.stretches]
    assert (ends[0][0], ends[-1][1]) == (12, 1) and all(a[1] == b[0] for a, b in pairwise(ends))
    assert [*(stretch.log_snr for stretch in result.stretches)] == sorted(
        stretch.log_snr for stretch in result.stretches
    )
    assert Likelihood.model_validate_json(result.model_dump_json()) == result


def test_a_class_is_given_only_when_asked(images: ImageSet) -> None:
    """Trap: figures of p(x | class) beside published ones of p(x)."""
    pipeline = pipeline_of(images)
    forgotten = images.labels is not None and ImageSet(
        images.images, images.labels * 0, images.class_names, None, None, images.hash
    )
    assert isinstance(forgotten, ImageSet)
    without = measured(pipeline, images, num_images=8, timesteps=2)
    given_classes = measured(pipeline, images, num_images=8, timesteps=2, given_classes=True)
    assert (without.given_classes, given_classes.given_classes) == (False, True)
    assert without.total == measured(pipeline, forgotten, num_images=8, timesteps=2).total
    assert given_classes.total != measured(pipeline, forgotten, num_images=8, timesteps=2, given_classes=True).total


def test_what_is_clipped_when_drawn_is_not_when_measured(images: ImageSet) -> None:
    drawn = [{"sampling": {"clip": clip, "guidance": guidance}} for clip, guidance in (("none", 1), ("static", 3))]
    plain, other = (measured(pipeline_of(images, 8, changes), images, num_images=8, timesteps=3) for changes in drawn)
    assert plain.total == other.total


def test_a_strided_chain_and_no_signal_at_its_end(images: ImageSet) -> None:
    changes = {"diffusion": {"prediction": "v", "schedule": {"zero_terminal_snr": True}}}
    pipeline = pipeline_of(images, 8, changes)
    result = measured(pipeline, images, num_images=8, timesteps=None, chain=6)
    assert result.prior.value == pytest.approx(0, abs=1e-12) and (result.steps, result.timesteps) == (6, 5)
    assert all(math.isfinite(stretch.log_snr) for stretch in result.stretches)
    chain = zero_terminal_snr(pipeline_of(images).diffusion.schedule).uniform_log_snr(6).tolist()
    assert [stretch.t for stretch in result.stretches] == chain[:-2]


def test_chains_of_one_and_two_steps(images: ImageSet) -> None:
    one = measured(
        pipeline_of(images, 8, {"diffusion": {"schedule": {"num_timesteps": 1}}, "sampling": {"steps": 1}}), images
    )
    assert (one.steps, one.timesteps, one.stretches, one.diffusion.value) == (1, 0, (), 0)
    two = measured(pipeline_of(images), images, chain=2, timesteps=1)
    assert (two.steps, two.timesteps, len(two.stretches)) == (2, 1, 1)


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({}, {"timesteps": 1}, "at least 2 timesteps"),
        ({}, {"num_images": 1}, "expected 2 to 180 images"),
        ({}, {"num_images": 181}, "got 181"),
        ({}, {"chain": 13}, "2 to T = 12 steps, got 13"),
        ({}, {"chain": 1}, "got 1"),
        ({"training": {"label_dropout": 0.0}}, {}, "--given-classes"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    images: ImageSet, changes: dict[str, object], settings: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        planned(pipeline_of(images, 8, changes), images, LikelihoodSettings.model_validate(settings))


def test_weights_that_are_no_numbers_are_told_in_one_line(images: ImageSet) -> None:
    pipeline = pipeline_of(images)
    with torch.no_grad():
        next(iter(pipeline.network.parameters())).fill_(math.nan)
    with pytest.raises(NonFinite, match=r"the weights are no numbers, conv_in\.weight first") as told:
        measured(pipeline, images, num_images=4)
    assert "\n" not in str(told.value)
