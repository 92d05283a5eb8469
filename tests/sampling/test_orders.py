"""Every sampler converges at the order it declares. New classes are found by themselves."""

import math

import pytest
import torch
from oracles import GaussianOracle

from ancestral.diffusion.schedules import log_snr_linear
from ancestral.sampling.loop import sample
from ancestral.sampling.samplers import DDIM, DPMSolver2S, DPMSolver3M, DPMSolver3S, Sampler, UniPC2
from benchmarks import orders

NAMED = {**dict(orders.every()), **dict(orders.published())}


def test_every_order_from_one_to_four_is_there_and_is_found() -> None:
    kinds = orders.kinds()
    assert {kind.order for kind in kinds} == {1, 2, 3, 4}
    assert len({kind.__name__ for kind in kinds}) == len(kinds) >= 18
    assert {DDIM, DPMSolver3S, UniPC2} <= {*kinds}


@pytest.mark.parametrize("name", NAMED)
def test_the_order_is_the_declared_one(name: str) -> None:
    """Traps: 3M with half its second difference, and weights of equal steps on a grid that is not, are of order 2."""
    found = orders.measure((name, NAMED[name]))
    assert found.gaussian == pytest.approx(found.sampler.order, abs=0.15)
    assert (found.mixture is None) == found.sampler.stochastic
    assert found.mixture is None or found.mixture == pytest.approx(found.sampler.order, abs=0.15)


def test_the_commonly_published_3m_loses_to_the_true_one() -> None:
    table = orders.table()
    true, other = (orders.hills_error(sampler, 128) for sampler in (DPMSolver3M(table), orders.Published3M(table)))
    assert true < other / 4


@pytest.mark.parametrize("sampler", [DPMSolver2S, DPMSolver3S])
def test_singlestep_keeps_its_order_where_its_nodes_are_not_in_the_table(sampler: type[DPMSolver3S]) -> None:
    """Only four or five timesteps a step: thirds are taken at quarters, or the middle at two fifths."""
    stride = 4 if sampler is DPMSolver3S else 5

    def error(steps: int) -> float:
        schedule = log_snr_linear(stride * steps + 1, 4.0, -4.0)
        data = GaussianOracle(schedule, torch.tensor([0.3, 0.1]).double(), torch.tensor([0.05, 0.4]).double())
        x_T, grid = torch.tensor([[1.0, -1.0]]).double(), torch.arange(stride * steps + 1, 0, -stride)
        *_, step = sample(data, sampler(schedule), x_T, grid, orders.no_noise)
        return float((step.x_s - data.flow(x_T, grid[0], grid[-1])).norm())

    assert math.log2(error(64) / error(128)) == pytest.approx(sampler.order, abs=0.15)


def test_a_sampler_of_a_lower_order_than_it_says_is_noticed() -> None:
    measured = orders.order(orders.flow_error, NAMED["3M as commonly published"])
    assert measured < DPMSolver3M.order - 0.5


def test_the_table_says_what_was_measured() -> None:
    sampler: Sampler = DPMSolver2S(orders.table())
    assert orders.row(orders.Measured("a", sampler, 2.004, 1.96)) == "| a | 2 | no | log-snr | 2 | 2.00 | 1.96 |"
    noisy = DDIM(orders.table(), 1.0)
    assert orders.row(orders.Measured("b", noisy, 0.98, None)) == "| b | 1 | yes | trailing | 1 | 0.98 |  |"
