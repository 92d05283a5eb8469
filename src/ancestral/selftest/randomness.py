"""What a step of training draws: every timestep alike, wherever in the batch, and no two draws out of one stream.

Draws are functions of (seed, step): as many numbers as there are in a large batch tell whether two of them are related.
"""

import math
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from ancestral.data.loader import batch_indices, flips
from ancestral.diffusion.timesteps import RecentLosses, stratified
from ancestral.oracles import double
from ancestral.rng import generator
from ancestral.selftest.checks import Check, apart, largest
from ancestral.settings import TrainingSettings
from ancestral.training.randomness import randomness_of

TimestepDraw = Literal["uniform", "stratified", "importance"]
MANY = 4096
"""Images of a batch whose draws are compared."""
TIMESTEPS: dict[TimestepDraw, int] = {"uniform": 2**24, "stratified": 4096}
"""T; of the first so large that t and another draw out of its stream of float32 are the same number."""
CPU = torch.device("cpu")


def told(how: TimestepDraw, seed: int, step: int) -> dict[str, Tensor]:
    """Everything random in a step, (MANY,) float64 each, of mean 0."""
    settings, T = TrainingSettings(steps=1, batch_size=MANY, timesteps=how, label_dropout=0.5), TIMESTEPS[how]
    times, eps, hidden = randomness_of(settings, seed, step, (1, 1, 1), T, CPU, None)
    order = batch_indices(seed, step, MANY, MANY)
    numbers = {
        "t": times.t / T,
        "within": times.within,
        "eps": eps[:, 0, 0, 0],
        "size of eps": eps[:, 0, 0, 0].abs(),
        "hidden": hidden,
        "mirrored": flips(seed, step, MANY),
        "order": order / MANY,
    }
    return {name: each.double() - each.double().mean() for name, each in numbers.items()}


def correlation(one: Tensor, other: Tensor) -> float:
    """In standard errors of that of independent numbers."""
    return abs(float((one * other).mean() / (one.square().mean() * other.square().mean()).sqrt())) * MANY**0.5


def unrelated(how: TimestepDraw, _: torch.device) -> float:
    """The largest correlation of two draws of a step, and of a draw with those of other steps and seeds."""
    here, *others = (told(how, *position) for position in ((0, 1), (0, 2), (1, 1), (1, 0)))
    found = [correlation(here[one], here[two]) for one in here for two in here if one < two and exempt(one, two)]
    found += [correlation(here[one], there[two]) for there in others for one in here for two in there]
    return largest(found)


def exempt(one: str, two: str) -> bool:
    """Not the same number twice, nor a number and its size."""
    return {one, two} != {"eps", "size of eps"}


def every_time(how: TimestepDraw, _: torch.device) -> float:
    """How uneven the timesteps 1..8 of 4096 images are, and where within them: in standard errors.

    Each place in the batch has all of them over the steps; the parts of stratified draws are in no order.
    """
    settings = TrainingSettings(steps=1, batch_size=16, timesteps=how)
    draws = [randomness_of(settings, 3, step, (1, 1, 1), 8, CPU, None) for step in range(256)]
    t, within = (torch.stack([getattr(each.times, name) for each in draws]).double() for name in ("t", "within"))
    if not bool(((t >= 1) & (t <= 8) & (within >= 0) & (within < 1)).all()):
        return math.inf
    counts = torch.stack([(t == k).double().sum() for k in range(1, 9)])
    shares = (counts - 512) / (512 * 7 / 8) ** 0.5
    places = (t.mean(0) - 4.5) / (63 / 12 / 256) ** 0.5
    inside = (within.mean(0) - 0.5) * (12 * 256) ** 0.5
    weights = torch.stack([each.times.weight for each in draws])
    return largest([apart(part, 0.0) for part in (shares, places, inside)]) + 1e6 * apart(weights, 1.0)


def any_place(_: torch.device) -> float:
    """Stratified numbers: the mean at each of 8 places over 400 batches, in standard errors; of 8 parts one each."""
    u = torch.stack([stratified(8, generator(5, "u", step)) for step in range(400)])
    one_each = apart((u * 8).long().sort(dim=1).values, torch.arange(8))
    return largest([apart((u.mean(0) - 0.5) * (12 * 400) ** 0.5, 0.0), 1e6 * one_each])


def by_importance(_: torch.device) -> float:
    """With recent losses 1, 1, 1, 5 the timestep of 5 is drawn 5 times as often and weighs a fifth; off by how much."""
    recent = RecentLosses(double(1, 1, 1, 5)[:, None].expand(4, 10))
    settings = TrainingSettings(steps=1, batch_size=MANY, timesteps="importance")
    times = randomness_of(settings, 0, 0, (1, 1, 1), 4, CPU, recent).times
    share = (times.t == 4).double().mean()
    return largest([abs(float(share) - 5 / 8), abs(float((times.weight * (times.t == 4)).mean()) - 0.25)])


def hidden_share(_: torch.device) -> float:
    """How many labels are hidden of 4096 at label_dropout 0.2, in standard errors; and none at 0."""
    of = (TrainingSettings(steps=1, batch_size=MANY, label_dropout=share) for share in (0.2, 0.0))
    some, none = (float(randomness_of(each, 0, 0, (1, 1, 1), 10, CPU, None).hidden.sum()) for each in of)
    return abs(some - 0.2 * MANY) / (MANY * 0.16) ** 0.5 + 1e6 * none


CHECKS = (
    *(Check(f"{how}: unrelated, in standard errors", 5, partial(unrelated, how)) for how in TIMESTEPS),
    *(Check(f"{how}: every t at every place, in standard errors", 5, partial(every_time, how))
      for how in ("uniform", "stratified", "importance")),
    Check("stratified: every part at every place, in standard errors", 4.5, any_place),
    Check("importance: as often as the loss is large, and lighter", 0.002, by_importance),
    Check("labels hidden: the share asked for, in standard errors", 4, hidden_share),
)  # fmt: skip
