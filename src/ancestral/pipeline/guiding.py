"""The networks of a pipeline as one guided denoiser: what the settings of guidance mean.

A guidance g samples, at every t, q(x_t | c) p(c | x_t)^(g - 1), whoever tells p: 1 is the network's own prediction of
the class. Without a class, the network's own prediction says nothing of c, and a classifier has all of p^g to give.
"""

from collections.abc import Callable
from typing import NamedTuple

from ancestral.condition import NOTHING_TOLD, Condition
from ancestral.diffusion.schedules import Schedule
from ancestral.sampling import guidance
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.guidance import ClassifierGuided, LogProb
from ancestral.settings import SamplingSettings
from ancestral.tensors import Labels

Bind = Callable[[Condition], Denoiser]  # a condition -> the network's prediction of it
Classify = Callable[[Labels], LogProb]  # labels (B,) -> log p(label | x_t) of a classifier of noisy images


class Networks(NamedTuple):
    """All that a chain may be guided by."""

    bind: Bind
    conditional: bool  # whether the network knows classes
    negative: Condition  # of one image, what classifier-free guidance moves away from beside no condition at all
    schedule: Schedule
    weaker: Bind | None
    classify: Classify | None


def guided(networks: Networks, condition: Condition, settings: SamplingSettings) -> Denoiser:
    """The denoiser of `settings`, its condition bound; that networks and settings go together has been checked."""
    known = condition if networks.conditional else condition._replace(labels=None)
    if settings.guidance_by == "classifier":
        assert condition.labels is not None and networks.classify is not None
        # what the network knows of the class is one part of the guidance; the classifier gives the rest
        inside, strength = networks.bind(known), settings.guidance - networks.conditional
        if strength:
            inside = ClassifierGuided(inside, networks.schedule, networks.classify(condition.labels), strength)
    elif settings.guidance == 1:
        return networks.bind(known)
    elif settings.guidance_by == "autoguidance":
        assert networks.weaker is not None
        pair = guidance.TwoCalls(networks.bind(known), networks.weaker(known))
        inside = _pushed(pair, networks.schedule, settings)
    elif known == NOTHING_TOLD or settings.guidance == 0:
        return networks.bind(NOTHING_TOLD)
    else:
        both = known.beside(known.null().overlaid(networks.negative))
        inside = _pushed(guidance.OneCall(networks.bind(both)), networks.schedule, settings)
    if settings.guidance_interval is None:
        return inside
    first, last = guidance.timesteps_of_noise(networks.schedule, *settings.guidance_interval)
    return guidance.Interval(inside, networks.bind(known), first, last)


def _pushed(pair: guidance.PredictionPair, schedule: Schedule, settings: SamplingSettings) -> Denoiser:
    if settings.guidance_rescale:
        return guidance.Rescaled(pair, settings.guidance, schedule, settings.guidance_rescale)
    return guidance.ClassifierFree(pair, settings.guidance)
