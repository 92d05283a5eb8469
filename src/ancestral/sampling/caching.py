"""Feature caching (Ma et al. 2023, DeepCache): the deep part of a network is computed anew only every so many calls.

What the lower levels of a U-Net say of an image changes slowly along a chain, and it is most of the work. Between two
whole calls only the first level is computed, from the new x_t and t, around the deep features of the last whole call.
"""

from collections.abc import Callable

from torch import Tensor

from ancestral.tensors import Data

Resumable = Callable[[Data, Tensor, Data | None], tuple[Data, Data]]
"""(x (B, ...), time (B,), deep features of an earlier call, or None for a whole call) -> (output, deep features)."""


class Cached:
    """A resumable network as a plain one, (x, time) -> output. It remembers, so it belongs to one chain.

    Args:
        every: calls from one whole call to the next; the first is whole. 1: every call is.
    """

    def __init__(self, network: Resumable, every: int) -> None:
        self.network, self.every = network, every
        self.calls = 0
        self.deep: Data | None = None

    def __call__(self, x: Data, time: Tensor) -> Data:
        """The output, (B, ...)."""
        kept = self.deep if self.calls % self.every else None
        output, self.deep = self.network(x, time, kept)
        self.calls += 1
        return output
