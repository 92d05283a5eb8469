"""The page of an autoencoder's run: images, losses, quality, bytes against quality, settings."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ancestral.evaluation import codec_measurement, rate
from ancestral.evaluation.codec_measurement import CodecMeasurement, read_measurement
from ancestral.evaluation.rate import RateDistortion, beside, read_rate
from ancestral.files import write_whole
from ancestral.hub.autoencoder import read_autoencoder
from ancestral.networks.latents import LatentCodec
from ancestral.networks.weights import weights_hash
from ancestral.report.autoencoder import last_grid, quality_rows
from ancestral.report.facts import LoggedRun, not_measured, number, out_of_date, read_logs, with_error
from ancestral.report.html import Html, element, pairs, section, styled, table
from ancestral.report.losses import missing, optimiser
from ancestral.report.page import document, settings, training_numbers
from ancestral.report.pictures import chart, saved
from ancestral.run_states import state_of
from ancestral.settings import CodecConfig
from ancestral.text import printable
from ancestral.training.run import CodecRunFolder
from ancestral.viz.plots import loss_curves

CONTENTS = {
    "images": "Images",
    "losses": "Losses",
    "quality": "Quality",
    "rate": "Bytes against quality",
    "settings": "Settings",
}
"""Anchor -> its name at the top of the page, in the order of the sections."""
TERMS = {
    "reconstruction_nats": ("Reconstruction", "nats for each number"),
    "kl_nats_per_latent": ("KL divergence", "nats for each latent"),
    "commitment": ("Distance to the codes", "mean square, for each latent"),
    "perceptual": ("Perceptual distance", "distance"),
    "adversarial": ("How unlikely the discriminator finds it", "loss"),
}
"""What the log has beside the loss: the title of its curve, and its unit."""


@dataclass(frozen=True)
class CodecFacts(LoggedRun):
    """The run of an autoencoder, and what was measured of it."""

    config: CodecConfig
    codec: LatentCodec
    quality: CodecMeasurement | None
    rate: RateDistortion | None

    @property
    def rate_file(self) -> Path:
        return self.folder.path / "rate" / rate.FILE

    def weights_hash(self) -> str:
        return weights_hash(self.codec.network)


def write_codec_report(run: Path, out: Path) -> Iterator[str]:
    """Writes the report of an autoencoder's run as one self-contained HTML file; yields in a few words what is being
    done."""
    yield "reading the run"
    write_whole(out, page(read_codec_facts(run)))


def read_codec_facts(path: Path) -> CodecFacts:
    """Everything about the run at `path`; an InputError where it lacks something or a file is damaged."""
    folder = CodecRunFolder(path)
    config, (log, timing), codec = folder.read(CodecConfig), read_logs(folder), read_autoencoder(folder.codec)
    quality, rates = path / codec_measurement.FILE, path / "rate" / rate.FILE
    return CodecFacts(
        folder,
        config,
        log.records,
        timing.records,
        codec,
        read_measurement(quality) if quality.is_file() else None,
        read_rate(rates) if rates.is_file() else None,
        left_out=log.left_out + timing.left_out,
    )


def page(facts: CodecFacts) -> Html:
    sections = [_images(facts), _losses(facts), _quality(facts), _rate(facts), settings(facts, "train-codec")]
    source = facts.config.data.source  # a name, or the path of a folder
    return document(printable(Path(source).name or source), _top(facts), CONTENTS, sections, "ancestral report")


def _top(facts: CodecFacts) -> list[Html]:
    """What was trained on what, and what it comes to, in a handful of numbers."""
    of, size = facts.config.codec, state_of(facts.folder.path).size.replace("x", " × ")
    kind = f"{size}; sides divided by {of.factor}, latents of {of.channels} channels ({of.name})"
    words = f"An autoencoder trained on {printable(facts.config.data.source)}: {kind}."
    validated = facts.last("held_out_loss") is not None or facts.config.data.validation > 0
    numbers = training_numbers(facts, facts.codec.network, validated)
    if (found := facts.quality) is not None:
        numbers += [("PSNR, dB", f"{found.psnr:.2f}"), ("SSIM", f"{found.ssim:.3f}")]
    return [element("p", words), pairs(numbers, "numbers")]


def _images(facts: CodecFacts) -> Html:
    """The last grid that was saved."""
    title, shown = "Images, and what is made of them", last_grid(facts.folder)
    if shown is None:
        every = f"{facts.config.training.sample_every_steps:,} steps (training.sample_every_steps)"
        return section("images", title, element("p", f"No grid was saved yet: one is every {every}."))
    return section("images", title, shown)


def _losses(facts: CodecFacts) -> Html:
    """The loss, held out too, and what it is made of, against images seen."""
    charts = []
    seen, loss = facts.curve("loss")
    if seen:
        held_out = facts.last("held_out_loss")
        said = "" if held_out is None else f"; held out, {number(held_out)}"
        alt = f"loss against images seen, {number(facts.last('loss'))} at the end{said}"
        charts.append(
            chart("Loss", alt, loss_curves(seen, loss, *facts.curve("held_out_loss"), "nats for each number"))
        )
    for name, (title, unit) in TERMS.items():
        seen, values = facts.curve(name)
        if seen:
            alt = f"{title} against images seen, {number(facts.last(name))} at the end"
            charts.append(chart(title, alt, loss_curves(seen, values, quantity=unit)))
    words = (
        "The loss is the reconstruction, in nats for each number of an image, and what latents cost. Training loss is "
        "that of the weights being trained; held-out loss is that of their average."
    )
    paragraphs = [element("p", each) for each in (words, *missing(facts))]
    return section("losses", "Losses", *paragraphs, styled("div", "charts", *charts, *optimiser(facts)))


def _quality(facts: CodecFacts) -> Html:
    """What `train-codec` measured at its end."""
    title, found = "What it is worth", facts.quality
    if found is None:
        return not_measured(facts, "quality", title, "train-codec")
    stale = out_of_date(facts, "These are numbers of", found.weights, "train-codec")
    after = "" if found.step is None else f" after step {found.step:,}"
    caption = f"Of {found.num_held_out:,} held-out images{after}, with one standard error."
    return section("quality", title, *stale, table(["quantity", "measured"], quality_rows(found), caption))


def _rate(facts: CodecFacts) -> Html:
    """The curves, the table and the picture; or how to get them."""
    title, found = "Bytes against quality", facts.rate
    if found is None:
        return not_measured(facts, "rate", title, "rate")
    stale = [] if found.weights is None else out_of_date(facts, "It was measured with", found.weights, "rate")
    count = f"{found.restored.num_images:,} held-out images"
    words = (
        f"Latents are rounded and coded to real bytes, steps and tables learned from {found.num_fitted:,} training "
        f"images; means over {count}. A payload is a JPEG without its header of tables and sizes, of which latents "
        "have none either."
    )
    head, *rows = rate.table(found)
    best = found.restored
    unrounded = f"PSNR {with_error(*best.psnr)} dB, SSIM {with_error(*best.ssim)}"
    caption = f"PSNR and SSIM at equal bytes of an image; – is beyond a curve's ends. Not rounded: {unrounded}."
    alt = f"PSNR and SSIM of {count} against bytes: the codec beside PCA, JPEG and WebP; the table has their values"
    curves = styled("div", "charts", chart("PSNR and SSIM against bytes", alt, rate.figure(found)))
    return section("rate", title, *stale, element("p", words), curves, _table(head, rows, caption), *_shown(facts))


def _table(head: list[str], rows: list[list[str]], caption: str) -> Html:
    return table(head, [["–" if cell == "-" else cell for cell in row] for row in rows], caption)


def _shown(facts: CodecFacts) -> list[Html]:
    """The picture that the measurement left."""
    _, file = beside(facts.rate_file)
    words = "The first held-out images, none picked, each of the best quality that takes at most so many bytes."
    return [saved(file, words)] if file.is_file() else []
