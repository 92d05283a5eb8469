"""`python -m benchmarks.orders`: the order of every sampler, measured on data whose distributions are known.

The measurement is the self-test's, see `ancestral.selftest.orders`; here it is a table. Two forms that are commonly
published are measured beside: 3M with half its second difference, and iPNDM with the weights of equal steps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ancestral.diffusion.parameterization import Prediction
from ancestral.sampling import samplers
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.samplers.base import Noise, Sampler
from ancestral.sampling.samplers.exponential import along_rho, level, moment
from ancestral.sampling.samplers.multistep import Multistep
from ancestral.selftest.orders import ALL, CPU, TABLE, along, flow_error, hills_error, law_error, order
from ancestral.tensors import Data, Timesteps

HALVINGS = (16, 32, 64, 128, 256, 512)


def main() -> int:
    """Prints the tables in Markdown."""
    print("| sampler | calls a step | noise | grid | claimed order | measured: Gaussian | measured: mixture |")
    print("|---|---|---|---|---|---|---|")
    ours = [(name, make(TABLE)) for name, make in ALL.items()]
    for name, sampler in (*sorted(ours, key=lambda each: each[1].order), *PUBLISHED.items()):
        print(row(name, sampler, *measured(sampler)), flush=True)
    print("\n| steps | 3M: error | order | commonly published form: error | order |\n|---|---|---|---|---|")
    both = samplers.DPMSolverMultistep(TABLE, order=3), Published3M(TABLE)
    errors = [[hills_error(sampler, steps, CPU) for sampler in both] for steps in HALVINGS]
    for steps, coarse, fine in zip(HALVINGS[1:], errors, errors[1:], strict=False):
        cells = (f"{after:.1e} | {math.log2(before / after):.2f}" for before, after in zip(coarse, fine, strict=True))
        print(f"| {steps} | " + " | ".join(cells) + " |", flush=True)
    return 0


def measured(sampler: Sampler) -> list[float]:
    """Its order on Gaussian data and, where it draws no noise, on a mixture."""
    errors = [partial(law_error, along)] if sampler.stochastic else [flow_error, hills_error]
    return [order(error, sampler) for error in errors]


def row(name: str, sampler: Sampler, gaussian: float, mixture: float | None = None) -> str:
    """One line of the table."""
    noise = "yes" if sampler.stochastic else "no"
    facts = f"| {name} | {sampler.calls} | {noise} | {sampler.grid} | {sampler.order} "
    return f"{facts}| {gaussian:.2f} | {'' if mixture is None else f'{mixture:.2f}'} |"


@dataclass(frozen=True)
class Published3M(Multistep):
    """3M with the second divided difference in place of the second derivative, its double: second order."""

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """As every multistep sampler, by three predictions."""
        prediction = denoise(x_t, t)
        known = [prediction, *reversed(past)][:3]
        if len(known) == 3 and s > 0:
            return self.follow(x_t, t, s, known), prediction
        return samplers.DPMSolverMultistep(self.schedule).step(denoise, x_t, t, s, past, noise)

    def follow(self, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        """x_s with the last difference halved."""
        start, end = level(self.schedule, t), level(self.schedule, s)
        h = end.log_ratio - start.log_ratio
        at = [level(self.schedule, each.t).log_ratio for each in known]
        near = (known[0].x0 - known[1].x0) / (at[0] - at[1])
        far = (known[1].x0 - known[2].x0) / (at[1] - at[2])
        second = (near - far) / (at[0] - at[2])
        slope = near + (at[0] - at[1]) * second
        curve = moment(-h, 0) * known[0].x0 + h * moment(-h, 1) * slope + 0.5 * h**2 * moment(-h, 2) * second
        return end.sigma / start.sigma * x_t + end.alpha * h * curve


@dataclass(frozen=True)
class EqualSteps4(Multistep):
    """iPNDM with the fourth-order weights of equal steps on any grid: second order, or first where steps alternate."""

    grid = "karras"

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        """By four predictions, which it must be given."""
        prediction = denoise(x_t, t)
        return self.follow(x_t, t, s, [prediction, *reversed(past)][:4]), prediction

    def follow(self, x_t: Data, t: Timesteps, s: Timesteps, known: Sequence[Prediction]) -> Data:
        """x_s by (55, -59, 37, -9) / 24."""
        now, one, two, three = (each.eps for each in known)
        return along_rho(self.schedule, x_t, t, s, (55 * now - 59 * one + 37 * two - 9 * three) / 24)


PUBLISHED: dict[str, Sampler] = {
    "3M as commonly published": Published3M(TABLE),
    "iPNDM-4, equal weights": EqualSteps4(TABLE),
}


if __name__ == "__main__":
    raise SystemExit(main())
