"""The probability flow's likelihood against densities, entropies and integrals known in other ways."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from ancestral.diffusion.likelihood import bound_terms
from ancestral.diffusion.probability_flow import (
    Denoise,
    Divergence,
    Exact,
    FlowBound,
    FlowLikelihood,
    Hutchinson,
    flow_log_prob,
    forward_flow_bound,
    quadratic_forms,
    quadrature,
    rademacher,
    uniform_flow_bound,
)
from ancestral.diffusion.process import Prediction
from ancestral.diffusion.schedules import Schedule, linear, log_snr_linear
from ancestral.gaussian import DiagonalGaussian
from ancestral.networks.unet import UNet
from ancestral.oracles import GaussianData, Mixture, double, eps_process, two_hills
from ancestral.rng import ImageNoise
from ancestral.sampling.denoiser import NetworkDenoiser
from ancestral.settings import UNetSettings

BIN = 2 / 255


MEAN, SPREAD = double(0.3, -0.5), double(0.03, 2.0)
POINTS = MEAN + SPREAD.sqrt() * double(1.1, -0.3, -0.6, 1.4).reshape(2, 2)


def even(steps: int, top: float = 3.0) -> Schedule:
    """Signal a = tanh(u) on even u, from u = `top` at t = 1 to u = 0, no signal at all, at t = T = steps + 1."""
    signal = torch.tanh(torch.linspace(top, 0, steps + 1, dtype=torch.float64))
    return Schedule(torch.cat([double(1), signal**2]))


def whole(schedule: Schedule) -> Tensor:
    """Every timestep from T to 1."""
    return schedule.trailing(schedule.num_timesteps)[:-1]


def flow(
    denoise: Denoise, schedule: Schedule, x: Tensor, divergence: Divergence | None = None, grid: Tensor | None = None
) -> FlowLikelihood:
    grid = whole(schedule) if grid is None else grid
    return flow_log_prob(eps_process(schedule), denoise, x, grid, divergence or Exact())


def gaussian_error(schedule: Schedule, grid: Tensor) -> float:
    """Nats per dimension by which the density of Gaussian data pulled back from N(0, I) is missed.

    The flow is x_T = alpha_T m + sqrt(v_T / v_t) (x_t - alpha_t m): its log-determinant is half the sum of log(v_T /
    v_t).
    """
    oracle, end, start = GaussianData(schedule, MEAN, SPREAD), grid[0], grid[-1]
    stretch = 0.5 * (oracle.at(end)[1] / oracle.at(start)[1]).log().sum()
    expected = Normal(0.0, 1.0).log_prob(oracle.flow(POINTS, start, end)).sum(1) + stretch
    return float((flow(oracle, schedule, POINTS, grid=grid).log_prob - expected).abs().max()) / 2


def mixture_error(steps: int) -> float:
    """The same for a mixture of two Gaussians in the plane, at noise that ends in N(0, I) exactly."""
    schedule = even(steps)
    x = double(0.9, 0.6, -0.8, 0.1, 0.0, 0.3, 1.5, -0.5).reshape(4, 2)
    expected = two_hills(schedule).log_density(x, torch.tensor(1))
    return float((flow(two_hills(schedule), schedule, x).log_prob - expected).abs().max()) / 2


def test_the_density_of_gaussian_data_is_the_closed_form() -> None:
    schedule = even(256)
    assert gaussian_error(schedule, whole(schedule)) < 1e-6


def test_the_density_of_correlated_data_is_the_closed_form() -> None:
    """Through a rotation of the axes, and against torch's own density."""
    schedule, first = even(192), torch.tensor(1)
    turn = torch.linalg.qr(torch.randn(2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    oracle, alpha_t = GaussianData(schedule, MEAN, SPREAD), schedule.alpha_bar_at(first).sqrt()

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        told = oracle(x @ turn, t)
        return Prediction(t, told.x0 @ turn.T, told.eps @ turn.T)

    covariance = turn @ torch.diag(oracle.at(first)[1]) @ turn.T
    points = POINTS @ turn.T
    expected = MultivariateNormal(turn @ (alpha_t * MEAN), covariance).log_prob(points)
    assert torch.allclose(flow(denoise, schedule, points).log_prob, expected, rtol=0, atol=2e-6)


def test_a_chain_that_keeps_some_signal_still_ends_in_the_prior() -> None:
    """Trap: the exact marginal of x_T in place of N(0, I), which differ where the signal is not gone."""
    schedule = log_snr_linear(256, 6.0, 0.0)
    assert gaussian_error(schedule, whole(schedule)) < 1e-6


def test_one_point_of_the_grid_is_the_prior_itself() -> None:
    schedule = even(4)
    at_the_end = flow(GaussianData(schedule, MEAN, SPREAD), schedule, POINTS, grid=whole(schedule)[:1])
    assert torch.allclose(at_the_end.log_prob, Normal(0.0, 1.0).log_prob(POINTS).sum(1))


@pytest.mark.parametrize("error", [lambda n: gaussian_error(even(n), whole(even(n))), mixture_error])
def test_measured_order_is_three(error: Callable[[int], float]) -> None:
    assert math.log2(error(96) / error(192)) == pytest.approx(3, abs=0.2)


def test_the_density_of_a_mixture_is_the_closed_form() -> None:
    assert mixture_error(256) < 1e-6


def test_the_density_of_a_mixture_adds_to_one() -> None:
    schedule = even(64)
    oracle = Mixture(schedule, double(0.3, 0.7), double(0.8, -0.6)[:, None], double(0.02, 0.1))
    x = torch.linspace(-4, 4, 1601, dtype=torch.float64)
    density = flow(oracle, schedule, x[:, None]).log_prob.exp()
    assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=2e-5)


@settings(max_examples=6)
@given(st.integers(0, 2**32))
def test_grids_may_be_uneven(seed: int) -> None:
    """Trap: weights of even steps. A third of the table left out at random."""
    schedule = even(120)
    keep = torch.rand(121, generator=torch.Generator().manual_seed(seed)) < 2 / 3
    keep[[0, -1]] = True
    assert gaussian_error(schedule, whole(schedule)[keep]) < 3e-4


def test_schedules_of_the_papers() -> None:
    """The first steps of the linear schedule are a factor of 1.5 in noise each, and the error is theirs."""
    assert gaussian_error(log_snr_linear(300), whole(log_snr_linear(300))) < 1e-5
    assert gaussian_error(linear(), linear().uniform_log_snr(100)[:-1]) < 2e-3


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=3), st.floats(-2, 2), st.floats(0.1, 2), st.booleans())
def test_quadrature_is_exact_for_polynomials(nodes: list[float], start: float, length: float, falls: bool) -> None:
    """Against the antiderivative. Ends and nodes may lie anywhere."""
    nodes = [start + i * 0.3 + 0.2 * abs(node) for i, node in enumerate(sorted(nodes))]
    if any(b - a < 0.05 for a, b in itertools.pairwise(nodes)):
        return
    end = start - length if falls else start + length
    weights = quadrature(double(*nodes), double(start)[0], double(end)[0])
    for degree in range(len(nodes)):
        integral = (end ** (degree + 1) - start ** (degree + 1)) / (degree + 1)
        assert float(weights @ double(*nodes) ** degree) == pytest.approx(integral, abs=1e-7)


