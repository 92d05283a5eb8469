"""The section of what images hold of their prompts, and the same as tables and sentences for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ancestral.evaluation.prompt_shares import Share
from ancestral.evaluation.text_evaluation import FILE, PICTURE, PromptedImages, TextEvaluation, read_text_evaluation
from ancestral.report.facts import RunFacts, not_measured, number, out_of_date, with_error
from ancestral.report.html import Html, element, section, styled, table
from ancestral.report.pictures import chart, saved
from ancestral.text import shortened
from ancestral.viz import pictures
from ancestral.viz.boxes import Box
from ancestral.viz.plots import guidance_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Does it show what it is told?"
TITLES = {"all": "facts", "whole": "whole prompts", "color": "colour"}
"""Of shares; others are called by their names."""
BETWEEN = 160  # grey between an image and the one nearest to it


def text(facts: RunFacts) -> Html | None:
    """Every share with its interval, beside chance and the reader's errors, or how to get them; None of a run that
    reads no texts."""
    file = facts.folder.path / FILE
    if not file.is_file():
        reads = facts.config.text.name != "none"
        return not_measured(facts, "text", TITLE, "evaluate --text") if reads else None
    found = read_text_evaluation(file)
    stale = out_of_date(facts, "It was measured with", found.weights, "evaluate --text")
    shown = [element("p", line) for line in sentences(found)]
    alt = f"shares against guidance; {found.guidance:g} was chosen; the table has those of other prompts"
    curves = styled("div", "charts", chart("Guidance", alt, figure(found)))
    caption = (
        "What images hold of what prompts ask for, per cent, with 95 % intervals by prompt. Chance is what images made "
        "without looking at the prompts hold."
    )
    return section("text", TITLE, *stale, *shown, curves, table(*rows(found), caption), *_some(facts))


def rows(found: TextEvaluation) -> tuple[list[str], list[list[str]]]:
    """(head, rows), a row for each share, in per cent: of each list with its interval, beside chance where prompts were
    said; and how often the reader errs on clean, blurred and noisy images."""
    names = [*dict.fromkeys(share.name for scores in found.scores for share in scores.shares)]
    columns = [["%", *(TITLES.get(name, name) for name in names)]]
    for scores in found.scores:
        shares = {share.name: in_words(share) for share in scores.shares}
        columns.append([f"{scores.name} ({scores.num_images:,})", *(shares.get(name, "") for name in names)])
        if scores.name not in ("no prompt", "real images"):
            columns.append(["by chance", *(_percent(scores.chance.get(name)) for name in names)])
    if errors := found.reader_errors:
        cells = (" / ".join(_percent(each.get(name)) for each in errors.values()).strip(" /") for name in names)
        columns.append([f"reader errs: {' / '.join(errors)}", *cells])
    head, *body = zip(*columns, strict=True)
    return [*head], [[*row] for row in body]


def sentences(found: TextEvaluation) -> list[str]:
    """How it was measured, and what else was."""
    by = TITLES.get(found.chosen_by, found.chosen_by)
    said = [f"Guidance {found.guidance:g}, which had the most {by} of {found.choosing}."]
    if found.gallery is not None:
        said.append(
            f"Each image's caption is looked for among {found.gallery}, by encoders of images and captions that were "
            f"trained on {found.num_fitted or 0:,} real images alone; real images of the same captions are the ceiling."
        )
    lift, near = found.lift, found.nearness
    low, high = map(number, lift.log_snr)
    said.append(
        f"To the network an image's own caption is worth {with_error(lift.bits, lift.standard_error)} bits an image "
        f"more than another's ({lift.num_images:,} test images, all log-SNR from {low} to {high} alike; 0: it does not "
        "listen)."
    )
    ratio = "cannot be told" if near.ratio is None else number(near.ratio)
    few = f"; too few images: {near.too_few}" if near.too_few else ""
    said.append(
        f"Distance to the nearest training image, generated over held out: {ratio} (1: no copies); {near.nearer:.1%} "
        f"are suspiciously near, where 1 % is to be expected{few}."
    )
    return said


def in_words(share: Share) -> str:
    return f"{100 * share.value:.1f} ({100 * share.low:.0f}–{100 * share.high:.0f})"


def figure(found: TextEvaluation) -> Figure:
    """Of the prompts to choose by: shares against guidance."""
    shown = ("all", "whole", "swapped") if found.chosen_by == "all" else ("R@1", "R@5")
    curves: dict[str, list[list[float]]] = {}
    for name in shown:
        there = [share for point in found.curve for share in point.shares if share.name == name]
        if there:
            curves[TITLES.get(name, name)] = [
                [getattr(share, end) for share in there] for end in ("value", "low", "high")
            ]
    guidances = [point.guidance for point in found.curve]
    return guidance_curves(guidances, curves, found.guidance, found.choosing_chance, found.choosing_ceiling)


def picture_of(shown: PromptedImages) -> Box:
    """Images, the training image nearest to each beside it, and what was asked for beneath."""
    between = torch.full_like(shown.images[..., : 1 + shown.images.shape[3] // 16], BETWEEN)
    pairs = torch.cat([shown.images, between, shown.nearest], dim=3)
    return pictures.grid(pairs, 5, labels=[shortened(each, 120) for each in shown.texts])


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.3g}"


def _some(facts: RunFacts) -> list[Html]:
    """The picture that the measurement left."""
    file = facts.folder.path / PICTURE
    if not file.is_file():
        return []
    words = "The first prompts of the list, none picked: what was generated, and the training image nearest to it."
    return [saved(file, words)]
