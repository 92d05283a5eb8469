"""Tiny runs for tests, and the script that a real process runs to be killed."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from standing import Forked, Script, forked

from ancestral.data.datasets import load
from ancestral.data.imageset import ImageSet, Parts
from ancestral.pipeline import Pipeline
from ancestral.settings import (
    Config,
    DataSettings,
    SamplingSettings,
    TrainingSettings,
    UNetSettings,
    merged,
)
from ancestral.tokenizer import Tokenizer
from ancestral.training.loop import Progress, train
from ancestral.training.run import RunFolder

TINY = Config(
    data=DataSettings(source="digits", flip=True, validation=0.01),
    network=UNetSettings(widths=(8,), layers=1, attention=(0,), middle_attention=False, norm_groups=4, dropout=0.1),
    training=TrainingSettings(
        steps=12,
        batch_size=8,
        warmup_images=40,
        log_every_steps=3,
        validate_every_steps=4,
        sample_every_steps=100,
        checkpoint_every_steps=5,
        label_dropout=0.2,
    ),
    sampling=SamplingSettings(steps=4),
)
"""One level, since laws of training are of steps and not of layers, and few images that training waits for."""
TWO_LEVELS = {"widths": (8, 16), "attention": (1,), "middle_attention": True}
"""A network that has all the kinds of layers, for what depends on them, and learns something in seconds."""
ATTENDS = {"name": "linear-attention", "widths": (8, 8), "heads": 1, "head_width": 4, "dropout": 0.1}
TRANSFORMER = {"name": "dit", "width": 16, "layers": 2, "heads": 2, "dropout": 0.1}


def tiny(changes: dict[str, object] | None = None) -> Config:
    return merged(TINY, changes or {}, "the test")


def fresh(config: Config) -> tuple[Pipeline, Parts]:
    """Where texts are read, each image has a caption that names its class, but for every seventh."""
    parts = load(config.data)
    if config.text.name == "none":
        return Pipeline.fresh(config, parts.train.spec), parts
    parts = parts._replace(train=captioned(parts.train), validation=captioned(parts.validation))
    tokenizer = Tokenizer.learn(parts.train.captions or (), config.text.vocab_size, config.text.length)
    return Pipeline.fresh(config, parts.train.spec, tokenizer=tokenizer), parts


def captioned(images: ImageSet) -> ImageSet:
    assert images.labels is not None
    texts = [f"the {'large' if label % 2 else 'small'} digit {label}" for label in images.labels.tolist()]
    return replace(images, captions=tuple("" if i % 7 == 6 else text for i, text in enumerate(texts)))


def run_all(config: Config, folder: Path) -> list[Progress]:
    pipeline, parts = fresh(config)
    return [*train(pipeline, parts, RunFolder(folder), say=lambda text: None)]


def run_until(stop: int, config: Config, folder: Path) -> None:
    """Trains up to a step and is closed there."""
    pipeline, parts = fresh(config)
    steps = train(pipeline, parts, RunFolder(folder), say=lambda text: None)
    assert [next(steps).step for _ in range(stop)][-1] == stop
    steps.close()


@contextmanager
def no_numbers(network: torch.nn.Module, images: slice | list[int] = slice(None)) -> Iterator[None]:
    """A network whose answers for these images of a batch are no numbers."""

    def spoilt(_: torch.nn.Module, __: object, answer: torch.Tensor) -> torch.Tensor:
        wrong = torch.zeros(len(answer), *[1] * (answer.ndim - 1), device=answer.device)
        wrong[images] = math.nan
        return answer + wrong

    handle = network.register_forward_hook(spoilt)
    yield
    handle.remove()


def start(folder: Path, config: Config) -> Forked:
    """A process that trains; it prints the number of every step."""
    return forked(Script(Path(__file__), folder, config.model_dump_json()), Path.cwd())


if __name__ == "__main__":
    torch.set_num_threads(1)
    settings = Config.model_validate_json(sys.argv[2])
    pipeline, parts = fresh(settings)
    for progress in train(pipeline, parts, RunFolder(Path(sys.argv[1])), say=lambda text: None):
        print(progress.step, flush=True)
