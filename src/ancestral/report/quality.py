"""The numbers of an evaluation, beside their floors."""

from ancestral.evaluation.evaluate import Evaluation
from ancestral.report.facts import RunFacts, not_measured, number, with_error
from ancestral.report.html import Html, element, section, styled, table
from ancestral.report.pictures import chart
from ancestral.viz.plots import bars_with_floors

TITLE = "How good they are"
GENERATED = "generated against test"
TITLES = {
    "frechet": "Fréchet distance ↓",
    "kernel": "kernel distance ↓",
    "precision": "precision ↑",
    "recall": "recall ↑",
    "density": "density ↑",
    "coverage": "coverage ↑",
}


def quality(facts: RunFacts) -> Html:
    """Every metric with its error, beside floors, as tables and charts; or how to get them."""
    evaluation = facts.evaluation
    if evaluation is None:
        return not_measured(facts, "quality", TITLE, "evaluate")
    words = [*_reservations(evaluation), element("p", _features(evaluation))]
    if (found := evaluation.agreement) is not None:
        error = "" if found.standard_error is None else f" ± {found.standard_error:.1%}"
        agreement = f"The network sees the class that was asked for in {found.value:.1%}{error} of the samples."
        words.append(element("p", agreement))
    bars = [_bars(evaluation, "frechet", "Fréchet distance"), _bars(evaluation, "kernel", "kernel distance")]
    charts = styled("div", "charts", *bars)
    return section("quality", TITLE, *words, charts, _comparisons(evaluation), _nearness(evaluation))


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
    apart = "training images that are not among those compared"
    fitted = "" if space.num_fitted is None else f" of {space.num_fitted:,} {apart}"
    return (
        f"{measured}a small network trained to tell {task}{fitted}; it is right on {space.accuracy:.1%} "
        f"of {space.num_held_out:,} test images. Lower distances are better; train against test is what real images "
        "score."
    )


def _bars(evaluation: Evaluation, name: str, title: str) -> Html:
    generated = evaluation[GENERATED][name]
    floors = {c.name: c[name].value for c in evaluation.comparisons if c.name != GENERATED}
    said = f"{title} of samples against test images, {number(generated.value)}"
    alt = f"{said}, above its floors; the table has all values"
    return chart(title, alt, bars_with_floors(title, generated.value, generated.standard_error, floors))


def _comparisons(evaluation: Evaluation) -> Html:
    generated = evaluation[GENERATED]
    head = ["comparison", *(TITLES.get(n.name, n.name) for n in generated.numbers)]
    caption = (
        "Every number with one standard error; what counts is generated against test, the others are its floors. Each "
        f"compares {generated.num_left:,} images with {generated.num_right:,}."
    )
    rows = []
    for compared in evaluation.comparisons:
        cells = [compared[n.name] for n in generated.numbers]
        rows.append([compared.name, *(with_error(cell.value, cell.standard_error) for cell in cells)])
    return styled("div", "metrics", table(head, rows, caption))


def _nearness(evaluation: Evaluation) -> Html:
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
