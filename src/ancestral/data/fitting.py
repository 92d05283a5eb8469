"""Arrays of images, already decoded, at the size and in the colours the settings ask for."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ancestral.colors import COLOR_CHANNELS, MODES
from ancestral.data.cache import cached, digest
from ancestral.data.images import fit, picture_of, to_array
from ancestral.data.imageset import Collection, ImageSet, arranged
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


def official(
    name: str,
    class_names: tuple[str, ...],
    known: Iterable[str],
    read: Callable[[], StagedWork[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]],
    settings: DataSettings,
) -> StagedWork[Collection]:
    """A data set that comes with a test part, fitted once: the training part shuffled, the test part last, as it is.

    Args:
        known: SHA-256 of all its content.
        read: returns its images to train on, (N, H, W, C) uint8, their labels (N,), and those of the test part.
    """

    def build(scratch: Path) -> StagedWork[tuple[Collection, np.ndarray]]:
        train, train_labels, test, test_labels = yield from read()
        pixels = yield from refit(np.concatenate([train, test]), settings)
        labels = np.concatenate([train_labels, test_labels]).astype(np.int64)
        order = np.concatenate([arranged(train_labels, len(train)), np.arange(len(train), len(labels))])
        whole = ImageSet(pixels, labels, class_names, None, None, digest(place, fingerprint))
        return Collection(whole, num_test=len(test)), order

    fingerprint = digest(*known)
    place = digest(name, form(settings))
    return (yield from cached(place, fingerprint, build))
