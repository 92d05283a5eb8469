"""What the folders between a root and its images mean, from their names alone: parts, classes, or mere storage.

    data/train/cat/1.png   data/test/cat/2.png    train and test are parts, cat is a class
    data/cat/1.png         data/dog/2.png         cat and dog are classes
    data/00000/1.png       data/00001/2.png       folders that hold so many images each: nothing

A folder that holds everything means nothing. Images beside folders that mean something are left out where they are few.
Whatever can be read in two ways is noted, with the setting that decides.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ancestral.text import as_utf8, normal_form, printable

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")  # in the order in which images are stored
Splits = Literal["auto", "none", "folders"]  # as in `DataSettings`
WORDS: dict[str, Part] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
# What else is in the names of folders of parts, and of those that hold everything.
CONTENT = r"(?:sets?|splits?|data|dataset|images?|imgs?|photos?|pictures?)"
A_PART = re.compile(rf"(?:{CONTENT}[-_ .]*)?(?P<word>{'|'.join(WORDS)})(?:[-_ .]*{CONTENT})?[-_ .]*(?:\d{{4}})?", re.I)
NUMBERED = re.compile(
    r"(?P<word>(?:part|batch|chunk|shard|bucket|block|folder|dir|images?|imgs?)[-_ ]*)?(?P<number>\d+)", re.I
)
FEWEST_HASHED = 16  # folders from which names of hexadecimal digits are those of a hash
FULL = 0.8  # of the fullest folder, what each but the last holds where folders are numbered for storage
NAMED = 3  # folders that a note names

Paths = dict[str, tuple[str, ...]]  # file -> the folders it lies in, outermost first, that are still to be read


@dataclass(frozen=True)
class Division:
    """Files by the part whose folder they lie in."""

    parts: dict[str, Part]  # of every file; empty where folders are no parts
    paths: Paths  # of the same files, without those folders
    left_out: tuple[tuple[str, str], ...] = ()  # (file, reason) of the others
    notes: tuple[str, ...] = ()  # what can be read otherwise, a sentence each


def folders_of(files: Sequence[str]) -> Paths:
    """The folders of files, whose names have / between them."""
    return {name: tuple(as_utf8(name).split("/")[:-1]) for name in files}


def part_of(folder: str) -> Part | None:
    """The part that a folder's name stands for: Train, test2017, training_set, val ..."""
    found = A_PART.fullmatch(folder)
    return WORDS[found["word"].lower()] if found else None


def parts_of(folders: Collection[str]) -> dict[str, Part | None]:
    """The part that each of several folders at one level stands for. A word that all begin with does not count
    (seg_train, seg_test), nor numbers beside a folder to train on (test1)."""
    length = len(_common_words(folders)) if len(folders) > 1 else 0
    found = {name: part_of(name[length:]) or part_of(name) for name in folders}
    if "train" in found.values():
        found = {name: part or part_of(name.rstrip("0123456789")) for name, part in found.items()}
    return found


def _common_words(names: Collection[str]) -> str:
    """What all of several names begin with, up to where a word ends in all."""
    first, last = min(names), max(names)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[: 1 + max(first.rfind(end, 0, length) for end in "-_ .")]


