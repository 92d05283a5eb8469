"""The variational bound: every equality of its derivation, and figures that are known without it.

Where a denoiser is affine, every term is a quadratic of the noise, and two points +1 and -1 integrate a quadratic of
N(0, 1) exactly: expectations here are means over signs, through the code under test, without sampling.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ancestral.diffusion.likelihood import bits_per_dim, bound_terms, prior_term, step_term
from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import (
    Schedule,
    cosine,
    from_betas,
    linear,
    log_snr_linear,
    sigmoid,
    zero_terminal_snr,
)
from ancestral.diffusion.variances import Variance, beta, beta_tilde
from ancestral.gaussian import DiagonalGaussian
from ancestral.oracles import GaussianData, double, entropy, eps_process, expected_terms, propagate, signs
from ancestral.sampling.samplers import Ancestral

density = DiagonalGaussian.log_prob
BETAS = [0.1, 0.3, 0.2, 0.55, 0.4]
SHORT = from_betas(BETAS)
GRID = torch.tensor([5, 3, 1, 0])
"""A strided chain: beta of its steps is none of BETAS but the last."""


def wrong_model(schedule: Schedule, variance: Variance = beta) -> tuple[GaussianDiffusion, GaussianData]:
    """The reverse process of other Gaussian data than the tests feed it: affine, and not exact."""
    denoise = GaussianData(schedule, double(0.3), double(0.5))
    return eps_process(schedule, variance), denoise


def exact_model(schedule: Schedule, mean: Tensor, variance: Tensor) -> tuple[GaussianDiffusion, GaussianData]:
    data = GaussianData(schedule, mean, variance)
    return eps_process(schedule, data.exact), data


def paths(x0: float, grid: Tensor, diffusion: GaussianDiffusion, kicks: Tensor) -> list[Tensor]:
    """x_{t_0}, ..., x_{t_n} = x_0 of the forward chain along the grid, for the noises (N, steps) of its steps."""
    x = [torch.full((len(kicks), 1), x0, dtype=torch.float64)]
    upwards = grid.flip(0)
    for i, (s, t) in enumerate(itertools.pairwise(upwards)):
        x.append(diffusion.q_step(x[-1], t, s).sample(kicks[:, i : i + 1]))
    return x[::-1]


def log_weights(diffusion: GaussianDiffusion, denoise, path: list[Tensor], grid: Tensor) -> Tensor:
    """log p(x_{0:T}) - log q(x_{1:T} | x_0) of every path, factor by factor along both chains, (N,)."""
    total = DiagonalGaussian(torch.zeros_like(path[0]), double(0.0)).log_prob(path[0])
    for (t, s), (x_t, x_s) in zip(itertools.pairwise(grid), itertools.pairwise(path), strict=True):
        total = total + diffusion.p_posterior(denoise(x_t, t), x_t, t, s).log_prob(x_s)
        total = total - diffusion.q_step(x_s, t, s).log_prob(x_t)
    return total[:, 0]


def log_evidence(diffusion: GaussianDiffusion, denoise, x0: float, grid: Tensor) -> float:
    """log p(x_0) of an affine reverse chain, by carrying the mean and variance of p(x_T) down it."""
    *_, (_, mean, variance) = propagate(Ancestral(diffusion), denoise, grid, double(0.0), double(1.0))
    one = torch.ones(1, 1, dtype=torch.float64)
    last = diffusion.p_posterior(denoise(one, grid[-2]), one, grid[-2], grid[-1]).log_var.exp()
    return torch.distributions.Normal(mean, (variance + last).sqrt()).log_prob(double(x0)).sum().item()


def hermite(nodes: int, dims: int) -> tuple[Tensor, Tensor]:
    """Points (nodes ** dims, dims) and log-weights of Gauss-Hermite quadrature under N(0, I)."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    points = torch.tensor([*itertools.product(x, repeat=dims)], dtype=torch.float64)
    weights = torch.tensor([*itertools.product(np.log(w / w.sum()), repeat=dims)], dtype=torch.float64)
    return points, weights.sum(1)


# From the evidence to a sum of KLs.


