"""How well images are what prompts ask for, beside chance and what real images score, as one model.

Of the data set `shapes` a reader says what is in an image, and prompts of a fixed list are judged fact by fact: those
of pairs that were trained on and those with a pair held out. Of other images with captions, a pair of encoders that
never saw the model finds each image's caption among others of the test part. Guidance is chosen by other prompts before
any of these are asked for. Images of no prompt are judged as if they had been asked for: what they score is chance.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ancestral.data.imageset import ImageSet, Parts
from ancestral.diffusion.schedules import Schedule
from ancestral.errors import InputError
from ancestral.evaluation.caption_lift import Lift, SquaredErrors, caption_lift
from ancestral.evaluation.evaluate import Nearness, as_pixels, in_memory, nearness_of
from ancestral.evaluation.prompt_shares import Counts, Share, counts_of, shares_of
from ancestral.evaluation.retrieval import RANKS, Galleries, counts_of_hits, train_pair
from ancestral.evaluation.scene_facts import chance, prompts, reader_errors, scene_prompt
from ancestral.evaluation.settings import PromptSettings
from ancestral.files import read_json
from ancestral.progress import ProgressEvent, StagedWork, StepwiseWork, mapped
from ancestral.rng import mix
from ancestral.settings import Settings, parse
from ancestral.settings.data import NUM_THINGS
from ancestral.tensors import Data, Pixels

FILE = "text.json"  # where `ancestral evaluate RUN --text` leaves it in a run
READ = 2000  # scenes that the reader is tested on
WORN = {"clean": (0.0, 0.0), "blurred": (0.75, 0.0), "noisy": (0.0, 8.0)}
"""Of the images that the reader is tested on: deviation of the blur, pixels, and of the noise, levels."""
LEAST_TO_CHOOSE = 20  # captions of the validation part, below which guidance is chosen by those of training images

ImagesFor = Callable[[Sequence[str], Sequence[int], float], StepwiseWork[Pixels]]
"""(prompts, a seed for each, guidance) -> an image for each; the prompt "" asks for nothing."""


ListName = Literal["seen pairs", "held-out pairs", "generated", "no prompt", "real images"]
"""Prompts whose pairs were all trained on; of which one was not; captions of the test part; the first of these lists,
with nothing said, or with the images that it was written of."""


class GuidancePoint(Settings):
    """What the prompts to choose by get with a guidance."""

    guidance: float
    shares: tuple[Share, ...]


class PromptScores(Settings):
    """What the images of a list of prompts score: generated for them, with no prompt, or real ones."""

    name: ListName
    num_prompts: int
    num_images: int
    shares: tuple[Share, ...]
    chance: dict[str, float]  # of images made without looking at the prompts


class TextEvaluation(Settings):
    """Everything measured of a model that is told texts."""

    source: str  # of the data
    weights: str  # hash of the network's
    settings: PromptSettings
    chosen_by: Literal["all", "R@1"]  # the share that the best guidance has most of
    choosing: str  # the prompts it was chosen by, in words
    choosing_chance: float  # of that share, for images made without looking at them
    choosing_ceiling: float  # what real images, or the reader's errors, leave of it
    guidance: float  # the best, of which all scores are
    curve: tuple[GuidancePoint, ...]
    scores: tuple[PromptScores, ...]
    reader_errors: dict[str, dict[str, float]] | None = (
        None  # by kind, of images as in `WORN`; None: captions are found
    )
    gallery: int | None = None  # captions among which an image's own is looked for
    num_fitted: int | None = None  # training images that the encoders for that learned from
    lift: Lift
    nearness: Nearness
    seconds: float

    def __getitem__(self, name: str) -> PromptScores:
        """The scores of this name."""
        return next(each for each in self.scores if each.name == name)


def read_text_evaluation(file: Path) -> TextEvaluation:
    """What `ancestral evaluate --text` wrote; an InputError where it cannot be read."""
    return parse(TextEvaluation, read_json(file), str(file))


class Prompted(NamedTuple):
    """What is measured: a model that is told texts."""

    images: ImagesFor
    squared_errors: SquaredErrors
    encode: Callable[[Pixels], Data]  # images to x0
    schedule: Schedule
    weights: str
    agreed: Callable[[float], float] = float  # of several processes: the guidance that the first one has chosen


class Judge(NamedTuple):
    """Prompts, of which each comes as often as images are made for it, and what is counted of these."""

    by: Literal["all", "R@1"]
    counts: Callable[[Sequence[str], Pixels], Counts]
    chance: Callable[[Sequence[str]], dict[str, float]]
    choosing: Sequence[str]
    choosing_in_words: str
    choosing_ceiling: float
    lists: Mapping[ListName, Sequence[str]]
    real: Pixels | None = None  # images that the first list says what is on, each as often
    known: Mapping[str, Any] = {}  # of what judges


@dataclass
class Generating:
    """Images for lists of prompts, one after another: how far they have come of `total`."""

    images: ImagesFor
    seed: int
    total: int
    done: int = 0

    def __call__(self, stream: str, texts: Sequence[str], guidance: float) -> StagedWork[Pixels]:
        """The seeds of a stream are the same whatever the guidance."""
        seeds = [mix(self.seed, "prompts", stream, i) for i in range(len(texts))]
        before = self.done
        self.done += len(texts)

        def come(progress: tuple[int, int]) -> ProgressEvent:
            done, of = progress
            return ProgressEvent("generating", before + len(texts) * done // max(of, 1), self.total)

        return (yield from mapped(self.images(texts, seeds, guidance), come))


def evaluating_text(model: Prompted, parts: Parts, source: str, settings: PromptSettings) -> StagedWork[TextEvaluation]:
    """Asks for images by prompts, and judges them: by the reader where `source` is one of drawn scenes, else by the
    captions of the data, which has to have some."""
    began = time.monotonic()
    parts = captioned_parts(parts, source)
    if source in NUM_THINGS:
        judge = scene_judge(source, parts, settings)
    else:
        judge = yield from caption_judge(parts, settings)
    generate = Generating(model.images, settings.seed, num_images(judge, settings))

    def shares(texts: Sequence[str], images: Pixels) -> tuple[Share, ...]:
        return shares_of(judge.counts(texts, images), texts, settings.seed)

    curve = []
    for guidance in settings.guidances:
        images = yield from generate("choosing", judge.choosing, guidance)
        curve.append(GuidancePoint(guidance=guidance, shares=shares(judge.choosing, images)))
    best = model.agreed(best_guidance(curve, judge.by))

    scores, made = [], {}
    for name, texts in judge.lists.items():
        made[name] = yield from generate(name, texts, best)
        scores.append(_scores(name, texts, shares(texts, made[name]), judge))
    first = next(iter(judge.lists))
    texts = judge.lists[first]
    images = yield from generate("no prompt", [""] * len(texts), 1.0)
    scores.append(_scores("no prompt", texts, shares(texts, images), judge))
    if judge.real is not None:
        scores.append(_scores("real images", texts, shares(texts, judge.real), judge))

    some = parts.test.sliced(0, settings.lift_images)
    x0, captions = model.encode(as_pixels(some)), texts_of(some)
    work = caption_lift(model.schedule, x0, captions, model.squared_errors, settings.lift_levels, settings.seed)
    lift = yield from mapped(work, lambda progress: ProgressEvent("measuring the lift of captions", *progress))
    choosing_chance = judge.chance(judge.choosing)[judge.by]
    return TextEvaluation(
        source=source,
        weights=model.weights,
        settings=settings,
        chosen_by=judge.by,
        choosing=judge.choosing_in_words,
        choosing_chance=choosing_chance,
        choosing_ceiling=judge.choosing_ceiling,
        guidance=best,
        curve=tuple(curve),
        scores=tuple(scores),
        lift=lift,
        nearness=nearness_of("pixels", made[first], as_pixels(parts.test), as_pixels(parts.train)),
        seconds=time.monotonic() - began,
        **judge.known,
    )


def num_images(judge: Judge, settings: PromptSettings) -> int:
    """That are generated in all."""
    lists = [*judge.lists.values()]
    return len(judge.choosing) * len(settings.guidances) + sum(map(len, (*lists, lists[0])))


def best_guidance(curve: Sequence[GuidancePoint], by: str) -> float:
    """The one with the largest share of this name; of several, the least."""
    found = {point.guidance: next(share.value for share in point.shares if share.name == by) for point in curve}
    return min(found, key=lambda guidance: (-found[guidance], guidance))


def scene_judge(kind: str, parts: Parts, settings: PromptSettings) -> Judge:
    """By the facts of fixed prompts, as the reader sees them; how often it errs is measured on images of this size."""
    lists = {
        "seen pairs": prompts(kind, "figures", count=settings.prompts),
        "held-out pairs": prompts(kind, "figures", held_out=True, count=settings.prompts),
    }
    errors = {
        name: reader_errors(kind, READ, blur, noise, parts.train.shape[1]) for name, (blur, noise) in WORN.items()
    }
    return Judge(
        by="all",
        counts=counts_of,
        chance=lambda texts: chance(kind, [*map(scene_prompt, texts)]),
        choosing=_repeated([each.text for each in prompts(kind, "choosing", count=settings.choosing)], settings),
        choosing_in_words="prompts of pairs that were trained on, none of which is among those of the scores",
        choosing_ceiling=1 - errors["clean"]["all"],
        lists={name: _repeated([each.text for each in some], settings) for name, some in lists.items()},  # type: ignore[misc]
        known={"reader_errors": errors},
    )


def caption_judge(parts: Parts, settings: PromptSettings) -> StagedWork[Judge]:
    """By which of the captions of its list an image seems to be of, to encoders trained on real images."""
    train, test = in_memory(parts.train), parts.test.sliced(0, settings.prompts)
    pair = yield from mapped(train_pair(train, settings.seed), lambda come: ProgressEvent("learning captions", *come))
    part, words = parts.validation, "captions of the validation part"
    if len({*texts_of(part)}) < LEAST_TO_CHOOSE:
        part, words = train, "captions of training images: the validation part has too few"
    part = part.sliced(0, settings.choosing)
    choosing, texts = (_repeated(texts_of(each), settings) for each in (part, test))

    def counts(asked: Sequence[str], images: Pixels) -> Counts:
        return counts_of_hits(pair.hits(images, asked, Galleries.drawn(asked, settings.seed)))

    def by_chance(asked: Sequence[str]) -> dict[str, float]:
        size = Galleries.drawn(asked, settings.seed).size
        return {f"R@{k}": min(k / size, 1.0) for k in RANKS}

    real, seen = (as_pixels(each).repeat_interleave(settings.per_prompt, 0) for each in (test, part))
    held, of = counts(choosing, seen)["R@1"]
    return Judge(
        by="R@1",
        counts=counts,
        chance=by_chance,
        choosing=choosing,
        choosing_in_words=words,
        choosing_ceiling=float(held.sum() / of.sum()),
        lists={"generated": texts},
        real=real,
        known={"gallery": Galleries.drawn(texts, settings.seed).size, "num_fitted": len(train)},
    )


def captioned_parts(parts: Parts, source: str) -> Parts:
    """The images that have a caption; an InputError where too few have."""
    if source in NUM_THINGS:
        return parts
    train, validation, test = (_captioned(part) for part in (parts.train, parts.validation, parts.test))
    for name, part in (("training", train), ("test", test)):
        if (count := len({*texts_of(part)})) < 2:
            raise InputError(
                f"expected {name} images of {source} with at least two captions to be judged by, got "
                f"{count or 'none'}; `ancestral data check` says what is read of them"
            )
    return parts._replace(train=train, validation=validation, test=test)


def _captioned(images: ImageSet) -> ImageSet:
    there = np.flatnonzero([bool(text) for text in texts_of(images)])
    if not len(there):
        return images.sliced(0, 0)
    return images if len(there) == len(images) else images.ordered(there)


def texts_of(images: ImageSet) -> list[str]:
    """The captions; none where there are none."""
    return [] if images.captions is None else [*images.captions]


def _repeated(texts: Sequence[str], settings: PromptSettings) -> list[str]:
    return [text for text in texts for _ in range(settings.per_prompt)]


def _scores(name: ListName, texts: Sequence[str], shares: tuple[Share, ...], judge: Judge) -> PromptScores:
    found = {"shares": shares, "chance": judge.chance(texts)}
    return PromptScores(name=name, num_prompts=len({*texts}), num_images=len(texts), **found)
