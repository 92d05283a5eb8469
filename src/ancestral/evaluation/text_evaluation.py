"""How well images are what prompts ask for, beside chance and what real images score, as one model.

Of the data set `shapes` a reader says what is in an image, and prompts of a fixed list are judged fact by fact: those
of pairs that were trained on and those with a pair held out. Of other images with captions, a pair of encoders that
never saw the model finds each image's caption among others of the test part. Guidance is chosen by other prompts before
any of these are asked for. Images of no prompt are judged as if they had been asked for: what they score is chance.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ancestral.data.imageset import ImageSet, Parts
from ancestral.diffusion.schedules import Schedule
from ancestral.errors import InputError
from ancestral.evaluation.caption_lift import Lift, SquaredErrors, caption_lift
from ancestral.evaluation.evaluate import Nearness, as_pixels, in_memory, nearness_of
from ancestral.evaluation.metrics import nearest
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
CURVE, PICTURE = "text.png", "text-images.png"  # beside it: shares against guidance, and `PromptedImages`
READ = 2000  # scenes that the reader is tested on
WORN = {"clean": (0.0, 0.0), "blurred": (0.75, 0.0), "noisy": (0.0, 8.0)}
"""Of the images that the reader is tested on: deviation of the blur, pixels, and of the noise, levels."""
SHOWN = 64  # images, as they come
LIFT_UP_TO = 0.0
"""Log-SNR. From there on an image shows what a caption could say, and a wrong one adds the network's own errors alone,
each times the SNR: of an exact network the rest of the integral is next to nothing, of a trained one nearly all."""
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
    main_first: Callable[[], AbstractContextManager[None]] = nullcontext  # what one of them learns, the others read


class Asked(NamedTuple):
    """Prompts, each as often as images are made for it."""

    choosing: Sequence[str]
    choosing_in_words: str
    lists: Mapping[ListName, Sequence[str]]
    guidances: tuple[float, ...]

    @property
    def first(self) -> ListName:
        """The list that is judged with no prompt said, too."""
        return next(iter(self.lists))

    @property
    def num_images(self) -> int:
        """That are generated in all."""
        figures = [len(texts) for texts in self.lists.values()]
        return len(self.choosing) * len(self.guidances) + sum(figures) + figures[0]


class Judge(NamedTuple):
    """What is counted of images, and what is known of it."""

    by: Literal["all", "R@1"]
    counts: Callable[[Sequence[str], Pixels], Counts]
    chance: Callable[[Sequence[str]], dict[str, float]]
    choosing_ceiling: float
    real: Pixels | None = None  # images that the first list says what is on
    known: Mapping[str, Any] = {}


class PromptedImages(NamedTuple):
    """Some images of the first list, as they come, and the training image nearest to each."""

    texts: Sequence[str]
    images: Pixels
    nearest: Pixels


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


def evaluating_text(
    model: Prompted, parts: Parts, source: str, settings: PromptSettings
) -> StagedWork[tuple[TextEvaluation, PromptedImages]]:
    """Asks for images by prompts, and judges them: by the reader where `source` is one of drawn scenes, else by the
    captions of the data, which has to have some."""
    began = time.monotonic()
    parts = captioned_parts(parts, source)
    asked = asked_of(parts, source, settings)
    if source in NUM_THINGS:
        judge = scene_judge(source, parts.train.shape[1])
    else:
        with model.main_first():
            judge = yield from caption_judge(parts, asked, settings)
    generate = Generating(model.images, settings.seed, asked.num_images)

    def shares(texts: Sequence[str], images: Pixels) -> tuple[Share, ...]:
        return shares_of(judge.counts(texts, images), texts, settings.seed)

    def scores(name: ListName, texts: Sequence[str], images: Pixels) -> PromptScores:
        counted = {"num_prompts": len({*texts}), "num_images": len(texts), "chance": judge.chance(texts)}
        return PromptScores(name=name, shares=shares(texts, images), **counted)

    curve = []
    for guidance in settings.guidances:
        images = yield from generate("choosing", asked.choosing, guidance)
        curve.append(GuidancePoint(guidance=guidance, shares=shares(asked.choosing, images)))
    best = model.agreed(best_guidance(curve, judge.by))

    found, made = [], {}
    for name, texts in asked.lists.items():
        made[name] = yield from generate(name, texts, best)
        found.append(scores(name, texts, made[name]))
    texts, images = asked.lists[asked.first], made[asked.first]
    unasked = yield from generate("no prompt", [""] * len(texts), 1.0)
    found.append(scores("no prompt", texts, unasked))
    found += [] if judge.real is None else [scores("real images", texts, judge.real)]

    lift = yield from _lift(model, parts.test, settings)
    train = as_pixels(parts.train)
    in_train = nearest(images, train)
    evaluation = TextEvaluation(
        source=source,
        weights=model.weights,
        settings=settings,
        chosen_by=judge.by,
        choosing=asked.choosing_in_words,
        choosing_chance=judge.chance(asked.choosing)[judge.by],
        choosing_ceiling=judge.choosing_ceiling,
        guidance=best,
        curve=tuple(curve),
        scores=tuple(found),
        lift=lift,
        nearness=nearness_of("pixels", in_train, nearest(as_pixels(parts.test), train), len(train)),
        seconds=time.monotonic() - began,
        **judge.known,
    )
    return evaluation, PromptedImages(texts[:SHOWN], images[:SHOWN], train[in_train.indices[:SHOWN]])


def _lift(model: Prompted, test: ImageSet, settings: PromptSettings) -> StagedWork[Lift]:
    some = test.sliced(0, settings.lift_images)
    x0, captions = model.encode(as_pixels(some)), texts_of(some)
    levels, seed = settings.lift_levels, settings.seed
    work = caption_lift(model.schedule, x0, captions, model.squared_errors, levels, seed, up_to=LIFT_UP_TO)
    return (yield from mapped(work, lambda progress: ProgressEvent("measuring the lift of captions", *progress)))


def best_guidance(curve: Sequence[GuidancePoint], by: str) -> float:
    """The one with the largest share of this name; of several, the least."""
    found = {point.guidance: next(share.value for share in point.shares if share.name == by) for point in curve}
    return min(found, key=lambda guidance: (-found[guidance], guidance))


def asked_of(parts: Parts, source: str, settings: PromptSettings) -> Asked:
    """The prompts: fixed ones of drawn scenes, else captions, those that are reported of the test part."""

    def each(texts: Sequence[str]) -> list[str]:
        return [text for text in texts for _ in range(settings.per_prompt)]

    def listed(use: str, count: int, held_out: bool = False) -> list[str]:
        return each([prompt.text for prompt in prompts(source, use, held_out, count)])

    if source in NUM_THINGS:
        words = "prompts of pairs that were trained on, none of which is among those of the scores"
        seen, held_out = (listed("figures", settings.num_prompts, held_out) for held_out in (False, True))
        lists: dict[ListName, list[str]] = {"seen pairs": seen, "held-out pairs": held_out}
        return Asked(listed("choosing", settings.num_choosing), words, lists, settings.guidances)
    part, words = _to_choose_by(parts)
    texts = texts_of(parts.test.sliced(0, settings.num_prompts))
    choosing = texts_of(part.sliced(0, settings.num_choosing))
    return Asked(each(choosing), words, {"generated": each(texts)}, settings.guidances)


def scene_judge(kind: str, side: int) -> Judge:
    """By the facts of prompts, as the reader sees them; how often it errs is measured on images of `side` pixels."""
    errors = {name: reader_errors(kind, READ, blur, noise, side) for name, (blur, noise) in WORN.items()}
    return Judge(
        by="all",
        counts=counts_of,
        chance=lambda texts: chance(kind, [*map(scene_prompt, texts)]),
        choosing_ceiling=1 - errors["clean"]["all"],
        known={"reader_errors": errors},
    )


def caption_judge(parts: Parts, asked: Asked, settings: PromptSettings) -> StagedWork[Judge]:
    """By which of the captions of its list an image seems to be of, to encoders trained on real images."""
    train = in_memory(parts.train)
    pair = yield from mapped(train_pair(train, settings.seed), lambda come: ProgressEvent("learning captions", *come))

    def counts(texts: Sequence[str], images: Pixels) -> Counts:
        return counts_of_hits(pair.hits(images, texts, Galleries.drawn(texts, settings.seed)))

    def by_chance(texts: Sequence[str]) -> dict[str, float]:
        size = Galleries.drawn(texts, settings.seed).size
        return {f"R@{k}": min(k / size, 1.0) for k in RANKS}

    def real(part: ImageSet, count: int) -> Pixels:
        return as_pixels(part.sliced(0, count)).repeat_interleave(settings.per_prompt, 0)

    held, of = counts(asked.choosing, real(_to_choose_by(parts)[0], settings.num_choosing))["R@1"]
    return Judge(
        by="R@1",
        counts=counts,
        chance=by_chance,
        choosing_ceiling=float(held.sum() / of.sum()),
        real=real(parts.test, settings.num_prompts),
        known={"gallery": Galleries.drawn(asked.lists["generated"], settings.seed).size, "num_fitted": len(train)},
    )


def _to_choose_by(parts: Parts) -> tuple[ImageSet, str]:
    """Images whose captions guidance is chosen by, and what they are."""
    if len({*texts_of(parts.validation)}) >= LEAST_TO_CHOOSE:
        return parts.validation, "captions of the validation part"
    return parts.train, "captions of training images: the validation part has too few"


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
