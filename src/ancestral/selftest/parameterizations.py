"""What a network's output means: the maps to (x_0, eps) and back, and what a perfect network would answer."""

from functools import partial

import torch

from ancestral.diffusion.parameterization import Parameterization, PredictsEps, PredictsV, PredictsX0
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.schedules import linear
from ancestral.diffusion.variances import beta_tilde
from ancestral.oracles import GaussianData, double, normal, signs, two_hills
from ancestral.oracles import score as gradient
from ancestral.selftest.checks import Check, apart, largest
from ancestral.selftest.schedules import SHORT

ALL: dict[str, Parameterization] = {"eps": PredictsEps(), "x0": PredictsX0(), "v": PredictsV()}
BY_HAND = {"eps": -1.5, "x0": 2.0, "v": -2.5}
"""Targets for x_0 = 2, eps = -1.5 at signal 0.6 and noise 0.8: v = 0.6 * -1.5 - 0.8 * 2."""
SLOPES = {"eps": 4 / 3, "x0": 1.0, "v": 0.8}
"""|d x_0 / d output| at signal 0.6 and noise 0.8."""
TIMES = (1, 10, 250, 600, 1000)


def process(name: str) -> GaussianDiffusion:
    """The published linear process with this parameterisation."""
    return GaussianDiffusion(linear(), ALL[name], beta_tilde)


def numbers(name: str, device: torch.device) -> float:
    """The target and the scale of its errors at signal 0.6, noise 0.8."""
    short, t = GaussianDiffusion(SHORT, ALL[name], beta_tilde), torch.tensor(3)
    target = short.target(double(2, device=device)[:, None], double(-1.5, device=device)[:, None], t)
    scale = ALL[name].x0_scale(double(0.6), double(0.8))
    return apart(target, BY_HAND[name]) + apart(scale, SLOPES[name])


def round_trip(name: str, device: torch.device) -> float:
    """Decoding the target gives back (x_0, eps), relative to how much an error is stretched."""
    x0, eps = normal(2, 32, 1, device=device)
    errors = []
    for t in map(torch.tensor, TIMES):
        found = process(name).decode(process(name).target(x0, eps, t), process(name).q_sample(x0, t, eps), t)
        errors += [apart(found.x0, x0), apart(found.eps, eps)]
    return largest(errors)


def pair(name: str, device: torch.device) -> float:
    """Whatever the output, the decoded pair makes x_t: by the levels of the table, at most 160 times stretched."""
    output, x_t = normal(2, 32, 1, device=device)
    errors = []
    for t in TIMES:
        found, kept = process(name).decode(output, x_t, torch.tensor(t)), float(linear().alpha_bar[t])
        errors.append(apart(kept**0.5 * found.x0 + (1 - kept) ** 0.5 * found.eps, x_t))
    return largest(errors)


def slope(name: str, device: torch.device) -> float:
    """The scale of x_0's error, against the derivative of the decoded x_0."""
    errors, x_t = [], normal(4, 1, device=device)
    for t in map(torch.tensor, TIMES):
        output = torch.zeros_like(x_t).requires_grad_()
        (found,) = torch.autograd.grad(process(name).decode(output, x_t, t).x0.sum(), output)
        kept = linear().alpha_bar[t]
        scale = ALL[name].x0_scale(kept.sqrt(), (1 - kept).sqrt()).to(device)
        errors.append(apart(found.abs() / scale, 1.0))
    return largest(errors)


def least_squares(name: str, device: torch.device) -> float:
    """The best linear answer on Gaussian data, fitted to targets, decodes to the posterior mean E[x_0 | x_t]."""
    data = GaussianData(linear(), double(0, 0, 0, device=device), double(0.05, 0.4, 1.7, device=device))
    each = signs(2, device)
    x0, errors = data.variance.sqrt() * each[:, :1], []
    for t in map(torch.tensor, TIMES):
        x_t = process(name).q_sample(x0, t, each[:, 1:].expand_as(x0))
        target = process(name).target(x0, each[:, 1:].expand_as(x0), t)
        fitted = (target * x_t).mean(0) / (x_t * x_t).mean(0) * x_t
        errors.append(apart(process(name).decode(fitted, x_t, t).x0, data(x_t, t).x0))
    return largest(errors)


def by_score(device: torch.device) -> float:
    """Tweedie: of a mixture, E[eps | x_t] is minus the noise times the score of its density, differentiated."""
    errors, x = [], normal(64, 2, device=device)
    for t in (1, 100, 400, 999):
        hills, noise = two_hills(linear(), device), float((1 - linear().alpha_bar[t]).sqrt())
        errors.append(apart(hills(x, torch.tensor(t)).eps, -noise * gradient(hills, x, torch.tensor(t))))
    return largest(errors)


def checks_of(name: str) -> tuple[Check, ...]:
    """The checks of one parameterisation."""
    return (
        Check(f"{name}: numbers at signal 0.6, noise 0.8", 1e-14, partial(numbers, name)),
        Check(f"{name}: decode undoes target", 1e-11, partial(round_trip, name)),
        Check(f"{name}: any output decodes to a pair that makes x_t", 1e-12, partial(pair, name)),
        Check(f"{name}: scale of errors by differentiation", 1e-12, partial(slope, name)),
        Check(f"{name}: least squares on Gaussian data is E[x_0 | x_t]", 1e-10, partial(least_squares, name)),
    )


CHECKS = (
    *(check for name in ALL for check in checks_of(name)),
    Check("mixture: E[eps | x_t] is its score", 1e-10, by_score),
)
