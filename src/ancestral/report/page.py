"""The page: what stands where, numbers at its top, what it takes to have the run or one of its samples again, and the
promise that it asks the network for nothing.
"""

import json
import shlex
from base64 import b64encode
from collections.abc import Generator, Iterable, Iterator, Mapping
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

import torch
from torch import nn

from ancestral.colors import NAMES
from ancestral.evaluation.evaluate import Evaluation
from ancestral.files import write_whole
from ancestral.report import losses, measurements, prompts, samples
from ancestral.report.autoencoder import autoencoder
from ancestral.report.facts import LoggedRun, RunFacts, number, read_facts
from ancestral.report.html import Html, element, joined, pairs, section, styled
from ancestral.report.pictures import chart
from ancestral.sampling.samplers import DDIM, DPMSolver2MSDE
from ancestral.settings import CodecConfig, leaves
from ancestral.text import printable, shortened
from ancestral.viz.plots import schedule_curves

CONTENTS = {
    "samples": "Samples",
    "film": "Film",
    "losses": "Losses",
    "data": "Data",
    "autoencoder": "Autoencoder",
    "copies": "Copies?",
    "quality": "Quality",
    "text": "Text",
    "samplers": "Samplers",
    "likelihood": "Likelihood",
    "schedule": "Schedule",
    "sampling": "Sampling",
    "settings": "Settings",
}
"""Anchor -> its name at the top of the page, in the order of the sections; some are of some runs only."""
LONGEST = 80  # letters of a value in the table; whole values stand in the JSON below it


def write_report(run: Path, out: Path) -> Iterator[str]:
    """Writes the report of a run as one self-contained HTML file, in seconds for small images and minutes for large
    ones; yields in a few words what is being done."""
    write_whole(out, (yield from page(read_facts(run))))


def page(facts: RunFacts) -> Generator[str, None, Html]:
    # first: a damaged file is known at once
    text, measured = prompts.text(facts), [measurements.sweep(facts), measurements.likelihood(facts)]
    yield f"generating {samples.sample_counts(facts.pipeline)[1]} samples"
    generated = samples.generate(facts.pipeline, facts.parts.train)
    yield "making the film"
    sections = [samples.samples(facts, generated), samples.becoming(facts, generated)]
    yield "measuring the held-out loss"
    sections += [
        losses.losses(facts),
        samples.data(facts),
        *([] if (latents := autoencoder(facts)) is None else [latents]),
    ]
    yield "looking for the nearest training images"
    sections += [samples.copies(facts, generated), measurements.quality(facts)]
    sections += [*([] if text is None else [text]), *measured]
    sections += [_schedule(facts), _sampling(facts, len(generated.pixels)), settings(facts, "train")]
    source = facts.config.data.source  # a name, or the path of a folder
    name = printable(Path(source).name or source)
    absent = {anchor for anchor, there in (("text", text), ("autoencoder", latents)) if there is None}
    contents = {anchor: title for anchor, title in CONTENTS.items() if anchor not in absent}
    return document(name, _top(facts), contents, sections, "ancestral report")


def document(name: str, top: Iterable[Html], contents: Mapping[str, str], sections: Iterable[Html], by: str) -> Html:
    """A whole page that asks the network for nothing, written `by` a command: its name, what stands at its `top`, the
    anchors of its sections with their names, the sections.
    """
    css = files("ancestral.report").joinpath("page.css").read_text(encoding="utf-8")
    digest = b64encode(sha256(css.encode()).digest()).decode()
    # nothing may be fetched, run or sent: only this style sheet and pictures within the page count
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    meta = (
        {"charset": "utf-8"},
        {"http-equiv": "Content-Security-Policy", "content": policy},
        {"name": "viewport", "content": "width=device-width, initial-scale=1"},
        {"name": "color-scheme", "content": "light dark"},
        {"name": "referrer", "content": "no-referrer"},
    )
    icon = element("link", attributes={"rel": "icon", "href": "data:,"})
    head = [*(element("meta", attributes=each) for each in meta), icon, element("title", f"Ancestral: {name}")]
    links = [element("a", title, attributes={"href": f"#{anchor}"}) for anchor, title in contents.items()]
    nav = element("nav", *links, attributes={"aria-label": "Contents"})
    foot = element("footer", element("p", f"Written by {by}. Everything is in this file."))
    body = element("body", element("header", element("h1", name), *top, nav), element("main", *sections), foot)
    whole = element("html", element("head", *head, Html(f"<style>{css}</style>")), body, attributes={"lang": "en"})
    return joined([Html("<!doctype html>\n"), whole, Html("\n")])


def _top(facts: RunFacts) -> list[Html]:
    """What was trained on what, and what it comes to, in a handful of numbers."""
    channels, height, width = facts.pipeline.spec.shape
    kinds = printable(facts.pipeline.spec.kinds) or "without classes"
    kind = f"{height} × {width} {NAMES[channels]}"
    words = f"A denoising diffusion model trained on {printable(facts.config.data.source)}: {kind}, {kinds}."
    training = training_numbers(facts, facts.pipeline.network, len(facts.parts.validation) > 0)
    return [element("p", words), pairs([*training, *_distances(facts.evaluation)], "numbers")]


