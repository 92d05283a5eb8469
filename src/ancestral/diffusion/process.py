"""The forward process, its tractable posterior, and the reverse step a network defines.

Forward, one step and, by adding independent Gaussians along the way, any number of them (Ho et al. 2020, eq. 2, 4):

    q(x_t | x_s) = N(sqrt(alpha_bar_t / alpha_bar_s) x_s, beta(t, s) I),  s < t                (1)
    q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, (1 - alpha_bar_t) I)                               (2)

Backward, by Bayes' rule q(x_s | x_t, x_0) ~ q(x_t | x_s) q(x_s | x_0) (the chain is Markov, so x_0 drops out of the
first factor). The exponent is quadratic in x_s; completing the square,

    q(x_s | x_t, x_0) = N(mu_tilde, beta_tilde(t, s) I)                                        (3)
    mu_tilde = [ sqrt(alpha_bar_s) beta(t, s) x_0 + sqrt(alpha_bar_t / alpha_bar_s) (1 - alpha_bar_s) x_t ]
               / (1 - alpha_bar_t)

Reverse: the network's output gives an estimate of x_0, and p(x_s | x_t) is (3) at that estimate, with a variance of
its own. With s = t - 1 and x_0 = (x_t - sigma_t eps) / alpha_t the mean is (x_t - beta_t / sigma_t eps) / sqrt(1 -
beta_t).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from ancestral.diffusion.level import Level, Noised
from ancestral.diffusion.parameterization import Parameterization
from ancestral.diffusion.parameterization import Prediction as Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.diffusion.variances import Variance
from ancestral.gaussian import DiagonalGaussian
from ancestral.tensors import Data, Timesteps, broadcast_like

NetworkTime = Literal["index", "thousandths", "log-snr", "flow", "sit"]


@dataclass(frozen=True)
class GaussianDiffusion:
    """A schedule, the meaning of the network's output, and the variance of a reverse step."""

    schedule: Schedule
    parameterization: Parameterization
    variance: Variance
    time: NetworkTime = "index"  # what the network is told of time

    @property
    def num_timesteps(self) -> int:
        return self.schedule.num_timesteps

    def q_marginal(self, x0: Data, t: Timesteps) -> DiagonalGaussian:
        """q(x_t | x_0) (2), 0 <= t <= T; a point mass at t = 0."""
        return DiagonalGaussian(
            self.schedule.alpha(t, x0) * x0, broadcast_like((1 - self.schedule.alpha_bar_at(t)).log(), x0)
        )

    def q_sample(self, x0: Data, t: Timesteps, eps: Data) -> Data:
        """x_t = alpha_t x_0 + sigma_t eps: the jump to any t, (B, ...)."""
        return self.noised(x0, t, eps).x_t

    def noised(self, x0: Data, t: Timesteps, eps: Data) -> Noised:
        """`q_sample` with what it was made from."""
        return Noised.at(self.schedule.level(t), x0, eps)

    def q_step(self, x_s: Data, t: Timesteps, s: Timesteps) -> DiagonalGaussian:
        """q(x_t | x_s) (1) for any s < t. By the Markov property it is also q(x_t | x_s, x_0)."""
        beta = self.schedule.beta(t, s)
        return DiagonalGaussian(broadcast_like((1 - beta).sqrt(), x_s) * x_s, broadcast_like(beta.log(), x_s))

    def forward_chain(self, x0: Data, noise: Callable[[], Data]) -> Iterator[Data]:
        """x_1, x_2, ..., x_T, one step (1) at a time; `noise()` gives each step's N(0, I)."""
        x = x0
        for t in range(1, self.num_timesteps + 1):
            x = self.q_step(x, torch.tensor(t), torch.tensor(t - 1)).sample(noise())
            yield x

    def q_posterior(self, x0: Data, x_t: Data, t: Timesteps, s: Timesteps) -> DiagonalGaussian:
        """q(x_s | x_t, x_0) (3) for any s < t (Ho et al. 2020, eq. 6-7, where s = t - 1); at s = 0 a point mass at x0.

        `x_t` is `x0`, (B, ...), at timestep t; t and s are () or (B,) int64, 0 <= s < t <= T.
        """
        from_x0, from_x_t = self.posterior_factors(t, s)
        mean = broadcast_like(from_x0, x_t) * x0 + broadcast_like(from_x_t, x_t) * x_t
        return DiagonalGaussian(mean, broadcast_like(self.schedule.beta_tilde(t, s).log(), x_t))

    def posterior_factors(self, t: Timesteps, s: Timesteps) -> tuple[Float64[Tensor, "..."], Float64[Tensor, "..."]]:
        """Factors of x_0 and of x_t in the mean of (3)."""
        alpha_bar_at, variance = self.schedule.alpha_bar_at, 1 - self.schedule.alpha_bar_at(t)
        from_x0 = alpha_bar_at(s).sqrt() * self.schedule.beta(t, s) / variance
        return from_x0, (alpha_bar_at(t) / alpha_bar_at(s)).sqrt() * (1 - alpha_bar_at(s)) / variance

    def p_posterior(self, prediction: Prediction, x_t: Data, t: Timesteps, s: Timesteps) -> DiagonalGaussian:
        """p(x_s | x_t) for any s < t: (3) at the predicted x0, with the variance of this process."""
        mean = self.q_posterior(prediction.x0, x_t, t, s).mean
        return DiagonalGaussian(mean, self.variance(self.schedule, t, s, prediction))

    def target(self, noised: Noised) -> Data:
        """What the network should answer at x_t, (B, ...)."""
        return self.parameterization.target(noised.x0, noised.eps, *noised.level.over(noised.x0))

    def decode(self, output: Data, x_t: Data, t: Timesteps) -> Prediction:
        """The network's output at x_t as (x0, eps), t >= 1, and what more it says."""
        mean, variance_coeff = self.split_output(output, x_t)
        x0, eps, levels = self.parameterization.predict(mean, x_t, *self.schedule.level(t).over(x_t))
        return Prediction(t, x0, eps, variance_coeff, levels)

    def split_output(self, output: Data, x_t: Data) -> tuple[Data, Data | None]:
        """(what the parameterisation means, the variance coefficient or None), in this order along axis 1."""
        channels, given = x_t.shape[1], output.shape[1]
        means = channels * self.parameterization.channels
        if given == means:
            return output, None
        if given != means + channels:
            raise ValueError(
                f"expected {means} or {means + channels} output channels for {channels} of data, got {given}"
            )
        return output[:, :means], output[:, means:]

    def ask(self, network: Callable[..., Data], x_t: Data, level: Level, *condition: Any) -> Data:
        """The network's output at x_t, in the way that the network was trained.

        One of flow matching elsewhere is given the point of the straight path, z = x_t / (alpha + sigma). By that of
        SiT (Ma et al. 2024) time runs from noise to image, and so does the velocity.
        """
        if self.time in ("index", "thousandths", "log-snr"):
            return network(x_t, self.network_time(level, x_t), *condition)
        output = network(x_t / sum(level.over(x_t)), self.network_time(level, x_t), *condition)
        return -output if self.time == "sit" else output

    def network_time(self, level: Level, x_t: Data) -> Tensor:
        """What the network is told of a level, (B,) float32: the index t - 1 of published weights, or 1000 / T of it;
        the log-SNR, scaled; 1000 tau, tau = sigma / (alpha + sigma); or 1 - tau."""
        tau = level.sigma / (level.alpha + level.sigma)
        of = {
            "index": lambda: level.t - 1,
            "thousandths": lambda: (level.t - 1) * (1000 / self.num_timesteps),
            "log-snr": lambda: time_of_log_snr(level.log_snr),
            "flow": lambda: 1000 * tau,
            "sit": lambda: 1 - tau,
        }
        return of[self.time]().to(x_t.device, torch.float32).expand(x_t.shape[0])


def time_of_log_snr(log_snr: Float64[Tensor, "..."]) -> Float64[Tensor, "..."]:
    """A log-SNR on the scale that time embeddings are made for: 20 is 0 and -20 is 1000, growing with the noise.

    Below -40, as where no signal is left, it is told as -40: x_t is noise to the last digit.
    """
    return 25 * (20 - log_snr.clamp(min=-40))
