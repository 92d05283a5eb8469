"""The likelihood of images under a model of latents: three terms against integrals, and a bound that is tight."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from latent_pipelines import SPREAD, averaging, of_latents
from pipelines import TINY, answering
from torch import Tensor

from ancestral import oracles
from ancestral.codec import PIXELS
from ancestral.condition import NOTHING_TOLD
from ancestral.data.imageset import ImageSet
from ancestral.diffusion.schedules import linear, log_snr_linear
from ancestral.diffusion.variances import beta, beta_tilde
from ancestral.errors import InputError
from ancestral.evaluation.bound_sums import Subsample, chunk_sums, divided
from ancestral.evaluation.evaluate import as_pixels
from ancestral.evaluation.flow_check import add_flow_check, flow_check
from ancestral.evaluation.latent_likelihood import codec_nats, posterior_of, variance_of_steps
from ancestral.evaluation.likelihood import Likelihood, planned
from ancestral.evaluation.pixel_likelihood import LaplaceDecoder
from ancestral.evaluation.settings import LikelihoodSettings
from ancestral.networks.autoencoder import Autoencoder
from ancestral.networks.latents import PlainCodec, VQCodec
from ancestral.oracles import GaussianData, double, eps_process
from ancestral.pipeline import Pipeline
from ancestral.progress import finish
from ancestral.settings import Config, ImageSpec, PlainSettings, VQSettings

DECODER = LaplaceDecoder(scales=(0.1,), num_images=7)
IMAGES = torch.tensor([[200, 230, 180, 215], [0, 0, 90, 30]], dtype=torch.uint8).reshape(2, 1, 2, 2)
"""Of one latent each."""


def images(count: int = 24, size: tuple[int, int] = (4, 6), channels: int = 1) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, *size, channels), dtype=np.uint8)
    return ImageSet(pixels, None, (), None, None, "made up")


def measured(pipeline: Pipeline, of: ImageSet, decoder: LaplaceDecoder = DECODER, **settings: Any) -> Likelihood:
    plan = planned(pipeline, of, LikelihoodSettings.model_validate(settings), decoder)
    return plan.result([plan.sums(chunk) for chunk in range(plan.num_chunks)])


# Against integrals.


def normal(x: Tensor, mean: float, deviation: float) -> Tensor:
    return torch.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))


def four_pixels(z: Tensor, image: Tensor) -> Tensor:
    """P(x|z) of four pixels, as integrals of the Laplace density with scale 0.1 around (z - 2) / 3."""
    total = torch.ones_like(z)
    for level in image.flatten().tolist():
        low, high = (torch.sign(e) * -torch.expm1(-e.abs() / 0.1) / 2 for e in (
            (2 * level + side) / 255 - 1 - (z - 2) / 3 for side in (-1, 1)))  # fmt: skip
        total = total * ((high if level < 255 else 0.5) - (low if level > 0 else -0.5))
    return total


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.4, 1.1), (2.5, 0.2)])
def test_an_evidence_lower_bound_is_the_evidence_and_the_kl_to_the_true_posterior(
    place: int, mean: float, std: float
) -> None:
    """-log P(x) + KL(q(z|x) || p(z|x)), p(z) = N(m, s^2), by sums over z that share no formula with the terms."""
    image, codec = IMAGES[place : place + 1], averaging(1, mean, std)
    z = torch.linspace(-12, 16, 200_001, dtype=torch.float64)
    centre = 2 + 3 * float((image.double() / 127.5 - 1).mean())
    joint, q = normal(z, mean, std) * four_pixels(z, image), normal(z, centre, SPREAD)
    evidence = torch.trapezoid(joint, z)
    wanted = float(torch.trapezoid(q * torch.log((q + 1e-300) / (joint + 1e-300)), z))
    assert wanted > -math.log(evidence), "and never below the evidence"
    # the mean over q by Simpson's rule over its noise
    noise = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    weight = normal(noise, 0, 1) * torch.tensor([1, *[4, 2] * 999, 4, 1]) * 0.009 / 3
    posterior = posterior_of(codec, image)
    draws = (posterior.mean + torch.exp(0.5 * posterior.log_var) * noise[:, None, None, None]).float()
    nats = codec_nats(codec, DECODER, image.expand(2001, -1, -1, -1), posterior, draws)
    found = float((weight * nats.pixels).sum()) + float(nats.kl)
    assert found == pytest.approx(wanted, abs=2e-5)


def test_the_entropy_is_the_mean_of_log_q_over_draws_in_the_units_of_x0() -> None:
    """Trap: the density of the network's own latents beside a prior of standardised ones."""
    codec, noise = averaging(std=0.5), torch.randn(20_000, generator=torch.Generator().manual_seed(0)).double()
    log_q = torch.log(normal(noise * SPREAD / 0.5, 0.0, SPREAD / 0.5))
    posterior = posterior_of(codec, IMAGES)
    found = codec_nats(codec, DECODER, IMAGES, posterior, posterior.mean.float()).posterior
    assert found.tolist() == pytest.approx([float(log_q.mean())] * 2, abs=0.02)


