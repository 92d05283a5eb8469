"""Batches are functions of (seed, step): complete epochs, no state, pixels where they should be."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ancestral.condition import NOTHING_TOLD
from ancestral.data.imageset import ImageSet
from ancestral.data.loader import Loader, batch_indices, flips
from ancestral.tensors import sent


@given(st.integers(0, 2**40), st.integers(1, 40), st.integers(1, 30))
def test_each_epoch_visits_every_image_once(seed: int, batch_size: int, num_images: int) -> None:
    """Across batch boundaries, and for sets smaller than a batch (trap: those loop for ever)."""
    steps = -(-3 * num_images // batch_size)
    row = torch.cat([batch_indices(seed, step, batch_size, num_images) for step in range(steps)])
    assert len(row) == steps * batch_size
    for epoch in range(3):
        assert sorted(row[epoch * num_images : (epoch + 1) * num_images].tolist()) == list(range(num_images))


def test_order_depends_on_seed_and_step_only() -> None:
    forward = [batch_indices(1, step, 8, 50) for step in range(20)]
    backward = [batch_indices(1, step, 8, 50) for step in reversed(range(20))]
    assert all(torch.equal(a, b) for a, b in zip(forward, reversed(backward), strict=True))
    assert not torch.equal(batch_indices(1, 0, 50, 50), batch_indices(2, 0, 50, 50))
    assert not torch.equal(batch_indices(1, 0, 50, 50), batch_indices(1, 1, 50, 50)), "epochs are shuffled anew"


def test_batch_size_does_not_change_the_row() -> None:
    small = torch.cat([batch_indices(3, step, 4, 30) for step in range(15)])
    assert torch.equal(small, torch.cat([batch_indices(3, step, 20, 30) for step in range(3)]))


@pytest.fixture
def image_set() -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 4, 6, 3), np.uint8)
    pixels.flags.writeable = False
    labels = np.arange(40) % 5
    return ImageSet(pixels, labels, tuple("abcde"), None, None, "hash")


def test_batches_hold_the_images_they_name(image_set: ImageSet) -> None:
    batch = Loader(image_set, 16, seed=0).batch(7)
    assert batch.pixels.shape == (16, 3, 4, 6) and batch.pixels.dtype == torch.uint8
    assert batch.pixels.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(batch.pixels.permute(0, 2, 3, 1), image_set.images[batch.indices.numpy()])
    labels = batch.condition.labels
    assert labels is not None and image_set.labels is not None
    assert labels.tolist() == image_set.labels[batch.indices.numpy()].tolist()
    unlabelled = ImageSet(image_set.images, None, (), None, None, "hash")
    assert Loader(unlabelled, 2, seed=0).batch(0).condition == NOTHING_TOLD


def test_resident_images_are_the_same(image_set: ImageSet) -> None:
    mapped = Loader(image_set, 16, seed=0, flip=True)
    resident = Loader(image_set, 16, seed=0, flip=True, resident=True)
    assert resident.resident is not None
    assert torch.equal(mapped.batch(3).pixels, resident.batch(3).pixels)


@given(st.sampled_from([torch.bool, torch.uint8, torch.int64, torch.float32]))
def test_what_is_sent_arrives_as_it_was(dtype: torch.dtype) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(dtype)
    there = sent(tensor, torch.device("cpu"))
    assert there.dtype == dtype and torch.equal(there, tensor)


def test_flips_mirror_half_and_are_repeatable(image_set: ImageSet) -> None:
    plain, flipped = Loader(image_set, 32, seed=5).batch(2), Loader(image_set, 32, seed=5, flip=True).batch(2)
    mirrored = flips(5, 2, 32)
    assert 8 <= mirrored.sum() <= 24
    assert torch.equal(flipped.pixels[mirrored], plain.pixels[mirrored].flip(3))
    assert torch.equal(flipped.pixels[~mirrored], plain.pixels[~mirrored])
    assert torch.equal(flipped.pixels, Loader(image_set, 32, seed=5, flip=True).batch(2).pixels)
    assert not torch.equal(mirrored, flips(5, 3, 32))


@pytest.mark.gpu
def test_batches_on_a_gpu_equal_those_on_the_cpu(image_set: ImageSet) -> None:
    on_gpu = Loader(image_set, 16, seed=0, flip=True, device="cuda")
    assert on_gpu.resident is not None
    here, there = (each.batch(1) for each in (Loader(image_set, 16, seed=0, flip=True), on_gpu))
    assert torch.equal(there.pixels.cpu(), here.pixels) and here.labels is not None and there.labels is not None
    assert torch.equal(there.labels.cpu(), here.labels) and torch.equal(there.indices, here.indices)


@pytest.mark.gpu
@pytest.mark.parametrize("fits", [True, False])
def test_a_batch_on_a_gpu_is_waited_for_by_nobody(image_set: ImageSet, fits: bool) -> None:
    loader = Loader(image_set, 16, seed=0, flip=True, device="cuda", resident=fits)
    loader.batch(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        loader.batch(1)
    finally:
        torch.cuda.set_sync_debug_mode("default")
