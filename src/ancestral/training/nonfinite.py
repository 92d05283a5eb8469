"""Steps that are not finite: how many there were, after how many training stops, and what they come from.

Whether a step is finite is found out, and the step skipped, on the device that computes it. The numbers of such steps,
in a row and in all, stay there too: asking a GPU for a number means waiting until it has done all it was given. So a
CPU is asked at each step and a GPU every `MOST_IN_A_ROW` steps, and either stops before twice as many are lost.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ancestral.data.loader import Batch
from ancestral.tensors import PerImage

MOST_IN_A_ROW = 10
"""Non-finite steps in a row after which training stops."""
NAMED_IMAGES = 8
"""Of a bad batch, that a message names."""


class NonFiniteCounter:
    """Counts non-finite steps, in a row and in all. `every` is the number of steps between two looks at the former."""

    def __init__(self, device: torch.device) -> None:
        self.every = 1 if device.type == "cpu" else MOST_IN_A_ROW
        self._in_a_row, self._skipped = torch.zeros(2, dtype=torch.int64, device=device)

    @property
    def in_a_row(self) -> int:
        """Steps that were skipped without a finite one since; asking waits for a GPU."""
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

    def is_due(self, step: int) -> bool:
        """Whether numbers may be asked for after this step, for which a GPU has to be waited for."""
        return step % self.every == 0

    def is_over(self, step: int) -> bool:
        """Whether to stop; looked up at every so-many-th step only."""
        return self.is_due(step) and self.in_a_row >= MOST_IN_A_ROW


def bad_images(batch: Batch, losses: PerImage, names: Sequence[str] | None) -> str:
    """The images of a bad batch whose loss is not finite, or all where each loss is: a few, by index and name."""
    bad = ~losses.isfinite().cpu()
    indices = batch.indices[bad if bool(bad.any()) else slice(None)].tolist()
    named = [f"{index} ({names[index]})" if names else str(index) for index in indices[:NAMED_IMAGES]]
    more = f" and {len(indices) - NAMED_IMAGES} more" if len(indices) > NAMED_IMAGES else ""
    return f"training images {', '.join(named)}{more}"