SHORT = log_snr_linear(40, 12.0, -20.0)


@pytest.mark.parametrize(("m", "s"), [(0.0, 1.0), (1.7, 0.3), (-4.0, 25.0)])
def test_posterior_and_bound_are_a_divergence_whatever_the_unit_of_latents(m: float, s: float) -> None:
    """KL(q(z|x) || p(z)) in closed form, of z from N(0.4, 0.5) and N(-0.2, 1.3), of x0 = (z - m) / s: the bound on the
    density of Gaussian data is tight where denoiser and variance are exact, and no unit is left over."""
    q_mean, q_var, p_mean, p_var = 0.4, 0.5, -0.2, 1.3
    wanted = 0.5 * (math.log(p_var / q_var) + (q_var + (q_mean - p_mean) ** 2) / p_var - 1)
    data = GaussianData(SHORT, double((p_mean - m) / s), double(p_var / s**2))
    # quadratic in the draw of z and in the noise of each step: the mean over signs is that over N(0, 1)
    each = oracles.signs(2)
    x0 = (q_mean - m + math.sqrt(q_var) * each[:, :1]) / s
    sample = Subsample(0, 4, 4, 39, 39)
    chain = SHORT.trailing(40)
    walk, process = divided(SHORT, chain, 1), eps_process(SHORT, data.exact)
    sums = chunk_sums(process, data, x0, walk, sample, sample.visits(0, 4), lambda: each[:, 1:], latents_of=3)
    terms = zip(sums.prior, sums.diffusion, sums.reconstruction, strict=True)
    bound = sum(map(sum, terms)) / 4 * 3 * math.log(2)
    entropy = 0.5 * math.log(2 * math.pi * math.e * q_var / s**2)
    assert bound - entropy == pytest.approx(wanted, abs=2e-6)


def test_of_latents_the_steps_have_the_variance_of_smooth_densities() -> None:
    """beta is exact for x0 from N(0, I), and beta_tilde costs 0.6 nats a latent."""
    schedule = linear(1000)
    data = GaussianData(schedule, double(0.0), double(1.0))
    entropy = float(oracles.entropy(data.variance)[0])
    excess = [
        float(oracles.expected_terms(eps_process(schedule, each), data, schedule.trailing(1000)).sum()) - entropy
        for each in (beta, beta_tilde)
    ]
    assert abs(excess[0]) < 1e-4 and excess[1] == pytest.approx(0.6, abs=0.05)


# Of a pipeline.


def test_a_diffusion_model_that_is_the_autoencoder_s_own_prior_saves_nothing() -> None:
    """From pixels to bits, through a network that is exact for N(0, I): the two totals are the same but for noise."""
    at_once = {"compute": {"chunk": 96}}
    result = measured(of_latents((1, 4, 6), changes=at_once), images(96), timesteps=None)
    latents = result.latents
    assert latents is not None and latents.dims == 6 and result.variance == "beta"
    assert abs(latents.gain.value) < 4 * latents.gain.standard_error < 0.2
    assert latents.prior.value + latents.posterior.value == pytest.approx(latents.kl.value, abs=0.2)
    far = measured(of_latents((1, 4, 6), averaging(1, 0.0, 1.1), at_once), images(96), timesteps=3).latents
    assert far is not None and far.kl.value > latents.kl.value + 0.1, "latents of mean 1.3 are not from N(0, I)"


