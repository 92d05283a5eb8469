"""The loop around Algorithm 1: a generator that can be stopped anywhere and goes on as if it had not been.

What stands between the steps: logs, validation, grids (training_log.py), checkpoints and going back (checkpointer.py).
"""

import json
from collections.abc import Callable, Generator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ancestral.compute import Choices, given, in_words, machine_name
from ancestral.data.imageset import ImageSet, Parts
from ancestral.errors import Diverged, InputError
from ancestral.machine import keep_freed_memory
from ancestral.pipeline import Pipeline
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.settings import AnyConfig, Config, TrainingSettings, flat
from ancestral.training.checkpointer import Checkpointer
from ancestral.training.denoiser import Denoising
from ancestral.training.engine import Parallel
from ancestral.training.means import ValidationLoss
from ancestral.training.run import RunFolder
from ancestral.training.step import Trainer
from ancestral.training.task import Task
from ancestral.training.training_log import TrainingLog


class Progress(NamedTuple):
    step: int
    images: int
    fraction: float  # of the budget, 0..1
    seconds: float
    record: dict[str, Any] | None  # the line logged, if any
    stop: bool = False  # a process was asked to stop, and all are told so after the same step


def train(
    task: Task | Pipeline,
    parts: Parts,
    run: RunFolder | Path | str,
    say: Callable[[str], None] = print,
    asked: Callable[[], bool] = lambda: False,
    processes: Processes = SINGLE_PROCESS,
    parallel: Parallel = "ddp",
    extend: bool = False,
) -> Generator[Progress, None, None]:
    """Trains to the end of the budget, yielding after every step; resumes what is in `run`.

    Closing the generator saves a checkpoint first, so stopping costs nothing. At the end, and with every checkpoint,
    `run` holds what the task keeps of the averaged weights.

    Args:
        task: what is trained; of a pipeline its denoiser, of which `run.pipeline` holds the averaged weights.
        run: the folder of the run, which is made where there is none.
        asked: whether this process has been asked to stop; told to all by `Progress.stop`.
        processes: those that train together; each calls this with the same settings, images and run, and closes the
            generator after the same step. The main one writes and speaks.
        parallel: whether each of them holds all weights (ddp) or some rows of each (fsdp).
        extend: whether the learning rate of a run that goes on with another budget may rise again.

    Raises:
        InputError: another run's folder or settings, a learning rate that would leap, changed data, only damaged
            checkpoints, fewer images in a batch than processes, or processes that were told otherwise.
        Lost: another process is gone.
        Diverged: and no going back (`Checkpointer.roll_back`); the last checkpoint has the weights before.
        CannotWrite: the disk is full or gone.
    """
    keep_freed_memory()
    task = Denoising(task) if isinstance(task, Pipeline) else task
    config, run = task.config, run if isinstance(run, RunFolder) else RunFolder(run)
    check_alike(processes, config, parts.train.hash, parallel, task.tokenizer.hash if task.tokenizer else "none")
    if parallel == "fsdp" and any(module.fresh is None for module in task.modules):
        raise InputError("expected a network of this package with fsdp, got one of one's own; use ddp")
    if processes.world_size > config.training.batch_size:
        raise InputError(
            f"expected a batch of at least an image for each of {processes.world_size} processes, got "
            f"{config.training.batch_size}; set --training.batch_size higher, or start fewer"
        )
    say = say if processes.is_main else lambda text: None
    with run.claimed(config, idle_settings(parts.train)) if processes.is_main else nullcontext(lambda: None) as check:
        processes.barrier()
        if processes.is_main and task.tokenizer is not None and isinstance(config, Config):
            run.keep(task.tokenizer, config.text)
        found = (run.read(type(config)) if processes.is_main else config).own_training
        before = TrainingSettings.model_validate_json(processes.broadcast(found.model_dump_json()))
        task = task.with_compute(_settled(task, parts, run, say, processes, parallel))
        trainer = Trainer(task, parts.train, processes, parallel, asked)
        validation = ValidationLoss(task, parts.validation) if len(parts.validation) else None
        log = TrainingLog(trainer, run, check, say)
        checkpointer = Checkpointer(log, parts.train.hash)
        checkpointer.resume(before, extend)
        log.start()
        if processes.is_main:
            run.adopt(config)
        try:
            while trainer.fraction < 1:
                try:
                    trainer.advance()
                except Diverged as fault:
                    checkpointer.roll_back(fault)
                    continue
                record = log.after_step(validation)
                checkpointer.after_step()
                stop = trainer.engine.stop
                yield Progress(trainer.step, trainer.images, trainer.fraction, trainer.seconds, record, stop)
        except GeneratorExit:
            checkpointer.save()
            raise
        checkpointer.finish()


def idle_settings(images: ImageSet) -> tuple[str, ...]:
    """The settings, by dotted name, that mean nothing for these images, or say where a file lies that a checkpoint
    knows by its content."""
    return ("codec.perceptual_weights", *(("data.attributes",) if images.attributes is None else ()))


def check_alike(processes: Processes, config: AnyConfig, images: str, parallel: str, tokenizer: str = "none") -> None:
    """Compares settings and the hashes of images and tokenizer with those of the main process, together; InputError on
    every one.

    Each process was started by a command of its own, and sees a disk of its own. Were one told another learning rate,
    or did it see other images, their gradients would be averaged all the same and nothing would look wrong.
    """
    tree = config.model_dump(mode="json", exclude={"compute"})
    hashes = {"images of hash": images[:16], "a tokenizer of hash": tokenizer[:16]}
    first, *others = processes.all_gather({**dict(flat(tree)), "--parallel": parallel, **hashes})
    faults = [
        f"process {rank} has {name} {json.dumps(other[name])}, not {json.dumps(first[name])}"
        for rank, other in enumerate(others, start=1)
        for name in [name for name in first if name in other and other[name] != first[name]][:3]  # enough to see
    ]
    if faults:
        raise InputError(f"expected the same of every process, got {'; '.join(faults)}; give each the same command")


def _settled(
    task: Task, parts: Parts, run: RunFolder, say: Callable[[str], None], processes: Processes, parallel: Parallel
) -> Choices:
    """How the machine is used, as the main process decides it for all."""
    config, decided, machine = task.config, task.compute, machine_name(task.device)
    chosen = decided
    if processes.is_main:
        now = decided if run.computed_on(machine) else task.fitted(parts.train, say, processes)
        threads = torch.get_num_threads() if task.device.type == "cpu" else None
        chosen = run.resume_choices(now, config.compute, machine, say, processes.world_size, parallel, threads)
        told = decided if chosen == now else chosen
        if how := in_words(told, config.compute, task.network_settings, task.spec, task.device):
            say(how)
        if not processes.is_single and "threads" not in given(config.compute):
            chosen = chosen.model_copy(update={"threads": None})  # the processes divide the cores among them
    return Choices.model_validate_json(processes.broadcast(chosen.model_dump_json()))
