"""Time spent on a run, over all its starts."""

import time


class RunClock:
    """Seconds of this start and of those before it."""

    def __init__(self) -> None:
        self.restart(0.0)

    def seconds(self) -> float:
        """What it shows."""
        return self.before + time.monotonic() - self.started

    def restart(self, before: float) -> None:
        """Shows `before` now and goes on from there."""
        self.before, self.started = before, time.monotonic()
