"""Parameterisations are two-way maps, losses have their known values."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ancestral.diffusion.losses import min_snr, squared_error, uniform
from ancestral.diffusion.parameterization import Parameterization, PredictsEps, PredictsV, PredictsX0
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import cosine, linear, scaled_linear, zero_terminal_snr
from ancestral.diffusion.variances import beta_tilde
from ancestral.oracles import GaussianData

KINDS = [PredictsEps(), PredictsX0(), PredictsV()]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
@given(t=st.integers(1, 1000), seed=st.integers(0, 99))
def test_decode_of_target_is_the_identity(kind: Parameterization, t: int, seed: int) -> None:
    x0, eps = torch.randn(2, 2, 1, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).unbind()
    diffusion, time = GaussianDiffusion(linear(), kind, beta_tilde), torch.tensor(t)
    noised = diffusion.noised(x0, time, eps)
    prediction = diffusion.decode(diffusion.target(noised), noised.x_t, time)
    assert torch.allclose(prediction.x0, x0, atol=1e-9) and torch.allclose(prediction.eps, eps, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: type(kind).__name__)
def test_x0_scale_is_the_derivative(kind: Parameterization) -> None:
    diffusion, t = GaussianDiffusion(cosine(), kind, beta_tilde), torch.tensor(300)
    x_t, output = torch.randn(2, 1, 4, dtype=torch.float64).unbind()
    moved = diffusion.decode(output + 1, x_t, t).x0 - diffusion.decode(output, x_t, t).x0
    alpha, sigma = diffusion.schedule.alpha_bar_at(t).sqrt(), (1 - diffusion.schedule.alpha_bar_at(t)).sqrt()
    assert torch.allclose(moved.abs(), kind.x0_scale(alpha, sigma).expand(1, 4))


@pytest.mark.parametrize("kind", [PredictsX0(), PredictsV()])
def test_prediction_without_any_signal_left(kind: Parameterization) -> None:
    """Trap: zero terminal SNR; x0 and v still decode where eps would divide by nothing."""
    diffusion, t = GaussianDiffusion(zero_terminal_snr(scaled_linear()), kind, beta_tilde), torch.tensor(1000)
    x0, eps = torch.randn(2, 1, 4, dtype=torch.float64).unbind()
    noised = diffusion.noised(x0, t, eps)
    prediction = diffusion.decode(diffusion.target(noised), noised.x_t, t)
    assert torch.allclose(prediction.x0, x0) and torch.allclose(prediction.eps, eps)


def test_smallest_losses_are_the_closed_forms() -> None:
    """Gaussian data of variance l: E||eps - best||^2 = a^2 l / v and E||x0 - best||^2 = l s^2 / v (no Monte Carlo)."""
    schedule, t = linear(), torch.tensor(400)
    spread = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)
    oracle = GaussianData(schedule, torch.zeros(3, dtype=torch.float64), spread)
    a2 = schedule.alpha_bar_at(t)
    v = a2 * spread + 1 - a2
    for kind, smallest in [(PredictsEps(), a2 * spread / v), (PredictsX0(), spread * (1 - a2) / v)]:
        diffusion = GaussianDiffusion(schedule, kind, beta_tilde)
        total = torch.zeros(3, dtype=torch.float64)
        for x0, eps in [(spread.sqrt(), torch.zeros_like(spread)), (torch.zeros_like(spread), torch.ones_like(spread))]:
            # the error is linear in the independent x0 and eps, so its variance is the sum over unit kicks of each
            x0, eps = x0[:, None], eps[:, None]
            noised = diffusion.noised(x0, t, eps)
            guess = oracle(noised.x_t.T, t)
            output = (guess.eps if isinstance(kind, PredictsEps) else guess.x0).T
            total += squared_error(diffusion, output, noised)
        assert torch.allclose(total, smallest, rtol=1e-9)


@given(st.integers(1, 1000), st.floats(0.5, 20))
def test_min_snr_weighs_x0_alike_under_every_parameterization(t: int, gamma: float) -> None:
    """The weighted loss, seen as an error of x0, is min(SNR, gamma) whatever the network predicts."""
    time = torch.tensor([t])
    for kind in KINDS:
        diffusion = GaussianDiffusion(cosine(), kind, beta_tilde)
        alpha, sigma = diffusion.schedule.alpha_bar_at(time).sqrt(), (1 - diffusion.schedule.alpha_bar_at(time)).sqrt()
        in_x0 = min_snr(gamma)(diffusion, diffusion.schedule.level(time)) / kind.x0_scale(alpha, sigma) ** 2
        assert in_x0.item() == pytest.approx(min(math.exp(diffusion.schedule.log_snr(time).item()), gamma), rel=1e-6)
    assert uniform(diffusion, diffusion.schedule.level(time)).tolist() == [1.0]


def test_network_time_is_the_zero_based_index() -> None:
    x = torch.zeros(2, 1, 4, 4)
    process = GaussianDiffusion(linear(), PredictsEps(), beta_tilde)
    assert process.network_time(process.schedule.level(torch.tensor(1000)), x).tolist() == [999.0, 999.0]
    assert process.network_time(process.schedule.level(torch.tensor([1, 7])), x).tolist() == [0.0, 6.0]
    of_4000 = GaussianDiffusion(linear(4000), PredictsEps(), beta_tilde, "thousandths")
    assert of_4000.network_time(of_4000.schedule.level(torch.tensor([1, 4000])), x).tolist() == [0.0, 999.75]
