"""What a trained preset generates from the first seeds, beside real images; and how a rehearsal learned."""

from pathlib import Path

import numpy as np

from ancestral.data.datasets import load
from ancestral.data.imageset import ImageSet
from ancestral.evaluation.evaluate import as_pixels
from ancestral.evaluation.text_evaluation import FILE as TEXT
from ancestral.evaluation.text_evaluation import read_text_evaluation
from ancestral.files import write_whole
from ancestral.pipeline import Pipeline
from ancestral.settings import Config
from ancestral.text import shortened
from ancestral.training.run import RunFolder
from ancestral.viz import boxes
from ancestral.viz.pictures import grid, save_png
from ancestral.viz.plots import figure_to_png, loss_curves
from benchmarks.preset_figures import logged

SHOWN, COLUMNS = 40, 5
BESIDE = "real images, not trained on"


def draw_grid(run: RunFolder, config: Config, file: Path) -> str:
    """Writes the images of the first seeds beside the held-out images whose class or caption each was asked for; what
    is on it, in words."""
    pipeline, test = Pipeline.load(run.path), load(config.data).test
    where = places(test, min(SHOWN, len(test)))
    settings, told = pipeline.config.sampling, ", by class" if pipeline.num_classes else ""
    if (run.path / TEXT).is_file():
        guidance = read_text_evaluation(run.path / TEXT).guidance
        settings, told = settings.model_copy(update={"guidance": guidance}), f", by caption, guidance {guidance:g}"
    real = test.ordered(where)
    captions = [shortened(text, 60) for text in real.captions or ()] if pipeline.spec.text else None
    title = f"seeds 0 to {len(where) - 1}, none chosen{told}"
    sides = {
        title: pipeline.generate(range(len(where)), pipeline.known_of(test, where), settings),
        BESIDE: as_pixels(real),
    }
    grids = [grid(images, COLUMNS, labels=captions, title=name) for name, images in sides.items()]
    file.parent.mkdir(parents=True, exist_ok=True)
    save_png(boxes.row(grids, 0, down=0.0), file, {"weights": pipeline.weights_hash()})
    return f"{title.capitalize()}, {settings.steps} steps of {settings.sampler}; beside {BESIDE}"


def places(images: ImageSet, count: int) -> np.ndarray:
    """Of the first images, of every class in turn where there are classes."""
    if images.labels is None:
        return np.arange(count)
    of_classes = [np.flatnonzero(images.labels == label) for label in np.unique(images.labels)]
    turns = (divmod(i, len(of_classes)) for i in range(count))
    return np.array([of_classes[which][turn % len(of_classes[which])] for turn, which in turns])


def draw_curve(run: RunFolder, file: Path) -> None:
    """Writes training and held-out loss against images seen."""
    curve = loss_curves(*logged(run, "loss"), *logged(run, "held_out_loss"))
    write_whole(file, figure_to_png(curve))
