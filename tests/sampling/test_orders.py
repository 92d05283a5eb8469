"""The harness of orders tells the published forms from ours, and its table says what was measured.

That every sampler is of the order it declares is a check of the self-test, which `test_every_check_holds` runs.
"""

import pytest

from ancestral.sampling.samplers import DDIM, DPMSolver2S, DPMSolverMultistep
from ancestral.selftest.orders import CPU, TABLE, flow_error, hills_error, order
from benchmarks.orders import PUBLISHED, Published3M, row


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_forms_are_of_second_order(name: str) -> None:
    """Traps: 3M with half its second difference passes for order 3 nowhere; weights of equal steps on another grid."""
    assert order(flow_error, PUBLISHED[name]) == pytest.approx(2, abs=0.2)


def test_the_commonly_published_3m_loses_to_the_true_one() -> None:
    true, other = (
        hills_error(sampler, 128, CPU) for sampler in (DPMSolverMultistep(TABLE, order=3), Published3M(TABLE))
    )
    assert true < other / 4


def test_the_table_says_what_was_measured() -> None:
    assert row("a", DPMSolver2S(TABLE), 2.004, 1.96) == "| a | 2 | no | log-snr | 2 | 2.00 | 1.96 |"
    assert row("b", DDIM(TABLE, 1.0), 0.98) == "| b | 1 | yes | trailing | 1 | 0.98 |  |"
