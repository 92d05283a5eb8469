"""The budget of a run: how much of it is used, the learning rate that depends on that, and what another budget changes.

The rate rises over the warm-up and then, unless its schedule is constant, falls to 0 over the budget. So a run that is
given another budget when it goes on has another rate from there on than it had before, and is not the run that the
other budget would have been from the start. Nobody should find that out from the samples: `leap_in_words` says it.

A budget of steps or images that ends inside the warm-up would never see the full rate, so its warm-up is a tenth of it.
How many images a budget of minutes is nobody knows: its warm-up is over by its middle, for which the rate rises to its
whole over the second quarter at the latest.
"""

import math
from collections.abc import Mapping
from typing import Any

from ancestral.errors import InputError
from ancestral.settings import TrainingSettings


def fraction_used(settings: TrainingSettings, step: int, images: int, seconds: float) -> float:
    """The share of the budget that is used, of the limit that is nearest: 0..1."""
    used = [(step, settings.steps), (images, settings.images), (seconds / 60, settings.minutes)]
    return min(1.0, max(amount / limit for amount, limit in used if limit is not None))


def warmup_images(settings: TrainingSettings) -> int:
    """Images of the warm-up: as set, or a tenth of a budget that would end before."""
    by_steps = None if settings.steps is None else settings.steps * settings.batch_size
    budget = min((images for images in (by_steps, settings.images) if images is not None), default=math.inf)
    return settings.warmup_images if budget >= settings.warmup_images else int(budget) // 10


def warmup_in_words(settings: TrainingSettings) -> str | None:
    """That the warm-up is shorter than it is set to be, in one line; None where it is not."""
    now = warmup_images(settings)
    if now == settings.warmup_images:
        return None
    return f"the budget ends inside the warm-up of {settings.warmup_images:,} images, which is shortened to {now:,}"


def learning_rate(settings: TrainingSettings, images: int, fraction: float) -> float:
    """The rate of the step that starts after `images`, at `fraction` of the budget."""
    warm = (images + settings.batch_size) / max(warmup_images(settings), 1)
    if settings.minutes is not None:
        warm = max(warm, 4 * fraction - 1)
    fall = {"constant": 1.0, "linear": 1 - fraction, "cosine": 0.5 * (1 + math.cos(math.pi * fraction))}
    return settings.lr * min(1.0, warm) * fall[settings.lr_schedule]


def leap_in_words(
    before: TrainingSettings, now: TrainingSettings, state: Mapping[str, Any], extend: bool
) -> str | None:
    """How the learning rate changes by another budget, in one line; None where it goes on as it was, up to a tenth.

    Args:
        state: the counters of the checkpoint that the run goes on from.
        extend: whether the rate may rise again; InputError where it may not, and would.
    """
    step, images, seconds = state["step"], state["images"], state["seconds"]
    limits, limits_before = ((each.steps, each.images, each.minutes) for each in (now, before))
    if step == 0 or limits == limits_before or fraction_used(now, step, images, seconds) >= 1:
        return None
    last = step - 1, images - now.batch_size, seconds
    was, would_have_been = _rate(before, *last), _rate(now, *last)
    if max(was, would_have_been) <= 1.1 * min(was, would_have_been):
        return None
    halved, rises = 0.5 ** state.get("rollbacks", 0), would_have_been > was
    goes_on, verb = _rate(now, step, images, seconds) * halved, "had fallen to" if rises else "was"
    leap = f"at {goes_on:.2g}, where it {verb} {was * halved:.2g}"
    if rises and not extend:
        raise InputError(
            f"expected the budget that the learning rate fell over, got another one: it would go on {leap}; repeat "
            f"--training.lr_schedule {now.lr_schedule} to let it rise, or train into another folder with --out"
        )
    return f"by another budget the learning rate goes on {leap}"


def _rate(settings: TrainingSettings, step: int, images: int, seconds: float) -> float:
    return learning_rate(settings, images, fraction_used(settings, step, images, seconds))
