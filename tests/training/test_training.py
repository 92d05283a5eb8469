"""Algorithm 1: what a step computes, and the traps of averages, schedules, accumulation and divergence."""

import json
from pathlib import Path

import pytest
import torch
from runs import TWO_LEVELS, fresh, no_numbers, run_all, tiny

from ancestral.condition import UNTOLD
from ancestral.errors import Diverged
from ancestral.settings import TrainingSettings
from ancestral.training.budget import learning_rate
from ancestral.training.denoiser import Denoising
from ancestral.training.ema import ExponentialAverage
from ancestral.training.logs import read_log
from ancestral.training.loop import train
from ancestral.training.means import RunningMeans
from ancestral.training.run import RunFolder
from ancestral.training.step import Trainer
from ancestral.training.training_log import grid_is_due


def test_a_new_network_has_loss_one_and_training_lowers_the_held_out_loss(tmp_path: Path) -> None:
    training = {"steps": 60, "batch_size": 32, "lr": 2e-3, "validate_every_steps": 60}
    config = tiny({"training": training, "network": TWO_LEVELS, "data": {"validation": 0.05}})
    run_all(config, tmp_path)
    log = read_log(tmp_path / "log.jsonl")
    assert log[0]["loss"] == pytest.approx(1, abs=0.15)
    assert log[-1]["held_out_loss"] < 0.75
    assert [record["images"] for record in log] == [32 * record["step"] for record in log]


def test_the_mean_of_the_quarters_is_the_loss() -> None:
    running = RunningMeans()
    losses = torch.tensor([1.0, 2.0, 3.0, 4.0, 6.0])
    running.add(losses, torch.ones(5).double(), torch.tensor([1, 250, 251, 1000, 999]), 1000, norm=3.0)
    means = running.means()
    assert means["loss_by_quarter"] == [1.5, 3.0, None, 5.0]
    assert means["loss"] == pytest.approx(3.2) and means["grad_norm"] == 3.0


