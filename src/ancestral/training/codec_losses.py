r"""What an autoencoder is trained by, in nats, with every sum stated; and what is weighed against it.

An image x of D numbers, D = C H W, its reconstruction y, its latents z. With a Laplace distribution of scale b_c for
each channel, and a posterior q(z|x) = N(mu, exp(v)) beside the prior N(0, I), in nats of a whole image:

    -log p(x|z) = sum_{c,h,w} |x - y| / b_c + log(2 b_c)                                                             (1)
    KL(q(z|x) || N(0, I)) = 1/2 sum_{c,h,w} mu^2 + exp(v) - 1 - v                                                    (2)

Both are sums over an image, so (1) + (2) is the negative evidence lower bound, and `kl_weight` counts nats of one in
nats of the other. Everything is divided by D at the end, nats per number of the image, and averaged over the batch.

The scale of greatest likelihood has a closed form, b_c = mean |x - y|, and is taken from the recent steps: were it that
of the batch, the gradient would depend on how a batch is cut into parts and dealt to processes, and held-out images
would be given a scale that has seen them. It is no parameter, which some optimiser might forget.

What is not in nats is weighed by its gradient at the decoder's last weight W: a weight of w gives a term P the factor

    w |d(1)/dW| / (|dP/dW| + 1e-4),   at most 1e4,                                                                   (3)

in float32 and never differentiated (Esser et al. 2021, eq. 7), norms being means over the recent steps too.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from ancestral.gaussian import BIN_WIDTH, DiagonalGaussian
from ancestral.rng import generator
from ancestral.tensors import Images, PerImage

LEAST_SCALE = BIN_WIDTH / 2  # of the Laplace distribution: half of what the pixels themselves are rounded to
DECAY = 0.99  # of what is averaged over the recent steps
MOST_FACTOR, NO_GRADIENT = 1e4, 1e-4  # of (3)

SCALES = 3  # at which images are compared, each half as large as the one before
LEAST_SIDE = 8  # px of an image at the smallest scale

Scores = Float[Tensor, "B h w"]


def laplace_nats(x: Images, reconstruction: Images, scale: Float[Tensor, "C"]) -> PerImage:
    """(1), the sum over each image."""
    scale = scale.to(x)[:, None, None]
    return ((x - reconstruction).abs() / scale + torch.log(2 * scale)).flatten(1).sum(1)


def kl_nats(posterior: DiagonalGaussian) -> PerImage:
    """(2), the sum over each image."""
    zero = torch.zeros(())
    return posterior.kl(DiagonalGaussian(zero, zero)).flatten(1).sum(1)


def hinge(real: Scores, made: Scores) -> PerImage:
    """What a discriminator is trained by: real patches above 1, made ones below -1 (Lim and Ye 2017)."""
    return (F.relu(1 - real) + F.relu(1 + made)).flatten(1).mean(1) / 2


def unlikely(made: Scores) -> PerImage:
    """How little its patches seem real: what an autoencoder lowers."""
    return -made.flatten(1).mean(1)


@dataclass(frozen=True)
class RecentMeans:
    """Means of some numbers over about the last hundred steps, float64; of a number of which nothing was seen, 0."""

    sums: Float[Tensor, "n"]
    counts: Float[Tensor, "n"]  # what `sums` are to be divided by

    @classmethod
    def none(cls, count: int, device: torch.device | str = "cpu") -> "RecentMeans":
        zeros = torch.zeros(count, dtype=torch.float64, device=device)
        return cls(zeros, zeros.clone())

    def after(self, values: Float[Tensor, "n"], seen: Bool[Tensor, "..."]) -> "RecentMeans":
        """With those of one more step, where `seen`, () or (n,) bool."""
        sums = DECAY * self.sums + (1 - DECAY) * values
        counts = DECAY * self.counts + (1 - DECAY)
        return RecentMeans(torch.where(seen, sums, self.sums), torch.where(seen, counts, self.counts))

    @property
    def means(self) -> Float[Tensor, "n"]:
        return self.sums / self.counts.clamp(min=(1 - DECAY) / 2)


def laplace_scale(errors: RecentMeans) -> Float[Tensor, "C"]:
    """b_c of (1) by the recent |x - y| of each channel; 1 while nothing was seen."""
    return torch.where(errors.counts > 0, errors.means, 1.0).clamp(min=LEAST_SCALE)


def factors(norms: RecentMeans) -> Float[Tensor, "n"]:
    """(3) for w = 1 by the recent norms of gradients, that of the reconstruction first, whose own is 1; 0 for a term of
    which nothing was seen."""
    means = norms.means
    found = (means[0] / (means + NO_GRADIENT)).clamp(max=MOST_FACTOR)
    found = torch.where(norms.counts > 0, found, 0.0)
    found[0] = 1.0
    return found


def last_weight_gradient(
    features: Float[Tensor, "B D H W"], gradient: Images, weight: Float[Tensor, "C D k k"]
) -> Float[Tensor, "C D k k"]:
    """The gradient at the last weight, float32, by that at what it made of `features`: no network is gone through."""
    padding = weight.shape[-1] // 2
    with torch.autocast(features.device.type, enabled=False):
        x, dy = features.detach().float(), gradient.float()
        at_weight: Tensor = conv2d_weight(x, weight.shape, dy, padding=padding)  # type: ignore[no-untyped-call]
    return at_weight


class ImageGradients(nn.Module):
    """A distance of images by the differences of neighbouring pixels at several scales: edges count, flats do not."""

    def forward(self, x: Images, y: Images) -> PerImage:
        """The mean distance of all differences, (B,), float32."""
        d, found = x.float() - y.float(), list[PerImage]()
        for _ in range(SCALES):
            down, across = d[..., 1:, :] - d[..., :-1, :], d[..., 1:] - d[..., :-1]
            found.append((down.abs().flatten(1).mean(1) + across.abs().flatten(1).mean(1)) / 2)
            if min(d.shape[-2:]) < 2 * LEAST_SIDE:
                break
            d = F.avg_pool2d(d, 2)
        return torch.stack(found).mean(0)


class RandomFilters(nn.Module):
    """A distance of images by random filters at several scales, which are drawn from a seed and never trained.

    Compared is how much each filter answers around a place, whether it answers light on dark or dark on light, and not
    where exactly. So a texture that was blurred is farther than one that is sharp and a little out of place, which the
    reconstruction has the other way round. Filters that were learned on a million photographs do the same (Zhang et al.
    2018), and random ones hardly worse: it is a distance of the distributions of patches (Amir and Weiss 2021).
    """

    WIDTH = 24
    SIDE = 5  # px of a filter

    def __init__(self, image_channels: int, seed: int) -> None:
        super().__init__()
        draws = generator(seed, "perceptual filters")
        drawn = torch.randn(SCALES, self.WIDTH, image_channels, self.SIDE, self.SIDE, generator=draws)
        drawn = drawn - drawn.mean(dim=(3, 4), keepdim=True)  # brightness is none of its matter
        self.filters = nn.Buffer(drawn / drawn.flatten(2).norm(dim=2)[:, :, None, None, None])

    def forward(self, x: Images, y: Images) -> PerImage:
        """The mean distance of all answers, (B,), float32."""
        both, found = torch.cat([x.float(), y.float()]), list[PerImage]()
        with torch.autocast(x.device.type, enabled=False):
            for filters in self.filters:
                answers = F.relu(F.conv2d(both, filters, padding=self.SIDE // 2))
                around = F.avg_pool2d(answers, 4, stride=2, padding=1, ceil_mode=True)
                a, b = around.chunk(2)
                found.append((a - b).abs().flatten(1).mean(1))
                if min(both.shape[-2:]) < 2 * LEAST_SIDE:
                    break
                both = F.avg_pool2d(both, 2)
        return torch.stack(found).mean(0)
