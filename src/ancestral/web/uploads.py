"""Images that the page sends: decoded in a process of their own, the newest ones kept as PNG, by ids.

What they say of themselves, how `ancestral sample` generated them, is read before they are written anew.
"""

import asyncio
import secrets
from pathlib import Path
from typing import Any

from ancestral.errors import InputError
from ancestral.web.library import UnknownId
from ancestral.web.workers import DECODES, WorkerGone, WorkerProcess

MOST_KEPT, MOST_BYTES = 128, 2**29
SECONDS = 30


class Uploads:
    """Images in a folder, the newest ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told = dict[str, dict[str, Any]]()
        self.decoding = asyncio.Lock()
        self.decoder: WorkerProcess | None = None

    async def add(self, content: bytes) -> dict[str, Any]:
        """Keeps an image, and says what it is; InputError where it is none."""
        self.folder.mkdir(parents=True, exist_ok=True)
        id = secrets.token_hex(8)
        given, kept = self.folder / f"{id}.given", self.folder / f"{id}.png"
        async with self.decoding:
            try:
                await asyncio.to_thread(given.write_bytes, content)
                said = await self._decoded(given, kept)
            finally:
                given.unlink(missing_ok=True)
        if "why" in said:
            raise InputError(str(said["why"]))
        self.told[id] = {"id": id, **said}
        self._forget()
        return self.told[id]

    def file(self, id: str) -> Path:
        """The file of an image."""
        if id not in self.told:
            raise InputError(f"expected the id of an image that was sent, got {id!r}; send it again")
        return (self.folder / f"{id}.png").resolve()

    def served(self, id: str) -> Path:
        """The same for whoever asks for the image; UnknownId where there is none."""
        if id not in self.told:
            raise UnknownId(id)
        return self.folder / f"{id}.png"

    def _forget(self) -> None:
        """Forgets the oldest images, but not the newest, where there are many or large ones."""
        sizes = {id: (self.folder / f"{id}.png").stat().st_size for id in self.told}
        while len(sizes) > 1 and (len(sizes) > MOST_KEPT or sum(sizes.values()) > MOST_BYTES):
            oldest = next(iter(sizes))
            del self.told[oldest], sizes[oldest]
            (self.folder / f"{oldest}.png").unlink()

    async def _decoded(self, given: Path, kept: Path) -> dict[str, Any]:
        """What the image is, once it is written as PNG, or `why` it is none."""
        try:
            if self.decoder is None:
                self.decoder = await WorkerProcess.started(DECODES)
            self.decoder.send({"given": str(given), "kept": str(kept)})
            said = await asyncio.wait_for(self.decoder.message(), SECONDS)
        except (TimeoutError, WorkerGone):
            said = None
        if said is None:
            await self.end()
            return {"why": "expected an image that is read in less time and memory, got one that takes more"}
        return said

    async def end(self) -> None:
        """Ends the process that decodes."""
        decoder, self.decoder = self.decoder, None
        if decoder is not None:
            decoder.kill()
            await decoder.end()
