"""Hundreds of wrong inputs, typed and from files: each one line that says what is wrong, exit code 2, nothing touched.

The rows are in wrong_inputs.txt; to add one, add a line there.
"""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from cli_calls import call, snapshot
from PIL import Image

ROWS = [
    line
    for line in (Path(__file__).parent / "wrong_inputs.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
FILE = re.compile(r"\{([\w.]+): ((?:\{(?:[^{}]|\{[^{}]*\})*\}|[^{}])*|\{)\}")
"""{name: text}, of which the text may hold balanced braces, three deep, or be a lone one."""
FOREIGN_WORDS = ("Input should", "validation error", "internal error", "Traceback", "\\x00")


@pytest.fixture(scope="module")
def folders(
    trained: Path, unconditional: Path, texts: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """What the rows name by {word}."""
    pictures = tmp_path_factory.mktemp("some") / "pictures"
    pictures.mkdir()
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(noise).save(pictures / f"{i}.png")
    return {
        "run": trained,
        "plain": unconditional,
        "texts": texts,
        "pipeline": trained / "pipeline",
        "pictures": pictures,
    }


def words_of(row: str, here: Path, folders: dict[str, Path]) -> list[str]:
    """The words of a row, its files written and its folders named."""

    def written(found: re.Match[str]) -> str:
        content = found[2].encode().decode("unicode_escape").encode("latin-1")
        (here / found[1]).write_bytes(content)
        return str(here / found[1])

    text = FILE.sub(written, row)
    (here / "empty").mkdir()
    for name, path in {**folders, "here": here / "empty"}.items():
        text = text.replace(f"{{{name}}}", str(path))
    return shlex.split(text)


@pytest.mark.parametrize("row", ROWS)
def test_a_wrong_input_is_one_line_and_touches_nothing(
    row: str, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, _, part = row.rpartition("-> ")
    words = words_of(command, tmp_path, folders)
    before = [snapshot(path) for path in (tmp_path, *folders.values())]
    code, out, err = call(capsys, *words)
    told = err.splitlines()
    assert (code, out, len(told)) == (2, "", 1), out + err
    assert told[0].startswith("ancestral: error: ") and part in told[0], told[0]
    assert len(told[0]) < 400 and not [word for word in FOREIGN_WORDS if word in told[0]], told[0]
    assert [snapshot(path) for path in (tmp_path, *folders.values())] == before
