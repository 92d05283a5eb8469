"""The work of `ancestral data pack`: a bar while it packs, and what was packed in sentences or as JSON."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ancestral.cli.output import counting, say, tell, tell_json, warn_of_data
from ancestral.colors import NAMES
from ancestral.data.listing import counted
from ancestral.data.packing import Packed
from ancestral.data.packing import pack as packed
from ancestral.data.shard_index import Index
from ancestral.files import is_url
from ancestral.settings import DataSettings
from ancestral.text import printable


def pack(settings: DataSettings, dest: str, shard_images: int | None, as_json: bool) -> int:
    """Packs, and says what is there then; the exit code."""
    with counting() as counted:
        done = packed(settings, dest, shard_images, counted)
    warn_of_data(done, settings.source)
    if as_json:
        tell_json(as_tree(done, dest))
        return 0
    tell(sentence(done, dest))
    say(f"train with: {command(dest)}")
    return 0


def as_tree(done: Packed, dest: str) -> dict[str, Any]:
    """What --json prints."""
    index = done.index
    return {
        "dest": dest,
        "already": done.already,
        "images": index.count,
        "shape": index.shape,
        "class_names": index.class_names,
        "shards": len(index.shards),
        "bytes": num_bytes(index),
        "hash": index.hash,
        "num_test": index.num_test,
        "num_validation": index.num_validation,
        "bad": index.bad,
        "left_out": [asdict(each) for each in counted(index.bad, done.left_out)],
        "notes": done.notes,
        "command": command(dest),
    }


def sentence(done: Packed, dest: str) -> str:
    """What is there, in words."""
    index = done.index
    height, width, channels = index.shape
    kind = f"{height}x{width} {NAMES[channels]}"
    classes = f", {len(index.class_names)} classes" if index.class_names else ""
    shards = "1 shard" if len(index.shards) == 1 else f"{len(index.shards):,} shards"
    return (
        f"{'packed before' if done.already else 'packed'}: {index.count:,} images {kind}{classes}{_own(index)}, in "
        f"{shards} of {num_bytes(index) / 2**20:,.1f} MiB together, in {printable(dest)}"
    )


def _own(index: Index) -> str:
    """The parts that were packed as such, in words."""
    own = {"for validation": index.num_validation, "for test": index.num_test}
    told = [f"{count:,} {what}" for what, count in own.items() if count]
    return f" ({', '.join(told)})" if told else ""


def command(dest: str) -> str:
    """How to train on it; a path that could be a preset's name is written so that it is none."""
    alone = not is_url(dest) and Path(dest).name == dest
    return shlex.join(["ancestral", "train", f"./{dest}" if alone else dest])


def num_bytes(index: Index) -> int:
    """Of all pixels."""
    return sum(shard.bytes for shard in index.shards)
