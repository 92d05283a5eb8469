"""What several processes have to know of each other in a step, in one vector and one sum.

Of a batch of B images the vector has B + 2 numbers, float64. Each process fills in the losses of its own images, and
leaves the others at 0, so that the sum is the losses of the whole batch, and not a number exactly where one of them is
none. Two more say whether anyone was asked to stop and what the clock of the first process shows. So all decide alike
whether a step is finite, which images are to blame, when it is time and when to stop.

The sum is begun before the backward pass of the last part, and asked for after it: it costs no time of its own. The
two numbers are looked at as often as a device may be waited for (`patience`).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ancestral.processes import Processes
from ancestral.tensors import PerImage


class Agreement:
    """The losses of whole batches; `stop` and `clock` as they were at the last look.

    Args:
        asked: whether this process was asked to stop.
    """

    def __init__(self, processes: Processes, batch_size: int, asked: Callable[[], bool]) -> None:
        self.processes, self.size, self.asked = processes, batch_size, asked
        self.share = processes.share(batch_size)
        self.stop, self.clock = False, 0.0
        self._vector = torch.empty(0)
        self._sum: Callable[[], Tensor] = lambda: self._vector

    def tell(self, losses: PerImage, part: slice, last: bool, seconds: float) -> None:
        """Notes the losses of a part of this process's share; after the last part, begins the sum.

        Args:
            seconds: what this process's clock shows.
        """
        if part.start == 0:
            self._vector = losses.new_zeros(self.size + 2, dtype=torch.float64)
        self._vector[: self.size][self.share][part] = losses.double()
        if last:
            self._vector[-2] = float(self.asked())
            self._vector[-1] = seconds if self.processes.lead else 0.0
            self._sum = self.processes.sum_later(self._vector)

    def losses(self, look: bool) -> PerImage:
        """Of the whole batch (B,), float64, together.

        Args:
            look: whether to look at clock and wishes, for which a GPU has to be waited for.
        """
        told = self._sum()
        if look:
            stop, self.clock = told[-2:].tolist()
            self.stop = stop > 0
        return told[:-2]
