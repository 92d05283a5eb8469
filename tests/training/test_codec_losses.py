"""The losses of autoencoders against closed forms, and the faults that are known of them."""

import math

import pytest
import torch
from torch import Tensor

from ancestral.gaussian import DiagonalGaussian
from ancestral.networks.discriminator import PatchDiscriminator, levels_for
from ancestral.rng import generator
from ancestral.training.codec_losses import (
    LEAST_SCALE,
    ImageGradients,
    RandomFilters,
    RecentMeans,
    factors,
    hinge,
    kl_nats,
    laplace_nats,
    laplace_scale,
    last_weight_gradient,
    unlikely,
)

TRUE = torch.tensor(True)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed, "test"))


def test_kl_is_a_sum_over_an_image_in_nats() -> None:
    """Trap: a mean over latents, which is smaller by their number. Four latents, by hand; and by the definition,
    E[log q - log p], over many draws."""
    mean = torch.tensor([1.0, 0.0, -2.0, 0.5], dtype=torch.float64)
    log_var = torch.tensor([0.0, math.log(4.0), -1.0, 0.0], dtype=torch.float64)
    by_hand = 0.5 * (1 + 0) + 0.5 * (4 - 1 - math.log(4)) + 0.5 * (4 + math.exp(-1) - 1 + 1) + 0.5 * 0.25
    posterior = DiagonalGaussian(mean.reshape(1, 1, 2, 2), log_var.reshape(1, 1, 2, 2))
    assert float(kl_nats(posterior)) == pytest.approx(by_hand, rel=1e-12)
    z = posterior.sample(noise(100_000, 1, 2, 2).double())
    zero = torch.zeros((), dtype=torch.float64)
    drawn = (posterior.log_prob(z) - DiagonalGaussian(zero, zero).log_prob(z)).flatten(1).sum(1).mean()
    assert float(drawn) == pytest.approx(by_hand, abs=0.03)


def test_the_reconstruction_is_a_sum_over_an_image_and_a_density() -> None:
    """Trap: an L1 that is not in nats, or whose constant is another. Torch's own Laplace distribution is the oracle,
    and a density integrates to 1."""
    x, y, scale = noise(3, 2, 4, 5).double(), noise(3, 2, 4, 5, seed=1).double(), torch.tensor([0.05, 2.0]).double()
    oracle = torch.distributions.Laplace(y, scale[:, None, None].expand(2, 4, 5)).log_prob(x).flatten(1).sum(1)
    torch.testing.assert_close(laplace_nats(x, y, scale), -oracle)
    grid = torch.linspace(-20, 20, 40_001, dtype=torch.float64).reshape(-1, 1, 1, 1)
    density = torch.exp(-laplace_nats(grid, torch.zeros_like(grid), torch.tensor([0.7]).double()))
    assert float(torch.trapezoid(density, grid.flatten())) == pytest.approx(1, abs=1e-5)


def test_the_scale_is_the_likeliest() -> None:
    """In closed form, mean |x - y| of each channel; trap: a scale that no optimiser holds."""
    x = noise(50, 2, 8, 8).double() * torch.tensor([0.1, 3.0])[:, None, None]
    errors = x.abs().mean(dim=(0, 2, 3))
    best = laplace_scale(RecentMeans.none(2).after(errors, TRUE))
    torch.testing.assert_close(best, errors)

    def nats(scale: Tensor) -> float:
        return float(laplace_nats(x, torch.zeros_like(x), scale).sum())

    for channel in (0, 1):
        for factor in (0.98, 1.02):
            other = best.clone()
            other[channel] *= factor
            assert nats(other) > nats(best)
    assert laplace_scale(RecentMeans.none(2)).tolist() == [1.0, 1.0]
    exact = RecentMeans.none(1).after(torch.zeros(1), TRUE)
    assert laplace_scale(exact).tolist() == [LEAST_SCALE]


def test_a_step_that_was_not_taken_changes_no_mean() -> None:
    means = RecentMeans.none(2).after(torch.tensor([1.0, 2.0]), TRUE)
    same = means.after(torch.tensor([math.nan, 5.0]), ~TRUE)
    assert torch.equal(means.sums, same.sums) and torch.equal(means.counts, same.counts)
    one = means.after(torch.tensor([3.0, math.nan]), torch.tensor([True, False]))
    assert one.means[1] == pytest.approx(2.0) and 1.0 < one.means[0] < 3.0


def test_means_are_of_what_was_seen_alone() -> None:
    """Trap: an average that starts at 0 and is not corrected for it."""
    means = RecentMeans.none(1)
    for value in (2.0, 4.0):
        means = means.after(torch.tensor([value]), TRUE)
    assert float(means.means) == pytest.approx((0.99 * 2 + 4) / 1.99)


def test_factors_make_gradients_alike() -> None:
    """A term whose gradient is a thousandth gets the factor 1000, at most 1e4; one that was not seen gets none."""
    norms = RecentMeans.none(4).after(torch.tensor([5.0, 0.5, 1e-9, 7.0]), torch.tensor([True, True, True, False]))
    found = factors(norms)
    assert found.tolist() == pytest.approx([1.0, 5 / 0.5001, 1e4, 0.0]) and not found.requires_grad


