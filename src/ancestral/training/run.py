"""The folder of a run: what is in it, who may write to it, and whether a command means the same run."""

import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from ancestral.compute import Choices
from ancestral.errors import CannotWrite, InputError
from ancestral.files import LEFT_BY_SYSTEM, as_path, open_to_append, put_in_place, write_whole, writing
from ancestral.folders import AUTOENCODER, CODEC, CODEC_FILE, what_is
from ancestral.migrations import computed
from ancestral.migrations import settings as migrated
from ancestral.outputs import check_part
from ancestral.pipeline.folder import read_tokenizer
from ancestral.settings import AnyConfig, AnyText, ComputeSettings, Config, flat, parse, read_settings
from ancestral.settings.training import ADJUSTABLE
from ancestral.text_reader import TEXT_ENCODER, TOKENIZER, TextReader

LEFT_BEHIND = re.compile(rf"lock|\.(config|codec|compute)\.json\..*|\.building-.*|{LEFT_BY_SYSTEM.pattern}")
"""Names in a folder that is as good as empty."""
FILLED = ("checkpoints", "averages", "samples", "log.jsonl", "timing.jsonl")  # nothing while nothing is in it

C = TypeVar("C", bound=AnyConfig)


@dataclass(init=False)
class RunFolder:
    """What lies where in the folder of a run."""

    path: Path

    def __init__(self, path: Path | str) -> None:
        self.path = as_path(path)
        self.config = self.path / "config.json"  # the settings, which `--config` reads
        self.compute = self.path / "compute.json"  # how the machine it is trained on is used, and which that is
        self.log = self.path / "log.jsonl"  # what the computation determines
        self.timing = self.path / "timing.jsonl"  # what the machine determines
        self.checkpoints = self.path / "checkpoints"  # everything a resume needs
        self.tokenizer = self.path / TOKENIZER  # of its captions, where it reads text
        self.text_encoder = self.path / TEXT_ENCODER  # that exists already, where that reads it
        self.averages = self.path / "averages"  # snapshots of which other averages are made
        self.samples = self.path / "samples"  # grids generated on the way
        self.pipeline = self.path / "pipeline"  # the averaged weights with all that sampling needs
        self.chosen_average = self.path / "average.json"  # whose weights those are, where they are not the run's own
        self.codec = self.path / CODEC  # those of an autoencoder
        self.autoencoder = self.path / AUTOENCODER  # a run of its own, of the autoencoder whose latents are diffused
        self.latents = self.path / "latents"  # that it makes of the images to train on

    def read_config(self) -> Config:
        """The settings of this run. Raises InputError where there is none, or its config.json is damaged."""
        if not self.config.is_file():
            raise InputError(f"expected a run folder with a config.json, got {what_is(self.path)}")
        return self.read(Config)

    def read(self, kind: type[C]) -> C:
        """The same, of what the run is of."""
        return parse(kind, migrated(read_settings(self.config)), str(self.config))

    @contextmanager
    def claimed(self, config: AnyConfig, idle: Collection[str] = ()) -> Iterator[Callable[[], None]]:
        """Holds the run for one trainer, after checking that `config` continues what is there, but for the settings
        called `idle`, by dotted name, which mean nothing for its images.

        Gives a check to be called before anything is written, which raises CannotWrite where the folder was renamed,
        removed or replaced.

        The settings of a new run are written at once, those of an old one by `adopt`. The locks are the operating
        system's: they go with the process that held them, however that ended. One is on the folder itself, so that a
        removed lock file lets nobody in; the other on the file, for network disks that lock no folders.
        """
        files = (self.config, self.compute, self.log, self.timing, self.chosen_average)
        parts = (
            self.checkpoints,
            self.averages,
            self.samples,
            self.pipeline,
            self.codec,
            self.tokenizer,
            self.text_encoder,
        )
        for entry in (*files, *parts, self.autoencoder, self.latents):
            check_part(entry)  # what is written in a run is written there, and not where a link leads
        lock = self._make()
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._lock(folder, (errno.EWOULDBLOCK,))
            self._lock(lock.fileno())
            check = partial(_check_same, self.path, os.fstat(folder))
            check()
            if self.config.is_file():
                self._agree(config, idle)
            else:
                self.adopt(config)
            yield check
        finally:
            os.close(folder)
            lock.close()

    def adopt(self, config: AnyConfig) -> None:
        """Keeps the settings that the run goes on with, and removes what a kill in the middle of that left behind."""
        write_whole(self.config, config.model_dump_json(indent=2) + "\n")
        for name in (self.config.name, self.compute.name):
            for left_behind in self.path.glob(f".{name}.*"):
                left_behind.unlink(missing_ok=True)

    def keep(self, tokenizer: TextReader, settings: AnyText) -> None:
        """Keeps the tokenizer of the run's captions; an InputError where it has another one."""
        if (kept := read_tokenizer(self.path, settings)) is not None:
            if kept.hash != tokenizer.hash:
                raise InputError(f"expected the tokenizer in {self.tokenizer}, got another; load that one")
            return
        building = self.path / ".text.new"
        with writing(self.path, "free space, or choose another folder with --out"):
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir()
            tokenizer.write(building)
            for part in sorted(building.iterdir()):  # the tokenizer, by which all are found, last
                put_in_place(part, self.path / part.name)
            building.rmdir()

    def computed_on(self, machine: str) -> bool:
        """Whether this run was computed on that machine so far, and so goes on as it was."""
        return (self._computed() or {}).get("machine") == machine

    def _computed(self) -> dict[str, Any] | None:
        """How this run was computed so far; None: not at all."""
        return computed(read_settings(self.compute)) if self.compute.is_file() else None

    def resume_choices(
        self,
        now: Choices,
        asked: ComputeSettings,
        machine: str,
        say: Callable[[str], None],
        processes: int = 1,
        parallel: str = "ddp",
        threads: int | None = None,
    ) -> Choices:
        """How this run is computed: as it was so far where that was on this machine, under what is asked for, so that
        it goes on bit for bit though tuned meanwhile. Whatever changes is said, and kept for the next time.

        Args:
            threads: that a CPU computes with unless a choice says otherwise; None: on a GPU.
        """
        before = self._computed()
        chosen = now
        if before is not None and self.computed_on(machine):
            chosen = parse(Choices, before.get("choices", {}), str(self.compute)).overlaid(asked)
        after: dict[str, Any] = {"machine": machine, "choices": chosen.model_dump(mode="json")}
        if processes > 1:
            after |= {"processes": processes, "parallel": parallel}
        if threads is not None:
            after |= {"threads": chosen.threads or threads}
        if before is not None and {**after, **before} != after:
            was, now_on = before.get("threads"), after.get("threads")  # an older file says none
            other_threads = f", on {was} threads and not {now_on}" if was not in (None, now_on) else ""
            say(
                f"{self.path} was computed otherwise so far ({self.compute.name}{other_threads}): from here on equal "
                "up to rounding"
            )
        write_whole(self.compute, json.dumps(after, indent=2) + "\n")
        return chosen

    def _make(self) -> BinaryIO:
        """The folder, if there is none, and the lock file, open; nothing is opened through a link."""
        try:
            there = [] if self.config.is_file() or not self.path.is_dir() else [*self.path.iterdir()]
            if others := sorted(each.name for each in there if not _is_nothing(each)):
                raise InputError(
                    f"expected a run folder or an empty one, got {self.path}, which holds other files, such as "
                    f"{others[0]}"
                )
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            said = f"cannot write to {self.path}: {fault.strerror}; choose another folder with --out"
            raise InputError(said) from None
        return open_to_append(self.path / "lock")

    def _lock(self, handle: int, refusals: tuple[int, ...] | None = None) -> None:
        """Locks an open file; `refusals`: the errors that mean another trainer, None: all."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as fault:
            if refusals is None or fault.errno in refusals:
                said = f"{self.path} is being trained by another process; wait for it, or set --out"
                raise InputError(said) from None

    def _agree(self, config: AnyConfig, idle: Collection[str]) -> None:
        before, now = _fixed_settings(self.read(type(config))), _fixed_settings(config)
        for name in sorted(before.keys() & now.keys() - {*idle}):  # the fields of another choice follow from its name
            if before[name] != now[name]:
                raise InputError(
                    f"{self.path} was trained with {name} = {json.dumps(before[name])}, "
                    f"not {json.dumps(now[name])}; repeat its settings, or train into another folder with --out"
                )


class CodecRunFolder(RunFolder):
    """The folder of the run of an autoencoder, whose settings bear another name: nothing takes it for a pipeline's."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self.config = self.path / CODEC_FILE


def _check_same(path: Path, claimed: os.stat_result) -> None:
    """That the folder is still the one that was claimed, which is open, so that no other can have its identity."""
    try:
        same, why = os.path.samestat(path.stat(), claimed), "another folder bears its name now"
    except OSError as fault:
        same, why = False, str(fault.strerror)
    if not same:
        raise CannotWrite(
            f"cannot write to {path}: it was renamed, removed or replaced while it was trained in ({why}); "
            "put it back and give the same command again"
        )


def _is_nothing(entry: Path) -> bool:
    """Whether a run can begin beside it: what a kill or a system has left, or a part of a run with nothing in it."""
    if LEFT_BEHIND.fullmatch(entry.name):
        return True
    if entry.name not in FILLED:
        return False
    return all(map(_is_nothing, entry.iterdir())) if entry.is_dir() else entry.stat().st_size == 0


def _fixed_settings(config: AnyConfig) -> dict[str, Any]:
    """Every setting that a run cannot change, by dotted name."""
    tree = config.model_dump(mode="json", exclude={"sampling": True, "compute": True, "training": ADJUSTABLE})
    return dict(flat(tree))
