"""Predicting the levels of pixels: Bayes' rule with what the pixel itself shows."""

import math

import pytest
import torch
from torch import Tensor

from ancestral.diffusion.categorical import PredictsCategorical, expected, level_values, levels_log_prob
from ancestral.diffusion.level import Noised
from ancestral.diffusion.likelihood import bound_terms, step_term
from ancestral.diffusion.losses import continuous, squared_error
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import log_snr_linear
from ancestral.diffusion.variances import beta_tilde
from ancestral.rng import generator
from ancestral.tensors import from_pixels

PROBABLE = (0, 20, 253, 255)
"""The only levels of the made-up data, with their probabilities."""
SHARES = (0.6, 0.2, 0.15, 0.05)


def process(num_timesteps: int = 50, log_snr_max: float = 13.3) -> GaussianDiffusion:
    schedule = log_snr_linear(num_timesteps, log_snr_max, -5.0)
    return GaussianDiffusion(schedule, PredictsCategorical(), beta_tilde, "log-snr")


def logits_of(x_t: Tensor) -> Tensor:
    """What a network says that knows the data's law and nothing of the pixel's surroundings: (B, 256 C, H, W)."""
    levels = torch.full((256,), -60.0, dtype=x_t.dtype)
    levels[list(PROBABLE)] = torch.tensor(SHARES, dtype=x_t.dtype).log()
    return levels.repeat(x_t.shape[1])[None, :, None, None].expand(len(x_t), -1, *x_t.shape[2:])


def drawn(count: int, channels: int = 2) -> Tensor:
    chosen = torch.multinomial(
        torch.tensor(SHARES), count * channels * 6, replacement=True, generator=generator(0, "x")
    )
    return from_pixels(torch.tensor(PROBABLE)[chosen].to(torch.uint8)).double().reshape(count, channels, 2, 3)


@pytest.mark.parametrize("t", [1, 17, 50])
def test_the_estimate_is_the_posterior_mean_found_by_enumeration(t: int) -> None:
    diffusion, x0 = process(), drawn(5)
    time = torch.tensor(t)
    x_t = diffusion.q_sample(x0, time, torch.randn(x0.shape, generator=generator(1, "e"), dtype=torch.float64))
    found = diffusion.decode(logits_of(x_t), x_t, time)
    alpha, sigma = (
        float(diffusion.schedule.alpha_bar_at(time)) ** 0.5,
        float(1 - diffusion.schedule.alpha_bar_at(time)) ** 0.5,
    )
    for x, guess in zip(x_t.flatten().tolist(), found.x0.flatten().tolist(), strict=True):
        weights = [
            p * math.exp(-((x - alpha * (k / 127.5 - 1)) ** 2) / (2 * sigma**2))
            for k, p in zip(PROBABLE, SHARES, strict=True)
        ]
        if sum(weights) > 1e-250:
            mean = sum(w * (k / 127.5 - 1) for k, w in zip(PROBABLE, weights, strict=True)) / sum(weights)
            assert guess == pytest.approx(mean, abs=1e-9)
    torch.testing.assert_close(alpha * found.x0 + sigma * found.eps, x_t, rtol=0, atol=1e-12)


def test_an_ignorant_network_rounds_where_there_is_little_noise() -> None:
    """In float32, at a log-SNR of 16, every level is found: an error of 1e-7 in x_t stays one, squared nowhere."""
    diffusion = process(10, 16.0)
    x0 = from_pixels(torch.arange(256, dtype=torch.uint8)).reshape(1, 1, 16, 16)
    one = torch.tensor(1)
    x_t = diffusion.q_sample(x0, one, torch.randn(x0.shape, generator=generator(2, "e")).clamp(-3, 3))
    assert (diffusion.decode(torch.zeros(1, 256, 16, 16), x_t, one).x0 - x0).abs().max() < 1e-6


def test_memory_layout_changes_no_bit() -> None:
    diffusion, x_t = process(), torch.randn(2, 3, 4, 5, generator=generator(3, "x"))
    output = torch.randn(2, 768, 4, 5, generator=generator(3, "o"))
    last = output.contiguous(memory_format=torch.channels_last)
    assert torch.equal(*(diffusion.decode(o, x_t, torch.tensor(9)).x0 for o in (output, last)))


def test_the_levels_are_a_distribution_and_refuse_what_is_none() -> None:
    log_levels = torch.randn(1, 1, 2, 2, 256, generator=generator(4, "l"))
    each = [
        levels_log_prob(log_levels, from_pixels(torch.full((1, 1, 2, 2), k, dtype=torch.uint8))) for k in range(256)
    ]
    torch.testing.assert_close(torch.stack(each).exp().sum(0), torch.ones(1, 1, 2, 2).double(), rtol=0, atol=1e-12)
    assert float(level_values(log_levels)[0]) == -1 and float(level_values(log_levels)[255]) == 1
    with pytest.raises(ValueError, match="256 levels"):
        levels_log_prob(log_levels, torch.full((1, 1, 2, 2), 0.0013))


