"""Bytes against quality: what a codec's latents come to when they are written down, beside PCA, JPEG and WebP.

x0 of held-out images is rounded to steps and coded to bytes that decode to the same integers (`entropy_coding`); the
quality is that of the images decoded from these. A step Δ leaves an error of variance Δ²/12 in a number of x0. Where a
unit of error in channel i of x0 makes g_i squared levels in all of the image, n numbers make

    Σ g_i Δ_i² / 12 = n q² / 12    squared levels, at steps    Δ_i = q / √g_i                                  (1)

and at that ratio of steps a further bit buys as much in every channel (reverse water-filling, Cover & Thomas, section
10.3.3; exact for a linear codec and fine steps). So a curve has one knob, q, in levels of 0..255, for every codec; g is
measured on training images.

What the bytes hold: of latents, the coded integers of one image, in words of 4 bytes. Steps and tables are learned from
training images and part of the codec, as its weights are; nothing tells the image's size or the step. So a JPEG's
payload is the like of it, a JPEG's whole file and a WebP's are what a disk would hold of those, and the three are
stated. Curves at one setting for all images; a mean of bytes is compared with a mean of bytes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from torch import Tensor

from ancestral.codec import Codec
from ancestral.evaluation.codec_quality import (
    CodebookUse,
    Quality,
    code_counts,
    codebook_use,
    decoded,
    psnr,
    quality,
    restored,
)
from ancestral.evaluation.entropy_coding import SymbolModel, Symbols, fit_symbols
from ancestral.evaluation.image_files import FileOf, best_within, from_files, jpeg, jpeg_payload, to_images, webp
from ancestral.evaluation.linear_codec import LinearCodec, fit_linear_codec
from ancestral.evaluation.metrics import Estimate, mean_estimate
from ancestral.evaluation.settings import RateSettings
from ancestral.files import read_json, write_whole
from ancestral.networks.tiled import at_once
from ancestral.outputs import RATED
from ancestral.progress import ProgressEvent, StagedWork, finish
from ancestral.rng import generator
from ancestral.settings import Settings, parse
from ancestral.tensors import Pixels, over_white
from ancestral.viz import pictures
from ancestral.viz.boxes import Box
from ancestral.viz.plots import figure_to_png
from ancestral.viz.rate import RateLine, rate_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUDGE = 0.5  # of x0 in units, half a deviation, by which a channel is moved to see what it is worth
MOVED = 64  # images of which one is
LEAST_GAIN = 1e-6  # of the largest: a channel that the decoder does not look at is coded as zeros
SIDE = 1024  # px, a multiple of every factor
SHOWN_STEPS = 13  # from the smallest step to the largest, out of which each shown image takes its own
JPEG_FILE, JPEG_PAYLOAD, WEBP = "JPEG, file", "JPEG, payload", "WebP, file"
AS_FILES: dict[str, tuple[FileOf, Callable[[bytes], int]]] = {
    JPEG_PAYLOAD: (jpeg, jpeg_payload),
    JPEG_FILE: (jpeg, len),
    WEBP: (webp, len),
}
"""How an image is written as a file, and which of its bytes are counted."""
FILE = "rate.json"

Knob = Literal["step", "quality", "codes"]
LatentNumbers = Float[Tensor, "B c h w"]
HeldOut = UInt8[Tensor, "M C H W"]  # beside training images, of which there are others


@runtime_checkable
class IndexedCodec(Codec, Protocol):
    """A codec whose x0 stands for entries of a codebook."""

    @property
    def codes(self) -> int:
        """Entries in the codebook."""
        ...

    def indices(self, x0: LatentNumbers) -> Int64[Tensor, "B h w"]: ...

    def of_indices(self, indices: Int64[Tensor, "B h w"]) -> LatentNumbers:
        """x0 that stands for these entries."""
        ...


class RatePoint(Settings):
    """Means over held-out images at one setting, each with its standard error."""

    knob: float  # q of (1), levels; of a file its quality; of a codebook, which has none, its number of codes
    bytes: Estimate  # of an image
    quality: Quality


class RateCurve(Settings):
    """A way to write images down."""

    name: str
    knob: Knob
    points: tuple[RatePoint, ...]


class EqualBytes(Settings):
    """What every curve has at a mean of so many bytes for an image, by its name, interpolated in the logarithm of
    bytes; None where it has points on one side alone."""

    bytes: float
    psnr: dict[str, float | None]  # dB
    ssim: dict[str, float | None]


class RateDistortion(Settings):
    """Bytes against quality of a codec and of what it is compared with, which all coded the same held-out images."""

    image: tuple[int, int, int]  # (C, H, W)
    x0: tuple[int, int, int]
    num_fitted: int  # training images that steps, tables and components were fitted to
    restored: Quality  # of the codec's x0 as it is, in float32
    codebook: CodebookUse | None  # None: it has none
    curves: tuple[RateCurve, ...]  # the codec's first
    equal_bytes: tuple[EqualBytes, ...]
    weights: str | None = None  # of the codec: their hash; None: nothing says which they are


class Sets(NamedTuple):
    """Images (N, C, H, W): those that may be learned from, and those that are coded."""

    fitted: Pixels
    held_out: Pixels


class Restored(NamedTuple):
    """Images, and the bytes that each was decoded from."""

    images: Pixels
    sizes: Float64[Tensor, "N"]


@dataclass(frozen=True)
class Rounding:
    """x0 to integers and back."""

    codec: Codec
    steps: Float64[Tensor, "c"]

    def symbols(self, x0: LatentNumbers) -> Symbols:
        return (x0.cpu().double() / self.steps[:, None, None]).round().long().numpy()

    def images(self, symbols: Symbols, like: Pixels) -> Pixels:
        """As large, and on the same device, as `like`."""
        x0 = torch.from_numpy(symbols).double() * self.steps[:, None, None]
        return decoded(self.codec, x0.float().to(like.device), like.shape[2:]).cpu()


def measuring_rate(
    codec: Codec, fitted: Pixels, held_out: HeldOut, settings: RateSettings, name: str = "codec"
) -> StagedWork[RateDistortion]:
    """All of it. `fitted`: training images, from which alone anything is learned; `name`: of the codec's curve."""
    sets = Sets(fitted[: settings.num_fitted], held_out[: settings.num_images])
    image, indexed = (fitted.shape[1], fitted.shape[2], fitted.shape[3]), isinstance(codec, IndexedCodec)
    linear = linear_codecs(codec, sets.fitted.cpu())
    knobs: dict[str, Knob] = {name: "codes" if indexed else "step", **dict.fromkeys(linear, "step")}
    knobs |= dict.fromkeys(AS_FILES, "quality")
    counts = {"codes": 1, "step": len(settings.steps), "quality": len(settings.qualities)}
    total = sum(counts[knob] for knob in knobs.values())

    yield ProgressEvent("bytes and quality", 0, total)
    points: dict[str, list[RatePoint]] = {each: [] for each in knobs}
    for done, (way, point) in enumerate(_all_points(name, codec, linear, sets, settings), start=1):
        points[way].append(point)
        yield ProgressEvent("bytes and quality", done, total)
    curves = [RateCurve(name=way, knob=knobs[way], points=tuple(found)) for way, found in points.items()]

    return RateDistortion(
        image=image,
        x0=codec.shape(image),
        num_fitted=len(sets.fitted),
        restored=quality(sets.held_out.cpu(), restored(codec, sets.held_out).cpu()),
        codebook=_codebook(codec, sets.held_out) if isinstance(codec, IndexedCodec) else None,
        curves=tuple(curves),
        equal_bytes=tuple(equal_bytes(curves, size) for size in _compared(curves[0], settings.shown_bytes)),
    )


