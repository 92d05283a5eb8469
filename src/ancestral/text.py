"""Text from files and folders, made safe to print on one line."""

import os
from pathlib import Path


def printable(text: str | Path) -> str:
    r"""`text` for one line of a message: control characters as \n or \x1b, bytes of a name that are not UTF-8 as \xff.

    Surrogates, which no terminal can show, are escaped too, so the result can always be encoded.
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in os.fspath(text))


def printable_lines(text: str) -> str:
    """The same of every line of `text`."""
    return "\n".join(map(printable, text.split("\n")))


def _escaped(character: str) -> str:
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # how Python keeps a byte of a file's name that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()
