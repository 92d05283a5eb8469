"""Inpainting: known pixels to the bit, resampling that keeps the law, and the conditional law in the limit."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ancestral.diffusion.schedules import Schedule, cosine, log_snr_linear
from ancestral.editing.inpaint import Rounds, extended, inpaint, outside_box
from ancestral.errors import InputError
from ancestral.oracles import CorrelatedData, GaussianData, eps_process, moments
from ancestral.rng import ImageNoise
from ancestral.sampling.samplers import DDIM, Ancestral, Noise

SCHEDULE = log_snr_linear(200, 9.0, -6.0)
DIFFUSION = eps_process(SCHEDULE)
MEAN = torch.tensor([0.3, -0.2], dtype=torch.float64)
PAIR = CorrelatedData(SCHEDULE, MEAN, torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64))
KEEP = torch.tensor([True, False])


def errors(sampler: DDIM | Ancestral, steps: int, rounds: Rounds) -> tuple[float, float]:
    """Errors of the mean and variance of the second number given that the first is 0.9; the chain's law is exact."""
    image, timesteps = torch.tensor([0.9, 7.0], dtype=torch.float64), SCHEDULE.uniform_log_snr(steps)

    def run(noise: Noise) -> torch.Tensor:
        x_T = noise()
        *_, end = inpaint(PAIR, sampler, DIFFUSION, image.expand(len(x_T), 2), KEEP, x_T, timesteps, noise, rounds)
        return end.x_s

    mean, covariance = moments(run, (2,))
    assert mean[0] == 0.9 and not covariance[0].any(), "the known number is kept to the bit"
    return abs(float(mean[1]) - (-0.2 + 0.8 * 0.6)), abs(float(covariance[1, 1]) - 0.36)


def test_many_rounds_approach_the_conditional_law() -> None:
    """20 steps: the mean errs by 0.28, 0.12 and 0.04 with 1, 4 and 12 rounds, the variance by 0.16 and 0.04 at last."""
    means, variances = zip(*(errors(DDIM(SCHEDULE), 20, Rounds(count)) for count in (1, 4, 12)), strict=True)
    assert means[0] > 0.2 and means[1] < 0.5 * means[0] and means[2] < 0.4 * means[1]
    assert variances[0] > 0.15 and variances[2] < 0.05


def test_jumps_over_several_steps_approach_it_too() -> None:
    once, often = (errors(Ancestral(DIFFUSION), 18, Rounds(count, jump=3)) for count in (1, 10))
    assert once[0] > 0.15 and often[0] < 0.3 * once[0] and often[1] < 0.1


@pytest.mark.parametrize(("steps", "rounds"), [(7, Rounds(4)), (7, Rounds(3, jump=2)), (5, Rounds(2, jump=9))])
@pytest.mark.parametrize("schedule", [cosine(60), SCHEDULE])
def test_going_up_and_down_keeps_the_law_at_any_stride(schedule: Schedule, steps: int, rounds: Rounds) -> None:
    """With an exact reverse step and nothing known, resampling leaves N(m, l) alone, to 1e-12. Trap: going up by the
    betas of single timesteps on a strided chain. The last step arrives at a mean: its variance is that of the mean.
    """
    m, variance = torch.tensor([0.4, -0.7], dtype=torch.float64), torch.tensor([0.3, 2.0], dtype=torch.float64)
    oracle, timesteps = GaussianData(schedule, m, variance), schedule.trailing(steps)
    sampler = Ancestral(eps_process(schedule, oracle.exact))
    diffusion, nothing = eps_process(schedule), torch.zeros(2, dtype=torch.bool)
    centre, spread = oracle.at(timesteps[0])

    def run(noise: Noise) -> torch.Tensor:
        z = noise()
        start = centre + spread.sqrt() * z
        *_, end = inpaint(oracle, sampler, diffusion, 0 * z, nothing, start, timesteps, noise, rounds)
        return end.x_s

    mean, covariance = moments(run, (2,))
    last = timesteps[-2]
    explained = schedule.alpha_bar_at(last) * variance**2 / oracle.at(last)[1]
    assert torch.allclose(mean, m, rtol=0, atol=1e-12)
    assert torch.allclose(covariance, torch.diag(explained), rtol=0, atol=1e-12)


