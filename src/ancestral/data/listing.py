"""The image files under a folder: every level, in the same order everywhere, nothing followed twice, no pipe opened.

A file is an image by its content. Those that are called one are listed unopened, since decoding tells what they are;
of all others the first bytes decide. What is left out is counted, by reason and suffix.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from ancestral.errors import InputError
from ancestral.files import open_regular
from ancestral.folders import PICTURES, FolderKind, check_holds_images, kind_by_names, use_of
from ancestral.text import as_utf8, printable

METADATA = ("metadata.csv", "metadata.jsonl")
CAPTION_TABLE = "captions.tsv"
LABELS = "dataset.json"  # what the tools of StyleGAN and EDM write beside images: the class of each, by number
# Files and folders, in lower case, that file managers leave behind; their folders hold copies and previews.
OF_SYSTEMS = frozenset({".ds_store", "thumbs.db", "desktop.ini", ".localized", ".directory"})
FOLDERS_OF_SYSTEMS = frozenset({"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"})
NOT_AN_IMAGE, HIDDEN, HIDDEN_FOLDER = "not an image", "hidden", "a hidden folder"
BY_A_SYSTEM, UNOPENED = "a file manager's own", "not a regular file, or unreadable"
LENGTH = 32  # Bytes from the beginning of a file that tell its kind
# Suffixes of camera raw files, which begin like TIFF and hold a small preview that is not the picture.
RAW = re.compile(r"\.(3fr|arw|cr2|dcr|dng|erf|iiq|kdc|mef|mos|nef|nrw|orf|pef|raw|rw2|sr2|srf|srw)")
BEGINNINGS = {  # of images that are read
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
BITMAP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # Sizes of the header that follows a bitmap's first 14 bytes
OTHERS = {  # of pictures that are not read
    "Photoshop": (b"8BPS",),
    "JPEG 2000": (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51"),
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "),
    "OpenEXR": (b"v/1\x01",),
    "Radiance": (b"#?RADIANCE",),
    "DirectDraw": (b"DDS ",),
    "icon": (b"\0\0\x01\0", b"\0\0\x02\0\x01\0", b"icns"),
    "PDF": (b"%PDF-",),
    "EPS": (b"%!PS", b"\xc5\xd0\xd3\xc6"),
    "PCX": (b"\x0a\x05\x01",),
    "QOI": (b"qoif",),
}
BRANDS = {b"ftypheic": "HEIC", b"ftypheix": "HEIC", b"ftypmif1": "HEIC", b"ftypavif": "AVIF"}  # from the fifth byte on
NETPBM = re.compile(rb"P[1-6]\s+[\d#]|P7\sWIDTH|P[Ff]\s+\d")
# By the letter after the P.
NETPBM_KINDS = dict(zip(b"1234567Ff", (*2 * ("PBM", "PGM", "PPM"), "PAM", "PFM", "PFM"), strict=True))
TGA = re.compile(rb".[\0\1][\1-\3\x09-\x0b]", re.DOTALL)  # of a file that its suffix calls .tga: there is no mark


@dataclass(frozen=True)
class LeftOut:
    """Files that are left out for the same reason and have the same suffix."""

    reason: str
    suffix: str  # .txt, "no suffix"; "folder" for folders, which count as one each
    count: int
    example: str  # the name of one of them, fit for printing


@dataclass(frozen=True)
class Listing:
    """What lies under `root`."""

    root: Path
    files: tuple[str, ...]  # names of image files relative to `root`, with / between folders, sorted
    metadata: tuple[str, ...]  # names of the files that say something of images, likewise
    bad: tuple[tuple[str, str], ...]  # (name, reason) of what could not be listed
    others: tuple[LeftOut, ...] = ()  # all else, counted
    products: tuple[tuple[str, FolderKind], ...] = ()  # (name, kind) of folders that ancestral wrote: not used
    tables: tuple[str, ...] = ()  # names of files called captions.tsv, the outermost first
    texts: tuple[str, ...] = ()  # names of .txt files beside an image of the same name


def list_images(root: Path) -> Listing:
    """Lists `root`; hidden files and folders are left out, links are followed once."""
    root = Path(root)
    if not root.exists():
        raise InputError(f"expected a folder of images, got none at {printable(root)}; check the path")
    check_holds_images(root)
    bad: list[tuple[str, str]] = []
    files: list[str] = []
    metadata: list[str] = []
    products: list[tuple[str, FolderKind]] = []
    others: list[tuple[str, str, str]] = []
    tables: list[str] = []
    texts: list[str] = []
    for here, folders, names in _walk(root, bad):
        prefix = "" if Path(here) == root else f"{Path(here).relative_to(root).as_posix()}/"
        if prefix and (kind := kind_by_names(Path(here), {*folders, *names})) is not None:
            products.append((prefix[:-1], kind))
            folders.clear()
            continue
        others += ((prefix + name, HIDDEN_FOLDER, "folder") for name in folders if _is_hidden_folder(name))
        folders[:] = sorted(name for name in folders if not _is_hidden_folder(name))
        said = _metadata(Path(here), names)
        metadata += (prefix + name for name in said)
        reasons = {name: _reason(here, name) for name in sorted({*names} - {*said})}
        stems = {stem_of(name) for name, reason in reasons.items() if not reason}
        for name, reason in reasons.items():
            if not reason:
                files.append(prefix + name)
            elif reason == NOT_AN_IMAGE and name == CAPTION_TABLE:
                tables.append(prefix + name)
            elif reason == NOT_AN_IMAGE and name.endswith(".txt") and stem_of(name) in stems:
                texts.append(prefix + name)
            else:
                others.append((prefix + name, reason, suffix_of(name)))
    listed = tuple(sorted(files)), tuple(metadata), tuple(bad), _counts(others), tuple(products)
    listing = Listing(root, *listed, tuple(tables), tuple(texts))
    if not files:
        raise InputError(_nothing_found(listing))
    return listing


def fingerprint(listing: Listing, read: Iterable[str] = ()) -> str:
    """Names, sizes and times of change of everything that decides the content, `read` among it, as text."""
    names = [*listing.files, *listing.metadata, *read]
    return "\n".join(f"{name!r} {_state(listing.root / name)}" for name in names) + f"\n{listing.bad}"


def stem_of(name: str) -> str:
    """A name without its suffix."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + (last.rpartition(".")[0] or last)


