"""The work of `ancestral sample`: drawing, with what the images looked like on the way, and the files of it."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from ancestral.cli.output import counting
from ancestral.config import SamplingSettings
from ancestral.data.fitting import Progress
from ancestral.files import write_whole
from ancestral.pipeline import Pipeline
from ancestral.rng import ImageNoise
from ancestral.sampling.loop import Step
from ancestral.sampling.samplers import DDIM, Ancestral, DPMSolver2MSDE
from ancestral.tensors import Labels, Pixels, to_pixels
from ancestral.viz import pictures

KEPT = 50
"""Timesteps of a chain that films and arrays keep, at most."""
FILMED = 16
"""Images that a film shows, at most."""
COLUMNS = 9
"""Timesteps that a strip shows."""

State = Float[Tensor, "_ C H W"]
"""Some of the images at one timestep; at t = 0 all of them."""


@dataclass(frozen=True)
class Chain:
    """K kept timesteps: at times[k] the state x_t and the estimate of x0 made from it. At 0 both are the images."""

    times: list[int]
    x_t: list[State]
    x0: list[State]


@dataclass(frozen=True)
class Drawing:
    """Images with everything that made them. `facts` is what a PNG file says of all of them."""

    chain: Chain
    pixels: Pixels
    seeds: range
    classes: list[str]
    """The name of each image's class; empty where no class was asked for."""
    labels: Labels | None
    facts: dict[str, str]

    def facts_of(self, i: int) -> dict[str, str]:
        """What the PNG file of image `i` says."""
        return {"seed": str(self.seeds[i]), "class": self.classes[i] if self.classes else "none", **self.facts}


def labels_for(pipeline: Pipeline, classes: str | None, count: int) -> Labels | None:
    """The class of each of `count` images: those of the list in turn; every class in turn for all and None.

    Raises:
        InputError: an unknown class, or any where the pipeline has none.
    """
    there = pipeline.class_names
    if classes == "none" or (classes is None and not there):
        return None
    if classes in (None, "all") and there:
        return torch.arange(count) % len(there)
    assert classes is not None
    names = [classes] if classes in there else classes.split(",")
    wanted = [pipeline.class_index(name.strip()) for name in names]
    return torch.tensor(wanted)[torch.arange(count) % len(wanted)]


def draw(
    pipeline: Pipeline, seeds: range, labels: Labels | None, settings: SamplingSettings, keep_all: bool
) -> Drawing:
    """One image for each seed.

    Args:
        labels: (B,) the class of each image; None: no class.
        keep_all: keep the way of every image, not only that of the first `FILMED`.

    Raises:
        InputError: settings that the pipeline was not trained for.
    """
    parts, done = pipeline.chunks(len(seeds)), 0
    total = len(pipeline.processes.mine(parts)) * settings.steps
    with counting() as counted:

        def drawn(part: slice) -> dict[str, Tensor]:
            nonlocal done
            steps = pipeline.steps(seeds[part], None if labels is None else labels[part], settings)
            shown = len(seeds) if keep_all else max(0, FILMED - part.start)
            x_T = ImageNoise(seeds[part], pipeline.spec.shape)()
            chain = _chain(x_T, numbered(steps, done, total, counted), settings.steps, shown)
            done += settings.steps
            return _as_tensors(chain)

        chains = [_as_chain(each) for each in pipeline.processes.dealt_tensors(parts, drawn)]
    chain = Chain(
        chains[0].times,
        [torch.cat(states) for states in zip(*(each.x_t for each in chains), strict=True)],
        [torch.cat(states) for states in zip(*(each.x0 for each in chains), strict=True)],
    )
    classes = [] if labels is None else [pipeline.class_names[int(label)] for label in labels]
    return Drawing(chain, to_pixels(chain.x_t[-1]), seeds, classes, labels, how_drawn(pipeline, settings))


def write(drawing: Drawing, out: Path, each: bool, strip: bool, film: Path | None, arrays: Path | None) -> list[Path]:
    """grid.png in `out` and whatever else is wanted; the files written.

    Raises:
        CannotWrite: one of them cannot be written.
    """
    files = [_write_grid(drawing, out / "grid.png")]
    if each:
        files += [_write_one(drawing, i, out / f"seed-{seed}.png") for i, seed in enumerate(drawing.seeds)]
    if strip:
        files.append(_write_strip(drawing, out / "strip.png"))
    if film is not None:
        files.append(_write_film(drawing, film))
    if arrays is not None:
        files.append(_write_arrays(drawing, arrays))
    return files


def numbered(steps: Iterable[Step], done: int, total: int, counted: Progress) -> Iterator[Step]:
    """`steps`, each counted when it has been used: it is number done + 1, done + 2, ... of `total`."""
    for number, step in enumerate(steps, done + 1):
        yield step
        counted("drawing", number, total)


