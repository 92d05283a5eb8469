"""A captioned data set made up for tests: a square of a colour in a corner, on a ground: 60 captions."""

from hashlib import sha256
from itertools import product

import numpy as np

from ancestral.data.imageset import ImageSet, Parts, frozen

COLORS = {
    "red": (230, 40, 40),
    "green": (40, 180, 60),
    "blue": (40, 60, 230),
    "yellow": (240, 220, 40),
    "grey": (128, 128, 128),
}
CORNERS = {"top left": (1, 1), "top right": (1, 8), "bottom left": (8, 1), "bottom right": (8, 8)}
GROUNDS = {"white": (245, 245, 245), "black": (15, 15, 15), "pink": (250, 170, 210)}
TEXTS = tuple(f"a {color} square {corner} on {ground}" for color, corner, ground in product(COLORS, CORNERS, GROUNDS))


def image_of(text: str, random: np.random.Generator) -> np.ndarray:
    """(16, 16, 3) uint8 of what a caption says, with some noise; "": of any caption."""
    text = text or TEXTS[int(random.integers(len(TEXTS)))]
    color, (top, left), ground = (
        next(each for name, each in known.items() if name in text) for known in (COLORS, CORNERS, GROUNDS)
    )
    image = np.tile(np.array(ground), (16, 16, 1))
    image[top : top + 7, left : left + 7] = color
    return (image + random.integers(-10, 11, image.shape)).clip(0, 255).astype(np.uint8)


def squares(count: int, seed: int) -> ImageSet:
    random = np.random.default_rng(seed)
    texts = tuple(TEXTS[int(random.integers(len(TEXTS)))] for _ in range(count))
    images = frozen(np.stack([image_of(text, random) for text in texts]))
    return ImageSet(images, None, (), texts, None, sha256(images.tobytes()).hexdigest())


def parts_of_squares(train: int = 400, validation: int = 60, test: int = 80) -> Parts:
    return Parts(*(squares(count, seed) for seed, count in enumerate((train, validation, test))))
