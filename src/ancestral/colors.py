"""Kinds of pictures by their channels: what Pillow calls them, and what we do."""

from ancestral.errors import InputError

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
"""Channels -> Pillow's mode."""
NAMES = {1: "grey", 2: "grey with transparency", 3: "RGB", 4: "RGB with transparency"}
COLOR_CHANNELS = {"grey": 1, "grey-alpha": 2, "rgb": 3, "rgba": 4}
"""The setting `data.color` -> channels; auto is none of them."""
COLOR_OF = {channels: color for color, channels in COLOR_CHANNELS.items()}
WHITE = (255, 255, 255)
"""What shows through the transparency of pictures for a pipeline of opaque ones."""


def check_channels(channels: int) -> None:
    """Before anything is generated: whether images of so many channels can be shown and written."""
    if channels not in MODES:
        raise InputError(f"expected a network of 1 to 4 channels, got one of {channels}; in Python use Pipeline.steps")
