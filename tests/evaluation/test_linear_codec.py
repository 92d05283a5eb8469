"""Principal components of patches: exact where all are kept, and no linear map is nearer where they are not."""

import pytest
import torch

from ancestral.errors import InputError
from ancestral.evaluation.codec_quality import restored
from ancestral.evaluation.linear_codec import fit_linear_codec
from ancestral.tensors import Pixels


def waves(count: int = 24, size: tuple[int, int] = (16, 16), channels: int = 3) -> Pixels:
    """Smooth images, far from black and white."""
    random = torch.Generator().manual_seed(count)
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    speed, phase = 0.6 * torch.rand(2, count, channels, 1, 1, generator=random) + 0.2
    noise = 4 * torch.randn(count, channels, *size, generator=random)
    return (128 + 50 * torch.sin(speed * x + phase * 9) * torch.cos(phase * y) + noise).to(torch.uint8)


def test_all_components_are_the_image() -> None:
    assert torch.equal(restored(fit_linear_codec(waves(), 4, 48), waves()), waves())
    assert torch.equal(restored(fit_linear_codec(waves(), 2, 12), waves(9)), waves(9))


def test_x0_is_standardised_on_what_it_was_fitted_to() -> None:
    x0 = fit_linear_codec(waves(), 4, 6).encode(waves())
    assert x0.shape == (24, 6, 4, 4) and x0.dtype == torch.float32
    assert x0.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    torch.testing.assert_close(x0.square().mean(dim=(0, 2, 3)), torch.ones(6))


def test_what_is_lost_is_the_variance_of_the_components_left_out() -> None:
    codec, whole = fit_linear_codec(waves(), 4, 6), fit_linear_codec(waves(), 4, 48)
    error = (restored(codec, waves()).double() - waves().double()).square().mean().item()
    left_out = whole.std[6:].square().sum().item() / 48 * 127.5**2
    assert error == pytest.approx(left_out + 1 / 12, rel=0.02)  # a twelfth: pixels are rounded to levels
    torch.testing.assert_close(codec.basis @ codec.basis.T, torch.eye(6, dtype=torch.float64))


def test_any_size_is_coded_and_shapes_are_told() -> None:
    codec = fit_linear_codec(waves(), 4, 48)
    odd = waves(5, (9, 14))
    assert codec.encode(odd).shape[1:] == codec.shape((3, 9, 14)) == (48, 3, 4)
    assert torch.equal(restored(codec, odd), odd)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="at most 48 components"):
        fit_linear_codec(waves(), 4, 49)
    with pytest.raises(InputError, match="images of 3 channels"):
        fit_linear_codec(waves(), 4, 4).shape((1, 16, 16))
