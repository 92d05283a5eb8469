"""A chain that becomes another after some steps: the same state, and from there another future.

Every step goes from t to s, whatever led to x_t. So a chain may go on from (x_t, t) by another sampler, another
denoiser or other noise, along the same timesteps. Another sampler or denoiser begins anew there, as at the start of a
chain: the polynomial of a multistep sampler would take for a trend what changed at once. Where only the noise is
another, earlier predictions are remembered: they led to x_t all the same.

The noise of other seeds is what chains of these seeds would draw from there on, so that the same seeds change nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ancestral.diffusion.process import Prediction
from ancestral.sampling.denoiser import Denoiser
from ancestral.sampling.loop import Chain
from ancestral.sampling.samplers import Noise, Sampler
from ancestral.tensors import Data, Timesteps


def branched(chain: Chain, then: Chain, step: int) -> Chain:
    """`chain` for so many steps, fewer than it has, and then by the denoiser, the sampler and the noise of `then`.

    Which of these are the very same objects in both stay as they are.
    """
    return chain._replace(sampler=Branched(chain, then, int(chain.timesteps[step])))


@dataclass(frozen=True)
class Branched(Sampler):
    """Steps of one chain down to the timestep `at`, and those of another from there."""

    chain: Chain
    then: Chain
    at: int

    def step(
        self, denoise: Denoiser, x_t: Data, t: Timesteps, s: Timesteps, past: Sequence[Prediction], noise: Noise
    ) -> tuple[Data, Prediction]:
        if t > self.at:
            return self.chain.sampler.step(denoise, x_t, t, s, past, self._noise)
        goes_on = self.then.denoise is self.chain.denoise and self.then.sampler is self.chain.sampler
        known = past if goes_on else [each for each in past if each.t <= self.at]
        return self.then.sampler.step(self.then.denoise, x_t, t, s, known, self.then.noise)

    def _noise(self) -> Data:
        """The next draw; other seeds draw theirs, which nobody sees."""
        if self.then.noise is not self.chain.noise:
            self.then.noise()
        return self.chain.noise()
