"""Guidance: every guided prediction is the score of the density that it claims, by automatic differentiation.

A prediction is right where eps is minus the noise times the gradient of that log-density and the pair makes x_t. The
classifier is the mixture's own: the probability of a component by Bayes' rule.
"""

import itertools
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import cosine, zero_terminal_snr
from ancestral.guiding import Networks
from ancestral.guiding import guided as by_settings
from ancestral.oracles import (
    GaussianData,
    Mixture,
    double,
    gradient,
    level,
    normal,
    three_hills,
    two_hills,
)
from ancestral.sampling.classifier import ClassifierGuided, LogProb
from ancestral.sampling.denoiser import Denoiser, DynamicClip, StaticClip
from ancestral.sampling.guidance import (
    ClassifierFree,
    Composed,
    Interval,
    OneCall,
    Rescaled,
    TwoCalls,
    timesteps_of_noise,
)
from ancestral.selftest.checks import Check, apart, largest
from ancestral.settings import SamplingSettings

SCHEDULE = cosine(100)
T = torch.tensor(40)


def off_pair(found: Prediction, x_t: Tensor) -> float:
    """How far the pair is from making x_t."""
    kept = level(SCHEDULE, found.t, x_t)
    return apart(kept.sqrt() * found.x0 + (1 - kept).sqrt() * found.eps, x_t)


def off_score(guided: Denoiser, log_density: Callable[[Tensor], Tensor], x_t: Tensor) -> float:
    """How far a prediction at T is from the score of a density, and its pair from making x_t."""
    found = guided(x_t, T)
    wanted = -(1 - level(SCHEDULE, T, x_t)).sqrt() * gradient(log_density, x_t)
    return apart(found.eps, wanted) + off_pair(found, x_t)


def log_posterior(hills: Mixture, k: int) -> LogProb:
    """log p(k | x_t) of a mixture."""
    return lambda x_t, t: hills.log_joint(x_t, t)[:, k] - hills.log_density(x_t, t)


def log_component(hills: Mixture, k: int) -> Callable[[Tensor], Tensor]:
    """log q(x_t | k) at T, but for a constant."""
    return lambda x_t: hills.log_joint(x_t, T)[:, k]


def guided(scale: float, device: torch.device) -> float:
    """A class of a mixture pushed away from none: q(x_t)^(1 - w) q(x_t | c)^w."""
    hills = two_hills(SCHEDULE, device)
    wanted = log_component(hills, 0)
    return off_score(
        ClassifierFree(TwoCalls(hills.component(0), hills), scale),
        lambda x: (1 - scale) * hills.log_density(x, T) + scale * wanted(x),
        normal(16, 2, device=device),
    )


def negative(scale: float, device: torch.device) -> float:
    """A class pushed away from another: q(x_t | c') ^(1 - w) q(x_t | c)^w."""
    hills = three_hills(SCHEDULE, device)
    wanted, unwanted = (log_component(hills, k) for k in (0, 1))
    return off_score(
        ClassifierFree(TwoCalls(hills.component(0), hills.component(1)), scale),
        lambda x: scale * wanted(x) + (1 - scale) * unwanted(x),
        normal(16, 2, device=device),
    )


def two_networks(scale: float, device: torch.device) -> float:
    """Pushed away from a model whose hills are wider: q(x_t)^w q_bad(x_t)^(1 - w)."""
    good, bad = (three_hills(SCHEDULE, device, wider) for wider in (0.0, 0.3))
    return off_score(
        ClassifierFree(TwoCalls(good, bad), scale),
        lambda x: scale * good.log_density(x, T) + (1 - scale) * bad.log_density(x, T),
        normal(16, 2, device=device),
    )


def composed(device: torch.device) -> float:
    """Wanted twice, unwanted once: q(x_t) p(0 | x_t)^2 / p(1 | x_t)."""
    hills = three_hills(SCHEDULE, device)
    one, other = log_posterior(hills, 0), log_posterior(hills, 1)
    return off_score(
        Composed(hills, ((hills.component(0), 2.0), (hills.component(1), -1.0))),
        lambda x: hills.log_density(x, T) + 2 * one(x, T) - other(x, T),
        normal(16, 2, device=device),
    )


