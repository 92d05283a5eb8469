"""Whole chains beside diffusers', on the same exact eps of a mixture, the same schedule, timesteps and noise.

Timesteps are those of "trailing" in both, ours t = theirs + 1, and both end on to sigma = 0. Where conventions differ:

- their multistep 3M halves the second difference: ours with that form equals theirs, ours as it is does not;
- their UniPC takes one order less at the last step but one, which is no difference up to order 2;
- their DEIS, with a polynomial in log rho as ours, ends at the sigma of t = 1;
- their Heun and ours are the same method, theirs in x / a, so that the network sees the same x_t.
"""

import warnings
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from ancestral.diffusion.schedules import Schedule, linear
from ancestral.oracles import two_hills
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import DEIS, DPMSolver2MSDE, DPMSolverMultistep, Heun, Sampler, UniPC
from benchmarks.orders import Published3M

SCHEDULE = linear(1000)
SHARED = {"num_train_timesteps": 1000, "trained_betas": SCHEDULE.betas.tolist(), "timestep_spacing": "trailing"}
DATA = two_hills(SCHEDULE)
KICKS = torch.randn(60, 5, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def ours(sampler: Sampler, steps: int) -> Tensor:
    """x after every step."""
    kicks = iter(KICKS[1:])
    chain = sample(DATA, sampler, KICKS[0], SCHEDULE.trailing(steps), kicks.__next__)
    return torch.stack([step.x_s for step in chain])


def theirs(scheduler: object, steps: int, noisy: bool = False) -> Tensor:
    """x after every call of their scheduler's step."""
    scheduler.set_timesteps(steps)
    x, found, kicks = KICKS[0] * scheduler.init_noise_sigma, [], iter(KICKS[1:])
    for t in scheduler.timesteps:
        eps = DATA(scheduler.scale_model_input(x, t).double(), t.long() + 1).eps
        told = {"variance_noise": next(kicks)} if noisy else {}
        x = scheduler.step(eps, t, x, **told).prev_sample
        found.append(x)
    return torch.stack(found).double()


def dpm(order: int, kind: str = "dpmsolver++") -> object:
    from diffusers import DPMSolverMultistepScheduler

    return DPMSolverMultistepScheduler(**SHARED, solver_order=order, algorithm_type=kind, lower_order_final=False)


def unipc(order: int) -> object:
    from diffusers import UniPCMultistepScheduler

    return UniPCMultistepScheduler(**SHARED, solver_order=order, solver_type="bh2")


def deis(order: int) -> object:
    from diffusers import DEISMultistepScheduler

    return DEISMultistepScheduler(**SHARED, solver_order=order)


SAME: dict[str, tuple[Callable[[Schedule], Sampler], Callable[[], object]]] = {
    "2M": (DPMSolverMultistep, lambda: dpm(2)),
    "3M as commonly published": (Published3M, lambda: dpm(3)),
    "UniPC-1": (partial(UniPC, order=2), lambda: unipc(1)),
    "UniPC-2": (partial(UniPC, order=3), lambda: unipc(2)),
}


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("steps", [8, 25, 50])
@pytest.mark.parametrize("name", SAME)
def test_the_whole_chain_is_the_same(name: str, steps: int) -> None:
    mine, other = SAME[name]
    # torch.testing would say where; the largest gap says how near.
    assert (ours(mine(SCHEDULE), steps) - theirs(other(), steps)).abs().max() < 1e-3


@pytest.mark.parametrize("steps", [8, 25])
def test_2m_sde_is_the_same_with_the_same_noise(steps: int) -> None:
    found = theirs(dpm(2, "sde-dpmsolver++"), steps, noisy=True)
    assert (ours(DPMSolver2MSDE(SCHEDULE), steps) - found).abs().max() < 1e-3


@pytest.mark.parametrize("steps", [8, 25])
def test_heun_is_the_same(steps: int) -> None:
    """Theirs gives Euler's step and then Heun's; x is ours over alpha_s."""
    from diffusers import HeunDiscreteScheduler

    found = theirs(HeunDiscreteScheduler(**SHARED), steps)[1::2]
    a = SCHEDULE.alpha_bar[SCHEDULE.trailing(steps)[1:]].sqrt()[:, None, None]
    mine = ours(Heun(SCHEDULE), steps)
    assert (mine[: len(found)] - a[: len(found)] * found).abs().max() < 1e-3
    assert (mine[-1] - theirs(HeunDiscreteScheduler(**SHARED), steps)[-1]).abs().max() < 1e-3


@pytest.mark.parametrize("order", [2, 3])
def test_deis_is_the_same_down_to_the_last_step(order: int) -> None:
    """Their last step goes to the sigma of t = 1, where they cannot be told to stop at 0."""
    gap = (ours(DEIS(SCHEDULE, order), 25) - theirs(deis(order), 25)).abs().amax((1, 2))
    assert gap[:-1].max() < 1e-3 < gap[-1]


def test_unipc_3_is_the_same_down_to_the_last_step_but_one() -> None:
    gap = (ours(UniPC(SCHEDULE, order=4), 25) - theirs(unipc(3), 25)).abs().amax((1, 2))
    assert gap[:-2].max() < 1e-3


def test_3m_has_the_factor_that_theirs_lacks() -> None:
    """See docs/samplers.md."""
    mine, other = ours(DPMSolverMultistep(SCHEDULE, order=3), 50), theirs(dpm(3), 50)
    assert (mine - other).abs().max() > 1e-3
