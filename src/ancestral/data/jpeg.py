"""How much work a JPEG makes, by its markers: a progressive one may run over all its pixels as often as it likes."""

import re
from collections.abc import Iterator

MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
"""A marker, which neither a stuffed byte nor a restart is."""
START_OF_SCAN, END = 0xDA, 0xD9
PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
ARITHMETIC = {0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
"""Frames whose codes may take less than a bit."""
BLOCK = 64
"""Pixels of a block, whose mean is a code of its own."""
MAX_SCANS = 100
"""The usual progressive ones have ten."""
MAX_WORK = 1_024_000_000
"""Pixels times scans: a few seconds."""
ALONE = {0x01, 0xD8, END}
"""Markers that no length follows."""


def scans(data: bytes) -> int:
    """How many scans a file has, up to the end of its first image."""
    return sum(marker == START_OF_SCAN for marker in markers(data))


def is_progressive(data: bytes) -> bool:
    """Whether it is decoded in several scans, and so held as coefficients."""
    return any(marker in PROGRESSIVE for marker in markers(data))


def refusal(data: bytes, pixels: int) -> str | None:
    """What of a picture of so many pixels speaks against decoding it, in words; None where nothing does.

    A Huffman code has a bit or more, and there is one for each block at least: what is missing would be decoded as
    grey, in silence.
    """
    if (count := scans(data)) > min(MAX_SCANS, MAX_WORK // pixels):
        return f" in {count:,} scans, more than the {MAX_SCANS} or {MAX_WORK:,} pixels allowed"
    if len(data) < pixels // BLOCK // 8 and not any(marker in ARITHMETIC for marker in markers(data)):
        return f", which {len(data):,} bytes cannot hold: it is cut off, or its header wrong"
    return None


def markers(data: bytes) -> Iterator[int]:
    """The markers of the first image; what lies in their segments, a thumbnail for one, is not looked at."""
    at = 0
    while (found := MARKER.search(data, at)) is not None and found[1][0] != END:
        yield found[1][0]
        at = found.end()
        if found[1][0] not in ALONE:
            at += int.from_bytes(data[at : at + 2], "big")
