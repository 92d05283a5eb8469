"""Images of 2 and 4 channels, from the file to the training set and the pictures that are made of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ancestral.data.check import check
from ancestral.data.datasets import load
from ancestral.data.images import decode, fit, to_array
from ancestral.data.packing import pack
from ancestral.settings import DataSettings
from ancestral.tensors import over_white
from ancestral.viz import pictures


def folder(root: Path, count: int = 5) -> Path:
    """Images of random colours and opacity, 6 x 6, none of whose pixels is wholly transparent."""
    root.mkdir()
    for i in range(count):
        pixels = np.random.default_rng(i).integers(1, 256, (6, 6, 4), np.uint8)
        Image.fromarray(pixels).save(root / f"{i}.png")
    return root


@pytest.mark.parametrize(("color", "channels"), [("grey", 1), ("grey-alpha", 2), ("rgb", 3), ("rgba", 4)])
def test_a_folder_has_the_channels_that_are_asked_for(tmp_path: Path, color: str, channels: int) -> None:
    source = folder(tmp_path / "images")
    settings = DataSettings(source=str(source), size=6, color=color, validation=0, test=0)
    train = load(settings).train
    assert train.shape == (channels, 6, 6)
    assert check(str(source), settings).channels == channels
    assert train.names is not None
    for name, pixels in zip(train.names, train.pixels(), strict=True):
        np.testing.assert_array_equal(pixels, to_array(decode(source / name, channels)))
        if channels == 4:
            np.testing.assert_array_equal(pixels, np.asarray(Image.open(source / name)))


@pytest.mark.parametrize("color", ["grey-alpha", "rgba"])
def test_packed_images_keep_their_transparency(tmp_path: Path, color: str) -> None:
    settings = DataSettings(source=str(folder(tmp_path / "images")), size=6, color=color, validation=0, test=0)
    pack(settings, str(tmp_path / "packed"), shard_images=2)
    packed = load(DataSettings(source=str(tmp_path / "packed"), validation=0, test=0)).train
    direct = load(settings).train
    assert packed.names == direct.names
    np.testing.assert_array_equal(packed.in_memory().images, direct.in_memory().images)


def test_colours_that_nobody_sees_are_black(tmp_path: Path) -> None:
    """Trap: what lies under transparency differs from file to file, and a network would have to learn it."""
    pixels = np.array([[[9, 99, 199, 0], [9, 99, 199, 1]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(to_array(decode(tmp_path / "a.png", 4))[0], [[0, 0, 0, 0], [9, 99, 199, 1]])


def test_padding_an_image_with_transparency_adds_nothing_to_see() -> None:
    found = to_array(fit(Image.new("RGBA", (4, 2), (9, 99, 199, 255)), 4, 4, "pad", "white"))
    np.testing.assert_array_equal(found[[0, 3]], np.zeros((2, 4, 4)))
    np.testing.assert_array_equal(found[1, 0], [9, 99, 199, 255])


def test_shrinking_does_not_mix_in_colours_that_nobody_sees() -> None:
    """Trap: channels averaged one by one, so that hidden black darkens every edge."""
    halves = np.zeros((8, 8, 4), np.uint8)
    halves[:, ::2] = (200, 100, 50, 255)
    small = to_array(fit(Image.fromarray(halves), 2, 2, "crop"))
    np.testing.assert_allclose(small[..., :3].astype(int), np.broadcast_to([200, 100, 50], (2, 2, 3)), atol=2)


@pytest.mark.parametrize("channels", [2, 4])
def test_grids_show_a_chessboard_through_transparency(channels: int) -> None:
    """Opaque pixels as they are; of a wholly transparent image nothing but the board."""
    images = torch.zeros(2, channels, 32, 32, dtype=torch.uint8)
    images[0] = 77
    images[0, -1] = 255
    shown = np.asarray(pictures.grid(images, columns=2, scale=1, gap=0))[pictures.MARGIN :, pictures.MARGIN :]
    assert (shown[:32, :32] == 77).all()
    squares = shown[:32, 32:64].reshape(4, 8, 4, 8, 3)
    assert (squares == squares[:, :1, :, :1]).all(), "of one grey each"
    assert {*squares[:, 0, :, 0, 0].ravel().tolist()} == {*pictures.CHESS}


def test_batches_of_all_kinds_stand_beside_each_other() -> None:
    grey, rgba = torch.full((1, 1, 2, 2), 7, dtype=torch.uint8), torch.full((1, 4, 2, 2), 9, dtype=torch.uint8)
    one, other = pictures.alike([grey, rgba])
    assert one[0, :, 0, 0].tolist() == [7, 7, 7, 255] and torch.equal(other, rgba)
    assert [x.shape[1] for x in pictures.alike([grey, torch.cat([grey] * 3, 1)])] == [3, 3]


def test_over_white() -> None:
    pixels = torch.tensor([[0, 0, 100], [0, 255, 51]], dtype=torch.uint8).T[:, :, None, None]
    assert over_white(pixels).ravel().tolist() == [255, 0, 224]  # 255 - 155 / 5
