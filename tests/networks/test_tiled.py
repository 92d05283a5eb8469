"""Tiles: weights that add to 1, the whole where nothing sees far, memory of a tile, and no seams."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from combinations import combined
from hypothesis import example, given
from hypothesis import strategies as st
from test_autoencoder import KINDS
from test_latents import codec_of, pixels
from torch import Tensor, nn

from ancestral.errors import InputError
from ancestral.networks.tiled import Scale, Tiling, in_tiles, stretches

SMALL = Tiling(whole=96 * 96, side=96, overlap=64)
"""Tiles of 24 x 24 latents of a network of factor 4, four of which were cut off at each side that is cut."""
SIZES = [(160, 132), (97, 201), (40, 300), (300, 64), (96, 97)]
"""Odd sides; one large side alone, the other smaller than a tile, or as an overlap; a pixel more than a tile."""


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@given(
    latents=st.integers(1, 200),
    factor=st.sampled_from([2, 4, 8]),
    side=st.sampled_from([64, 96, 160]),
    decodes=st.booleans(),
)
@example(latents=16, factor=2, side=64, decodes=True)  # as many as overlap
def test_weights_add_to_1_and_are_0_beside_a_cut(latents: int, factor: int, side: int, decodes: bool) -> None:
    scale, tiling = Scale(1, factor) if decodes else Scale(factor, 1), Tiling(side=side, overlap=32)
    tiles = [*stretches(latents, scale, tiling)]
    total, margin = torch.zeros(latents * scale.made), 8 * scale.made // factor
    for taken, made, weight in tiles:
        total[made] += weight
        assert 0 <= taken.start < taken.stop <= latents * scale.taken
        assert taken.stop - taken.start <= side // factor * scale.taken, "no tile is larger than asked for"
        assert taken.start * scale.made == made.start * scale.taken
        assert made.start == 0 or not weight[:margin].any(), "convolutions saw zeros there"
        assert made.stop == len(total) or not weight[-margin:].any()
        assert bool((weight >= 0).all())
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-6, rtol=0)
    overlaps = [one.made.stop - other.made.start for one, other in pairwise(tiles)]
    assert all(each >= 32 * scale.made // factor for each in overlaps)


@pytest.mark.parametrize(("side", "overlap"), [(128, 128), (100, 32), (128, 40), (128, 0)])
def test_tiles_that_cannot_be_blended_are_refused(side: int, overlap: int) -> None:
    with pytest.raises(InputError, match=f"got {side} and {overlap}"):
        Tiling(side=side, overlap=overlap)


class Local(nn.Module):
    """Two convolutions and twice the size: pixels depend on latents three places away, and on nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 5, padding=2), nn.Conv2d(5, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)).repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize("size", [(33, 70), (70, 33), (20, 71), (48, 49)])
def test_what_sees_no_farther_than_the_margin_is_that_of_the_whole(size: tuple[int, int]) -> None:
    """To rounding, in float64, at the edges of the image too. Trap: a tile's own edges, where it saw zeros, count."""
    network, z = Local().double(), torch.randn(2, 3, *size, dtype=torch.float64)
    found = in_tiles(network, z, Scale(1, 2), Tiling(whole=1, side=64, overlap=32))
    torch.testing.assert_close(found, network(z), atol=1e-6, rtol=1e-6)  # weights are float32
    inside = nn.Conv2d(3, 4, 3, stride=2, padding=1).double()
    x = torch.randn(2, 3, 2 * size[0], 2 * size[1], dtype=torch.float64)
    encoded = in_tiles(inside, x, Scale(2, 1), Tiling(whole=1, side=64, overlap=32))
    torch.testing.assert_close(encoded, inside(x), atol=1e-6, rtol=1e-6)