def test_the_terms_add_up_and_survive_a_file() -> None:
    result = measured(of_latents((1, 4, 6)), images(), timesteps=5)
    latents = result.latents
    assert latents is not None
    assert latents.prior.value == sum(each.value for each in (result.prior, result.diffusion, result.reconstruction))
    assert result.total.value == sum(each.value for each in (latents.pixels, latents.posterior, latents.prior))
    assert latents.autoencoder.value == latents.pixels.value + latents.kl.value
    assert latents.gain.value == latents.autoencoder.value - result.total.value
    squares = result.error_from_images**2 + result.error_from_timesteps**2
    assert result.total.standard_error == pytest.approx(math.sqrt(squares))
    assert min(each.standard_error for each in (latents.pixels, latents.prior, latents.kl, latents.gain)) > 0
    assert latents.posterior.standard_error < 1e-9, "every posterior has one spread"
    assert Likelihood.model_validate_json(result.model_dump_json()) == result and latents.decoder == DECODER


def test_bits_are_of_the_pixels_of_the_image_and_not_of_what_was_continued() -> None:
    """Images of 3 x 5 in latents of 2 x 3; and of the same image more channels make no dearer dimension."""
    result = measured(of_latents((1, 3, 5)), images(size=(3, 5)), timesteps=3)
    assert result.dims == 15 and result.latents is not None and result.latents.dims == 6
    codec = averaging()
    of = images(size=(3, 5))
    pixels = as_pixels(of)
    posterior = posterior_of(codec, pixels)
    nats = codec_nats(codec, DECODER, pixels, posterior, posterior.mean.float())
    whole = codec.images(posterior.mean.float())
    by_hand = -DECODER.log_prob(pixels, whole[..., :3, :5]).sum(dim=(1, 2, 3))
    assert whole.shape[-2:] == (4, 6) and nats.pixels.tolist() == by_hand.tolist()
    assert result.latents.kl.value == pytest.approx(float(nats.kl.mean()) / math.log(2) / 15)


def test_the_figures_do_not_depend_on_the_batch_and_do_on_the_seed() -> None:
    """x0 is drawn from the seed of each image."""
    of, changes = images(13), {"compute": {"chunk": 3}}
    one, other = (measured(of_latents((1, 4, 6), changes=each), of, timesteps=4) for each in ({}, changes))
    assert one.total.value == pytest.approx(other.total.value, rel=1e-6)
    assert one.latents and other.latents
    assert one.latents.pixels.value == pytest.approx(other.latents.pixels.value, rel=1e-6)
    again = measured(of_latents((1, 4, 6)), of, timesteps=4, seed=1)
    assert again.latents and again.latents.pixels != one.latents.pixels and again.latents.kl == one.latents.kl


def test_a_draw_and_not_the_mean_is_decoded() -> None:
    """Trap: -log p(x|z) at the mean of q, which flatters it."""
    of, codec = images(24), averaging()
    result = measured(of_latents((1, 4, 6)), of, timesteps=2)
    pixels = as_pixels(of)
    posterior = posterior_of(codec, pixels)
    at_mean = codec_nats(codec, DECODER, pixels, posterior, posterior.mean.float()).pixels.mean() / math.log(2) / 24
    assert result.latents is not None and result.latents.pixels.value > float(at_mean) + 0.05


