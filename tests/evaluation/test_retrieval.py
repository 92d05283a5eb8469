"""The retrieval pair: it finds the caption of a real image, chance is what its galleries say, and it is kept."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from captioned_squares import squares

from ancestral.data.imageset import ImageSet
from ancestral.data.loader import Loader
from ancestral.errors import InputError
from ancestral.evaluation import retrieval
from ancestral.evaluation.evaluate import as_pixels
from ancestral.evaluation.retrieval import CaptionPair, Galleries, new_task, train_pair
from ancestral.evaluation.text_evaluation import texts_of
from ancestral.files import cache_folder
from ancestral.progress import finish
from ancestral.tokenizer import Tokenizer


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A cache of the test's own and a second of training."""
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path))
    monkeypatch.setattr(retrieval, "LEAST_IMAGES", 3840)
    monkeypatch.setattr(retrieval, "EPOCHS", 1)


def recall(pair: CaptionPair, images: ImageSet, shown: ImageSet) -> tuple[float, int]:
    """R@1 of the captions of `images` for what is shown in their places, and the size of their galleries."""
    texts = texts_of(images)
    gallery = Galleries.drawn(texts, 0)
    return float(pair.hits(as_pixels(shown), texts, gallery)[1].mean()), gallery.size


def test_the_caption_of_a_held_out_image_is_found_and_that_of_another_is_not(brief: None) -> None:
    """In a second of training: far above chance, 1 of some 45 captions, for images that are what they say alone."""
    pair = finish(train_pair(squares(400, 0)))
    held_out, others = squares(100, 1), squares(100, 2)
    found, size = recall(pair, held_out, held_out)
    assert size > 40
    assert found > 0.5
    assert recall(pair, held_out, others)[0] < 0.1
    hits = pair.hits(as_pixels(held_out), texts := texts_of(held_out), Galleries.drawn(texts, 0))
    assert hits[5].mean() > 0.8 and bool((hits[5] >= hits[1]).all())


def test_galleries_hold_other_captions_each_once() -> None:
    texts = [f"caption {i % 150}" for i in range(300)]
    gallery = Galleries.drawn(texts, 0)
    assert gallery.size == 100
    for text, row in zip(texts, gallery.others.tolist(), strict=True):
        others = [gallery.texts[place] for place in row]
        assert len({*others}) == 99 and text not in others
    assert Galleries.drawn(["a", "b", "a"], 0).size == 2
    with pytest.raises(InputError, match="got one caption"):
        Galleries.drawn(["a", "a"], 0)


def test_an_encoder_that_tells_nothing_apart_finds_nothing(brief: None) -> None:
    """Trap: where all scores are equal, every caption is the nearest."""
    images = squares(60, 0)
    pair = finish(train_pair(images))
    with torch.no_grad():
        for parameter in pair.network.images.parameters():
            parameter.zero_()
        pair.network.images.classifier[-1].bias.fill_(1.0)  # type: ignore[union-attr, operator]
        for parameter in pair.network.texts.parameters():
            parameter.zero_()
    assert recall(pair, images, images)[0] == 0


def test_it_is_kept_by_images_captions_and_seed(brief: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """For which a few steps are enough."""
    monkeypatch.setattr(retrieval, "LEAST_IMAGES", 384)
    images = squares(60, 0)
    first, again = (finish(train_pair(images)) for _ in range(2))
    assert all(torch.equal(each, again.network.state_dict()[name]) for name, each in first.network.state_dict().items())
    files = cache_folder() / "retrieval"
    assert len([*files.iterdir()]) == 1
    captions = ("another", *texts_of(images)[1:])
    for other, seed in ((replace(images, captions=captions), 0), (images, 1)):
        finish(train_pair(other, seed))
    assert len([*files.iterdir()]) == 3


def test_images_of_one_caption_are_no_others_of_one_another() -> None:
    """In a batch in which all captions are equal there is nothing to tell apart, and no loss."""
    images, texts = squares(16, 0), ["the same"] * 16
    task = new_task(images, texts, Tokenizer.learn(texts), 0)
    batch, random = Loader(images, 16, 0).batch(0), task.randomness(0)
    losses, _ = task.losses(task.network, batch, random.rows(slice(16)))
    assert np.allclose(losses.detach().numpy(), 0, atol=1e-6)


def test_images_without_captions_are_refused() -> None:
    with pytest.raises(InputError, match="with captions to learn from"):
        finish(train_pair(replace(squares(4, 0), captions=None)))
