"""The runner of plans (docs/plans.md): it adds arrays, calls the network and clips; every number is in the plan.

A plan is the dictionary of its JSON. Arrays are (B, C, H, W), float32 or float64, and keep their type. A network is
called with images, what it is told of time, (B,) float32, and labels, (B,) integers or None.
"""

import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

PlanTable = dict[str, Any]
Array = NDArray[np.floating]
LabelArray = NDArray[np.integer] | None
NetworkCall = Callable[[Array, NDArray[np.float32], LabelArray], Array]
NoiseCall = Callable[[], Array]
VERSION = 1


class StepTaken(NamedTuple):
    """One step t -> s: from x_t to x_s by way of the estimate of x0 made at x_t."""

    t: int
    s: int
    x_t: Array
    x_s: Array
    x0: Array


class PredictedPair(NamedTuple):
    """The pair with x_t = alpha x0 + sigma eps, and what the network says of the variance, if anything."""

    x0: Array
    eps: Array
    variance_coeff: Array


def read_plan(text: bytes | str) -> PlanTable:
    """The plan that `ancestral` has written."""
    plan = json.loads(text)
    kind = (plan.get("format"), plan.get("version")) if isinstance(plan, dict) else (None, None)
    if kind != ("ancestral-plan", VERSION):
        raise ValueError(f"expected an ancestral-plan of version {VERSION}, got {kind[0]!r} of {kind[1]!r}")
    return plan


def sample(plan: PlanTable, network: NetworkCall, noise: NoiseCall, labels: LabelArray = None) -> Iterator[StepTaken]:
    """Every step from noise, the first draw of `noise`, to images, the last step's `x_s`."""
    return _walked(plan, network, labels, noise, [plan["steps"]], lambda x, t: x)


def inpaint(
    plan: PlanTable,
    network: NetworkCall,
    noise: NoiseCall,
    image: Array,
    keep: NDArray[np.bool_],
    labels: LabelArray = None,
    rounds: int = 10,
    jump: int = 1,
) -> Iterator[StepTaken]:
    """The same with what `image` (B, C, H, W) holds where `keep` is True, which broadcasts over it, kept to the bit.

    Each stretch of `jump` steps is gone down `rounds` times, and back up between by q(x_t | x_s); the last step, onto
    0, once (Lugmayr et al. 2022).
    """
    if rounds < 1 or jump < 1:
        raise ValueError(f"expected rounds and jumps of at least 1, got {rounds} and {jump}")
    levels, (*above, last) = _levels(plan), plan["steps"]

    def kept(x: Array, t: int) -> Array:
        known = levels[t]["alpha"] * image + levels[t]["sigma"] * noise() if t else image
        return np.where(keep, known, x)

    legs = [above[i : i + jump] for i in range(0, len(above), jump) for _ in range(rounds)]
    return _walked(plan, network, labels, noise, [*legs, [last]], kept)


def _walked(
    plan: PlanTable,
    network: NetworkCall,
    labels: LabelArray,
    noise: NoiseCall,
    legs: Sequence[Sequence[PlanTable]],
    kept: Callable[[Array, int], Array],
) -> Iterator[StepTaken]:
    levels, now = _levels(plan), plan["steps"][0]["t"]
    x, past = kept(noise(), now), deque[PredictedPair](maxlen=max(len(step["moves"]) for step in plan["steps"]))
    for leg in legs:
        if (t := leg[0]["t"]) > now:
            share = levels[t]["alpha"] / levels[now]["alpha"]
            x = share * x + (1 - share**2) ** 0.5 * noise()
            past.clear()
        for step in leg:
            move = step["moves"][min(len(past), len(step["moves"]) - 1)]
            vectors = {"x": x}
            for number, prediction in enumerate(past, -len(past)):
                vectors |= _named(prediction, number)
            asked: list[PredictedPair] = []
            for number, call in enumerate(move["calls"]):
                asked.append(predicted(plan, levels[call["t"]], network, _sum(call["x"], vectors), labels))
                vectors |= _named(asked[-1], number)
            x_s, coeff = _sum(move["x"], vectors), asked[0].variance_coeff
            if move["noise"] is not None:
                (low, high), w = move["noise"], (coeff + 1) / 2
                x_s = x_s + (low if low == high else low ** (1 - w) * high**w) * noise()
            now, x_s = step["s"], kept(x_s, step["s"])
            if not np.isfinite(x_s).all():
                raise ValueError(f"expected finite numbers, got others at t = {now}; take more steps or less guidance")
            past.append(PredictedPair(_sum(move["x0"], vectors), _sum(move["eps"], vectors), coeff))
            yield StepTaken(step["t"], now, x, x_s, past[-1].x0)
            x = x_s


