"""Measuring which way of using this machine is fastest for one network: what `ancestral tune` does."""

from ancestral.tuning.choosing import Trial, Tuning
from ancestral.tuning.tuner import tune

__all__ = ["Trial", "Tuning", "tune"]