def test_an_untrained_model_of_latents_is_measured_at_any_variance() -> None:
    """beta, unless another one is asked for or the network has learned its own."""
    diffusion = {"schedule": {"name": "cosine", "num_timesteps": 12}}
    own = {"network": TINY, "sampling": {"steps": 4, "clip": "none"}, "diffusion": diffusion}
    config = Config.model_validate({**own, "compute": {"precision": "float32"}})
    made = answering(Pipeline.fresh(config, ImageSpec(channels=1, height=8, width=8), "cpu", codec=averaging()))
    totals = []
    for asked, used in ((None, "beta"), ("beta", "beta"), ("beta_tilde", "beta_tilde")):
        result = measured(made, images(4, (8, 8)), timesteps=3, variance=asked)
        assert result.variance == used
        totals.append(result.total.value)
    assert totals[0] == totals[1] != totals[2]
    learns = config.diffusion.model_copy(update={"variance": "learned"})
    learned = replace(made, config=config.model_copy(update={"diffusion": learns}))
    assert variance_of_steps(learned, None) is None and variance_of_steps(replace(made, codec=PIXELS), None) is None


def test_what_a_record_belongs_to_names_the_codec_and_its_decoder() -> None:
    of, settings = images(), LikelihoodSettings()
    other = LaplaceDecoder(scales=(0.2,), num_images=7)
    plans = [
        planned(of_latents((1, 4, 6), averaging(1, *statistics)), of, settings, decoder).belongs_to()
        for statistics, decoder in (((1.4, 1.1), DECODER), ((1.4, 1.2), DECODER), ((1.4, 1.1), other))
    ]
    assert plans[0] != plans[1] != plans[2] != plans[0]


def test_what_has_no_density_is_refused_in_one_line() -> None:
    codec, of = averaging(), images(size=(8, 8))
    for kind, settings in ((PlainCodec, PlainSettings), (VQCodec, VQSettings)):
        network = Autoencoder(settings(widths=(2, 2), channels=1, norm_groups=2), 1)
        config = Config.model_validate({"network": TINY, "sampling": {"clip": "none"}})
        made = Pipeline.fresh(
            config, ImageSpec(channels=1, height=8, width=8), "cpu", codec=kind(network, codec.mean, codec.std)
        )
        for work in (
            lambda made=made: planned(made, of, LikelihoodSettings()),
            lambda made=made: finish(flow_check(made, as_pixels(of), NOTHING_TOLD)),
        ):
            with pytest.raises(InputError, match=f"got one of {kind.__name__}'s latents, of which no density") as told:
                work()
            assert "\n" not in str(told.value)
    with pytest.raises(InputError, match="how likely pixels are given latents, got None"):
        planned(of_latents((1, 4, 6)), images(), LikelihoodSettings())


# Under the probability flow.


def test_the_flow_of_an_exact_network_is_its_bound_on_the_density_of_latents() -> None:
    """Both on -log p(z), in bits per dimension of the image; of N(0, I) the flow stands still, and beta is exact."""
    made, of = of_latents((1, 4, 6), changes={"compute": {"chunk": 40}}), images(40)
    result = measured(made, of, timesteps=None)
    checked = finish(add_flow_check(made, of, result, 40, None, steps=40, probes=0)).flow
    assert checked is not None and result.latents is not None
    assert abs(checked.difference.value) < 4 * checked.difference.standard_error + 1e-3
    assert checked.flow.value == pytest.approx(result.latents.prior.value, abs=0.25)


def test_the_flow_check_is_of_draws_of_latents_in_bits_of_pixels() -> None:
    """Grey images whose x0 is from N(0, 1): half of 1 + log 2 pi each, of which the mean of q(z|x) would miss the 1."""
    codec = averaging(1, 1.4, SPREAD)
    made = of_latents((1, 4, 6), codec, {"compute": {"chunk": 40}})
    grey = torch.full((40, 1, 4, 6), 102, dtype=torch.uint8)
    assert posterior_of(codec, grey).mean.abs().max() < 1e-5
    checked = finish(flow_check(made, grey, NOTHING_TOLD, 20, 0))
    assert checked.flow.value == pytest.approx(0.5 * (1 + math.log(2 * math.pi)) * 6 / 24 / math.log(2), abs=0.06)