def training_numbers(facts: LoggedRun, network: nn.Module, has_validation: bool) -> list[tuple[str, str]]:
    """How long what was trained, and what it came to on the images of the validation part, if there is one."""
    images, minutes, loss = facts.last("images"), facts.minutes(), facts.last("held_out_loss")
    parameters = sum(parameter.numel() for parameter in network.parameters())
    rate = images / (60 * minutes) if images and minutes else None
    return [
        ("images seen", _known(images, ",.0f")),
        ("minutes of training", _known(minutes, ".1f")),
        ("images per second", _known(rate, ",.0f")),
        ("parameters", f"{parameters:,}"),
        ("held-out loss", _known(loss, ".4f") if has_validation else _small("no validation part")),
    ]


def _known(value: float | None, form: str) -> str:
    return _small("not logged yet") if value is None else f"{value:{form}}"


def _small(words: str) -> Html:
    return styled("small", "floor", words)


def _distances(evaluation: Evaluation | None) -> list[tuple[str, str]]:
    """Generated against test, above what real training images score in its place."""
    if evaluation is None:
        return []
    generated, floor = evaluation["generated against test"], evaluation["train against test"]
    few = "of too few images" if generated.too_few else ""
    distances: list[tuple[str, str]] = []
    for name, title, scale in (("frechet", "Fréchet distance", 1), ("kernel", "kernel distance × 1000", 1000)):
        real = f"real images {number(scale * floor[name].value)}"
        distances.append((title, _beside(number(scale * generated[name].value), few or real)))
    if (agreement := evaluation.agreement) is not None:
        accuracy = evaluation.features.accuracy
        against = f"held-out images {accuracy:.1%}" if accuracy is not None else ""
        distances.append(("class agreement", _beside(f"{agreement.value:.1%}", against)))
    return distances


def _beside(value: str, floor: str) -> Html:
    return element("span", value, " ", _small(floor))


def _schedule(facts: RunFacts) -> Html:
    noise, settings = facts.pipeline.diffusion.schedule, facts.config.diffusion.schedule
    log_snr = noise.log_snr(torch.arange(noise.num_timesteps + 1))
    figure = schedule_curves({settings.name: (noise.betas, noise.alpha_bar, log_snr)})
    timesteps = f"T = {settings.num_timesteps:,} timesteps; t = 0 is the image, t = T is noise."
    words = f"The schedule {settings.name} over {timesteps}"
    alt = f"beta, alpha-bar and log-SNR of the schedule {settings.name} against t / T"
    drawing = styled("div", "charts", chart("beta, alpha-bar and log-SNR", alt, figure))
    return section("schedule", "Noise schedule", element("p", words), drawing)


def _sampling(facts: RunFacts, count: int) -> Html:
    """How the `count` samples of this page were generated."""
    chosen, schedule = facts.pipeline.config.sampling, facts.pipeline.diffusion.schedule
    sampler = facts.pipeline.sampler(chosen)
    eta = [("eta", f"{sampler.eta:g}")] if isinstance(sampler, DDIM | DPMSolver2MSDE) else []
    calls = f", {sampler.network_calls(chosen.steps):,} network calls" if sampler.calls > 1 else ""
    items = [
        ("sampler", chosen.sampler),
        ("steps", f"{chosen.steps:,} of T = {schedule.num_timesteps:,}, {chosen.grid or sampler.grid}{calls}"),
        *eta,
        ("guidance", f"{chosen.guidance:g}" + (" (none)" if chosen.guidance == 1 else "")),
        ("clipping of x0", chosen.clip),
        ("seeds", f"0 to {count - 1}, in the order of the page"),
        ("weights", f"averaged, SHA-256 {facts.pipeline.weights_hash()}"),
    ]
    return section("sampling", "How the samples were generated", pairs(items, "facts"))


def settings(facts: LoggedRun, verb: str) -> Html:
    """Every setting with its meaning, and the command, of a verb, that repeats the run."""
    path = shlex.quote(printable(str(facts.folder.config)))
    command = element("pre", element("code", f"ancestral {verb} --config {path} --out AGAIN"))
    rows = []
    idle: frozenset[str] = facts.config.NO_FLAGS if isinstance(facts.config, CodecConfig) else frozenset()
    for name, field, value in leaves(facts.config):
        if name in idle:
            continue
        said = element("code", shortened(_said(value), LONGEST))
        rows.append((element("code", name), joined([said, styled("span", "help", field.description or "")])))
    budget = " (a budget in minutes ends after as many steps as the machine makes in it)"
    text = element("pre", element("code", facts.config.model_dump_json(indent=2)))
    return section(
        "settings",
        "Settings",
        element("p", f"The same run again, into another folder{budget if facts.config.training.minutes else ''}:"),
        command,
        element("details", element("summary", f"All {len(rows)} settings"), pairs(rows, "facts settings")),
        element("details", element("summary", "The same as a file for --config"), text),
    )


def _said(value: object) -> str:
    """A value as the command line takes it."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)
