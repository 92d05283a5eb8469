"""A prediction of levels: Bayes' rule for one pixel, in plain sums over 256 levels."""

import math
from functools import partial

import torch
from torch import Tensor

from ancestral.diffusion.categorical import PredictsCategorical
from ancestral.diffusion.likelihood import step_term
from ancestral.diffusion.losses import squared_error
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import log_snr_linear
from ancestral.diffusion.variances import beta_tilde
from ancestral.oracles import double
from ancestral.selftest.checks import Check, apart, largest

TABLE = log_snr_linear(50, 13.3, -5.0)
LEVEL = 77
"""The level that is there, and what x_t and eps are made from."""


def process() -> GaussianDiffusion:
    """A process whose network says levels."""
    return GaussianDiffusion(TABLE, PredictsCategorical(), beta_tilde)


def prior(peak: float) -> list[float]:
    """Log-probabilities of the levels before x_t is seen: falling away from level 90; even where `peak` is 0."""
    return [-peak * abs(k - 90) for k in range(256)]


def posterior(peak: float, x_t: float, t: int) -> list[float]:
    """p(level k | x_t), term by term."""
    kept = float(TABLE.alpha_bar[t])
    logs = [
        log - (x_t - math.sqrt(kept) * (k / 127.5 - 1)) ** 2 / (2 * (1 - kept)) for k, log in enumerate(prior(peak))
    ]
    shares = [math.exp(log - max(logs)) for log in logs]
    return [share / math.fsum(shares) for share in shares]


def one_pixel(peak: float, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """(x_0, eps, output), each of one pixel: (1, 1) or (1, 256)."""
    x0 = double(LEVEL / 127.5 - 1, device=device)[None]
    return x0, torch.full_like(x0, 0.7), double(*prior(peak), device=device)[None]


def bayes(peak: float, device: torch.device) -> float:
    """x_0 and eps from logits that say the prior, against the posterior mean; the squared error is its own."""
    errors, (x0, eps, output) = [], one_pixel(peak, device)
    for t in (1, 10, 30, 50):
        time, kept = torch.tensor([t]), float(TABLE.alpha_bar[t])
        x_t = process().q_sample(x0, time, eps)
        found = process().decode(output, x_t, time)
        shares = posterior(peak, float(x_t), t)
        mean = math.fsum(share * (k / 127.5 - 1) for k, share in enumerate(shares))
        errors += [apart(found.x0, mean), apart(math.sqrt(kept) * found.x0 + math.sqrt(1 - kept) * found.eps, x_t)]
        errors += [apart(squared_error(process(), output, x0, eps, time), (float(x0) - mean) ** 2)]
    return largest(errors)


def decoder(device: torch.device) -> float:
    """L_0 is -log of the posterior of the level that is there; over all 256 levels they add to 1."""
    x0, eps, output = one_pixel(0.3, device)
    time = torch.tensor(1)
    x_t = process().q_sample(x0, time, eps)
    said = process().decode(output, x_t, time)
    every = (torch.arange(256, device=device).double() / 127.5 - 1)[:, None]
    many = process().decode(output.expand(256, 256), x_t.expand(256, 1), time)
    costs = step_term(process(), many, every, x_t.expand(256, 1), time, time - 1)
    found = step_term(process(), said, x0, x_t, time, time - 1)
    return apart(found, -math.log(posterior(0.3, float(x_t), 1)[LEVEL])) + apart((-costs).logsumexp(0), 0.0)


CHECKS = (
    Check("levels, answer 0: the posterior mean of a uniform pixel", 1e-9, partial(bayes, 0.0)),
    Check("levels, logits of a prior: Bayes' rule", 1e-9, partial(bayes, 0.3)),
    Check("levels: L_0 is the probability of the level", 1e-9, decoder),
)