def classified(scale: float, device: torch.device) -> float:
    """A classifier of noisy data: q(x_t) p(2 | x_t)^w."""
    hills = three_hills(SCHEDULE, device)
    log_prob = log_posterior(hills, 2)
    return off_score(
        ClassifierGuided(hills, SCHEDULE, log_prob, scale),
        lambda x: hills.log_density(x, T) + scale * log_prob(x, T),
        normal(16, 2, device=device),
    )


def true_classifier(device: torch.device) -> float:
    """At scale 1, from t = 1 to T - 1, the true classifier makes the prediction of the class; gradients may be off."""
    hills, errors = three_hills(SCHEDULE, device), []
    one, x = hills.component(0), normal(8, 2, device=device)
    for t in map(torch.tensor, (1, 30, 99)):
        near = SCHEDULE.alpha_bar[t].sqrt().to(x) * one.mean + 0.1 * x
        with torch.inference_mode():
            found = ClassifierGuided(hills, SCHEDULE, log_posterior(hills, 0))(near, t)
        wanted = one(near, t)
        errors += [apart(found.x0, wanted.x0), apart(found.eps, wanted.eps)]
    return largest(errors)


def nothing_to_tell(device: torch.device) -> float:
    """Where no signal is left a classifier changes nothing."""
    table = zero_terminal_snr(SCHEDULE)
    hills, x, t = three_hills(table, device), normal(8, 2, device=device), torch.tensor(100)
    found, plain = ClassifierGuided(hills, table, lambda x_t, t: 9 * x_t.sum(1), 5.0)(x, t), hills(x, t)
    return apart(found.x0, plain.x0) + apart(found.eps, plain.eps)


def moved(device: torch.device) -> float:
    """Between Gaussians of one variance, guidance w is Gaussian data whose mean is moved w times as far."""
    x = normal(8, 1, device=device)
    near, far, there = (GaussianData(SCHEDULE, double(m, device=device), double(0.4, device=device)) for m in (0, 1, 3))
    return apart(ClassifierFree(TwoCalls(far, near), 3.0)(x, T).x0, there(x, T).x0)


def one_call(device: torch.device) -> float:
    """Guidance by one call on twice the batch, against two calls; the variance coefficient stays the conditional
    one's.
    """
    x = normal(8, 1, device=device)
    near, far = (GaussianData(SCHEDULE, double(mean, device=device), double(0.4, device=device)) for mean in (0, 1))

    def both(x: Tensor, t: Tensor) -> Prediction:
        first, second = far(x[:8], t), near(x[8:], t)
        pair = (torch.cat([first.x0, second.x0]), torch.cat([first.eps, second.eps]))
        return Prediction(t, *pair, torch.cat([x[:8] * 0 + 1, x[8:] * 0 - 1]))

    found, wanted = ClassifierFree(OneCall(both), 2.5)(x, T), ClassifierFree(TwoCalls(far, near), 2.5)(x, T)
    assert found.variance_coeff is not None
    return apart(found.x0, wanted.x0) + apart(found.eps, wanted.eps) + apart(found.variance_coeff, 1.0)


def with_spread(denoise: Denoiser, value: float) -> Denoiser:
    """The same with a variance coefficient that is everywhere `value`."""
    return lambda x_t, t: denoise(x_t, t)._replace(variance_coeff=torch.full_like(x_t, value))


def spreads(device: torch.device) -> float:
    """A variance coefficient is that of the prediction one starts from, whatever pushes."""
    hills, x = three_hills(SCHEDULE, device), normal(4, 2, device=device)
    one, other = with_spread(hills.component(0), 0.8), with_spread(hills, -0.9)
    pair = TwoCalls(one, other)
    given: list[Denoiser] = [Rescaled(pair, 3.0, SCHEDULE), ClassifierFree(pair, 3.0)]
    null: list[Denoiser] = [Composed(other, ((one, 2.0),)), ClassifierGuided(other, SCHEDULE, log_posterior(hills, 1))]
    found = [(each(x, T).variance_coeff, 0.8) for each in given] + [(each(x, T).variance_coeff, -0.9) for each in null]
    return largest(apart(variance_coeff, value) for variance_coeff, value in found if variance_coeff is not None) + (
        4 - len(found)
    )


