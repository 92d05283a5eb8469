"""The work of `ancestral train-classifier`: training, the table of what the classifier tells, the file."""

from pathlib import Path

from rich import box
from rich.table import Table

from ancestral.classifying import CLASSIFIER_FILE, NoisyClassifier
from ancestral.cli.machine import device
from ancestral.cli.measuring import data_of
from ancestral.cli.output import console, counting, say, tell, tell_json
from ancestral.config import Config
from ancestral.data.datasets import load
from ancestral.data.imageset import ImageSet, Parts
from ancestral.errors import InputError
from ancestral.outputs import CLASSIFIER, Output, claim
from ancestral.pipeline import Pipeline
from ancestral.training.budget import warmup_in_words
from ancestral.training.noisy_classifier import measured, new_classifier, recipe, train_classifier
from ancestral.training.run import RunFolder

PARTS = 1000
"""Of the budget, that the bar counts."""


def train(
    run: Path,
    steps: int | None,
    minutes: float | None,
    seed: int,
    on: str | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
) -> int:
    """Trains, measures, writes the file and says what it can do; the exit code."""
    file = out or run / CLASSIFIER_FILE
    claim([Output(file, CLASSIFIER)], overwrite)
    config, pipeline = RunFolder(run).read_config(), Pipeline.load(run, device(on))
    parts = labelled(run, config, pipeline)
    classifier = new_classifier(pipeline, parts.train.class_names, seed)
    settings = recipe(config.training.batch_size, steps, minutes)
    if shortened := warmup_in_words(settings):
        say(shortened)
    with counting() as counted:
        for progress in train_classifier(classifier, parts.train, settings, seed, config.data.flip):
            counted("training", int(progress.fraction * PARTS), PARTS)
    classifier = measured(classifier, parts.test)
    classifier.save(file)
    if as_json:
        said = {"file": str(file), "steps": progress.step, "seconds": progress.seconds, "digest": classifier.digest}
        held_out = {"num_held_out": classifier.num_held_out, "chance": chance(parts.test)}
        accuracies = [each.model_dump() for each in classifier.accuracies]
        tell_json({**said, "classes": classifier.class_names, **held_out, "accuracies": accuracies})
    else:
        show(classifier, chance(parts.test))
        tell(str(file))
    return 0


def labelled(run: Path, config: Config, pipeline: Pipeline) -> Parts:
    """The data of a run with its classes, also where the run was trained without them.

    Raises:
        InputError: data without classes, changed data, or none.
    """
    if pipeline.num_classes:
        return data_of(run, config, pipeline)
    settings = config.data.model_copy(update={"labels": "auto"})
    with counting() as counted:
        parts = load(settings, counted)
    if parts.train.labels is None:
        raise InputError(
            f"expected data with classes to train a classifier on, got {settings.source}, which has none; "
            "sort the images into folders, one a class"
        )
    return parts


def chance(images: ImageSet) -> float | None:
    """The share of the commonest class: what telling always that one would score. None where there are no images."""
    if images.labels is None or not len(images):
        return None
    return max(int((images.labels == label).sum()) for label in range(len(images.class_names))) / len(images)


def show(classifier: NoisyClassifier, chance: float | None) -> None:
    """The accuracies as a table."""
    if chance is None:
        tell("no image is held out to measure the classifier on (data.test 0)")
        return
    table = Table("t", "log-SNR", "accuracy", box=box.SIMPLE)
    for each in classifier.accuracies:
        table.add_row(str(each.timestep), f"{each.log_snr:.1f}", f"{each.share:.3f}")
    console(stderr=False).print(
        f"{classifier.num_held_out:,} held-out images; the commonest class makes up {chance:.3f} of them", table
    )
