"""Images that lie in shards: packed in a stream, trained on from a bounded cache in an order that needs no state, and
what becomes of a shard that goes bad meanwhile."""

import functools
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fcntl import LOCK_EX, flock
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ancestral.data import packing
from ancestral.data.datasets import BUILT_IN, load
from ancestral.data.imageset import Collection, ImageSet, Parts
from ancestral.data.loader import Loader
from ancestral.data.order import POOL, PooledOrder, batch_positions
from ancestral.data.packing import pack
from ancestral.data.shard_index import Index
from ancestral.data.shards import BUDGET_VARIABLE, ShardRows, runs
from ancestral.data.store import remote_folder
from ancestral.errors import CannotWrite, InputError
from ancestral.progress import ProgressEvent, StagedWork, finish
from ancestral.settings import DataSettings

ALL = {"validation": 0.0, "test": 0.0}
WATCHERS: list[Callable[[str, str], None]] = []
"""Told of what is done in a watched store, and to which file, before it is done; they may raise."""


class WatchedStore(MemoryFileSystem):
    """The files of memory:// at watched://, with `WATCHERS` told of every write, removal, opening and piece read."""

    protocol = "watched"

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.replace("watched://", "memory://")))

    def pipe_file(self, path: str, value: bytes, **how: Any) -> None:
        tell("write", path)
        super().pipe_file(path, value, **how)

    def rm_file(self, path: str) -> None:
        tell("remove", path)
        super().rm_file(path)

    def open(self, path: str, mode: str = "rb", **how: Any) -> Any:
        if mode != "rb":
            return super().open(path, mode, **how)
        tell("open", path)
        return WatchedFile(path, self.cat_file(path))


class WatchedFile(io.BytesIO):
    """A file that is being read."""

    def __init__(self, path: str, content: bytes) -> None:
        super().__init__(content)
        self.path = path

    def read(self, size: int | None = -1) -> bytes:
        tell("read", self.path)
        return super().read(size)


def tell(what: str, path: str) -> None:
    for watcher in WATCHERS:
        watcher(what, path)


fsspec.register_implementation("watched", WatchedStore)


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test has an object store and a cache of its own, and waits for nothing."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "cache"))
    yield
    WATCHERS.clear()
    fsspec.filesystem("memory").store.clear()


def settings(source: str | Path, **others: object) -> DataSettings:
    return DataSettings.model_validate({"source": str(source), **others})


def rows(images: ImageSet) -> ShardRows:
    assert isinstance(images.images, ShardRows)
    return images.images


def kept(images: ImageSet) -> Path:
    return rows(images).cache.folder


def sizes(folder: Path) -> int:
    """Bytes of all shards in the cache, whole and arriving, at an instant when no room is being made."""
    root = folder.parent
    with (root / ".lock-room").open("a") as room:
        flock(room, LOCK_EX)
        return sum(path.stat().st_size for path in root.glob("*/*.*") if path.suffix in (".bin", ".part"))


def digits(dest: str, shard_images: int = 8) -> Index:
    """1,797 images of 64 bytes."""
    return pack(settings("digits"), dest, shard_images).index


