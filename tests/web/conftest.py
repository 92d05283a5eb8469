"""A studio on a tiny run, and its page in Chromium."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from browsers import Browser, Page
from studio_calls import TINY, StudioProcess, opened_studio

from ancestral.jobs.target import TrainSettings
from ancestral.jobs.train import train


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps on digits, by class, with two grids."""
    run = tmp_path_factory.mktemp("tiny") / "tiny"
    often = {"steps": 6, "log_every_steps": 1, "sample_every_steps": 3, "checkpoint_every_steps": 3}
    settings = {**TINY, "training": {**TINY["training"], **often}}
    assert [*train(TrainSettings(target="digits", settings=settings, out=run))]
    return run


@pytest.fixture(scope="module")
def studio(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioProcess]:
    """A studio on a folder that holds the run `tiny`."""
    folder = tmp_path_factory.mktemp("studio")
    shutil.copytree(tiny, folder / "tiny")
    with opened_studio(folder) as process:
        yield process


@pytest.fixture
def page(chromium: Browser, studio: StudioProcess) -> Page:
    """The studio's page, newly opened."""
    return chromium.open(studio.address)