def _all_points(
    name: str, codec: Codec, linear: dict[str, LinearCodec], sets: Sets, settings: RateSettings
) -> Iterator[tuple[str, RatePoint]]:
    """Those of every curve, each with the curve's name: the codec's, at every step or of its indices, the others'."""
    on_host = Sets(*(each.cpu() for each in sets))
    if isinstance(codec, IndexedCodec):
        yield name, index_point(codec, sets)
    else:
        yield from ((name, point) for point in latent_points(codec, sets, settings.steps, settings.seed))
    for other, each in linear.items():
        yield from ((other, point) for point in latent_points(each, on_host, settings.steps, settings.seed))
    yield from file_points(on_host.held_out, settings.qualities)


def latent_points(codec: Codec, sets: Sets, steps: tuple[float, ...], seed: int = 0) -> Iterator[RatePoint]:
    """Of x0 that is rounded; `steps` are q of (1)."""
    gains = channel_gains(codec, sets.fitted, seed)
    fitted, held_out = (encoded(codec, each) for each in sets)
    for step in steps:
        rounding = Rounding(codec, step / gains.sqrt())
        sizes, kept = coded(fit_symbols(rounding.symbols(fitted)), rounding.symbols(held_out))
        yield rate_point(step, sizes, sets.held_out, rounding.images(kept, sets.held_out))