@pytest.mark.parametrize("grid", [GRID, torch.tensor([3, 2, 1, 0])], ids=["strided", "full"])
@pytest.mark.parametrize("x0", [-1.0, 0.2, 2.0])
def test_the_evidence_is_an_expectation_over_the_forward_process(x0: float, grid: Tensor) -> None:
    """p(x_0) = E_q [p(x_{0:T}) / q(x_{1:T} | x_0)], by quadrature over the three noises of a path."""
    diffusion, denoise = wrong_model(from_betas(BETAS[: int(grid[0])]), beta_tilde)
    kicks, log_w = hermite(24, 3)
    weights = log_weights(diffusion, denoise, paths(x0, grid, diffusion, kicks), grid)
    evidence = torch.logsumexp(weights + log_w, 0).item()
    assert evidence == pytest.approx(log_evidence(diffusion, denoise, x0, grid), abs=1e-10)


@given(st.floats(-3, 3), st.floats(-2, 2), st.floats(0.05, 4), st.sampled_from([beta, beta_tilde]))
def test_by_jensen_the_bound_is_never_below_the_evidence(x0: float, mean: float, variance: float, width) -> None:
    for grid in (GRID, SHORT.trailing(SHORT.num_timesteps)):
        diffusion, _ = wrong_model(SHORT, width)
        denoise = GaussianData(SHORT, double(mean), double(variance))
        terms = bound_terms(diffusion, denoise, double(x0, x0)[:, None], grid, lambda: double(1, -1)[:, None], density)
        bound = sum(term.nats.mean().item() for term in terms)
        assert bound >= -log_evidence(diffusion, denoise, x0, grid) - 1e-9


def test_jensen_is_an_equality_when_the_reverse_process_is_exact() -> None:
    """Then the weight of every single path is the evidence, and there is nothing to average."""
    schedule, mean, variance = zero_terminal_snr(SHORT), double(0.4), double(2.5)
    diffusion, denoise = exact_model(schedule, mean, variance)
    kicks = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = log_weights(diffusion, denoise, paths(-1.3, GRID, diffusion, kicks), GRID)
    truth = torch.distributions.Normal(mean, variance.sqrt()).log_prob(double(-1.3)).item()
    assert weights.tolist() == pytest.approx([truth] * 50, abs=1e-11)


@given(st.integers(2, 5), st.data(), st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3))
def test_bayes_rule_turns_a_forward_step_around(t: int, data, x0: float, x_s: float, x_t: float) -> None:
    """q(x_t | x_s) = q(x_s | x_t, x_0) q(x_t | x_0) / q(x_s | x_0): what telescopes."""
    s = torch.tensor(data.draw(st.integers(1, t - 1)))
    chain, time = eps_process(SHORT), torch.tensor(t)
    origin, low, high = (double(x)[:, None] for x in (x0, x_s, x_t))
    around = chain.q_posterior(origin, high, time, s).log_prob(low) + chain.q_marginal(origin, time).log_prob(high)
    around = around - chain.q_marginal(origin, s).log_prob(low)
    assert chain.q_step(low, time, s).log_prob(high).item() == pytest.approx(around.item(), rel=1e-10, abs=1e-9)


@pytest.mark.parametrize("width", [beta, beta_tilde])
@pytest.mark.parametrize("grid", [GRID, SHORT.trailing(SHORT.num_timesteps)], ids=["strided", "full"])
def test_the_sum_telescopes_into_kls(grid: Tensor, width: Variance) -> None:
    """E_q of minus the log-weight of a path is L_T + the sum of L_(t,s) + L_0: both quadratic, both by signs."""
    x0 = 0.8
    diffusion, denoise = wrong_model(SHORT, width)
    kicks = signs(len(grid) - 1)
    whole = -log_weights(diffusion, denoise, paths(x0, grid, diffusion, kicks), grid).mean().item()
    terms = bound_terms(diffusion, denoise, double(x0, x0)[:, None], grid, lambda: double(1, -1)[:, None], density)
    assert sum(term.nats.mean().item() for term in terms) == pytest.approx(whole, abs=1e-11)


