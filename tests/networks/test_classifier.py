"""The classifier of noisy images: what it takes from a U-Net's settings, and what it answers."""

import pytest
import torch
from torch.nn import functional as F

from ancestral.networks.classifier import Classifier, classifier_settings
from ancestral.settings import UNetSettings

SETTINGS = UNetSettings(widths=(8, 16), layers=1, attention=(1,), norm_groups=4)


def classifier(settings: UNetSettings = SETTINGS, channels: int = 1) -> Classifier:
    """One whose every layer says something: a new one's last layers are 0."""
    made = Classifier(settings, channels, 5).double().eval()
    weights = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=weights, dtype=torch.float64)
    return made


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_new_classifier_takes_all_classes_to_be_equally_likely() -> None:
    made = Classifier(SETTINGS, 1, 5)
    assert torch.equal(made(torch.randn(3, 1, 8, 8), torch.tensor(9.0)), torch.zeros(3, 5))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 5), (1, 3)])
@pytest.mark.parametrize("padding", ["even", "right-bottom"])
def test_any_size_will_do_and_an_image_does_not_depend_on_its_batch(height: int, width: int, padding: str) -> None:
    made = classifier(SETTINGS.model_copy(update={"downsample_padding": padding}), channels=3)
    x, time = images(4, 3, height, width), torch.tensor([0.0, 10.0, 500.0, 999.0])
    together = made(x, time)
    assert together.shape == (4, 5)
    torch.testing.assert_close(together[2:3], made(x[2:3], time[2:3]))


def test_one_time_for_all_is_that_time_for_each_and_time_matters() -> None:
    made, x = classifier(), images(3, 1, 8, 8)
    torch.testing.assert_close(made(x, torch.tensor(40.0)), made(x, torch.full((3,), 40.0)))
    assert (made(x, torch.tensor(40.0)) - made(x, torch.tensor(900.0))).abs().max() > 1e-3


def test_the_gradient_agrees_with_finite_differences() -> None:
    """What guides is the gradient, not the answer."""
    made, x = classifier(), images(2, 1, 6, 6).requires_grad_()
    labels, time = torch.tensor([3, 0]), torch.tensor([7.0, 600.0])

    def log_prob(of: torch.Tensor) -> torch.Tensor:
        return F.log_softmax(made(of, time), dim=1)[[0, 1], labels]

    assert torch.autograd.gradcheck(log_prob, (x,), fast_mode=True)


def test_the_settings_of_any_u_net_make_one_of_its_widths() -> None:
    unet = UNetSettings(
        widths=(8, 12, 4), layers=3, attention=(2,), norm_groups=4, dropout=0.3, fourier=(6, 7), output_rank=8, stem=16
    )
    settings = classifier_settings(unet)
    assert (settings.widths, settings.stem, settings.attention) == (unet.widths, unet.stem, unet.attention)
    assert (settings.layers, settings.dropout, settings.fourier) == (1, 0.0, ())
    assert UNetSettings.model_validate(settings.model_dump()) == settings, "it can be read back from a file"
    assert Classifier(settings, 1, 2)(torch.randn(2, 1, 9, 9), torch.tensor(1.0)).shape == (2, 2)
