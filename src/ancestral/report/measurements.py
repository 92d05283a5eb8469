"""The sections of what a command has measured, or that it has not: quality, samplers, likelihood."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
import torch

from ancestral.diffusion.schedules import Schedule
from ancestral.evaluation import likelihood as bounds
from ancestral.evaluation import sweep as sweeps
from ancestral.evaluation.evaluate import Evaluation
from ancestral.evaluation.likelihood import Amount, FlowCheck, LatentTerms, Likelihood
from ancestral.evaluation.sweep import Sweep, SweepRow
from ancestral.outputs import BOUND
from ancestral.pipeline.building import build_schedule
from ancestral.report.facts import RunFacts, not_measured, number, out_of_date, with_error
from ancestral.report.html import Html, element, pairs, section, styled, table
from ancestral.report.pictures import chart
from ancestral.viz.likelihood import Terms, bound_figure, coding_figure, likelihood_figure
from ancestral.viz.plots import Curve, bars_with_floors, figure_to_png, sweep_curves

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GENERATED = "generated against test"
METRICS = {
    "frechet": "Fréchet distance ↓",
    "kernel": "kernel distance ↓",
    "precision": "precision ↑",
    "recall": "recall ↑",
    "density": "density ↑",
    "coverage": "coverage ↑",
}
UNCODED = 8  # bits per dimension of a pixel written as it is
FAMILIAR = (("ancestral", "trailing"), ("ddim", "trailing"))  # what everybody knows: named beside the best
NAMED = 6  # curves that the picture names
BY_FRECHET = attrgetter("frechet")


def quality(facts: RunFacts) -> Html:
    """Every metric with its error, beside floors, as tables and charts; or how to get them."""
    evaluation = facts.evaluation
    if evaluation is None:
        return not_measured(facts, "quality", "How good they are", "evaluate")
    words = [*_reservations(evaluation), element("p", _features(evaluation))]
    if (found := evaluation.agreement) is not None:
        error = "" if found.standard_error is None else f" ± {found.standard_error:.1%}"
        agreement = f"The network sees the class that was asked for in {found.value:.1%}{error} of the samples."
        words.append(element("p", agreement))
    distances = {"frechet": "Fréchet distance", "kernel": "kernel distance"}
    charts = styled("div", "charts", *(_bars(evaluation, name, title) for name, title in distances.items()))
    return section("quality", "How good they are", *words, charts, _comparisons(evaluation), _copies(evaluation))


def _reservations(evaluation: Evaluation) -> list[Html]:
    """Why the numbers are not to be judged by, where they are not."""
    space, few = evaluation.features, evaluation[GENERATED].too_few
    said = [("Too few images. ", f"The numbers say nothing for or against the samples: {few}.")] if few else []
    if space.num_fitted is None and space.kind != "inception":
        words = "The features had seen the training images, so train against test is no floor: evaluate again."
        said.append(("Of an earlier version. ", words))
    return [element("p", element("strong", title), words) for title, words in said]


def _features(evaluation: Evaluation) -> str:
    space = evaluation.features
    measured = f"{evaluation.num_generated:,} images were generated and compared in {space.width} features of "
    if space.accuracy is None:
        return f"{measured}the Inception network. Lower distances are better; the floors say how low they can be."
    task = "the classes" if space.kind == "labels" else "which transform was applied"
    if space.num_fitted is not None:
        task += f" of {space.num_fitted:,} training images that are not among those compared"
    return (
        f"{measured}a small network trained to tell {task}; it is right on {space.accuracy:.1%} of "
        f"{space.num_held_out:,} test images. Lower distances are better; train against test is what real images score."
    )


def _bars(evaluation: Evaluation, name: str, title: str) -> Html:
    generated = evaluation[GENERATED][name]
    floors = {c.name: c[name].value for c in evaluation.comparisons if c.name != GENERATED}
    said = f"{title} of samples against test images, {number(generated.value)}"
    alt = f"{said}, above its floors; the table has all values"
    return chart(title, alt, bars_with_floors(title, generated.value, generated.standard_error, floors))


def _comparisons(evaluation: Evaluation) -> Html:
    generated = evaluation[GENERATED]
    head = ["comparison", *(METRICS.get(n.name, n.name) for n in generated.numbers)]
    caption = (
        "Every number with one standard error; what counts is generated against test, the others are its floors. Each "
        f"compares {generated.num_left:,} images with {generated.num_right:,}."
    )
    rows = []
    for compared in evaluation.comparisons:
        cells = [compared[n.name] for n in generated.numbers]
        rows.append([compared.name, *(with_error(cell.value, cell.standard_error) for cell in cells)])
    return styled("div", "metrics", table(head, rows, caption))


def _copies(evaluation: Evaluation) -> Html:
    head = ["nearest training image, in", "median of samples", "median of test images", "ratio", "suspiciously near"]
    caption = (
        "A ratio far below 1 is a sign of copying. Suspiciously near are samples no farther than the nearest 1 % of "
        "test images: 1 % is to be expected."
    )
    if few := next((near.too_few for near in evaluation.nearness if near.too_few), ""):
        caption = f"Too few images to tell copies by: {few}."
    rows = []
    for near in evaluation.nearness:
        ratio = "no telling" if near.ratio is None else number(near.ratio)
        medians = number(near.generated_median), number(near.held_out_median)
        rows.append([near.space, *medians, ratio, f"{near.nearer:.1%}"])
    return table(head, rows, caption)


def sweep(facts: RunFacts) -> Html:
    """The picture, the table and the recommendation; or how to get them."""
    file = facts.folder.path / sweeps.FILE
    if not file.is_file():
        return not_measured(facts, "samplers", "Samplers", "sweep")
    found = sweeps.read_sweep(file)
    if stale := out_of_date(facts, "It was measured with", found.weights, "sweep"):
        return section("samplers", "Samplers", *stale)
    best = in_words(found.recommended)
    alt = f"Fréchet distance to test images and distance to the flow against network calls; recommended: {best}"
    said = [("Recommended: ", f"{best}.")]
    if found.present is not None:  # the files of earlier versions do not say it
        decision = sweeps.decide(found)
        kept = "Kept is how it generated images: " if decision.row is None else "Better than how it generated images: "
        said.append((kept, f"{in_words(found.present.row)}: {decision.reason}."))
    words = [element("p", element("strong", title), text) for title, text in said]
    curves = chart("Quality against network calls", alt, figure(found))
    return section("samplers", "Samplers", *words, curves, _budgets(found))


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
    found, frechet = row.choice, with_error(row.frechet, row.jackknife.error)
    steps = f"{found.steps} steps, {found.calls} network calls"
    return f"{found.sampler} on the grid {found.grid}, {steps}: Fréchet {frechet}"


def _curve(found: Sweep, sampler: str, grid: str) -> Curve:
    """The rows of one sampler on one grid, by calls."""
    mine = [row for row in found.rows if (row.choice.sampler, row.choice.grid) == (sampler, grid)]
    rows = sorted(mine, key=lambda row: row.choice.calls)
    flow = [row.to_flow for row in rows if row.to_flow is not None]
    frechet, errors = [row.frechet for row in rows], [row.jackknife.error for row in rows]
    return Curve(f"{sampler}, {grid}", [row.choice.calls for row in rows], frechet, errors, flow or None)


def _budgets(found: Sweep) -> Html:
    budgets, rows = best_grids(found)
    head = ["sampler", *(f"{budget} calls" for budget in budgets)]
    caption = (
        f"Fréchet distance to {found.num_test:,} test images, of {found.settings.images:,} images generated from the "
        "same seeds by each sampler on the best of its grids, with one standard error; and how far they are from "
        f"those of {found.settings.reference} steps, in levels. Those have {number(found.reference)}, training images "
        f"{number(found.floor)}."
    )
    return table(head, [[name, *map(_row_in_short, best)] for name, best in rows.items()], caption)


def _row_in_short(row: SweepRow | None) -> str:
    if row is None:
        return ""
    flow = "" if row.to_flow is None else f", {number(row.to_flow, 2)} levels"
    return f"{with_error(row.frechet, row.jackknife.error)}{flow}, {row.choice.grid}"


def likelihood(facts: RunFacts) -> Html:
    """The bound with its error, terms and pictures, what it was measured on, the flow check; or how to get it."""
    file = facts.folder.path / bounds.FILE
    if not file.is_file():
        return not_measured(facts, "likelihood", "Likelihood", "likelihood")
    measured = bounds.read_likelihood(file)
    # the T that was measured on need not be the run's
    settings = facts.config.diffusion.schedule.model_copy(update={"num_timesteps": measured.num_timesteps})
    meaning = (
        f", the variational bound: by this model, a {measured.part} image takes at most that much to write down, "
        f"{measured.total.value / UNCODED:.1%} of its {UNCODED} bits a number. Lower is better; the error is one "
        "standard error."
    )
    every = measured.timesteps >= measured.steps - 1
    measured_on = [
        ("images", f"{measured.num_images:,} of the {measured.part} part, {measured.dims:,} numbers each"),
        ("chain", f"{measured.steps:,} steps of T = {measured.num_timesteps:,}"),
        ("terms besides L_0", "all" if every else f"{measured.timesteps:,} drawn for each image, without bias"),
        ("class", "told to the network" if measured.given_classes else "not told to the network"),
        ("weights", f"averaged, SHA-256 {measured.weights}"),
        ("seed", str(measured.seed)),
        ("time", f"{measured.seconds / 60:.1f} minutes"),
    ]
    return section(
        "likelihood",
        "Likelihood",
        *out_of_date(facts, "These are numbers of", measured.weights, "likelihood"),
        element("p", element("strong", f"{_amount(measured.total)} bits/dim"), meaning),
        *_charts(measured, build_schedule(settings)),
        _terms(measured),
        *([] if measured.flow is None else [_flow(measured.flow, measured.latents is not None)]),
        pairs(measured_on, "facts"),
    )


def picture(measured: Likelihood, schedule: Schedule) -> bytes:
    """Both figures as one PNG file; `schedule` is the one that was measured on. There must be stretches."""
    return figure_to_png(likelihood_figure(plain(measured, schedule)), writer=BOUND.decode())


def plain(measured: Likelihood, schedule: Schedule) -> Terms:
    """The numbers that the pictures show; `schedule` is the one that was measured on."""
    stretches, bound = measured.stretches, measured.total if measured.latents is None else measured.latents.prior
    log_snr = schedule.log_snr(torch.tensor([stretches[0].t, *(stretch.s for stretch in stretches)]))
    log_snr[0] = log_snr[0] if log_snr[0].isfinite() else log_snr[1] - 1  # where no signal is left
    return Terms(
        log_snr=log_snr.numpy(),
        bits=np.array([stretch.bits for stretch in stretches]),
        errors=np.array([stretch.standard_error for stretch in stretches]),
        rmse=np.array([stretch.rmse for stretch in stretches]) if measured.latents is None else None,
        prior=measured.prior.value,
        reconstruction=measured.reconstruction.value,
        total=bound.value,
        total_error=bound.standard_error,
    )


def _charts(measured: Likelihood, schedule: Schedule) -> list[Html]:
    """The bound over the noise, and what it buys; a chain of one step has no such terms."""
    if not measured.stretches:
        return []
    terms = plain(measured, schedule)
    peak = measured.stretches[int(np.argmax(terms.bits / np.diff(terms.log_snr)))]
    densest, total = number(peak.log_snr), with_error(terms.total, terms.total_error)
    over = f"bits/dim over log-SNR, densest near {densest}, and their sum up to {total} bits/dim"
    charts = [chart("Terms of the bound over the noise", over, bound_figure(terms))]
    if terms.rmse is not None:
        bought = f"error of the predicted image against bits received, from {number(terms.rmse[0])} levels to 0"
        charts.append(chart("Progressive coding: error against bits", bought, coding_figure(terms)))
    return [styled("div", "charts", *charts)]


def _terms(measured: Likelihood) -> Html:
    if measured.latents is not None:
        return _terms_of_latents(measured, measured.latents)
    named = {
        "L_T, the end of the chain against noise": measured.prior,
        "steps of the chain": measured.diffusion,
        "L_0, the pixels": measured.reconstruction,
        "together": measured.total,
    }
    rows = [[name, _amount(amount), f"{amount.value / measured.total.value:.1%}"] for name, amount in named.items()]
    return table(["term", "bits/dim", "share"], rows, f"The bound, term by term, {_errors(measured)}")


def _terms_of_latents(measured: Likelihood, latents: LatentTerms) -> Html:
    """The three terms, what the last is made of, and the autoencoder alone."""
    named = {
        "-log p(x|z), the pixels given their latents": latents.pixels,
        "log q(z|x), a density": latents.posterior,
        "the bound on -log p(z), a density": latents.prior,
        "of which L_T, the end of the chain against noise": measured.prior,
        "of which steps of the chain": measured.diffusion,
        "of which L_0, the latents": measured.reconstruction,
        "together": measured.total,
        "the autoencoder alone, z from N(0, I)": latents.autoencoder,
        "of which KL(q(z|x) || N(0, I))": latents.kl,
        "what the diffusion model saves, image by image": latents.gain,
    }
    caption = (
        f"The bound of {measured.dims:,} numbers in {latents.dims:,} latents, term by term, {_errors(measured)} A term "
        "of a density may be negative; the two together, and the whole, are not."
    )
    return table(["term", "bits/dim"], [[name, _amount(amount)] for name, amount in named.items()], caption)


def _errors(measured: Likelihood) -> str:
    by_images, by_timesteps = number(measured.error_from_images, 2), number(measured.error_from_timesteps, 2)
    return (
        f"with one standard error. That of the whole is {by_images} from the choice of images and {by_timesteps} from "
        "that of timesteps; their squares add."
    )


def _flow(check: FlowCheck, of_latents: bool) -> Html:
    """The same images, or their latents, under the probability flow."""
    rows = [
        ["variational bound", _amount(check.bound)],
        ["probability flow", _amount(check.flow)],
        ["difference, image by image", _amount(check.difference)],
    ]
    how = "exact divergence" if check.probes == 0 else f"{check.probes} probes of the divergence"
    what = f"the latents of {check.num_images:,}" if of_latents else f"{check.num_images:,}"
    caption = (
        f"Cross-check on {what} images: the probability flow ({check.steps:,} steps, {how}) has a "
        "density of its own. It is expected below the bound, by what the chain's Gaussian steps miss."
    )
    return table(["model", "bits/dim"], rows, caption)


def _amount(amount: Amount) -> str:
    return with_error(amount.value, amount.standard_error)