def test_the_gradient_is_that_of_the_whole_too() -> None:
    network, z = Local(), torch.randn(1, 3, 40, 70, requires_grad=True)
    weight = torch.randn(1, 2, 80, 140)
    whole, cut = (
        torch.autograd.grad((each * weight).sum(), z)[0]
        for each in (network(z), in_tiles(network, z, Scale(1, 2), Tiling(whole=1, side=64, overlap=32)))
    )
    torch.testing.assert_close(cut, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kind", "size"), combined(KINDS, [(96, 96), (92, 100), (200, 40)]))
def test_images_that_are_not_large_are_those_of_the_network_bit_for_bit(kind: str, size: tuple[int, int]) -> None:
    codec, images = replace(codec_of(kind), tiling=SMALL), pixels(2, size=size)
    moments = codec.moments(images)
    whole = replace(codec, tiling=Tiling())
    assert all(torch.equal(one, other) for one, other in zip(moments, whole.moments(images), strict=True))
    assert torch.equal(codec.images(moments[0]), whole.images(moments[0]))


def seen_by(part: nn.Module) -> list[tuple[int, ...]]:
    """Grows by the shape of whatever a network is called with."""
    seen: list[tuple[int, ...]] = []
    part.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    return seen


@pytest.mark.parametrize("size", SIZES)
def test_no_more_than_a_tile_of_one_image_is_computed_at_once(size: tuple[int, int]) -> None:
    """So memory is bounded by a tile, however many images there are and however large."""
    codec = replace(codec_of("kl"), tiling=SMALL)
    encoded, decoded = seen_by(codec.network.encoder), seen_by(codec.network.decoder)
    codec.decode(codec.encode(pixels(2, size=size)))
    assert len(encoded) == len(decoded) >= 4
    assert all(shape[0] == 1 and max(shape[2:]) <= 96 for shape in encoded)
    assert all(shape[0] == 1 and max(shape[2:]) <= 24 for shape in decoded)


def test_a_pipelines_usual_images_are_whole_and_its_large_ones_are_not() -> None:
    """Without being asked: 1024 x 1024 pixels are the largest that are computed at once."""
    tiling = Tiling()
    for size in ((64, 64), (512, 768), (1024, 1024), (512, 2048), (16, 65536)):
        assert not tiling.cuts(*size), size
    for size in ((1024, 1032), (2048, 2048), (512, 2056), (8, 2**20)):
        assert tiling.cuts(*size), size


@pytest.mark.parametrize(("kind", "size"), combined(KINDS, SIZES))
def test_tiles_of_an_autoencoder_are_nearly_the_whole(kind: str, size: tuple[int, int]) -> None:
    """Not quite: normalisations see a tile each."""
    codec, images = codec_of(kind), pixels(2, size=size)
    cut = replace(codec, tiling=SMALL)
    (mean, std), (tiled_mean, tiled_std) = codec.moments(images), cut.moments(images)
    assert tiled_mean.shape == mean.shape and tiled_std.shape == std.shape
    assert not torch.equal(tiled_mean, mean)
    assert (tiled_mean - mean).square().mean() < 0.02 * mean.square().mean()
    torch.testing.assert_close(tiled_std, std, rtol=0.5, atol=1e-6)
    whole, tiled = codec.images(mean), cut.images(mean)
    assert tiled.shape == whole.shape == (2, 3, *(4 * -(-side // 4) for side in size))
    assert (tiled - whole).square().mean() < 0.02 * whole.var()


@pytest.mark.parametrize("kind", ["plain", "kl"])
def test_seams_do_not_show(kind: str) -> None:
    """What grows evenly from left to right changes no faster where tiles meet than 4 and 8 columns beside it, which lie
    alike in what upsampling makes. Trap: tiles of other means, put together with a step: it is 4 to 20 times as large.
    """
    codec, tiling = codec_of(kind), Tiling(whole=1, side=96, overlap=64)
    x0 = (torch.linspace(-3, 3, 64) + 0.1 * torch.randn(2, 3, 24, 1)).contiguous()
    image = replace(codec, tiling=tiling).images(x0).detach()
    change = image.diff(dim=-1).abs().mean(dim=(0, 1, 2))
    edges = {place for _, made, _ in stretches(64, Scale(1, 4), tiling) for place in (made.start, made.stop)}
    beside = (-48, -32, -16, 0, 16, 32, 48)  # a weight begins, is half risen, is whole, or its tile ends
    columns = {place + way - 1 for place in edges for way in beside} & {*range(20, 236)}
    assert len(columns) > 8
    for column in columns:
        assert change[column] < 1.5 * change[[column + way for way in (-8, -4, 4, 8)]].mean(), column
