"""Inversion returns at its order, and reaches the exact flow at its order."""

import math

import pytest
import torch

from ancestral.diffusion.schedules import log_snr_linear
from ancestral.editing.inversion import (
    DDIMInversion,
    HeunInversion,
    Inversion,
    invert,
    round_trip_error,
    timesteps_above,
)
from ancestral.errors import InputError
from ancestral.oracles import GaussianData, Mixture
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import DDIM

SCHEDULE = log_snr_linear(960, 6.0, -6.0)
MIXTURE = Mixture(
    SCHEDULE,
    torch.tensor([0.4, 0.6]).double(),
    torch.tensor([[0.8, 0.1], [-0.6, 0.3]]).double(),
    torch.tensor([0.3, 0.6]).double(),
)
GAUSSIAN = GaussianData(SCHEDULE, torch.tensor([0.5, -0.3]).double(), torch.tensor([0.1, 1.5]).double())
IMAGES = torch.tensor([[0.9, 0.3], [-0.8, 0.1], [0.1, -1.0]], dtype=torch.float64)
PLAIN = DDIM(SCHEDULE)


def grid(steps: int) -> torch.Tensor:
    """Even in log-SNR from T to 1."""
    return torch.linspace(960, 1, steps + 1).round().long()


def down_to_zero(timesteps: torch.Tensor) -> torch.Tensor:
    return torch.cat([timesteps, torch.tensor([0])])


def order(coarse: float, fine: float) -> float:
    return math.log2(coarse / fine)


@pytest.mark.parametrize("corrections", [0, 1, 2])
def test_a_round_trip_by_ddim_returns_at_order_two_and_one_more_for_each_correction(corrections: int) -> None:
    inversion = DDIMInversion(SCHEDULE, corrections)
    coarse, fine = (float(round_trip_error(MIXTURE, inversion, PLAIN, IMAGES, grid(n)).max()) for n in (48, 96))
    assert order(coarse, fine) == pytest.approx(2 + corrections, abs=0.15)
    assert fine < (1e-2, 1e-3, 1e-4)[corrections]


def test_many_corrections_invert_ddim_exactly_down_to_the_clean_image() -> None:
    for denoise in (MIXTURE, GAUSSIAN):
        error = round_trip_error(denoise, DDIMInversion(SCHEDULE, 20), PLAIN, IMAGES, down_to_zero(grid(20)))
        assert error.shape == (3,) and float(error.max()) < 1e-10


@pytest.mark.parametrize(("inversion", "claimed"), [(DDIMInversion(SCHEDULE), 1), (HeunInversion(SCHEDULE), 2)])
def test_the_noise_is_that_of_the_flow_at_the_order_of_the_rule(inversion: Inversion, claimed: int) -> None:
    """The flow of Gaussian data is known in closed form."""
    exact = GAUSSIAN.flow(IMAGES, torch.tensor(1), torch.tensor(960))
    ends = [list(invert(GAUSSIAN, inversion, IMAGES, grid(n)))[-1].x_s for n in (60, 120)]
    coarse, fine = (float((end - exact).norm(dim=1).max()) for end in ends)
    assert order(coarse, fine) == pytest.approx(claimed, abs=0.15)


def test_the_steps_go_up_and_the_last_is_at_the_noisiest_time() -> None:
    asked: list[int] = []

    def denoise(x_t: torch.Tensor, t: torch.Tensor):
        asked.append(int(t))
        return MIXTURE(x_t, t)

    timesteps = torch.tensor([900, 500, 200, 0])
    steps = list(invert(denoise, DDIMInversion(SCHEDULE), IMAGES, timesteps))
    assert [(step.t, step.s) for step in steps] == [(0, 200), (200, 500), (500, 900)]
    assert asked == [200, 500, 900], "one call a step, none at t = 0, which networks do not know"
    asked.clear()
    list(invert(denoise, HeunInversion(SCHEDULE), IMAGES, timesteps))
    assert 0 not in asked and len(asked) == 6


def test_an_inverted_image_is_sampled_back() -> None:
    """By the loop that everybody uses, on a grid of a practical length."""
    timesteps = SCHEDULE.trailing(50)
    *_, up = invert(MIXTURE, DDIMInversion(SCHEDULE, 1), IMAGES, timesteps)
    *_, down = sample(MIXTURE, PLAIN, up.x_s, timesteps, lambda: IMAGES)
    assert float((down.x_s - IMAGES).abs().max()) < 5e-3


def test_what_cannot_be_inverted_is_refused() -> None:
    with pytest.raises(InputError, match="falling"):
        next(invert(MIXTURE, HeunInversion(SCHEDULE), IMAGES, torch.tensor([0, 5])))
    with pytest.raises(InputError, match="deterministic"):
        round_trip_error(MIXTURE, HeunInversion(SCHEDULE), DDIM(SCHEDULE, 1.0), IMAGES, grid(5))


def test_a_grain_leaves_out_the_timesteps_that_are_quieter() -> None:
    """Guards against one timestep too few, and against noise alone, sigma_t, in place of noise over signal."""
    timesteps = SCHEDULE.trailing(20)
    kept = timesteps_above(SCHEDULE, timesteps, 2.0)
    left_out = timesteps[len(kept) :]
    ratios = [torch.exp(-0.5 * SCHEDULE.log_snr(t)) for t in (kept[-1], left_out[0])]
    assert ratios[0] >= 2.0 > ratios[1] and torch.equal(torch.cat([kept, left_out]), timesteps)
    assert torch.equal(timesteps_above(SCHEDULE, timesteps, 0.0), timesteps)


def test_the_noise_of_flat_images_is_none_without_grain_and_noise_with_it() -> None:
    """What the grain is for: data that has parts of no variance, as MNIST's black frame."""
    flat = GaussianData(SCHEDULE, torch.zeros(64).double(), torch.full((64,), 1e-8).double())
    images = torch.zeros(200, 64, dtype=torch.float64)
    timesteps, inversion = SCHEDULE.trailing(40), DDIMInversion(SCHEDULE, 1)
    *_, up = invert(flat, inversion, images, timesteps)
    assert float(up.x_s.std()) < 1e-6
    grid = timesteps_above(SCHEDULE, timesteps, 0.1)
    noise = torch.randn(200, 64, generator=torch.manual_seed(0), dtype=torch.float64)
    *_, up = invert(flat, inversion, SCHEDULE.sigma(grid[-1], noise) * noise, grid)
    assert float(up.x_s.std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("grain", [-0.1, 1e9])
def test_an_impossible_grain_is_refused(grain: float) -> None:
    with pytest.raises(InputError, match="grain"):
        timesteps_above(SCHEDULE, SCHEDULE.trailing(20), grain)
