"""Latents of the images to train on, encoded once and kept with the run: encoding is not paid at each step.

`RUN/latents/<key>.npy` holds what data/latents.py says, in the order of the images. The key is of codec and images, so
that what another codec has made is never taken; images are encoded in blocks, a shard after the other, and of a file
that a kill has left half written the whole blocks are kept.
"""

import io
import os
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ancestral.data.imageset import ImageSet
from ancestral.data.latents import LatentRows
from ancestral.errors import InputError
from ancestral.files import writing
from ancestral.networks.latents import KLCodec, LatentCodec
from ancestral.networks.tiled import at_once
from ancestral.progress import ProgressEvent, StagedWork

VERSION = 1


def latents_of(codec: LatentCodec, images: ImageSet, mirrored: bool, folder: Path) -> StagedWork[LatentRows]:
    """The moments of all images, and with `mirrored` of their mirror images, from a file in `folder` that is made
    where there is none. Other files of the kind are removed."""
    key = sha256(f"{VERSION} {codec.hash} {images.hash} {images.shape} {mirrored}".encode()).hexdigest()[:32]
    file, part = folder / f"{key}.npy", folder / f"{key}.part"
    shape = (len(images), 1 + mirrored, 1 + isinstance(codec, KLCodec), *_last(codec.shape(images.shape)))
    if not file.is_file():
        with writing(folder, "free space"):
            folder.mkdir(exist_ok=True)
            yield from _written(part, shape, codec, images, mirrored)
            part.replace(file)
            for other in folder.iterdir():
                if other != file and other.suffix in (".npy", ".part"):
                    other.unlink()
    with suppress(ValueError, EOFError):
        rows = np.load(file, mmap_mode="r", allow_pickle=False)
        if rows.shape == shape and rows.dtype == np.float16:
            return LatentRows(rows)
    raise InputError(f"{file} is damaged; remove it, and the latents are encoded anew")


def _written(
    part: Path, shape: tuple[int, ...], codec: LatentCodec, images: ImageSet, mirrored: bool
) -> Iterator[ProgressEvent]:
    """Writes what is missing of a file of that shape."""
    total, together, header = shape[0], at_once(*images.shape[1:]), _header(shape)
    block = 2 * int(np.prod(shape[1:])) * together  # bytes of what is encoded and written together
    with part.open("a+b") as file:  # what is written goes to its end
        file.seek(0)
        if file.read(len(header)) != header:
            file.truncate(0)
            file.write(header)
        blocks = (file.seek(0, os.SEEK_END) - len(header)) // block
        file.truncate(len(header) + blocks * block)
        for start in range(blocks * together, total, together):
            pixels, taken = images.stretch(start, start + together)
            rows = _encoded(codec, torch.tensor(pixels).permute(0, 3, 1, 2), mirrored).numpy()
            rows[taken != start + np.arange(len(taken))] = np.nan
            file.write(rows.tobytes())
            yield ProgressEvent("encoding images", min(start + together, total), total)
        file.flush()
        os.fsync(file.fileno())


def _header(shape: tuple[int, ...]) -> bytes:
    """That of a .npy file."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f2", "fortran_order": False, "shape": shape})
    return header.getvalue()


def _encoded(codec: LatentCodec, pixels: Tensor, mirrored: bool) -> Tensor:
    """(b, V, M, h, w, z) float16."""
    views = [pixels, pixels.flip(3)] if mirrored else [pixels]
    drawn = isinstance(codec, KLCodec)
    stacked = [torch.stack(codec.moments(view)[: 1 + drawn], dim=1) for view in views]
    return torch.stack(stacked, dim=1).permute(0, 1, 2, 4, 5, 3).half().contiguous().cpu()


def _last(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """(z, h, w) as (h, w, z)."""
    z, h, w = shape
    return h, w, z
