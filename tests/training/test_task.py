"""A task of two networks, a coder and its critic: the loop gives it all it gives a denoiser, and mixes no gradients."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from ranks import in_processes
from runs import tiny
from safetensors.torch import save_file
from test_resume import assert_same_run
from torch import Tensor, nn

from ancestral.codec import PIXELS
from ancestral.compute import Choices
from ancestral.data.datasets import load
from ancestral.data.imageset import Parts
from ancestral.data.loader import Batch
from ancestral.errors import InputError
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.settings import TrainingSettings
from ancestral.training.checkpoint import load_checkpoint
from ancestral.training.logs import read_log
from ancestral.training.loop import train
from ancestral.training.randomness import Randomness
from ancestral.training.run import RunFolder
from ancestral.training.step import Trainer
from ancestral.training.task import Network, Task, Trainable

CONFIG = tiny({"training": {"steps": 6, "checkpoint_every_steps": 3, "log_every_steps": 2, "ema_decay": 0.5}})
CRITIC = CONFIG.training.model_copy(update={"optimizer": "adamw", "lr": 1e-2})


class Coding(Task):
    """A coder that makes images darker until a critic, which learns to tell them from real ones, objects."""

    def __init__(self, parts: Parts, choices: Choices | None = None, clip_norm: float | None = 1.0) -> None:
        self.parts, self.config, self.seed, self.spec = parts, CONFIG, CONFIG.seed, parts.train.spec
        self.compute, self.device = choices or Choices(), torch.device("cpu")
        torch.manual_seed(0)
        self.coder, self.critic = nn.Conv2d(1, 1, 3, padding=1), nn.Sequential(nn.Flatten(), nn.Linear(64, 1))

        def clipped(settings: TrainingSettings) -> TrainingSettings:
            return settings.model_copy(update={"clip_norm": clip_norm})

        self.modules = (
            Trainable(self.coder, clipped(CONFIG.training), self.coder_losses, self.warm_up),
            Trainable(self.critic, clipped(CRITIC), self.critic_losses, self.warm_up, name="critic"),
        )

    def with_compute(self, choices: Choices) -> "Coding":
        return Coding(self.parts, choices)

    def coder_losses(self, network: Network, batch: Batch, random: Randomness) -> tuple[Tensor, Tensor]:
        made = network(PIXELS.encode(batch.pixels) + 0.1 * random.eps)
        return made.flatten(1).mean(1) - 0.5 * self.critic(made)[:, 0], torch.ones(len(made))

    def critic_losses(self, network: Network, batch: Batch, random: Randomness) -> tuple[Tensor, Tensor]:
        real = PIXELS.encode(batch.pixels)
        made = self.coder(real + 0.1 * random.eps)
        both = network(torch.cat([made, real]))[:, 0].sigmoid()
        return both[: len(made)] - both[len(made) :], torch.ones(len(made))

    def warm_up(self, network: Network, count: int) -> Tensor:
        return network(torch.zeros(count, 1, 8, 8)).flatten(1).mean(1)

    def save(self, averages: Sequence[nn.Module], run: RunFolder) -> None:
        save_file(averages[0].state_dict(), run.path / "coder.safetensors")


@pytest.fixture(scope="module")
def parts() -> Parts:
    return load(CONFIG.data)


def quiet(text: str) -> None:
    pass


def test_each_network_follows_its_own_loss_alone(parts: Parts) -> None:
    """Trap: a critic whose loss reaches the coder, and a coder whose loss leaves a gradient in the critic."""
    task = Coding(parts, clip_norm=None)
    trainer, seen = Trainer(task, parts.train), list[list[Tensor]]()
    for optimizer, network in zip(trainer.optimizers, (task.coder, task.critic), strict=True):
        optimizer.register_step_pre_hook(
            lambda *_, n=network: seen.append([p.grad.clone() for p in n.parameters() if p.grad is not None])
        )
    batch, random = trainer.loader.batch(0), task.randomness(0)
    wanted = [
        torch.autograd.grad(losses(network, batch, random)[0].mean(), [*network.parameters()])
        for losses, network in ((task.coder_losses, task.coder), (task.critic_losses, task.critic))
    ]
    trainer.advance()
    for found, by_hand in zip(seen, wanted, strict=True):
        torch.testing.assert_close(found, [*by_hand])
    assert all(p.grad is None and p.requires_grad for p in (*task.coder.parameters(), *task.critic.parameters()))
    assert [type(each).__name__ for each in trainer.optimizers] == ["Adam", "AdamW"]


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_two_networks_go_on_bit_for_bit(stop: int, parts: Parts, tmp_path: Path) -> None:
    assert len([*train(Coding(parts), parts, tmp_path / "whole", quiet)]) == 6
    steps = train(Coding(parts), parts, tmp_path / "run", quiet)
    assert [next(steps).step for _ in range(stop)][-1] == stop
    steps.close()
    assert len([*train(Coding(parts), parts, tmp_path / "run", quiet)]) == 6 - stop
    assert_same_run(tmp_path / "run", tmp_path / "whole", "coder.safetensors")
    tensors, _ = load_checkpoint(tmp_path / "run" / "checkpoints" / "step-00000006")
    assert {name.split(".")[0] for name in tensors["model"]} == {"weight", "bias", "critic"}
    first, *_ = read_log(tmp_path / "run" / "log.jsonl")
    assert (first["lr"], first["critic_lr"]) == pytest.approx((2e-4 * 16 / 40, 1e-2 * 16 / 40))
    assert first["loss"] != first["critic_loss"] and first["grad_norm"] != first["critic_grad_norm"]


def test_a_step_is_taken_by_all_networks_or_by_none(parts: Parts) -> None:
    task = Coding(parts)
    trainer, before = Trainer(task, parts.train), [p.clone() for p in task.coder.parameters()]
    handle = task.critic.register_forward_hook(lambda *given: given[2] * math.nan if len(given[2]) == 16 else given[2])
    trainer.advance()
    handle.remove()
    assert int(trainer.non_finite.skipped) == 1 and trainer.ema.updates == 0
    assert all(torch.equal(a, b) for a, b in zip(before, task.coder.parameters(), strict=True))
    trainer.advance()
    assert int(trainer.non_finite.skipped) == 1 and not torch.equal(before[0], task.coder.weight)


def test_a_checkpoint_of_another_task_is_set_aside(parts: Parts, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert len([*train(Coding(parts), parts, run, quiet)]) == 6
    other = Coding(parts)
    other.modules = other.modules[:1]
    other.with_compute = lambda choices: other  # type: ignore[method-assign]
    with pytest.raises(InputError, match=r"every checkpoint .* is damaged"):
        next(train(other, parts, run, quiet))


def coded(processes: Processes, folder: Path, parallel: str = "ddp") -> list[list[float]]:
    """What every process runs: the losses of all steps of both."""
    parts = load(CONFIG.data)
    steps = train(Coding(parts), parts, folder, quiet, lambda: False, processes, parallel)  # type: ignore[arg-type]
    assert len([*steps]) == 6
    return [[record["loss"], record["critic_loss"]] for record in read_log(folder / "log.jsonl")]


def test_two_processes_train_two_networks_as_one_does(tmp_path: Path) -> None:
    alone = coded(SINGLE_PROCESS, tmp_path / "one")
    for found in in_processes(2, coded, tmp_path / "two"):
        torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-6)


def test_networks_that_cannot_be_held_by_rows_are_refused(parts: Parts, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fsdp"):
        next(train(Coding(parts), parts, tmp_path / "run", quiet, parallel="fsdp"))
