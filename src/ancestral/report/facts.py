"""What a run folder knows, read once for the whole page, and how a measured number stands on it, or its absence."""

import math
import shlex
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any

from ancestral.colors import check_channels
from ancestral.data.datasets import load
from ancestral.data.imageset import ImageSet, Parts
from ancestral.errors import InputError
from ancestral.evaluation import evaluate
from ancestral.evaluation.evaluate import Evaluation
from ancestral.pipeline import Pipeline
from ancestral.report.html import Html, element, section
from ancestral.settings import AnyConfig, Config
from ancestral.text import printable
from ancestral.training.logs import LogLines, read_lines
from ancestral.training.run import RunFolder


@dataclass(frozen=True)
class LoggedRun(ABC):
    """A run of whatever is trained, and its logs."""

    folder: RunFolder
    config: AnyConfig
    log: list[dict[str, Any]]
    timing: list[dict[str, Any]]
    left_out: int = field(default=0, kw_only=True)  # lines of the logs that are none, as a full disk tears them

    @abstractmethod
    def weights_hash(self) -> str:
        """That of the averaged weights."""

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

    def command(self, verb: str) -> Html:
        """What measures this run by a verb, for a shell."""
        return element("code", f"ancestral {verb} {shlex.quote(printable(str(self.folder.path)))}")


@dataclass(frozen=True)
class RunFacts(LoggedRun):
    """A run, its averaged weights, its data, its logs and, where it has been evaluated, its numbers."""

    config: Config
    pipeline: Pipeline
    parts: Parts
    evaluation: Evaluation | None

    def weights_hash(self) -> str:
        return self.pipeline.weights_hash()

    def held_out(self) -> tuple[str, ImageSet] | None:
        """The part whose images were not trained on, by name: validation where there is one, else test."""
        named = {"validation": self.parts.validation, "test": self.parts.test}
        return next(((name, images) for name, images in named.items() if len(images)), None)


def read_facts(path: Path) -> RunFacts:
    """Everything about the run at `path`; an InputError where it lacks something, or its images are others now."""
    folder = RunFolder(path)
    config = folder.read_config()
    pipeline = Pipeline.load(path)
    check_channels(pipeline.spec.channels)
    parts = load(config.data)
    same = (parts.train.shape, parts.train.class_names) == (pipeline.spec.shape, pipeline.spec.class_names)
    if not same or not parts.train.has(pipeline.spec.attribute_names):
        expected = f"images of shape {pipeline.spec.shape}, {pipeline.spec.kinds or 'no classes'}"
        got = f"{parts.train.shape}, {parts.train.spec.kinds or 'none'}: restore the images that the run was trained on"
        raise InputError(f"expected {expected} in {printable(config.data.source)}, got {got}")
    (log, timing), file = read_logs(folder), path / evaluate.FILE
    evaluation = evaluate.read_evaluation(file) if file.is_file() else None
    left_out = log.left_out + timing.left_out
    return RunFacts(folder, config, log.records, timing.records, pipeline, parts, evaluation, left_out=left_out)


def read_logs(folder: RunFolder) -> tuple[LogLines, LogLines]:
    """What a run has logged, and when; nothing where there is no file yet."""
    log, timing = (read_lines(file) if file.is_file() else LogLines([], 0) for file in (folder.log, folder.timing))
    return log, timing


def number(value: float | None, digits: int = 3) -> str:
    """A number as it is read: thousands apart, few digits behind the point; a true minus."""
    if value is None:
        return "–"
    said = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.{digits}g}"
    return said.replace("-", "−")


def with_error(value: float, error: float | None) -> str:
    """value ± one standard error, the error to two digits and the value to as many places."""
    if not error:
        return number(value)
    places = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{places}f} ± {error:,.{places}f}".replace("-", "−")


def not_measured(facts: LoggedRun, anchor: str, title: str, verb: str) -> Html:
    """A section that says which command measures what it would show."""
    return section(anchor, title, element("p", "Not measured yet: run ", facts.command(verb), " and report again."))


def out_of_date(facts: LoggedRun, words: str, weights: str, verb: str) -> list[Html]:
    """A warning where the network has other weights now; `words` begin it."""
    now = facts.weights_hash()
    if weights == now:
        return []
    said = f"{words} other weights, {weights}; this page shows {now}. Run "
    return [element("p", element("strong", "Out of date. "), said, facts.command(verb), " and report again.")]
