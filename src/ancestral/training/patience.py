"""How long training goes on although its steps are not finite.

Whether a step is finite is found out, and the step skipped, on the device that computes it. The number of such steps in
a row stays there too: asking a GPU for a number means waiting until it has done all it was given. So a CPU is asked at
each step and a GPU every PATIENCE steps, and either stops before 2 PATIENCE steps are lost.
"""

import torch
from torch import Tensor

PATIENCE = 10
"""Non-finite steps in a row after which training stops."""


class Patience:
    """Counts non-finite steps in a row. `every` is the number of steps between two looks at the count."""

    def __init__(self, device: torch.device) -> None:
        self.every = 1 if device.type == "cpu" else PATIENCE
        self._skipped = torch.zeros((), dtype=torch.int64, device=device)

    @property
    def skipped(self) -> int:
        """Steps in a row that were skipped, up to now; asking waits for a GPU."""
        return int(self._skipped)

    @skipped.setter
    def skipped(self, count: int) -> None:
        self._skipped.fill_(count)

    def count(self, finite: Tensor) -> None:
        """One more step, () bool."""
        self._skipped.add_(1).mul_(~finite)

    def is_over(self, step: int) -> bool:
        """Whether to stop; looked up at every so-many-th step only."""
        return step % self.every == 0 and self.skipped >= PATIENCE
