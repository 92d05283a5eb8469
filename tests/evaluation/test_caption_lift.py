"""Caption lift in closed form: the divergence of Gaussians in bits; nothing of a model that is deaf."""

import math
from collections.abc import Sequence

import pytest
import torch

from ancestral.diffusion.level import Noised
from ancestral.diffusion.schedules import Schedule, log_snr_linear
from ancestral.evaluation.caption_lift import Lift, caption_lift, other_captions
from ancestral.oracles import GaussianData
from ancestral.progress import finish
from ancestral.tensors import PerImage

MEANS = {"one": torch.tensor([0.8, -0.3, 0.1, 0.0]), "other": torch.tensor([-0.4, 0.5, 0.1, 0.0])}
VARIANCE = 0.25


def schedule() -> Schedule:
    return log_snr_linear(1000, 14.0, -12.0)


def listening(noised: Noised, captions: Sequence[str]) -> PerImage:
    """By the exact denoiser of the images of each caption."""
    means = torch.stack([MEANS[text] for text in captions]).double()
    data = GaussianData(schedule(), means, torch.full((4,), VARIANCE, dtype=torch.float64))
    eps = data(noised.x_t.flatten(1), noised.level.t).eps
    return (eps - noised.eps.flatten(1)).square().sum(1)


def deaf(noised: Noised, captions: Sequence[str]) -> PerImage:
    """By that of the images of one caption, whatever is said."""
    return listening(noised, ["one"] * len(captions))


def measured(listen: bool, levels: int = 16, up_to: float = math.inf) -> tuple[Lift, float]:
    """The lift of 200 images, and log2 p(x | c) / p(x | c') of the very same, in the mean."""
    captions = ["one", "other"] * 100
    draw = torch.Generator().manual_seed(0)
    means = torch.stack([MEANS[text] for text in captions]).double()
    x0 = means + math.sqrt(VARIANCE) * torch.randn(200, 4, generator=draw, dtype=torch.float64)
    others = torch.stack([MEANS[text] for text in other_captions(captions, 0)]).double()
    bits = ((x0 - others).square() - (x0 - means).square()).sum(1) / (2 * VARIANCE * math.log(2))
    errors = listening if listen else deaf
    work = caption_lift(schedule(), x0.reshape(200, 1, 2, 2), captions, errors, levels, chunk=77, up_to=up_to)
    return finish(work), float(bits.mean())


def test_the_lift_of_an_exact_model_is_the_log_ratio_of_its_densities() -> None:
    lift, bits = measured(True)
    divergence = float((MEANS["one"] - MEANS["other"]).square().sum()) / (2 * VARIANCE * math.log(2))
    assert bits == pytest.approx(divergence, rel=0.15)
    assert lift.bits == pytest.approx(bits, rel=0.05)
    assert lift.bits > 5 * lift.standard_error > 0


def test_a_lift_that_ends_sooner_is_that_of_images_with_so_much_noise() -> None:
    """x_l in place of x: Gaussians whose variance is larger by 1 / SNR, and none of what is beyond counts."""
    (lift, _), (whole, _) = measured(True, 64, up_to=0.0), measured(True, 64)
    divergence = float((MEANS["one"] - MEANS["other"]).square().sum()) / (2 * (VARIANCE + 1) * math.log(2))
    assert lift.log_snr[1] == 0 and lift.bits == pytest.approx(divergence, rel=0.15)
    assert lift.bits < whole.bits / 3


def test_a_model_that_does_not_listen_has_none() -> None:
    lift, _ = measured(False)
    assert lift.bits == 0 and lift.standard_error == 0


def test_its_error_is_as_large_as_it_spreads_over_images() -> None:
    """With many levels for each image that is the deviation of log p(x | c) / p(x | c'), |m - m'| / s nats."""
    lift, _ = measured(True, 64)
    apart = float((MEANS["one"] - MEANS["other"]).norm()) / math.sqrt(VARIANCE)
    assert lift.standard_error == pytest.approx(apart / math.log(2) / math.sqrt(200), rel=0.2)


def test_others_are_captions_that_read_otherwise() -> None:
    captions = ["a"] * 50 + ["b", "c"]
    found = other_captions(captions, 3)
    assert all(one != other for one, other in zip(captions, found, strict=True))
    assert {*found[:50]} == {"b", "c"} and found == other_captions(captions, 3)