def test_the_bound_is_the_entropy_as_steps_grow() -> None:
    """Independent pixels whose law the network knows: what the bound loses is of first order in the step."""
    x0, gaps = drawn(100), []
    for steps in (100, 400):
        diffusion = process(steps)
        draws = generator(5, "noise", steps)

        def denoise(x_t: Tensor, t: Tensor, diffusion: GaussianDiffusion = diffusion) -> object:
            return diffusion.decode(logits_of(x_t), x_t, t)

        noise = lambda draws=draws: torch.randn(x0.shape, generator=draws, dtype=torch.float64)  # noqa: E731
        grid = torch.arange(steps, -1, -1)
        terms = [term.nats for term in bound_terms(diffusion, denoise, x0, grid, noise)]  # type: ignore[arg-type]
        cost = -torch.stack([torch.tensor(SHARES).double()[PROBABLE.index(k)].log() for k in to_levels(x0)]).sum()
        gaps.append(float(torch.stack(terms).sum() - cost) / x0.numel())
    assert 0.01 < gaps[1] < 0.03 and 2.5 < gaps[0] / gaps[1] < 6


def to_levels(x0: Tensor) -> list[int]:
    return [round(v) for v in ((x0 + 1) * 127.5).flatten().tolist()]


def test_the_last_term_is_the_cost_of_the_levels_themselves() -> None:
    """L_0 from the distribution of levels, not from a Gaussian that is integrated over bins."""
    diffusion, x0 = process(), drawn(3)
    t, s = torch.tensor(50), torch.tensor(0)
    x_t = diffusion.q_sample(x0, t, torch.zeros_like(x0))
    prediction = diffusion.decode(logits_of(x_t), x_t, t)
    assert prediction.levels is not None
    by_hand = torch.zeros(3).double()
    for image in range(3):
        for place, level in enumerate(to_levels(x0[image])):
            row = prediction.levels[image].reshape(-1, 256)[place].exp()
            by_hand[image] -= torch.log(row[level] / row.sum())
    torch.testing.assert_close(step_term(diffusion, prediction, x0, x_t, t, s), by_hand, rtol=1e-9, atol=0)


def test_the_simple_loss_compares_images() -> None:
    diffusion, x0 = process(), drawn(4)
    eps, t = torch.randn(x0.shape, generator=generator(6, "e"), dtype=torch.float64), torch.tensor([3, 20, 40, 50])
    x_t = diffusion.q_sample(x0, t, eps)
    guess = diffusion.decode(logits_of(x_t), x_t, t).x0
    expected_loss = ((x0 - guess) ** 2).flatten(1).mean(1)
    torch.testing.assert_close(squared_error(diffusion, logits_of(x_t), diffusion.noised(x0, t, eps)), expected_loss)


def test_the_continuous_bound_is_the_limit_of_many_steps() -> None:
    """One step's KL times T, at a step as short as 18.3 / 20,000, against the integrand at its log-SNR."""
    steps = 20_000
    diffusion, x0 = process(steps), drawn(6)
    eps, t = torch.randn(x0.shape, generator=generator(7, "e"), dtype=torch.float64), torch.linspace(2, steps, 6).long()
    x_t = diffusion.q_sample(x0, t, eps)
    term = step_term(diffusion, diffusion.decode(logits_of(x_t), x_t, t), x0, x_t, t, t - 1)
    per_step = term * (steps - 1) / (x0[0].numel() * math.log(2))
    limit = continuous(diffusion, logits_of(x_t), diffusion.noised(x0, t, eps))
    torch.testing.assert_close(limit, per_step, rtol=2e-3, atol=1e-9)


def test_the_integral_over_log_snr_is_what_the_pixels_cost() -> None:
    """Half the integral of || eps - eps_hat ||^2 over all log-SNR is the entropy (I-MMSE), by the midpoint rule."""
    clean, noisy = 13.3, -9.0
    schedule = log_snr_linear(50, clean, noisy)
    diffusion, x0, cells = GaussianDiffusion(schedule, PredictsCategorical(), beta_tilde, "log-snr"), drawn(300), 400
    total, draws = torch.zeros(300).double(), generator(8, "e")
    for u in (torch.arange(cells, dtype=torch.float64) + 0.5) / cells:
        eps = torch.randn(x0.shape, generator=draws, dtype=torch.float64)
        noised = Noised.at(schedule.level_between(u), x0, eps)
        total += continuous(diffusion, logits_of(noised.x_t), noised) / cells
    cost = sum(-math.log2(SHARES[PROBABLE.index(k)]) for k in to_levels(x0)) / x0.numel()
    assert float(total.mean()) == pytest.approx(cost, abs=0.02)


def test_time_is_told_as_log_snr_between_the_ends() -> None:
    diffusion = process(1001)
    told = diffusion.network_time(diffusion.schedule.level(torch.tensor([1, 1001])), torch.zeros(2, 1, 1, 1))
    assert told.tolist() == pytest.approx([25 * (20 - 13.3), 25 * 25.0], rel=1e-6)
    half, x = torch.tensor([0.5], dtype=torch.float64), torch.zeros(1, 1)
    middle, of_table = diffusion.schedule.level_between(half), diffusion.schedule.level(torch.tensor([501]))
    for found, wanted in ((middle.alpha, of_table.alpha), (middle.sigma, of_table.sigma)):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)
    torch.testing.assert_close(diffusion.network_time(middle, x), diffusion.network_time(of_table, x))


def test_expected_levels_are_between_the_extremes() -> None:
    certain = torch.full((1, 256), -torch.inf)
    certain[0, 200] = 0
    assert expected(certain).item() == pytest.approx(200 / 127.5 - 1)