def index_point(codec: IndexedCodec, sets: Sets) -> RatePoint:
    """Of indices of a codebook, a single one: there is nothing to round."""
    images, sizes = _indices_coded(codec, sets)
    return rate_point(float(codec.codes), sizes, sets.held_out, images)


def linear_codecs(codec: Codec, fitted: Pixels) -> dict[str, LinearCodec]:
    """Principal components of patches as large as what a position of x0 stands for: as many as the codec has channels,
    and four times as many, whose curve goes on where that of few levels off."""
    channels = fitted.shape[1]
    factor = SIDE // codec.shape((channels, SIDE, SIDE))[1]
    own, most = codec.shape((channels, SIDE, SIDE))[0], channels * factor**2
    numbers = sorted({min(own, most), min(4 * own, most)})
    return {f"PCA, {each} channels": fit_linear_codec(fitted, factor, each) for each in numbers}


def file_points(images: Pixels, qualities: tuple[int, ...]) -> Iterator[tuple[str, RatePoint]]:
    """At each quality those of JPEG's payload, of its files, and of WebP's files, by these names; images with
    transparency are laid over white."""
    opaque = over_white(images.cpu())
    pillow = to_images(opaque)
    for each in qualities:
        for write, sizes in ((jpeg, {JPEG_PAYLOAD: jpeg_payload, JPEG_FILE: len}), (webp, {WEBP: len})):
            files = [write(image, each) for image in pillow]
            worth = quality(opaque, from_files(files, opaque.shape[1]))
            for name, size in sizes.items():
                mean = mean_estimate(_sizes(files, size))
                yield name, RatePoint(knob=float(each), bytes=mean, quality=worth)


def coded(model: SymbolModel, symbols: Symbols) -> tuple[Float64[Tensor, "N"], Symbols]:
    """Bytes of each image, and the integers that decode from them: those given, where the tables have them."""
    kept = model.clamped(symbols)
    streams = [model.encode(each) for each in kept]
    again = model.decode(streams[0], *kept.shape[2:])
    assert (again == kept[0]).all(), "what is coded decodes to the same integers"
    return _sizes(streams, len), kept


def encoded(codec: Codec, pixels: Pixels) -> LatentNumbers:
    """x0 on the host."""
    with torch.no_grad():
        return torch.cat([codec.encode(part).cpu() for part in torch.split(pixels, at_once(*pixels.shape[2:]))])


@torch.no_grad()
def channel_gains(codec: Codec, pixels: Pixels, seed: int = 0) -> Float64[Tensor, "c"]:
    """g of (1): squared levels in all of the image for a unit of squared error in a channel of x0, measured by moving
    every number of one channel by +-`NUDGE`."""
    x0, together = encoded(codec, pixels[:MOVED]), at_once(*pixels.shape[2:])

    def images(x0: LatentNumbers) -> Float64[Tensor, "B C _ _"]:
        return torch.cat([codec.decode(part) for part in torch.split(x0, together)]).double()

    still = images(x0)
    signs = torch.randint(2, x0[:, 0].shape, generator=generator(seed, "gains")).to(x0) * 2 - 1
    energy = torch.zeros(x0.shape[1], dtype=torch.float64)
    for channel in range(x0.shape[1]):
        moved = x0.clone()
        moved[:, channel] += NUDGE * signs
        energy[channel] = (images(moved) - still).square().sum()
    gains = energy / (signs.numel() * NUDGE**2)
    return gains.clamp(min=max(LEAST_GAIN * float(gains.max()), torch.finfo(torch.float32).tiny))


