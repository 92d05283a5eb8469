"""A loss that leaps is said when it is logged: the first sign that training is about to diverge.

It looks at the lines of the log alone, so a step costs nothing and waits for nothing.
"""

from collections import deque
from statistics import median
from typing import Any

SPIKE = 5.0
"""Times the median of the recent losses, above which a loss is a spike."""
RECENT, FEWEST = 20, 5
"""Lines of the log that the median is taken of, at most and at least."""


class Spikes:
    """Watches the losses of a log, from this start of the run on."""

    def __init__(self) -> None:
        self.losses: deque[float] = deque(maxlen=RECENT)
        self.inside = False

    def warning(self, record: dict[str, Any]) -> str | None:
        """One line where the loss of this record leaps; None where it does not, or is still as high as when it did."""
        loss = record.get("loss")
        if loss is None:
            return None
        usual = median(self.losses) if len(self.losses) >= FEWEST else loss
        was_inside, self.inside = self.inside, loss > SPIKE * usual
        self.losses.append(loss)
        if not self.inside or was_inside:
            return None
        return (
            f"the loss leapt to {loss:.4g} at step {record['step']:,}, from {usual:.4g} before: learning rate "
            f"{record['lr']:.3g}, gradient norm {record['grad_norm']:.3g}; if it stays, lower --training.lr"
        )
