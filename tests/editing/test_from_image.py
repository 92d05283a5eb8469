"""Starting from an image: how much of it survives is the law of two draws from p(x_0 | x_t), exactly."""

import itertools

import pytest
import torch

from ancestral.diffusion.schedules import cosine, log_snr_linear, zero_terminal_snr
from ancestral.editing.from_image import from_image, timestep_of_strength, timesteps_below
from ancestral.errors import InputError
from ancestral.oracles import GaussianData, eps_process, moments
from ancestral.rng import ImageNoise
from ancestral.sampling.samplers import DDIM, Ancestral, Noise

SCHEDULE = log_snr_linear(100, 8.0, -6.0)
MEAN, VARIANCE = torch.tensor([0.4, -0.7], dtype=torch.float64), torch.tensor([0.3, 2.0], dtype=torch.float64)
ORACLE = GaussianData(SCHEDULE, MEAN, VARIANCE)
EXACT = Ancestral(eps_process(SCHEDULE, ORACLE.exact))


@pytest.mark.parametrize("t", [20, 55, 100])
def test_what_survives_of_an_image_is_what_its_noisy_version_tells(t: int) -> None:
    """Mean m + rho (x_0 - m) and, with the last step's lost variance put back, variance l (1 - rho^2)."""
    image = torch.tensor([1.0, 0.5], dtype=torch.float64)
    timesteps = timesteps_below(SCHEDULE.trailing(9), t)

    def run(noise: Noise) -> torch.Tensor:
        eps = noise()
        draws = itertools.chain([eps], iter(noise, None))
        *_, end = from_image(ORACLE, EXACT, SCHEDULE, image.expand_as(eps), timesteps, draws.__next__)
        return end.x_s

    mean, covariance = moments(run, (2,))
    at, last = SCHEDULE.alpha_bar_at(torch.tensor(t)), timesteps[-2]
    rho = at * VARIANCE / (at * VARIANCE + 1 - at)
    lost = VARIANCE * (1 - SCHEDULE.alpha_bar_at(last)) / ORACLE.at(last)[1]
    assert torch.allclose(mean, MEAN + rho * (image - MEAN), rtol=0, atol=1e-11)
    assert torch.allclose(covariance, torch.diag(VARIANCE * (1 - rho**2) - lost), rtol=0, atol=1e-11)


def test_the_same_image_many_times_makes_variations() -> None:
    """Different from each other, alike in what they keep, and the same again from the same seeds."""
    image = torch.tensor([1.0, 0.5], dtype=torch.float64)

    def variations(seeds: list[int]) -> torch.Tensor:
        noise = ImageNoise(seeds, (2,), dtype=torch.float64)
        timesteps = timesteps_below(SCHEDULE.trailing(20), 40)
        return list(from_image(ORACLE, DDIM(SCHEDULE), SCHEDULE, image.expand(len(seeds), 2), timesteps, noise))[-1].x_s

    many = variations([1, 2, 3, 4])
    assert len(many.unique(dim=0)) == 4
    assert torch.allclose(variations([3]), many[2:3], rtol=0, atol=1e-14)


def test_the_grid_below_a_time_begins_there() -> None:
    grid = torch.tensor([100, 75, 50, 25, 0])
    assert timesteps_below(grid, 60).tolist() == [60, 50, 25, 0]
    assert timesteps_below(grid, 50).tolist() == [50, 25, 0]
    assert timesteps_below(grid, 100).tolist() == grid.tolist()
    assert timesteps_below(grid, 3).tolist() == [3, 0]
    for wrong in (0, 101, -1):
        with pytest.raises(InputError, match="expected t"):
            timesteps_below(grid, wrong)


@pytest.mark.parametrize("schedule", [cosine(50), SCHEDULE, zero_terminal_snr(cosine(50))])
def test_a_strength_is_the_amplitude_lost_on_every_schedule(schedule) -> None:
    signal = schedule.alpha_bar.sqrt()
    for strength in (0.1, 0.4, 0.8):
        t = timestep_of_strength(schedule, strength)
        assert signal[t] <= 1 - strength < signal[t - 1]
    assert timestep_of_strength(schedule, 0.0) == 1 and timestep_of_strength(schedule, 1.0) == schedule.num_timesteps
    with pytest.raises(InputError, match="strength"):
        timestep_of_strength(schedule, 1.2)