# Probes


def test_all_sign_vectors_together_are_the_trace() -> None:
    """The estimator is unbiased: its mean over every Rademacher vector, by enumeration, is the exact divergence."""
    schedule = even(12)
    corners = itertools.cycle(torch.tensor(list(itertools.product([-1.0, 1.0], repeat=2)), dtype=torch.float64))
    x = double(0.9, 0.6, -0.8, 0.1).reshape(2, 2)
    every = Hutchinson(4, lambda: next(corners).expand(2, 2))
    estimated, exact = flow(two_hills(schedule), schedule, x, every), flow(two_hills(schedule), schedule, x)
    assert torch.allclose(estimated.log_prob, exact.log_prob, rtol=0, atol=1e-12)
    assert exact.standard_error is None and estimated.standard_error is not None


@pytest.mark.parametrize("law", [lambda noise: noise, rademacher], ids=["normal", "rademacher"])
def test_the_reported_error_is_the_error_made(law: Callable) -> None:
    """400 estimates of one image: without bias, and the square of error over reported error is 1 on average.

    With 12 probes that square is of Student's law, mean 11 / 9.
    """
    schedule, images = even(16), 400
    x = double(0.6, 0.3).expand(images, 2)
    noise = ImageNoise(range(images), (2,), dtype=torch.float64)
    estimated = flow(two_hills(schedule), schedule, x, Hutchinson(12, law(noise)))
    assert estimated.standard_error is not None
    error = estimated.log_prob - flow(two_hills(schedule), schedule, x[:1]).log_prob
    assert estimated.standard_error.min() > 0
    assert abs(error.mean()) < 4 * error.std() / math.sqrt(images)
    assert ((error / estimated.standard_error) ** 2).mean().item() == pytest.approx(11 / 9, rel=0.35)


