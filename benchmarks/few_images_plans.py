"""The trainings of few images: how many, which settings may help, and for how long."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from ancestral.jobs.target import overlaid
from ancestral.presets import for_folder
from ancestral.settings import Config
from benchmarks.entries import settings_hash
from benchmarks.few_images_data import SIDE, Cut

COUNTS = (50, 200, 1000, 5000)
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "augmented": {"training": {"augment": 0.12}},
    "dropout": {"network": {"dropout": 0.1}},
    "narrower": {"network": {"widths": (16, 32, 64)}},
}
"""Nested settings laid over the recipe for a folder, one at a time, by name."""
MINUTES = 60.0
QUICK = {"training": {"steps": 20, "batch_size": 8}, "sampling": {"steps": 4}}


class Plan(NamedTuple):
    """What is trained of how many images, and what its run and its entry are called."""

    num_images: int
    variant: str
    changes: dict[str, Any]
    label: str
    cuts: Sequence[Cut]

    @property
    def config(self) -> Config:
        """With the number in place of the folder's path, which is another one on every machine."""
        return overlaid(for_folder(f"{self.num_images}"), self.changes, self.label)

    @property
    def settings(self) -> str:
        return sha256(f"{settings_hash(self.config)} {[*self.cuts]}".encode()).hexdigest()[:16]


def planned(
    variant: str, cuts: Sequence[Cut], share: float = 1.0, rate: float | None = None, quick: bool = False
) -> Plan:
    """A share of an hour; `rate`: by the images that it is at so many a second."""
    budget = {"minutes": share * MINUTES} if rate is None else {"images": round(60 * share * MINUTES * rate)}
    changes = {"data": {"size": SIDE}, "training": budget, **(QUICK if quick else {})}
    for branch, its in VARIANTS[variant].items():
        changes[branch] = {**changes.get(branch, {}), **its}
    label = "-".join([f"{len(cuts)}", variant, *[f"{share:g}"] * (share != 1)])
    return Plan(len(cuts), variant, changes, label, cuts)
