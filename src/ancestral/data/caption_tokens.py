"""What a network is told of images' captions: their tokens, kept for those that were asked for lately."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from ancestral.condition import UNTOLD, Tokens
from ancestral.text_reader import TextReader

KEPT = 2**15  # captions


class CaptionTokens:
    """The tokens of captions, (B, L); of an image without a caption, which is the empty text, none are told."""

    def __init__(self, tokenizer: TextReader) -> None:
        self.length = tokenizer.length
        self._row = lru_cache(KEPT)(lambda caption: tokenizer.encode([caption])[0].numpy())

    def __call__(self, captions: Sequence[str] | np.ndarray) -> Tokens:
        untold = np.full(self.length, UNTOLD, np.int64)
        rows = [self._row(caption) if caption else untold for caption in captions]
        return torch.from_numpy(np.stack(rows)) if rows else torch.empty(0, self.length, dtype=torch.int64)
