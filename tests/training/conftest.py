"""Runs that are trained once and read by many."""

import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest
from runs import run_all, tiny

from ancestral.settings import Config


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Config], Path]:
    """The folder of a run of these settings that nothing happened to. To be read only."""

    @lru_cache
    def trained(settings: str) -> Path:
        folder = tmp_path_factory.mktemp("whole") / "run"
        run_all(Config.model_validate_json(settings), folder)
        return folder

    return lambda config: trained(config.model_dump_json())


@pytest.fixture
def run(whole: Callable[[Config], Path], tmp_path: Path) -> Path:
    """A run that is done, to be treated badly."""
    return Path(shutil.copytree(whole(tiny()), tmp_path / "run"))
