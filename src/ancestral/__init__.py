"""Denoising diffusion that can be trained, measured and read.

docs/reading.md says in which order to read it: `tensors`, `gaussian` and `rng` (the vocabulary), `diffusion` (the
mathematics), `sampling` (going backwards), `networks` (the U-Net), `data` (images in, batches out), `pipeline` (what a
trained model is), `training` (Algorithm 1 that can be stopped anywhere). `settings` holds every setting, `presets` the
recipes, `cli` the command line.

Time is an integer: t = 0 is clean data, t = T is noise, and every step goes from t to some s < t. Images are in [-1, 1]
where they are diffused and uint8 where they are stored.

The names below are fetched when they are first used, so that `import ancestral` is quick and loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ancestral.data.datasets import load as load
    from ancestral.diffusion.process import GaussianDiffusion as GaussianDiffusion
    from ancestral.diffusion.schedules import Schedule as Schedule
    from ancestral.errors import AncestralError as AncestralError
    from ancestral.errors import InputError as InputError
    from ancestral.evaluation.evaluate import evaluate as evaluate
    from ancestral.networks.unet import UNet as UNet
    from ancestral.pipeline import Pipeline as Pipeline
    from ancestral.presets import PRESETS as PRESETS
    from ancestral.sampling.loop import Step as Step
    from ancestral.sampling.loop import sample as sample
    from ancestral.sampling.samplers.ancestral import DDIM as DDIM
    from ancestral.sampling.samplers.ancestral import Ancestral as Ancestral
    from ancestral.settings import Config as Config
    from ancestral.training.loop import train as train
    from ancestral.training.run import RunFolder as RunFolder

_HOME = {
    "AncestralError": "ancestral.errors",
    "InputError": "ancestral.errors",
    "Config": "ancestral.settings",
    "PRESETS": "ancestral.presets",
    "GaussianDiffusion": "ancestral.diffusion.process",
    "Schedule": "ancestral.diffusion.schedules",
    "Ancestral": "ancestral.sampling.samplers.ancestral",
    "DDIM": "ancestral.sampling.samplers.ancestral",
    "Step": "ancestral.sampling.loop",
    "sample": "ancestral.sampling.loop",
    "UNet": "ancestral.networks.unet",
    "load": "ancestral.data.datasets",
    "Pipeline": "ancestral.pipeline",
    "RunFolder": "ancestral.training.run",
    "train": "ancestral.training.loop",
    "evaluate": "ancestral.evaluation.evaluate",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("ancestral")
    if name not in _HOME:
        raise AttributeError(f"module 'ancestral' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), "__version__", *_HOME])
