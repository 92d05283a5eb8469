"""Restoring by linear measurements: operators against their matrices, guidance against posteriors of Gaussian data.

Given a measurement, Gaussian data are Gaussian again (`oracles.CorrelatedData`): E[x_0 | x_t, y] is known exactly.
"""

from collections.abc import Callable, Iterator
from typing import Literal, get_args

import torch
from torch import Tensor

from ancestral.diffusion.schedules import Schedule, log_snr_linear, zero_terminal_snr
from ancestral.editing.operators import Blurred, Grey, Masked, MeanPooled, Operator, gaussian_kernel
from ancestral.editing.posterior import Measured, PosteriorGuided
from ancestral.oracles import CorrelatedData, correlated, double, matrix_of, normal
from ancestral.selftest.checks import Checks

CHECKS = Checks()

TABLE = log_snr_linear(200, 9.0, -7.0)
NO_SIGNAL = zero_terminal_snr(TABLE)
SHAPE = (3, 2, 4)
SIZE = 24
OPERATORS: dict[str, Operator] = {
    "masked": Masked(torch.tensor([[True, False, True, False], [False, True, True, False]])),
    "pooled": MeanPooled(2),
    "grey": Grey(),
    "blurred": Blurred(double(0.1, 0.6, 0.05)[None]),  # not symmetric: convolution and correlation differ
}
BY_HAND: dict[str, Callable[[Tensor], Tensor]] = {
    "masked": lambda x: x * double(1, 0, 1, 0, 0, 1, 1, 0, device=x.device).reshape(2, 4),
    "pooled": lambda x: (x[..., ::2, ::2] + x[..., 1::2, ::2] + x[..., ::2, 1::2] + x[..., 1::2, 1::2]) / 4,
    "grey": lambda x: 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:],
    "blurred": lambda x: 0.1 * x.roll(-1, -1) + 0.6 * x + 0.05 * x.roll(1, -1),
}
Method = Literal["projection", "gradient", "moments"]


@CHECKS("{name}: pixels by hand, <A x, y> = <x, A' y>", 1e-12, name=OPERATORS)
def does(name: str, device: torch.device) -> tuple[Tensor, Tensor]:
    operator, x = OPERATORS[name], normal(3, *SHAPE, device=device)
    y = normal(7, *operator(x).shape, device=device)[-1]
    products = (operator(x) * y).flatten(1).sum(1) - (x * operator.transpose(y)).flatten(1).sum(1)
    return operator(x) - BY_HAND[name](x), products


@CHECKS("{name}: the solution solves, by its matrix", 1e-9, name=OPERATORS)
def solves(name: str, device: torch.device) -> Iterator[Tensor]:
    """(p A A' + q I)^-1 y by the pseudo-inverse of the matrix, for y that A can make."""
    operator = OPERATORS[name]
    matrix, y = matrix_of(operator, SHAPE, device), operator(normal(2, *SHAPE, device=device))
    for p, q in ((1.0, 0.0), (0.3, 0.0), (0.7, 0.2)):
        whole = p * matrix @ matrix.T + q * torch.eye(len(matrix)).to(matrix)
        wanted = y.flatten(1) @ torch.linalg.pinv(whole, hermitian=True)
        yield operator.solve(y, p, q).flatten(1) - wanted


@CHECKS("kernel: a Gaussian, by hand", 1e-7)
def kernel(_: torch.device) -> tuple[Tensor, Tensor]:
    """Of deviation 0.7: a neighbour has e^(-1 / 0.98) of the middle, a corner its square; all add to 1."""
    found, ratio = gaussian_kernel(0.7, reach=2), 0.36044778
    return found[2:4, 2:4] / found[2, 2] - double(1, ratio, ratio, ratio**2).reshape(2, 2), found.sum() - 1


def data(schedule: Schedule, is_round: bool, device: torch.device) -> CorrelatedData:
    """Gaussian images: of variance 0.5 everywhere, or correlated with variances from 0.1 to 1 along some directions."""
    mean = torch.linspace(-0.5, 0.5, SIZE, dtype=torch.float64, device=device)
    return CorrelatedData(schedule, mean, 0.5 * torch.eye(SIZE).to(mean) if is_round else correlated(SIZE, device))


def measured(operator: Operator, sigma: float, device: torch.device) -> Measured:
    """One image's measurement."""
    return Measured(operator, operator(normal(4, *SHAPE, device=device)[-1:]), sigma)


def off(known: CorrelatedData, guided: PosteriorGuided, *timesteps: int) -> Iterator[Tensor]:
    """How far a guided prediction is from E[x_0 | x_t, y] and, times the noise, from E[eps | x_t, y]."""
    seen, device = guided.measured, known.mean.device
    exact = known.given(matrix_of(seen.operator, SHAPE, device), seen.y.flatten(), seen.sigma)
    x = normal(2, *SHAPE, device=device)
    for t in map(torch.tensor, timesteps):
        found, wanted = guided(x, t), exact(x, t)
        noise = float(1 - known.schedule.alpha_bar[t]) ** 0.5
        yield from (found.x0 - wanted.x0, noise * (found.eps - wanted.eps))


@CHECKS("{how}, {name}: E[x_0 | x_t, y], one variance", 1e-10, name=OPERATORS, how=get_args(Method))
def round_data(name: str, how: Method, device: torch.device) -> Iterator[Tensor]:
    """Every method is exact, with and without noise in what is measured; where no signal is left, y tells all."""
    some, last = (1, 40, 120, 200), (200,)
    for schedule, sigma, timesteps in ((TABLE, 0.0, some), (TABLE, 0.3, some), (NO_SIGNAL, 0.2, last)):
        known, seen = data(schedule, True, device), measured(OPERATORS[name], sigma, device)
        yield from off(known, PosteriorGuided(known, schedule, seen, how, 0.5), *timesteps)


@CHECKS("moments, {name}: E[x_0 | x_t, y], correlated data", 1e-9, name=OPERATORS)
def any_data(name: str, device: torch.device) -> Iterator[Tensor]:
    """Matched moments are exact after as many turns as unknowns."""
    known, seen = data(TABLE, False, device), measured(OPERATORS[name], 0.3, device)
    return off(known, PosteriorGuided(known, TABLE, seen, "moments", iterations=SIZE), 1, 40, 120, 200)
