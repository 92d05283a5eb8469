"""Images that the page sends: decoded in a process of their own, the newest ones kept as PNG, by ids.

What they say of themselves, how `ancestral sample` generated them, is read before they are written anew.
"""

import asyncio
import json
import secrets
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ancestral.errors import InputError
from ancestral.web.library import UnknownId

MOST_KEPT, MOST_BYTES = 128, 2**29
AT_ONCE = 2
SECONDS = 30
DECODER = "ancestral.web.decoder"


class Uploads:
    """Images in a folder, the newest ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.told = dict[str, dict[str, Any]]()
        self.decoding = asyncio.Semaphore(AT_ONCE)

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
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", DECODER, str(given), str(kept)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), SECONDS)
        except TimeoutError:
            said = b""
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            return {"why": "the image cannot be read: it takes too long or too much memory; send a smaller one"}
        return json.loads(said)
