"""Feature caching: whole calls come when they should, and what is kept is of the last of them."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from ancestral.sampling.denoiser import Cached


class Deep:
    """A resumable network that counts: its deep feature is the number of its whole call, its output that and x."""

    def __init__(self) -> None:
        self.whole = 0

    def __call__(
        self, x: torch.Tensor, time: torch.Tensor, deep: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if deep is None:
            self.whole += 1
            deep = torch.full_like(x, float(self.whole))
        return deep + x, deep


@given(every=st.integers(1, 6), calls=st.integers(1, 20))
def test_the_first_call_is_whole_and_then_every_so_many(every: int, calls: int) -> None:
    """Between them the deep features are the last whole call's, and x is the new one."""
    deep = Deep()
    network, time = Cached(deep, every), torch.zeros(1)
    seen = [float(network(torch.tensor([call / 100]), time)) for call in range(calls)]
    assert torch.tensor(seen).allclose(torch.tensor([1 + call // every + call / 100 for call in range(calls)]))
    assert deep.whole == -(-calls // every)


def test_what_is_kept_belongs_to_one_chain() -> None:
    """Trap: features of one chain in another."""
    deep = Deep()
    x, time = torch.zeros(1), torch.zeros(1)
    first, second = Cached(deep, 3), Cached(deep, 3)
    assert [float(network(x, time)) for network in (first, second, first, second)] == [1, 2, 1, 2]