def _chain(x_T: State, steps: Iterable[Step], count: int, shown: int) -> Chain:
    """The kept timesteps of the first `shown` images, and the last state of all; x_T is the noise they start from."""
    kept = {*pictures.pick(range(count), KEPT - 1)}
    chain, x = Chain([], [], []), x_T
    for number, step in enumerate(steps):
        if number in kept:
            chain.times.append(step.t)
            chain.x_t.append(x[:shown].cpu())
            chain.x0.append(step.x0[:shown].cpu())
        x = step.x
    return Chain([*chain.times, 0], [*chain.x_t, x.cpu()], [*chain.x0, x.cpu()])


def _as_tensors(chain: Chain) -> dict[str, Tensor]:
    """As processes hand it to each other."""
    states = {"x_t": chain.x_t, "x0": chain.x0}
    return {"times": torch.tensor(chain.times), **{f"{n} {k}": x for n, xs in states.items() for k, x in enumerate(xs)}}


def _as_chain(tensors: dict[str, Tensor]) -> Chain:
    times = tensors["times"].tolist()
    x_t, x0 = ([tensors[f"{name} {k}"] for k in range(len(times))] for name in ("x_t", "x0"))
    return Chain(times, x_t, x0)


def how_drawn(pipeline: Pipeline, settings: SamplingSettings) -> dict[str, str]:
    """How images were drawn, without seed and class."""
    said = {name: _text(value) for name, value in settings.model_dump().items() if value is not None}
    sampler = pipeline.sampler(settings)
    said["grid"] = settings.grid or sampler.grid
    if isinstance(sampler, DDIM | DPMSolver2MSDE):
        said["eta"] = str(sampler.eta)
    if isinstance(sampler, Ancestral):
        said.setdefault("variance", pipeline.config.diffusion.variance)
    if settings.guidance_by == "weaker" and pipeline.weaker is not None:
        said["weaker"] = pipeline.weaker.weights_hash()
    if settings.guidance_by == "classifier" and pipeline.classify is not None:
        said["classifier"] = pipeline.classify.digest
    return {**said, "weights": pipeline.weights_hash(), "software": f"ancestral {version('ancestral')}"}


def _text(value: object) -> str:
    """A setting as one would type it, every digit of it."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _write_grid(drawing: Drawing, file: Path) -> Path:
    which = {"seed": f"{drawing.seeds[0]} to {drawing.seeds[-1]}"} if len(drawing.seeds) > 1 else {}
    classes = {"class": ", ".join(_period(drawing.classes))} if drawing.classes else {}
    picture = pictures.grid(drawing.pixels, labels=drawing.classes or None)
    pictures.save_png(picture, file, {**drawing.facts_of(0), **which, **classes})
    return file


def _period(names: list[str]) -> list[str]:
    """The shortest beginning of which all are repetitions: what --classes was given."""
    return next(names[:n] for n in range(1, len(names) + 1) if names[n:] == names[:-n])


def _write_one(drawing: Drawing, i: int, file: Path) -> Path:
    pictures.save_png(bare(drawing.pixels[i]), file, drawing.facts_of(i))
    return file


def bare(pixels: UInt8[Tensor, "C H W"]) -> Image.Image:
    """The bare pixels of one image."""
    last = np.ascontiguousarray(np.moveaxis(pixels.numpy(), 0, -1))
    return Image.fromarray(last[..., 0] if last.shape[-1] == 1 else last)


def _write_strip(drawing: Drawing, file: Path) -> Path:
    chain = drawing.chain
    shown = pictures.pick(range(len(chain.times)), COLUMNS)
    rows = [
        (name, torch.cat([to_pixels(states[k][:1]) for k in shown]))
        for name, states in (("xₜ", chain.x_t), ("estimate of x₀", chain.x0))
    ]
    pictures.save_png(pictures.strip(rows, [chain.times[k] for k in shown]), file, drawing.facts_of(0))
    return file


def _write_film(drawing: Drawing, file: Path) -> Path:
    chain = drawing.chain
    x_t, x0 = ([to_pixels(state[:FILMED]) for state in states] for states in (chain.x_t, chain.x0))
    pictures.save_film(pictures.film(x_t, x0, chain.times), file)
    return file


def _write_arrays(drawing: Drawing, file: Path) -> Path:
    """t (K,), x_t and x_0 (K, B, C, H, W) float32 in [-1, 1], seeds (B,), and labels (B,) where there are any."""
    chain = drawing.chain
    content = io.BytesIO()
    arrays: dict[str, Any] = {"t": np.array(chain.times), "seeds": np.array(drawing.seeds)}
    arrays |= {"x_t": torch.stack(chain.x_t).numpy(), "x_0": torch.stack(chain.x0).numpy()}
    arrays |= {} if drawing.labels is None else {"labels": drawing.labels.numpy()}
    np.savez(content, **arrays)
    write_whole(file, content.getvalue())
    return file