def test_the_gradient_at_the_last_weight_is_autograds() -> None:
    features, weight = noise(3, 5, 6, 7), noise(2, 5, 3, 3, seed=1).requires_grad_()
    made = torch.nn.functional.conv2d(features, weight, padding=1)
    gradient = noise(*made.shape, seed=2)
    (wanted,) = torch.autograd.grad(made, weight, gradient)
    torch.testing.assert_close(last_weight_gradient(features, gradient, weight), wanted)
    in_bfloat16 = last_weight_gradient(features.bfloat16(), gradient.bfloat16(), weight)
    assert in_bfloat16.dtype == torch.float32


@pytest.mark.parametrize("by", ["filters", "gradients"])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 24), (4, 17, 33)])
def test_the_perceptual_term_alone_lowers_itself(shape: tuple[int, int, int], by: str) -> None:
    """Trap: one that is computed without a gradient."""
    distance = RandomFilters(shape[0], seed=0) if by == "filters" else ImageGradients()
    x = noise(2, *shape).tanh()
    y = (0.1 * noise(*x.shape, seed=1)).requires_grad_()
    before = float(distance(x, y).sum().detach())
    for _ in range(20):
        (gradient,) = torch.autograd.grad(distance(x, y).sum(), y)
        y = (y - 0.02 * gradient / gradient.abs().mean()).detach().requires_grad_()
    assert float(distance(x, y).sum().detach()) < 0.9 * before
    assert not any(each.requires_grad for each in distance.parameters())


def test_random_filters_depend_on_the_seed_alone() -> None:
    x, y = noise(2, 3, 32, 32), noise(2, 3, 32, 32, seed=1)
    torch.manual_seed(1)
    first = RandomFilters(3, seed=5)
    torch.manual_seed(2)
    assert torch.equal(first(x, y), RandomFilters(3, seed=5)(x, y))
    assert not torch.equal(first(x, y), RandomFilters(3, seed=6)(x, y))
    torch.testing.assert_close(first(x, y)[1:], first(x[1:], y[1:]))
    assert first(x, x).tolist() == [0.0, 0.0]
    torch.testing.assert_close(first(x, y), first(x + 0.3, y + 0.3), rtol=0.1, atol=0)  # brightness is not its matter


def test_gradients_see_edges_and_not_brightness() -> None:
    x = noise(2, 3, 32, 32)
    assert float(ImageGradients()(x, x + 0.3).max()) < 1e-6
    edge = torch.zeros(1, 1, 8, 8)
    edge[..., 4:] = 1.0  # one of seven differences across, none of seven down, at the only scale there is
    torch.testing.assert_close(ImageGradients()(edge, torch.zeros_like(edge)), torch.tensor([1 / 14]))


def test_a_blurred_texture_is_farther_than_one_out_of_place() -> None:
    """What L1 has the other way round, and why there is such a term."""
    x = noise(4, 3, 32, 32).clamp(-1, 1)
    blurred, moved = torch.zeros_like(x), x.roll(1, dims=3)
    assert (x - blurred).abs().mean() < (x - moved).abs().mean()
    distance = RandomFilters(3, seed=0)
    assert bool((distance(x, blurred) > distance(x, moved)).all())


def test_hinge_is_least_for_scores_beyond_one() -> None:
    real, made = torch.tensor([[[2.0]], [[0.5]]]), torch.tensor([[[-3.0]], [[0.0]]])
    assert hinge(real, made).tolist() == [0.0, 0.75]
    assert unlikely(torch.tensor([[[1.0, 3.0]]])).tolist() == [-2.0]


@pytest.mark.parametrize(("side", "levels", "scores"), [(8, 1, 4), (16, 2, 4), (128, 3, 16), (3, 1, 1)])
def test_a_score_depends_on_its_own_image_alone(side: int, levels: int, scores: int) -> None:
    """Trap: batch normalisation, by which an image's score depends on its batch and on its process."""
    torch.manual_seed(0)
    network, x = PatchDiscriminator(3, levels_for(side, side)), noise(3, 3, side, side)
    assert levels_for(side, side) == levels
    found = network.train()(x)
    assert found.shape == (3, scores, scores)
    torch.testing.assert_close(found[:1], network(x[:1]))
    assert [*network.buffers()] == []


def test_a_score_sees_a_patch_and_not_the_image() -> None:
    """But for the mean and deviation of the whole, which group normalisation takes."""
    network, x = PatchDiscriminator(1), noise(1, 1, 128, 128).requires_grad_()
    network.norms, network.norm_mid = torch.nn.ModuleList([torch.nn.Identity()] * 2), torch.nn.Identity()
    (seen,) = torch.autograd.grad(network(x)[0, 8, 8], x)
    rows = (seen[0, 0] != 0).any(dim=1).nonzero()
    assert (int(rows.min()), int(rows.max())) == (8 * 8 - 23, 8 * 8 + 30), "54 pixels around the patch's own eight"
