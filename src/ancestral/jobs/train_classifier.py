"""The job `train-classifier`: a classifier of noisy images on the data of a run and under its noise."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import numpy as np

from ancestral.data.datasets import loading
from ancestral.data.imageset import Parts
from ancestral.errors import InputError
from ancestral.jobs.events import Event, FileEvent, ResultEvent, StartEvent
from ancestral.jobs.measurement_settings import TrainClassifierSettings
from ancestral.jobs.measuring import data_of
from ancestral.jobs.running import together
from ancestral.jobs.training_events import shown
from ancestral.outputs import CLASSIFIER, Output, check_folder, claim
from ancestral.pipeline import Pipeline
from ancestral.pipeline.classifying import CLASSIFIER_FILE, NoisyClassifier, load_classifier
from ancestral.progress import StagedWork
from ancestral.settings import ComputeSettings, Config
from ancestral.training import loop
from ancestral.training.logs import read_log
from ancestral.training.noisy_classifier import Classifying, measured, new_classifier, recipe
from ancestral.training.run import RunFolder


def train(job: TrainClassifierSettings, stop: Callable[[], bool] = lambda: False) -> Generator[Event, None, None]:
    """Trains, measures and writes the file; the result's value is the classifier. Closed or stopped it saves, and goes
    on from there, as `jobs.train` does; the value is then the last step.
    """
    file = job.out or job.run / CLASSIFIER_FILE
    claim([Output(file, CLASSIFIER)], job.overwrite)
    folder = RunFolder(file.with_suffix(""))
    check_folder(folder.path)
    config = RunFolder(job.run).read_config()
    minutes = 2.0 if job.minutes is None and job.steps is None else job.minutes
    with together(job.device) as (device, processes, more):
        yield from more
        pipeline = Pipeline.load(job.run, device).with_processes(processes)
        parts = yield from labelled(job, config, pipeline)
        training = recipe(config.training, job.steps, minutes)
        settings = {"training": training, "seed": job.seed, "compute": ComputeSettings()}  # the machine's own choices
        classifier = new_classifier(pipeline, parts.train.class_names, job.seed)
        task = Classifying(classifier, config.model_copy(update=settings), pipeline.compute, pipeline.codec)
        yield StartEvent(f"training a classifier of {len(classifier.class_names)} classes in {folder.path}")
        said: list[str] = []
        steps = loop.train(task, parts, folder, said.append, stop, processes, extend=True)
        last = yield from shown(steps, said)
        processes.barrier()  # the main one has saved
    if last is not None and last.stop and last.fraction < 1:
        yield ResultEvent({"finished": False, "run": str(folder.path)}, last.step)
        return
    trained = load_classifier(folder.path / CLASSIFIER_FILE, classifier.spec, classifier.diffusion, device)
    classifier = measured(trained, parts.test, pipeline.codec)
    if processes.is_main:
        classifier.save(file)
        yield FileEvent(file)
    yield ResultEvent(_tree(classifier, parts, folder, file), classifier)


def _tree(classifier: NoisyClassifier, parts: Parts, folder: RunFolder, file: Path) -> dict[str, Any]:
    """What is told of a classifier that was measured."""
    labels = np.zeros(0, int) if parts.test.labels is None else parts.test.labels
    commonest, last = int(np.bincount(labels, minlength=1).max()), read_log(folder.timing)[-1]
    return {
        "finished": True,
        "run": str(folder.path),
        "file": str(file),
        "steps": last["step"],
        "seconds": 60 * last["minutes"],
        "digest": classifier.digest,
        "classes": classifier.class_names,
        "num_held_out": classifier.num_held_out,
        "chance": commonest / len(labels) if len(labels) else None,  # what always telling the commonest class scores
        "accuracies": [each.model_dump() for each in classifier.accuracies],
    }


def labelled(job: TrainClassifierSettings, config: Config, pipeline: Pipeline) -> StagedWork[Parts]:
    """The data of a run with its classes, also where the run was trained without them."""
    if pipeline.num_classes:
        return (yield from data_of(job.run, config, pipeline))
    settings = config.data.model_copy(update={"labels": "auto"})
    with pipeline.processes.main_first():
        parts = yield from loading(settings)
    if parts.train.labels is None:
        raise InputError(
            f"expected data with classes to train a classifier on, got {settings.source}, which has none; "
            "sort the images into folders, one a class"
        )
    return parts
