"""The recipe in a PNG file: read whole, without unpacking anything, or refused in one line."""

import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from PIL import Image

from ancestral.errors import InputError
from ancestral.jobs.repeating import recipe
from ancestral.viz.pictures import save_png
from ancestral.viz.png_texts import read_metadata

SAID = {"seed": "7", "class": "3", "weights": "0123", "title": "xₜ über alles"}


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    file = tmp_path / "drawn.png"
    save_png(Image.new("RGB", (8, 8)), file, SAID)
    return file


def with_chunk(file: Path, kind: bytes, data: bytes) -> None:
    """Adds a chunk behind the header, whose checksum is right."""
    content = file.read_bytes()
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    file.write_bytes(content[:33] + chunk + content[33:])


def test_every_letter_is_read_back(drawn: Path) -> None:
    assert read_metadata(drawn) == SAID


def test_a_compressed_text_is_never_unpacked(drawn: Path) -> None:
    """Trap: 65 kB of zTXt or iTXt unpack to 64 MB, and a few more to all of the memory."""
    bomb = zlib.compress(bytes(2**26))
    with_chunk(drawn, b"zTXt", b"seed2\0\0" + bomb)
    with_chunk(drawn, b"iTXt", b"seed3\0\1\0\0\0" + bomb)
    tracemalloc.start()
    assert read_metadata(drawn) == SAID
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**22


def test_what_is_cut_off_or_changed_is_refused(drawn: Path) -> None:
    content = drawn.read_bytes()
    for end in range(0, len(content) - 1, 13):
        drawn.write_bytes(content[:end])
        with pytest.raises(InputError, match="PNG file"):
            read_metadata(drawn)
    drawn.write_bytes(content.replace(b"0123", b"0124"))
    with pytest.raises(InputError, match="cut off or damaged"):
        read_metadata(drawn)


def test_a_length_beyond_the_file_is_refused(drawn: Path) -> None:
    content = drawn.read_bytes()
    drawn.write_bytes(content[:33] + struct.pack(">I", 2**31 - 1) + content[37:])
    with pytest.raises(InputError, match="cut off or damaged"):
        read_metadata(drawn)


def test_what_is_said_twice_is_refused(drawn: Path) -> None:
    with_chunk(drawn, b"tEXt", b"seed\x008")
    with pytest.raises(InputError, match="one seed, got two"):
        read_metadata(drawn)


@pytest.mark.parametrize(
    "seed",
    ["", "-1", "x", "1 to 2 to 3", "5 to 3", "0 to 99999999999", str(2**63), "9" * 5000, "0 to " + "9" * 5000, "1e3"],
)
def test_seeds_are_few_and_within_63_bits(seed: str, drawn: Path) -> None:
    save_png(Image.new("RGB", (8, 8)), drawn, {**SAID, "seed": seed})
    with pytest.raises(InputError, match="expected a seed") as raised:
        recipe(drawn)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


def test_a_picture_beyond_the_limits_tells_its_recipe_and_is_not_decoded(drawn: Path) -> None:
    content = drawn.read_bytes()
    header = b"IHDR" + struct.pack(">II", 2**31 - 1, 2**31 - 1) + content[24:29]
    drawn.write_bytes(content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:])
    assert recipe(drawn).seeds == range(7, 8)
