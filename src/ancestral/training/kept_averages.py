"""What a run has kept of its averages, and averages of any other length made of it after the fact."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from ancestral.errors import InputError
from ancestral.files import read_json
from ancestral.settings import parse
from ancestral.training.average_shares import Profile, shares_for
from ancestral.training.checkpoint import complete_checkpoints, weights_of
from ancestral.training.checkpointer import Counters
from ancestral.training.power_average import PROFILES
from ancestral.training.run import RunFolder
from ancestral.training.snapshots import open_snapshot, snapshot_files


class Rebuilt(NamedTuple):
    """An average that was not kept: its weights by name, and what of its profile is missed."""

    weights: dict[str, Tensor]
    residual: float


class KeptAverages(NamedTuple):
    """Those of the newest checkpoint of a run, and its snapshots.

    `own`: the run's own average, by name of the weight, with what its network keeps beside the weights; `sources`: of
    each average that others are made of, which it is, and its weights by name, which are those called `names`.
    """

    step: int
    updates: int
    own: dict[str, Tensor]
    names: tuple[str, ...]
    sources: list[tuple[Profile, Callable[[str], Tensor]]]

    def rebuilt(self, length: float) -> Rebuilt:
        """The average of a length at the newest checkpoint."""
        shares, residual = shares_for(Profile(length, self.updates), [profile for profile, _ in self.sources])
        return Rebuilt({**self.own, **{name: self._mixed(name, shares) for name in self.names}}, residual)

    def _mixed(self, name: str, shares: Tensor) -> Tensor:
        """The sum of a weight's averages, each times its share, in float64."""
        total = torch.zeros_like(self.own[name], dtype=torch.float64)
        for share, (_, weight) in zip(shares, self.sources, strict=True):
            total += share * weight(name).double()
        return total.to(self.own[name].dtype)


def read_averages(run: RunFolder, say: Callable[[str], None]) -> KeptAverages:
    """What lies in a run. A damaged snapshot is said and left out. InputError where the run has kept none, has no
    checkpoint, or a damaged one."""
    checkpoints = complete_checkpoints(run.checkpoints)
    if not checkpoints:
        raise InputError(f"expected a run with a checkpoint, got {run.path}; let it train up to its first one")
    newest = checkpoints[-1]
    groups = weights_of(newest, ("ema", *PROFILES))
    if not all(groups[group] for group in PROFILES):
        raise InputError(
            f"expected a run with snapshots of its averages, got {run.path}, which has kept none; train into another "
            "folder with --training.ema_snapshots 16"
        )
    counters = parse(Counters, read_json(newest / "state.json"), str(newest / "state.json"))
    sources = {(group, counters.ema_updates): groups[group].__getitem__ for group in PROFILES if counters.ema_updates}
    for step, file in snapshot_files(run.averages).items():
        try:
            snapshot = open_snapshot(file)
        except InputError as fault:
            say(f"{fault}: left out")
            continue
        if step < counters.step and 0 < snapshot.updates < counters.ema_updates:
            sources |= {(group, snapshot.updates): partial(snapshot.tensor, group) for group in PROFILES}
    found = [(Profile(PROFILES[group], updates), weight) for (group, updates), weight in sources.items()]
    return KeptAverages(counters.step, counters.ema_updates, groups["ema"], tuple(groups[next(iter(PROFILES))]), found)
