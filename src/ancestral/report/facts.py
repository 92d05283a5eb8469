"""What a run folder knows, read once for the whole page."""

from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from ancestral.colors import check_channels
from ancestral.data.datasets import load
from ancestral.data.imageset import ImageSet, Parts
from ancestral.errors import InputError
from ancestral.evaluation.evaluate import Evaluation
from ancestral.files import read_json
from ancestral.migrations import evaluation as migrated
from ancestral.pipeline import Pipeline
from ancestral.settings import Config, parse
from ancestral.text import printable
from ancestral.training.logs import LogLines, read_lines
from ancestral.training.run import RunFolder

EVALUATION = "evaluation.json"
"""Where `ancestral evaluate RUN` leaves it in a run."""


@dataclass(frozen=True)
class RunFacts:
    """A run, its averaged weights, its data, its logs and, where it has been evaluated, its numbers."""

    folder: RunFolder
    config: Config
    pipeline: Pipeline
    parts: Parts
    log: list[dict[str, Any]]
    timing: list[dict[str, Any]]
    evaluation: Evaluation | None
    left_out: int = 0
    """Lines of the logs that are none, as a full disk tears them."""

    @property
    def name(self) -> str:
        """The data set, fit for printing: a name, or the last part of a folder's path."""
        return printable(Path(self.config.data.source).name or self.config.data.source)

    def curve(self, quantity: str) -> tuple[list[int], list[Any]]:
        """(images seen, values) of the lines of the log that hold `quantity`."""
        lines = [line for line in self.log if quantity in line and "images" in line]
        return [line["images"] for line in lines], [line[quantity] for line in lines]

    def last(self, quantity: str) -> float | None:
        """The newest value of `quantity` in the log."""
        values = [value for value in self.curve(quantity)[1] if value is not None]
        return float(values[-1]) if values else None

    def minutes(self) -> float | None:
        """Minutes of training up to the last line of the log."""
        reached = self.log[-1]["step"] if self.log else 0
        known = [*takewhile(lambda line: line["step"] <= reached, (line for line in self.timing if "minutes" in line))]
        return known[-1]["minutes"] if known else None

    def held_out(self) -> tuple[str, ImageSet] | None:
        """The part whose images were not trained on, by name: validation where there is one, else test."""
        named = {"validation": self.parts.validation, "test": self.parts.test}
        return next(((name, images) for name, images in named.items() if len(images)), None)


def read_facts(path: Path) -> RunFacts:
    """Everything about the run at `path`.

    Raises:
        InputError: no run, no pipeline yet, damaged files, or images that are gone or are no longer those of the run.
    """
    folder = RunFolder(path)
    config = folder.read_config()
    pipeline = Pipeline.load(path)
    check_channels(pipeline.spec.channels)
    parts = load(config.data)
    if (parts.train.shape, parts.train.class_names) != (pipeline.spec.shape, pipeline.spec.class_names):
        raise InputError(
            f"expected images of shape {pipeline.spec.shape} and {pipeline.num_classes} classes in "
            f"{printable(config.data.source)}, got {parts.train.shape} and {len(parts.train.class_names)}: "
            "restore the images that the run was trained on"
        )
    log, timing = (read_lines(file) if file.is_file() else LogLines([], 0) for file in (folder.log, folder.timing))
    evaluation = read_evaluation(path / EVALUATION) if (path / EVALUATION).is_file() else None
    left_out = log.left_out + timing.left_out
    return RunFacts(folder, config, pipeline, parts, log.records, timing.records, evaluation, left_out)


def read_evaluation(file: Path) -> Evaluation:
    """What `ancestral evaluate` wrote.

    Raises:
        InputError: unreadable, or no such thing.
    """
    return parse(Evaluation, migrated(read_json(file)), str(file))