def suffix_of(name: str) -> str:
    """The suffix of a file in lower case, as it is counted; of a hidden .png too."""
    stem, _, last = name.lstrip(".").rpartition(".")
    if stem and last:
        return f".{last.lower()}"
    return name.lower() if name.startswith(".") else "no suffix"


def counted(named: Iterable[tuple[str, str]], others: Iterable[LeftOut]) -> tuple[LeftOut, ...]:
    """All that is left out: files with a reason each, and those that are counted already."""
    files = ((name, _general(reason), suffix_of(name.rpartition("/")[2])) for name, reason in named)
    return (*_counts(files), *others)


def by_reason(left_out: Iterable[LeftOut]) -> Mapping[str, str]:
    """Reason -> the suffixes with their numbers, in words."""
    said: dict[str, list[str]] = {}
    for each in left_out:
        said.setdefault(each.reason, []).append(f"{printable(each.suffix)} {each.count:,}")
    return {reason: ", ".join(words) for reason, words in said.items()}


def _walk(root: Path, bad: list[tuple[str, str]]) -> Iterator[tuple[str, list[str], list[str]]]:
    """As os.walk, every folder once; what cannot be listed goes to `bad`."""

    def unreadable(error: OSError) -> None:
        if Path(error.filename) == root:
            raise InputError(f"cannot list the folder {printable(root)}: {error.strerror}") from None
        bad.append((printable(os.path.relpath(error.filename, root)), f"cannot be listed: {error.strerror}"))

    seen: set[tuple[int, int]] = set()
    for here, folders, names in os.walk(root, followlinks=True, onerror=unreadable):
        status = Path(here).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back, or a second link to the same folder
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        yield here, folders, names


