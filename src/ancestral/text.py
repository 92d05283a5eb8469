"""Text from files, folders and the command line: made safe to print on one line, and compared as people read it."""

import os
import re
import unicodedata
from contextlib import suppress
from pathlib import Path


def printable(text: str | Path) -> str:
    r"""`text` for one line of a message, such that it can be encoded: control characters as \n or \x1b, surrogates as
    \ud800, bytes of a name that are not UTF-8, which Python keeps as surrogates, as \xff."""
    named = re.sub(r"[\udc80-\udcff]", lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", os.fspath(text))
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in named)


def printable_lines(text: str) -> str:
    """The same of every line of `text`."""
    return "\n".join(map(printable, text.split("\n")))


def as_utf8(name: str) -> str:
    """A file's name or a word typed, its bytes read as UTF-8 whatever the locale says; as it is where they are none."""
    with suppress(UnicodeError):
        return os.fsencode(name).decode()
    return name


def is_unicode(text: str) -> bool:
    """Whether it can be written as UTF-8: bytes that are none, and halves of surrogate pairs, cannot."""
    return not re.search("[\ud800-\udfff]", text)


def normal_form(name: str) -> str:
    """The form in which two names are compared: accents that are typed apart count as those that are not (NFC)."""
    return unicodedata.normalize("NFC", name)


def size_in_words(count: int) -> str:
    """Bytes as one says them."""
    size, unit = next(((size, unit) for size, unit in ((1e9, "GB"), (1e6, "MB")) if count >= size), (1e3, "kB"))
    return f"{count / size:,.1f} {unit}"


def shortened(text: str, longest: int = 60) -> str:
    """`text` on one line, its end cut off where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 1] + "…"
