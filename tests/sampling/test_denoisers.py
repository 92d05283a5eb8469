"""Clipping recomputes eps, guidance 1 is none, and noise belongs to an image."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import Schedule, cosine
from ancestral.oracles import GaussianData, Mixture, eps_process, two_hills
from ancestral.rng import ImageNoise, generator, mix
from ancestral.sampling.denoiser import Denoiser, DynamicClip, NetworkDenoiser, StaticClip
from ancestral.sampling.guidance import ClassifierFree, OneCall, PredictionPair, TwoCalls

SCHEDULE = cosine(100)
WIDE = GaussianData(SCHEDULE, torch.zeros(3, dtype=torch.float64), torch.full((3,), 9.0, dtype=torch.float64))


@pytest.mark.parametrize("clip", [StaticClip(WIDE, SCHEDULE), DynamicClip(WIDE, SCHEDULE, quantile=0.5)])
@given(t=st.integers(1, 100), scale=st.floats(0.1, 30))
def test_a_clipped_pair_still_makes_x_t(clip: Denoiser, t: int, scale: float) -> None:
    """Trap: x0 clipped but eps not recomputed."""
    x_t = scale * torch.tensor([[1.0, -0.2, 0.4], [0.01, 0.0, -0.02]], dtype=torch.float64)
    prediction = clip(x_t, torch.tensor(t))
    a2 = SCHEDULE.alpha_bar_at(torch.tensor(t))
    assert prediction.x0.abs().max() <= 1
    assert torch.allclose(a2.sqrt() * prediction.x0 + (1 - a2).sqrt() * prediction.eps, x_t, atol=1e-9)


def test_clipping_leaves_what_is_in_range_alone() -> None:
    x_t, t = torch.tensor([[0.01, -0.02, 0.03]], dtype=torch.float64), torch.tensor(5)
    for clip in (StaticClip(WIDE, SCHEDULE), DynamicClip(WIDE, SCHEDULE)):
        assert torch.allclose(clip(x_t, t).x0, WIDE(x_t, t).x0) and torch.allclose(clip(x_t, t).eps, WIDE(x_t, t).eps)


def spread_out(denoise: Denoiser, value: float) -> Denoiser:
    """`denoise` with a spread of its own."""

    def wide(x_t: torch.Tensor, t: torch.Tensor) -> Prediction:
        return denoise(x_t, t)._replace(variance_coeff=torch.full_like(x_t, value))

    return wide


@pytest.mark.parametrize("clip", [StaticClip, DynamicClip])
def test_clipping_keeps_the_spread(clip: Callable[[Denoiser, Schedule], Denoiser]) -> None:
    x_t, t = torch.tensor([[9.0, -7.0, 0.1]], dtype=torch.float64), torch.tensor(40)
    variance_coeff = clip(spread_out(WIDE, 0.25), SCHEDULE)(x_t, t).variance_coeff
    assert variance_coeff is not None and bool((variance_coeff == 0.25).all())
    assert clip(WIDE, SCHEDULE)(x_t, t).variance_coeff is None


def test_dynamic_clipping_scales_each_image_by_its_own_reach() -> None:
    x_t, t = torch.tensor([[2.0, 1.0, -0.5], [0.1, 0.0, 0.0]], dtype=torch.float64), torch.tensor(5)
    plain, clipped = WIDE(x_t, t).x0, DynamicClip(WIDE, SCHEDULE, quantile=1.0)(x_t, t).x0
    assert torch.allclose(clipped[0], plain[0] / plain[0].abs().max())
    assert torch.allclose(clipped[1], plain[1])


def class_mixture() -> tuple[Mixture, list[GaussianData], torch.Tensor]:
    whole = two_hills(SCHEDULE)
    return (
        whole,
        [whole.component(0), whole.component(1)],
        torch.tensor([[0.4, -0.3], [-0.8, 1.0]], dtype=torch.float64),
    )


def one_call(conditional: Denoiser, unconditional: Denoiser) -> PredictionPair:
    """A pair by one denoiser of twice the batch, each half under its own condition."""

    def denoise(x_t: torch.Tensor, t: torch.Tensor) -> Prediction:
        first, second = x_t.chunk(2)
        given, null = conditional(first, t), unconditional(second, t)
        return Prediction(t, torch.cat([given.x0, null.x0]), torch.cat([given.eps, null.eps]))

    return OneCall(denoise)


@pytest.mark.parametrize("pair", [TwoCalls, one_call])
@pytest.mark.parametrize("scale", [0.0, 1.0, 2.5])
def test_guidance_sharpens_the_class_posterior(
    scale: float, pair: Callable[[Denoiser, Denoiser], PredictionPair]
) -> None:
    """The guided score is grad [log q(x_t) + scale log q(class | x_t)] of the mixture, by autograd."""
    whole, parts, x = class_mixture()
    t = torch.tensor(50)
    x.requires_grad_(True)
    posterior = whole.log_posterior(x, t)[:, 0]
    (score,) = torch.autograd.grad((whole.log_density(x, t) + scale * posterior).sum(), x)
    guided = ClassifierFree(pair(parts[0], whole), scale)(x.detach(), t)
    a2 = SCHEDULE.alpha_bar_at(t)
    assert torch.allclose(guided.eps, -(1 - a2).sqrt() * score, rtol=0, atol=1e-10)
    assert torch.allclose(a2.sqrt() * guided.x0 + (1 - a2).sqrt() * guided.eps, x.detach(), rtol=0, atol=1e-10)


def test_one_call_asks_once_of_the_same_x_under_both_conditions() -> None:
    """Trap: the halves in the wrong order, which turns guidance around."""
    asked: list[torch.Tensor] = []

    def denoise(x_t: torch.Tensor, t: torch.Tensor) -> Prediction:
        asked.append(x_t)
        row = torch.arange(4.0)[:, None]
        return Prediction(t, row + x_t, x_t - row, row / 4)

    x = torch.tensor([[0.25], [0.5]])
    given, null = OneCall(denoise)(x, torch.tensor(3))
    assert len(asked) == 1 and torch.equal(asked[0], torch.cat([x, x]))
    assert given.x0.tolist() == [[0.25], [1.5]] and null.x0.tolist() == [[2.25], [3.5]]
    assert given.eps.tolist() == [[0.25], [-0.5]] and null.eps.tolist() == [[-1.75], [-2.5]]
    assert given.variance_coeff is not None and null.variance_coeff is not None
    assert given.variance_coeff.tolist() == [[0.0], [0.25]] and null.variance_coeff.tolist() == [[0.5], [0.75]]


def test_guidance_one_is_no_guidance_bit_for_bit() -> None:
    whole, parts, x = class_mixture()
    t = torch.tensor(30)
    guided, plain = ClassifierFree(TwoCalls(parts[1], whole), 1.0)(x, t), parts[1](x, t)
    assert torch.equal(guided.x0, plain.x0) and torch.equal(guided.eps, plain.eps)


@pytest.mark.parametrize("scale", [0.0, 1.0, 3.0])
def test_guidance_takes_the_spread_of_the_conditional_prediction(scale: float) -> None:
    """Pushing it as the mean is pushed would leave the range of variances."""
    whole, parts, x = class_mixture()
    pair = TwoCalls(spread_out(parts[0], 0.8), spread_out(whole, -0.9))
    guided = ClassifierFree(pair, scale)(x, torch.tensor(30))
    assert guided.variance_coeff is not None and bool((guided.variance_coeff == 0.8).all())
    assert torch.equal(guided.eps, ClassifierFree(TwoCalls(parts[0], whole), scale)(x, torch.tensor(30)).eps)


def test_a_network_is_called_with_its_own_time() -> None:
    seen: list[torch.Tensor] = []

    def network(x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        seen.append(time)
        return torch.full_like(x, 0.25)

    diffusion = eps_process(SCHEDULE)
    prediction = NetworkDenoiser(diffusion, network)(torch.ones(2, 3), torch.tensor(100))
    assert seen[0].tolist() == [99.0, 99.0] and bool((prediction.eps == 0.25).all())


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5, unique=True), st.integers(0, 4))
def test_image_noise_is_the_same_alone_and_in_a_batch(seeds: list[int], which: int) -> None:
    """Trap: a batch whose images change with the batch size."""
    which %= len(seeds)
    together, alone = ImageNoise(seeds, (1, 2, 2)), ImageNoise([seeds[which]], (1, 2, 2))
    for _ in range(3):
        assert torch.equal(together()[which], alone()[0])


def test_a_network_of_twice_the_channels_gives_its_spread() -> None:
    diffusion = eps_process(SCHEDULE)
    x_t = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    prediction = NetworkDenoiser(diffusion, lambda x, time: torch.cat([0.5 * x, -x], dim=1))(x_t, torch.tensor(60))
    assert prediction.variance_coeff is not None and torch.equal(prediction.variance_coeff, -x_t)
    assert torch.equal(prediction.eps, 0.5 * x_t)


def test_streams_and_positions_are_unrelated() -> None:
    """Trap: duplicated noise across workers. Seeds that differ in one place give unrelated draws."""
    draws = torch.stack(
        [torch.randn(4000, generator=generator(*key)) for key in [(0, "t", 0), (0, "t", 1), (0, "eps", 0), (1, "t", 0)]]
    )
    assert (torch.corrcoef(draws) - torch.eye(4)).abs().max() < 0.06
    assert mix(1, 23) != mix(12, 3) and 0 <= mix(7, "x") < 2**63