def rate_point(knob: float, sizes: Float64[Tensor, "N"], originals: Pixels, images: Pixels) -> RatePoint:
    return RatePoint(knob=knob, bytes=mean_estimate(sizes), quality=quality(originals.cpu(), images.cpu()))


def equal_bytes(curves: list[RateCurve], size: float) -> EqualBytes:
    """Every curve at a mean of `size` bytes."""
    return EqualBytes(
        bytes=size,
        psnr={each.name: _at(each, size, lambda point: point.quality.psnr.value) for each in curves},
        ssim={each.name: _at(each, size, lambda point: point.quality.ssim.value) for each in curves},
    )


def table(result: RateDistortion) -> list[list[str]]:
    """PSNR and SSIM at equal bytes as text, a header and a line for each number of bytes."""
    names = [each.name for each in result.curves]
    lines = [["bytes", *names]]
    for each in result.equal_bytes:
        cells = ((each.psnr[name], each.ssim[name]) for name in names)
        lines.append([f"{each.bytes:.0f}", *("-" if p is None else f"{p:.1f} dB, {s:.3f}" for p, s in cells)])
    return lines


def figure(result: RateDistortion) -> "Figure":
    """The curves."""
    lines = {
        curve.name: RateLine(
            bytes=[point.bytes.value for point in curve.points],
            psnr=[point.quality.psnr.value for point in curve.points],
            ssim=[point.quality.ssim.value for point in curve.points],
        )
        for curve in result.curves
    }
    return rate_figure(lines, result.restored.psnr.value, result.restored.ssim.value)


def picturing(
    codec: Codec, fitted: Pixels, held_out: HeldOut, settings: RateSettings, name: str = "codec"
) -> StagedWork[Box]:
    """The first held-out images above what each way makes of them in at most so many bytes; beside each row the means
    of its bytes and of its PSNR. What does not fit at its lowest quality is shown with the bytes that it takes."""
    sets = Sets(fitted[: settings.num_fitted], held_out[: settings.num_shown])
    on_host = Sets(*(each.cpu() for each in sets))
    opaque, linear = over_white(on_host.held_out), linear_codecs(codec, on_host.fitted)
    rows, total = dict[str, Restored](), 1 + len(linear) + len(AS_FILES)
    yield ProgressEvent("the picture", 0, total)
    rows[name] = _own_shown(codec, sets, settings)
    for other, each in linear.items():
        yield ProgressEvent("the picture", len(rows), total)
        rows[other] = _latents_within(each, on_host, settings)
    for other, (write, size) in AS_FILES.items():
        yield ProgressEvent("the picture", len(rows), total)
        rows[other] = _files_within(opaque, write, settings.shown_bytes, size)
    yield ProgressEvent("the picture", total, total)
    found = {what: (shown.sizes.mean(), psnr(opaque, shown.images).mean()) for what, shown in rows.items()}
    labels = [f"{what}: {size:.0f} bytes, {decibels:.1f} dB" for what, (size, decibels) in found.items()]
    images = torch.cat([opaque, *(over_white(shown.images) for shown in rows.values())])
    return pictures.grid(images, columns=len(opaque), labels=["originals", *labels])


def picture(codec: Codec, fitted: Pixels, held_out: HeldOut, settings: RateSettings, name: str = "codec") -> Box:
    """The end of `picturing`."""
    return finish(picturing(codec, fitted, held_out, settings, name))


