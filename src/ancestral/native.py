"""C that is compiled on this machine for its processor, the first time that it is needed, and kept in the cache.

What is kept lies under a digest of its source, of the compiler and of what the processor can do, and ends in a digest
of itself: another processor's is never loaded, and a damaged one is made again. Where there is no compiler, or no
folder that nobody else may write to, there is no library, and whoever asks has another way.
"""

import ctypes
import json
import os
import shutil
import stat
import subprocess
import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path

from ancestral.errors import AncestralError
from ancestral.files import cache_folder, read_bytes, write_whole
from ancestral.machine import cpu_field, processor

FLAGS = ("-O3", "-march=native", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math")
MOST_SECONDS = 60.0  # of compiling


@cache
def library(source: Path) -> ctypes.CDLL | None:
    """The library made of a C file; None where there is none, or ANCESTRAL_NATIVE is 0."""
    found = compiler()
    try:
        return None if found is None else ctypes.CDLL(str(_compiled(source, found)))
    except (OSError, subprocess.SubprocessError, AncestralError):
        return None


def compiler() -> Path | None:
    """The C compiler to use; None where there is none that only its owner can exchange, or ANCESTRAL_NATIVE is 0."""
    names = () if os.environ.get("ANCESTRAL_NATIVE") == "0" else ("cc", "gcc", "clang")
    found = [Path(path).resolve() for name in names if (path := shutil.which(name)) and Path(path).is_absolute()]
    return next((each for each in found if not _is_open(each) and not _is_open(each.parent)), None)


def _is_open(path: Path) -> bool:
    return bool(path.stat().st_mode & stat.S_IWOTH)


def _compiled(source: Path, found: Path) -> Path:
    code, about = source.read_bytes(), found.stat()
    abilities = cpu_field("/proc/cpuinfo", "flags") or cpu_field("/proc/cpuinfo", "Features")
    key = json.dumps([code.hex(), str(found), about.st_size, about.st_mtime_ns, FLAGS, processor(), abilities])
    file = _own_folder() / f"{source.stem}-{sha256(key.encode()).hexdigest()[:32]}.so"
    if not _is_whole(file):
        content = _output(code, found, file.parent)
        write_whole(file, content + sha256(content).digest())  # what follows a library is read by nobody else
    return file


def _own_folder() -> Path:
    """Where libraries are kept: a folder of this user, in which nobody else may write."""
    folder = cache_folder() / "native"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.lstat()
    if about.st_uid != os.geteuid() or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or not stat.S_ISDIR(about.st_mode):
        raise PermissionError(f"others may write to {folder}")
    return folder


def _is_whole(file: Path) -> bool:
    if not file.is_file():
        return False
    content = read_bytes(file)
    return content[-32:] == sha256(content[:-32]).digest()


def _output(code: bytes, found: Path, folder: Path) -> bytes:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        made = Path(scratch, "made.so")
        command = [str(found), *FLAGS, "-x", "c", "-", "-o", str(made)]
        surroundings = {**os.environ, "TMPDIR": scratch}
        subprocess.run(command, input=code, env=surroundings, capture_output=True, check=True, timeout=MOST_SECONDS)
        return made.read_bytes()
