"""What Pillow and the TIFF library beneath it say while they decode is left out: a file is used, or its own reason is
counted."""

import ctypes
import warnings
from contextlib import suppress
from threading import Lock

from PIL import _imaging

TIFF_HANDLERS = ("TIFFSetErrorHandler", "TIFFSetWarningHandler")
"""Functions of libtiff that take who is told, by default stderr, and give who was told before."""


class Silence:
    """A context, for any number of threads at once: the filters of warnings belong to the whole process."""

    def __init__(self) -> None:
        self._lock, self._inside = Lock(), 0
        self._filters = warnings.catch_warnings()
        self._told: dict[str, int | None] = {}

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._told = {name: _set_handler(name, None) for name in TIFF_HANDLERS}
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._filters.__exit__(None, None, None)
                for name, before in self._told.items():
                    _set_handler(name, before)


def _set_handler(name: str, handler: int | None) -> int | None:
    """Calls one of `TIFF_HANDLERS` with the address of who is to be told; nothing where it cannot be reached."""
    with suppress(AttributeError, OSError):
        function = getattr(ctypes.CDLL(_imaging.__file__), name)
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
        before: int | None = function(handler)
        return before
    return None


silence = Silence()