def read_rate(file: Path) -> RateDistortion:
    """What `save` wrote as JSON; an InputError where it cannot be read."""
    return parse(RateDistortion, read_json(file), str(file))


def save(file: Path, result: RateDistortion, shown: Box) -> tuple[Path, Path, Path]:
    """Writes rate.json, and beside it rate.png and rate-images.png, or whatever `file` is called; all three."""
    curves, images = beside(file)
    write_whole(file, result.model_dump_json(indent=1) + "\n")
    write_whole(curves, figure_to_png(figure(result), writer=RATED.decode()))
    pictures.save_png(shown, images, {"Software": RATED.decode()})
    return file, curves, images


def beside(file: Path) -> tuple[Path, Path]:
    """Where the curves and the picture of a measurement lie."""
    return file.with_suffix(".png"), file.with_name(f"{file.stem}-images.png")


def _own_shown(codec: Codec, sets: Sets, settings: RateSettings) -> Restored:
    if not isinstance(codec, IndexedCodec):
        return _latents_within(codec, sets, settings)
    return _indices_coded(codec, sets)


def _latents_within(codec: Codec, sets: Sets, settings: RateSettings) -> Restored:
    """Each image at the smallest step at which it takes no more than it may."""
    gains = channel_gains(codec, sets.fitted, settings.seed)
    fitted, held_out = (encoded(codec, each) for each in sets)
    best: Restored | None = None
    for step in np.geomspace(max(settings.steps), min(settings.steps), SHOWN_STEPS):
        rounding = Rounding(codec, float(step) / gains.sqrt())
        sizes, kept = coded(fit_symbols(rounding.symbols(fitted)), rounding.symbols(held_out))
        found = Restored(rounding.images(kept, sets.held_out), sizes)
        best = found if best is None else _better(best, found, settings.shown_bytes)
    assert best is not None
    return best


def _better(best: Restored, finer: Restored, most: int) -> Restored:
    """The finer ones in place of those images where they fit."""
    fits = finer.sizes <= most
    images = torch.where(fits[:, None, None, None], finer.images, best.images)
    return Restored(images, torch.where(fits, finer.sizes, best.sizes))


def _files_within(opaque: Pixels, write: FileOf, most: int, size: Callable[[bytes], int]) -> Restored:
    files = [best_within(image, write, most, size)[1] for image in to_images(opaque)]
    return Restored(from_files(files, opaque.shape[1]), _sizes(files, size))


def _compared(own: RateCurve, shown_bytes: int) -> list[float]:
    return sorted({*(point.bytes.value for point in own.points), float(shown_bytes)})


def _at(curve: RateCurve, size: float, value: Callable[[RatePoint], float]) -> float | None:
    points = sorted(curve.points, key=lambda point: point.bytes.value)
    sizes, values = [point.bytes.value for point in points], [value(point) for point in points]
    inside = sizes[0] <= size <= sizes[-1]
    return float(np.interp(np.log(size), np.log(sizes), values)) if inside else None


@torch.no_grad()
def _indices_coded(codec: IndexedCodec, sets: Sets) -> Restored:
    fitted, held_out = (_indices(codec, each)[:, None].numpy() for each in sets)
    sizes, kept = coded(fit_symbols(fitted, codec.codes), held_out)
    x0 = codec.of_indices(torch.from_numpy(kept[:, 0]).to(sets.held_out.device))
    return Restored(decoded(codec, x0, sets.held_out.shape[2:]).cpu(), sizes)


def _indices(codec: IndexedCodec, pixels: Pixels) -> Int64[Tensor, "N h w"]:
    with torch.no_grad():
        parts = torch.split(pixels, at_once(*pixels.shape[2:]))
        return torch.cat([codec.indices(codec.encode(part)).cpu() for part in parts])


def _codebook(codec: IndexedCodec, pixels: Pixels) -> CodebookUse:
    return codebook_use(code_counts(_indices(codec, pixels), codec.codes))


def _sizes(files: list[bytes], size: Callable[[bytes], int]) -> Float64[Tensor, "N"]:
    return torch.tensor([size(each) for each in files], dtype=torch.float64)
