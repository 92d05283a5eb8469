"""Codecs of autoencoders: the scale of x0, sizes that the factor does not divide, and what is drawn and what is not."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_autoencoder import KINDS, TINY, every_kind, randomised
from torch import Tensor

from ancestral.codec import Codec
from ancestral.errors import InputError, NonFinite
from ancestral.networks.autoencoder import Autoencoder
from ancestral.networks.latents import (
    LatentCodec,
    VQCodec,
    cropped,
    latent_codec,
    latent_moments,
    latent_statistics,
    reflected,
)
from ancestral.networks.quantizer import vectors_of
from ancestral.settings import KLSettings
from ancestral.tensors import from_pixels, to_pixels


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def pixels(count: int = 4, channels: int = 3, size: tuple[int, int] = (16, 24)) -> Tensor:
    """Images of blocks, which differ from one another."""
    coarse = torch.randint(0, 256, (count, channels, size[0] // 4 + 1, size[1] // 4 + 1), dtype=torch.uint8)
    return coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)[:, :, : size[0], : size[1]]


def trained(kind: str, channels: int = 3) -> Any:
    """A network with weights drawn at random; a codebook has met some images."""
    network = randomised(Autoencoder(KINDS[kind], channels))
    if network.quantize is not None:
        with torch.no_grad():
            network.quantize.take(vectors_of(network.encoded(from_pixels(pixels(2, channels))))[::5][:7])
    return network


def codec_of(kind: str, channels: int = 3, images: Tensor | None = None) -> LatentCodec:
    network = trained(kind, channels)
    mean, std = latent_statistics(network, [pixels(8, channels) if images is None else images])
    return latent_codec(network, mean, std)


def noise_like(x0: Tensor) -> Callable[[], Tensor]:
    return lambda: torch.randn(x0.shape, generator=torch.Generator().manual_seed(7))


@every_kind
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_it_is_a_codec_of_grey_colour_and_transparency(kind: str, channels: int) -> None:
    codec, images = codec_of(kind, channels), pixels(2, channels)
    assert isinstance(codec, Codec) and codec.bound is None
    x0 = codec.encode(images)
    assert x0.shape[1:] == codec.shape((channels, 16, 24)) == (3, 4, 6)
    assert x0.dtype == torch.float32 and codec.decode(x0).dtype == torch.uint8
    assert codec.decode(x0).shape == images.shape


def test_images_of_other_channels_are_refused() -> None:
    with pytest.raises(InputError, match=r"of the 3 channels .* got 1"):
        codec_of("kl").shape((1, 16, 16))


@pytest.mark.parametrize("kind", ["plain", "kl"])
def test_x0_has_mean_0_and_deviation_1_in_each_channel(kind: str) -> None:
    """Trap: one scale for all channels, of one batch, without a mean, is off by tens of per cent."""
    network = trained(kind)
    with torch.no_grad():
        network.quant_conv.bias += torch.arange(len(network.quant_conv.bias))
        network.quant_conv.weight[1] *= 30
    batches = [pixels(5), pixels(3), pixels(1, size=(32, 8))]
    codec = latent_codec(network, *latent_statistics(network, batches))
    moments = [codec.moments(each) for each in batches]
    drawn = [mean + std * torch.randn(400, *mean.shape) for mean, std in moments]
    numbers = torch.cat([vectors_of(each.flatten(0, 1)) for each in drawn])
    assert numbers.mean(dim=0).abs().max() < 0.02
    assert (numbers.std(dim=0) - 1).abs().max() < 0.02
    assert codec.mean.dtype == codec.std.dtype == torch.float64


def test_of_what_is_drawn_the_spread_of_the_draws_counts() -> None:
    network = trained("kl")
    with torch.no_grad():
        network.quant_conv.weight[:3] = 0  # all means alike
        network.quant_conv.weight[3:] = 0
        network.quant_conv.bias[3:] = torch.tensor([0.0, 2.0, -2.0])
    mean, std = latent_statistics(network, [pixels()])
    torch.testing.assert_close(mean, network.quant_conv.bias[:3].double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(std, torch.tensor([0.0, 1.0, -1.0]).double().exp(), atol=1e-6, rtol=1e-6)


def test_codes_have_one_deviation_so_that_the_nearest_stays_the_nearest() -> None:
    network = trained("vq")
    images = pixels(8)
    mean, std = latent_statistics(network, [images])
    assert bool((std == std[0]).all())
    codec = latent_codec(network, mean, std)
    x0 = codec.encode(images)
    assert float(x0.square().mean()) == pytest.approx(1, rel=1e-3)
    codes = (network.quantize.embedding.weight - codec.mean) / codec.std
    nearest = torch.cdist(vectors_of(x0).double(), codes).argmin(dim=1)
    assert torch.equal(codec.indices(x0).flatten(), nearest)


def test_statistics_do_not_depend_on_how_images_are_batched() -> None:
    network, images = trained("kl"), pixels(6)
    whole, parts = latent_statistics(network, [images]), latent_statistics(network, [*images.split([1, 3, 2])])
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-6)


def test_a_channel_that_is_always_the_same_is_refused_by_number() -> None:
    network = trained("plain")
    with torch.no_grad():
        network.quant_conv.weight[1] = 0
        network.quant_conv.bias[1] = 0
    with pytest.raises(InputError, match="channel 1 is always the same"):
        latent_statistics(network, [pixels()])


@every_kind
def test_moments_are_what_draws_are_made_of(kind: str) -> None:
    """Trap: a cache that keeps one draw shows training the same noise in every epoch."""
    codec, images = codec_of(kind), pixels(2)
    mean, std = codec.moments(images)
    assert torch.equal(codec.encode(images), mean)
    noise = noise_like(mean)
    assert torch.equal(codec.encode(images, noise), mean + std * noise())
    assert bool((std > 0).all()) if kind == "kl" else not std.any()


@every_kind
def test_decoding_undoes_the_standardising(kind: str) -> None:
    codec, images = codec_of(kind), pixels(2)
    z, _ = latent_moments(codec.network, images)
    straight = z if codec.network.quantize is None else codec.network.quantize(z).latents
    torch.testing.assert_close(
        codec.images(codec.encode(images)), codec.network.decoded(straight), atol=1e-5, rtol=1e-4
    )
    torch.testing.assert_close(codec.latents(codec.encode(images)), z, atol=1e-5, rtol=1e-5)


def test_decoding_codes_gives_the_same_as_decoding_what_becomes_them() -> None:
    """Trap: x0 before or after it becomes codes, decided twice. It is before, and decoding is idempotent in it."""
    codec = codec_of("vq")
    x0 = codec.encode(pixels(2))
    quantize = codec.network.quantize
    assert quantize is not None
    mean, std = (each.float()[:, None, None] for each in (codec.mean, codec.std))
    codes = (quantize.codes(codec.indices(x0)) - mean) / std
    assert not torch.allclose(codes, x0, atol=1e-2)
    assert torch.equal(codec.indices(codes), codec.indices(x0))
    assert torch.equal(codec.decode(codes), codec.decode(x0))
    assert isinstance(codec, VQCodec)
    assert torch.equal(codec.of_indices(codec.indices(x0)), codes)


def test_a_grey_image_is_0_and_the_ends_are_1() -> None:
    """Trap: others keep pixels in [0, 1]. A network that lets its input through shows which it is given."""

    class Identity(Autoencoder):
        def encoded(self, x: Tensor) -> Tensor:
            return x[:, :, ::4, ::4]

        def decoded(self, z: Tensor) -> Tensor:
            return z.repeat_interleave(4, 2).repeat_interleave(4, 3)

    zeros, ones = torch.zeros(3).double(), torch.ones(3).double()
    codec = latent_codec(Identity(KINDS["plain"], 3), zeros, ones)
    flat = [torch.full((1, 3, 8, 8), level, dtype=torch.uint8) for level in (0, 128, 255)]
    assert [round(float(codec.encode(each).mean()), 2) for each in flat] == [-1, 0, 1]
    assert all(torch.equal(codec.decode(codec.encode(each)), each) for each in flat)


@pytest.mark.parametrize("size", [(16, 24), (13, 22), (4, 4), (3, 5), (1, 1), (2, 1)])
def test_any_size_is_continued_by_reflection_and_cropped_back(size: tuple[int, int]) -> None:
    """Trap: sides that the factor does not divide are cut off in silence, or refused."""
    images = pixels(2, size=size)
    continued = reflected(images, 4)
    assert continued.shape[2] % 4 == continued.shape[3] % 4 == 0
    assert continued.shape[2] - size[0] < 4 and continued.shape[3] - size[1] < 4
    assert torch.equal(cropped(continued, size), images)
    codec = codec_of("kl")
    x0 = codec.encode(images)
    assert x0.shape[1:] == codec.shape((3, *size))
    assert torch.equal(x0, codec.encode(continued))
    assert cropped(codec.decode(x0), size).shape == images.shape


def test_what_is_continued_is_the_mirror_image() -> None:
    row = torch.arange(5, dtype=torch.uint8).reshape(1, 1, 1, 5)
    assert reflected(row, 8)[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 3, 2, 1]
    short = torch.arange(2, dtype=torch.uint8).reshape(1, 1, 1, 2)
    assert reflected(short, 8)[0, 0, 7].tolist() == [0, 1, 0, 1, 0, 1, 0, 1]


def test_all_is_computed_in_float32_amid_bfloat16() -> None:
    codec, images = codec_of("kl"), pixels(2)
    x0, decoded = codec.encode(images), codec.images(codec.encode(images))
    mean, std = latent_statistics(codec.network, [images])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(codec.encode(images), x0) and torch.equal(codec.images(x0), decoded)
        again = latent_statistics(codec.network, [images])
    assert torch.equal(again[0], mean) and torch.equal(again[1], std)
    assert torch.equal(codec.decode(x0), to_pixels(decoded))


def test_a_decoder_that_overflows_says_so() -> None:
    """Trap: not a number becomes a black image."""
    codec = codec_of("kl")
    with torch.no_grad():
        codec.network.decoder.conv_out.weight.fill_(3e38)
    with pytest.raises(NonFinite, match="decoder"):
        codec.decode(codec.encode(pixels(1)))


def test_images_keep_the_gradient_of_x0() -> None:
    codec = codec_of("kl")
    x0 = codec.encode(pixels(1)).requires_grad_()
    codec.images(x0).sum().backward()
    assert x0.grad is not None and x0.grad.abs().max() > 0


def test_other_factors_pad_to_their_own_multiple() -> None:
    for levels in (2, 4):
        settings = KLSettings(**TINY | {"widths": (4,) * levels})
        codec = latent_codec(randomised(Autoencoder(settings, 1)), torch.zeros(3).double(), torch.ones(3).double())
        assert codec.encode(pixels(1, 1, (9, 17))).shape[1:] == codec.shape((1, 9, 17))
