"""data.where: which images are left, what else they are, and what is refused."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from test_captions import read, write

from ancestral.data.check import check
from ancestral.data.datasets import load
from ancestral.data.packing import pack
from ancestral.errors import InputError
from ancestral.settings import DataSettings

TABLE = (
    "file\tcaption\tkind\tyear\n0.png\tzero\tfox\t3\n1.png\tone\towl\t3.0\n2.png\ttwo\tfox\t\n3.png\tthree\temu\t4\n"
)


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Five images, a table of four of them."""
    return write(tmp_path, {**{f"{i}.png": None for i in range(5)}, "captions.tsv": TABLE})


def left(root: Path, *where: str, **settings: Any) -> list[str]:
    return sorted(read(root, where=where, **settings)[1].images.names or ())


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (["kind=fox"], ["0.png", "2.png"]),
        ([" kind = fox ", "kind=owl"], ["0.png", "1.png", "2.png"]),
        (["kind=fox", "kind=owl", "year=3"], ["0.png", "1.png"]),
        (["year=3"], ["0.png", "1.png"]),
        (["year=", "kind=fox", "year=4"], None),
        ([], ["0.png", "1.png", "2.png", "3.png", "4.png"]),
    ],
)
def test_all_columns_hold_and_any_value_of_one(animals: Path, where: list[str], names: list[str] | None) -> None:
    """Numbers by value; what no table names is left out, and nothing is where nothing is asked."""
    if names is None:
        with pytest.raises(InputError, match="expected at least two images"):
            left(animals, *where)
    else:
        assert left(animals, *where) == names


def test_the_others_are_counted_and_their_hash_is_that_of_a_folder_without_them(animals: Path, tmp_path: Path) -> None:
    some = read(animals, where=["kind=fox"])[1]
    assert [(each.reason, each.suffix, each.count) for each in some.left_out] == [("by data.where", ".png", 3)]
    report = asdict(check(str(animals), DataSettings(source=str(animals), where=("kind=fox",))))
    assert report["num_images"] == 2 and report["left_out"] == tuple(map(asdict, some.left_out))
    assert not some.bad and some.notes[0].startswith("2 captions are read from captions.tsv")
    for i in (1, 3, 4):
        (animals / f"{i}.png").unlink()
    assert read(animals)[1].images.hash == some.images.hash


def test_metadata_counts_before_the_table(animals: Path) -> None:
    """Columns of texts, numbers and truth, that are attributes or not; images that it does not name are none."""
    rows = [
        '{"file_name": "0.png", "kind": "ape", "size": 2, "good": true, "label": "a"}',
        '{"file_name": "1.png", "kind": null, "size": 2.0, "good": false, "label": "b"}',
        '{"file_name": "2.png", "size": "large", "good": true, "label": "b"}',
        '{"file_name": "3.png", "size": 3, "good": true, "label": "a"}',
    ]
    (animals / "metadata.jsonl").write_text("\n".join(rows))
    assert left(animals, "size=2") == ["0.png", "1.png"]
    assert left(animals, "good=true", "kind=ape", "kind=fox") == ["0.png", "2.png"]
    assert left(animals, "kind=", "kind=emu") == ["1.png", "3.png"], "nothing is said of the first"
    whole = read(animals, where=["label=a"])[1]
    assert not whole.images.class_names, "one class is none"
    with pytest.raises(InputError, match=r"got 'owl'; there are ape, fox, emu"):
        left(animals, "kind=owl")


def test_the_cache_follows_the_table(animals: Path) -> None:
    assert left(animals, "kind=fox", captions="none") == ["0.png", "2.png"]
    (animals / "captions.tsv").write_text(TABLE.replace("owl", "fox"))
    assert left(animals, "kind=fox", captions="none") == ["0.png", "1.png", "2.png"]


def test_packing_carries_it_and_a_packed_set_refuses_it(animals: Path) -> None:
    settings = DataSettings(source=str(animals), size=4, where=("kind=fox",))
    packed = pack(settings, "memory://foxes")
    assert packed.index.count == 2 and packed.left_out[0].count == 3
    assert sorted(load(DataSettings(source="memory://foxes", validation=0, test=0)).train.captions or ()) == [
        "two",
        "zero",
    ]
    with pytest.raises(InputError, match="got a data set of other images or settings"):
        pack(settings.model_copy(update={"where": ("kind=fox", "kind=owl")}), "memory://foxes")
    with pytest.raises(InputError, match="which is packed, got kind=fox; pack the images again with --where"):
        load(DataSettings(source="memory://foxes", where=("kind=fox",)))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("kin=fox", "got 'kin'; did you mean kind[?]"),
        ("kind=foxx", "got 'foxx'; did you mean fox[?]"),
        ("kind=", "with a value of the column kind, got ''"),
        ("hue=3", "got 'hue'; there are file, caption, kind, year"),
    ],
)
def test_what_cannot_be_is_one_line(animals: Path, where: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        left(animals, where)


def test_a_folder_without_columns_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="got 'kind'; there is none"):
        left(write(tmp_path, {"a.png": None, "b.png": None}), "kind=fox")