def few(count: int, total: int) -> bool:
    """Whether so many of all images may be left out for the sake of the others: one, or a quarter."""
    return count <= max(1, total // 4)


def divided(paths: Paths, splits: Splits) -> Division:
    """Files by part, where folders called train, test or validation stand at one level. That is the first level at
    which folders differ, or the one below it, where each class has its parts."""
    level = 0
    while splits != "none" and (names := _at(paths, level)):
        beside = sum(len(path) <= level for path in paths.values())
        if _are_parts(names, beside, splits) or (splits == "auto" and _repeat_the_others(paths, level)):
            return _division(paths, level, splits)
        if len(names) > 1:
            kinds = {*parts_of(_at(paths, level + 1)).values()}
            whole = all(len(path) > level + 1 for path in paths.values())
            if whole and kinds > {"train"} and None not in kinds:  # cat/train, cat/test, dog/train ...
                return _division(paths, level + 1, "auto")
            return Division({}, paths, notes=_likely_parts(names))
        if not few(beside, len(paths)):
            break
        level += 1
    return Division({}, paths)


def class_folders(paths: Paths, numbers_are_classes: bool) -> tuple[dict[str, str | None], tuple[str, ...]]:
    """The folder that is each file's class, None where it lies in none, and notes; all None where there are not two.
    Folders that look like numbered storage are none, unless `numbers_are_classes`."""
    notes: tuple[str, ...] = ()
    while names := _at(paths, 0):
        beside = sum(not path for path in paths.values())
        stored = len(names) > 1 and not numbers_are_classes and _are_storage(paths)
        if stored:
            words = f"the folders {_listed(names)} look like numbered storage and are no classes"
            notes += (f"{words}; --data.labels folders makes them classes",)
        elif len(names) > 1 or not few(beside, len(paths)):
            break
        paths = {name: path[1:] for name, path in paths.items()}
    if len(names) < 2:
        return dict.fromkeys(paths), notes
    return {name: path[0] if path else None for name, path in paths.items()}, (*notes, *_doubts(paths, names))


def _at(paths: Paths, level: int) -> Counter[str]:
    """The folders at a level, with their images."""
    return Counter(path[level] for path in paths.values() if len(path) > level)


def _are_parts(names: Collection[str], beside: int, splits: Splits) -> bool:
    kinds = {*parts_of(names).values()}
    known = kinds - {None}
    if splits == "folders":
        return bool(known)
    if known == {"train"}:
        return kinds == known and not beside
    return "train" in known or (bool(known) and kinds == known)


def _repeat_the_others(paths: Paths, level: int) -> bool:
    """Whether folders of parts hold what lies beside them once more: cat, dog, test/cat, test/dog."""
    kinds = parts_of(_at(paths, level))
    inside = {path[level + 1 : level + 2] for path in paths.values() if len(path) > level and kinds[path[level]]}
    return bool(inside) and inside <= {(name,) for name, part in kinds.items() if not part}


def _division(paths: Paths, level: int, splits: Splits) -> Division:
    kinds = parts_of(_at(paths, level))
    said = _listed([name for name, part in kinds.items() if part])
    has_train = "train" in kinds.values()
    parts: dict[str, Part] = {}
    inner: Paths = {}
    left_out: list[tuple[str, str]] = []
    for name, path in paths.items():
        part = kinds[path[level]] if len(path) > level else None
        if part is None and has_train and splits == "auto":
            left_out.append((name, f"lies beside {said}"))
        else:
            parts[name] = part or "train"
            inner[name] = path[:level] + path[level + 1 :] if part else path
    counts = Counter(parts.values())
    shares = ", ".join(f"{counts[part]:,} {part}" for part in PARTS if counts[part])
    note = f"parts of the data by folder ({said}): {shares} images; --data.splits none reads these folders as others"
    notes = (note,) if counts.keys() != {"train"} else ()
    return Division(parts, _unwrapped(parts, inner, kinds), tuple(left_out), notes)


def _unwrapped(parts: Mapping[str, Part], paths: Paths, kinds: Mapping[str, Part | None]) -> Paths:
    """Paths without what is doubled inside of parts, such as train/train and test/images."""
    paths = dict(paths)
    for part in {*parts.values()}:
        names = [name for name, its in parts.items() if its == part]
        while (only := {paths[name][:1] for name in names}) != {()} and len(only) == 1:
            (folder,) = only.pop()
            if (kinds.get(folder) or part_of(folder)) != part and not re.fullmatch(CONTENT, folder, re.I):
                break
            paths.update((name, paths[name][1:]) for name in names)
    return paths


def _likely_parts(names: Collection[str]) -> tuple[str, ...]:
    """A note on folders that are called like parts and read like others."""
    kinds = parts_of(names)
    likely = [name for name, part in kinds.items() if part]
    others = _listed([name for name, part in kinds.items() if not part])
    words = f"the folder {_listed(likely)} is read like {others} beside it, as no part of the data"
    return (f"{words}; --data.splits folders makes it one",) if likely else ()


def _are_storage(paths: Paths) -> bool:
    """Whether folders only hold so many images each: numbered on and equally full, or named by a hash."""
    files: dict[str, list[str]] = {}
    for name, path in paths.items():
        if path:
            files.setdefault(path[0], []).append(name.rpartition("/")[2])
    if len({*(file for each in files.values() for file in each)}) < sum(map(len, files.values())):
        return False  # who splits one set up gives no name twice
    return _are_numbered(files) or _are_hashed([*files])


def _are_numbered(files: Mapping[str, Sequence[str]]) -> bool:
    found = {name: NUMBERED.fullmatch(name) for name in files}
    words = {match and match["word"] for match in found.values()}
    if None in found.values() or len(words) > 1:
        return False
    in_order = sorted((int(match["number"]), name) for name, match in found.items() if match)
    first, last = in_order[0][0], in_order[-1][0]
    if last - first + 1 != len(in_order):
        return False
    if words != {None}:
        return True
    most = max(map(len, files.values()))
    return len({*map(len, files)}) == 1 < len(in_order[0][1]) and all(
        len(files[name]) >= FULL * most for _, name in in_order[:-1]
    )


def _are_hashed(names: Sequence[str]) -> bool:
    with_digits = sum(any(character.isdigit() for character in name) for name in names)
    alike_long = len({*map(len, names)}) == 1 < len(names[0])
    hexadecimal = all(re.fullmatch("[0-9a-f]+|[0-9A-F]+", name) for name in names)
    letters = any(re.search("[a-fA-F]", name) for name in names)
    return len(names) >= FEWEST_HASHED and alike_long and hexadecimal and letters and 2 * with_digits >= len(names)


def _doubts(paths: Paths, names: Collection[str]) -> tuple[str, ...]:
    """Notes on classes that might be something else."""
    notes = []
    if len({*map(len, names)}) == 1 and all(name.isdecimal() and len(name) > 1 for name in names):
        notes.append(f"the folders {_listed(names)} are read as classes; --data.labels none if they only number images")
    deeper = {path[:2] for path in paths.values() if path}
    if all(len(path) > 1 for path in paths.values() if path) and len(deeper) > len(names):
        inner = _listed({path[1] for path in deeper})
        words = f"the folders {_listed(names)} are the classes, those in them ({inner}) are not"
        notes.append(f"{words}; a metadata.csv can name other classes")
    return tuple(notes)


def _listed(names: Collection[str]) -> str:
    """The first of some names in their order, and how many there are."""
    first = [printable(name) for name in sorted(names, key=normal_form)[:NAMED]]
    return ", ".join(first) + (f" ... ({len(names):,})" if len(names) > NAMED else "")