@given(st.integers(2, 5), st.data(), st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3))
def test_with_equal_variances_a_term_is_a_weighted_error_of_eps(
    t: int, data, x0: float, eps: float, hat: float
) -> None:
    """Ho et al. 2020, eq. 8 and 12 at any stride: beta^2 / (2 sigma^2 (1 - beta) (1 - alpha_bar_t)) (eps - eps_hat)^2.

    With sigma^2 = beta instead of beta_tilde a constant is added, the KL of the variances.
    """
    s = data.draw(st.integers(1, t - 1))
    kept, left = (math.prod(1 - b for b in BETAS[:time]) for time in (t, s))
    step = 1 - math.prod(1 - b for b in BETAS[s:t])
    narrow = (1 - left) / (1 - kept) * step
    weight = step**2 / (2 * (1 - step) * (1 - kept))
    for width, sigma2 in ((beta_tilde, narrow), (beta, step)):
        diffusion = eps_process(SHORT, width)
        x_t = diffusion.q_sample(double(x0)[:, None], torch.tensor(t), double(eps)[:, None])
        prediction = diffusion.decode(double(hat)[:, None], x_t, torch.tensor(t))
        ours = step_term(diffusion, prediction, double(x0)[:, None], x_t, torch.tensor(t), torch.tensor(s)).item()
        constant = 0.5 * (narrow / sigma2 - 1 - math.log(narrow / sigma2))
        assert ours == pytest.approx(weight / sigma2 * (eps - hat) ** 2 + constant, rel=1e-9, abs=1e-9)


# Against the paper.


def network(x_t: Tensor) -> Tensor:
    """Something nonlinear that is no good denoiser."""
    return torch.tanh(1.7 * x_t + 0.3) + 0.1 * x_t.flip(-1)


def paper_term(betas: list[float], t: int, x0: list[float], eps: list[float], hat: list[float], large: bool) -> float:
    """L_{t-1} of one image, nats, from Ho et al. 2020, in numbers: eq. 4, 6-8, 11, and 13 with the erf of `math`."""
    alpha_bar, before = (math.prod(1 - b for b in betas[:time]) for time in (t, t - 1))
    now = betas[t - 1]
    tilde = (1 - before) / (1 - alpha_bar) * now
    second = betas[0] / (1 - (1 - betas[0]) * (1 - betas[1])) * betas[1]
    sigma2 = now if large else (tilde if t > 1 else second)
    nats = 0.0
    for x, e, h in zip(x0, eps, hat, strict=True):
        x_t = math.sqrt(alpha_bar) * x + math.sqrt(1 - alpha_bar) * e
        mu = (x_t - now / math.sqrt(1 - alpha_bar) * h) / math.sqrt(1 - now)
        if t == 1:
            z = [(x + side / 255 - mu) / math.sqrt(2 * sigma2) for side in (-1, 1)]
            lower = -1.0 if x == -1 else math.erf(z[0])
            upper = 1.0 if x == 1 else math.erf(z[1])
            nats -= math.log(0.5 * (upper - lower))
        else:
            mu_tilde = math.sqrt(before) * now / (1 - alpha_bar) * x
            mu_tilde += math.sqrt(1 - now) * (1 - before) / (1 - alpha_bar) * x_t
            nats += 0.5 * (math.log(sigma2 / tilde) + (tilde + (mu_tilde - mu) ** 2) / sigma2 - 1)
    return nats


@pytest.mark.parametrize("width", [beta, beta_tilde])
def test_each_term_is_the_papers(width: Variance) -> None:
    """Same noise, same network: every 37th term of the linear schedule, its first two and its last."""
    betas = [1e-4 + (0.02 - 1e-4) * i / 999 for i in range(1000)]
    generator = torch.Generator().manual_seed(1)
    x0 = torch.randint(0, 256, (3, 2, 3, 3), generator=generator).double() / 127.5 - 1
    x0[:, 0, 0, 0], x0[:, 0, 0, 1] = 1.0, -1.0
    diffusion, worst = eps_process(linear(), width), 0.0
    for t in [1, 2, *range(3, 1000, 37), 1000]:
        # At t = 1 noise of full size would leave bins whose probability the paper's formula rounds to 0.
        eps = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
        x_t = diffusion.q_sample(x0, torch.tensor(t), eps)
        hat = network(x_t) if t > 1 else eps + 0.3 * network(x_t)
        prediction = diffusion.decode(hat, x_t, torch.tensor(t))
        ours = step_term(diffusion, prediction, x0, x_t, torch.tensor(t), torch.tensor(t - 1))
        for i in range(3):
            rows = (image[i].flatten().tolist() for image in (x0, eps, hat))
            theirs = paper_term(betas, t, *rows, large=width is beta)
            worst = max(worst, abs(ours[i].item() / theirs - 1))
    assert worst < 1e-8


