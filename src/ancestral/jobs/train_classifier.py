"""The job `train-classifier`: a classifier of noisy images on the data of a run and under its noise."""

from collections.abc import Generator

import numpy as np

from ancestral.data.datasets import loading
from ancestral.data.imageset import Parts
from ancestral.errors import InputError
from ancestral.jobs.events import Event, FileEvent, NoteEvent, ProgressEvent, ResultEvent
from ancestral.jobs.measurement_settings import TrainClassifierSettings
from ancestral.jobs.measuring import data_of
from ancestral.jobs.running import device_named
from ancestral.outputs import CLASSIFIER, Output, claim
from ancestral.pipeline import Pipeline
from ancestral.pipeline.classifying import CLASSIFIER_FILE
from ancestral.progress import StagedWork
from ancestral.settings import Config
from ancestral.training.budget import warmup_in_words
from ancestral.training.noisy_classifier import measured, new_classifier, recipe, train_classifier
from ancestral.training.run import RunFolder


def train(job: TrainClassifierSettings) -> Generator[Event, None, None]:
    """Trains, measures and writes the file; the result's value is the classifier."""
    file = job.out or job.run / CLASSIFIER_FILE
    claim([Output(file, CLASSIFIER)], job.overwrite)
    config, pipeline = RunFolder(job.run).read_config(), Pipeline.load(job.run, device_named(job.device))
    parts = yield from labelled(job, config, pipeline)
    classifier = new_classifier(pipeline, parts.train.class_names, job.seed)
    minutes = 2.0 if job.minutes is None and job.steps is None else job.minutes
    settings = recipe(config.training.batch_size, job.steps, minutes)
    if shortened := warmup_in_words(settings):
        yield NoteEvent(shortened)
    training = train_classifier(classifier, parts.train, settings, job.seed, config.data.flip, pipeline.codec)
    for progress in training:
        yield ProgressEvent("training", int(progress.fraction * 1000), 1000)
    classifier = measured(classifier, parts.test, pipeline.codec)
    classifier.save(file)
    yield FileEvent(file)
    labels = np.zeros(0, int) if parts.test.labels is None else parts.test.labels
    commonest = int(np.bincount(labels, minlength=1).max())
    tree = {
        "file": str(file),
        "steps": progress.step,
        "seconds": progress.seconds,
        "digest": classifier.digest,
        "classes": classifier.class_names,
        "num_held_out": classifier.num_held_out,
        "chance": commonest / len(labels) if len(labels) else None,  # what always telling the commonest class scores
        "accuracies": [each.model_dump() for each in classifier.accuracies],
    }
    yield ResultEvent(tree, classifier)


def labelled(job: TrainClassifierSettings, config: Config, pipeline: Pipeline) -> StagedWork[Parts]:
    """The data of a run with its classes, also where the run was trained without them."""
    if pipeline.num_classes:
        return (yield from data_of(job.run, config, pipeline))
    settings = config.data.model_copy(update={"labels": "auto"})
    parts = yield from loading(settings)
    if parts.train.labels is None:
        raise InputError(
            f"expected data with classes to train a classifier on, got {settings.source}, which has none; "
            "sort the images into folders, one a class"
        )
    return parts
