"""Guidance: every guided prediction is the score of the density that it claims, by automatic differentiation.

A prediction is right where eps is minus the noise times the gradient of that log-density and the pair makes x_t. The
classifier is the mixture's own: the probability of a component by Bayes' rule.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from ancestral.condition import NOTHING_TOLD, Condition
from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import cosine
from ancestral.oracles import GaussianData, Mixture, double, gradient, level, noised, normal, three_hills, two_hills
from ancestral.pipeline.guiding import Networks
from ancestral.pipeline.guiding import guided as by_settings
from ancestral.sampling import guidance
from ancestral.sampling.denoiser import Denoiser, DynamicClip, StaticClip
from ancestral.sampling.guidance import (
    ClassifierFree,
    ClassifierGuided,
    Composed,
    Interval,
    LogProb,
    OneCall,
    Rescaled,
    TwoCalls,
)
from ancestral.selftest.checks import Checks
from ancestral.settings import SamplingSettings

CHECKS = Checks()

SCHEDULE = cosine(100)
T = torch.tensor(40)
SCALES = (0.0, 1.0, 2.5)
LogDensity = Callable[[Tensor], Tensor]  # x_t (B, D) -> (B,), at T and but for a constant


def off_score(guided: Denoiser, log_density: LogDensity, x_t: Tensor) -> tuple[Tensor, Tensor]:
    """How far a prediction at T is from the score of a density, and its pair from making x_t."""
    found, score = guided(x_t, T), gradient(log_density, x_t)
    return found.eps + (1 - level(SCHEDULE, T, x_t)).sqrt() * score, noised(SCHEDULE, found) - x_t


@CHECKS("composed: score of q p(0)^2 / p(1)", 1e-11, "composed", 2.0)
@CHECKS("guidance {scale:g}: score of the mixed density", 1e-11, "none", scale=SCALES)
@CHECKS("negative class, {scale:g}: score of the quotient", 1e-11, "class", scale=SCALES)
@CHECKS("two networks, {scale:g}: score of the quotient", 1e-11, "network", scale=SCALES)
@CHECKS("classifier, {scale:g}: score of q p^{scale:g}", 1e-11, "classifier", scale=SCALES)
def quotient(how: str, scale: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Wanted pushed away from unwanted: q(x_t | wanted)^w q(x_t | unwanted)^(1 - w).

    A class away from none, and from another; a model away from one whose hills are wider; none towards a class by a
    classifier, q(x_t) p(2 | x_t)^w; and none towards a class twice and away from another, q p(0 | x_t)^2 / p(1 | x_t).
    """
    hills, wider = three_hills(SCHEDULE, device), three_hills(SCHEDULE, device, 0.3)
    one, other = hills.component(0), hills.component(1)
    of_one, of_other, of_third = (lambda x, k=k: hills.log_joint(x, T)[:, k] for k in range(3))
    of_all, of_wider = partial(hills.log_density, t=T), partial(wider.log_density, t=T)
    classifier = ClassifierGuided(hills, SCHEDULE, lambda x, t: hills.log_posterior(x, t)[:, 2], scale)
    claims: dict[str, tuple[Denoiser, LogDensity, LogDensity]] = {
        "none": (ClassifierFree(TwoCalls(one, hills), scale), of_one, of_all),
        "class": (ClassifierFree(TwoCalls(one, other), scale), of_one, of_other),
        "network": (ClassifierFree(TwoCalls(hills, wider), scale), of_all, of_wider),
        "classifier": (classifier, of_third, of_all),
        "composed": (Composed(hills, ((one, 2.0), (other, -1.0))), of_one, of_other),
    }
    guide, wanted, unwanted = claims[how]
    x = normal(16, 2, device=device)
    return off_score(guide, lambda x: scale * wanted(x) + (1 - scale) * unwanted(x), x)


@CHECKS("guidance by one call and by two", 1e-14)
def one_call(device: torch.device) -> Iterator[Tensor]:
    """One call on twice the batch, against two calls; the variance coefficient stays the conditional one's."""
    x, hills = normal(8, 2, device=device), two_hills(SCHEDULE, device)
    given = hills.component(0)

    def both(x: Tensor, t: Tensor) -> Prediction:
        first, second = given(x[:8], t), hills(x[8:], t)
        pair = (torch.cat([first.x0, second.x0]), torch.cat([first.eps, second.eps]))
        return Prediction(t, *pair, torch.cat([x[:8] * 0 + 1, x[8:] * 0 - 1]))

    found, wanted = (ClassifierFree(pair, 2.5)(x, T) for pair in (OneCall(both), TwoCalls(given, hills)))
    assert found.variance_coeff is not None
    yield from (found.x0 - wanted.x0, found.eps - wanted.eps, found.variance_coeff - 1)


