"""A codebook: each latent vector becomes the nearest of K codes (van den Oord et al. 2017, section 3 and appendix A.1).

    q(z) = e_k,   k = argmin_j |z - e_j|^2                                                                          (1)

Backwards the gradient goes through (1) as if it were not there, and the encoder is held to its codes by a loss of
|z - e_k|^2, in which e_k is fixed. The codes follow what is encoded to them without a gradient: with m_k vectors of the
batch, of sum v_k, nearest to code k,

    n_k <- d n_k + (1 - d) m_k,   s_k <- d s_k + (1 - d) v_k,   e_k = s_k / n^_k                                    (2)
    n^_k = N (n_k + epsilon) / (N + K epsilon),   N the sum of all n                                                (3)

A code that nothing is near to never moves again. So the codes start as the means of clusters of what is encoded, and
one whose n falls far below an even share, N / K, starts anew at a random vector, with that share: were its sum or its
count kept, (2) would carry it back at the next step.

Several processes see different vectors: sums and counts are added over all of them, and each draws some of the vectors
at which codes start, so that their codebooks stay equal.
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ancestral.processes import lost_if_broken

EPSILON = 1e-5
CLUSTERINGS = 10
"""Times that the means of clusters are computed at the start."""
LEAST = 0.03
"""Of an even share, the count below which a code is started anew."""
MOST_DISTANCES = 2**24
"""Distances that are in memory at once."""
LatentVectors = Float[Tensor, "N D"]


class Quantized(NamedTuple):
    latents: Float[Tensor, "B D h w"]  # the codes, float32; their gradient is that of what was quantised
    indices: Int64[Tensor, "B h w"]
    commitment: Float[Tensor, "B"]  # squared distance to the codes, summed over an image's latents


class Codebook(nn.Module):
    """The codes, (K, D): no parameter, since no gradient moves them."""

    weight: Tensor

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(codes, width).uniform_(-1 / codes, 1 / codes))


class Quantizer(nn.Module):
    """Makes codes of latents (B, D, h, w). What (2) keeps is state beside the codes and goes with a checkpoint."""

    counts: Tensor  # n, (K,)
    sums: Tensor  # s, (K, D)

    def __init__(self, codes: int, width: int, decay: float) -> None:
        super().__init__()
        self.decay = decay
        self.embedding = Codebook(codes, width)
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", self.embedding.weight.clone())

    def forward(self, z: Float[Tensor, "B D h w"]) -> Quantized:
        """In float32 whatever surrounds it: a code in bfloat16 is another vector, and may be nearer to another code."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            indices = self.indices(z)
            codes = self.codes(indices)
            commitment = (z - codes).square().flatten(1).sum(dim=1)
            return Quantized(codes + (z - z.detach()), indices, commitment)  # codes + 0 is the codes to the bit

    @torch.no_grad()
    def indices(self, z: Float[Tensor, "B D h w"]) -> Int64[Tensor, "B h w"]:
        """Of the nearest code (1) at every place."""
        return self._nearest(vectors_of(z.float())).reshape(z.shape[0], *z.shape[2:])

    def codes(self, indices: Int64[Tensor, "B h w"]) -> Float[Tensor, "B D h w"]:
        """The codes of indices."""
        return self.embedding.weight[indices].permute(0, 3, 1, 2)

    @torch.no_grad()
    def update(self, z: Float[Tensor, "B D h w"], indices: Int64[Tensor, "B h w"]) -> None:
        """Moves the codes by (2) towards the z that they are nearest to; all processes together."""
        counts, sums = self._gathered(vectors_of(z.float()), indices.flatten())
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        total = self.counts.sum()
        smoothed = (self.counts + EPSILON) / (total + len(self.counts) * EPSILON) * total
        self.embedding.weight.copy_(self.sums / smoothed[:, None])

    @torch.no_grad()
    def start(self, z: Float[Tensor, "B D h w"], draws: torch.Generator) -> None:
        """Makes the codes the means of clusters of z (Lloyd 1982); all processes together, with the same `draws`, which
        are on the CPU. A code whose cluster is empty stays where it is."""
        vectors = vectors_of(z.float())
        self.embedding.weight.copy_(_drawn(vectors, len(self.counts), draws))
        for _ in range(CLUSTERINGS):
            counts, sums = self._gathered(vectors, self._nearest(vectors))
            means = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], self.embedding.weight)
            self.embedding.weight.copy_(means)
        self.counts.copy_(counts.clamp(min=1))
        self.sums.copy_(self.embedding.weight * self.counts[:, None])

    @torch.no_grad()
    def revive(self, z: Float[Tensor, "B D h w"], draws: torch.Generator) -> Tensor:
        """Starts codes anew at vectors of z whose count is below `LEAST` of an even share, and says, (K,) bool, which;
        all processes together, with the same `draws`, which are on the CPU."""
        share = self.counts.mean()
        dead = self.counts < LEAST * share
        fresh = _drawn(vectors_of(z.float()), len(dead), draws)
        self.embedding.weight.copy_(torch.where(dead[:, None], fresh, self.embedding.weight))
        self.sums.copy_(torch.where(dead[:, None], fresh * share, self.sums))
        self.counts.copy_(torch.where(dead, share, self.counts))
        return dead

    @torch.no_grad()
    def take(self, codes: Float[Tensor, "K D"]) -> None:
        """Makes these the codes, as if each had been met once."""
        self.embedding.weight.copy_(codes)
        self.sums.copy_(codes)
        self.counts.fill_(1)

    def _nearest(self, vectors: LatentVectors) -> Int64[Tensor, "N"]:
        codes = self.embedding.weight
        lengths, rows = codes.square().sum(dim=1), max(1, MOST_DISTANCES // len(codes))
        # a trace holds for any number of vectors where it does not cut them
        traced = torch._C._get_tracing_state() is not None
        parts = [vectors] if traced else torch.split(vectors, rows)
        return torch.cat([(lengths - 2 * part @ codes.T).argmin(dim=1) for part in parts])

    def _gathered(
        self, vectors: LatentVectors, indices: Int64[Tensor, "N"]
    ) -> tuple[Float[Tensor, "K"], Float[Tensor, "K D"]]:
        """m and v of (2), over all processes."""
        both = vectors.new_zeros(len(self.counts), vectors.shape[1] + 1)
        both.index_add_(0, indices, torch.cat([torch.ones_like(vectors[:, :1]), vectors], dim=1))
        summed = _summed(both)
        return summed[:, 0], summed[:, 1:]


def vectors_of(z: Float[Tensor, "B D h w"]) -> LatentVectors:
    """The vectors of latents, image after image, row after row: (B h w, D)."""
    return z.permute(0, 2, 3, 1).flatten(0, -2)


def _drawn(vectors: LatentVectors, count: int, draws: torch.Generator) -> Float[Tensor, "K D"]:
    """So many of the vectors, different ones while there are any, the same on each process, every one of which gives
    some."""
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    order = torch.randperm(len(vectors), generator=draws)[torch.arange(count) % len(vectors)]
    mine = (torch.arange(count) % world == rank).to(vectors.device)
    return _summed(torch.where(mine[:, None], vectors[order.to(vectors.device)], 0))


def _summed(tensor: Tensor) -> Tensor:
    """The sum over all processes, together."""
    if dist.is_initialized():
        with lost_if_broken():
            dist.all_reduce(tensor)
    return tensor
