"""Measuring which way of using this machine is fastest for one network: what `ancestral tune` does.

Reading order: questions (what is open), pairs (how two ways are compared), choosing (the search, which knows nothing of
clocks or networks), stopwatch (real steps, timed), live_bytes (what an image takes), tuner (all of it).
"""

from ancestral.tuning.choosing import Trial, Tuning
from ancestral.tuning.tuner import tune

__all__ = ["Trial", "Tuning", "tune"]
