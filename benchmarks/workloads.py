"""The networks that are compared, each with the images and the batch it is compared at."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ancestral.data.imageset import ImageSet
from ancestral.pipeline import Pipeline
from ancestral.presets import cifar10, ddpm_cifar10, digits, mnist, teaching
from ancestral.settings import Config, DiTSettings, ImageSpec
from ancestral.tensors import from_pixels

IMAGES = 512
"""Random images that batches are taken from."""


@dataclass(frozen=True)
class Workload:
    """A recipe at a shape and a batch size. The recipe's budget plays no part."""

    name: str
    config: Config
    spec: ImageSpec

    @property
    def batch_size(self) -> int:
        """Images of a step."""
        return self.config.training.batch_size

    def pipeline(self) -> Pipeline:
        """A fresh pipeline whose last layers are not zero, so that outputs can be compared."""
        pipeline = Pipeline.fresh(self.config, self.spec)
        draws = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in (p for p in pipeline.network.parameters() if p.ndim > 1 and not p.any()):
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=draws))
        return pipeline

    def images(self) -> ImageSet:
        """Random images of the workload's shape, with labels where it has classes."""
        channels, height, width = self.spec.shape
        draws, names = np.random.default_rng(0), self.spec.class_names
        pixels = draws.integers(0, 256, (max(IMAGES, self.batch_size), height, width, channels), dtype=np.uint8)
        labels = draws.integers(0, len(names), len(pixels)) if names else None
        return ImageSet(pixels, labels, names, None, None, self.name)

    def batch(self) -> Tensor:
        """(B, C, H, W) float32 in [-1, 1], channels first in memory, as the peers' loaders hand it over."""
        pixels = torch.from_numpy(self.images().images[: self.batch_size])
        return from_pixels(pixels).permute(0, 3, 1, 2).contiguous()


def paper(quick: bool) -> Workload:
    """The DDPM paper's CIFAR-10 network at batch 16."""
    changes = {"widths": (32, 64), "layers": 1} if quick else {}
    return _workload("the paper's CIFAR-10 network", ddpm_cifar10(), (3, 32, 32), 16, quick, network=changes)


def teaching_shape(quick: bool) -> Workload:
    """Our network at the teaching network's widths, layers and attention levels, at its batch of 64."""
    return _workload("the teaching network's shape", teaching(), (1, 28, 28), 64, quick)


def small(quick: bool) -> Workload:
    """The recipe for small images, without classes, which diffusers' pipelines do not draw by."""
    return _workload("the mnist recipe", mnist(), (1, 28, 28), 64, quick)


def smallest(quick: bool) -> Workload:
    """The recipe whose step is shortest."""
    return _workload("the digits recipe", digits(), (1, 8, 8), 64, quick)


def transformer(quick: bool) -> Workload:
    """A transformer of 9.7 million parameters on 256 patches of 2x2 pixels, without classes, by Adam."""
    network = DiTSettings(width=256, layers=1 if quick else 8, heads=4)
    config = cifar10()
    training = config.training.model_copy(update={"optimizer": "adam", "lr": 6e-4})
    config = config.model_copy(update={"network": network, "training": training})
    return _workload("a transformer at 32x32", config, (3, 32, 32), 32, quick)


WORKLOADS: dict[str, Callable[[bool], Workload]] = {
    "paper": paper,
    "teaching": teaching_shape,
    "small": small,
    "smallest": smallest,
    "transformer": transformer,
}


def _workload(
    name: str,
    config: Config,
    shape: tuple[int, int, int],
    batch_size: int,
    quick: bool,
    network: dict[str, object] | None = None,
) -> Workload:
    """`config` at a batch size; where quick, on images of 8 pixels, two at a time."""
    channels, height, width = (shape[0], 8, 8) if quick else shape
    tree = config.model_dump()
    tree["training"] |= {"batch_size": 2 if quick else batch_size}
    tree["network"] |= network or {}
    spec = ImageSpec(channels=channels, height=height, width=width)
    return Workload(name, Config.model_validate(tree), spec)
