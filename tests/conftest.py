"""Settings of the whole suite: shapes are checked at run time, torch takes one thread, the data folder is announced."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import shape_checks

if not os.environ.get("ANCESTRAL_NO_SHAPE_CHECKS"):
    shape_checks.install()

import pytest
import torch
from browsers import Browser, opened_browser
from browsers.chromium import OPEN, close_newer_than
from hypothesis import settings

from ancestral.compute import computes_in_bfloat16

torch.set_num_threads(1)
settings.register_profile("suite", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("suite")


LONGEST_FIRST = ("cli", "share", "training", "web")
"""Folders of tests. Begun last, their files would keep one process busy while the others wait."""


def pytest_runtest_setup() -> None:
    shape_checks.begin_test()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name not in LONGEST_FIRST)
    gc.freeze()  # what torch and the tests have loaded stays: no collection looks through it again


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Every test run decodes into its own cache, never the user's. What this machine is fast in is measured before the
    first test, of whose output it would be part."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCESTRAL_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        computes_in_bfloat16("cpu")
        yield


@pytest.fixture(params=["float32", "bfloat16"])
def usual_precision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What precision "auto" means: each kind of machine in turn, whichever this one is."""
    monkeypatch.setattr("ancestral.compute.computes_in_bfloat16", lambda *_, **__: request.param == "bfloat16")
    return str(request.param)


@pytest.fixture
def in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """What precision "auto" means, on every machine: oneDNN, and so we, are kept from the units that multiply faster in
    bfloat16, in which an image alone may differ by a level from the same one in a batch."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")


@pytest.fixture
def quick_features(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features that are no good, after a tenth of a second of training."""
    monkeypatch.setattr("ancestral.evaluation.features.LEAST_IMAGES", 500)
    monkeypatch.setattr("ancestral.evaluation.features.EPOCHS", 1)


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data sets; a test that needs one is skipped, saying so, where there is none."""
    folder = os.environ.get("ANCESTRAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("ANCESTRAL_DATA names no folder: real data sets are not at hand")
    return Path(folder)


@pytest.fixture(autouse=True)
def closed_pages() -> Iterator[None]:
    """Pages that a test opens in Chromium are closed after it: what is open goes on computing and listening."""
    before = len(OPEN)
    yield
    close_newer_than(before)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Skips, saying so, where it is not installed."""
    with opened_browser("chromium") as browser:
        yield browser
