"""A studio on a tiny run, and its page in Chromium: one of each for all tests here that a process runs."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsers import Browser, Page, opened_browser
from PIL import Image
from studio_calls import TINY, StudioProcess, opened_studio

from ancestral.jobs.target import TrainSettings
from ancestral.jobs.train import train


class Shared:
    """What tests use together, opened for the first of them that asks for it."""

    def __init__(self) -> None:
        self.stack, self.opened = ExitStack(), dict[str, Any]()

    def get(self, name: str, opens: Callable[[], AbstractContextManager[Any]]) -> Any:
        if name not in self.opened:
            self.opened[name] = self.stack.enter_context(opens())
        return self.opened[name]

    def close(self) -> None:
        self.opened.clear()
        self.stack.close()


SHARED = Shared()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    """Before a test elsewhere all is closed: it may open a browser, of which Playwright allows a process one."""
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        SHARED.close()


def pytest_sessionfinish() -> None:
    """Also after Ctrl-C no process is left."""
    SHARED.close()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps on digits, by class, with three grids."""
    run = tmp_path_factory.mktemp("tiny") / "tiny"
    often = {"steps": 6, "log_every_steps": 1, "sample_every_steps": 3, "checkpoint_every_steps": 3}
    settings = {**TINY, "training": {**TINY["training"], **often}}
    assert [*train(TrainSettings(target="digits", settings=settings, out=run))]
    return run


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets: `birds`, of two classes, with one image twice and one file that is none; `empty`, of no image."""
    folder = tmp_path_factory.mktemp("images") / "data"
    birds, rows = folder / "birds", np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), np.uint8)
    for number, pixels in enumerate(rows):
        of_class = birds / ("red" if number < 4 else "blue")
        of_class.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(of_class / f"{number}.png")
    shutil.copy(birds / "red" / "0.png", birds / "red" / "again.png")
    (folder / "empty").mkdir()
    for broken in (birds / "red", folder / "empty"):
        (broken / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def studio(tiny: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> StudioProcess:
    """A studio on a folder that holds the run `tiny`, which tests leave as it is, and those of tests before."""

    def opened() -> AbstractContextManager[StudioProcess]:
        folder = tmp_path_factory.mktemp("studio")
        shutil.copytree(tiny, folder / "tiny")
        return opened_studio(folder, "--data", data)

    found: StudioProcess = SHARED.get("studio", opened)
    return found


@pytest.fixture
def chromium() -> Browser:
    """The browser, which tests of several files share."""
    browser: Browser = SHARED.get("chromium", lambda: opened_browser("chromium"))
    return browser


@pytest.fixture
def page(chromium: Browser, studio: StudioProcess) -> Page:
    """The studio's page, newly opened."""
    return chromium.open(studio.address)
