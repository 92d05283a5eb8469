"""Posterior guidance on Gaussian data, where E[x_0 | x_t, y] is known, and its bias where it is approximate."""

import math
from typing import Literal, get_args

import pytest
import torch

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import log_snr_linear, zero_terminal_snr
from ancestral.editing.operators import Blurred, Grey, Masked, MeanPooled, Operator
from ancestral.editing.posterior import Measured, PosteriorGuided, conjugate_gradients
from ancestral.errors import InputError
from ancestral.oracles import CorrelatedData, Mixture, correlated, matrix_of, moments
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import DDIM, Noise

SCHEDULE = log_snr_linear(200, 9.0, -7.0)
SHAPE = (3, 2, 4)
MEAN = torch.linspace(-0.5, 0.5, 24, dtype=torch.float64)
ROUND = CorrelatedData(SCHEDULE, MEAN, 0.5 * torch.eye(24, dtype=torch.float64))
LONG = CorrelatedData(SCHEDULE, MEAN, correlated(24))
X = torch.randn(2, *SHAPE, generator=torch.manual_seed(3), dtype=torch.float64)
How = Literal["projection", "gradient", "moments"]
OPERATORS: dict[str, Operator] = {
    "inpaint": Masked(torch.tensor([[True, False, True, False], [False, True, True, False]])),
    "enlarge": MeanPooled(2),
    "colour": Grey(),
    "deblur": Blurred(torch.tensor([[0.2, 0.6, 0.1]], dtype=torch.float64)),
}


def measured(operator: Operator, sigma: float) -> Measured:
    truth = torch.randn(1, *SHAPE, generator=torch.manual_seed(4), dtype=torch.float64)
    return Measured(operator, operator(truth), sigma)


def posterior(data: CorrelatedData, seen: Measured) -> CorrelatedData:
    """The data given y, in closed form."""
    return data.given(matrix_of(seen.operator, SHAPE), seen.y.flatten(), seen.sigma)


@pytest.mark.parametrize("how", get_args(How))
@pytest.mark.parametrize("sigma", [0.0, 0.3])
@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_for_round_gaussian_data_every_method_is_exact(operator: Operator, sigma: float, how: How) -> None:
    seen = measured(operator, sigma)
    guided, exact = PosteriorGuided(ROUND, SCHEDULE, seen, how, 0.5), posterior(ROUND, seen)
    for t in map(torch.tensor, (1, 40, 120, 200)):
        found, wanted = guided(X, t), exact(X, t)
        assert torch.allclose(found.x0, wanted.x0, rtol=0, atol=1e-10)
        assert torch.allclose(found.eps, wanted.eps, rtol=0, atol=1e-10 / float(SCHEDULE.sigma(t, X)))


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_matched_moments_are_exact_for_any_gaussian(operator: Operator) -> None:
    """Conjugate gradients of a system of K unknowns end in K turns."""
    seen = measured(operator, 0.3)
    guided, exact = PosteriorGuided(LONG, SCHEDULE, seen, "moments", iterations=24), posterior(LONG, seen)
    for t in map(torch.tensor, (1, 40, 120, 200)):
        assert torch.allclose(guided(X, t).x0, exact(X, t).x0, rtol=0, atol=1e-9)


def end_law(how: How, steps: int = 25) -> tuple[float, float]:
    """(largest error of the mean, relative error of the trace of the covariance) of a chain's exact law."""
    seen = measured(OPERATORS["enlarge"], 0.2)
    guided = PosteriorGuided(LONG, SCHEDULE, seen, how, data_variance=0.55, iterations=4)
    timesteps, exact = SCHEDULE.uniform_log_snr(steps), posterior(LONG, seen)

    def run(noise: Noise) -> torch.Tensor:
        return list(sample(guided, DDIM(SCHEDULE), noise(), timesteps, noise))[-1].x_s

    mean, covariance = moments(run, SHAPE)
    return float((mean - exact.mean).abs().max()), float(covariance.trace() / exact.covariance.trace() - 1)


def test_a_chain_with_matched_moments_ends_in_the_posterior() -> None:
    """The mean is off by what x_T ~ N(0, I) leaves out of it, alpha_T = 0.03 of the data's; the width by the sampler's
    own error, of order 1: twice the steps, half of it.
    """
    (mean, width), (finer_mean, finer_width) = end_law("moments"), end_law("moments", 50)
    assert mean < 0.01 and finer_mean < 0.01
    assert abs(width) < 0.17 and abs(finer_width) < 0.55 * abs(width)


