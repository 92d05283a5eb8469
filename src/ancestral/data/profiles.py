"""Colour profiles (ICC): pictures of another colour space than sRGB are converted to it.

A profile that changes no colour by more than two levels says sRGB, and the pixels are left as they are.
"""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from ancestral.text import printable

UNREADABLE = "one that cannot be read, ignored"
SAME = 2
"""Levels of 0..255 by which a profile may change a colour and be called sRGB."""


def to_srgb(image: Image.Image, profile: bytes | None) -> tuple[Image.Image, str]:
    """An "L", "LA", "RGB", "RGBA" or "CMYK" image in the colours of sRGB, and its profile's name if it was another."""
    if not profile:
        return image, ""
    opaque = image.mode.removesuffix("A")
    name, transform = _read(profile, opaque)
    if transform is None:
        return image, name
    color = image if image.mode == opaque else image.convert(opaque)
    converted = ImageCms.applyTransform(color, transform)
    assert converted is not None, "not asked to convert in place"
    shown = converted.convert("L") if opaque == "L" else converted
    if image.mode != opaque:
        shown.putalpha(image.getchannel("A"))
    return shown, name


@lru_cache(maxsize=32)
def _read(profile: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """A profile's name where it is not sRGB's, else ""; and how to convert, None where nothing changes."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        name = printable(ImageCms.getProfileDescription(source).strip()) or "without a name"
    except (ImageCms.PyCMSError, OSError, ValueError):
        return UNREADABLE, None
    return ("", None) if mode != "CMYK" and _changes_nothing(transform, mode) else (name, transform)


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether every grey, or a cube of colours, stays as it is."""
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3)
    probe = Image.fromarray(np.arange(256, dtype=np.uint8)[None] if mode == "L" else cube)
    converted = ImageCms.applyTransform(probe, transform)
    assert converted is not None, "not asked to convert in place"
    before, after = (np.asarray(image.convert("RGB")).astype(int) for image in (probe, converted))
    return bool(abs(before - after).max() <= SAME)
