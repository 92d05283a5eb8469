"""How long training goes on although its steps are not finite.

Whether a step is finite is found out, and the step skipped, on the device that computes it. The numbers of such steps,
in a row and in all, stay there too: asking a GPU for a number means waiting until it has done all it was given. So a
CPU is asked at each step and a GPU every PATIENCE steps, and either stops before 2 PATIENCE steps are lost.
"""

import torch
from torch import Tensor

PATIENCE = 10
"""Non-finite steps in a row after which training stops."""


class Patience:
    """Counts non-finite steps, in a row and in all. `every` is the number of steps between two looks at the former."""

    def __init__(self, device: torch.device) -> None:
        self.every = 1 if device.type == "cpu" else PATIENCE
        self._in_a_row, self._skipped = torch.zeros(2, dtype=torch.int64, device=device)

    @property
    def in_a_row(self) -> int:
        """Steps that were skipped without a good one since; asking waits for a GPU."""
        return int(self._in_a_row)

    @in_a_row.setter
    def in_a_row(self, count: int) -> None:
        self._in_a_row.fill_(count)

    @property
    def skipped(self) -> int:
        """Steps of the whole run that were skipped; asking waits for a GPU."""
        return int(self._skipped)

    @skipped.setter
    def skipped(self, count: int) -> None:
        self._skipped.fill_(count)

    def count(self, finite: Tensor) -> None:
        """One more step, () bool."""
        self._in_a_row.add_(1).mul_(~finite)
        self._skipped.add_(~finite)

    def is_over(self, step: int) -> bool:
        """Whether to stop; looked up at every so-many-th step only."""
        return step % self.every == 0 and self.in_a_row >= PATIENCE
