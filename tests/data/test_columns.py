"""What lies beside the images of a packed set: every column comes back as it was, is read only where it is asked for,
and is checked by itself."""

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image
from test_shards import ALL, WATCHERS, Stopped, damage, fresh, rows, settings

from ancestral.data.datasets import BUILT_IN, load
from ancestral.data.imageset import Collection, ImageSet
from ancestral.data.loader import Loader
from ancestral.data.packing import pack
from ancestral.data.shard_index import Index
from ancestral.data.shards import BUDGET_VARIABLE
from ancestral.errors import InputError
from ancestral.progress import StagedWork
from ancestral.settings import DataSettings

__all__ = ["fresh"]
OLD = Path(__file__).parents[1] / "old_shards"
ODD = ("", "\0", "plain", "two\nlines\r\n", "🐕‍🦺 e\u0301 \u2028", "x" * 100_000, "\ud800 half a pair", " ends in\0")


def made(count: int, channels: int = 3, texts: Sequence[str] | None = ODD) -> ImageSet:
    """`count` images of noise, 4 x 5, with all that can be known of one."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (count, 4, 5, channels), np.uint8)
    attributes = random.standard_normal((count, 2)).astype(np.float32)
    attributes[::3, 1] = np.nan
    captions = None if texts is None else tuple(texts[i % len(texts)] for i in range(count))
    known = np.arange(count) % 300, tuple(map(str, range(300))), captions, None, "0" * 64
    return ImageSet(pixels, *known, attributes, ("age", "smile"))


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that packs an image set."""

    def packed(whole: ImageSet, dest: str = "memory://set", shard_images: int = 7) -> Index:
        def collect(settings: DataSettings) -> StagedWork[Collection]:
            yield from ()
            return Collection(whole)

        monkeypatch.setitem(BUILT_IN, "digits", collect)
        return pack(settings("digits"), dest, shard_images).index

    return packed


def assert_same(found: ImageSet, expected: ImageSet) -> None:
    np.testing.assert_array_equal(found.pixels(), expected.pixels())
    assert found.labels is not None and expected.labels is not None and found.attributes is not None
    assert found.labels.tolist() == expected.labels.tolist() and found.class_names == expected.class_names
    np.testing.assert_array_equal(found.attributes, expected.attributes)
    assert found.attributes.dtype == np.float32 and found.attribute_names == expected.attribute_names
    assert [*(found.captions or ())] == [*(expected.captions or ())]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 17])
def test_every_column_comes_back(channels: int, packing: Any, tmp_path: Path) -> None:
    """As the whole and in its parts, of any number of channels; texts byte for byte."""
    whole = made(60, channels)
    index = packing(whole, str(tmp_path / "set"))
    assert {name: (column.dtype, column.shape) for name, column in index.columns.items()} == {
        "images": ("uint8", (4, 5, channels)),
        "labels": ("uint16", ()),
        "captions": ("text", ()),
        "attributes": ("float32", (2,)),
    }
    parts = load(settings(tmp_path / "set", validation=0.2, test=0.3))
    assert len(parts.train) == 30
    for part, (start, stop) in zip(parts[:3], [(0, 30), (30, 42), (42, 60)], strict=True):
        assert_same(part, whole.sliced(start, stop))
    assert_same(parts.train.ordered(np.arange(30)[::-1]), whole.sliced(0, 30).ordered(np.arange(30)[::-1]))
    assert load(settings(tmp_path / "set", attributes=["smile"])).train.attribute_names == ("smile",)
    batch = Loader(parts.train, 8, seed=0).batch(3)
    np.testing.assert_array_equal(batch.pixels.permute(0, 2, 3, 1).numpy(), whole.pixels(batch.indices.numpy()))


def test_captions_are_a_sequence_that_is_read_as_it_is_asked_for(packing: Any) -> None:
    whole = made(40)
    packing(whole)
    captions, expected = load(settings("memory://set", **ALL)).train.captions, whole.captions
    assert captions and expected and len(captions) == 40
    assert (captions[-1], captions[13]) == (expected[-1], expected[13])
    assert [*captions[5:30][3:9]] == [*expected[8:14]] and [*captions[30:5]] == []
    assert [*captions[::7]] == [*expected[::7]] and "plain" in captions
    with pytest.raises(IndexError):
        captions[40]


