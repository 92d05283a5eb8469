"""What a sampler remembers: which predictions it looks back at, and that a walk gives it those and no others.

A multistep sampler of order n puts a polynomial through n predictions, so x_s moves with each of the n - 1 before the
newest and with none beyond; a sampler that looks ahead remembers nothing. A walk gives a step the predictions of the
steps right before it, as they were made; one that goes back up has begun anew, and what was before it is no past.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import log_snr_linear
from ancestral.editing.from_image import from_image
from ancestral.editing.inpaint import Rounds, inpaint
from ancestral.oracles import eps_process, normal, two_hills
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.loop import Step, sample
from ancestral.sampling.samplers import DDIM, Noise, Sampler
from ancestral.selftest.checks import Check, apart
from ancestral.selftest.samplers import KINDS

TABLE = log_snr_linear(60, 6.0, -6.0)
BEFORE = (60, 51, 47, 38)
"""Timesteps of four predictions before a step from 30 to 19, no two of them equally far apart."""
KEPT = 4
"""Predictions that a walk keeps, at the most."""


def looks_back(sampler: Sampler) -> int:
    """At how many predictions before the newest: of one network call a step, one fewer than its order."""
    return sampler.order - 1 if sampler.calls == 1 else 0


def looked_at(kind: str, device: torch.device) -> float:
    """How many of four predictions before a step a sampler wrongly uses, or leaves unused."""
    sampler, x, kick = KINDS[kind](TABLE), normal(2, 2, device=device), normal(3, 2, 2, device=device)[-1]
    hills, (t, s) = two_hills(TABLE, device), torch.tensor([30, 19])
    past = [hills(normal(4 + i, 2, 2, device=device)[-1], torch.tensor(before)) for i, before in enumerate(BEFORE)]

    def arrives(past: Sequence[Prediction]) -> Tensor:
        return sampler.step(hills, x, t, s, past, lambda: kick)[0]

    moved = [apart(arrives(with_another(past, i)), arrives(past)) > 1e-9 for i in range(len(past))]
    wanted = [i >= len(past) - looks_back(sampler) for i in range(len(past))]
    return float(sum(found != right for found, right in zip(moved, wanted, strict=True)))


def with_another(past: Sequence[Prediction], i: int) -> list[Prediction]:
    """The predictions, the i-th a little different."""
    changed = past[i]._replace(x0=past[i].x0 + 0.1, eps=past[i].eps - 0.1)
    return [*past[:i], changed, *past[i + 1 :]]


@dataclass(frozen=True)
class Witness(DDIM):
    """DDIM that counts the steps whose past is not what was predicted on the way since the walk last began."""

    since: list[Prediction] = field(default_factory=list)
    wrong: list[int] = field(default_factory=list)

    def step(
        self, denoise: Denoiser, x_t: Tensor, t: Tensor, s: Tensor, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Tensor, Prediction]:
        """As DDIM."""
        if self.since and t >= self.since[-1].t:
            self.since.clear()
        kept = self.since[-KEPT:]
        same = len(past) == len(kept) and all(mine is theirs for mine, theirs in zip(past, kept, strict=True))
        self.wrong.append(int(not same))
        x_s, prediction = super().step(denoise, x_t, t, s, past, noise)
        self.since.append(prediction)
        return x_s, prediction


SamplingLoop = Callable[[Denoiser, Sampler, Tensor], Iterator[Step]]


def plain(denoise: Denoiser, sampler: Sampler, x: Tensor) -> Iterator[Step]:
    """Sampling in nine steps."""
    return sample(denoise, sampler, x, TABLE.trailing(9), lambda: x)


def started(denoise: Denoiser, sampler: Sampler, x: Tensor) -> Iterator[Step]:
    """From an image."""
    return from_image(denoise, sampler, TABLE, x, TABLE.trailing(9), lambda: x)


def resampled(rounds: Rounds, denoise: Denoiser, sampler: Sampler, x: Tensor) -> Iterator[Step]:
    """Inpainting of nothing, with jumps back."""
    process = eps_process(TABLE)
    nothing = torch.zeros(x.shape[1:], dtype=torch.bool)
    return inpaint(denoise, sampler, process, 0 * x, nothing, x, TABLE.trailing(9), lambda: 0.3 * x, rounds)


WALKS: dict[str, SamplingLoop] = {
    "sampling": plain,
    "from an image": started,
    **{f"inpainting, {count} times {jump}": partial(resampled, Rounds(count, jump))
       for count, jump in ((1, 1), (3, 1), (2, 3), (2, 9))},
}  # fmt: skip


def given(walk: SamplingLoop, device: torch.device) -> float:
    """How many steps of a walk are given a past that is not the predictions since it last began."""
    witness, hills = Witness(TABLE), two_hills(TABLE, device)
    steps = list(walk(hills, witness, normal(2, 2, device=device)))
    return float(sum(witness.wrong)) if len(witness.wrong) == len(steps) > 8 else float("nan")


def anew(kind: str, device: torch.device) -> float:
    """After a jump back, what a fresh chain makes of the same x_t: nothing of before is left in it."""
    hills, process = two_hills(TABLE, device), eps_process(TABLE)
    sampler, x, kick = KINDS[kind](TABLE), normal(2, 2, device=device), normal(3, 2, 2, device=device)[-1]
    grid, nothing = torch.tensor([60, 41, 37, 22, 13, 0]), torch.zeros(2, dtype=torch.bool)
    walk = [*inpaint(hills, sampler, process, x, nothing, x, grid, lambda: kick, Rounds(2, 4))]
    kept = (TABLE.alpha_bar[60] / TABLE.alpha_bar[13]).to(x)
    above = kept.sqrt() * walk[3].x_s + (1 - kept).sqrt() * kick
    wanted = sample(hills, sampler, above, grid[:-1], lambda: kick)
    return apart(torch.stack([step.x_s for step in walk[4:8]]), torch.stack([step.x_s for step in wanted]))


CHECKS = (
    *(Check(f"{kind}: looks back as far as its order asks", 0, partial(looked_at, kind))
      for kind in KINDS),
    *(Check(f"{name}: the past is that since the last start", 0, partial(given, walk)) for name, walk in WALKS.items()),
    *(Check(f"{kind}: after a jump back as if begun there", 1e-12, partial(anew, kind)) for kind in KINDS),
)  # fmt: skip
