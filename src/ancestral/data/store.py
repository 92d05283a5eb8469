"""A place that holds the files of a packed data set: a folder or an object store, by one road, which is fsspec.

Drivers raise errors of their own kinds; here each becomes one line that names the place.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any

from ancestral.errors import AncestralError, CannotWrite, InputError
from ancestral.files import MOST_TEXT, check_regular, half_of, is_url, write_whole, writing


@dataclass(frozen=True)
class RemoteFolder:
    """Where files lie side by side: `root` in the file system `files` of fsspec, which is `local` on this machine.

    An InputError where they cannot be read, a CannotWrite where not written; `url`, as it was given, is for these.
    """

    url: str
    files: Any
    root: str
    local: Path | None

    @contextmanager
    def claimed(self, is_ours: Callable[[str], bool]) -> Iterator[None]:
        """Holds a folder of this machine, made if need be, for one writer, which writes files of names that `is_ours`;
        what a killed one left half is taken away."""
        if self.local is None or self.local.is_file():
            yield
            return
        with writing(self.url, "choose another place"):
            self.local.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.local, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with suppress(OSError):  # a file system without locks
                try:
                    flock(handle, LOCK_EX | LOCK_NB)
                except BlockingIOError:
                    raise InputError(f"another process writes {self.url}; wait for it, or name another") from None
            for half in self.local.iterdir():
                if (name := half_of(half.name)) is not None and is_ours(name) and half.is_file():
                    half.unlink(missing_ok=True)
            yield
        finally:
            os.close(handle)

    def names(self) -> list[str]:
        """The files and folders directly in it, but not hidden ones; none where it is not there yet."""
        if self.local is not None and self.local.is_file():
            raise InputError(f"expected a folder, got a file: {self.url}; choose another")
        found: list[str] = []
        with _explained(f"list {self.url}"), suppress(FileNotFoundError, NotADirectoryError):
            self.invalidate_listing()
            found = self.files.ls(self.root, detail=False)
        here = self.root.strip("/")  # which an object store may list too
        names = [each.rpartition("/")[2] for each in (str(each).strip("/") for each in found) if each != here]
        return sorted(name for name in names if not name.startswith("."))

    def invalidate_listing(self) -> None:
        """Lets the driver forget which files it saw, and of what size."""
        self.files.invalidate_cache()

    def read(self, name: str, most: int = MOST_TEXT) -> bytes:
        """All of a file of at most `most` bytes."""
        content = bytearray()
        for chunk in self.chunks(name):
            content += chunk
            if len(content) > most:
                raise InputError(f"expected {self.url_of(name)} to have at most {most:,} bytes, got more")
        return bytes(content)

    def chunks(self, name: str) -> Iterator[bytes]:
        if self.local is not None and (self.local / name).exists():
            check_regular(self.local / name)
        with _explained(f"read {self.url_of(name)}"), self.files.open(self._path(name), "rb") as file:
            while chunk := file.read(2**22):
                yield chunk

    def write(self, name: str, content: bytes) -> None:
        """A file that appears whole, in place of an older one."""
        if self.local is not None:
            write_whole(self.local / name, content)
            return
        with _explained(f"write {self.url_of(name)}", CannotWrite):
            try:
                self.files.pipe_file(self._path(name), content)
            except FileNotFoundError:  # a file system with folders, unlike an object store
                self.files.makedirs(self.root, exist_ok=True)
                self.files.pipe_file(self._path(name), content)

    def remove(self, name: str) -> None:
        """Takes away a file, which must be there."""
        with _explained(f"remove {self.url_of(name)}", CannotWrite):
            self.files.rm_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    def url_of(self, name: str) -> str:
        """Where a file of it lies."""
        return f"{self.url.rstrip('/')}/{name}"


def remote_folder(url: str) -> RemoteFolder:
    """The place at a path or a URL, which need not be there yet."""
    try:
        import fsspec
        from fsspec.implementations.local import LocalFileSystem
    except ImportError:
        raise InputError(f"expected fsspec to read {url}, got none; pip install 'ancestral[stream]'") from None
    if not is_url(url):
        here = Path(url).expanduser().absolute()
        return RemoteFolder(url, LocalFileSystem(), os.fspath(here), here)
    with _explained(f"reach {url}"):
        try:
            files, root = fsspec.core.url_to_fs(url)
        except ImportError as error:
            package = getattr(error.__cause__ or error, "name", None) or "its driver"
            raise InputError(f"expected a driver for {url}, got none; pip install {package}") from None
    return RemoteFolder(url, files, root, Path(root) if isinstance(files, LocalFileSystem) else None)


@contextmanager
def _explained(what: str, kind: type[AncestralError] = InputError) -> Iterator[None]:
    """Raises a driver's error as one of ours, in one line."""
    try:
        yield
    except AncestralError:
        raise
    except FileNotFoundError:
        raise kind(f"cannot {what}: not found") from None
    except Exception as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise kind(f"cannot {what}: {' '.join(said.split()) or type(error).__name__}") from None