@pytest.mark.parametrize(
    ("schedule", "alpha_bar", "bits"), [(linear(), 4.0358e-5, 1.4559e-5), (cosine(), 2.43e-9, 8.77e-10)]
)
def test_the_prior_term_has_its_published_size(schedule: Schedule, alpha_bar: float, bits: float) -> None:
    """At E[x_0^2] = 0.5 it is alpha_bar_T / (4 log 2) bits a dimension: 1.5e-5 for linear, T = 1000."""
    x0 = torch.full((2, 3, 4, 4), math.sqrt(0.5), dtype=torch.float64)
    ours = bits_per_dim(prior_term(eps_process(schedule), x0), 48)
    assert schedule.alpha_bar[-1].item() == pytest.approx(alpha_bar, rel=2e-3)
    assert ours.tolist() == pytest.approx([bits] * 2, rel=2e-3)


def test_nothing_is_paid_for_the_end_where_no_signal_is_left() -> None:
    assert prior_term(eps_process(zero_terminal_snr(linear())), torch.ones(2, 3)).tolist() == [0, 0]


# Against entropies.


VARIANCES = double(0.01, 0.25, 0.7, 1.0)


@pytest.mark.parametrize("table", [linear, cosine])
@pytest.mark.parametrize("T", [10, 100, 1000, 4000])
def test_with_the_exact_reverse_variance_the_bound_is_the_entropy(table, T: int) -> None:
    """Gaussian data, the density as decoder: below 1e-9 nats a dimension at every T."""
    schedule, mean = table(T), torch.zeros(4, dtype=torch.float64)
    terms = expected_terms(*exact_model(schedule, mean, VARIANCES), schedule.trailing(schedule.num_timesteps))
    assert len(terms) == T + 1
    assert terms.sum().item() == pytest.approx(entropy(VARIANCES).mean().item(), abs=1e-9)


@given(st.sets(st.integers(1, 39), max_size=12), st.floats(-2, 2), st.floats(0.01, 9))
def test_at_any_stride_only_the_prior_is_paid_for(inner: set[int], mean: float, variance: float) -> None:
    """bound - entropy = KL(q(x_T) || p(x_T)). Trap: a strided chain that takes beta[t] for its steps."""
    schedule = log_snr_linear(40, 9.0, -4.0)
    grid = torch.tensor([40, *sorted(inner, reverse=True), 0])
    m, v = double(mean), double(variance)
    bound = expected_terms(*exact_model(schedule, m, v), grid).sum().item()
    centre, spread = GaussianData(schedule, m, v).at(torch.tensor(40))
    marginal = torch.distributions.Normal(centre, spread.sqrt())
    unit = torch.distributions.Normal(double(0.0), double(1.0))
    prior = torch.distributions.kl_divergence(marginal, unit).item()
    assert bound == pytest.approx(entropy(v).item() + prior, abs=1e-10)


def predicted_gap(schedule: Schedule, variance: Tensor, grid: Tensor, large: bool) -> float:
    """The excess of a fixed variance sigma^2 over the exact tau^2: sum of (tau^2/sigma^2 - 1 - log tau^2/sigma^2) / 2.

    The mean is exact, so each step costs KL(N(mu, tau^2) || N(mu, sigma^2)) more. tau^2 is the Schur complement of
    the joint covariance of (x_s, x_t); sigma^2 is beta, or beta_tilde with that of s = 1 onto s = 0.
    """
    t, s = grid[:-1], grid[1:]
    now, left = (schedule.alpha_bar[times, None] for times in (t, s))
    v_t, v_s = (bar * variance + 1 - bar for bar in (now, left))
    exact = v_s - (now / left).sqrt() ** 2 * v_s**2 / v_t
    if not large:
        now, left = schedule.alpha_bar[t.clamp(min=2), None], schedule.alpha_bar[s.clamp(min=1), None]
    used = (1 - now / left) * (1 if large else (1 - left) / (1 - now))
    return 0.5 * (exact / used - 1 - torch.log(exact / used)).sum(0).mean().item()


