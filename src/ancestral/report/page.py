"""The page: what stands where, and the promise that it asks the network for nothing."""

from base64 import b64encode
from collections.abc import Callable, Iterable
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from ancestral.colors import NAMES
from ancestral.files import write_whole
from ancestral.outputs import REPORT, Output, claim
from ancestral.report import copies, gallery, headline, likelihood, losses, particulars, quality, sweep
from ancestral.report.facts import RunFacts, read_facts
from ancestral.report.html import Html, element, joined, style_sheet
from ancestral.report.samples import generate, sample_counts

Say = Callable[[str], None]
CONTENTS = {
    "samples": "Samples",
    "film": "Film",
    "losses": "Losses",
    "data": "Data",
    "copies": "Copies?",
    "quality": "Quality",
    "samplers": "Samplers",
    "likelihood": "Likelihood",
    "schedule": "Schedule",
    "sampling": "Sampling",
    "settings": "Settings",
}
"""Anchor -> its name at the top of the page, in the order of the sections."""


def write_report(run: Path, out: Path | None = None, on_progress: Say | None = None, overwrite: bool = False) -> Path:
    """Writes the report of a run as one self-contained HTML file; returns its path.

    It draws up to 160 samples and measures the loss at 20 timesteps, so it takes seconds for small images and minutes
    for large ones.

    Args:
        run: the folder that training left.
        out: None: report.html in `run`.
        on_progress: told in a few words what is being done.
        overwrite: whether a file that is no report may be replaced.

    Raises:
        InputError: no run, nothing trained yet, damaged files, images that are gone, or no file to write to.
        CannotWrite: the file cannot be written.
    """
    out = out or run / "report.html"
    claim([Output(out, REPORT)], overwrite)
    write_whole(out, page(read_facts(run), on_progress or _silent))
    return out


def page(facts: RunFacts, say: Say) -> Html:
    """The whole document."""
    measured = [sweep.sweep(facts), likelihood.likelihood(facts)]  # first: whether files can be read is known at once
    say(f"generating {sample_counts(facts.pipeline)[1]} samples")
    samples = generate(facts.pipeline)
    say("making the film")
    looks = [gallery.samples(facts, samples), gallery.becoming(facts, samples)]
    say("measuring the held-out loss")
    looks += [losses.losses(facts), gallery.data(facts)]
    say("looking for the nearest training images")
    looks += [copies.copies(facts, samples), quality.quality(facts), *measured]
    looks += [particulars.schedule(facts), particulars.sampling(facts, samples), particulars.settings(facts)]
    return document(f"Ancestral: {facts.name}", _top(facts), looks, "ancestral report")


def _top(facts: RunFacts) -> Html:
    channels, height, width = facts.pipeline.spec.shape
    kind = f"{height} × {width} {NAMES[channels]}"
    classes = f", {facts.pipeline.num_classes} classes" if facts.labelled else ", without classes"
    words = f"A denoising diffusion model trained on {particulars.source(facts.config)}: {kind}{classes}."
    links = [element("a", name, attributes={"href": f"#{anchor}"}) for anchor, name in CONTENTS.items()]
    contents = element("nav", *links, attributes={"aria-label": "Contents"})
    return element("header", element("h1", facts.name), element("p", words), headline.headline(facts), contents)


def document(title: str, top: Html, sections: Iterable[Html], writer: str) -> Html:
    """A whole page that asks the network for nothing; `writer` is the command that wrote it."""
    css = files("ancestral.report").joinpath("page.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", attributes={"charset": "utf-8"}),
        element("meta", attributes={"http-equiv": "Content-Security-Policy", "content": _policy(css)}),
        element("meta", attributes={"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", attributes={"name": "color-scheme", "content": "light dark"}),
        element("meta", attributes={"name": "referrer", "content": "no-referrer"}),
        element("link", attributes={"rel": "icon", "href": "data:,"}),
        element("title", title),
        style_sheet(css),
    )
    body = element("body", top, element("main", *sections), _foot(writer))
    return joined([Html("<!doctype html>\n"), element("html", head, body, attributes={"lang": "en"}), Html("\n")])


def _policy(css: str) -> str:
    """Nothing may be fetched, run or sent: only this style sheet and pictures within the page count."""
    digest = b64encode(sha256(css.encode()).digest()).decode()
    return f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def _foot(writer: str) -> Html:
    return element("footer", element("p", f"Written by {writer}. Everything is in this file."))


def _silent(words: str) -> None:
    """Nobody asked to be told."""
