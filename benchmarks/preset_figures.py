"""What was measured of a trained preset, by which verb, as figures with their errors and what real images score."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ancestral.evaluation import codec_measurement, evaluate, likelihood, text_evaluation
from ancestral.report.facts import number, with_error
from ancestral.report.prompts import TITLES
from ancestral.settings import Config
from ancestral.training.logs import read_log
from ancestral.training.run import RunFolder


class Figure(NamedTuple):
    """A number, its standard error or the ends of its 95 % interval, and the same of real images."""

    name: str
    value: float | None  # None: cannot be told
    error: float | None = None
    interval: tuple[float, float] | None = None
    real: float | None = None
    real_error: float | None = None
    unit: str = ""

    def __str__(self) -> str:
        """As in a table: 0.74 ± 0.21, or 66.7 (62 to 71) %."""
        if self.value is None:
            return "cannot be told"
        if self.interval is not None:
            return f"{number(self.value)} ({' to '.join(map(number, self.interval))}){self.unit}"
        return f"{with_error(self.value, self.error)}{self.unit}"

    @property
    def of_real_images(self) -> str:
        """The same of real images; nothing where that is not known."""
        return "" if self.real is None else f"{with_error(self.real, self.real_error)}{self.unit}"


def measuring(config: Config, images: int | None) -> list[str]:
    """The verb that measures what such a model is for, and its options; `images`: None: as many as is usual."""
    if config.training.loss == "continuous":
        finely = ["--timesteps", "4", "--num-timesteps", "10000"]
        return ["likelihood", "--images", "all" if images is None else f"{images}", *finely]
    if config.text.name != "none":
        return [
            "evaluate",
            "--text",
            "--num-prompts",
            f"{images or 500}",
            "--num-choosing",
            f"{min(images or 100, 100)}",
        ]
    return ["evaluate", "--images", f"{images or 1000}"]


def result_of(words: list[str]) -> str:
    """The file in the run that this verb writes."""
    module = likelihood if words[0] == "likelihood" else text_evaluation if "--text" in words else evaluate
    return module.FILE


def figures_of(run: RunFolder) -> Iterator[Figure]:
    """Those of all measurements that lie in the run."""
    if (file := run.path / evaluate.FILE).is_file():
        yield from _of_images(file)
    if (file := run.path / text_evaluation.FILE).is_file():
        yield from _of_prompts(file)
    if (file := run.path / likelihood.FILE).is_file():
        bits = likelihood.read_likelihood(file)
        name = f"bits per dimension of {bits.num_images:,} {bits.part} images"
        yield Figure(name, bits.total.value, bits.total.standard_error)
    if (file := run.autoencoder / codec_measurement.FILE).is_file():
        codec = codec_measurement.read_measurement(file)
        name = f"{codec.num_held_out:,} held-out images through the autoencoder, "
        yield Figure(name + "PSNR", codec.psnr, codec.psnr_error, unit=" dB")
        yield Figure(name + "SSIM", codec.ssim, codec.ssim_error)


def held_out_loss(run: RunFolder) -> Figure:
    """The last of a run, and where it came from."""
    images, losses = logged(run, "held_out_loss")
    return Figure(f"held-out loss, {number(losses[0])} after {images[0]:,} images and in the end", losses[-1])


def logged(run: RunFolder, name: str) -> tuple[list[int], list[float]]:
    """Images seen and values, of the lines of the log that have one."""
    lines = [line for line in read_log(run.log) if line.get(name) is not None]
    return [line["images"] for line in lines], [line[name] for line in lines]


def _of_images(file: Path) -> Iterator[Figure]:
    found = evaluate.read_evaluation(file)
    ours, real = found["generated against test"], found["train against test"]
    few = ", too few," if ours.too_few else ""
    distance = f"Fréchet distance of {ours.num_left:,} to {ours.num_right:,} held-out images{few}"
    for key, name in {"frechet": distance, "precision": "precision", "recall": "recall"}.items():
        here, there = ours[key], real[key]
        yield Figure(name, here.value, here.standard_error, None, there.value, there.standard_error)
    if (share := found.agreement) is not None and share.standard_error is not None:
        accuracy = found.features.accuracy
        real_share = None if accuracy is None else 100 * accuracy
        name = "a classifier sees the class asked for in"
        yield Figure(name, 100 * share.value, 100 * share.standard_error, real=real_share, unit=" %")
    for near in found.nearness:
        name = f"distance to the nearest training image over that of held-out images, in {near.space}"
        yield Figure(name, near.ratio, real=1.0)


def _of_prompts(file: Path) -> Iterator[Figure]:
    """Of each list of prompts the share of facts, or of captions that are found again, beside real images."""
    found = text_evaluation.read_text_evaluation(file)
    lists = {scores.name: {share.name: share for share in scores.shares} for scores in found.scores}
    real = lists.pop("real images", {})
    del lists["no prompt"]
    for name, shares in lists.items():
        for key in ("all", "R@1", "R@5"):
            if (share := shares.get(key)) is not None:
                what = f"{TITLES[key]} asked for, {name}" if key in TITLES else f"{key} among {found.gallery}"
                there = None if key not in real else 100 * real[key].value
                ends = 100 * share.low, 100 * share.high
                yield Figure(what, 100 * share.value, interval=ends, real=there, unit=" %")
    yield Figure("distance to the nearest training image over that of held-out images", found.nearness.ratio, real=1.0)