@pytest.mark.parametrize("width", [beta, beta_tilde])
@pytest.mark.parametrize(("T", "steps"), [(10, 10), (100, 100), (1000, 1000), (4000, 4000), (1000, 25), (1000, 7)])
def test_fixed_variances_leave_the_gap_that_theory_predicts(width: Variance, T: int, steps: int) -> None:
    """Trap: a KL taken in the other direction would be log x + 1/x - 1 for x = tau^2 / sigma^2."""
    schedule, mean = linear(T), torch.zeros(4, dtype=torch.float64)
    diffusion, denoise = eps_process(schedule, width), GaussianData(schedule, mean, VARIANCES)
    terms = expected_terms(diffusion, denoise, schedule.trailing(steps))
    gap = terms.sum().item() - entropy(VARIANCES).mean().item()
    expected = predicted_gap(schedule, VARIANCES, schedule.trailing(steps), large=width is beta)
    assert expected > 1e-4 and gap == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_beta_is_exact_for_unit_variance_and_beta_tilde_for_a_point() -> None:
    """The two extremes: no gap at l = 1; towards l = 0 none but that of the last step, which has no entropy to meet."""
    schedule = linear(200)
    assert predicted_gap(schedule, double(1.0), schedule.trailing(schedule.num_timesteps), large=True) < 1e-12
    mean, point = double(0.4), double(1e-12)
    diffusion, denoise = eps_process(schedule), GaussianData(schedule, mean, point)
    terms = expected_terms(diffusion, denoise, schedule.trailing(schedule.num_timesteps))
    assert terms[1:-1].sum() < 1e-9


# Against Shannon.


PIXELS = torch.arange(256, dtype=torch.float64) / 127.5 - 1


def pixel_denoiser(schedule: Schedule, x_t: Tensor, t: Tensor) -> Prediction:
    """The exact denoiser of one pixel, uniform on 256 levels; its spread is the posterior variance of x_0."""
    alpha, sigma = schedule.alpha_bar_at(t).sqrt(), (1 - schedule.alpha_bar_at(t)).sqrt()
    r = torch.softmax(x_t * PIXELS * alpha / sigma**2 - 0.5 * (alpha * PIXELS / sigma) ** 2, dim=1)
    x0 = (r @ PIXELS)[:, None]
    return Prediction(t, x0, (x_t - alpha * x0) / sigma, ((r @ PIXELS**2)[:, None] - x0**2).clamp(min=0))


def pixel_variance(schedule: Schedule, t: Tensor, s: Tensor, prediction: Prediction) -> Tensor:
    """log Var(x_s | x_t), exactly; onto the data never below a 20th of a bin, as a density needs some width."""
    onto_x0 = schedule.alpha_bar_at(s).sqrt() * schedule.beta(t, s) / (1 - schedule.alpha_bar_at(t))
    variance = schedule.beta_tilde(t, s) + onto_x0**2 * prediction.variance_coeff
    return torch.log(variance.clamp(min=(0.1 / 255) ** 2) if s == 0 else variance)


