"""Whatever lies where a file is read: one line that names it, at once, and never a wait or a full memory."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ancestral.data.shard_index import read_index
from ancestral.data.store import remote_folder
from ancestral.errors import InputError
from ancestral.evaluation.evaluate import read_evaluation
from ancestral.evaluation.likelihood import read_likelihood
from ancestral.evaluation.sweep import read_sweep
from ancestral.evaluation.text_evaluation import read_text_evaluation
from ancestral.files import is_packed
from ancestral.jobs.likelihood import record
from ancestral.settings import Config, parse, read_settings
from ancestral.viz.png_texts import read_metadata


def settings(path: Path) -> Config:
    return parse(Config, read_settings(path), str(path))


READERS: dict[str, Callable[[Path], object]] = {
    "config.json": settings,
    "config.toml": settings,
    "evaluation.json": read_evaluation,
    "likelihood.json": read_likelihood,
    "sweep.json": read_sweep,
    "text.json": read_text_evaluation,
    "grid.png": read_metadata,
    "index.json": lambda path: read_index(remote_folder(str(path.parent))),
}
CONTENTS = {
    "nested without end": b'{"seed": ' + b"[" * 100_000,
    "a key twice": b'{"seed": 1, "seed": 2}',
    "NaN": b'{"seed": NaN}',
    "beyond floats": b'{"seed": 1e999}',
    "ten thousand digits": b'{"seed": ' + b"9" * 10_000 + b"}",
    "half a surrogate pair": rb'{"seed": "\ud800"}',
    "a list": b"[1, 2]",
    "another type": b'{"seed": {"a": [1]}}',
    "cut off": b'{"seed":',
    "binary": bytes(range(256)),
    "zeros": bytes(10_000),
}
PLACES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a device without end": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "seventeen gigabytes": lambda path: (path.touch(), os.truncate(path, 17 * 2**30)),
}


def is_one_line(read: Callable[[Path], object], path: Path) -> str:
    start = time.process_time()
    with pytest.raises(InputError) as raised:
        read(path)
    said = str(raised.value)
    assert time.process_time() - start < 5, "seventeen gigabytes take longer to read"
    assert "\n" not in said and path.name in said and len(said) < 500, said
    return said


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", READERS)
def test_a_hostile_content_is_one_line(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(CONTENTS[content])
    is_one_line(READERS[name], tmp_path / name)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_one_line(name: str, place: str, tmp_path: Path) -> None:
    PLACES[place](tmp_path / name)
    is_one_line(READERS[name], tmp_path / name)


@pytest.mark.parametrize("place", ["a pipe", "a device without end", "a folder", "a link to nothing"])
def test_a_record_goes_on_in_no_such_place(place: str, tmp_path: Path) -> None:
    def begin(path: Path) -> None:
        with record(path, {}):
            pass

    PLACES[place](tmp_path / "likelihood.partial.jsonl")
    is_one_line(begin, tmp_path / "likelihood.partial.jsonl")


@pytest.mark.parametrize("place", PLACES)
def test_a_folder_with_one_of_them_for_an_index_is_not_packed(place: str, tmp_path: Path) -> None:
    PLACES[place](tmp_path / "index.json")
    assert not is_packed(tmp_path)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("diffusion.schedule.num_timesteps", 10**12),
        ("network.widths", [10**9]),
        ("network.widths", [8] * 100),
        ("network.layers", 10**9),
        ("network.stem", 10**9),
        ("network.norm_groups", 10**12),
        ("network.fourier", [1] * 100),
        ("training.batch_size", 10**12),
        ("training.steps", 10**18),
        ("training.minutes", 1e300),
        ("training.keep_checkpoints", 2**63),
        ("sampling.steps", 10**12),
        ("compute.threads", 10**9),
        ("compute.chunk", 10**12),
        ("data.size", 10**9),
        ("data.size", [10**9, 8]),
        ("seed", 2**63),
    ],
)
def test_numbers_have_a_range(setting: str, value: object) -> None:
    tree: object = value
    for name in reversed(setting.split(".")):
        tree = {name: tree}
    with pytest.raises(InputError, match=setting) as raised:
        parse(Config, tree, "config.json")
    assert "\n" not in str(raised.value)
