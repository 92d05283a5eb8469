"""The chain as a graphical model: its laws checked on the joint Gaussian of (x_0, ..., x_T), built independently."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal

from ancestral.diffusion.schedules import from_betas, linear
from ancestral.gaussian import DiagonalGaussian
from ancestral.oracles import eps_process

BETAS = [0.1, 0.3, 0.2, 0.55, 0.4]
T = len(BETAS)
CHAIN = eps_process(from_betas(BETAS))


def column(value: float | torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(value, dtype=torch.float64).reshape(1, 1)


def joint(mean: float, variance: float) -> MultivariateNormal:
    """(x_0, ..., x_T) of x_0 ~ N(mean, variance), written as a linear map of x_0 and the T noises."""
    rows = torch.zeros(T + 1, T + 1, dtype=torch.float64)
    rows[0, 0] = 1
    for t, beta in enumerate(BETAS, start=1):
        rows[t] = math.sqrt(1 - beta) * rows[t - 1]
        rows[t, t] = math.sqrt(beta)
    scale = torch.diag(torch.tensor([variance] + [1.0] * T, dtype=torch.float64))
    return MultivariateNormal(rows[:, 0] * mean, rows @ scale @ rows.T)


def conditional(law: MultivariateNormal, of: int, given_: dict[int, float]) -> tuple[float, float]:
    """Mean and variance of x_of given some of the others, by the Schur complement."""
    known = [*given_]
    gain = law.covariance_matrix[of, known] @ torch.linalg.inv(law.covariance_matrix[known][:, known])
    gap = torch.tensor([*given_.values()], dtype=torch.float64) - law.mean[known]
    variance = law.covariance_matrix[of, of] - gain @ law.covariance_matrix[known, of]
    return float(law.mean[of] + gain @ gap), float(variance)


def moments(law: DiagonalGaussian) -> tuple[float, float]:
    return law.mean.item(), law.log_var.exp().item()


def test_joint_factorises_into_the_steps() -> None:
    path = torch.tensor([0.7, 0.2, -0.4, 1.1, 0.3, -0.8], dtype=torch.float64)
    log_p = torch.distributions.Normal(*torch.tensor([0.5, math.sqrt(2.0)], dtype=torch.float64)).log_prob(path[0])
    for t in range(1, T + 1):
        log_p += (
            CHAIN.q_step(column(path[t - 1]), torch.tensor(t), torch.tensor(t - 1)).log_prob(column(path[t])).item()
        )
    assert joint(0.5, 2.0).log_prob(path).item() == pytest.approx(log_p.item(), abs=1e-12)


def test_the_chain_is_markov() -> None:
    """x_t is independent of all before x_{t-1} given x_{t-1}: the precision matrix of the joint is tridiagonal."""
    precision = torch.linalg.inv(joint(0.5, 2.0).covariance_matrix)
    far = torch.ones_like(precision).triu(2).bool()
    assert precision[far].abs().max() < 1e-12 and precision.diagonal(1).abs().min() > 0.1


@given(st.integers(2, T), st.floats(-3, 3), st.floats(-3, 3))
def test_given_the_previous_one_x0_says_nothing_of_the_next(t: int, before: float, x0: float) -> None:
    expected = conditional(joint(0.5, 2.0), t, {t - 1: before, 0: x0})
    assert moments(CHAIN.q_step(column(before), torch.tensor(t), torch.tensor(t - 1))) == pytest.approx(expected)


@given(st.integers(1, T), st.floats(-3, 3))
def test_the_jump_equals_the_iterated_chain_in_law(t: int, x0: float) -> None:
    """Pushing 0, x_0 and unit noises through the iterated chain gives its mean and variance without sampling."""
    still = [*CHAIN.forward_chain(column(x0), lambda: column(0.0))][t - 1].item()
    variance = 0.0
    for moved in range(t):
        kicks = iter([column(float(i == moved)) for i in range(T)])
        variance += [*CHAIN.forward_chain(column(0.0), lambda kicks=kicks: next(kicks))][t - 1].item() ** 2
    assert moments(CHAIN.q_marginal(column(x0), torch.tensor(t))) == pytest.approx((still, variance), rel=1e-9)
    jump = CHAIN.q_sample(column(x0), torch.tensor(t), column(1.0)) - CHAIN.q_sample(
        column(x0), torch.tensor(t), column(0.0)
    )
    assert jump.item() ** 2 == pytest.approx(variance, rel=1e-9)


@given(st.integers(1, T), st.data(), st.floats(-3, 3), st.floats(-3, 3))
def test_posterior_of_any_stride_is_bayes_rule(t: int, data: st.DataObject, x0: float, x_t: float) -> None:
    s = data.draw(st.integers(0, t - 1))
    posterior = CHAIN.q_posterior(column(x0), column(x_t), torch.tensor(t), torch.tensor(s))
    if s == 0:
        assert posterior.mean.item() == pytest.approx(x0, abs=1e-9) and posterior.log_var.item() == -math.inf
    else:
        assert moments(posterior) == pytest.approx(conditional(joint(0.5, 2.0), s, {t: x_t, 0: x0}), rel=1e-9, abs=1e-9)


@given(st.integers(1, T), st.floats(-3, 3), st.floats(-3, 3))
def test_posterior_mean_through_eps(t: int, x_t: float, eps: float) -> None:
    """mu = (x_t - beta_t / sqrt(1 - alpha_bar_t) eps) / sqrt(alpha_t), Ho et al. 2020 eq. 11."""
    time = torch.tensor(t)
    prediction = CHAIN.decode(column(eps), column(x_t), time)
    mean = CHAIN.p_posterior(prediction, column(x_t), time, time - 1).mean.item()
    alpha_bar = math.prod(1 - b for b in BETAS[:t])
    expected = (x_t - BETAS[t - 1] / math.sqrt(1 - alpha_bar) * eps) / math.sqrt(1 - BETAS[t - 1])
    assert mean == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_batch_of_timesteps_is_each_of_them_alone() -> None:
    x0, eps = torch.randn(2, 3, 4, 4, 5, dtype=torch.float64).unbind()
    t, s = torch.tensor([5, 1, 3]), torch.tensor([2, 0, 1])
    x_t = CHAIN.q_sample(x0, t, eps)
    together = CHAIN.q_posterior(x0, x_t, t, s)
    for i in range(3):
        alone = CHAIN.q_posterior(x0[i : i + 1], x_t[i : i + 1], t[i], s[i])
        assert torch.equal(together.mean[i], alone.mean[0])
        assert together.log_var[i].item() == alone.log_var.item()


def test_the_end_of_the_chain_is_the_prior() -> None:
    """L_T = 1.5e-5 bits per dimension at E[x_0^2] = 0.5, linear, T = 1000."""
    x0 = torch.full((1, 1), math.sqrt(0.5), dtype=torch.float64)
    end = eps_process(linear()).q_marginal(x0, torch.tensor(1000))
    prior = DiagonalGaussian(torch.zeros_like(x0), torch.zeros_like(x0))
    assert end.kl(prior).item() / math.log(2) == pytest.approx(1.5e-5, rel=0.05)


@given(st.floats(-2, 2), st.floats(-2, 2), st.floats(-2, 2), st.floats(-2, 2))
def test_kl_is_torchs(mean: float, log_var: float, other_mean: float, other_log_var: float) -> None:
    ours = DiagonalGaussian(column(mean), column(log_var)).kl(
        DiagonalGaussian(column(other_mean), column(other_log_var))
    )
    p, q = (
        torch.distributions.Normal(column(m), column(v).mul(0.5).exp())
        for m, v in [(mean, log_var), (other_mean, other_log_var)]
    )
    assert ours.item() == pytest.approx(torch.distributions.kl_divergence(p, q).item(), rel=1e-9, abs=1e-12)
