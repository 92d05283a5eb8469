"""The job `data pack`: images as shards, to be trained on from where they lie."""

import shlex
from collections.abc import Generator
from dataclasses import asdict
from pathlib import Path

from ancestral.data.listing import counted
from ancestral.data.packing import packing
from ancestral.files import is_url
from ancestral.jobs.data_notes import notes_on
from ancestral.jobs.data_settings import PackSettings
from ancestral.jobs.events import Event, ResultEvent


def pack(job: PackSettings) -> Generator[Event, None, None]:
    """Packs, or goes on where it was stopped; the result's value is what was packed."""
    done = yield from packing(job.data, job.dest, job.shard_images)
    yield from notes_on(done, job.source)
    index = done.index
    is_name = not is_url(job.dest) and Path(job.dest).name == job.dest  # which could be a preset's
    tree = {
        "dest": job.dest,
        "already": done.already,
        "images": index.count,
        "shape": index.shape,
        "class_names": index.class_names,
        "attribute_names": index.attribute_names,
        "columns": [*index.columns],
        "shards": len(index.shards),
        "bytes": sum(index.shard_bytes),
        "hash": index.hash,
        "num_test": index.num_test,
        "num_validation": index.num_validation,
        "bad": index.bad,
        "left_out": [asdict(each) for each in counted(index.bad, done.left_out)],
        "notes": done.notes,
        "command": shlex.join(["ancestral", "train", f"./{job.dest}" if is_name else job.dest]),
    }
    yield ResultEvent(tree, done)
