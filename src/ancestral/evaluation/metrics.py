"""Distances between two sets of feature vectors, float64, with error bars. Nothing here knows of images.

Fréchet distance of the fitted Gaussians (Heusel et al. 2017, arXiv:1706.08500):

    d² = |m₁ - m₂|² + tr C₁ + tr C₂ - 2 tr (√C₁ C₂ √C₁)^½                                                    (1)

The last trace is the sum of the singular values of √C₁ √C₂: since A Aᵀ = √C₁ C₂ √C₁ for A = √C₁ √C₂, the roots of
the eigenvalues of the one are the singular values of the other, and no root of a rounding error is taken when a
covariance is singular. It is biased upwards by about 1/N: compare it only at equal numbers of images.

Kernel distance (Bińkowski et al. 2018, arXiv:1801.01401): the unbiased estimate of the squared maximum mean
discrepancy with k(x, y) = (x·y / D + 1)³,

    d = Σ_{i≠j} k(a_i, a_j) / n(n-1) + Σ_{i≠j} k(b_i, b_j) / m(m-1) - 2 Σ_{i,j} k(a_i, b_j) / nm             (2)

which is zero on average, and so at times negative, when both sets follow one law.

Error bars of (1) and (2) are jackknives: leave out each of g groups in turn and take (g - 1)/g Σ_j (d_j - mean d)²,
added over the two sets. It does not fall short in the mean (Efron & Stein 1981); between sets of one law it is too
large by up to about √2, since nothing is left there but the second-order term, which it counts twice.

Precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991), density and coverage (Naeem et al. 2020,
arXiv:2002.09797) count images inside the balls that reach from each image of a set to its k-th neighbour in that set.

Is it copied? A held-out image was never trained on, so its distance to the nearest training image is what a new image
of this kind has. Generated images that lie much nearer are copies. The measure is in pixels, or in any features.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float64, Int64, Shaped
from torch import Tensor

from ancestral.errors import InputError
from ancestral.evaluation.settings import GROUPS, LEAST_IMAGES

Features = Float64[Tensor, "N D"]  # one row per image
Others = Float64[Tensor, "M D"]  # the other set: its own number of rows, the same columns
Moments = tuple[Float64[Tensor, "D"], Float64[Tensor, "D D"]]  # mean and covariance
Vectors = Shaped[Tensor, "N ..."]  # images or features, one per row; uint8 or floating point
CHUNK = 1024
SEARCHED = 2048  # images at once, where the nearest is looked for
# features to a vector above which the Fréchet distance has no error bar: 20 roots of 2048 x 2048 matrices take longer
# than all the rest
WIDEST_JACKKNIFE = 256
LEAST_TO_JUDGE = 50  # images of a set, below which no distance and no count of balls says anything


def few_images(*counts: int, width: int = 0) -> str:
    """Why sets of so many images are too few to judge by in features of this width; "" where they are not."""
    if min(counts) >= max(LEAST_TO_JUDGE, width):
        return ""
    limit = f"the {width} features" if width > LEAST_TO_JUDGE else f"{LEAST_TO_JUDGE}"
    return f"{' against '.join(f'{count:,}' for count in counts)} images are too few, fewer than {limit}"


class Estimate(NamedTuple):
    """A number and its standard error; None where none is estimated."""

    value: float
    standard_error: float | None


class Neighbourhood(NamedTuple):
    """The four counts of balls, each a share of one set of images except density, which may exceed 1."""

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


class Nearest(NamedTuple):
    """For each query, which reference is nearest, and how far in L2."""

    indices: Int64[Tensor, "N"]
    distance: Float64[Tensor, "N"]


class Memorisation(NamedTuple):
    """How near generated images lie to the training images, against how near held-out images lie.

    ratio: median distance of generated over that of held-out images: about 1 for new images, far below 1 for copies.
        None where held-out images are themselves copies of training images, so that nothing can be told.
    near: the 1st percentile of the distances of held-out images.
    nearer: share of generated images no farther than that; 0.01 is to be expected.
    """

    generated_median: float
    held_out_median: float
    ratio: float | None
    near: float
    nearer: float


def mean_estimate(values: Float64[Tensor, "N"] | Bool[Tensor, "N"]) -> Estimate:
    """Mean over images, with its standard error; of a single image there is none."""
    values = values.double()
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else None
    return Estimate(float(values.mean()), error)


def frechet_distance(a: Features, b: Others) -> float:
    """Fréchet distance (1) of the Gaussians fitted to the rows of `a` and `b`; it is squared, as is usual."""
    return gaussian_frechet(_moments(a), _moments(b))


def gaussian_frechet(one: Moments, other: Moments) -> float:
    """Fréchet distance (1) of two Gaussians. Either covariance may be singular."""
    (mean1, cov1), (mean2, cov2) = one, other
    overlap = torch.linalg.svdvals(_root(cov1) @ _root(cov2)).sum()
    return float((mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * overlap)


class Jackknife(NamedTuple):
    """A statistic of two sets, and what it is with each group of the first, and of the second, left out."""

    value: float
    without_a: tuple[float, ...]
    without_b: tuple[float, ...]

    @property
    def error(self) -> float:
        """Standard error."""
        return _jackknife_error(*(torch.tensor(each, dtype=torch.float64) for each in self[1:]))

    def minus(self, other: "Jackknife") -> "Jackknife":
        """The difference of two: what both sets of images had in common, seeds or test images, cancels in its error."""
        apart = (tuple(x - y for x, y in zip(*pair, strict=True)) for pair in zip(self[1:], other[1:], strict=True))
        return Jackknife(self.value - other.value, *apart)


def frechet_estimate(a: Features, b: Others) -> Estimate:
    """Fréchet distance (1) with its standard error, where images are enough for one and features not too many."""
    if min(len(a), len(b)) < LEAST_IMAGES or a.shape[1] > WIDEST_JACKKNIFE:
        return Estimate(frechet_distance(a, b), None)
    found = frechet_jackknife(a, b)
    return Estimate(found.value, found.error)


def frechet_jackknife(a: Features, b: Others) -> Jackknife:
    """Fréchet distance (1) with each of `GROUPS` interleaved groups of either set left out in turn."""
    of_a, of_b = _moments(a), _moments(b)
    without_a = (gaussian_frechet(_moments(part), of_b) for part in _each_left_out(a))
    without_b = (gaussian_frechet(of_a, _moments(part)) for part in _each_left_out(b))
    return Jackknife(gaussian_frechet(of_a, of_b), tuple(without_a), tuple(without_b))


def kernel_distance(a: Features, b: Others) -> Estimate:
    """Kernel distance (2), with the error bar of a jackknife that leaves out each image in turn.

    Cost: n² + m² + nm kernel values, in chunks; the jackknife takes them from the sums of rows.
    """
    n, m = len(a), len(b)
    if min(n, m) < 3:
        raise InputError(f"expected at least 3 images on each side of a kernel distance, got {n} and {m}; add images")
    own_a, own_b = _kernel_sums(a, a) - _kernel(a, a), _kernel_sums(b, b) - _kernel(b, b)
    a_to_b, b_to_a = _kernel_sums(a, b), _kernel_sums(b, a)
    within_a, within_b, across = own_a.sum(), own_b.sum(), a_to_b.sum()

    value = within_a / (n * (n - 1)) + within_b / (m * (m - 1)) - 2 * across / (n * m)
    without_a = (within_a - 2 * own_a) / ((n - 1) * (n - 2)) - 2 * (across - a_to_b) / ((n - 1) * m)
    without_b = (within_b - 2 * own_b) / ((m - 1) * (m - 2)) - 2 * (across - b_to_a) / ((m - 1) * n)
    return Estimate(float(value), _jackknife_error(without_a, without_b))


def neighbourhood(real: Features, generated: Others, k: int = 5) -> Neighbourhood:
    """Precision, recall, density and coverage of `generated` against `real`, with balls that reach the k-th neighbour.

    Precision: share of generated images in some real ball. Recall: share of real images in some generated ball.
    Density: real balls around a generated image, over k. Coverage: share of real balls with a generated image inside.
    Balls are closed for the first two and open for the last two, as in the papers' own programs, so that a set against
    itself scores 1 in all four. The error bars take the balls as given: they are those of a mean over the images that
    are counted.
    """
    if min(len(real), len(generated)) <= k:
        raise InputError(f"expected more than k = {k} images on each side, got {len(real)} and {len(generated)}")
    real_radii, generated_radii = _radii(real, k), _radii(generated, k)
    precise, dense = [], []
    recalled, covered = torch.zeros(2, len(real), dtype=torch.bool)
    for part, radii in zip(torch.split(generated, CHUNK), torch.split(generated_radii, CHUNK), strict=True):
        distances = _distances(part, real)
        precise.append((distances <= real_radii).any(dim=1))
        dense.append((distances < real_radii).double().sum(dim=1) / k)
        recalled |= (distances <= radii[:, None]).any(dim=0)
        covered |= (distances < real_radii).any(dim=0)
    return Neighbourhood(*(mean_estimate(each) for each in (torch.cat(precise), recalled, torch.cat(dense), covered)))


def nearest(queries: Vectors, references: Shaped[Tensor, "M ..."]) -> Nearest:
    """The nearest reference of each query. Searched in float32, then measured in float64: a copy is at exactly 0."""
    if not len(references):
        raise InputError("expected at least one training image to compare with, got none")
    indices = torch.cat([_search(part.flatten(1).float(), references) for part in torch.split(queries, SEARCHED)])
    parts = zip(torch.split(queries, SEARCHED), torch.split(indices, SEARCHED), strict=True)
    apart = (part.flatten(1).double() - references[found].flatten(1).double() for part, found in parts)
    return Nearest(indices, torch.cat([each.norm(dim=1) for each in apart]))


def memorisation(generated: Float64[Tensor, "N"], held_out: Float64[Tensor, "M"]) -> Memorisation:
    """Distances to the nearest training image, of generated and of held-out images, in four numbers."""
    if not len(generated) or not len(held_out):
        raise InputError(f"expected generated and held-out images, got {len(generated)} and {len(held_out)}")
    generated_median, held_out_median = float(generated.quantile(0.5)), float(held_out.quantile(0.5))
    ratio = generated_median / held_out_median if held_out_median else None
    near = float(held_out.quantile(0.01))
    nearer = float((generated <= near).double().mean())
    return Memorisation(generated_median, held_out_median, ratio, near, nearer)


def _moments(x: Features) -> Moments:
    """Mean and unbiased covariance of the rows."""
    if len(x) < 2:
        raise InputError(f"expected at least 2 images to fit a Gaussian to, got {len(x)}; add images")
    mean = x.mean(dim=0)
    centred = x - mean
    return mean, centred.T @ centred / (len(x) - 1)


def _root(covariance: Float64[Tensor, "D D"]) -> Float64[Tensor, "D D"]:
    """Symmetric square root; eigenvalues that are zero up to rounding count as zero."""
    values, vectors = torch.linalg.eigh(covariance)
    rounding = len(values) * torch.finfo(values.dtype).eps * values.abs().max()
    return (vectors * torch.where(values > rounding, values, 0).sqrt()) @ vectors.T


def _each_left_out(x: Features) -> list[Float64[Tensor, "R D"]]:
    """`x` without each of its interleaved groups of rows."""
    member = torch.arange(len(x)) % GROUPS
    return [x[member != group] for group in range(GROUPS)]


def _jackknife_error(*without: Float64[Tensor, "..."]) -> float:
    """Standard error from the values of a statistic with each group left out, one tensor for each set."""
    variances = [(len(values) - 1) * values.var(correction=0) for values in without]
    return math.sqrt(float(sum(variances, torch.zeros((), dtype=torch.float64))))


def _kernel(x: Features, y: Features) -> Float64[Tensor, "N"]:
    """Cubic polynomial kernel of each row of `x` with the same row of `y`."""
    return ((x * y).sum(dim=1) / x.shape[1] + 1) ** 3


def _kernel_sums(x: Features, y: Others) -> Float64[Tensor, "N"]:
    """For each row of `x`, the kernel summed over every row of `y`."""
    return torch.cat([((part @ y.T / x.shape[1] + 1) ** 3).sum(dim=1) for part in torch.split(x, CHUNK)])


def _distances(x: Features, y: Others) -> Float64[Tensor, "N M"]:
    """L2 distances by differences: a copy is at distance exactly 0, which |x|² + |y|² - 2 x·y does not give."""
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _radii(x: Features, k: int) -> Float64[Tensor, "N"]:
    """Distance of each row to its k-th neighbour among the others (the nearest of k + 1 is itself)."""
    return torch.cat([_distances(part, x).kthvalue(k + 1, dim=1).values for part in torch.split(x, CHUNK)])


def _search(queries: Shaped[Tensor, "N D"], references: Shaped[Tensor, "M ..."]) -> Int64[Tensor, "N"]:
    """Index of the nearest reference, by |r|² - 2 q·r over chunks of references, so that memory stays bounded."""
    best = torch.full((len(queries),), torch.inf)
    index = torch.zeros(len(queries), dtype=torch.int64)
    origin = queries.mean(dim=0)  # distances do not depend on it, rounding does
    for start in range(0, len(references), SEARCHED):
        part = references[start : start + SEARCHED].flatten(1).float() - origin
        found = (part.square().sum(dim=1) - 2 * (queries - origin) @ part.T).min(dim=1)
        index = torch.where(found.values < best, start + found.indices, index)
        best = torch.minimum(best, found.values)
    return index