def paint(folder: Path, count: int, color: int | None = None) -> Path:
    """Noise of two classes as PNG files, grey but for number `color`."""
    random = np.random.default_rng(0)
    for i in range(count):
        name = folder / ("cats" if i % 3 else "dogs") / f"{i}.png"
        name.parent.mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (6, 6), np.uint8)
        Image.fromarray(np.stack([pixels, pixels, pixels // 2], 2) if i == color else pixels).save(name)
    return folder


def contents(parts: Parts) -> list[list[tuple[bytes, str, str]]]:
    """Of every part the pixels, class and name of each image, sorted."""
    return [
        sorted(
            (image.tobytes(), part.class_names[label], name)
            for image, label, name in zip(part.pixels(), part.labels, part.names, strict=True)
        )
        for part in parts[:3]
        if part.labels is not None and part.names is not None
    ]


shapes = st.lists(st.integers(1, 6), min_size=1, max_size=12).map(lambda each: np.cumsum([0, *each]))


@given(shapes, st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**40))
def test_each_epoch_visits_every_image_of_all_shards_once(
    bounds: np.ndarray, pool: int, batch_size: int, seed: int
) -> None:
    order, count = PooledOrder(bounds, pool), int(bounds[-1])
    steps = -(-3 * count // batch_size)
    row = torch.cat([batch_positions(order, seed, step, batch_size) for step in range(steps)])
    assert len(row) == steps * batch_size
    for epoch in range(3):
        assert sorted(row[epoch * count : (epoch + 1) * count].tolist()) == list(range(count))


@given(shapes, st.integers(1, 20), st.integers(0, 30), st.integers(0, 9))
def test_the_order_of_shards_needs_no_state(bounds: np.ndarray, batch_size: int, step: int, seed: int) -> None:
    """Asked for alone, by another order, after others: the same."""
    worn = PooledOrder(bounds)
    for other in (0, step + 5, step + 1, step):
        found = batch_positions(worn, seed, other, batch_size)
    assert torch.equal(found, batch_positions(PooledOrder(bounds), seed, step, batch_size))


@given(shapes, st.integers(1, 5), st.integers(0, 9), st.integers(0, 5))
def test_a_stretch_touches_the_shards_of_its_pools_only(bounds: np.ndarray, pool: int, seed: int, epoch: int) -> None:
    order, count = PooledOrder(bounds, pool), int(bounds[-1])
    for place in range(count):
        position = int(order.sliced(seed, epoch, place, place + 1))
        shard = int(np.searchsorted(bounds, position, side="right")) - 1
        (at, _), coming = order.pools_from(seed, epoch * count + place)
        assert at == epoch and shard in coming[:pool] and len(coming) <= 2 * pool


def test_shards_and_images_are_mixed_anew_each_epoch() -> None:
    order = PooledOrder(np.arange(0, 4097, 64))
    first, second = (order.sliced(0, epoch, 0, 4096) for epoch in range(2))
    assert not torch.equal(first, second)
    touched = [len(set((first[i : i + 64] // 64).tolist())) for i in range(0, 4096, 64)]
    assert max(touched) <= POOL and np.mean(touched) > POOL - 0.5
    assert len(set((first[:256] // 64).tolist()) & set((second[:256] // 64).tolist())) < POOL


@pytest.mark.parametrize("dest", ["memory://packed", "file", "folder"])
def test_packed_parts_are_those_of_the_folder(dest: str, tmp_path: Path) -> None:
    folder = paint(tmp_path / "pets", 60, color=40)
    dest = {"file": (tmp_path / "out").as_uri(), "folder": str(tmp_path / "out")}.get(dest, dest)
    packed = pack(settings(folder, size=6), dest, 7)
    assert not packed.already and packed.index.count == 60 and len(packed.index.shards) == 9
    same = {"validation": 0.2, "test": 0.3}
    straight, streamed = load(settings(folder, size=6, **same)), load(settings(dest, **same))
    assert [len(part) for part in streamed[:3]] == [30, 12, 18]
    assert contents(streamed) == contents(straight)
    assert isinstance(streamed.train.images, ShardRows) and isinstance(streamed.test.images, np.ndarray)
    assert streamed.train.shape == (3, 6, 6)
    assert len({part.hash for part in streamed[:3]}) == 3
    assert load(settings(dest, labels="none")).train.labels is None


def test_official_parts_stay_what_they_are() -> None:
    straight = load(settings("photos", size=64))
    pack(settings("photos", size=64), "memory://photos", 100)
    streamed = load(settings("memory://photos"))
    for one, other in zip(straight[:3], streamed[:3], strict=True):
        np.testing.assert_array_equal(one.pixels(), other.pixels())


@pytest.mark.parametrize("color", [None, 0, 25, 59])
def test_images_are_kept_in_grey_until_one_is_in_colour(color: int | None, tmp_path: Path) -> None:
    folder = paint(tmp_path / "pets", 60, color)
    index = pack(settings(folder, size=6), "memory://packed", 7).index
    assert index.shape == (6, 6, 1 if color is None else 3)
    assert contents(load(settings("memory://packed"))) == contents(load(settings(folder, size=6)))
    named = {"index.json", "labels.bin", *(shard.file for shard in index.shards)}
    assert {*remote_folder("memory://packed").names()} == named, "nothing else is left behind"


def test_bad_files_are_left_out_and_listed(tmp_path: Path) -> None:
    folder = paint(tmp_path / "pets", 30)
    for i in (3, 12, 28):
        (folder / ("cats" if i % 3 else "dogs") / f"{i}.png").write_bytes(b"no image")
    index = pack(settings(folder, size=6), "memory://packed", 7).index
    assert sorted(name for name, _ in index.bad) == ["cats/28.png", "dogs/12.png", "dogs/3.png"]
    straight, streamed = (load(settings(source, size=6, **ALL)) for source in (folder, "memory://packed"))
    assert contents(streamed) == contents(straight) and sorted(streamed.bad) == sorted(straight.bad)


class Stopped(BaseException):
    """As a signal or a kill."""


@pytest.mark.slow
def test_packing_that_was_stopped_anywhere_goes_on(tmp_path: Path) -> None:
    """Before each of its writes and removals; the index is that of a packing which was not stopped, and before it is
    there the place is no data set."""
    folder = paint(tmp_path / "pets", 40, color=33)
    (folder / "cats" / "1.png").write_bytes(b"no image")
    wanted = pack(settings(folder, size=6), "memory://whole", 7).index
    left = 0

    def counted(what: str, path: str) -> None:
        nonlocal left
        if what in ("write", "remove"):
            left -= 1
            if left < 0:
                raise Stopped

    WATCHERS.append(counted)
    for allowed in range(100):
        dest, left = f"watched://stopped-{allowed}", allowed
        try:
            assert pack(settings(folder, size=6), dest, 7).index == wanted
            break
        except Stopped:
            there = remote_folder(dest).names()
            if "index.json" not in there:
                with pytest.raises(InputError, match="ancestral data pack"):
                    load(settings(dest))
        left = 1000
        assert pack(settings(folder, size=6), dest, 7).index == wanted
        assert {*remote_folder(dest).names()} == {"index.json", "labels.bin", *(shard.file for shard in wanted.shards)}
    assert 25 < allowed < 99


def stop_at_the_labels(what: str, path: str) -> None:
    """All shards are there, and no index."""
    if what == "write" and path.endswith("labels.bin"):
        raise Stopped


def test_what_was_packed_is_not_decoded_again(tmp_path: Path) -> None:
    folder, written = paint(tmp_path / "pets", 40), list[str]()
    WATCHERS[:] = [stop_at_the_labels, lambda what, path: written.append(path) if what == "write" else None]
    with pytest.raises(Stopped):
        pack(settings(folder, size=6), "watched://packed", 10)
    assert len(written) == 9
    WATCHERS.clear()
    seen: list[ProgressEvent] = []
    work = packing.packing(settings(folder, size=6), "watched://packed", 10)
    assert finish(work, seen.append).index.count == 40
    assert seen == []
    assert pack(settings(folder, size=6), "watched://packed", 10).already


def test_another_packing_is_begun_anew_before_the_index_is_there(tmp_path: Path) -> None:
    folder = paint(tmp_path / "pets", 40)
    WATCHERS.append(stop_at_the_labels)
    with pytest.raises(Stopped):
        pack(settings(folder, size=6), "watched://packed", 5)
    WATCHERS.clear()
    index = pack(settings(folder, size=8), "watched://packed", 10).index
    assert index.shape[:2] == (8, 8) and len(index.shards) == 4
    assert len(remote_folder("watched://packed").names()) == 6


def test_a_place_that_holds_other_things_is_left_alone(tmp_path: Path) -> None:
    folder = paint(tmp_path / "pets", 4)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("notes.txt", "labels.bin", "00000-rgb.bin"):
        (other / name).write_text("mine")
        with pytest.raises(InputError, match="expected an empty place"):
            pack(settings(folder, size=6), str(other))
        assert [path.read_text() for path in other.iterdir()] == ["mine"]
        (other / name).unlink()
    with pytest.raises(InputError, match="expected a place outside"):
        pack(settings(folder, size=6), str(folder / "packed"))
    pack(settings(folder, size=6), str(other))
    with pytest.raises(InputError, match="other images or settings"):
        pack(settings(folder, size=8), str(other))
    with pytest.raises(InputError, match=r"a packed data set: .*; ancestral train"):
        pack(settings(other), str(tmp_path / "again"))
    (tmp_path / "out.txt").touch()
    with pytest.raises(InputError, match="got a file"):
        pack(settings(folder, size=6), str(tmp_path / "out.txt"))


def test_an_index_of_another_program_makes_no_packed_set(tmp_path: Path) -> None:
    folder = paint(tmp_path / "pets", 4)
    (folder / "index.json").write_text('{"format": "of something else"}')
    assert isinstance(load(settings(folder, **ALL)).train.images, np.ndarray)


def test_batches_from_shards_are_those_of_their_images(tmp_path: Path) -> None:
    """With labels and mirrored; whatever was asked for before, and whoever reads a share of them."""
    folder = paint(tmp_path / "pets", 97)
    pack(settings(folder, size=6), "memory://packed", 6)
    train = load(settings("memory://packed")).train
    pixels, loader = train.pixels(), Loader(train, 10, seed=3, flip=True)
    whole = Loader(ImageSet(pixels, train.labels, train.class_names, None, None, "x"), 10, seed=3, flip=True)
    whole.order = train.order
    for step in (0, 1, 2, 30, 8, 7):
        one, other = loader.batch(step), whole.batch(step)
        assert torch.equal(one.pixels, other.pixels) and torch.equal(one.indices, other.indices)
        labels, others = one.condition.labels, other.condition.labels
        assert labels is not None and others is not None and torch.equal(labels, others)
        for world in (2, 3):
            cuts = [10 * k // world for k in range(world + 1)]
            shares = [
                Loader(train, 10, seed=3, flip=True, local_slice=slice(*cuts[k : k + 2])).batch(step)
                for k in range(world)
            ]
            assert torch.equal(torch.cat([share.pixels for share in shares]), one.pixels)
            assert all(torch.equal(share.indices, one.indices) for share in shares)
    assert loader.missing == () and loader.warnings() == []


def test_any_pixels_can_be_asked_for() -> None:
    digits("memory://digits", 50)
    train, whole = load(settings("memory://digits")).train, load(settings("digits")).train
    assert len(train) == len(whole)
    for where in (
        slice(None),
        slice(40, 160),
        slice(-3, None),
        slice(5, 5),
        slice(0, 500, 7),
        np.array([99, 3, 3, 700]),
    ):
        np.testing.assert_array_equal(train.pixels(where), whole.pixels(where))
    np.testing.assert_array_equal(train.sliced(30, 200).sliced(40, 1000).pixels(), whole.pixels(slice(70, 200)))
    np.testing.assert_array_equal(train.ordered(np.array([60, 2])).pixels(), whole.pixels(np.array([60, 2])))


def test_only_the_shards_of_a_share_are_read() -> None:
    """All others are gone: were one of them read, images would be missing."""
    index = digits("memory://digits", 100)
    needed = {
        *(Loader(load(settings("memory://digits", **ALL)).train, 400, seed=0).batch(0).indices[:3] // 100).tolist()
    }
    assert len(needed) < len(index.shards) - 5
    train = load(settings("memory://digits", **ALL)).train
    for path in kept(train).glob("*.bin"):
        path.unlink()
    for number in {*range(len(index.shards))} - needed:
        damage("memory://digits", index.shards[number].file, "removed")
    loader = Loader(train, 400, seed=0, local_slice=slice(0, 3))
    loader.batch(0)
    assert loader.missing == ()


def test_the_cache_never_holds_more_than_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watched at every piece that arrives and after every batch, over three epochs; and all of it is used."""
    budget = 10 * 100 * 64
    monkeypatch.setenv(BUDGET_VARIABLE, str(budget / 2**30))
    digits("memory://digits", 50)
    train, seen = load(settings("watched://digits")).train, [0]
    WATCHERS.append(lambda what, path: seen.append(sizes(kept(train))))
    loader = Loader(train, 32, seed=0)
    for step in range(3 * len(train) // 32):
        loader.batch(step)
        seen.append(sizes(kept(train)))
    rows(train).ahead.wait()
    assert max(seen) == budget and sizes(kept(train)) <= budget


def test_what_follows_is_fetched_ahead() -> None:
    """Once the pool is there, the next arrives while nobody asks for it, and a batch of it fetches nothing."""
    digits("memory://digits", 50)
    train = load(settings("memory://digits", **ALL)).train
    loader, order = Loader(train, 20, seed=0), rows(train).order
    loader.batch(0)
    rows(train).ahead.wait()
    _, coming = order.pools_from(0, 20)
    assert {path.stem for path in kept(train).glob("*.bin")} == {f"{number:06d}" for number in coming}
    fsspec.filesystem("memory").store.clear()
    rows(train).columns(batch_positions(order, 0, 12, 20).numpy(), ("images",))


def test_reading_ahead_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits("memory://digits", 20)
    with_it = [Loader(load(settings("watched://digits")).train, 64, seed=1).batch(step).pixels for step in range(4)]
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "another"))
    failed: list[str] = []

    def fail(what: str, path: str) -> None:
        if threading.current_thread().name == "read-ahead":
            failed.append(path)
            raise OSError

    WATCHERS.append(fail)
    train = load(settings("watched://digits")).train
    without = [Loader(train, 64, seed=1).batch(step).pixels for step in range(4)]
    rows(train).ahead.wait()
    assert failed
    assert all(torch.equal(*pair) for pair in zip(with_it, without, strict=True))


def damage(url: str, file: str, how: str) -> None:
    store = fsspec.filesystem("memory")
    path = f"/{url.removeprefix('memory://')}/{file}"
    content = store.cat_file(path)
    if how == "removed":
        store.rm_file(path)
    else:
        store.pipe_file(path, content[:-1] if how == "cut off" else bytes([content[0] ^ 1]) + content[1:])


REASONS = {"removed": "not found", "cut off": "expected 512 bytes, got 511", "altered": "wrong sha256"}


@pytest.mark.parametrize("how", REASONS)
def test_images_of_a_shard_that_goes_bad_are_replaced_counted_and_listed(how: str) -> None:
    """In the middle of an epoch: from then on those of the next good shard stand in, labels and all, and a run that
    begins after it sees the same."""
    index = digits("memory://digits")
    train = load(settings("memory://digits", **ALL)).train
    pixels, order = train.pixels(), rows(train).order
    fresh_cache = kept(train)
    loader, steps = Loader(train, 50, seed=0), range(36)
    place = int(order.sliced(0, 0, 900, 901)) // 8
    for each in (place, place + 1):  # the next is bad too
        damage("memory://digits", index.shards[each].file, how)
        (fresh_cache / f"{each:06d}.bin").unlink()
    batches, told = [], []
    for step in steps:
        batches.append(loader.batch(step))
        told += loader.warnings()
    assert sorted(missing.shard for missing in loader.missing) == [
        f"memory://digits/{index.shards[each].file}" for each in (place, place + 1)
    ]
    assert {missing.num_images for missing in loader.missing} == {8}
    assert all(REASONS[how] in missing.reason for missing in loader.missing)
    assert len(told) == 2 and all("others stand in for its 8 images" in line for line in told)
    again = Loader(load(settings("memory://digits", **ALL)).train, 50, seed=0)
    for step, batch in zip(steps, batches, strict=True):
        asked, got = batch_positions(order, 0, step, 50).numpy(), batch.indices.numpy()
        bad = np.isin(asked // 8, (place, place + 1))
        assert (got[~bad] == asked[~bad]).all()
        assert (got[bad] == (place + 2) * 8 + asked[bad] % 8).all(), "the same place of the next good shard"
        labels = batch.condition.labels
        assert labels is not None and train.labels is not None
        assert labels.tolist() == train.labels[got].tolist()
        np.testing.assert_array_equal(batch.pixels.permute(0, 2, 3, 1).numpy(), pixels[got])
    for step in reversed(steps):
        if step >= 18:
            assert torch.equal(again.batch(step).pixels, batches[step].pixels)


def test_more_than_a_hundredth_missing_is_fatal() -> None:
    index = digits("memory://digits")
    for shard in index.shards[100:103]:
        damage("memory://digits", shard.file, "altered")
    train = load(settings("memory://digits", **ALL)).train
    with pytest.raises(InputError, match=r"at most 1% .* got 24 of 1,797 .*-grey.bin: wrong sha256.*pack the images"):
        rows(train).columns(np.arange(len(train)), ("images",))


def test_held_out_images_are_never_replaced() -> None:
    index = digits("memory://digits")
    damage("memory://digits", index.shards[-1].file, "altered")
    with pytest.raises(InputError, match=r"224-grey.bin: wrong sha256; restore it"):
        load(settings("memory://digits"))


@pytest.mark.parametrize("how", ["short", "long", "altered", "lost"])
def test_an_arrival_that_is_damaged_is_tried_again(how: str) -> None:
    """A store that gives the right bytes at the third reading of a shard."""
    digits("memory://digits")
    train = load(settings("watched://digits", **ALL)).train
    store, path, tries, pieces = fsspec.filesystem("memory"), "/digits/00000-grey.bin", 0, 0
    content = store.cat_file(path)
    store.pipe_file(
        path, {"short": content[:5], "long": content * 2, "altered": content[::-1], "lost": content[:9]}[how]
    )

    def flaky(what: str, read: str) -> None:
        nonlocal tries, pieces
        if read != path:
            return
        tries, pieces = (tries + 1, 0) if what == "open" else (tries, pieces + 1)
        if tries > 2:
            store.pipe_file(path, content)
        elif how == "lost" and pieces == 2:
            raise OSError("the connection is lost")

    WATCHERS.append(flaky)
    np.testing.assert_array_equal(train.pixels(slice(0, 8)), load(settings("digits", **ALL)).train.pixels(slice(0, 8)))
    assert tries == 3 and [path.name for path in kept(train).glob("[!.]*")] == ["000000.bin"]


def test_a_shard_that_is_cut_off_in_the_cache_is_fetched_again() -> None:
    """While it is open, where mapped memory would kill the process; or removed, or between two runs."""
    digits("memory://digits", 50)
    train = load(settings("memory://digits", **ALL)).train
    before, file = train.pixels(slice(0, 50)), kept(train) / "000000.bin"
    for spoil in (lambda: os.truncate(file, 70), file.unlink):
        spoil()
        np.testing.assert_array_equal(train.pixels(slice(0, 50)), before)
    file.write_bytes(b"short")
    np.testing.assert_array_equal(load(settings("memory://digits", **ALL)).train.pixels(slice(0, 50)), before)


def test_a_cache_that_cannot_be_written_is_no_bad_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits("memory://digits", 50)
    (tmp_path / "file").touch()
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "file"))
    with pytest.raises(CannotWrite, match="set ANCESTRAL_CACHE"):
        load(settings("memory://digits"))


@pytest.mark.parametrize("word", ["many", "nan", "1e-6", "-3"])
def test_a_budget_that_is_none_is_one_line(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    digits("memory://digits", 50)
    monkeypatch.setenv(BUDGET_VARIABLE, word)
    with pytest.raises(InputError, match=BUDGET_VARIABLE):
        load(settings("memory://digits"))


def test_what_a_killed_process_was_receiving_is_taken_away_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BUDGET_VARIABLE, str(10 * 3200 / 2**30))
    digits("memory://digits", 50)
    train = load(settings("memory://digits", **ALL)).train
    folder = kept(train)
    folder.mkdir(parents=True)
    for number in range(20, 30):
        (folder / f"{number:06d}.part").write_bytes(bytes(3200))
    with pytest.raises(CannotWrite, match="other processes that fill"):
        train.pixels(slice(0, 50))
    for part in folder.glob("*.part"):
        os.utime(part, (0, 0))
    assert len(train.pixels(slice(0, 50))) == 50 and sizes(folder) == 3200


READER = """
import hashlib, sys
from ancestral.settings import DataSettings
from ancestral.data.datasets import BUILT_IN, load
from ancestral.data.loader import Loader
train = load(DataSettings(source=sys.argv[1], validation=0.0, test=0.0)).train
loader, content = Loader(train, 64, seed=0), hashlib.sha256()
print("ready", flush=True)
sys.stdin.readline()
for step in range(2 * len(train) // 64):
    content.update(loader.batch(step).pixels.numpy().tobytes())
print(content.hexdigest(), loader.missing)
"""


@pytest.mark.slow
def test_processes_share_one_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three at once in a cache that holds half of the shards: the same images, never more on disk."""
    budget = 16 * 50 * 64
    monkeypatch.setenv(BUDGET_VARIABLE, str(budget / 2**30))
    dest = str(tmp_path / "packed")
    digits(dest, 50)
    command = [sys.executable, "-c", READER, dest]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    readers = [subprocess.Popen(command, **pipes) for _ in range(3)]  # type: ignore[call-overload]
    assert {reader.stdout.readline() for reader in readers} == {"ready\n"}
    for reader in readers:
        reader.stdin.write("go\n")
        reader.stdin.flush()
    most, root = 0, tmp_path / "cache" / "shards"
    while any(reader.poll() is None for reader in readers):
        most = max(most, sizes(root / "x")) if root.is_dir() else 0
    told = [reader.communicate()[0] for reader in readers]
    assert [reader.returncode for reader in readers] == [0, 0, 0]
    train = load(settings(dest, **ALL)).train
    assert len({*told}) == 1 and told[0].endswith(" ()\n") and len(train) == 1797
    assert 0 < most <= budget


BLOCKED = """
import sys, threading
from ancestral.settings import DataSettings
from ancestral.data import shards
from ancestral.data.datasets import BUILT_IN, load
from ancestral.data.loader import Loader
began = threading.Event()
def forever(self, number):
    began.set()
    threading.Event().wait()
shards.ShardCache.fetch_ahead = forever
train = load(DataSettings(source=sys.argv[1])).train
Loader(train, 8, seed=0).batch(0)
assert began.wait(60)
print("done")
"""


def test_reading_ahead_does_not_keep_a_process_alive(tmp_path: Path) -> None:
    digits(str(tmp_path / "packed"), 50)
    command = [sys.executable, "-c", BLOCKED, str(tmp_path / "packed")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


MEASURED = """
import sys
from ancestral.settings import DataSettings
from ancestral.data.datasets import BUILT_IN, load
from ancestral.data.loader import Loader
from ancestral.machine import cpu_field
def peak():
    return int(cpu_field("/proc/self/status", "VmHWM").split()[0]) * 1024
train = load(DataSettings(source=sys.argv[1], validation=0.0, test=0.0)).train
loader = Loader(train, 64, seed=0)
for step in range(20):
    loader.batch(step)
before = peak()
for step in range(20, len(train) // 64):
    loader.batch(step)
print(train.images.nbytes, peak() - before)
"""


@pytest.mark.slow
def test_memory_is_flat_over_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """48 MiB of images, out of a cache of 12: what is added after the first batches is a few of them."""
    monkeypatch.setenv(BUDGET_VARIABLE, str(12 / 1024))
    random = np.random.default_rng(0)
    whole = ImageSet(random.integers(0, 256, (16384, 32, 32, 3), np.uint8), None, (), None, None, "0" * 64)

    def made(settings: DataSettings) -> StagedWork[Collection]:
        yield from ()
        return Collection(whole)

    monkeypatch.setitem(BUILT_IN, "digits", made)
    pack(settings("digits"), str(tmp_path / "packed"), 256)
    command = [sys.executable, "-c", MEASURED, str(tmp_path / "packed")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    size, added = map(int, done.stdout.split())
    assert size == 48 * 2**20 and added < 8 * 2**20


def images(tree: Any) -> Any:
    return tree["columns"]["images"]


def test_an_index_that_lies_is_refused(tmp_path: Path) -> None:
    dest = tmp_path / "packed"
    digits(str(dest), 500)
    good = json.loads((dest / "index.json").read_text())
    lies: dict[str, Callable[[Any], object]] = {
        "secret": lambda tree: images(tree)["files"][0].update(file="../../secret"),
        "bytes for each image": lambda tree: images(tree)["files"][0].update(bytes=7),
        "files of images, got 3": lambda tree: images(tree)["files"].pop(),
        "images together": lambda tree: tree.update(count=9) or tree["columns"]["labels"]["files"][0].update(bytes=9),
        "got '0'": lambda tree: images(tree)["files"][1].update(sha256="0"),
        "version 2": lambda tree: tree.update(version=3),
        "unknown setting": lambda tree: tree.update(more=1),
        "class names": lambda tree: tree.update(class_names=[]),
        "labels of 1 classes": lambda tree: tree.update(class_names=["0"]),
        "shape": lambda tree: images(tree).update(shape=[8, 8]),
        "one of uint8,": lambda tree: images(tree).update(dtype="object"),
        "a name each": lambda tree: tree.update(attribute_names=["age"]),
        "that are texts": lambda tree: tree["columns"].update(captions=images(tree)),
        "beside num_test": lambda tree: tree.update(num_test=1797),
    }
    for said, lie in lies.items():
        tree = json.loads(json.dumps(good))
        lie(tree)
        (dest / "index.json").write_text(json.dumps(tree, separators=(",", ":")))
        with pytest.raises(InputError, match=said):
            load(settings(dest))
    (dest / "index.json").write_text('{"format":"ancestral-shards",')
    with pytest.raises(InputError, match="malformed"):
        load(settings(dest))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"size": 16}, r"data.size = 8, as .*leave it out, or pack .* --size"),
        ({"size": (8, 9)}, "data.size"),
        ({"color": "rgb"}, "data.color = grey"),
        ({"fit": "squash"}, "data.fit = pad"),
        ({"background": "red"}, "data.background = black"),
    ],
)
def test_settings_that_contradict_the_index_are_one_line(asked: dict[str, object], said: str) -> None:
    pack(settings("digits", fit="pad", background="black"), "memory://digits")
    assert len(load(settings("memory://digits", size=8, color="grey", fit="pad", background="black")).train)
    with pytest.raises(InputError, match=said):
        load(settings("memory://digits", **asked))


def test_nothing_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"memory://nowhere/index.json: not found; pack images"):
        load(settings("memory://nowhere"))
    with pytest.raises(InputError, match="cannot reach odd://x: Protocol not known"):
        load(settings("odd://x"))


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(url: str) -> None:
        raise ImportError("Install s3fs to access S3") from ModuleNotFoundError("No module", name="s3fs")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(InputError, match=r"^expected a driver for s3://x, got none; pip install s3fs$"):
        load(settings("s3://x"))


def test_shards_come_by_http_too(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp")
    digits(str(tmp_path / "packed"), 100)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/packed"
        train = load(settings(url)).train
        np.testing.assert_array_equal(train.pixels(), load(settings("digits")).train.pixels())
        with pytest.raises(InputError, match="not found"):
            load(settings(url + "-not"))
        server.shutdown()
        thread.join()


def test_runs_are_neighbours_in_both() -> None:
    assert runs(np.array([4, 5, 6, 9, 10, 3]), np.array([0, 1, 2, 3, 5, 6])).tolist() == [0, 3, 4, 5, 6]
    assert runs(np.array([7])).tolist() == [0, 1]


def test_a_mapped_file_that_is_cut_off_is_noticed_before_it_kills(tmp_path: Path) -> None:
    """Trap: reading what a mapped file has lost is SIGBUS. A file that is removed lives on while it is mapped."""
    train = load(settings(paint(tmp_path / "pets", 300), size=6)).train
    (file,) = (tmp_path / "cache" / "decoded").rglob("images.npy")
    loader, before = Loader(train, 64, seed=0), train.pixels(np.arange(50)).copy()
    copy = file.read_bytes()
    with file.open("r+b") as open_file:
        open_file.truncate(5000)
    for use in (lambda: loader.batch(1), lambda: train.sliced(2, 9).pixels(), lambda: train.unlabelled().pixels()):
        with pytest.raises(InputError, match=r"images.npy, got 5,000: it was cut off while in use; give the same"):
            use()
    file.write_bytes(copy)
    file.unlink()
    np.testing.assert_array_equal(train.pixels(np.arange(50)), before)
    assert len(loader.batch(1).pixels) == 64


def test_what_is_in_no_file_is_not_asked_for_its_size() -> None:
    assert len(load(settings("digits")).train.pixels(slice(0, 3))) == 3
