"""What a run comes to, in a handful of numbers."""

import math

from ancestral.evaluation.evaluate import Evaluation
from ancestral.report.facts import RunFacts
from ancestral.report.html import Html, element, pairs, styled

UNKNOWN = "not logged yet"


def headline(facts: RunFacts) -> Html:
    """Numbers of the training, then distances, each with the floor it is to be compared with."""
    return pairs([*_training(facts), *_distances(facts.evaluation)], "numbers")


def number(value: float | None, digits: int = 3) -> str:
    """A number as it is read: thousands apart, few digits behind the point; a true minus."""
    if value is None:
        return "–"
    said = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
    return said.replace("-", "−")


def with_error(value: float, error: float | None) -> str:
    """value ± one standard error, the error to two digits and the value to as many places."""
    if not error:
        return number(value)
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{places}f} ± {error:,.{places}f}".replace("-", "−")


def _training(facts: RunFacts) -> list[tuple[str, str]]:
    images, minutes = facts.last("images"), facts.minutes()
    parameters = sum(parameter.numel() for parameter in facts.pipeline.network.parameters())
    rate = images / (60 * minutes) if images and minutes else None
    return [
        ("images seen", _known(None if images is None else f"{images:,.0f}")),
        ("minutes of training", _known(None if minutes is None else f"{minutes:.1f}")),
        ("images per second", _known(None if rate is None else f"{rate:,.0f}")),
        ("parameters", f"{parameters:,}"),
        ("held-out loss", _held_out(facts)),
    ]


def _held_out(facts: RunFacts) -> str:
    if not len(facts.parts.validation):
        return _known(None, "no validation part")
    loss = facts.last("held_out_loss")
    return _known(None if loss is None else f"{loss:.4f}")


def _distances(evaluation: Evaluation | None) -> list[tuple[str, str]]:
    """Generated against test, above what real training images score in its place."""
    if evaluation is None:
        return []
    generated, floor = evaluation["drawn against test"], evaluation["train against test"]
    few = "of too few images" if generated.too_few else ""
    titles = {"frechet": "Fréchet distance", "kernel": "kernel distance × 1000"}
    distances: list[tuple[str, str]] = [
        (
            title,
            _beside(number(scale * generated[name].value), few or f"real images {number(scale * floor[name].value)}"),
        )
        for (name, title), scale in zip(titles.items(), (1, 1000), strict=True)
    ]
    agreement = evaluation.agreement
    if agreement is None:
        return distances
    accuracy = evaluation.features.accuracy
    against = f"held-out images {accuracy:.1%}" if accuracy is not None else ""
    return [*distances, ("class agreement", _beside(f"{agreement.value:.1%}", against))]


def _beside(value: str, floor: str) -> Html:
    return element("span", value, " ", styled("small", "floor", floor))


def _known(value: str | None, otherwise: str = UNKNOWN) -> str:
    return styled("small", "floor", otherwise) if value is None else value
