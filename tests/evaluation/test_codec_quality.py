"""PSNR, SSIM and the use of a codebook, by hand, beside scikit-image, and where the usual programs go wrong."""

import math

import pytest
import torch

from ancestral.codec import PixelCodec
from ancestral.errors import InputError
from ancestral.evaluation.codec_quality import C1, code_counts, codebook_use, psnr, quality, restored, ssim
from ancestral.evaluation.linear_codec import fit_linear_codec
from ancestral.networks.tiled import at_once
from ancestral.tensors import Images, Pixels


def constant(value: int, size: tuple[int, int] = (16, 12)) -> Pixels:
    return torch.full((1, 1, *size), value, dtype=torch.uint8)


def pair() -> tuple[Pixels, Pixels]:
    """Two images of 24 x 20, alike in two channels, one the negative of the other in the third."""
    y, x = torch.meshgrid(torch.arange(24), torch.arange(20), indexing="ij")
    one = torch.stack([7 * x + 3 * y, 5 * x * y, x * x + 11 * y]) % 256
    other = torch.stack([7 * x + 3 * y + 9 * (x % 3), 5 * x * y + 4 * (y % 2), 255 - one[2]]) % 256
    return one[None].to(torch.uint8), other[None].to(torch.uint8)


def test_one_level_off_everywhere_is_48_decibels() -> None:
    assert psnr(constant(7), constant(8)).item() == pytest.approx(20 * math.log10(255))
    assert psnr(constant(0), constant(255)).item() == pytest.approx(0, abs=1e-12)


def test_an_exact_image_counts_as_one_with_one_number_one_level_off() -> None:
    """Trap: an infinite PSNR makes the mean of the set infinite."""
    off = constant(7).clone()
    off[0, 0, 3, 3] += 1
    assert psnr(constant(7), constant(7)).item() == psnr(constant(7), off).item()
    assert psnr(constant(7), off).item() == pytest.approx(10 * math.log10(255**2 * 16 * 12))


def test_the_mean_is_of_decibels_and_not_of_errors() -> None:
    originals = torch.cat([constant(100), constant(100)])
    found = quality(originals, torch.cat([constant(101), constant(116)]))
    each = [20 * math.log10(255 / error) for error in (1, 16)]
    assert found.num_images == 2 and found.psnr.value == pytest.approx(sum(each) / 2)
    assert found.psnr.standard_error == pytest.approx(abs(each[0] - each[1]) / 2)
    assert quality(constant(1), constant(2)).psnr.standard_error is None


def test_no_more_is_computed_at_once_than_of_one_large_image() -> None:
    """And what is found does not depend on it."""
    counts: list[int] = []

    class Counting(PixelCodec):
        def decode(self, x0: Images) -> Pixels:
            counts.append(len(x0))
            return super().decode(x0)

    images = torch.randint(0, 256, (6, 1, 512, 512), dtype=torch.uint8)
    made = restored(Counting(), images)
    assert torch.equal(made, images) and counts == [4, 2]
    assert (at_once(128, 128), at_once(129, 128), at_once(2000, 600)) == (64, 63, 1)
    pairs = [*zip(images[:, None], images.flip(0)[:, None], strict=True)]
    for measure in (psnr, ssim):
        alone = torch.cat([measure(*pair) for pair in pairs])
        torch.testing.assert_close(measure(images, images.flip(0)), alone, rtol=1e-12, atol=0)


def test_similarity_of_flat_images_is_that_of_their_means() -> None:
    for size in ((16, 12), (8, 8), (5, 30)):
        found = ssim(constant(50, size), constant(90, size)).item()
        assert found == pytest.approx((2 * 50 * 90 + C1) / (50**2 + 90**2 + C1), rel=1e-9)


def test_similarity_and_psnr_are_those_of_scikit_image() -> None:
    """The numbers: version 0.26, `structural_similarity(..., gaussian_weights=True, sigma=1.5, data_range=255,
    use_sample_covariance=False, channel_axis=-1)` and `peak_signal_noise_ratio`."""
    one, other = pair()
    assert ssim(one, other).item() == pytest.approx(0.31964901615154767, abs=1e-9)
    expected = (0.8513144653244522, 0.8982461429600366, -0.7906135598298457)
    channels = [ssim(one[:, i : i + 1], other[:, i : i + 1]).item() for i in range(3)]
    assert channels == pytest.approx(expected, abs=1e-9)


def test_psnr_is_of_all_channels_together() -> None:
    one, other = pair()
    error = (one.double() - other.double()).square().mean().item()
    assert psnr(one, other).item() == pytest.approx(10 * math.log10(255**2 / error))
    assert ssim(one, one).item() == pytest.approx(1) and ssim(one, other).item() == ssim(other, one).item()


def test_colours_that_cannot_be_seen_do_not_count() -> None:
    """Trap: what a transparent pixel hides is anything at all."""
    one = torch.cat([pair()[0], torch.zeros(1, 1, 24, 20, dtype=torch.uint8)], dim=1)
    other = torch.cat([pair()[1], one[:, 3:]], dim=1)
    white = torch.full_like(pair()[0], 255)
    assert psnr(one, other).item() == psnr(one, white).item() == psnr(white, white).item()


def test_sets_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(InputError, match="as many uint8 images of one size"):
        psnr(constant(1), constant(1, (16, 13)))
    with pytest.raises(InputError, match="as many uint8 images of one size"):
        ssim(constant(1), constant(1).expand(2, -1, -1, -1))


def test_what_a_codec_restores_is_as_large_as_the_images() -> None:
    """Trap: a codec that pads to its factor gives larger images, and pixels are compared with their neighbours."""
    images = pair()[0][..., :18, :15]
    codec = fit_linear_codec(images, 4, 48)
    assert codec.decode(codec.encode(images)).shape[2:] == (20, 16)
    assert torch.equal(restored(codec, images), images)


def test_entropy_of_codes_used_alike_is_the_logarithm_of_their_number() -> None:
    found = codebook_use(code_counts(torch.arange(8).repeat(5, 1), 32))
    assert (found.codes, found.used) == (32, 0.25)
    assert found.entropy == pytest.approx(3)
    assert codebook_use(code_counts(torch.zeros(3, 2, 2, dtype=torch.int64), 4)).entropy == 0


def test_the_use_of_a_codebook_is_of_the_set_and_not_the_mean_of_batches() -> None:
    """Trap: 16 indices name 16 codes at most, so a batch of them seems to use a sixteenth of 256."""
    indices = torch.randint(256, (64, 4, 4), generator=torch.Generator().manual_seed(0))
    batches = [code_counts(part, 256) for part in indices]
    whole = codebook_use(torch.stack(batches).sum(dim=0))
    assert whole == codebook_use(code_counts(indices, 256)) and whole.used > 0.95 and whole.entropy > 7.8
    assert max(codebook_use(each).entropy for each in batches) <= 4
