"""The probability flow beside the bound: what a chain's steps miss on Gaussian data, and the plumbing of networks."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from pipelines import untrained
from torch import Tensor

from ancestral.condition import NOTHING_TOLD
from ancestral.data.imageset import ImageSet
from ancestral.diffusion.probability_flow import Exact
from ancestral.diffusion.schedules import cosine, log_snr_linear
from ancestral.diffusion.variances import Variance, beta, beta_tilde
from ancestral.errors import InputError
from ancestral.evaluation.bound_sums import Subsample
from ancestral.evaluation.evaluate import as_pixels
from ancestral.evaluation.flow_check import BoundPair, add_flow_check, flow_grid, paired
from ancestral.evaluation.flow_check import flow_check as checking
from ancestral.evaluation.likelihood import FlowCheck, planned
from ancestral.evaluation.settings import LikelihoodSettings
from ancestral.gaussian import DiagonalGaussian
from ancestral.oracles import GaussianData, entropy, eps_process
from ancestral.pipeline import Pipeline
from ancestral.progress import finish


def flow_check(*words: Any, **more: Any) -> FlowCheck:
    return finish(checking(*words, **more))


MEAN, SPREAD = torch.tensor([0.3, -0.5]).double(), torch.tensor([0.03, 2.0]).double()
SCHEDULE = log_snr_linear(100, 5.0, -9.0)
ORACLE = GaussianData(SCHEDULE, MEAN, SPREAD)
CHAIN = SCHEDULE.uniform_log_snr(8)
DENSITY = DiagonalGaussian.log_prob


def gaussian(variance: Variance, decoder: Any = DENSITY, count: int = 3000) -> BoundPair:
    """Both bounds of Gaussian data in nats, by its exact denoiser and a chain of 8 steps."""
    random = torch.Generator().manual_seed(0)

    def normal() -> Tensor:
        return torch.randn(count, 2, generator=random, dtype=torch.float64)

    x0, diffusion = MEAN + SPREAD.sqrt() * normal(), eps_process(SCHEDULE, variance)
    return paired(diffusion, ORACLE, x0, CHAIN, flow_grid(SCHEDULE, 100), Exact(), normal, decoder)


def missed(widths: list[Tensor]) -> float:
    """(2) for Gaussian steps of the right means and these variances, one for every step but the last."""
    total = 0.0
    for (t, s), width in zip(itertools.pairwise(CHAIN[:-1]), widths, strict=True):
        true = ORACLE.reverse_variance(t, s)
        total += float(0.5 * (true / width - 1 - torch.log(true / width)).sum())
    return total


@pytest.mark.parametrize("name", ["beta", "beta_tilde"])
def test_the_flow_lies_below_the_bound_by_what_the_chain_s_steps_miss(name: str) -> None:
    variance = {"beta": beta, "beta_tilde": beta_tilde}[name]
    widths = [getattr(SCHEDULE, name)(t, s) for t, s in itertools.pairwise(CHAIN[:-1])]
    pair = gaussian(variance)
    difference = pair.bound - pair.flow
    error = float(difference.std()) / len(difference) ** 0.5
    assert missed(widths) > 15 * error
    assert float(difference.mean()) == pytest.approx(missed(widths), abs=4 * error)


def test_with_the_exact_variance_both_are_the_entropy() -> None:
    """The last step's variance is exact too, so the flow's every draw is a density: only the end at T is missing."""
    pair = gaussian(ORACLE.exact)
    difference = pair.bound - pair.flow
    assert abs(float(difference.mean())) < 4 * float(difference.std()) / len(difference) ** 0.5 < 0.15
    for nats in pair:
        error = float(nats.std()) / len(nats) ** 0.5
        assert float(nats.mean()) == pytest.approx(float(entropy(SPREAD).sum()), abs=4 * error)


def test_both_share_the_decoder_and_its_draw() -> None:
    """Trap: two draws of L_0, the noisiest term there can be, in a difference that has none."""

    def loud(p: DiagonalGaussian, x0: Tensor) -> Tensor:
        return 100 * p.log_prob(x0)

    quiet, noisy = (gaussian(beta_tilde, decoder, 50) for decoder in (DENSITY, loud))
    assert (noisy.bound - quiet.bound).abs().min() > 1
    assert torch.allclose(noisy.bound - noisy.flow, quiet.bound - quiet.flow, rtol=0, atol=1e-9)


@pytest.mark.parametrize("steps", [1, 7, 40, 1000, 5000])
def test_the_flow_s_grid_is_even_in_its_own_variable(steps: int) -> None:
    schedule = cosine(1000)
    grid = flow_grid(schedule, steps, 3)
    assert (grid[0], grid[-1]) == (1000, 3) and bool((grid.diff() < 0).all()) and len(grid) <= steps + 1
    if steps >= 5000:
        assert len(grid) > 950
    u = torch.log((1 + schedule.alpha_bar_at(grid).sqrt()) / (1 - schedule.alpha_bar_at(grid)).sqrt())
    whole = torch.log((1 + schedule.alpha_bar[3:].sqrt()) / (1 - schedule.alpha_bar[3:]).sqrt())
    coarsest = max(float((whole[0] - whole[-1]) / steps), float(whole.diff().abs().max()))
    assert float(u.diff().max()) < 2 * coarsest + 1e-9


# Networks

SHORT: dict[str, Any] = {
    "diffusion": {"schedule": {"name": "log-snr", "num_timesteps": 9}},
    "sampling": {"steps": 5},
}


def pipeline(classes: tuple[str, ...] = (), **compute: Any) -> Pipeline:
    """One whose weights are no longer its zeros, and small: the flow bends little, so few probes come near."""
    made, random = untrained((1, 2, 2), classes, {**SHORT, "compute": compute}), torch.Generator().manual_seed(0)
    for weight in made.network.parameters():
        torch.nn.init.normal_(weight, std=0.15, generator=random)
    return made


def held_out(classes: int = 0, count: int = 12) -> ImageSet:
    random = np.random.default_rng(0)
    labels = np.arange(count) % classes if classes else None
    images = random.integers(0, 256, (count, 2, 2, 1), dtype=np.uint8)
    return ImageSet(images, labels, tuple(map(str, range(classes))), None, None, "made up")


PIXELS = as_pixels(held_out())


def test_probes_estimate_the_exact_divergence() -> None:
    exact, estimate = (flow_check(pipeline(), PIXELS[:4], NOTHING_TOLD, 9, probes) for probes in (0, 16))
    assert estimate.bound == exact.bound and (exact.probes, exact.num_images) == (0, 4) and 6 <= exact.steps <= 8
    assert 1e-6 < abs(estimate.flow.value - exact.flow.value) < 0.02


def test_a_difference_is_that_of_the_two_figures() -> None:
    check = flow_check(pipeline(), PIXELS, NOTHING_TOLD, 4, 2)
    assert check.difference.value == pytest.approx(check.bound.value - check.flow.value, abs=1e-9)


def test_an_image_s_figures_do_not_depend_on_the_batch() -> None:
    """Nor on the precision that the pipeline draws in: a Jacobian in bfloat16 is noise."""
    whole = flow_check(pipeline(), PIXELS[:5], NOTHING_TOLD, 4, 2)
    told = [*checking(pipeline(chunk=2), PIXELS[:5], NOTHING_TOLD, 4, 2)]
    parts = flow_check(pipeline(chunk=2), PIXELS[:5], NOTHING_TOLD, 4, 2)
    assert parts.flow.value == pytest.approx(whole.flow.value, abs=1e-4)
    assert parts.bound.value == pytest.approx(whole.bound.value, abs=1e-4)
    assert told == [(2, 5), (4, 5), (5, 5)]
    coarse = pipeline(precision="bfloat16")
    assert flow_check(coarse, PIXELS[:5], NOTHING_TOLD, 4, 2) == whole
    assert coarse.compute.precision == "bfloat16"


def test_it_is_added_for_the_images_measured_and_along_their_chain() -> None:
    model, images = pipeline(("a", "b")), held_out(2)
    measured = planned(model, images, LikelihoodSettings(num_images=6, chain=6, seed=3, given_classes=True))
    result = measured.result([measured.sums(0)])
    added = finish(add_flow_check(model, images, result, 4, steps=4, probes=2))
    places = Subsample(3, 12, 6, 5, 5).images()[:4]
    chain = model.diffusion.schedule.uniform_log_snr(6)
    condition = images.condition(model.spec, places.numpy())
    by_hand = flow_check(model, as_pixels(images)[places], condition, 4, 2, seed=3, chain=chain)
    assert added.flow == by_hand and added.model_copy(update={"flow": None}) == result
    assert flow_check(model, as_pixels(images)[places], NOTHING_TOLD, 4, 2, seed=3, chain=chain) != by_hand


def test_a_check_of_something_else_is_refused() -> None:
    model, images = pipeline(), held_out()
    measured = planned(model, images, LikelihoodSettings(num_images=4))
    result = measured.result([measured.sums(0)])
    with pytest.raises(InputError, match="at most the 4 images"):
        finish(add_flow_check(model, images, result, 5))
    with pytest.raises(InputError, match="measure it again"):
        others = result.model_copy(update={"weights": "others"})
        finish(add_flow_check(model, images, others, 4))


@pytest.mark.parametrize(("count", "steps", "probes"), [(1, 10, 2), (2, 0, 2), (2, 10, 1), (2, 10, -1)])
def test_what_has_no_error_or_no_step_is_refused(count: int, steps: int, probes: int) -> None:
    with pytest.raises(InputError, match="expected at least 2 images, 1 step and 2 probes"):
        flow_check(pipeline(), PIXELS[:count], NOTHING_TOLD, steps, probes)
