"""Small networks that measurements need: trained once on a data set, in a minute, and kept in the cache.

Each is a task like any other, trained by the same steps; a minute of work is no run to go on with, so no folder of one
is made. A file holds a digest: of a damaged one the network is trained again.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ancestral.data.imageset import ImageSet
from ancestral.files import cache_folder, check_regular, json_object, write_whole
from ancestral.networks.weights import tensors_hash
from ancestral.progress import StepwiseWork
from ancestral.training.step import Trainer
from ancestral.training.task import Task

SomeTask = TypeVar("SomeTask", bound=Task)
Kept = TypeVar("Kept")


def training(new_task: Callable[[], SomeTask], images: ImageSet) -> StepwiseWork[SomeTask]:
    """The task once it is trained on the CPU, image by image. It leaves the caller's random state and modes."""
    with _by_itself():
        trainer = Trainer(task := new_task(), images)
    settings = trainer.settings
    while trainer.fraction < 1:
        with _by_itself():
            trainer.advance()
        yield trainer.images, settings.batch_size * (settings.steps or 0)
    return task


def file_of(folder: str, *key: object) -> Path:
    """Where what is trained of all this, and of nothing else, is kept."""
    return (
        cache_folder() / folder / f"{blake2b('/'.join(map(str, key)).encode(), digest_size=16).hexdigest()}.safetensors"
    )


def keep(path: Path, what: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Writes tensors, and what is known of them, under the name `what`."""
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_whole(path, save(whole, metadata={what: json.dumps({**about, "digest": tensors_hash(whole)})}))


def kept(path: Path, what: str, read: Callable[[dict[str, Tensor], dict[str, Any]], Kept]) -> Kept | None:
    """What `read` makes of kept tensors and of what is known of them; None where there are none, or they are damaged,
    which the log tells."""
    if not path.exists():
        return None
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            about = json_object(file.metadata()[what], "its metadata")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        if about.pop("digest") != tensors_hash(tensors):
            raise ValueError("its digest does not fit")
        return read(tensors, about)
    except (SafetensorError, ValueError, KeyError, TypeError, OSError) as fault:
        logging.getLogger(__name__).warning("%s is damaged (%s): training it again", path, fault)
        return None


@contextmanager
def _by_itself() -> Iterator[None]:
    """A `with` statement in which a network learns, whatever is around it."""
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        yield
