"""What is trained: its networks and how each is updated, the losses of a batch, and what is kept of the averages.

The loop, its steps, engines, checkpoints and logs serve any task and know none. Each network follows losses of its own
by an optimiser of its own; all gradients of a step are of the weights before it, and a step is taken by all networks or
by none. So a discriminator is one more `Trainable`, whose losses call the other network.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ancestral.compute import Choices
from ancestral.data.imageset import ImageSet
from ancestral.data.latents import LatentRows
from ancestral.data.loader import Batch
from ancestral.processes import Processes
from ancestral.settings import AnyConfig, ImageSpec, NetworkSettings, TrainingSettings
from ancestral.tensors import PerImage, Pixels
from ancestral.text_reader import TextReader
from ancestral.training.randomness import Randomness, randomness_of
from ancestral.training.run import RunFolder

Network = Callable[..., Tensor]
LossesOf = Callable[[Network, Batch, Randomness], tuple[PerImage, PerImage]]
"""(what to call in place of the network, some images of a batch, their randomness) -> the loss of each image with its
graph, and its weight. Every other network of the task is held fixed meanwhile: gradients reach this one alone."""


@dataclass(frozen=True)
class Trainable:
    """A network that is trained.

    `settings`: its optimiser, learning rate, clipping and average. `warm_up`: losses of so many made-up images, for
    what a backward pass leaves behind. `fresh`: another such network on the CPU; None: it is never held by rows.
    `name`, which the first network has none of, stands before the names of its tensors and of its losses in the log.
    """

    network: nn.Module
    settings: TrainingSettings
    losses: LossesOf
    warm_up: Callable[[Network, int], PerImage]
    fresh: Callable[[], nn.Module] | None = None
    name: str = ""


@runtime_checkable
class Task(Protocol):
    """Something to train. `config.own_training` has the budget, the batch size and when what is written; `seed` is that
    of all that is random; `num_timesteps` is 1 where there is no time to tell the losses of a log apart by."""

    config: AnyConfig
    seed: int
    spec: ImageSpec
    compute: Choices
    device: torch.device
    modules: tuple[Trainable, ...]
    num_timesteps: int = 1
    tokenizer: TextReader | None = None  # of the captions that its networks are told; None: they are told none
    network_settings: NetworkSettings | None = None  # what a machine is tuned for; None: a network of one's own
    latents: LatentRows | None = None  # of the images, encoded beforehand; None: batches are of pixels

    @abstractmethod
    def with_compute(self, choices: Choices) -> "Task":
        """The same task, computed so."""

    def fitted(self, images: ImageSet, say: Callable[[str], None], processes: Processes) -> Choices:
        """How it is computed on this machine, of whose memory is said what does not fit."""
        return self.compute

    def randomness(self, step: int) -> Randomness:
        """That of a step, for its whole batch."""
        settings, shape = self.config.training, self.spec.shape
        return randomness_of(settings, self.seed, step, shape, self.num_timesteps, self.device, None)

    def before(self, step: int, fraction: float) -> None:
        """Is told which step comes, and the share of the budget that is used, 0..1, in all processes alike."""
        return

    def after(self, random: Randomness, losses: PerImage, taken: Tensor, processes: Processes) -> None:
        """Is told the losses (B,) of the first network of a step, and whether it was taken, () bool, in all processes
        alike."""
        return

    def record(self) -> Mapping[str, Any]:
        """What a line of the log has beside the losses, since this was last asked."""
        return {}

    def tensors(self) -> Mapping[str, Mapping[str, Tensor]]:
        """What a resume needs beside networks and optimisers, by file."""
        return {}

    def restore(self, tensors: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Back to where `tensors` was taken."""
        return

    def grid(self, average: nn.Module, images: ImageSet) -> Pixels | None:
        """What the log shows of the averaged first network; all processes together. `images`: those trained on."""
        return None

    def save(self, averages: Sequence[nn.Module], run: RunFolder) -> None:
        """Writes what is kept of the averaged networks beside checkpoints."""
        return

    def mend(self, averages: Sequence[nn.Module], run: RunFolder) -> str | None:
        """Writes it where it is not what was saved last, and says so."""
        return None
