"""The job `tune`: what computes fastest on this machine is measured for one network, and kept."""

import os
from collections.abc import Generator
from pathlib import Path

from ancestral.compute import machine_name, remove_tuned, save_tuned, tuned_file
from ancestral.data.datasets import loading
from ancestral.jobs.events import Event, NoteEvent, ResultEvent
from ancestral.jobs.running import device_named
from ancestral.jobs.target import TuneSettings
from ancestral.machine import usable_cores
from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import planned_spec
from ancestral.progress import mapped
from ancestral.tuning import tuner


def tune(job: TuneSettings) -> Generator[Event, None, None]:
    """Measures, and stores what was found; the result's value is the `Tuning`."""
    pipeline, minutes = (yield from _measured(job)), 1.0 if job.minutes is None else job.minutes
    machine = machine_name(pipeline.device)
    yield NoteEvent(f"measuring on {machine}, for {minutes:g} minutes or little more")
    if (load_now := os.getloadavg()[0]) > 0.5 * usable_cores():
        busy = f"ancestral: warning: this machine is busy (load {load_now:.1f}): what is found holds where it stays so"
        yield NoteEvent(busy)
    found = yield from mapped(tuner.tuning(pipeline, minutes, job.compile), NoteEvent)
    network, spec, device = pipeline.config.network, pipeline.latent_spec, pipeline.device
    file = None if job.dry_run else save_tuned(found.choices, network, spec, device)
    comparisons = []
    for trial in found.comparisons:
        told = {name: value for name, value in vars(trial).items() if name != "outcome"}
        pairs = trial.outcome
        comparisons.append({**told, "ratio": pairs and pairs.ratio, "ratios": pairs.ratios if pairs else []})
    tree = {
        "machine": machine,
        "usual": found.usual.model_dump(),
        "choices": found.choices.model_dump(),
        "comparisons": comparisons,
        "images_per_second": {work: vars(speed) for work, speed in found.speeds.items()},
        "stored": str(file) if file else None,
    }
    yield ResultEvent(tree, found)


def forget(job: TuneSettings) -> Generator[Event, None, None]:
    """Takes away what is stored for the network; the result's value is a sentence."""
    pipeline = yield from _measured(job)
    network, spec, device = pipeline.config.network, pipeline.latent_spec, pipeline.device
    file, there = tuned_file(network, spec, device), remove_tuned(network, spec, device)
    what = f"took away {file}" if there else "nothing was stored"
    yield ResultEvent({"forgotten": str(file) if there else None}, f"{what}: the usual choices count")


def _measured(job: TuneSettings) -> Generator[Event, None, Pipeline]:
    """The pipeline in a folder, or a new one for the images that the settings name."""
    source, device = job.source, device_named(job.device)
    if isinstance(source, Path):
        return Pipeline.load(source, device, job.compute())
    yield from map(NoteEvent, source.notes)
    parts = yield from loading(source.config.data)
    seen = planned_spec(source.config.codec, parts.train.spec)  # no autoencoder is needed to measure what sees latents
    return Pipeline.fresh(source.config, seen, device)