@pytest.mark.parametrize(("precision", "rounding"), [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_micro_batches_even_or_not_give_the_same_gradient(precision: str, rounding: float) -> None:
    """Trap: a mean of means, or a learning-rate schedule counted twice under accumulation."""
    weights = []
    for micro_batch in (8, 3):
        changes = {
            "network": {"dropout": 0.0},
            "training": {"clip_norm": None},
            "compute": {"micro_batch": micro_batch, "precision": precision},
        }
        pipeline, parts = fresh(tiny(changes))
        trainer = Trainer(Denoising(pipeline), parts.train)
        gradients: list[torch.Tensor] = []
        trainer.optimizers[0].register_step_pre_hook(
            lambda *_, g=gradients, n=trainer.network: g.extend(
                p.grad.clone() for p in n.parameters() if p.grad is not None
            )
        )
        trainer.advance()
        weights.append(torch.cat([g.flatten() for g in gradients]))
        assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(2e-4 * 8 / 40)
    assert (weights[0] - weights[1]).norm() < rounding * weights[0].norm()


def test_hidden_labels_are_the_null_class_at_the_asked_rate() -> None:
    pipeline, parts = fresh(tiny({"training": {"batch_size": 64, "label_dropout": 0.25}}))
    trainer = Trainer(Denoising(pipeline), parts.train)
    seen: list[torch.Tensor] = []
    trainer.network.register_forward_pre_hook(lambda _, given: seen.append(given[2].labels))
    for _ in range(8):
        trainer.advance()
    labels = torch.cat(seen)
    assert int(labels.max()) == 9
    assert float((labels == UNTOLD).float().mean()) == pytest.approx(0.25, abs=0.06)


def test_a_young_average_follows_and_an_old_one_keeps_its_decay() -> None:
    """Trap: a decay of 0.9999 from step 0 leaves a short run with its initial weights."""
    network = torch.nn.Linear(1, 1, bias=False)
    average = ExponentialAverage(network, decay=0.9999)
    torch.nn.init.constant_(network.weight, 1.0)
    start = float(average.network.weight)
    for _ in range(100):
        average.update([(average.network.weight, network.weight)])
    assert abs(1 - float(average.network.weight)) < 1e-3 * abs(1 - start)
    average.updates.fill_(10**9)
    before = float(average.network.weight)
    torch.nn.init.constant_(network.weight, 2.0)
    average.update([(average.network.weight, network.weight)])
    assert float(average.network.weight) - before == pytest.approx(1e-4, rel=1e-2)


def test_grids_come_early_at_first_and_then_at_an_even_pace() -> None:
    assert [step for step in range(6001) if step and grid_is_due(step, 2000)] == [125, 250, 500, 1000, 2000, 4000, 6000]
    assert grid_is_due(126, 2000, is_last=True) and not grid_is_due(124, 2000, is_last=True)


def test_the_average_is_another_network_and_training_keeps_its_own(tmp_path: Path) -> None:
    """Trap: averaged weights swapped in for evaluation and never swapped back."""
    changes = {"training": {"steps": 4, "sample_every_steps": 3, "validate_every_steps": 2}}
    run_all(tiny(changes), tmp_path / "looked")
    run_all(tiny({"training": {"steps": 4, "sample_every_steps": 99, "validate_every_steps": 2}}), tmp_path / "not")
    model = "checkpoints/step-00000004/model.safetensors"
    assert (tmp_path / "looked" / model).read_bytes() == (tmp_path / "not" / model).read_bytes()
    grids = sorted((tmp_path / "looked/samples").iterdir())
    assert [grid.name for grid in grids] == ["step-00000001.png", "step-00000003.png"]  # the first one early
    assert grids[-1].stat().st_size > 500
    ema = (tmp_path / "looked/checkpoints/step-00000004/ema.safetensors").read_bytes()
    assert ema != (tmp_path / "looked" / model).read_bytes()


@pytest.mark.parametrize(
    ("schedule", "fraction", "expected"), [("constant", 0.9, 1.0), ("linear", 0.75, 0.25), ("cosine", 0.5, 0.5)]
)
def test_learning_rate_warms_up_by_images_and_falls_by_budget(schedule: str, fraction: float, expected: float) -> None:
    settings = TrainingSettings(steps=10, lr=1.0, batch_size=10, warmup_images=100, lr_schedule=schedule)  # type: ignore[arg-type]
    assert learning_rate(settings, 1000, fraction) == pytest.approx(expected)
    assert learning_rate(settings, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(settings, 40, 0.0) == pytest.approx(0.5)


def test_divergence_stops_names_a_layer_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    config = tiny({"training": {"steps": 40, "lr": 1e30, "warmup_images": 0, "checkpoint_every_steps": 1}})
    with pytest.raises(Diverged, match=r"10 steps in a row .* learning rate 1e\+30.*first in .*lower --training.lr"):
        run_all(config, tmp_path)


def test_a_non_finite_gradient_is_skipped_and_counted(tmp_path: Path) -> None:
    pipeline, parts = fresh(tiny())
    trainer = Trainer(Denoising(pipeline), parts.train)
    trainer.advance()
    before = [p.clone() for p in trainer.network.parameters()]
    with no_numbers(trainer.network):
        trainer.advance()
    assert trainer.non_finite.skipped == 1 and trainer.step == 2 and trainer.ema.updates == 1
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.network.parameters(), strict=True))
    trainer.advance()
    assert trainer.non_finite.in_a_row == 0 and trainer.non_finite.skipped == 1
    assert not torch.equal(before[0], next(trainer.network.parameters()))


def test_the_budget_is_the_first_limit_reached(tmp_path: Path) -> None:
    config = tiny({"training": {"steps": 100, "images": 24, "minutes": 50}})
    progress = run_all(config, tmp_path)
    assert [p.images for p in progress] == [8, 16, 24] and progress[-1].fraction == 1.0
    timing = [json.loads(line) for line in (tmp_path / "timing.jsonl").read_text().splitlines()]
    assert timing[-1]["images_per_second"] > 0 and timing[-1]["step"] == 3
    assert 0 < timing[-1]["watching_seconds"] < 60 * timing[-1]["minutes"], "the last step has a held-out loss"


def test_a_run_without_labels_or_held_out_images(tmp_path: Path) -> None:
    changes = {"data": {"labels": "none", "validation": 0.0}, "training": {"steps": 3}}
    run_all(tiny(changes), tmp_path)
    assert "held_out_loss" not in (tmp_path / "log.jsonl").read_text()
    assert "class_embedding.weight" not in _names(tmp_path)


def _names(run: Path) -> str:
    return (run / "pipeline/unet/diffusion_pytorch_model.safetensors").read_bytes()[:20000].decode("latin1")


def test_closing_before_the_first_step_leaves_no_half_run(tmp_path: Path) -> None:
    pipeline, parts = fresh(tiny())
    train(pipeline, parts, RunFolder(tmp_path), say=lambda text: None).close()
    assert not [*tmp_path.iterdir()]