def test_only_the_columns_that_are_asked_for_are_read(packing: Any) -> None:
    index = packing(made(60), "watched://set")
    opened: set[str] = set()
    WATCHERS.append(lambda what, path: opened.add(path.rpartition("/")[2]) if what == "open" else None)
    train = load(settings("watched://set", **ALL)).train
    loader = Loader(train, 8, seed=0)
    for step in range(8):
        loader.batch(step)
    rows(train).ahead.wait()
    assert opened == {"index.json", "labels.bin", "attributes.bin", *(shard.file for shard in index.shards)}
    opened.clear()
    found, taken = rows(train).columns(np.array([3, 50, 4]), ("captions",))
    assert found["captions"].tolist() == [ODD[3], ODD[2], ODD[4]] and taken.tolist() == [3, 50, 4]
    assert opened == {"00000-captions.bin", "00007-captions.bin"}


@pytest.mark.parametrize("column", ["images", "captions"])
def test_a_shard_that_is_damaged_in_one_column_is_named_and_replaced_in_all(column: str, packing: Any) -> None:
    """No image is told the caption of another. Who asks for the other column alone never sees it."""
    whole = made(1000, texts=[f"text {i}" for i in range(1000)])
    index = packing(whole, shard_images=10)
    file = index.columns[column].files[20].file
    damage("memory://set", file, "altered")
    train = load(settings("memory://set", **ALL)).train
    where = np.array([5, 203, 209, 990])
    for _ in range(2):
        found, taken = rows(train).columns(where, ("images", "captions"))
        assert taken.tolist() == [5, 213, 219, 990]
        np.testing.assert_array_equal(found["images"], whole.pixels(taken))
        assert found["captions"].tolist() == [f"text {i}" for i in taken]
    assert [(each.shard, each.reason, each.num_images) for each in rows(train).missing] == [
        (f"memory://set/{file}", "wrong sha256", 10)
    ]
    train = load(settings("memory://set", **ALL)).train
    assert train.captions is not None
    with pytest.raises(InputError, match=rf"cannot read the {column} of memory://set/{file}: wrong sha256; restore it"):
        _ = train.captions[205] if column == "captions" else train.pixels(slice(205, 206))
    (other,) = {"images", "captions"} - {column}
    assert rows(train).columns(where, (other,))[1].tolist() == where.tolist()


@pytest.mark.parametrize("column", ["labels", "attributes"])
def test_a_column_that_is_held_in_memory_is_checked_when_it_is_read(column: str, packing: Any) -> None:
    packing(made(30))
    damage("memory://set", f"{column}.bin", "altered")
    with pytest.raises(InputError, match=rf"expected the index's {column} in memory://set/{column}.bin, got others"):
        load(settings("memory://set"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.array([0, 9, 3, 12], "<u8").tobytes() + b"x" * 12, "end where there are none"),
        (np.array([0, 1, 2, 2**62], "<u8").tobytes() + b"x" * 12, "end where there are none"),
        (np.array([0, 1, 2, 12], "<u8").tobytes() + b"\xff" * 12, "not UTF-8"),
    ],
)
def test_an_index_that_vouches_for_what_is_no_text_is_not_believed(content: bytes, said: str, packing: Any) -> None:
    """Trap: an offset of exabytes, for which room is made."""
    packing(made(3, texts=["a"]), "memory://set", 3)
    store = fsspec.filesystem("memory")
    tree = json.loads(store.cat_file("/set/index.json"))
    store.pipe_file("/set/00000-captions.bin", content)
    about = {"file": "00000-captions.bin", "bytes": len(content), "sha256": sha256(content).hexdigest()}
    tree["columns"]["captions"]["files"] = [about]
    store.pipe_file("/set/index.json", json.dumps(tree).encode())
    captions = load(settings("memory://set", **ALL)).train.captions
    with pytest.raises(InputError, match=rf"00000-captions.bin: holds texts that .*{said}"):
        list(captions or ())


def test_a_column_of_another_kind_is_read_beside_the_images(packing: Any) -> None:
    """As latents will lie: float16 of any shape, described in the index."""
    whole, store = made(20), fsspec.filesystem("memory")
    packing(whole)
    latents = np.random.default_rng(1).standard_normal((20, 3, 2)).astype("<f2")
    tree, files = json.loads(store.cat_file("/set/index.json")), []
    for number in range(3):
        content = latents[7 * number : 7 * number + 7].tobytes()
        store.pipe_file(f"/set/{number:05d}-latents.bin", content)
        files.append(
            {"file": f"{number:05d}-latents.bin", "bytes": len(content), "sha256": sha256(content).hexdigest()}
        )
    tree["columns"]["latents"] = {"dtype": "float16", "shape": [3, 2], "files": files}
    store.pipe_file("/set/index.json", json.dumps(tree).encode())
    where = np.array([19, 0, 8, 9, 10])
    found, _ = rows(load(settings("memory://set", **ALL)).train).columns(where, ("latents", "images"))
    assert found["latents"].dtype == np.float16
    np.testing.assert_array_equal(found["latents"], latents[where])
    np.testing.assert_array_equal(found["images"], whole.pixels(where))