def rescaled(share: float, device: torch.device) -> float:
    """Each image's deviation goes `share` of the way back to that of the given prediction; its shape and pair stay."""
    x, ramp = normal(5, 8, device=device), torch.linspace(-1, 1, 8, dtype=torch.float64, device=device)
    narrow, wide = (GaussianData(SCHEDULE, mean, 0 * ramp + 0.3) for mean in (ramp, 0 * ramp))
    pair = TwoCalls(narrow, wide)
    found, plain, given = Rescaled(pair, 4.0, SCHEDULE, share)(x, T), ClassifierFree(pair, 4.0)(x, T), narrow(x, T)
    before, after, back = (each.x0.var(1).sqrt() for each in (plain, found, given))
    assert bool((before > 1.1 * back).all()), "guidance must widen, else nothing is compared"
    straight = found.x0 / after[:, None] - plain.x0 / before[:, None]
    return largest([apart(after, before + share * (back - before)), apart(straight, 0.0), off_pair(found, x)])


def interval(device: torch.device) -> float:
    """How often the wrong network is asked around an interval of timesteps."""
    asked: list[str] = []

    def named(name: str) -> Denoiser:
        def denoise(x_t: Tensor, t: Tensor) -> Prediction:
            asked.append(f"{name}{int(t)}")
            return Prediction(t, x_t, x_t)

        return denoise

    limited = Interval(named("in"), named("out"), 20, 21)
    for t in (19, 20, 21, 22):
        limited(normal(1, 1, device=device), torch.tensor(t))
    wanted = ["out19", "in20", "in21", "out22"]
    return float(sum(one != other for one, other in itertools.zip_longest(asked, wanted)))


def interval_of_noise(_: torch.device) -> float:
    """How many timesteps of three intervals of sigma / alpha are wrong, against asking every t."""
    wrong = 0
    for low, high in ((0.28, 2.9), (0.0, 1e9), (1.0, 1.0)):
        first, last = timesteps_of_noise(SCHEDULE, low, high)
        within = {t for t in range(1, 101) if low <= (1 / float(SCHEDULE.alpha_bar[t]) - 1) ** 0.5 <= high}
        wrong += len(within ^ set(range(first, last + 1)))
    return float(wrong)


def clipped(device: torch.device) -> float:
    """Clipping keeps x_0 in [-1, 1] and recomputes eps, so that the pair still makes x_t."""
    x, four = 3 * normal(8, 4, device=device), double(4, 4, 4, 4, device=device)
    data, errors = GaussianData(SCHEDULE, 0 * four, four), []
    for clip in (StaticClip(data, SCHEDULE), DynamicClip(data, SCHEDULE)):
        found = clip(x, T)
        errors += [off_pair(found, x), max(float(found.x0.abs().max()) - 1, 0.0)]
    return largest([*errors, apart(StaticClip(data, SCHEDULE)(x, T).x0, data(x, T).x0.clamp(-1, 1))])


def stretched(device: torch.device) -> float:
    """Dynamic clipping at the median of |x_0| = 0.5, 1, 2, 3, 4: beyond 2 is cut, all is halved; none below 1 grows."""
    told = double(0.5, -1, 2, -3, 4, device=device)[None]

    def denoise(x_t: Tensor, t: Tensor) -> Prediction:
        return Prediction(t, x_t, x_t)

    clip = DynamicClip(denoise, SCHEDULE, 0.5)
    small = clip(0.2 * told, T).x0 - 0.2 * told
    return apart(clip(told, T).x0, double(0.25, -0.5, 1, -1, 1, device=device)) + apart(small, 0.0)


LABELS = torch.tensor([0, 1, 2, 2, 1, 0, 0, 2])
"""A class for each of eight points."""


