"""The job `evaluate`: images are generated and measured against those of the run's data, beside the floors."""

from collections.abc import Generator

import numpy as np

from ancestral.data.imageset import ImageSet
from ancestral.evaluation.evaluate import (
    FILE,
    PICTURE,
    Evaluation,
    as_pixels,
    check_counts,
    evaluating,
    read_evaluation,
)
from ancestral.evaluation.inception import load_inception
from ancestral.evaluation.settings import EvaluationSettings
from ancestral.files import write_whole
from ancestral.jobs.events import Event, FileEvent, ResultEvent
from ancestral.jobs.guides import prepared
from ancestral.jobs.measurement_settings import EvaluateSettings
from ancestral.jobs.measuring import data_of, followed, generated, priced, run_and_results
from ancestral.jobs.running import Load, check_asked, together
from ancestral.outputs import GENERATED, Output, claim, place_for
from ancestral.pipeline import Pipeline
from ancestral.rng import mix
from ancestral.tensors import Pixels
from ancestral.training.default_sampling import config_of
from ancestral.tuning.price import of_chains
from ancestral.viz import pictures
from ancestral.viz.boxes import Box


def evaluate(job: EvaluateSettings, load: Load = Pipeline.load) -> Generator[Event, None, None]:
    """Generates images, measures them and writes evaluation.json, and the pairs of it as a picture; the result's value
    is the evaluation."""
    count, asked = job.num_images, EvaluationSettings(seed=job.seed)
    run, out = run_and_results(job.run)
    file = place_for(out / FILE, count, lambda file: read_evaluation(file).num_generated, job.overwrite)
    picture = file.with_name(PICTURE.replace("evaluation", file.stem, 1))
    claim([Output(picture, GENERATED)], job.overwrite)
    with together(job.device) as (device, processes, notes):
        yield from notes
        config, pipeline = config_of(run), load(run, device, job.compute)
        pipeline, settings = prepared(pipeline.with_processes(processes), job, job.changes(), run)
        extractor = None if job.inception is None else load_inception(job.inception)
        parts = yield from data_of(run, config, pipeline)
        check_counts(count, parts, asked, extractor is None)
        price = of_chains(pipeline, settings, count, pipeline.sampler(settings).network_calls(settings.steps))
        condition = pipeline.in_turn(count, parts.train)
        check_asked(pipeline, condition, settings)
        price = yield from priced(price, job, pipeline, out, "lower --images or --steps", f"{count:,} images")
        seeds = [mix(job.seed, "evaluation", i) for i in range(count)]
        images = yield from followed("generating", generated(pipeline, seeds, condition, settings))
        if not processes.is_main:
            return
        work = evaluating(images, condition.labels, parts, asked, extractor)
        result = yield from followed("learning features", work)
        pictures.save_png(picture_of(result, images, parts.train), picture, {"weights": pipeline.weights_hash()})
        yield FileEvent(picture)
        write_whole(file, result.model_dump_json(indent=2) + "\n")
        yield FileEvent(file)
        yield ResultEvent(result.model_dump(mode="json") | {"price": price.as_tree()}, result)


def picture_of(result: Evaluation, images: Pixels, train: ImageSet) -> Box:
    """Its pairs."""
    generated, training = zip(*((pair.generated, pair.training) for pair in result.pairs), strict=True)
    return pictures.pairs(images[[*generated]], as_pixels(train.ordered(np.array(training))))
