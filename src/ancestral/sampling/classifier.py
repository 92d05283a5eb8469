"""Classifier guidance: a classifier of noisy images pulls the prediction towards a class (Dhariwal and Nichol 2021).

By Bayes' rule q(x_t | y) ~ q(x_t) p(y | x_t), so the scores add; a score is -eps / sigma_t, and x_t = alpha x_0 + sigma
eps:

    eps = eps - scale sigma_t grad log p(y | x_t)                                                   (1)
    x_0 = x_0 + scale (sigma_t^2 / alpha_t) grad log p(y | x_t)                                         (2)

At scale 1 and with the true p(y | x_t) this is the conditional prediction. p must have been trained at the noise of
each t: the gradient of a classifier of clean images is, at high noise, about nothing that the image shows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ancestral.diffusion.parameterization import Prediction
from ancestral.diffusion.schedules import Schedule
from ancestral.sampling.denoiser import Denoiser
from ancestral.tensors import Data, PerImage, Timesteps

LogProb = Callable[[Data, Timesteps], PerImage]
"""(x_t (B, ...), t () int64) -> log p(y | x_t) of each image's own bound y, nats, (B,): differentiable in x_t."""


@dataclass(frozen=True)
class ClassifierGuided:
    """A prediction moved by (1) and (2). One call of each network, and a backward pass through the classifier alone.

    Where the schedule leaves no signal, nothing can be told of a class: the prediction is left as it is.
    """

    denoise: Denoiser
    schedule: Schedule
    log_prob: LogProb
    scale: float = 1.0

    def __call__(self, x_t: Data, t: Timesteps) -> Prediction:
        prediction = self.denoise(x_t, t)
        if self.schedule.alpha_bar_at(t) == 0:
            return prediction
        alpha, sigma = self.schedule.alpha(t, x_t), self.schedule.sigma(t, x_t)
        pull = self.scale * sigma * gradient(self.log_prob, x_t, t)
        return Prediction(t, prediction.x0 + sigma / alpha * pull, prediction.eps - pull, prediction.variance_coeff)


def gradient(log_prob: LogProb, x_t: Data, t: Timesteps) -> Data:
    """grad of log_prob at x_t, (B, ...); under `torch.inference_mode` as well.

    Raises:
        ValueError: a log_prob that is not differentiable.
    """
    with torch.inference_mode(False), torch.enable_grad():
        x = x_t.detach().clone().requires_grad_()
        total = log_prob(x, t).sum()
        if not total.requires_grad:
            raise ValueError(
                "expected a log_prob that depends on x_t with gradients, got one without; take no_grad off"
            )
        return torch.autograd.grad(total, x)[0]
