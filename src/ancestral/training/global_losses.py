"""The losses of a whole batch, and what several processes have to know of each other in a step: one vector, one sum.

Of a batch of B images the vector has B + 2 numbers, float64. Each process fills in the losses of its own images, and
leaves the others at 0, so that the sum is the losses of the whole batch, and not a number exactly where one of them is
none. Two more say whether anyone was asked to stop and what the clock of the first process shows. So all find alike
whether a step is finite, which images it comes from, when it is time and when to stop.

The sum is begun before the backward pass of the last part, and asked for after it: it costs no time of its own. The
two numbers are looked at as often as a device may be waited for (nonfinite.py). One process alone has nobody to ask.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from ancestral.processes import Processes
from ancestral.tensors import PerImage


class GlobalLosses:
    """Of several processes, `stop` and `clock` are those of the last look.

    Args:
        stop_asked: whether this process was asked to stop.
        seconds: what its clock shows.
    """

    def __init__(
        self, processes: Processes, batch_size: int, stop_asked: Callable[[], bool], seconds: Callable[[], float]
    ) -> None:
        self.processes, self.size, self.local_slice = processes, batch_size, processes.local_slice(batch_size)
        self.stop_asked, self.seconds = stop_asked, seconds
        self._stop, self._clock = False, 0.0
        self._vector = torch.empty(0)
        self._sum: Callable[[], Tensor] = lambda: self._vector

    def note(self, losses: PerImage, part: slice, last: bool) -> None:
        """Notes the losses of a part of this process's slice of the batch; after the last one, begins the sum."""
        if self.processes.is_single:
            return
        if part.start == 0:
            self._vector = losses.new_zeros(self.size + 2, dtype=torch.float64)
        self._vector[: self.size][self.local_slice][part] = losses.double()
        if last:
            self._vector[-2] = float(self.stop_asked())
            self._vector[-1] = self.seconds() if self.processes.is_main else 0.0
            self._sum = self.processes.sum_later(self._vector)

    def whole(self, local: PerImage, look: bool) -> PerImage:
        """Those of the whole batch, (B,), together.

        Args:
            local: the losses of this process's images.
            look: whether to look at clock and wishes, for which a GPU has to be waited for.
        """
        if self.processes.is_single:
            return local
        summed = self._sum()
        if look:
            stop, self._clock = summed[-2:].tolist()
            self._stop = stop > 0
        return summed[:-2].to(local)

    @property
    def clock(self) -> float:
        """The seconds that decisions go by: those of the first process."""
        return self.seconds() if self.processes.is_single else self._clock

    @property
    def stop(self) -> bool:
        """Whether any process was asked to stop."""
        return self.stop_asked() if self.processes.is_single else self._stop

    def restart(self, seconds: float) -> None:
        """The clock as a checkpoint has it, until the next look."""
        self._clock = seconds