def _reason(here: str, name: str) -> str:
    """Why a file is left out; "" where it is an image."""
    suffix = suffix_of(name)
    if name.lower() in OF_SYSTEMS or name.startswith("._"):
        return BY_A_SYSTEM
    if name.startswith("."):
        return HIDDEN
    if suffix in PICTURES:
        return ""
    first = first_bytes(Path(f"{here}/{name}"))
    if first is None:
        return UNOPENED
    kind = format_of(first)
    if kind is not None and not (kind == "TIFF" and RAW.fullmatch(suffix)):
        return ""
    kind = other_kind(first, suffix)
    return f"{kind}, which is not read" if kind else NOT_AN_IMAGE


def _counts(files: Iterable[tuple[str, str, str]]) -> tuple[LeftOut, ...]:
    """How many of each reason and suffix, the largest first, of files by (name, reason, suffix)."""
    names: dict[tuple[str, str], list[str]] = {}
    for name, reason, suffix in files:
        names.setdefault((reason, suffix), []).append(name)
    ordered = sorted(names.items(), key=lambda each: (-len(each[1]), each[0]))
    return tuple(LeftOut(*kind, len(alike), printable(as_utf8(alike[0]))) for kind, alike in ordered)


def _is_hidden_folder(name: str) -> bool:
    return name.startswith(".") or name.lower() in FOLDERS_OF_SYSTEMS


def _metadata(here: Path, names: list[str]) -> list[str]:
    """The file of `here` that says something of images, if there is one; dataset.json only where it is alone."""
    found = [name for name in (*METADATA, LABELS) if name in names and (here / name).is_file()]
    if found[:2] == [*METADATA]:
        raise InputError(f"expected metadata.csv or metadata.jsonl in {printable(here)}, got both; remove one")
    return found[:1]


def _general(reason: str) -> str:
    """A reason without what differs from file to file: how large it is, and what follows a colon."""
    first, comma, limit = reason.partition(":")[0].partition(", ")
    return limit if comma and any(character.isdigit() for character in first) else first + comma + limit


def _state(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        return str(error.errno)
    return f"{status.st_size} {status.st_mtime_ns} {S_ISDIR(status.st_mode)}"


def _nothing_found(listing: Listing) -> str:
    reasons = [f"{name} {reason}" for name, reason in listing.bad[:1]]
    reasons += [f"the {kind} {printable(name)}" for name, kind in listing.products[:1]]
    reasons += [f"{each.count} of {printable(each.suffix)} ({each.reason})" for each in listing.others[:2]]
    found = ", ".join(reasons) or "an empty folder"
    use = "".join(f"; {use_of(listing.root / name, kind)}" for name, kind in listing.products[:1])
    return f"expected PNG, JPEG, WebP, BMP, GIF or TIFF images in {printable(listing.root)}, got {found}{use}"


def first_bytes(path: Path) -> bytes | None:
    """The beginning of a regular file; None for anything else, which is not opened, and where it cannot be read."""
    try:
        if not S_ISREG(path.stat().st_mode):
            return None
        with open_regular(path) as file:
            return file.read(LENGTH)
    except (OSError, InputError):
        return None


def format_of(first: bytes) -> str | None:
    """The format of an image that begins so; None for none that is read."""
    if first[:4] == b"RIFF" and first[8:12] == b"WEBP":
        return "WEBP"
    if first[:2] == b"BM" and int.from_bytes(first[14:18], "little") in BITMAP_HEADERS:
        return "BMP"
    return _beginning(first, BEGINNINGS)


def _beginning(first: bytes, beginnings: dict[str, tuple[bytes, ...]]) -> str | None:
    return next((name for name, marks in beginnings.items() if first.startswith(marks)), None)


def other_kind(first: bytes, suffix: str) -> str | None:
    """The name of a kind of picture that is not read, or None where a file that begins so is no picture."""
    if RAW.fullmatch(suffix):
        return "camera raw"
    if suffix == ".svg":
        return "SVG"
    if NETPBM.match(first):
        return NETPBM_KINDS[first[1]]
    if suffix == ".tga" and TGA.match(first):
        return "TGA"
    return BRANDS.get(first[4:12]) or _beginning(first, OTHERS)
