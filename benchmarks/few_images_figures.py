"""What a network of few images generates: measured against held-out images, looked for among those it was trained on,
and shown.

Whatever the number of images, as many generated ones are compared with the same held-out ones in the same features:
those of a classifier that tells which larger image a square was cut from. It learned that of the families that the loss
is watched on, and saw nothing that is compared.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ancestral.data.datasets import load
from ancestral.data.imageset import ImageSet, frozen
from ancestral.evaluation.evaluate import Comparison, as_pixels, compare, nearness_of
from ancestral.evaluation.features import Extractor, train_extractor
from ancestral.evaluation.metrics import Nearest, nearest
from ancestral.evaluation.settings import EvaluationSettings
from ancestral.pipeline import Pipeline
from ancestral.progress import finish
from ancestral.rng import generator
from ancestral.settings import DataSettings
from ancestral.tensors import Pixels
from ancestral.training.run import RunFolder
from ancestral.viz import boxes, pictures
from benchmarks.few_images_data import LEAST_OF_A_CLASS, SIDE, Cut, Cuts, Sources
from benchmarks.preset_figures import logged

NEIGHBOURS = EvaluationSettings().neighbours
COLUMNS, ROWS = 4, 5  # of the first seeds in a picture; of the nearest pairs half as many columns
GENERATED, THEMSELVES, REAL = "generated", "the training images themselves", "other real images"


class Judge(NamedTuple):
    """What all networks are judged by."""

    extractor: Extractor
    held_out: Pixels
    real: Pixels  # others of the same kind, as many
    num_images: int  # on each side of every comparison

    @classmethod
    def of(cls, sources: Sources, cuts: Cuts, count: int | None) -> "Judge":
        """Learns features; `count`: of images to compare, None: all that are held out."""
        count = min(len(cuts.test), len(cuts.real), count or len(cuts.test))
        held_out, real = (as_pixels(image_set(sources, [its[:count]], ())) for its in (cuts.test, cuts.real))
        return cls(learned(sources, cuts.features), held_out, real, count)

    def compared(self, name: str, pixels: Pixels) -> Comparison:
        """Of as many images with the held-out ones."""
        assert len(pixels) == self.num_images
        features = self.extractor.features
        return compare(name, features(pixels), features(self.held_out), NEIGHBOURS)


def learned(sources: Sources, classes: Sequence[Sequence[Cut]]) -> Extractor:
    """Features that tell families of images by a square; every fifth of each is kept to see how well."""
    names = tuple(each[0].source for each in classes)
    seen = [[cut for i, cut in enumerate(each) if (i + 1) % LEAST_OF_A_CLASS] for each in classes]
    kept = [each[LEAST_OF_A_CLASS - 1 :: LEAST_OF_A_CLASS] for each in classes]
    return finish(train_extractor(image_set(sources, seen, names), image_set(sources, kept, names)))


def image_set(sources: Sources, classes: Sequence[Sequence[Cut]], names: tuple[str, ...]) -> ImageSet:
    """All squares of some classes; without `names` they are of none."""
    pixels = frozen(np.stack([cut.of(sources) for each in classes for cut in each]))
    labels = frozen(np.repeat(np.arange(len(classes)), [*map(len, classes)])) if names else None
    return ImageSet(pixels, labels, names, None, None, sha256(pixels.tobytes()).hexdigest())


def settings_of(folder: Path) -> DataSettings:
    """As a folder of cuts is trained on."""
    return DataSettings(source=str(folder), size=SIDE)


def figures(run: RunFolder, judge: Judge, picture: Path) -> dict[str, Any]:
    """Everything that is measured of a trained run, and its picture."""
    pipeline, parts = Pipeline.load(run.path), load(run.read_config().data)
    generated, train = pipeline.generate(range(judge.num_images)), as_pixels(parts.train)
    again = torch.randint(len(train), (judge.num_images,), generator=generator(0, "few images", "themselves"))
    compared = {GENERATED: generated, THEMSELVES: train[again], REAL: judge.real}
    in_pixels = nearest(generated, train)
    of_generated, of_train, of_held_out = map(judge.extractor.features, (generated, train, judge.held_out))
    nearness = (
        nearness_of("pixels", in_pixels, nearest(judge.held_out, train), len(train)),
        nearness_of("features", nearest(of_generated, of_train), nearest(of_held_out, of_train), len(train)),
    )
    near = pairs_of(in_pixels)[: COLUMNS // 2 * ROWS]
    first = generated[: COLUMNS * ROWS]
    seeds = pictures.grid(first, COLUMNS, title=f"seeds 0 to {len(first) - 1}, none chosen")
    sides = (images[[*places]] for images, places in zip((generated, train), zip(*near, strict=True), strict=True))
    title = "the nearest pairs: generated left, of training right"
    pairs = pictures.grid(torch.stack([*sides], dim=1).flatten(0, 1), COLUMNS, title=title)
    pictures.save_png(boxes.row([seeds, pairs], 0, down=0.0), picture, {"weights": pipeline.weights_hash()})
    return {
        "num_compared": judge.num_images,
        "features": {name: getattr(judge.extractor, name) for name in ("accuracy", "num_classes", "num_held_out")},
        "comparisons": [judge.compared(*each).model_dump(mode="json") for each in compared.items()],
        "nearness": [each.model_dump(mode="json") for each in nearness],
        "held_out_loss": held_out_loss(run, len(parts.validation)),
    }


def pairs_of(found: Nearest) -> list[tuple[int, int]]:
    """Places of generated images and of the training image nearest to each: of every training image the nearest alone,
    and of these pairs the nearest first."""
    first: dict[int, int] = {}
    for i in found.distance.argsort(stable=True).tolist():
        first.setdefault(int(found.indices[i]), i)
    return [(generated, training) for training, generated in first.items()]


def held_out_loss(run: RunFolder, num_images: int) -> dict[str, Any]:
    """Where it was lowest, and in the end: above that, the network has begun to learn its images by heart."""
    seen, losses = logged(run, "held_out_loss")
    lowest = min(range(len(losses)), key=losses.__getitem__)
    return {"lowest": losses[lowest], "lowest_at": seen[lowest], "last": losses[-1], "num_images": num_images}


def draw_real(judge: Judge, picture: Path) -> None:
    """Writes the first held-out images."""
    title = "real images, not trained on"
    pictures.save_png(pictures.grid(judge.held_out[: COLUMNS * ROWS], 2 * COLUMNS, title=title), picture)