def chosen(rows: Tensor, labels: Tensor) -> Tensor:
    """Each point's own of (B, K, ...)."""
    return rows[torch.arange(len(labels)), labels.to(rows.device)]


def networks(hills: Mixture, conditional: bool) -> Networks:
    """Three classes, each a component of the mixture, and 3 for none; a classifier by Bayes' rule; worse networks."""

    def bind(hills: Mixture, labels: Tensor | None) -> Denoiser:
        if labels is None:
            return hills

        def denoise(x_t: Tensor, t: Tensor) -> Prediction:
            every = [*(hills.component(k)(x_t, t) for k in range(3)), hills(x_t, t)]
            x0, eps = torch.stack([each.x0 for each in every], 1), torch.stack([each.eps for each in every], 1)
            return Prediction(t, chosen(x0, labels), chosen(eps, labels))

        return denoise

    def classify(labels: Tensor) -> LogProb:
        return lambda x_t, t: chosen(hills.log_joint(x_t, t), labels) - hills.log_density(x_t, t)

    worse = Mixture(hills.schedule, hills.weights, hills.means, hills.variances + 0.3)
    return Networks(partial(bind, hills), conditional, 3, SCHEDULE, partial(bind, worse), classify)


def meant(by: str, scale: float, conditional: bool, device: torch.device) -> float:
    """What settings of guidance sample: q(x_t | c) p(c | x_t)^(g - 1), whoever tells p, each point of its own class."""
    hills, x = three_hills(SCHEDULE, device), normal(8, 2, device=device)
    worse = three_hills(SCHEDULE, device, 0.3)

    def log_density(x: Tensor) -> Tensor:
        joint, whole = chosen(hills.log_joint(x, T), LABELS), hills.log_density(x, T)
        if by == "autoguidance":
            return scale * joint + (1 - scale) * chosen(worse.log_joint(x, T), LABELS)
        return whole + scale * (joint - whole)

    settings = SamplingSettings(guidance=scale, guidance_by=by)
    return off_score(by_settings(networks(hills, conditional), LABELS, settings), log_density, x)


SCALES = (0.0, 1.0, 2.5)
MEANT = (
    *(("classifier-free", scale, True) for scale in SCALES),
    *(("classifier", scale, knows) for scale in (1.0, 2.5) for knows in (True, False)),
    ("autoguidance", 2.5, True),
)
"""By whom, how much, and whether the network knows classes."""
CHECKS = (
    Check("clipping: x_0 within 1, pair makes x_t", 1e-12, clipped),
    Check("dynamic clipping: at a quantile, by hand", 1e-15, stretched),
    *(Check(f"guidance {scale:g}: score of the mixed density", 1e-11, partial(guided, scale)) for scale in SCALES),
    Check("guidance 3: mean moved three times as far", 1e-12, moved),
    Check("guidance by one call and by two", 1e-14, one_call),
    *(Check(f"negative class, {scale:g}: score of the quotient", 1e-11, partial(negative, scale)) for scale in SCALES),
    *(Check(f"two networks, {scale:g}: score of the quotient", 1e-11, partial(two_networks, scale))
      for scale in SCALES),
    Check("composed: score of q p(0)^2 / p(1)", 1e-11, composed),
    *(Check(f"classifier, {scale:g}: score of q p^{scale:g}", 1e-11, partial(classified, scale)) for scale in SCALES),
    Check("classifier: the true one makes the conditional prediction", 1e-9, true_classifier),
    Check("classifier: no part where no signal is left", 0, nothing_to_tell),
    *(Check(f"rescaled, share {share:g}: deviation of each image", 1e-12, partial(rescaled, share))
      for share in (0.0, 0.5, 1.0)),
    Check("interval: inside at its timesteps alone", 0, interval),
    Check("interval of noise: just the timesteps within", 0, interval_of_noise),
    *(Check(f"settings: {scale:g} by {by}, network {'with' if knows else 'without'} classes", 1e-11, partial(
        meant, by, scale, knows)) for by, scale, knows in MEANT),
    Check("spread: that of the given prediction", 0, spreads),
)  # fmt: skip
