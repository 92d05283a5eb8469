"""A training in a process of its own, and what it took."""

import json
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ancestral.files import read_json, write_whole
from ancestral.settings import flat
from ancestral.training.logs import read_log
from ancestral.training.run import RunFolder
from distribution.models import ancestral


def training_words(target: str, changes: Mapping[str, Any]) -> list[str]:
    """Of the command that trains it with these settings, nested, but for the folder of the run."""
    options = ((f"--{name}", *(each if isinstance(each, tuple) else (each,))) for name, each in flat({**changes}))
    return ["train", target, *(str(word) for option in options for word in option)]


def trained(words: Sequence[str], folder: Path) -> float:
    """Trains to the end of the budget in a process of its own; how many cores it had on the average, of all times that
    the run went on."""
    file = folder.with_name(f"{folder.name}.seconds.json")
    seconds = read_json(file) if file.is_file() else {"processor": 0.0, "wall": 0.0, "finished": False}
    if not seconds["finished"]:
        began, used = time.monotonic(), _processor_seconds()
        try:
            ancestral([*words, "--out", str(folder), "--yes"], folder.parent)
            seconds["finished"] = True
        finally:
            seconds["processor"] += _processor_seconds() - used
            seconds["wall"] += time.monotonic() - began
            write_whole(file, json.dumps(seconds) + "\n")
    return float(seconds["processor"] / seconds["wall"])


def training_of(run: RunFolder) -> dict[str, Any]:
    """What the logs of a finished run say; of an autoencoder before it, how many images that saw."""
    log, timing = read_log(run.log), read_log(run.timing)
    images, minutes = log[-1]["images"], timing[-1]["minutes"]
    first = read_log(RunFolder(run.autoencoder).log)[-1]["images"] if run.autoencoder.is_dir() else None
    return {
        "images": images,
        "minutes": minutes,
        "images_per_second": images / minutes / 60,
        "watching_minutes": sum(line["watching_seconds"] for line in timing) / 60,
        "autoencoder_images": first,
        "compute": read_json(run.compute),
    }


def _processor_seconds() -> float:
    """Of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
