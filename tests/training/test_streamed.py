"""Training on shards: as exact as on a folder, and a shard that goes bad is said, counted and trained around."""

from pathlib import Path
from typing import Any

import pytest
import torch
from latent_pipelines import averaging
from runs import fresh, run_all, run_until, tiny
from test_latent_runs import ended, job, ran
from test_resume import assert_same_run

from ancestral.data.datasets import load
from ancestral.data.loader import Loader
from ancestral.data.packing import pack
from ancestral.data.shards import ShardRows
from ancestral.errors import InputError
from ancestral.jobs.events import NoteEvent
from ancestral.progress import finish
from ancestral.settings import Config, DataSettings
from ancestral.training.latents import latents_of
from ancestral.training.logs import read_log
from ancestral.training.loop import train
from ancestral.training.run import RunFolder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """The digits in shards of 8."""
    pack(DataSettings(source="digits"), str(tmp_path / "packed"), shard_images=8)
    return tmp_path / "packed"


def on(packed: Path, **changes: Any) -> Config:
    return tiny({"data": {"source": str(packed)}, **changes})


def shards_of_the_first_pool(config: Config) -> list[int]:
    """But for the one in which the held-out images begin."""
    rows = fresh(config)[1].train.images
    assert isinstance(rows, ShardRows)
    last = len(rows.order.bounds) - 2
    return [rows.first + shard for shard in rows.order.pools_from(config.seed, 0)[1][:4] if shard != last]


def test_a_run_on_shards_goes_on_as_if_never_stopped(packed: Path, tmp_path: Path) -> None:
    run_all(on(packed), tmp_path / "whole")
    run_until(4, on(packed), tmp_path / "parts")
    run_all(on(packed), tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_a_shard_that_goes_bad_is_said_counted_and_trained_around(packed: Path, tmp_path: Path) -> None:
    bad = shards_of_the_first_pool(on(packed))[0]
    (packed / f"{bad:05d}-grey.bin").unlink()
    pipeline, parts = fresh(on(packed))
    said: list[str] = []
    steps = [*train(pipeline, parts, RunFolder(tmp_path / "run"), say=said.append)]
    assert steps[-1].fraction == 1
    told = [text for text in said if text.startswith("warning: ")]
    assert len(told) == 1 and f"{bad:05d}-grey.bin" in told[0] and "others stand in for its 8 images" in told[0]
    assert [record.get("missing") for record in read_log(tmp_path / "run/log.jsonl")][-1] == 8


def test_too_many_of_them_stop_training_in_one_line_and_what_was_saved_stays(packed: Path, tmp_path: Path) -> None:
    run_all(on(packed, training={"steps": 2}), tmp_path / "run")
    for name in shards_of_the_first_pool(on(packed)):
        (packed / f"{name:05d}-grey.bin").unlink()
        (next((tmp_path / "cache").rglob(f"{name:06d}.bin"))).unlink()
    with pytest.raises(InputError, match="at most 1% of the images to train on to be missing"):
        run_all(on(packed), tmp_path / "run")
    assert (tmp_path / "run/checkpoints/step-00000002/manifest.json").is_file()


def test_latents_are_of_what_stands_in_for_a_missing_shard(packed: Path, tmp_path: Path) -> None:
    """As pixels do, captions and labels beside them: where images are encoded, and where that was done before."""
    config, codec, seen = on(packed), averaging(), list[list[int]]()
    bad = shards_of_the_first_pool(config)[0]
    (packed / f"{bad:05d}-grey.bin").unlink()
    for _ in range(2):
        images, same = (load(config.data).train for _ in range(2))
        rows = finish(latents_of(codec, images, True, tmp_path / "latents"))
        kept, shown = (Loader(each, 64, 0, True, latents=of) for each, of in ((images, rows), (same, None)))
        seen.append([])
        for step in range(len(images) // 64 + 1):
            ours, theirs = kept.batch(step), shown.batch(step)
            assert torch.equal(ours.indices, theirs.indices) and ours.moments is not None
            assert ours.condition.labels is not None and theirs.condition.labels is not None
            assert torch.equal(ours.condition.labels, theirs.condition.labels)
            torch.testing.assert_close(ours.moments.mean, codec.moments(theirs.pixels)[0], rtol=1e-3, atol=1e-3)
            seen[-1] += ours.indices.tolist()
        assert len(told := kept.warnings()) == 1 and f"{bad:05d}-grey.bin" in told[0]
    assert seen[0] == seen[1] and len({*seen[0]}) == len(images) - 8


def test_a_run_of_latents_trains_around_a_missing_shard(packed: Path, tmp_path: Path) -> None:
    """Also where it holds the first images, of which statistics and grids are."""
    (packed / "00000-grey.bin").unlink()
    asked = job(tmp_path / "run", str(packed), data={"test": 0.2, "source": str(packed)})
    seen = ran(asked)
    assert ended(seen)
    told = [each.text for each in seen if isinstance(each, NoteEvent) and "is missing" in each.text]
    assert len(told) == 2 and all("00000-grey.bin" in line for line in told), "of each training"
    assert [*read_log(tmp_path / "run/log.jsonl")][-1]["missing"] == 8
