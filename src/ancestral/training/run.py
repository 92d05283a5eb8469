"""The folder of a run: what is in it, who may write to it, and whether a command means the same run."""

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ancestral.compute import Choices
from ancestral.config import ComputeSettings, Config, parse, read_settings
from ancestral.errors import InputError
from ancestral.files import write_whole

ADJUSTABLE = {
    "steps",
    "images",
    "minutes",
    "log_every_steps",
    "sample_every_steps",
    "checkpoint_every_steps",
    "checkpoint_every_minutes",
    "keep_checkpoints",
    "milestone_every_steps",
    "on_divergence",
    "rollbacks",
}
"""Settings of training that may change when a run goes on: they do not change what a step computes."""


@dataclass(frozen=True)
class RunFolder:
    """`path` holds config.json, compute.json, log.jsonl, timing.jsonl, samples/, checkpoints/ and pipeline/."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings, as JSON that `--config` reads."""
        return self.path / "config.json"

    @property
    def compute(self) -> Path:
        """How the machine it is trained on is used, and which machine that is."""
        return self.path / "compute.json"

    @property
    def log(self) -> Path:
        """What the computation determines."""
        return self.path / "log.jsonl"

    @property
    def timing(self) -> Path:
        """What the machine determines."""
        return self.path / "timing.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Everything a resume needs."""
        return self.path / "checkpoints"

    @property
    def samples(self) -> Path:
        """Grids drawn on the way."""
        return self.path / "samples"

    @property
    def pipeline(self) -> Path:
        """The averaged weights with all that sampling needs."""
        return self.path / "pipeline"

    def read_config(self) -> Config:
        """The settings of this run.

        Raises:
            InputError: no run here, or its config.json is damaged.
        """
        if not self.config.is_file():
            raise InputError(f"expected a run folder with a config.json, got {self.path}; `ancestral train` makes one")
        return parse(Config, read_settings(self.config), str(self.config))

    @contextmanager
    def claimed(self, config: Config) -> Iterator[None]:
        """Holds the run for one trainer, after checking that `config` continues what is there.

        The lock is the operating system's: it goes with the process that held it, however that ended.

        Raises:
            InputError: unwritable folder, another trainer at work, a folder of something else, or other settings.
        """
        self._make()
        with (self.path / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise InputError(
                    f"{self.path} is being trained by another process; wait for it, or set --out"
                ) from None
            self._agree(config)
            write_whole(self.config, config.model_dump_json(indent=2) + "\n")
            yield

    def computed_on(self, machine: str) -> bool:
        """Whether this run was computed on that machine so far, and so goes on as it was."""
        return self.compute.is_file() and read_settings(self.compute).get("machine") == machine

    def settled(
        self,
        now: Choices,
        asked: ComputeSettings,
        machine: str,
        say: Callable[[str], None],
        processes: int = 1,
        parallel: str = "ddp",
    ) -> Choices:
        """How this run is computed: as it was so far where that was on this machine, under what is asked for.

        So a run goes on bit for bit though tuned meanwhile. Whatever changes is said, and kept for the next time: how
        many processes train, and in which way, among it.
        """
        before = read_settings(self.compute) if self.compute.is_file() else None
        chosen = now
        if before is not None and self.computed_on(machine):
            chosen = parse(Choices, before.get("choices", {}), str(self.compute)).overlaid(asked)
        after: dict[str, Any] = {"machine": machine, "choices": chosen.model_dump(mode="json")}
        if processes > 1:
            after |= {"processes": processes, "parallel": parallel}
        if before not in (None, after):
            say(f"{self.path} was computed otherwise so far ({self.compute.name}): from here on equal up to rounding")
        write_whole(self.compute, json.dumps(after, indent=2) + "\n")
        return chosen

    def _make(self) -> None:
        try:
            if self.path.is_dir() and not self.config.is_file() and any(self.path.iterdir()):
                raise InputError(f"expected a run folder or an empty one, got {self.path}, which holds other files")
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "lock").touch()
        except OSError as fault:
            raise InputError(
                f"cannot write to {self.path}: {fault.strerror}; choose another folder with --out"
            ) from None

    def _agree(self, config: Config) -> None:
        if not self.config.is_file():
            return
        before, now = _essence(self.read_config()), _essence(config)
        for name in sorted(before):
            if before[name] != now[name]:
                raise InputError(
                    f"{self.path} was trained with {name} = {json.dumps(before[name])}, "
                    f"not {json.dumps(now[name])}; repeat its settings, or train into another folder with --out"
                )


def _essence(config: Config) -> dict[str, Any]:
    """Every setting that a run cannot change, by dotted name."""
    tree = config.model_dump(mode="json")
    tree.pop("sampling")
    tree.pop("compute")
    tree["training"] = {k: v for k, v in tree["training"].items() if k not in ADJUSTABLE}
    return dict(_flat(tree))


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
