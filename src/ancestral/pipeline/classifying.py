"""A classifier of noisy images, bound to the process whose noise it knows; and the file that keeps it.

It is trained by `ancestral.training.noisy_classifier` and guides a pipeline that has it as `classify`. The file is
safetensors, with JSON in its metadata: the settings of the network, shape and classes of the images, the table of the
noise schedule, the accuracies, and a digest of the tensors. A file for other images, noise or classes is refused.
"""

import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Float64
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional as F

from ancestral.diffusion.process import GaussianDiffusion, NetworkTime
from ancestral.errors import InputError, NonFinite
from ancestral.files import check_regular, json_object
from ancestral.networks.classifier import Classifier
from ancestral.networks.weights import first_not_finite, weights_hash, write_tensors
from ancestral.sampling.guidance import LogProb
from ancestral.settings import ImageSpec, Settings, UNetSettings, parse
from ancestral.tensors import Images, Labels, PerImage, Timesteps

CLASSIFIER_FILE = "classifier.safetensors"  # where a run keeps its own
KEY = "classifier"  # of the file's metadata


class Accuracy(Settings):
    """What a classifier tells at one level of noise."""

    timestep: int
    log_snr: float
    share: float  # of held-out images whose class it tells rightly


class Description(Settings):
    """All that a file says of its tensors."""

    network: UNetSettings
    images: ImageSpec
    alpha_bar: tuple[float, ...]
    time: NetworkTime
    accuracies: tuple[Accuracy, ...]
    num_held_out: int
    digest: str


@dataclass(frozen=True)
class NoisyClassifier:
    """p(class | x_t) at every t of a process. Called with labels, it is the log-probability of each image's own.

    `spec` is of x0. `accuracies` are those at some levels of noise, of `num_held_out` images that it was not trained
    on; empty before they are measured, and where there are no such images.
    """

    network: Classifier
    spec: ImageSpec
    diffusion: GaussianDiffusion
    accuracies: tuple[Accuracy, ...] = ()
    num_held_out: int = 0

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.spec.class_names

    @property
    def digest(self) -> str:
        return weights_hash(self.network)

    def __call__(self, labels: Labels) -> LogProb:
        """log p(label | x_t), differentiable in x_t; `labels` (B,) in 0..classes - 1."""
        return partial(self.log_prob, labels)

    def log_prob(self, labels: Labels, x_t: Images, t: Timesteps) -> PerImage:
        """log p(label | x_t) of each image, (B,) nats; t is () or (B,)."""
        return -F.cross_entropy(self.scores(x_t, t), labels, reduction="none")

    def scores(self, x_t: Images, t: Timesteps) -> Float[Tensor, "B classes"]:
        """log p(class | x_t) but for a constant of each image, in float32 at least."""
        scores = self.network(x_t, self.diffusion.network_time(self.diffusion.schedule.level(t), x_t))
        return scores.to(torch.promote_types(scores.dtype, torch.float32))

    def to(self, device: torch.device) -> "NoisyClassifier":
        """The same on a device, with weights of its own there."""
        return replace(self, network=copy.deepcopy(self.network).to(device))

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all."""
        said = Description(
            network=self.network.settings,
            images=self.spec,
            alpha_bar=tuple(self.diffusion.schedule.alpha_bar.tolist()),
            time=self.diffusion.time,
            accuracies=self.accuracies,
            num_held_out=self.num_held_out,
            digest=self.digest,
        )
        write_tensors(path, self.network.state_dict(), {KEY: said.model_dump_json()})


def load_classifier(
    path: Path, spec: ImageSpec, diffusion: GaussianDiffusion, device: torch.device | str = "cpu"
) -> NoisyClassifier:
    """The classifier in a file, for this noise and the images of `spec`, and for its classes where it has any."""
    said, tensors = _read(path)
    fits = {
        f"images of {size(said.images)}": said.images.shape == spec.shape,
        "another schedule": said.time == diffusion.time
        and same_noise(torch.tensor(said.alpha_bar, dtype=torch.float64), diffusion.schedule.alpha_bar),
        "other classes": not spec.class_names or said.images.class_names == spec.class_names,
    }
    if unlike := " and ".join(what for what, same in fits.items() if not same):
        raise InputError(
            f"expected a classifier of images of {size(spec)}, of this pipeline's noise and classes, got {path}, of "
            f"{unlike}; train one for this run with `ancestral train-classifier`"
        )
    network = Classifier(said.network, said.images.channels, len(said.images.class_names))
    try:
        network.load_state_dict(tensors)
    except RuntimeError:
        raise _damaged(path, "its tensors are not those of its settings") from None
    network = network.eval().requires_grad_(False).to(device)
    classifier = NoisyClassifier(network, said.images, diffusion, said.accuracies, said.num_held_out)
    if classifier.digest != said.digest:
        raise _damaged(path, "its digest does not fit")
    if (name := first_not_finite(tensors)) is not None:
        raise NonFinite(f"expected finite weights, got NaN or infinity in {name} of {path}; train the classifier again")
    return classifier


def same_noise(one: Float64[Tensor, "_"], other: Float64[Tensor, "_"]) -> bool:
    """Whether two tables of alpha_bar are the same, up to rounding: two machines may round a formula differently."""
    return one.shape == other.shape and torch.allclose(one, other, rtol=1e-6, atol=0)


def size(spec: ImageSpec) -> str:
    """CxHxW, in words for people."""
    return "x".join(map(str, spec.shape))


def _read(path: Path) -> tuple[Description, dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"expected a classifier, got no file {path}; `ancestral train-classifier` makes it")
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            values = json_object((file.metadata() or {})[KEY], "its metadata")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, InputError, OSError) as fault:
        raise _damaged(path, str(fault)) from None
    except KeyError:
        raise InputError(
            f"expected {path} to be a classifier that `ancestral train-classifier` made, got other tensors"
        ) from None
    return parse(Description, values, str(path)), tensors


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path} is damaged ({why}); train it again with `ancestral train-classifier`")
