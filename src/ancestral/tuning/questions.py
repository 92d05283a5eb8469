"""What may be asked of a machine: each choice that is left open, and the values that lie beside the usual one."""

from dataclasses import dataclass
from typing import Literal

from ancestral.compute import Choices, given
from ancestral.settings import Config

Work = Literal["training", "generating"]
"""What is timed: optimiser steps, or steps of a chain as the settings have it."""
Value = str | int | None
"""Of a choice."""
FEWEST, MOST = 8, 256
"""Images generated at once that are tried on a CPU; on a GPU eight times as many."""


@dataclass(frozen=True)
class Question:
    """A choice that is left open.

    Args:
        work: what shows the difference.
        choice: the field of `Choices`.
        ways: other values, in rows; a row is followed for as long as each value is faster than what came before it.
    """

    work: Work
    choice: str
    ways: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True)
class Limits:
    """What the machine can do at all.

    Args:
        gpu: whether it is one.
        bfloat16: whether it computes in it.
        cores: that this process may use.
        threads: that torch uses by itself; None where their number is not to be asked for.
        images: generated at once without passing half of the free memory.
        compiling: whether compiling is to be tried.
    """

    gpu: bool
    bfloat16: bool
    cores: int
    threads: int | None
    images: int
    compiling: bool


def questions(usual: Choices, config: Config, limits: Limits) -> list[Question]:
    """What is open, the choices that matter most first; whatever the settings fix is not."""
    batch = config.training.batch_size  # its half, a quarter, ... down to one image are tried
    asked = [
        Question("training", "precision", _other(usual.precision, "float32", "bfloat16") if limits.bfloat16 else ()),
        Question("training", "threads", _threads(limits)),
        Question("training", "micro_batch", (tuple(batch >> k for k in range(1, batch.bit_length())),)),
        Question("training", "compile", _other(usual.compile, "no", "whole") if limits.compiling else ()),
        Question("generating", "chunk", _chunks(usual.chunk, limits)),
    ]
    return [question for question in asked if any(question.ways) and question.choice not in given(config.compute)]


def _other(usual: str, *values: str) -> tuple[tuple[Value, ...], ...]:
    """Each of the other values, a row of its own."""
    return tuple((value,) for value in values if value != usual)


def _threads(limits: Limits) -> tuple[tuple[Value, ...], ...]:
    if limits.gpu or limits.threads is None:
        return ()
    numbers = {1, limits.cores // 2, limits.cores} - {0, limits.threads}
    return tuple((number,) for number in sorted(numbers, reverse=True))


def _chunks(usual: int, limits: Limits) -> tuple[tuple[Value, ...], ...]:
    """Twice as many and so on as far as memory goes; then half as many and so on."""
    fewest, most = (8 * FEWEST, 8 * MOST) if limits.gpu else (FEWEST, MOST)
    more = tuple(usual << k for k in range(1, 12) if usual << k <= min(most, limits.images))
    fewer = tuple(usual >> k for k in range(1, 12) if usual >> k >= fewest)
    return more, fewer
