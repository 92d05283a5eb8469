r"""The likelihood of images under a diffusion model of latents, in three terms.

A variational autoencoder says how likely an image x is given latents z, p(x|z), and which latents it has, q(z|x); the
diffusion model is p(z). By Jensen's inequality, and with the bound of diffusion/likelihood.py on the last term
(Vahdat et al. 2021, LSGM),

    -log P(x) = -log E_q [ p(x|z) p(z) / q(z|x) ]
             <= E_q [ -log p(x|z) ] + E_q [ log q(z|x) ] + E_q [ -log p(z) ]                                     (1)
             <= E_q [ -log p(x|z) ] + E_q [ log q(z|x) ] + E_q [ L_T + sum L_(t,s) + L_0 ],   z = x_0 ~ q(z|x)   (2)

x is whole numbers, so p(x|z) is a probability (pixel_likelihood.py), and (2) as a whole is nats that an image takes:
never below 0. Latents are real numbers: the two other terms are of densities, and each may have any sign.
With z from N(mu, sigma^2), element by element, the second is the negative entropy,

    E_q [ log q(z|x) ] = -sum ( log sigma + 1/2 log 2 pi e )                                                     (3)

and L_0 = E -log p(x_0 | x_t), of the last step t of the chain, usually 1, is that of the density N(x_0_hat, v),

    L_0 = E sum ( (x_0 - x_0_hat)^2 / (2 v) + 1/2 log 2 pi v )                                                   (4)

with no bin to be integrated over. It falls without limit with v where x_0 can be told exactly; that is no gain, since a
q(z|x) as narrow makes (3) rise by as much.

Densities depend on the unit of z. Here it is that of x_0 = (z - m) / s throughout, for q(z|x) as for p(z): densities of
x_0 are those of z times s, the logs of the two differ by the same log s, and (2) does not change.

**v.** Where little noise is left, any density of x_0 that is smooth on the scale of that noise makes x_0 given x_t
N(x_t / alpha_t, (1 - alpha_bar_t) / alpha_bar_t), whatever else it is: all but the v of `beta`, beta(t, 0) =
1 - alpha_bar_t. Draws from q(z|x) with sigma well above sqrt(1 - alpha_bar_1) have such a density. The v of
`beta_tilde`, made for data at points such as pixels, is about half of that, and the steps before are alike: on data
N(0, I), of which `beta` is exact, it costs 0.6 nats a latent with `linear`, T = 1000. So of latents the variance of the
steps is `beta`, unless another one is asked for or the network has learned its own.

**The autoencoder alone** has p(z) = N(0, I), and

    -log P(x) <= E_q [ -log p(x|z) ] + KL( q(z|x) || N(0, I) )                                                   (5)

the evidence lower bound, which it is trained on with kl_weight 1. N(0, I) is that of x_0: over all images and draws,
standardised latents have mean 0 and deviation 1 in each channel, so no normal distribution of independent elements,
those of a channel alike, has a lower KL. That of the network's own z, before it was standardised, would be worse. (5)
less (2) is what the diffusion model knows of latents that N(0, I) does not.
"""

import math
from typing import NamedTuple

from ancestral.codec import Codec, PixelCodec
from ancestral.errors import InputError
from ancestral.evaluation.pixel_likelihood import LaplaceDecoder
from ancestral.gaussian import DiagonalGaussian
from ancestral.networks.autoencoder import Latents
from ancestral.networks.latents import KLCodec, cropped
from ancestral.pipeline import Pipeline
from ancestral.settings import ReverseVariance
from ancestral.tensors import PerImage, Pixels
from ancestral.training.codec_losses import kl_nats


class CodecNats(NamedTuple):
    """What images take beside the bound on -log p(z): nats of each, (B,) float64."""

    pixels: PerImage  # -log p(x|z), at one draw of z
    posterior: PerImage  # log q(z|x), its mean over z (3)
    kl: PerImage  # KL(q(z|x) || N(0, I)), of (5)


def codec_nats(
    codec: KLCodec, decoder: LaplaceDecoder, pixels: Pixels, posterior: DiagonalGaussian, x0: Latents
) -> CodecNats:
    """The terms of (2) and (5) that the codec alone decides.

    Args:
        posterior: q(z|x), of x0.
        x0: a draw from it.
    """
    likely = decoder.log_prob(pixels, cropped(codec.images(x0), pixels.shape[2:]))
    entropy = 0.5 * (posterior.log_var + math.log(2 * math.pi * math.e))
    return CodecNats(-likely.flatten(1).sum(1), -entropy.flatten(1).sum(1), kl_nats(posterior))


def posterior_of(codec: KLCodec, pixels: Pixels) -> DiagonalGaussian:
    """q(z|x) of images, of x0, float64."""
    mean, std = (each.double() for each in codec.moments(pixels))
    return DiagonalGaussian(mean, 2 * std.log())


def check_likelihood(codec: Codec) -> None:
    """Raises InputError unless there are bits per dimension of images under a diffusion model of this codec's x0."""
    if not isinstance(codec, PixelCodec | KLCodec):
        raise InputError(
            "expected a pipeline of pixels or of a kl autoencoder's latents for bits per dimension, got one of "
            f"{type(codec).__name__}'s latents, of which no density is known, so that no image has a probability; "
            "train on pixels, or with a kl autoencoder"
        )


def variance_of_steps(pipeline: Pipeline, asked: ReverseVariance | None) -> ReverseVariance | None:
    """The variance that a bound is measured with: the one that is asked for, else the pipeline's own (None), but of
    latents `beta` unless the network has learned its own: see the header."""
    latents = isinstance(pipeline.codec, KLCodec)
    return "beta" if asked is None and latents and pipeline.config.diffusion.variance != "learned" else asked