def test_packing_that_is_stopped_among_the_captions_goes_on(packing: Any) -> None:
    whole = made(60)
    expected = packing(whole, "memory://whole")

    def stop(what: str, path: str) -> None:
        if what == "write" and path.endswith("00004-captions.bin"):
            raise Stopped

    WATCHERS.append(stop)
    with pytest.raises(Stopped):
        packing(whole, "watched://set")
    with pytest.raises(InputError, match="ancestral data pack"):
        load(settings("watched://set"))
    WATCHERS.clear()
    assert packing(whole, "watched://set") == expected
    names = {path.rpartition("/")[2] for path in fsspec.filesystem("memory").ls("/set", detail=False)}
    assert names == {"index.json", *(each.file for column in expected.columns.values() for each in column.files)}


def test_a_set_that_was_packed_before_there_were_columns_is_read() -> None:
    """`old_shards`, of version 1: eight pictures in three shards, with classes, names and captions in the index."""
    assert json.loads((OLD / "index.json").read_text())["version"] == 1, "else nothing is tested"
    train = load(settings(OLD, **ALL)).train
    assert rows(train).cache.index.hash.startswith("9ec82f04782a2766")
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (2, 3, 3), np.uint8) for _ in range(8)]
    assert train.names == tuple(f"{i}.png" for i in (5, 0, 6, 3, 2, 7, 4, 1)) and train.labels is not None
    for name, pixels, label, text in zip(train.names, train.pixels(), train.labels, train.captions or (), strict=True):
        i = int(name[0])
        np.testing.assert_array_equal(pixels, pictures[i])
        assert (train.class_names[label], text) == (["dog", "cat"][i % 2], f"picture {i} 🐕\nof a dog")


@pytest.mark.parametrize("spoil", [{"shards": 3}, {"labels": {"bytes_each": 3}}, {"shards": [1]}, {"count": "many"}])
def test_an_old_index_that_is_malformed_is_one_line(spoil: dict[str, object], tmp_path: Path) -> None:
    tree = json.loads((OLD / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**tree, **spoil}))
    with pytest.raises(InputError, match=r"index.json") as raised:
        load(settings(tmp_path))
    assert "\n" not in str(raised.value)


def test_what_is_packed_without_captions_and_attributes_keeps_its_hash() -> None:
    """Which runs are tied to; and what was packed before there were columns is known to be the same."""
    index = pack(settings("digits"), "memory://digits", 500).index
    assert index.hash == "a1e57af6b233be7b382f34774c63a2c2aa4f4606c3e7239f8b66f92a1ef4c23f"
    assert index.packed_from == "baa7d953bd088e4acd3f9801343655e7d8ef6ad0624ba301b4b977117cebd7dc"


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_captions_of_a_folder_are_neither_cut_nor_dropped(kind: str, tmp_path: Path) -> None:
    """Decoded, from the cache and packed, whatever they hold and however long they are."""
    texts = {f"{i}.png": text for i, text in enumerate((*ODD[2:6], "", "long " * 50_000))}
    for name in texts:
        Image.new("L", (4, 4), int(name[0])).save(tmp_path / name)
    with (tmp_path / f"metadata.{kind}").open("w", newline="") as file:
        described = [{"file_name": name, "text": text} for name, text in texts.items()]
        if kind == "csv":
            writer = csv.DictWriter(file, ["file_name", "text"])
            writer.writeheader()
            writer.writerows(described)
        else:
            file.write("\n".join(map(json.dumps, described)))
    pack(settings(tmp_path, size=4), "memory://folder", 4)
    for source in (tmp_path, tmp_path, "memory://folder"):
        train = load(settings(source, size=4, **ALL)).train
        assert dict(zip(train.names or (), train.captions or (), strict=True)) == texts


READ = """
import sys
from ancestral.settings import DataSettings
from ancestral.data.datasets import load
from ancestral.machine import cpu_field
def peak():
    return int(cpu_field("/proc/self/status", "VmHWM").split()[0]) * 1024
train = load(DataSettings(source=sys.argv[1], validation=0.0, test=0.0)).train
size = sum(map(len, train.captions[:300]))
before = peak()
size += sum(map(len, train.captions[300:]))
print(size, peak() - before)
"""


@pytest.mark.slow
def test_captions_are_not_all_in_memory(packing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """48 MiB of texts, out of a cache of 12."""
    packing(made(6144, texts=["x" * 8192]), str(tmp_path / "packed"), 128)
    monkeypatch.setenv(BUDGET_VARIABLE, str(12 / 1024))
    command = [sys.executable, "-c", READ, str(tmp_path / "packed")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    size, added = map(int, done.stdout.split())
    assert size == 48 * 2**20 and added < 8 * 2**20
