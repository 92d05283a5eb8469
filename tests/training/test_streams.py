"""No two uses of randomness share a stream, and no two steps, images or seeds a position of one.

Every generator of the package is made from the text of (seed, stream, position). The texts that are hashed while
something is computed are its uses: one that is met twice, where nothing is meant to be the same, is a shared stream.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Any

import pytest
import torch
from runs import fresh, tiny

from ancestral.condition import NOTHING_TOLD
from ancestral.data.imageset import Parts
from ancestral.evaluation.evaluate import as_pixels
from ancestral.evaluation.flow_check import flow_check
from ancestral.evaluation.likelihood import planned
from ancestral.evaluation.settings import LikelihoodSettings, SweepSettings
from ancestral.evaluation.sweep import seeds_and_condition
from ancestral.pipeline import Pipeline
from ancestral.progress import finish
from ancestral.settings import SamplingSettings
from ancestral.training.denoiser import Denoising
from ancestral.training.means import ValidationLoss
from ancestral.training.noisy_classifier import Classifying, new_classifier
from ancestral.training.step import Trainer

CONFIG = tiny(
    {
        "network": {"widths": (8,), "attention": (), "middle_attention": False},
        "diffusion": {"schedule": {"num_timesteps": 10}},
        "training": {"timesteps": "stratified", "batch_size": 4, "augment": 0.5},
        "sampling": {"steps": 3, "sampler": "ancestral"},
    }
)
"""Every use below has the seed 0."""


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The positions that generators are made for, in order."""
    texts: list[str] = []

    def noted(text: bytes, **how: Any) -> Any:
        texts.append(text.decode())
        return blake2b(text, **how)

    with monkeypatch.context() as patch:
        patch.setattr("ancestral.rng.blake2b", noted)
        yield texts


@pytest.fixture(scope="module")
def made() -> tuple[Pipeline, Parts]:
    return fresh(CONFIG)


def training(pipeline: Pipeline, parts: Parts) -> None:
    trainer = Trainer(Denoising(fresh(CONFIG)[0]), parts.train)
    for _ in range(3):
        trainer.advance()


def held_out(pipeline: Pipeline, parts: Parts) -> None:
    ValidationLoss(Denoising(pipeline), parts.validation).record(pipeline.network)


def classifying(pipeline: Pipeline, parts: Parts) -> None:
    classifier = new_classifier(pipeline, parts.train.class_names, 0)
    trainer = Trainer(Classifying(classifier, pipeline.config, pipeline.compute), parts.train)
    for _ in range(3):
        trainer.advance()
    ValidationLoss(trainer.task, parts.validation).record(trainer.network)


def sampling(pipeline: Pipeline, parts: Parts) -> None:
    pipeline.generate([0, 1, 2])


def likelihood(pipeline: Pipeline, parts: Parts) -> None:
    measurement = planned(pipeline, parts.test, LikelihoodSettings(num_images=3, timesteps=4))
    measurement.result([measurement.sums(i) for i in range(measurement.num_chunks)])


def flow(pipeline: Pipeline, parts: Parts) -> None:
    finish(flow_check(pipeline, as_pixels(parts.test)[:3], NOTHING_TOLD, steps=2, probes=2))


def sweeping(pipeline: Pipeline, parts: Parts) -> None:
    two_steps = SamplingSettings(sampler="ddim", grid="trailing", steps=2)
    pipeline.generate(*seeds_and_condition(pipeline, SweepSettings(images=20)), two_steps)


USES = (training, held_out, classifying, sampling, likelihood, flow, sweeping)
ONCE = "/epoch/", "likelihood images", "likelihood timesteps"
"""An epoch's order, and the choices of a measurement, are the same whenever they are asked for."""


def positions(
    use: Callable[[Pipeline, Parts], None], made: tuple[Pipeline, Parts], patch: pytest.MonkeyPatch
) -> list[str]:
    """Those of one use, but for what is asked for again and again."""
    with recorded(patch) as texts:
        use(*made)
    once = sorted({text for text in texts if any(name in text for name in ONCE)})
    return [text for text in texts if text not in once] + once


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_within_a_use_no_two_draws_share_a_position(
    use: Callable[[Pipeline, Parts], None], made: tuple[Pipeline, Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traps: the noise of every step that of the first; mirrored images those whose labels are hidden; ranks alike."""
    found = positions(use, made, monkeypatch)
    assert found and sorted(found) == sorted({*found})


def test_no_two_uses_share_a_position(made: tuple[Pipeline, Parts], monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap: x_T of seed 0 is the noise that training met first, or the noise that the bound is measured with."""
    seen: dict[str, str] = {}
    for use in USES:
        for text in {*positions(use, made, monkeypatch)} - {"0/weights"}:
            assert seen.setdefault(text, use.__name__) == use.__name__, text


def test_a_step_draws_its_own_numbers_for_each_purpose(
    made: tuple[Pipeline, Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When, noise, hidden labels, mirroring, augmentation and dropout: six streams of one step, all of its own."""
    trainer = Trainer(Denoising(fresh(CONFIG)[0]), made[1].train)
    by_step = []
    for step in range(2):
        with recorded(monkeypatch) as texts:
            trainer.advance()
        by_step.append({text for text in texts if "/epoch/" not in text})
        assert len(by_step[-1]) == 6 and all(str(step) == text.split("/")[-1] for text in by_step[-1])
    assert not by_step[0] & by_step[1]


def test_dropout_is_another_at_each_step(made: tuple[Pipeline, Parts]) -> None:
    """Trap: one mask for the whole run, which is a smaller network."""
    trainer, masks = Trainer(Denoising(fresh(CONFIG)[0]), made[1].train), []
    dropout = trainer.network.mid_block.resnets[0].dropout
    dropout.register_forward_hook(lambda module, given, out: masks.append(out == 0))
    for _ in range(2):
        trainer.advance()
    assert masks[0].any() and not torch.equal(*masks)