def test_on_correlated_data_a_round_covariance_is_biased() -> None:
    """The mean errs by 0.08 with the gradient and by 0.17 with projection, for deviations of 0.3 to 1."""
    gradient, projection = end_law("gradient")[0], end_law("projection")[0]
    assert 0.03 < gradient < 0.12 and 0.1 < projection < 0.25


def test_trusting_the_prediction_wholly_pulls_too_hard() -> None:
    """data_variance 0, on data whose posterior is known, at high noise: the guess overshoots the whole data."""
    seen, t = measured(OPERATORS["enlarge"], 0.2), torch.tensor(150)
    exact = posterior(ROUND, seen)(X, t).x0
    trusting = PosteriorGuided(ROUND, SCHEDULE, seen, "gradient", 0.0)(X, t).x0
    unguided = ROUND(X, t).x0
    assert float((trusting - exact).abs().max()) > 2 * float((unguided - exact).abs().max())


def mixture(x_t: torch.Tensor, t: torch.Tensor) -> Prediction:
    """Not affine: two clusters of 24 numbers."""
    means = torch.stack([MEAN + 0.5, -MEAN])
    oracle = Mixture(SCHEDULE, torch.tensor([0.4, 0.6]).double(), means, torch.tensor([0.2, 0.1]).double())
    flat = oracle(x_t.flatten(1), t)
    return Prediction(t, flat.x0.reshape(x_t.shape), flat.eps.reshape(x_t.shape))


@pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)
def test_an_exact_measurement_is_met_exactly_by_projection(operator: Operator) -> None:
    seen = measured(operator, 0.0)
    guided = PosteriorGuided(mixture, SCHEDULE, seen, "projection")
    *_, end = sample(guided, DDIM(SCHEDULE), X, SCHEDULE.trailing(8), lambda: X)
    assert torch.allclose(operator(end.x_s), seen.y.expand_as(operator(end.x_s)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("how", get_args(How))
def test_guidance_works_where_gradients_are_off_and_the_pair_makes_x_t(how: How) -> None:
    guided, t = PosteriorGuided(mixture, SCHEDULE, measured(OPERATORS["colour"], 0.1), how), torch.tensor(90)
    plain = guided(X, t)
    with torch.inference_mode():
        assert torch.equal(guided(X + 0, t).x0, plain.x0)
    assert not plain.x0.requires_grad
    a2 = SCHEDULE.alpha_bar_at(t)
    assert torch.allclose(a2.sqrt() * plain.x0 + (1 - a2).sqrt() * plain.eps, X, rtol=0, atol=1e-12)


@pytest.mark.parametrize("how", get_args(How))
def test_where_no_signal_is_left_the_measurement_still_tells(how: How) -> None:
    """Trap: division by alpha_T = 0."""
    schedule = zero_terminal_snr(SCHEDULE)
    data, seen = CorrelatedData(schedule, MEAN, ROUND.covariance), measured(OPERATORS["enlarge"], 0.2)
    end = torch.tensor(200)
    found = PosteriorGuided(data, schedule, seen, how, 0.5)(X, end)
    assert torch.allclose(found.x0, posterior(data, seen)(X, end).x0, rtol=0, atol=1e-10)


def test_conjugate_gradients_solve_each_image_by_itself() -> None:
    matrix = correlated(24)
    wanted = torch.stack([torch.ones(24).double(), torch.zeros(24).double(), 1e3 * MEAN])
    found = conjugate_gradients(lambda v: v @ matrix, wanted, 0 * wanted, 28)
    assert torch.allclose(found @ matrix, wanted, rtol=1e-9, atol=1e-9)


def test_what_cannot_guide_is_refused() -> None:
    seen = measured(OPERATORS["colour"], 0.0)
    with pytest.raises(InputError, match="data_variance"):
        PosteriorGuided(ROUND, SCHEDULE, seen, "projection", 0.0)
    with pytest.raises(InputError, match="noise of 0"):
        Measured(seen.operator, seen.y, -1.0)

    def frozen(x_t: torch.Tensor, t: torch.Tensor) -> Prediction:
        return ROUND(x_t.detach(), t)

    with pytest.raises(ValueError, match="by projection"):
        PosteriorGuided(frozen, SCHEDULE, seen)(X, torch.tensor(3))


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf, 1e200])
def test_a_noise_whose_square_is_no_number_is_refused(sigma: float) -> None:
    """Trap: an OverflowError, or infinity in the estimate."""
    with pytest.raises(InputError, match="a noise of 0 or more, at most 1e"):
        measured(Grey(), sigma)
    with pytest.raises(InputError, match="data_variance above 0, at most 1e"):
        PosteriorGuided(ROUND, SCHEDULE, measured(Grey(), 0.1), "gradient", sigma)
