"""Autoencoders: published sizes, agreement with diffusers, and what goes wrong with them in silence."""

import math
import warnings
from typing import Any

import pytest
import torch
from combinations import combined
from torch import nn

from ancestral.errors import InputError
from ancestral.gaussian import DiagonalGaussian
from ancestral.networks.autoencoder import LOG_VARIANCES, Autoencoder
from ancestral.networks.backbone import weightless
from ancestral.networks.quantizer import vectors_of
from ancestral.settings import AutoencoderSettings, KLSettings, PlainSettings, VQSettings

TINY: dict[str, Any] = {"widths": (4, 8, 8), "channels": 3, "norm_groups": 2}
KINDS: dict[str, AutoencoderSettings] = {
    "plain": PlainSettings(**TINY),
    "kl": KLSettings(**TINY),
    "vq": VQSettings(**TINY, codes=7),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def randomised(network: nn.Module) -> Any:
    """Every parameter redrawn, so that no branch is silent."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    return network.eval()


PUBLISHED: dict[tuple[int, ...], int] = {
    (16, 32, 48): 409_863,
    (32, 64, 64): 921_031,
    (24, 48, 96): 1_449_823,
    (32, 64, 96): 1_620_391,
    (32, 64, 128): 2_569_479,
    (64, 128, 128): 3_656_487,
}
"""Parameters of diffusers' `AutoencoderKL` by its widths: a ResNet block a level, no attention, four channels."""


def sizes(settings: AutoencoderSettings) -> tuple[int, int]:
    with weightless():
        network = Autoencoder(settings, 3)
    return sum(parameter.numel() for parameter in network.parameters()), len(network.state_dict())


@pytest.mark.parametrize("widths", PUBLISHED)
def test_a_shape_has_as_many_parameters_as_that_of_diffusers(widths: tuple[int, ...]) -> None:
    assert sizes(KLSettings(widths=widths))[0] == PUBLISHED[widths]


def test_stable_diffusions_has_its_published_size() -> None:
    settings = KLSettings(widths=(128, 256, 512, 512), layers=2, middle_attention=True, norm_groups=32)
    assert sizes(settings) == (83_653_863, 248)


def test_latent_diffusions_have_theirs() -> None:
    """Those of factor 4 with three channels; the second's counts the codebook, which is no parameter here."""
    shape: dict[str, Any] = {
        "widths": (128, 256, 512), "channels": 3, "layers": 2, "middle_attention": True, "norm_groups": 32,
    }  # fmt: skip
    assert sizes(KLSettings(**shape))[0] == 55_312_063
    assert sizes(VQSettings(**shape, codes=8192))[0] + 8192 * 3 == 55_322_782


def theirs(settings: AutoencoderSettings, channels: int) -> Any:
    """The same network in diffusers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import AutoencoderKL, VQModel
    levels = len(settings.widths)
    common: dict[str, Any] = {
        "in_channels": channels,
        "out_channels": channels,
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": list(settings.widths),
        "layers_per_block": settings.layers,
        "latent_channels": settings.channels,
        "norm_num_groups": settings.norm_groups,
        "mid_block_add_attention": settings.middle_attention,
    }
    if isinstance(settings, VQSettings):
        return VQModel(**common, num_vq_embeddings=settings.codes).eval()
    return AutoencoderKL(**common).eval()


VARIED: dict[str, dict[str, Any]] = {
    "as it is": {},
    "attention": {"middle_attention": True},
    "two layers, two levels": {"layers": 2, "widths": (4, 6)},
    "four levels": {"widths": (4, 4, 8, 8)},
}


@pytest.mark.parametrize(("name", "channels"), combined(VARIED, [1, 3, 4]))
def test_diffusers_gives_the_same_with_the_same_weights(name: str, channels: int) -> None:
    """Trap: a stride-2 convolution padded on all sides takes the same weights, and moves images by half a pixel."""
    settings = KLSettings(**TINY | VARIED[name])
    ours, other = randomised(Autoencoder(settings, channels)), theirs(settings, channels)
    other.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, channels, 16, 24)
    with torch.no_grad():
        posterior, expected = ours.posterior(x), other.encode(x).latent_dist
        torch.testing.assert_close(posterior.mean, expected.mean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(posterior.log_var, expected.logvar, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours(x).images, other.decode(expected.mean).sample, atol=1e-5, rtol=1e-5)


def test_diffusers_codebook_gives_the_same_with_the_same_weights() -> None:
    settings = VQSettings(**TINY, codes=7)
    ours, other = randomised(Autoencoder(settings, 3)), theirs(settings, 3)
    x = torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        ours.quantize.take(vectors_of(ours.encoded(x))[::7][:7])
    state = ours.state_dict()
    other.load_state_dict({name: state[name] for name in other.state_dict()}, strict=True)
    with torch.no_grad():
        torch.testing.assert_close(ours.encoded(x), other.encode(x).latents, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(ours(x).images, other(x).sample, atol=1e-5, rtol=1e-5)
    assert len(ours(x).quantized.indices.unique()) > 2, "several codes are in use"


@every_kind
@pytest.mark.parametrize("levels", [2, 3, 4])
def test_latents_are_smaller_by_the_factor(kind: str, levels: int) -> None:
    settings = KINDS[kind].model_copy(update={"widths": (4,) * levels})
    network = Autoencoder(settings, 2)
    assert settings.factor == 2 ** (levels - 1)
    coded = network(torch.randn(2, 2, 16, 24))
    z = coded.encoded[:, : settings.channels]
    assert z.shape == (2, 3, 16 // settings.factor, 24 // settings.factor)
    assert coded.images.shape == (2, 2, 16, 24)


def test_a_new_decoder_answers_grey_and_a_new_encoder_is_neither_sure_nor_unsure() -> None:
    """Trap: a log-variance that starts outside of the clamp never gets a gradient."""
    network = Autoencoder(KLSettings(**TINY), 3)
    coded = network(torch.randn(4, 3, 16, 16))
    assert not coded.images.any()
    assert coded.posterior is not None
    assert bool(((coded.posterior.log_var >= -6) & (coded.posterior.log_var <= 0)).all())
    assert 0.3 < float(coded.posterior.mean.detach().std()) < 3


def test_log_variances_are_clamped_and_means_are_not() -> None:
    network = Autoencoder(KLSettings(**TINY), 3)
    with torch.no_grad():
        network.quant_conv.bias += 1000.0  # type: ignore[operator]
        high = network.posterior(torch.zeros(1, 3, 8, 8))
        network.quant_conv.bias -= 2000.0  # type: ignore[operator]
        low = network.posterior(torch.zeros(1, 3, 8, 8))
    assert float(high.log_var.max()) == LOG_VARIANCES[1] and float(low.log_var.min()) == LOG_VARIANCES[0]
    assert high.mean.abs().max() > 900


def test_latents_are_the_mean_or_a_draw() -> None:
    """Trap: `encode` gives a distribution; one that draws where a reconstruction is measured measures noise."""
    network = randomised(Autoencoder(KLSettings(**TINY), 3))
    x, noise = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 2, 2)
    posterior = network.posterior(x)
    drawn = posterior.mean + torch.exp(posterior.log_var / 2) * noise
    torch.testing.assert_close(network(x, noise).images, network.decoded(drawn))
    torch.testing.assert_close(network(x).images, network.decoded(posterior.mean))
    assert not torch.allclose(network(x).images, network(x, noise).images, atol=1e-3)


def test_the_kl_to_the_prior_is_a_sum_over_an_image_in_nats() -> None:
    """Four numbers, by the closed form. Trap: a mean over them is smaller by as many times as there are."""
    mean, log_var = torch.tensor([[0.5, -1.0, 0.0, 2.0]]), torch.tensor([[0.0, -2.0, 1.0, 0.5]])
    prior = DiagonalGaussian(torch.zeros(()), torch.zeros(()))
    nats = DiagonalGaussian(mean, log_var).kl(prior).sum(dim=1)
    pairs = zip(mean[0].tolist(), log_var[0].tolist(), strict=True)
    assert float(nats) == pytest.approx(sum(0.5 * (m**2 + math.exp(v) - 1 - v) for m, v in pairs), rel=1e-6)


@every_kind
def test_every_weight_is_trained(kind: str) -> None:
    """Trap: processes that average gradients wait for ever for that of a weight that nothing used."""
    network = randomised(Autoencoder(KINDS[kind].model_copy(update={"middle_attention": True}), 3))
    coded = network(torch.randn(2, 3, 8, 8), torch.randn(2, 3, 2, 2))
    loss = coded.images.square().sum()
    if coded.posterior is not None:
        loss = loss + coded.posterior.kl(DiagonalGaussian(torch.zeros(()), torch.zeros(()))).sum()
    loss.backward()
    keys = "to_k.bias"  # which softmax takes no notice of
    grads = {name: parameter.grad for name, parameter in network.named_parameters() if keys not in name}
    assert [name for name, grad in grads.items() if grad is None or not grad.abs().max() > 0] == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"widths": (32, 60)}, "norm_groups = 8 divides, got 60"),
        ({"widths": (32,)}, "at least 2"),
        ({"widths": (32,) * 5}, "at most 4"),
        ({"adversarial_start": 0.2}, "adversarial above 0"),
        ({"codes": 4}, "codes"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError) as caught:
        KLSettings(**values)
    assert expected in str(caught.value) and "\n" not in str(caught.value)
