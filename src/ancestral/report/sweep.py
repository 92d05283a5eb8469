"""Samplers: what `ancestral sweep` measured on this run's network, as a picture and a table."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from ancestral.evaluation.sweep import FILE, Sweep, SweepRow, decide, read_sweep
from ancestral.report.facts import RunFacts, not_measured, number, out_of_date, with_error
from ancestral.report.html import Html, element, section, table
from ancestral.report.pictures import chart
from ancestral.viz.sweep import Curve, sweep_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "Samplers"
FAMILIAR = (("ancestral", "trailing"), ("ddim", "trailing"))  # what everybody knows: named beside the best
NAMED = 6  # curves that the picture names
BY_FRECHET = attrgetter("frechet")


def sweep(facts: RunFacts) -> Html:
    """The picture, the table and the recommendation; or how to get them."""
    file = facts.folder.path / FILE
    if not file.is_file():
        return not_measured(facts, "samplers", TITLE, "sweep")
    found = read_sweep(file)
    if stale := out_of_date(facts, "It was measured with", found.weights, "sweep"):
        return section("samplers", TITLE, *stale)
    best = in_words(found.recommended)
    alt = f"Fréchet distance to test images and distance to the flow against network calls; recommended: {best}"
    said = [("Recommended: ", f"{best}.")]
    if found.present is not None:  # the files of earlier versions do not say it
        decision = decide(found)
        kept = "Kept is how it generated images: " if decision.row is None else "Better than how it generated images: "
        said.append((kept, f"{in_words(found.present.row)}: {decision.reason}."))
    words = [element("p", element("strong", title), text) for title, text in said]
    picture = chart("Quality against network calls", alt, figure(found))
    return section("samplers", TITLE, *words, picture, _table(found))


def figure(found: Sweep) -> Figure:
    """The curves: the recommended by name, what everybody knows, the nearest to the flow, the best at each budget."""
    pairs = [*dict.fromkeys((row.choice.sampler, row.choice.grid) for row in found.rows)]
    budgets = sorted({row.choice.budget for row in found.rows})
    ending = [row for row in found.rows if row.to_flow is not None and row.choice.budget == budgets[-1]]
    nearest = sorted(ending, key=lambda row: row.to_flow or 0.0)[:1]
    best = [min((r for r in found.rows if r.choice.budget == budget), key=BY_FRECHET) for budget in budgets]
    wanted = [(row.choice.sampler, row.choice.grid) for row in (found.recommended, *nearest, *best)]
    named = [*dict.fromkeys((wanted[0], *(each for each in FAMILIAR if each in pairs), *wanted[1:]))][:NAMED]
    others = [each for each in pairs if each not in named]
    shown, faint = ([_curve(found, *each) for each in some] for some in (named, others))
    return sweep_curves(shown, faint, found.reference, found.floor)


def best_grids(found: Sweep) -> tuple[list[int], dict[str, list[SweepRow | None]]]:
    """(budgets, sampler -> at each of them its row on the grid with the least Fréchet distance)."""
    budgets = sorted({row.choice.budget for row in found.rows})
    rows: dict[str, list[SweepRow | None]] = {}
    for sampler in dict.fromkeys(row.choice.sampler for row in found.rows):
        mine = [row for row in found.rows if row.choice.sampler == sampler]
        at = [[row for row in mine if row.choice.budget == budget] for budget in budgets]
        rows[sampler] = [min(some, key=BY_FRECHET, default=None) for some in at]
    return budgets, rows


def in_words(row: SweepRow) -> str:
    """A row as a phrase."""
    found = row.choice
    return (
        f"{found.sampler} on the grid {found.grid}, {found.steps} steps, {found.calls} network calls: "
        f"Fréchet {with_error(row.frechet, row.jackknife.error)}"
    )


def _curve(found: Sweep, sampler: str, grid: str) -> Curve:
    """The rows of one sampler on one grid, by calls."""
    mine = [row for row in found.rows if (row.choice.sampler, row.choice.grid) == (sampler, grid)]
    rows = sorted(mine, key=lambda row: row.choice.calls)
    flow = [row.to_flow for row in rows if row.to_flow is not None]
    return Curve(
        f"{sampler}, {grid}",
        [row.choice.calls for row in rows],
        [row.frechet for row in rows],
        [row.jackknife.error for row in rows],
        flow or None,
    )


def _table(found: Sweep) -> Html:
    budgets, rows = best_grids(found)
    head = ["sampler", *(f"{budget} calls" for budget in budgets)]
    caption = (
        f"Fréchet distance to {found.num_test:,} test images, of {found.settings.images:,} images generated from the "
        "same seeds by each sampler on the best of its grids, with one standard error; and how far they are from "
        f"those of {found.settings.reference} steps, in levels. Those have {number(found.reference)}, training images "
        f"{number(found.floor)}."
    )
    return table(head, [[name, *map(_cell, best)] for name, best in rows.items()], caption)


def _cell(row: SweepRow | None) -> str:
    if row is None:
        return ""
    flow = "" if row.to_flow is None else f", {number(row.to_flow, 2)} levels"
    return f"{with_error(row.frechet, row.jackknife.error)}{flow}, {row.choice.grid}"
