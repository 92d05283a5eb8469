"""Bytes against quality: steps that do what the equation says, a fair comparison, and what is written."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from jaxtyping import Float, Int64
from PIL import Image
from test_linear_codec import waves
from torch import Tensor

from ancestral.evaluation.codec_quality import Quality, psnr
from ancestral.evaluation.linear_codec import fit_linear_codec
from ancestral.evaluation.metrics import Estimate
from ancestral.evaluation.rate import (
    RateCurve,
    RateDistortion,
    RatePoint,
    Rounding,
    Sets,
    channel_gains,
    encoded,
    equal_bytes,
    file_points,
    latent_points,
    measuring_rate,
    picture,
    read_rate,
    save,
    table,
)
from ancestral.evaluation.settings import RateSettings
from ancestral.progress import finish
from ancestral.tensors import Data, Pixels

SETTINGS = RateSettings(steps=(8.0, 64.0), qualities=(0, 50), num_shown=2, shown_bytes=350, num_images=4)


@dataclass(frozen=True)
class FourGreys:
    """A codebook of four flat patches of 4 x 4."""

    bound: ClassVar[float | None] = None
    codes: ClassVar[int] = 4

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        return 1, -(-image[1] // 4), -(-image[2] // 4)

    def indices(self, x0: Float[Tensor, "B c h w"]) -> Int64[Tensor, "B h w"]:
        return x0[:, 0].round().long()

    def of_indices(self, indices: Int64[Tensor, "B h w"]) -> Float[Tensor, "B c h w"]:
        return indices[:, None].float()

    def encode(self, pixels: Pixels, noise: Callable[[], Data] | None = None) -> Float[Tensor, "B c h w"]:
        grey = pixels.float().mean(dim=1, keepdim=True)
        return torch.nn.functional.avg_pool2d(grey, 4).div(64).floor()

    def decode(self, x0: Float[Tensor, "B c h w"]) -> Pixels:
        levels = (self.indices(x0) * 64 + 32).to(torch.uint8)[:, None].expand(-1, 3, -1, -1)
        return levels.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)


@pytest.fixture(scope="module")
def measured() -> RateDistortion:
    return finish(measuring_rate(fit_linear_codec(waves(), 4, 2), waves(), waves(5), SETTINGS, "ours"))


def test_a_channel_is_worth_its_variance_in_levels() -> None:
    """Of orthonormal components that were divided by their deviations: a unit is a deviation, 127.5 levels to a 1."""
    codec = fit_linear_codec(waves(), 4, 8)
    torch.testing.assert_close(channel_gains(codec, waves()), (codec.std * 127.5).square(), rtol=0.1, atol=1.0)


def test_a_channel_that_the_decoder_ignores_costs_nothing() -> None:
    """Trap: a collapsed channel is noise of deviation 1 once it is standardised, and noise is dear."""

    class Deaf(FourGreys):
        def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
            return 2, *FourGreys().shape(image)[1:]

        def encode(self, pixels: Pixels, noise: Callable[[], Data] | None = None) -> Float[Tensor, "B c h w"]:
            heard = FourGreys().encode(pixels)
            return torch.cat([heard, torch.randn(heard.shape, generator=torch.Generator().manual_seed(1))], dim=1)

    gains = channel_gains(Deaf(), waves())
    rounding = Rounding(Deaf(), 8.0 / gains.sqrt())
    assert (rounding.symbols(Deaf().encode(waves()))[:, 1] == 0).all()


def test_steps_leave_the_error_that_they_say() -> None:
    """Equation (1) where nothing is left out: q² / 12 to a number, and a twelfth for pixels rounded to levels."""
    codec, step = fit_linear_codec(waves(), 4, 48), 6.0
    (point,) = latent_points(codec, Sets(waves(), waves(5)), (step,))
    rounding = Rounding(codec, step / channel_gains(codec, waves()).sqrt())
    again = rounding.images(rounding.symbols(encoded(codec, waves(5))), waves(5))
    error = (again.double() - waves(5).double()).square().mean().item()
    assert error == pytest.approx(step**2 / 12 + 1 / 12, rel=0.15)
    assert point.quality.psnr.value == pytest.approx(psnr(waves(5), again).mean().item(), abs=0.3)


def test_finer_steps_cost_more_bytes_and_lose_less(measured: RateDistortion) -> None:
    for curve in measured.curves:
        fine, coarse = sorted(curve.points, key=lambda point: -point.bytes.value)
        assert fine.bytes.value > coarse.bytes.value and fine.quality.psnr.value > coarse.quality.psnr.value
    assert measured.curves[0].points[0].quality.psnr.value <= measured.restored.psnr.value + 0.01


def test_the_codec_stands_beside_components_of_as_many_channels_and_files(measured: RateDistortion) -> None:
    names = [curve.name for curve in measured.curves]
    assert names == ["ours", "PCA, 2 channels", "PCA, 8 channels", "JPEG, payload", "JPEG, file", "WebP, file"]
    assert measured.curves[0].points == measured.curves[1].points, "which is what the codec here is"
    assert (measured.image, measured.x0, measured.num_fitted) == ((3, 16, 16), (2, 4, 4), 24)
    assert {point.quality.num_images for curve in measured.curves for point in curve.points} == {4}
    payload, whole = measured.curves[3:5]
    for one, other in zip(payload.points, whole.points, strict=True):
        assert one.quality == other.quality and other.bytes.value - one.bytes.value > 200


def test_nothing_is_learned_from_the_images_that_are_coded() -> None:
    """Trap: tables fitted to the images coded cost nothing and know everything. Coded alone, an image takes what it
    takes in company."""
    codec = fit_linear_codec(waves(), 4, 16)

    def bytes_of(held_out: Pixels) -> float:
        return next(latent_points(codec, Sets(waves(), held_out), (4.0,))).bytes.value

    alone = [bytes_of(waves(5)[i : i + 1]) for i in range(5)]
    assert bytes_of(waves(5)) == pytest.approx(sum(alone) / 5) and len({*alone}) > 2


def test_a_codebook_has_one_point_and_its_use_is_told() -> None:
    found = finish(measuring_rate(FourGreys(), waves(), waves(5), SETTINGS))
    (point,) = found.curves[0].points
    assert found.curves[0].knob == "codes" and point.knob == 4
    assert point.quality == found.restored
    assert found.codebook is not None and found.codebook.codes == 4 and 0 < found.codebook.entropy <= 2
    assert [each.bytes for each in found.equal_bytes] == [point.bytes.value, 350]
    assert found.equal_bytes[1].psnr["codec"] is None
    assert picture(FourGreys(), waves(), waves(5), SETTINGS).width > 200


def curve(name: str, *points: tuple[float, float]) -> RateCurve:
    made = [
        RatePoint(knob=1.0, bytes=Estimate(size, 1.0), quality=Quality(num_images=2, psnr=(db, 0.1), ssim=(0.5, 0.1)))
        for size, db in points
    ]
    return RateCurve(name=name, knob="step", points=tuple(made))


def test_how_far_it_has_come_is_told_point_by_point() -> None:
    """Of three codecs at two steps, and three ways to write a file at two qualities."""
    told = [*measuring_rate(fit_linear_codec(waves(), 4, 2), waves(), waves(5), SETTINGS)]
    assert [each.done for each in told] == [*range(13)] and {each.total for each in told} == {12}
    told = [*measuring_rate(FourGreys(), waves(), waves(5), SETTINGS)]
    assert (told[0].done, told[-1].done, told[-1].total) == (0, 11, 11)


def test_between_settings_decibels_follow_the_logarithm_of_bytes() -> None:
    """Half way from 100 to 400 bytes is 200; beyond the settings there is nothing to say."""
    found = equal_bytes([curve("a", (400, 30), (100, 20)), curve("b", (300, 1), (500, 2))], 200.0)
    assert found.psnr == {"a": pytest.approx(25), "b": None} and found.ssim["b"] is None
    assert equal_bytes([curve("a", (400, 30), (100, 20))], 400.0).psnr["a"] == 30


def test_images_with_transparency_are_compared_over_white() -> None:
    opacity = torch.zeros(2, 1, 16, 16, dtype=torch.uint8)
    hidden = torch.cat([waves(2), opacity], dim=1)
    found = dict(file_points(hidden, (50,)))
    assert len(found) == 3 and all(each.quality.psnr.value > 60 for each in found.values())


def test_what_is_written_reads_back(measured: RateDistortion, tmp_path: Path) -> None:
    codec = fit_linear_codec(waves(), 4, 2)
    shown = picture(codec, waves(), waves(5), SETTINGS, "ours")
    file, *pictures = save(tmp_path / "rate.json", measured, shown)
    assert read_rate(file) == measured and [each.name for each in pictures] == ["rate.png", "rate-images.png"]
    for each in pictures:
        with Image.open(each) as image:
            assert image.width > 300 and image.info["Software"] == "ancestral rate"
    lines = table(measured)
    assert lines[0][:2] == ["bytes", "ours"] and {len(line) for line in lines} == {7}
    assert len(lines) == 1 + 3 and any("dB" in cell for cell in lines[1])