def predicted(plan: PlanTable, level: PlanTable, network: NetworkCall, x: Array, labels: LabelArray) -> PredictedPair:
    """The network at x, guided and clipped."""
    scale, given = level["guidance"], labels
    if labels is not None and scale != 1:
        null = np.full_like(labels, plan["null"])
        given = null if scale == 0 else np.concatenate([labels, null])
    if given is None or len(given) == len(x):
        prediction = _asked(plan, level, network, x, given)
    else:
        both = _asked(plan, level, network, np.concatenate([x, x]), given)
        (x0, away), (eps, eps_away), (coeff, _) = (np.split(each, 2) for each in both)
        pushed = x0 + (scale - 1) * (x0 - away)
        prediction = PredictedPair(pushed, eps + (scale - 1) * (eps - eps_away), coeff)
        if share := plan["rescale"]:
            back = _spread(x0) / np.maximum(_spread(pushed), np.finfo(x.dtype).tiny)
            prediction = _with_x0(level, (1 - share + share * back) * pushed, x, coeff)
    if (bound := plan["bound"]) is None:
        return prediction
    most, flat = bound, np.abs(prediction.x0).reshape(len(x), -1)
    if (quantile := plan["quantile"]) is not None:
        reach = np.quantile(flat, quantile, axis=1).astype(x.dtype)
        most = np.maximum(reach, bound).reshape(-1, *[1] * (x.ndim - 1))
    return _with_x0(level, bound * np.clip(prediction.x0, -most, most) / most, x, prediction.variance_coeff)


def _asked(plan: PlanTable, level: PlanTable, network: NetworkCall, x: Array, labels: LabelArray) -> PredictedPair:
    time = np.full(len(x), level["time"], np.float32)
    output = network(level["scale"] * x, time, labels).astype(x.dtype)
    means = x.shape[1] * (256 if plan["output"] == "levels" else 1)
    if output.shape[:2] not in ((len(x), means), (len(x), means + x.shape[1])):
        raise ValueError(f"expected an output of {len(x)} images and {means} channels, got {output.shape}")
    answer, coeff = output[:, :means], output[:, means:]
    if plan["output"] == "levels":
        answer = _expected(answer, x, level["alpha"], level["sigma"])
    (of_x, of_answer), (eps_of_x, eps_of_answer) = level["x0"], level["eps"]
    return PredictedPair(of_x * x + of_answer * answer, eps_of_x * x + eps_of_answer * answer, coeff)


def _expected(logits: Array, x: Array, alpha: float, sigma: float) -> Array:
    """The mean of p(x_0 = c_k | x_t) ~ exp(logit_k) N(x_t; alpha c_k, sigma^2) over the levels c_k of every pixel."""
    values = (np.arange(256, dtype=x.dtype) / 127.5 - 1).reshape(256, *[1] * (x.ndim - 2))
    gap = x[:, :, None] / sigma - alpha / sigma * values
    log = logits.reshape(gap.shape) - 0.5 * gap**2
    weights = np.exp(log - log.max(axis=2, keepdims=True))
    return (weights * values).sum(axis=2) / weights.sum(axis=2)


def _with_x0(level: PlanTable, x0: Array, x: Array, coeff: Array) -> PredictedPair:
    return PredictedPair(x0, (x - level["alpha"] * x0) / level["sigma"], coeff)


def _spread(x0: Array) -> Array:
    """The standard deviation of each image."""
    return x0.reshape(len(x0), -1).std(axis=1, ddof=1).reshape(-1, *[1] * (x0.ndim - 1))


def _sum(terms: dict[str, float], vectors: dict[str, Array]) -> Array:
    first, *others = (factor * vectors[name] for name, factor in terms.items())
    return sum(others, first)


def _named(prediction: PredictedPair, number: int) -> dict[str, Array]:
    return {f"x0.{number}": prediction.x0, f"eps.{number}": prediction.eps}


def _levels(plan: PlanTable) -> dict[int, PlanTable]:
    return {level["t"]: level for level in plan["levels"]}
