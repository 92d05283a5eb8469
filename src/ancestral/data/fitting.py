"""Arrays of images, already decoded, at the size and in the colours the settings ask for."""

import numpy as np

from ancestral.colors import COLOR_CHANNELS, MODES
from ancestral.data.images import fit, picture_of, to_array
from ancestral.progress import ProgressEvent, StagedWork
from ancestral.settings import DataSettings


def form(settings: DataSettings) -> str:
    """The settings that decide the pixels, as text: what a cached array depends on beside its source."""
    return settings.model_dump_json(include={"size", "color", "fit", "background"})


def refit(pixels: np.ndarray, settings: DataSettings) -> StagedWork[np.ndarray]:
    """(N, H, W, C) uint8 -> (N, height, width, 1 to 4) as `settings.size`, `color` and `fit` say."""
    height, width = settings.height_width or pixels.shape[1:3]
    channels = COLOR_CHANNELS.get(settings.color) or pixels.shape[3]
    if pixels.shape[1:] == (height, width, channels):
        return pixels
    fitted = np.empty((len(pixels), height, width, channels), np.uint8)
    for i, image in enumerate(pixels):
        picture = picture_of(image).convert(MODES[channels])
        fitted[i] = to_array(fit(picture, height, width, settings.fit, settings.background))
        if (i + 1) % 500 == 0:
            yield ProgressEvent("resizing", i + 1, len(pixels))
    return fitted
