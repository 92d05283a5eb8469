"""Calling the command line in this process and in others."""

import os
from pathlib import Path
from typing import NamedTuple

import pytest
from standing import Forked, command

from ancestral.cli.main import main

TINY = [
    *("--network.widths", "8"),
    *("--network.layers", "1"),
    *("--network.attention", "--network.no_middle_attention"),
    *("--network.norm_groups", "4"),
    *("--training.batch_size", "8"),
    *("--compute.precision", "float32"),
    *("--data.validation", "0.01"),
]
TINY_CODEC = [
    *("--codec.widths", "8", "8"),
    *("--codec.channels", "2"),
    *("--codec.norm_groups", "4"),
    *("--training.batch_size", "8"),
    *("--compute.precision", "float32"),
    *("--training.checkpoint_every_steps", "2"),
    *("--training.log_every_steps", "1"),
    *("--training.sample_every_steps", "2"),
]


class Called(NamedTuple):
    code: int
    out: str
    err: str


def call(capsys: pytest.CaptureFixture[str], *words: str | Path) -> Called:
    """`ancestral WORDS` in this process."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    return Called(code, *capsys.readouterr())


def start(*words: str | Path, cwd: Path) -> Forked:
    """`python -m ancestral WORDS` in a process of its own."""
    return command(*words, cwd=cwd, environment=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"})


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file below, with its bytes, and every folder."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}
