"""Samples of an autoencoder's own prior, beside those of a diffusion model from the same draws."""

import numpy as np
import pytest
import torch
from latent_pipelines import averaging, of_latents

from ancestral.codec import PIXELS
from ancestral.errors import InputError
from ancestral.evaluation.prior_samples import prior_picture, prior_samples
from ancestral.tensors import to_pixels
from ancestral.viz.pictures import grid


def test_what_is_decoded_is_standard_normal_in_x0_and_not_in_the_network_s_latents() -> None:
    """Trap: N(0, I) handed to the network as it is, whose latents have a mean of 1.4 and a deviation of 0.5. Of pixels
    (z - 2) / 3 that is a mean of -0.2 and a deviation of 0.17."""
    made = prior_samples(averaging(1, 1.4, 0.5), range(300), (1, 5, 7)).double() / 127.5 - 1
    assert made.shape == (300, 1, 5, 7), "cut to the size of the image"
    assert float(made.mean()) == pytest.approx(-0.2, abs=0.01) and float(made.std()) == pytest.approx(0.5 / 3, abs=0.01)


def test_a_seed_makes_one_image_whatever_else_is_made() -> None:
    codec = averaging()
    many = prior_samples(codec, range(100), (1, 4, 4))
    assert torch.equal(prior_samples(codec, [70], (1, 4, 4)), many[70:71]) and len(many.unique(dim=0)) > 90


def test_the_draws_are_those_that_a_chain_begins_with() -> None:
    made = of_latents((1, 4, 6))
    first = next(made.steps([3, 4])).x_t
    assert torch.equal(prior_samples(made.codec, [3, 4], (1, 4, 6)), to_pixels(made.codec.images(first)))  # type: ignore[attr-defined]


def test_the_picture_has_three_rows() -> None:
    made, real = of_latents((1, 3, 5)), torch.full((4, 1, 3, 5), 80, dtype=torch.uint8)
    picture = prior_picture(made, real, seed=5)
    seeds, names = range(5, 9), ["z from N(0, I)", "z from diffusion", "real images"]
    rows = [prior_samples(made.codec, seeds, (1, 3, 5)), made.generate(seeds)[..., :3, :5], real]
    assert np.array_equal(np.asarray(picture), np.asarray(grid(torch.cat(rows), 4, labels=names)))
    assert not torch.equal(rows[0], rows[1])


def test_what_has_no_prior_is_refused() -> None:
    with pytest.raises(InputError, match="expected a kl autoencoder to sample from, got PixelCodec"):
        prior_samples(PIXELS, [0], (1, 4, 4))
