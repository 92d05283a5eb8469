"""What an autoencoder does to images, and what it is worth: of its own run, or of a run of diffusion in its latents."""

from collections.abc import Iterator
from math import prod

from ancestral.evaluation.codec_measurement import FILE, CodecMeasurement, read_measurement
from ancestral.networks.latents import LatentCodec
from ancestral.report.facts import RunFacts, number, with_error
from ancestral.report.html import Html, element, section, table
from ancestral.report.pictures import saved
from ancestral.text import printable
from ancestral.training.run import CodecRunFolder, RunFolder


def autoencoder(facts: RunFacts) -> Html | None:
    """The section of a run that diffuses latents; None: it diffuses pixels."""
    codec, run = facts.pipeline.codec, CodecRunFolder(facts.folder.autoencoder)
    if not isinstance(codec, LatentCodec):
        return None
    z, h, w = facts.pipeline.latent_shape
    own = codec.network.settings
    weights = sum(parameter.numel() for parameter in codec.network.parameters())
    trained = "trained first" if run.config.is_file() else "taken from elsewhere"
    more = f"; ancestral report {printable(run.path)} shows more of it" if run.config.is_file() else ""
    words = f"What is diffused are {h} × {w} latents of {z} channels, of an autoencoder ({own.name}) of {weights:,} "
    shown = [element("p", f"{words}weights, {trained}{more}."), *([grid] if (grid := last_grid(run)) else [])]
    if (run.path / FILE).is_file():
        found = read_measurement(run.path / FILE)
        caption = f"Of {found.num_held_out:,} held-out images, with one standard error."
        shown += [table(["quantity", "measured"], quality_rows(found), caption)]
    return section("autoencoder", "Autoencoder", *shown)


def last_grid(run: RunFolder) -> Html | None:
    """The last grid that was saved; None: there is none."""
    grids = sorted(run.samples.glob("step-*.png"))
    if not grids:
        return None
    step = int(grids[-1].stem.removeprefix("step-"))
    words = f"The first training images, none picked, each row above what is made of it after step {step:,}."
    return saved(grids[-1], words)


def quality_rows(found: CodecMeasurement) -> Iterator[list[str]]:
    """Quantities and their values, in words."""
    z, h, w = found.latents
    yield ["PSNR, dB ↑", with_error(found.psnr, found.psnr_error)]
    yield ["SSIM ↑", with_error(found.ssim, found.ssim_error)]
    yield ["latents of an image", f"{h} × {w} × {z}"]
    if (bits := found.kl_bits_per_image) is not None:
        yield ["KL divergence, bits", f"{number(bits)} for an image, {number(bits / prod(found.latents))} for a latent"]
    if found.codes_used is not None and (bits := found.bits_per_code) is not None:
        yield ["codes in use", f"{found.codes_used:.1%}"]
        yield ["entropy of indices, bits", f"{number(bits)} for an index, {number(bits * h * w)} for an image"]
    means, stds = found.latent_means, found.latent_stds
    yield ["means of latent channels", f"{_signed(min(means))} to {_signed(max(means))}; 0 is right"]
    yield ["their deviations", f"{min(stds):.3f} to {max(stds):.3f}; 1 is right"]


def _signed(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}".replace("-", "−")  # the sum makes 0 of -0
