"""JavaScript modules of this folder joined into one script: a page of a file may not import another file."""

import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from importlib.resources import files

LEFT_OUT = re.compile(r"^import [^;]*;\n|^export |^ */\*\*.*?\*/\n", re.MULTILINE | re.DOTALL)
"""What stands between modules, and their documentation, which nobody reads in a page."""


def joined(modules: Iterable[str]) -> str:
    """The modules, by names of files, without their imports and exports. Their names are of one script then."""
    return "\n".join(LEFT_OUT.sub("", source(name)) for name in modules)


def source(name: str) -> str:
    """A file of this folder."""
    return files("ancestral.share").joinpath(name).read_text(encoding="utf-8")


def kernels(name: str) -> str:
    """A file of kernels, in base64."""
    return b64encode(files("ancestral.share").joinpath(name).read_bytes()).decode()


def digest(text: str) -> str:
    """How a content-security policy names a script or a style that it allows."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
