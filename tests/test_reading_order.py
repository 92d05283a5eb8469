"""docs/reading.md: nothing on it needs what comes later, and the times it states are those of the files.

Where a file has moved or imports another one than before, these tests say what the page should say.
"""

import ast
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
from test_imports import at_import_time, imported

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "ancestral"
PAGE = (ROOT / "docs" / "reading.md").read_text(encoding="utf-8")
WORDS_A_MINUTE = 200
SECTION = re.compile(r"^### ([^\n]+) \((\d+) minutes\)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)
BULLET = re.compile(r"^- .*?(?=^- |^$|\Z)", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"\]\(\.\./src/ancestral/([\w/]+\.py)\)")


class Stop(NamedTuple):
    """A file of the order; of one that is skimmed only the docstrings are read."""

    file: str
    skimmed: bool

    def minutes(self) -> float:
        text = (SOURCE / self.file).read_text(encoding="utf-8")
        return words_in_docstrings(text) / WORDS_A_MINUTE if self.skimmed else minutes(text)


def stops(text: str) -> list[Stop]:
    """The files that the bullets of a text link to, in order."""
    return [Stop(file, bullet.startswith("- Skim")) for bullet in BULLET.findall(text) for file in FILE.findall(bullet)]


def words_in_docstrings(text: str) -> int:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, documented))
    return sum(len((ast.get_docstring(node) or "").split()) for node in nodes)


def equations(text: str) -> int:
    """Numbers at the ends of lines of the header: (1), (2), ..."""
    return len({*re.findall(r"\((\d+)\)\s*$", ast.get_docstring(ast.parse(text)) or "", re.MULTILINE)})


def minutes(text: str) -> float:
    return len(text.split()) / WORDS_A_MINUTE + equations(text)


def file_of(name: str) -> str | None:
    """The file of the package that a dotted name lies in: ancestral.rng.ImageNoise -> rng.py; None outside of it."""
    parts = name.split(".")
    for length in range(len(parts), 1, -1):
        for file in ("/".join(parts[1:length]) + end for end in (".py", "/__init__.py")):
            if parts[0] == "ancestral" and (SOURCE / file).is_file():
                return file
    return None


def out_of_order(files: Iterable[tuple[str, str]]) -> list[str]:
    """Which of (file, text), in this order, import a file that has not come before."""
    before: set[str | None] = {None}
    faults = []
    for file, text in files:
        needed = {file_of(name) for node in at_import_time(ast.parse(text)) for name in imported(node)} - {file}
        faults += [f"{file} imports {other}, which has not come before" for other in needed - before]
        before.add(file)
    return faults


READ_WHOLE = {
    *("diffusion/process.py", "sampling/loop.py", "pipeline/generate.py", "pipeline/pipeline.py"),
    *("data/order.py", "data/imageset.py", "data/loader.py"),
    *("training/loss.py", "training/randomness.py", "training/engine.py", "training/step.py"),
    *("training/checkpoint.py", "training/checkpointer.py", "training/loop.py"),
}
ORDER = stops(PAGE.split("## The afternoon")[1].split("## After the afternoon")[0])


def test_no_file_imports_one_that_has_not_come_before() -> None:
    assert out_of_order((stop.file, (SOURCE / stop.file).read_text(encoding="utf-8")) for stop in ORDER) == []


@pytest.mark.parametrize(
    "files",
    [
        [("gaussian.py", "from ancestral.tensors import PerImage"), ("tensors.py", "import torch")],
        [("tensors.py", ""), ("rng.py", "if FAST:\n    import ancestral.machine")],
        [("sampling/loop.py", "from ancestral.sampling.samplers import DDIM")],
    ],
)
def test_a_file_that_comes_too_early_or_is_not_listed_is_found(files: list[tuple[str, str]]) -> None:
    assert len(out_of_order(files)) == 1


def test_what_is_imported_for_types_or_by_a_call_alone_may_come_later() -> None:
    later = "if TYPE_CHECKING:\n    from ancestral.rng import ImageNoise\ndef f():\n    import ancestral.files"
    assert out_of_order([("tensors.py", later), ("gaussian.py", "from ancestral.tensors import PerImage")]) == []


def test_the_order_ends_with_training_and_skims_none_of_what_it_is_about() -> None:
    """What training imports is on the page by the tests above."""
    files = [stop.file for stop in ORDER]
    assert len(files) == len({*files}) and files[-1] == "training/loop.py"
    assert {stop.file for stop in ORDER if not stop.skimmed} >= READ_WHOLE


def test_the_minutes_of_each_section_are_those_of_its_files() -> None:
    """By the words and equations that stand in them today; within a tenth, or two minutes."""
    sections = SECTION.findall(PAGE)
    true = {title: sum(stop.minutes() for stop in stops(text)) for title, _, text in sections}
    said = {title: int(number) for title, number, _ in sections}
    wrong = {title: round(m) for title, m in true.items() if abs(m - said[title]) > max(2, m / 10)}
    assert wrong == {}, "docs/reading.md should say these minutes"
    assert sum(len(stops(text)) for _, _, text in sections) == len(ORDER), "every file stands in a section"
    assert f"{WORDS_A_MINUTE} words a minute" in PAGE


def test_an_afternoon_is_about_five_hours() -> None:
    assert "about five hours" in PAGE
    assert sum(stop.minutes() for stop in ORDER) / 60 == pytest.approx(5, abs=0.5)


def test_the_ten_minutes_are_no_more() -> None:
    """With the two that the page says the example runs."""
    assert minutes((ROOT / "examples" / "ddpm.py").read_text(encoding="utf-8")) + 2 <= 10