@CHECKS("rescaled, share {share:g}: deviation of each image", 1e-12, share=(0.0, 0.5, 1.0))
def rescaled(share: float, device: torch.device) -> Iterator[Tensor]:
    """Each image's deviation goes `share` of the way back to that of the given prediction; its shape and pair stay."""
    x, ramp = normal(5, 8, device=device), torch.linspace(-1, 1, 8, dtype=torch.float64, device=device)
    narrow, wide = (GaussianData(SCHEDULE, mean, 0 * ramp + 0.3) for mean in (ramp, 0 * ramp))
    pair = TwoCalls(narrow, wide)
    found, plain, given = Rescaled(pair, 4.0, SCHEDULE, share)(x, T), ClassifierFree(pair, 4.0)(x, T), narrow(x, T)
    before, after, back = (each.x0.var(1).sqrt() for each in (plain, found, given))
    assert bool((before > 1.1 * back).all()), "guidance must widen, else nothing is compared"
    yield after - (before + share * (back - before))
    yield found.x0 / after[:, None] - plain.x0 / before[:, None]
    yield noised(SCHEDULE, found) - x


@CHECKS("interval: at its timesteps alone, those of its noise", 0)
def interval(device: torch.device) -> Iterator[Tensor | int]:
    x = normal(1, 1, device=device)
    limited = Interval(lambda x_t, t: Prediction(t, x_t, x_t), lambda x_t, t: Prediction(t, -x_t, x_t), 20, 21)
    yield from (limited(x, torch.tensor(t)).x0 != (x if t in (20, 21) else -x) for t in (19, 20, 21, 22))
    for low, high in ((0.28, 2.9), (0.0, 1e9), (1.0, 1.0)):
        first, last = guidance.timesteps_of_noise(SCHEDULE, low, high)
        within = {t for t in range(1, 101) if low <= (1 / float(SCHEDULE.alpha_bar[t]) - 1) ** 0.5 <= high}
        yield len(within ^ set(range(first, last + 1)))


@CHECKS("clipping: x_0 within 1, pair makes x_t; a quantile by hand", 1e-12)
def clipped(device: torch.device) -> Iterator[Tensor]:
    x, four = 3 * normal(8, 4, device=device), double(4, 4, 4, 4, device=device)
    data = GaussianData(SCHEDULE, 0 * four, four)
    for clip in (StaticClip(data, SCHEDULE), DynamicClip(data, SCHEDULE)):
        found = clip(x, T)
        yield from (noised(SCHEDULE, found) - x, (found.x0.abs() - 1).clamp(min=0))
    yield StaticClip(data, SCHEDULE)(x, T).x0 - data(x, T).x0.clamp(-1, 1)
    # dynamic clipping at the median of |x_0| = 0.5, 1, 2, 3, 4: beyond 2 is cut, all is halved; none below 1 grows
    told = double(0.5, -1, 2, -3, 4, device=device)[None]
    dynamic = DynamicClip(lambda x_t, t: Prediction(t, x_t, x_t), SCHEDULE, 0.5)
    yield dynamic(told, T).x0 - double(0.25, -0.5, 1, -1, 1, device=device)
    yield dynamic(0.2 * told, T).x0 - 0.2 * told


LABELS = torch.tensor([0, 1, 2, 2, 1, 0, 0, 2])  # a class for each of eight points


def chosen(rows: Tensor, labels: Tensor) -> Tensor:
    """Each point's own of (B, K, ...)."""
    return rows[torch.arange(len(labels)), labels.to(rows.device)]


def bind(hills: Mixture, condition: Condition) -> Denoiser:
    """A network of three classes, each a component of the mixture, and -1 for none."""
    labels = condition.labels
    if labels is None:
        return hills

    def denoise(x_t: Tensor, t: Tensor) -> Prediction:
        every = [*(hills.component(k)(x_t, t) for k in range(3)), hills(x_t, t)]
        x0, eps = torch.stack([each.x0 for each in every], 1), torch.stack([each.eps for each in every], 1)
        return Prediction(t, chosen(x0, labels), chosen(eps, labels))

    return denoise


@CHECKS("settings: {scale:g} by classifier-free, network with classes", 1e-11, "classifier-free", True, scale=SCALES)
@CHECKS("settings: {scale:g} by classifier, network with classes", 1e-11, "classifier", True, scale=(1.0, 2.5))
@CHECKS("settings: {scale:g} by classifier, network without classes", 1e-11, "classifier", False, scale=(1.0, 2.5))
@CHECKS("settings: 2.5 by autoguidance, network with classes", 1e-11, "autoguidance", True, 2.5)
def meant(by: str, conditional: bool, scale: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """What settings of guidance sample: q(x_t | c) p(c | x_t)^(g - 1), whoever tells p, each point of its own class."""
    hills, worse = three_hills(SCHEDULE, device), three_hills(SCHEDULE, device, 0.3)

    def classify(labels: Tensor) -> LogProb:
        return lambda x_t, t: chosen(hills.log_posterior(x_t, t), labels)

    def log_density(x: Tensor) -> Tensor:
        null = chosen(worse.log_joint(x, T), LABELS) if by == "autoguidance" else hills.log_density(x, T)
        return scale * chosen(hills.log_joint(x, T), LABELS) + (1 - scale) * null

    settings = SamplingSettings(guidance=scale, guidance_by=by)
    networks = Networks(partial(bind, hills), conditional, NOTHING_TOLD, SCHEDULE, partial(bind, worse), classify)
    return off_score(by_settings(networks, Condition(LABELS), settings), log_density, normal(8, 2, device=device))