def test_signs_are_exact_where_the_jacobian_is_diagonal_and_normals_are_not() -> None:
    schedule = even(16)
    oracle = GaussianData(schedule, MEAN, SPREAD)
    noise = ImageNoise([1, 2], (2,), dtype=torch.float64)
    signs, normals = (flow(oracle, schedule, POINTS, Hutchinson(2, law)) for law in (rademacher(noise), noise))
    assert signs.standard_error is not None and normals.standard_error is not None
    assert torch.allclose(signs.log_prob, flow(oracle, schedule, POINTS).log_prob, rtol=0, atol=1e-12)
    assert signs.standard_error.max() < 1e-12 and normals.standard_error.min() > 1e-3


def test_probes_are_those_of_the_image_not_of_the_batch() -> None:
    schedule, x = even(8), double(0.9, 0.6, -0.8, 0.1).reshape(2, 2)

    def estimate(seeds: list[int], x: Tensor) -> Tensor:
        noise = rademacher(ImageNoise(seeds, (2,), stream="probes"))
        return flow(two_hills(schedule), schedule, x, Hutchinson(2, noise)).log_prob

    assert torch.equal(estimate([3, 17], x)[1:], estimate([17], x[1:]))


# Networks and layouts


@pytest.mark.parametrize("layout", ["flat", "channels first", "channels last", "strides of channels last"])
def test_the_layout_of_the_data_does_not_matter(layout: str) -> None:
    schedule = even(6)
    means = torch.randn(2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    oracle = Mixture(schedule, double(0.4, 0.6), means, double(0.3, 0.5))
    x = means + 0.1
    there: Callable[[Tensor], Tensor] = {
        "flat": lambda x: x,
        "channels first": lambda x: x.reshape(-1, 3, 2, 2),
        "channels last": lambda x: x.reshape(-1, 3, 2, 2).permute(0, 2, 3, 1),
        "strides of channels last": lambda x: x.reshape(-1, 3, 2, 2).contiguous(memory_format=torch.channels_last),
    }[layout]

    def flat(x: Tensor) -> Tensor:
        return (x.permute(0, 3, 1, 2) if layout == "channels last" else x).reshape(-1, 12)

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        told = oracle(flat(x), t)
        return Prediction(t, there(told.x0), there(told.eps))

    assert torch.allclose(flow(denoise, schedule, there(x)).log_prob, flow(oracle, schedule, x).log_prob, atol=1e-12)


def small_network() -> UNet:
    """A U-Net with attention whose weights are no longer its zeros."""
    torch.manual_seed(0)
    network = UNet(UNetSettings(widths=(8, 8), layers=1, attention=(1,), norm_groups=4), 1, 1).eval()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    return network


def test_the_divergence_of_a_network_is_the_trace_of_its_jacobian() -> None:
    network, x, t = small_network().double(), torch.randn(2, 1, 4, 3, dtype=torch.float64), torch.tensor(5)
    value, forms = quadratic_forms(lambda x: network(x, t), x, Exact().vectors(x))
    for i in range(2):
        jacobian = torch.autograd.functional.jacobian(lambda x: network(x, t), x[i : i + 1]).reshape(12, 12)
        assert torch.allclose(forms[:, i], jacobian.diagonal(), atol=1e-10)
    assert torch.equal(value, network(x, t)) and not value.requires_grad


def test_networks_are_left_as_they_were() -> None:
    """Gradients go to x alone; parameters keep their flags; outer modes of autograd change nothing."""
    network, schedule = small_network(), even(4, top=2.0)
    network.conv_in.requires_grad_(False)
    flags = [weight.requires_grad for weight in network.parameters()]
    denoise, x = NetworkDenoiser(eps_process(schedule), network), torch.randn(2, 1, 4, 4)
    grid = whole(schedule)[1:]  # a prediction of eps says nothing of x0 at zero signal
    schedule = Schedule(schedule.alpha_bar[:-1])
    plain = flow(denoise, schedule, x, grid=grid)
    with torch.no_grad():
        assert torch.equal(flow(denoise, schedule, x, grid=grid).log_prob, plain.log_prob)
    with torch.inference_mode():
        inside = flow(denoise, schedule, x + 0, grid=grid)
    assert torch.equal(inside.log_prob, plain.log_prob)
    assert plain.log_prob.dtype == torch.float64
    assert [weight.requires_grad for weight in network.parameters()] == flags
    assert all(weight.grad is None for weight in network.parameters())


def test_float32_data_lose_only_their_own_rounding() -> None:
    schedule = even(64)
    oracle = GaussianData(schedule, MEAN, SPREAD)

    def single(x: Tensor, t: Tensor) -> Prediction:
        told = oracle(x.double(), t)
        return Prediction(t, told.x0.float(), told.eps.float())

    rounded = flow(single, schedule, POINTS.float()).log_prob
    assert torch.allclose(rounded, flow(oracle, schedule, POINTS).log_prob, rtol=0, atol=1e-4)


def test_a_denoiser_without_gradients_is_refused() -> None:
    """Trap: a divergence that silently leaves the network out."""
    schedule = even(4)
    denoise = torch.no_grad()(GaussianData(schedule, MEAN, SPREAD).__call__)
    with pytest.raises(ValueError, match="denoiser with gradients"):
        flow(denoise, schedule, POINTS)


@pytest.mark.parametrize("grid", [[5, 3, 0], [4, 3, 1], [5, 3, 3, 1], [1, 3, 5], []])
def test_grids_that_do_not_fall_from_the_end_to_noise_are_refused(grid: list[int]) -> None:
    schedule = even(4)
    with pytest.raises(ValueError, match="fall from T = 5 to 1 or more"):
        flow(GaussianData(schedule, MEAN, SPREAD), schedule, POINTS, grid=torch.tensor(grid, dtype=torch.int64))


def test_one_probe_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two probes"):
        Hutchinson(1, lambda: POINTS)


# Pixels


def level(*ks: int) -> Tensor:
    """Pixel values k as numbers in [-1, 1]."""
    return torch.tensor(ks, dtype=torch.float64) / 127.5 - 1


def pixels(schedule: Schedule, levels: Tensor, weights: Tensor) -> Mixture:
    """Data that are whole images, levels (K, D), and nothing between them."""
    return Mixture(schedule, weights, levels, torch.zeros(len(levels), dtype=torch.float64))


def normal_nodes() -> tuple[Tensor, Tensor]:
    """Nodes and weights, (N,), of an even rule for expectations over N(0, 1): levels that mix make sharp bends."""
    nodes = torch.linspace(-8, 8, 257, dtype=torch.float64)
    return nodes, Normal(0.0, 1.0).log_prob(nodes).exp() * (nodes[1] - nodes[0])


def uniform_nodes(count: int = 64) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights, (N,), for expectations over [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return torch.tensor(nodes + 1) / 2, torch.tensor(weights / 2)


def expected(
    bound: Callable[..., FlowBound],
    rule: tuple[Tensor, Tensor],
    oracle: Mixture,
    of: Callable[[FlowBound], Tensor] = lambda bound: bound.nats,
) -> Tensor:
    """The expectation of a bound over its draws, by quadrature, for every level (K, 1) of the oracle: (K,) nats."""
    nodes, weights = rule
    levels, schedule = oracle.means, oracle.schedule
    x0, draws = levels.repeat_interleave(len(nodes), 0), nodes.repeat(len(levels))[:, None]
    nats = of(bound(eps_process(schedule), oracle, x0, whole(schedule), Exact(), draws))
    return nats.reshape(len(levels), -1) @ weights


def relative_noise(schedule: Schedule) -> float:
    """sigma_1 / alpha_1."""
    return float(((1 - schedule.alpha_bar[1]) / schedule.alpha_bar[1]).sqrt())


APART, SHARE = level(40, 100, 200)[:, None], double(0.5, 0.3, 0.2)
ENTROPY = -float((SHARE * SHARE.log()).sum())


def test_forward_dequantisation_of_distant_levels_costs_their_entropy() -> None:
    """Nothing is lost: the bound on data of known entropy is that entropy, to the solver's error."""
    oracle = pixels(even(128, top=7.0), APART, SHARE)
    nats = expected(forward_flow_bound, normal_nodes(), oracle)
    assert float(SHARE @ nats) == pytest.approx(ENTROPY, abs=5e-4)


@pytest.mark.parametrize("top", [5.3, 6.1, 6.78, 7.3])
def test_uniform_dequantisation_of_distant_levels_costs_what_its_shape_does(top: float) -> None:
    """KL(uniform on a bin || normal of the noise), by an integral; least, 0.18 nats, where the variances are equal."""
    oracle = pixels(even(96, top=top), APART, SHARE)
    uniform, weights = uniform_nodes()
    sigma = relative_noise(oracle.schedule)
    kl = float(-math.log(BIN) - weights @ Normal(0.0, sigma).log_prob((uniform - 0.5) * BIN))
    price = float(SHARE @ expected(uniform_flow_bound, uniform_nodes(), oracle)) - ENTROPY
    assert price == pytest.approx(kl, abs=2e-3)
    assert price > 0.176


def test_the_model_of_uniform_dequantisation_is_a_density_of_pixels() -> None:
    """Trap: the scale a between y and x_t left out. y = x_t / a is N(m, l + s^2 / a^2), at a noise where a is 0.76."""
    schedule = even(128, top=1.0)
    oracle, middle = GaussianData(schedule, MEAN, SPREAD), torch.full((2, 2), 0.5, dtype=torch.float64)
    bound = uniform_flow_bound(eps_process(schedule), oracle, POINTS, whole(schedule), Exact(), middle)
    density = Normal(MEAN, (SPREAD + relative_noise(schedule) ** 2).sqrt()).log_prob(POINTS).sum(1)
    assert torch.allclose(bound.nats, -density - 2 * math.log(BIN), rtol=0, atol=1e-6)
    assert torch.equal(bound.decoder, torch.zeros(2, dtype=torch.float64))


NEAR = level(99, 100, 102)[:, None]


@pytest.mark.parametrize("top", [5.3, 6.5])
def test_both_bounds_hold_on_levels_that_the_noise_mixes(top: float) -> None:
    """Levels a bin apart under noise as wide as a bin: each bound above -log P of its own model, level by level.

    The model of `forward` is P(x_0) = integral of p(x_1) P(x_0 | x_1) with the oracle's mean and beta_tilde_2, and its
    bound an integral too; the model of `uniform` rounds x_1 / alpha_1.
    """
    schedule = even(128, top=top)
    oracle = pixels(schedule, NEAR, SHARE)
    forward = expected(forward_flow_bound, normal_nodes(), oracle)
    uniform = expected(uniform_flow_bound, uniform_nodes(), oracle)
    now, later = schedule.alpha_bar[1], schedule.alpha_bar[2]
    alpha, sigma, width = now.sqrt(), (1 - now).sqrt(), ((1 - now) / (1 - later) * (1 - later / now)).sqrt()
    inside, parts = uniform_nodes(12)
    for i, x0 in enumerate(NEAR[:, 0]):
        x_1 = alpha * x0 + sigma * torch.linspace(-9, 9, 6001, dtype=torch.float64)
        joint = SHARE.log() + Normal(alpha * NEAR[:, 0], sigma).log_prob(x_1[:, None])
        log_p, log_q = joint.logsumexp(1), Normal(alpha * x0, sigma).log_prob(x_1)
        mean = (joint - log_p[:, None]).exp() @ NEAR
        log_decoder = (Normal(mean, width).log_prob(x0 + BIN * (inside - 0.5)) + (BIN * parts).log()).logsumexp(1)
        by_hand = torch.trapezoid(log_q.exp() * (log_q - log_p - log_decoder), x_1).item()
        assert forward[i].item() == pytest.approx(by_hand, abs=1e-3)
        assert forward[i] > -torch.trapezoid((log_p + log_decoder).exp(), x_1).log()
        bins = Normal(NEAR[:, 0], relative_noise(schedule))
        assert uniform[i] > -(SHARE * (bins.cdf(x0 + BIN / 2) - bins.cdf(x0 - BIN / 2))).sum().log()


def chain_without_decoder(steps: int) -> float:
    """L_T and every KL of the variational bound in nats, over 4000 draws of NEAR in the proportions of SHARE."""
    oracle, random = pixels(even(steps, top=5.3), NEAR, SHARE), torch.Generator().manual_seed(0)
    x0 = NEAR.repeat_interleave((4000 * SHARE).long(), 0)

    def noise() -> Tensor:
        return torch.randn(x0.shape, generator=random, dtype=torch.float64)

    terms = [*bound_terms(eps_process(oracle.schedule), oracle, x0, torch.arange(steps + 1, -1, -1), noise)]
    return sum(term.nats.mean().item() for term in terms if term.s > 0)


def test_the_flow_agrees_with_the_chain() -> None:
    """Both models of x_1 by one denoiser: the chain costs more for the length of its steps, and no more than that."""
    oracle = pixels(even(128, top=5.3), NEAR, SHARE)
    nats = expected(forward_flow_bound, normal_nodes(), oracle, of=lambda bound: bound.nats - bound.decoder)
    coarse, fine = (chain_without_decoder(steps) - float(SHARE @ nats) for steps in (32, 128))
    assert coarse > 0.007
    assert 0 < fine < 0.004


def test_every_draw_is_the_density_where_the_decoder_is_exact() -> None:
    """Bayes' rule, p(x_1) p(x_0 | x_1) / q(x_1 | x_0) = p(x_0): Gaussian data, p(x_0 | x_1) of variance l s^2 / v.

    Trap: the entropy of q in place of its log-density would hold on average only. Densities: data are not pixels.
    """
    schedule = even(128)
    oracle = GaussianData(schedule, MEAN, SPREAD)
    diffusion = eps_process(schedule, oracle.exact)
    noise = double(0.4, -1.3, 2.1, 0.2).reshape(2, 2)
    bound = forward_flow_bound(diffusion, oracle, POINTS, whole(schedule), Exact(), noise, DiagonalGaussian.log_prob)
    expected = -Normal(MEAN, SPREAD.sqrt()).log_prob(POINTS).sum(1)
    assert torch.allclose(bound.nats, expected, rtol=0, atol=1e-5)
    assert bound.standard_error is None


def test_images_that_are_not_pixels_are_refused_before_the_flow_is_solved() -> None:
    schedule = even(4)
    oracle = GaussianData(schedule, MEAN, SPREAD)
    with pytest.raises(ValueError, match="256 levels"):
        forward_flow_bound(eps_process(schedule), oracle, POINTS, whole(schedule), Exact(), POINTS)
