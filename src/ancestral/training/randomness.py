"""The randomness of a step: a function of (seed, step), and with importance sampling of the recent losses."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ancestral.condition import Augmentation
from ancestral.diffusion import timesteps
from ancestral.diffusion.timesteps import RecentLosses, SampledTimesteps
from ancestral.rng import generator
from ancestral.settings import TrainingSettings
from ancestral.tensors import sent
from ancestral.training.augmentation import KINDS, drawn


class Randomness(NamedTuple):
    """That of the whole batch of a step, on the device; each process takes its slice."""

    times: SampledTimesteps  # (B,) each
    eps: Tensor  # (B, C, H, W), drawn on the device: no copy of it has to be sent
    hidden: Tensor  # (B,) bool: whether the network is told nothing of the image
    codec_noise: Callable[[], Tensor] | None = None  # draws for a codec that draws x0, as eps; None: x0 is its mean
    augmentation: Augmentation | None = None  # (B, A), how each image is changed; None: no image is

    def rows(self, part: slice) -> "Randomness":
        times, draw = SampledTimesteps(*(each[part] for each in self.times)), self.codec_noise
        vectors = None if self.augmentation is None else self.augmentation[part]
        return Randomness(times, self.eps[part], self.hidden[part], draw and (lambda: draw()[part]), vectors)


def randomness_of(
    settings: TrainingSettings,
    seed: int,
    step: int,
    shape: Sequence[int],
    num_timesteps: int,
    device: torch.device,
    recent: RecentLosses | None,
    density: Tensor | None = None,
    image: tuple[int, int, int] | None = None,
) -> Randomness:
    """That of a step, for images of `shape` (C, H, W); `recent`: losses to sample the timesteps by, or `density`, p_t,
    (T,); None: as `settings.timesteps` says. `image`: the shape of images that may be augmented; None: none is."""
    size, T = settings.batch_size, num_timesteps
    t_generator, hidden_generator = (generator(seed, name, step) for name in ("t", "label-dropout"))
    eps_generator = generator(seed, "eps", step, device=device)
    if settings.timesteps == "uniform":
        t = torch.randint(1, T + 1, (size,), generator=t_generator)
        times = SampledTimesteps(t, torch.ones(size, dtype=torch.float64), timesteps.independent(size, t_generator))
    elif density is not None:
        times = timesteps.around(density, timesteps.stratified(size, t_generator), settings.timesteps_corrected)
    else:
        probabilities = timesteps.even(T) if recent is None else recent.probabilities()
        times = timesteps.sample_timesteps(probabilities, timesteps.stratified(size, t_generator))
    hidden = torch.rand(size, generator=hidden_generator) < settings.label_dropout
    eps = torch.randn(size, *shape, generator=eps_generator, device=device)

    def codec_noise() -> Tensor:
        return torch.randn(size, *shape, generator=generator(seed, "codec", step, device=device), device=device)

    times = SampledTimesteps(*(sent(each, device) for each in times))
    vectors = None
    if settings.augment and image is not None:
        kinds = settings.augment_by or KINDS
        vectors = sent(drawn(image, size, settings.augment, kinds, generator(seed, "augmentation", step)), device)
    return Randomness(times, eps, sent(hidden, device), codec_noise, vectors)