def test_the_walk_goes_down_each_stretch_so_often_and_onto_zero_once() -> None:
    timesteps = torch.tensor([50, 40, 30, 20, 10, 0])
    image, noise = torch.zeros(1, 2, dtype=torch.float64), ImageNoise([1], (2,), dtype=torch.float64)
    walk = inpaint(PAIR, DDIM(SCHEDULE), DIFFUSION, image, KEEP, noise(), timesteps, noise, Rounds(2, jump=3))
    down = [(50, 40), (40, 30), (30, 20)]
    assert [(step.t, step.s) for step in walk] == [*down, *down, (20, 10), (20, 10), (10, 0)]
    assert Rounds(2, jump=3).steps(timesteps) == 9 and Rounds(1).steps(timesteps) == 5


def test_known_pixels_are_the_images_and_each_image_has_its_own_noise() -> None:
    """Image 5 alone equals image 5 in a batch."""
    picture = torch.linspace(-1, 1, 2 * 1 * 2 * 1, dtype=torch.float64).reshape(2, 1, 2, 1)
    keep = torch.tensor([[True], [False]])

    def end(seeds: list[int], images: torch.Tensor) -> torch.Tensor:
        noise = ImageNoise(seeds, (1, 2, 1), dtype=torch.float64)
        return list(inpaint(PAIR, Ancestral(DIFFUSION), DIFFUSION, images, keep, noise(), grid, noise, Rounds(2)))[
            -1
        ].x_s

    grid = SCHEDULE.trailing(6)
    both = end([4, 5], picture)
    assert torch.equal(both[:, :, 0], picture[:, :, 0]) and not torch.equal(both[:, :, 1], picture[:, :, 1])
    assert torch.allclose(end([5], picture[1:]), both[1:], rtol=0, atol=1e-14)


@given(st.data())
def test_a_box_is_what_is_drawn_anew(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    unknown = (~outside_box(height, width, top, left, bottom, right)).nonzero().tolist()
    assert unknown == [[i, j] for i in range(top, bottom) for j in range(left, right)]


def test_a_larger_canvas_keeps_the_image_where_it_was() -> None:
    image = torch.rand(2, 3, 4, 5, generator=torch.manual_seed(0))
    canvas, keep = extended(image, 1, 2, 3, 0)
    assert canvas.shape == (2, 3, 7, 8)
    assert torch.equal(canvas[..., keep].reshape(image.shape), image) and torch.equal(canvas[..., 1:5, 3:], image)
    assert not canvas[..., ~keep].any()


@pytest.mark.parametrize(
    ("keep", "timesteps", "words"),
    [
        (torch.ones(3, dtype=torch.bool), torch.tensor([5, 0]), "mask that fits"),
        (KEEP[None].expand(4, 2), torch.tensor([5, 0]), "mask that fits"),
        (KEEP, torch.tensor([5, 1]), "fall to 0"),
        (KEEP, torch.tensor([5, 6, 0]), "fall to 0"),
    ],
)
def test_what_does_not_fit_is_refused(keep: torch.Tensor, timesteps: torch.Tensor, words: str) -> None:
    image = torch.zeros(1, 2, dtype=torch.float64)
    with pytest.raises(InputError, match=words):
        next(inpaint(PAIR, DDIM(SCHEDULE), DIFFUSION, image, keep, image, timesteps, lambda: image))


def test_impossible_boxes_margins_and_rounds_are_refused() -> None:
    for box in ((0, 0, 5, 2), (1, 1, 1, 2), (-1, 0, 1, 1)):
        with pytest.raises(InputError, match="expected a box"):
            outside_box(4, 4, *box)
    with pytest.raises(InputError, match="margins"):
        extended(torch.zeros(1, 1, 2, 2), -1, 0, 0, 0)
    with pytest.raises(InputError, match="at least 1"):
        Rounds(0)
