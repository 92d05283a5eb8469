"""A batch's tokens are those of its own images' captions, wherever the images come from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_columns import made, packing
from test_shards import damage, fresh, settings

from ancestral.condition import UNTOLD
from ancestral.data.caption_tokens import CaptionTokens
from ancestral.data.datasets import load
from ancestral.data.imageset import ImageSet
from ancestral.data.loader import Batch, Loader
from ancestral.settings import DataSettings
from ancestral.tokenizer import Tokenizer

__all__ = ["fresh", "packing"]
TEXTS = ("a red square", "", "ein blauer Kreis", "🐕 e\u0301", "a red square", "x " * 50)
LEARNED = Tokenizer.learn(TEXTS * 3, 600, length=12)


def assert_own(batch: Batch, images: ImageSet, tokenizer: Tokenizer = LEARNED) -> None:
    """The pixels and the tokens of each image of a batch are those of one and the same."""
    tokens = batch.condition.tokens
    assert tokens is not None and tokens.dtype == torch.int64
    for pixels, row, place in zip(batch.pixels, tokens, batch.indices.tolist(), strict=True):
        np.testing.assert_array_equal(pixels.permute(1, 2, 0), images.pixels(slice(place, place + 1))[0])
        assert images.captions is not None
        caption = images.captions[place]
        assert torch.equal(row, tokenizer.encode([caption])[0]) if caption else row.tolist() == [UNTOLD] * len(row)


def test_of_images_in_memory(tmp_path: Path) -> None:
    images = made(40, texts=TEXTS)
    loader = Loader(images, 16, seed=3, tokenizer=LEARNED)
    for step in (0, 2, 5, 0):
        assert_own(loader.batch(step), images)
    whole, part = loader.batch(4), Loader(images, 16, 3, local_slice=slice(5, 9), tokenizer=LEARNED).batch(4)
    assert torch.equal(part.condition.tokens, whole.condition.tokens[5:9]), "those of a process's own share"
    assert torch.equal(whole.rows(slice(2, 4)).condition.tokens, whole.condition.tokens[2:4])
    assert Loader(images, 16, seed=3).batch(0).condition.tokens is None


@pytest.mark.parametrize("lost", [[], [*range(21, 28)]])
def test_of_a_packed_set_also_where_others_stand_in_for_a_shard(lost: list[int], packing: Any) -> None:
    """Trap: the pixels of another image beside the caption of the one that is missing."""
    packing(made(700, texts=TEXTS))
    if lost:
        damage("memory://set", "00003-captions.bin", "removed")
    images = load(settings("memory://set", validation=0, test=0)).train
    loader = Loader(images, 100, seed=3, tokenizer=LEARNED)
    for step in range(7):
        batch = loader.batch(step)
        assert_own(batch, images)
        assert not {*lost} & {*batch.indices.tolist()}
    assert len(loader.missing) == bool(lost)


@pytest.mark.parametrize("scenes", [40, "endless"])
def test_of_scenes(scenes: int | str) -> None:
    images = load(DataSettings.model_validate({"source": "shapes-one", "scenes": scenes})).train
    tokenizer = Tokenizer.learn(images.captions_at(slice(0, 30)))
    assert_own(Loader(images, 8, seed=0, tokenizer=tokenizer).batch(1), images, tokenizer)


def test_a_caption_is_encoded_once() -> None:
    class Counting(Tokenizer):
        asked = 0

        def encode(self, texts: Any) -> Any:
            self.asked += len(texts)
            return super().encode(texts)

    counting = Counting(LEARNED.joins, LEARNED.length)
    tokens_of = CaptionTokens(counting)
    first = tokens_of(["a red square", "a", "a red square", ""])
    assert counting.asked == 2 and first.tolist()[3] == [UNTOLD] * 12
    first[:] = 0
    assert torch.equal(tokens_of(["a red square"]), LEARNED.encode(["a red square"])), (
        "what is kept is nobody's to change"
    )
    assert counting.asked == 2 and tokens_of([]).shape == (0, 12)