def likely_draws(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x_t > 0 on an even grid, which of them goes with which level, and the probability of each such pair.

    The data are symmetric, so half the line is enough; the trapezoid rule is exact here to six digits.
    """
    alpha, sigma = schedule.alpha_bar_at(t).sqrt(), (1 - schedule.alpha_bar_at(t)).sqrt()
    width = 0.6 * sigma
    x_t = (torch.arange(int((alpha + 7 * sigma) / width) + 1, dtype=torch.float64) + 0.5)[:, None] * width
    weight = torch.exp(-0.5 * ((x_t - alpha * PIXELS) / sigma) ** 2) * (2 * 0.6 / math.sqrt(2 * math.pi) / 256)
    rows, level = (weight > 1e-14).nonzero(as_tuple=True)
    return x_t, rows, level, weight[rows, level]


def test_uniform_noise_costs_eight_bits() -> None:
    """No model can do better than 8 on average; the exact denoiser of uniform pixels comes as near as its steps allow.

    What is left falls with the number of steps: the true reverse step is a mixture of the levels still possible, and
    a Gaussian stands for it. Levels part at a log-SNR of 11 to 14, so the steps are finer there.
    """
    schedule = log_snr_linear(1921, 14.0, -10.0)
    diffusion = eps_process(schedule, pixel_variance)
    nats = prior_term(diffusion, PIXELS[:, None]).mean()
    for t, s in itertools.pairwise(torch.cat([torch.arange(1921, 241, -8), torch.arange(241, -1, -1)])):
        x_t, rows, level, weight = likely_draws(schedule, t)
        at = pixel_denoiser(schedule, x_t, t)
        prediction = Prediction(t, at.x0[rows], at.eps[rows], at.variance_coeff[rows])
        nats = nats + step_term(diffusion, prediction, PIXELS[level, None], x_t[rows], t, s) @ weight
    assert 8 < bits_per_dim(nats[None], 1).item() < 8.0005


# What the code promises.


def pixels(batch: int = 4, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return (torch.randint(0, 256, (batch, 1, 4, 4), generator=generator).double() / 127.5 - 1).to(dtype)


def one_call(diffusion: GaussianDiffusion, x0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    eps = torch.linspace(-1, 1, x0.numel(), dtype=x0.dtype).reshape(x0.shape)
    x_t = diffusion.q_sample(x0, t, eps)
    return step_term(diffusion, diffusion.decode(network(x_t), x_t, t), x0, x_t, t, s)


def test_a_batch_of_steps_is_each_of_them_alone() -> None:
    diffusion, x0 = eps_process(SHORT), pixels()
    t, s = torch.tensor([5, 1, 3, 4]), torch.tensor([2, 0, 0, 3])
    together = one_call(diffusion, x0, t, s)
    for i in range(4):
        assert together[i].item() == pytest.approx(one_call(diffusion, x0, t[i], s[i])[i].item(), rel=1e-12)


def test_in_float32_data_only_the_data_is_rounded() -> None:
    """The terms themselves are float64, those of the decoder and those of KLs."""
    diffusion = eps_process(linear())
    for t in (torch.tensor([1000, 500, 3, 2]), torch.tensor([1000, 500, 2, 1])):
        single, twice = (one_call(diffusion, pixels(dtype=dtype), t, t - 1) for dtype in (torch.float32, torch.float64))
        assert single.dtype == torch.float64
        assert single.tolist() == pytest.approx(twice.tolist(), rel=1e-4)


def test_gradients_of_a_batch_that_holds_both_kinds_of_step_are_finite() -> None:
    """The KL of a step onto s = 0 is infinite, and must not reach the gradient though it is not chosen."""
    diffusion, x0 = eps_process(SHORT), pixels()
    t, s = torch.tensor([5, 1, 3, 4]), torch.tensor([2, 0, 0, 3])
    x_t = diffusion.q_sample(x0, t, torch.ones_like(x0))
    output = network(x_t).requires_grad_()
    step_term(diffusion, diffusion.decode(output, x_t, t), x0, x_t, t, s).sum().backward()
    assert output.grad is not None and output.grad.isfinite().all() and (output.grad.flatten(1).norm(dim=1) > 0).all()


def test_the_walk_names_every_step_and_draws_once_for_each() -> None:
    schedule, x0, drawn = sigmoid(50), pixels(2), []

    def noise() -> Tensor:
        drawn.append(torch.full_like(x0, 0.1 * len(drawn)))
        return drawn[-1]

    diffusion = eps_process(schedule)

    def denoise(x_t: Tensor, t: Tensor) -> Prediction:
        return diffusion.decode(network(x_t), x_t, t)

    terms = [*bound_terms(diffusion, denoise, x0, torch.tensor([50, 20, 3, 0]), noise)]
    assert [(term.t, term.s) for term in terms] == [(50, 50), (50, 20), (20, 3), (3, 0)]
    assert len(drawn) == 3
    assert torch.equal(terms[0].nats, prior_term(diffusion, x0))
    x_20 = diffusion.q_sample(x0, torch.tensor(20), drawn[1])
    again = step_term(diffusion, denoise(x_20, torch.tensor(20)), x0, x_20, torch.tensor(20), torch.tensor(3))
    assert torch.equal(terms[2].nats, again)


@pytest.mark.parametrize("grid", [[50, 20, 20, 0], [49, 0], [50, 1], [50], [], [0, 50]])
def test_a_chain_that_does_not_fall_from_T_to_0_is_refused(grid: list[int]) -> None:
    diffusion, x0 = eps_process(sigmoid(50)), pixels(2)
    with pytest.raises(ValueError, match="fall from T = 50 to 0"):
        next(bound_terms(diffusion, lambda x, t: None, x0, torch.tensor(grid, dtype=torch.int64), lambda: x0))
