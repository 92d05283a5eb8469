"""Every guided score is the gradient of the log-density that it claims, by autograd on mixtures."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import Schedule, cosine, zero_terminal_snr
from ancestral.oracles import GaussianData, Mixture, three_hills
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.guidance import (
    ClassifierFree,
    ClassifierGuided,
    Composed,
    Interval,
    LogProb,
    Rescaled,
    TwoCalls,
    timesteps_of_noise,
)

SCHEDULE = cosine(100)
T = torch.tensor(50)
WHOLE, WORSE = three_hills(SCHEDULE), three_hills(SCHEDULE, wider=0.3)
PARTS = [Mixture(SCHEDULE, torch.ones(1), WHOLE.means[k, None], WHOLE.variances[k, None]) for k in range(3)]
X = torch.tensor([[0.4, -0.3], [-0.8, 1.0], [2.5, -2.0]], dtype=torch.float64)


def log_posterior(k: int, whole: Mixture = WHOLE) -> LogProb:
    return lambda x_t, t: whole.log_posterior(x_t, t)[:, k]


def assert_score(guided: Denoiser, log_density: Callable[[Tensor], Tensor]) -> None:
    """eps is -s times the gradient of the log-density, and the pair makes x_t."""
    x = X.clone().requires_grad_()
    (score,) = torch.autograd.grad(log_density(x).sum(), x)
    prediction = guided(X, T)
    a2 = SCHEDULE.alpha_bar_at(T)
    assert torch.allclose(prediction.eps, -(1 - a2).sqrt() * score, rtol=0, atol=1e-11)
    assert torch.allclose(a2.sqrt() * prediction.x0 + (1 - a2).sqrt() * prediction.eps, X, rtol=0, atol=1e-11)


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_a_negative_condition_divides_by_the_density_of_what_is_unwanted(scale: float) -> None:
    wanted, unwanted = PARTS[0], PARTS[1]
    assert_score(
        ClassifierFree(TwoCalls(wanted, unwanted), scale),
        lambda x: scale * wanted.log_density(x, T) + (1 - scale) * unwanted.log_density(x, T),
    )


@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_autoguidance_divides_by_the_density_of_the_worse_model(scale: float) -> None:
    assert_score(
        ClassifierFree(TwoCalls(WHOLE, WORSE), scale),
        lambda x: scale * WHOLE.log_density(x, T) + (1 - scale) * WORSE.log_density(x, T),
    )


def test_conditions_compose_as_products_of_their_posteriors() -> None:
    """Wanted twice, unwanted once: q(x) p(0 | x)^2 / p(1 | x)."""
    assert_score(
        Composed(WHOLE, ((PARTS[0], 2.0), (PARTS[1], -1.0))),
        lambda x: WHOLE.log_density(x, T) + 2 * log_posterior(0)(x, T) - log_posterior(1)(x, T),
    )


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_a_classifier_multiplies_by_its_probability(scale: float) -> None:
    assert_score(
        ClassifierGuided(WHOLE, SCHEDULE, log_posterior(2), scale),
        lambda x: WHOLE.log_density(x, T) + scale * log_posterior(2)(x, T),
    )


@pytest.mark.parametrize("t", [1, 30, 99])
def test_the_true_classifier_at_scale_one_makes_the_conditional_prediction(t: int) -> None:
    guided = ClassifierGuided(WHOLE, SCHEDULE, log_posterior(0))
    near = SCHEDULE.alpha(torch.tensor(t), X) * PARTS[0].means + 0.1 * X  # log p must not underflow
    found, exact = guided(near, torch.tensor(t)), PARTS[0](near, torch.tensor(t))
    assert torch.allclose(found.x0, exact.x0, rtol=0, atol=1e-9)
    assert torch.allclose(found.eps, exact.eps, rtol=0, atol=1e-9)


def test_a_classifier_guides_where_gradients_are_off() -> None:
    guided = ClassifierGuided(WHOLE, SCHEDULE, log_posterior(0), 2.0)
    exact = guided(X, T).x0
    with torch.inference_mode():
        assert torch.equal(guided(X + 0, T).x0, exact)
    with torch.no_grad():
        assert torch.equal(guided(X, T).x0, exact) and not exact.requires_grad


def test_a_classifier_that_has_no_gradient_is_refused() -> None:
    with pytest.raises(ValueError, match="with gradients"):
        ClassifierGuided(WHOLE, SCHEDULE, lambda x_t, t: x_t.detach().sum(1))(X, T)


def test_where_no_signal_is_left_a_classifier_changes_nothing() -> None:
    """Trap: division by alpha_T = 0."""
    schedule = zero_terminal_snr(SCHEDULE)
    whole = three_hills(schedule)
    end = torch.tensor(100)
    guided = ClassifierGuided(whole, schedule, log_posterior(0, whole), 5.0)(X, end)
    assert torch.equal(guided.x0, whole(X, end).x0) and torch.equal(guided.eps, whole(X, end).eps)


IMAGES = torch.randn(3, 8, generator=torch.manual_seed(2), dtype=torch.float64)
PAIR = TwoCalls(
    GaussianData(SCHEDULE, torch.linspace(-1, 1, 8).double(), torch.full((8,), 0.3).double()),
    GaussianData(SCHEDULE, torch.zeros(8).double(), torch.full((8,), 0.6).double()),
)


def test_rescaling_gives_each_image_the_deviation_it_had() -> None:
    given = PAIR.conditional(IMAGES, T)
    full = Rescaled(PAIR, 4.0, SCHEDULE, share=1.0)(IMAGES, T)
    plain = ClassifierFree(PAIR, 4.0)(IMAGES, T)
    assert bool((plain.x0.std(1) > 1.05 * given.x0.std(1)).all()), "guidance widens, else there is nothing to show"
    assert torch.allclose(full.x0.std(1), given.x0.std(1), rtol=1e-12)
    half = Rescaled(PAIR, 4.0, SCHEDULE, share=0.5)(IMAGES, T)
    assert torch.allclose(half.x0, 0.5 * (full.x0 + plain.x0), rtol=1e-12)
    a2 = SCHEDULE.alpha_bar_at(T)
    assert torch.allclose(a2.sqrt() * full.x0 + (1 - a2).sqrt() * full.eps, IMAGES, atol=1e-12), "eps is recomputed"


def test_rescaling_nothing_is_plain_guidance() -> None:
    none, plain = Rescaled(PAIR, 4.0, SCHEDULE, share=0.0)(IMAGES, T), ClassifierFree(PAIR, 4.0)(IMAGES, T)
    assert torch.allclose(none.x0, plain.x0, rtol=1e-14) and torch.allclose(none.eps, plain.eps, atol=1e-13)


def test_outside_the_interval_only_one_network_is_called() -> None:
    asked: list[tuple[str, int]] = []

    def named(name: str) -> Denoiser:
        def denoise(x_t: Tensor, t: Tensor) -> Prediction:
            asked.append((name, int(t)))
            return WHOLE(x_t, t)

        return denoise

    limited = Interval(ClassifierFree(TwoCalls(named("class"), named("none")), 2.0), named("class"), 20, 21)
    for t in (19, 20, 21, 22):
        limited(X, torch.tensor(t))
    assert asked == [("class", 19), ("class", 20), ("none", 20), ("class", 21), ("none", 21), ("class", 22)]


@pytest.mark.parametrize(("low", "high"), [(0.28, 2.9), (0.0, 1e9), (1.0, 1.0)])
def test_an_interval_of_noise_holds_just_the_timesteps_within_it(low: float, high: float) -> None:
    first, last = timesteps_of_noise(SCHEDULE, low, high)
    t = torch.arange(1, 101)
    ratio = ((1 - SCHEDULE.alpha_bar[t]) / SCHEDULE.alpha_bar[t]).sqrt()
    within = t[(ratio >= low) & (ratio <= high)].tolist()
    assert list(range(first, last + 1)) == within


def test_the_spread_is_that_of_the_prediction_one_starts_from() -> None:
    def wide(denoise: Denoiser, value: float) -> Denoiser:
        return lambda x_t, t: denoise(x_t, t)._replace(variance_coeff=torch.full_like(x_t, value))

    def spread_of(guided: Denoiser, schedule: Schedule = SCHEDULE) -> Tensor | None:
        return guided(X, T).variance_coeff

    one, other = wide(PARTS[0], 0.8), wide(WHOLE, -0.9)
    for guided in (ClassifierFree(TwoCalls(one, other), 3.0), Rescaled(TwoCalls(one, other), 3.0, SCHEDULE)):
        assert torch.equal(spread_of(guided), torch.full_like(X, 0.8))
    for guided in (Composed(other, ((one, 2.0),)), ClassifierGuided(other, SCHEDULE, log_posterior(1))):
        assert torch.equal(spread_of(guided), torch.full_like(X, -0.9))
