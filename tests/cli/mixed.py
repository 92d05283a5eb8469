"""A folder as people have it: three hundred files of every kind, good and bad, in splits and classes."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

GOOD, BAD = 252, 48
"""Files that are images, whatever they are called, and files that are none."""
Writer = Callable[[Path], None]


def picture(number: int, mode: str = "RGB") -> Image.Image:
    """A smooth picture of 24 x 20 that no other number has."""
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((24, 20), Image.Resampling.BICUBIC).convert(mode)


def saved(number: int, mode: str = "RGB", **how: object) -> Writer:
    return lambda path: picture(number, mode).save(path, **how)  # type: ignore[arg-type]


def grey16(number: int) -> Writer:
    values = np.asarray(picture(number, "L")).astype(np.uint16) * 257
    return lambda path: Image.fromarray(values).save(path)


def written(content: bytes) -> Writer:
    return lambda path: (path.write_bytes(content), None)[1]


def cut(number: int) -> Writer:
    def write(path: Path) -> None:
        picture(number).save(path, format="JPEG")
        path.write_bytes(path.read_bytes()[:300])

    return write


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(900).save(path, exif=exif)


def profiled(path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture(901).save(path, icc_profile=profile)


ODD_BUT_GOOD: list[tuple[str, Writer]] = [
    ("train/cat/UPPER.PNG", saved(500)),
    ("train/cat/photo.jfif", saved(501, format="JPEG")),
    ("train/cat/without-suffix", saved(502, format="PNG")),
    ("train/cat/wrong.png", saved(503, format="JPEG")),
    ("train/cat/grey.png", saved(504, "L")),
    ("train/cat/palette.gif", saved(505, "P")),
    ("train/cat/clear.png", saved(506, "RGBA")),
    ("train/cat/grey-clear.png", saved(507, "LA")),
    ("train/cat/press.jpg", saved(508, "CMYK")),
    ("train/cat/deep.png", grey16(509)),
    ("train/cat/deep.tif", grey16(510)),
    ("train/cat/one-bit.tiff", saved(511, "1")),
    ("train/cat/web.webp", saved(512)),
    ("train/cat/bitmap.BMP", saved(513)),
    ("train/cat/turned.jpg", turned),
    ("train/cat/profiled.png", profiled),
    ("train/cat/progressive.jpg", saved(514, progressive=True)),
    (f"train/cat/{unicodedata.normalize('NFD', 'café')}.png", saved(515)),
    ("train/cat/smørrebrød 🍞.png", saved(516)),
    ("train/cat/two\nlines.png", saved(517)),
    (os.fsdecode(b"train/cat/caf\xe9.png"), saved(518)),
    ("train/dog/deeper/still/x.png", saved(519)),
]
NOT_IMAGES: list[tuple[str, Writer]] = [
    ("stray.png", saved(600)),  # an image, of no class
    ("README.md", written(b"my pictures")),
    ("notes.txt", written(b"")),
    ("train/cat/empty.png", written(b"")),
    ("train/cat/page.jpg", written(b"<!doctype html><p>404")),
    ("train/cat/drawing.svg", written(b"<svg xmlns='http://www.w3.org/2000/svg'/>")),
    ("train/cat/cut.jpg", cut(601)),
    ("train/cat/phone.heic", written(b"\0\0\0\x18ftypheic" + bytes(64))),
    ("train/cat/phone.jpg", written(b"\0\0\0\x18ftypheic" + bytes(64))),
    ("train/cat/archive.zip", written(b"PK\3\4" + bytes(64))),
    ("train/cat/Thumbs.db", written(b"\xd0\xcf\x11\xe0" + bytes(64))),
    ("train/cat/.DS_Store", written(b"\0\0\0\1Bud1")),
    ("train/cat/._UPPER.PNG", written(b"\0\5\x16\7" + bytes(64))),
    ("train/cat/pipe.png", lambda path: os.mkfifo(path)),
    ("train/cat/nowhere.png", lambda path: path.symlink_to("gone.png")),
    ("train/cat/movie.mp4", written(b"\0\0\0\x18ftypmp42" + bytes(64))),
    ("train/cat/raw.dng", written(b"II*\0" + bytes(64))),
    ("train/cat/noise.png", written(bytes(range(256)))),
]


def mixed_folder(root: Path) -> tuple[int, int]:
    """Writes the folder; how many of its files are images to be used, and how many are not."""
    rest = GOOD - len(ODD_BUT_GOOD)
    plain = [
        (f"{('train', 'train', 'train', 'test', 'val')[i % 5]}/{('cat', 'dog')[i // 5 % 2]}/{i}.png", saved(i))
        for i in range(rest)
    ]
    filler = [(f"train/dog/notes-{i}.txt", written(b"a note")) for i in range(BAD - len(NOT_IMAGES))]
    for name, write in (*plain, *ODD_BUT_GOOD, *NOT_IMAGES, *filler):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)
    (root / "train" / "again").symlink_to(root)
    return GOOD, BAD
