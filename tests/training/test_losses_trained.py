"""What the losses other than the simple one train."""

import copy
from dataclasses import replace

import pytest
import torch
from runs import TWO_LEVELS, fresh, tiny

from ancestral.condition import NOTHING_TOLD
from ancestral.data.datasets import load
from ancestral.diffusion.timesteps import RecentLosses
from ancestral.pipeline import Pipeline
from ancestral.training.denoiser import Denoising
from ancestral.training.loss import training_losses
from ancestral.training.means import ValidationLoss
from ancestral.training.randomness import Randomness, randomness_of
from ancestral.training.step import Trainer

LEARNED = {"diffusion": {"variance": "learned"}, "training": {"loss": "hybrid", "clip_norm": None}}
LEVELS = {
    "diffusion": {"prediction": "levels", "time": "log-snr", "schedule": {"name": "log-snr"}},
    "network": {**TWO_LEVELS, "output_rank": 8, "dropout": 0.0},
    "training": {"loss": "continuous", "timesteps": "stratified", "lr": 3e-3, "steps": 40},
}


def gradients(pipeline: Pipeline, x0: torch.Tensor, t: torch.Tensor, eps: torch.Tensor) -> dict[str, torch.Tensor]:
    network = pipeline.network.eval().requires_grad_(True)
    network.zero_grad()
    training_losses(pipeline, network, pipeline.diffusion.noised(x0, t, eps), NOTHING_TOLD).sum().backward()
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


def test_in_the_hybrid_the_bound_moves_the_spread_alone() -> None:
    """The rows of the last convolution that make the mean have the simple loss's gradient, bit for bit."""
    config = tiny(LEARNED)
    pipeline, parts = fresh(config)
    torch.nn.init.normal_(pipeline.network.conv_out.weight, std=0.1)
    x0 = torch.tensor(parts.train.images[:4]).permute(0, 3, 1, 2) / 127.5 - 1
    t, eps = torch.tensor([1, 10, 500, 900]), torch.randn(4, 1, 8, 8)
    hybrid = gradients(pipeline, x0, t, eps)["conv_out.weight"]
    asked = config.model_copy(update={"training": config.training.model_copy(update={"loss": "simple"})})
    simple = replace(pipeline, config=asked, network=copy.deepcopy(pipeline.network))
    plain = gradients(simple, x0, t, eps)["conv_out.weight"]
    torch.testing.assert_close(hybrid[0], plain[0], rtol=1e-5, atol=1e-7)
    assert plain[1].abs().max() == 0 and hybrid[1].abs().max() > 1e-5


def test_a_likelihood_model_learns_to_spend_fewer_bits() -> None:
    """Untrained, every level of a digit is as likely: within 40 steps it has learned which ones there are."""
    pipeline, parts = fresh(tiny(LEVELS))
    trainer = Trainer(Denoising(pipeline), parts.train)
    held_out = ValidationLoss(Denoising(pipeline), parts.validation)
    before = held_out.record(trainer.network)["held_out_loss"]
    for _ in range(40):
        trainer.advance()
    after = held_out.record(trainer.network)["held_out_loss"]
    assert before == pytest.approx(8, abs=0.6), "log2 256 bits for every pixel"
    assert after < 0.8 * before


def test_stratified_batches_visit_every_part_of_time() -> None:
    trainer = Trainer(*_fresh({"training": {"timesteps": "stratified"}}))
    for _ in range(3):
        t = randomness(trainer).times.t
        assert sorted(((t - 1) * 8 // 1000).tolist()) == [*range(8)]
        trainer.step += 1


def test_importance_draws_by_recent_losses_and_weighs_by_what_it_drew() -> None:
    changes = {"diffusion": {"schedule": {"num_timesteps": 4}}, "training": {"timesteps": "importance"}}
    trainer = Trainer(*_fresh({**changes, "sampling": {"steps": 4}}))
    trainer.task.recent = RecentLosses(torch.tensor([1.0, 1.0, 1.0, 5.0], dtype=torch.float64)[:, None].repeat(1, 10))
    drawn, weights = [], []
    for trainer.step in range(400):
        times = randomness(trainer).times
        drawn.append(times.t)
        weights.append(times.weight)
    t, weight = torch.cat(drawn), torch.cat(weights)
    assert (t == 4).double().mean().item() == pytest.approx(5 / 8, abs=0.01)
    assert weight[t == 4].unique().item() == pytest.approx(8 / 20, rel=1e-3)
    assert weight.mean().item() == pytest.approx(1, abs=0.02)


def test_recent_losses_are_those_of_the_steps() -> None:
    changes = {"diffusion": {"schedule": {"num_timesteps": 4}}, "training": {"timesteps": "importance"}}
    trainer = Trainer(*_fresh({**changes, "sampling": {"steps": 4}}))
    t = randomness(trainer).times.t
    trainer.advance()
    assert trainer.task.recent is not None
    filled = trainer.task.recent.table.isfinite().sum(1)
    assert filled.tolist() == torch.bincount(t - 1, minlength=4).tolist()


def randomness(trainer: Trainer) -> Randomness:
    """That of the trainer's next step."""
    shape, device = trainer.task.pipeline.spec.shape, trainer.device
    T = trainer.task.diffusion.num_timesteps
    return randomness_of(trainer.settings, trainer.task.seed, trainer.step, shape, T, device, trainer.task.recent)


def _fresh(changes: dict) -> tuple[Denoising, object]:  # type: ignore[type-arg]
    config = tiny(changes)
    parts = load(config.data)
    return Denoising(Pipeline.fresh(config, parts.train.spec)), parts.train
