"""A training step asks its device for no number: on a GPU every answer means waiting for all work before it."""

import math
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from runs import fresh, no_numbers, tiny
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ancestral.compute import Choices
from ancestral.data import latents as latents_module
from ancestral.data import loader as loader_module
from ancestral.data.latents import LatentRows
from ancestral.errors import Diverged
from ancestral.training import randomness as randomness_module
from ancestral.training import step as step_module
from ancestral.training.denoiser import Denoising
from ancestral.training.ema import ExponentialAverage
from ancestral.training.optimizer import Muon
from ancestral.training.step import MOST_IN_A_ROW, NonFiniteCounter, Trainer

READS = {"_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique_dim", "_unique2"}
"""Operations whose result the host must know before it can go on."""
INDEXES = {"index", "index_put", "index_put_", "_index_put_impl_"}
"""So must it where these are given truths, which have to be counted."""


class Watch(TorchDispatchMode):
    """Remembers the reads among the operations that are dispatched, and the copies from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket._qualified_op_name.removeprefix("aten::")
        masks = [each for each in args[1] if each is not None and each.dtype == torch.bool] if name in INDEXES else []
        arrives = name == "_to_copy" and args[0].device != torch.device((kwargs or {}).get("device") or args[0].device)
        if name in READS or masks or arrives:
            self.reads.append(name)
        return func(*args, **(kwargs or {}))


def trainer_of(changes: dict[str, object] | None = None) -> Trainer:
    pipeline, parts = fresh(tiny(changes))
    return Trainer(Denoising(pipeline), parts.train)


@pytest.mark.parametrize(
    "training",
    [
        pytest.param({"optimizer": "adam"}, id="adam", marks=pytest.mark.slow),
        pytest.param({"optimizer": "adamw", "weighting": "min-snr"}, id="adamw"),
        pytest.param({"optimizer": "muon", "clip_norm": None}, id="muon"),
    ],
)
@pytest.mark.parametrize("micro_batch", [pytest.param(None, marks=pytest.mark.slow), 3])
def test_between_two_looks_a_step_reads_nothing(training: dict[str, object], micro_batch: int | None) -> None:
    trainer = trainer_of({"training": training, "compute": {"micro_batch": micro_batch}})
    trainer.non_finite.every = MOST_IN_A_ROW
    trainer.advance()
    with Watch() as watch:
        for _ in range(MOST_IN_A_ROW - 1):
            trainer.advance()
        assert watch.reads == []
        trainer.advance()
    assert watch.reads == ["_local_scalar_dense"], "one look at step MOST_IN_A_ROW, at one number"


@pytest.mark.parametrize("read", [lambda x: float(x.sum()), lambda x: bool((x > 0).all()), lambda x: x[x > 0]])
def test_the_watch_sees_what_it_is_there_for(read: Callable[[Tensor], object]) -> None:
    with Watch() as watch:
        read(torch.ones(3))
    assert watch.reads


def on_meta(seed: int, *position: int | str, device: torch.device | str = "cpu") -> torch.Generator | None:
    """Torch has no generators for the meta device, whose tensors have no numbers."""
    return None if torch.device(device).type == "meta" else torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("weighting", "kept"), [pytest.param("simple", False, marks=pytest.mark.slow), ("min-snr", False), ("simple", True)]
)
def test_a_step_needs_no_number_of_its_device_and_mixes_no_devices(
    weighting: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a device whose tensors have shapes only, everything but the optimiser, which is torch's own: asking for a
    number fails there, and so does a batch, a noise level or a sum that was left on the CPU. Nothing is copied but by
    `sent`, since other copies wait. `kept`: on latents that were encoded beforehand."""
    for module in (randomness_module, loader_module, latents_module):
        monkeypatch.setattr(module, "sent", lambda tensor, device: torch.empty_like(tensor, device=device))
    monkeypatch.setattr(randomness_module, "generator", on_meta)
    monkeypatch.setattr(Choices, "autocast", lambda self, device: nullcontext())
    monkeypatch.setattr(step_module, "optimizers_for", lambda weights, network, settings, rows: [])
    training = {"weighting": weighting, "augment": 0.0 if kept else 0.5}
    pipeline, parts = fresh(tiny({"training": training, "compute": {"precision": "float32"}}))
    pipeline = replace(pipeline, network=pipeline.network.to("meta"), device=torch.device("meta"))
    _, *shape = parts.train.images.shape
    latents = LatentRows(np.zeros((len(parts.train), 2, 2, *shape), np.float16)) if kept else None
    trainer = Trainer(Denoising(pipeline, latents), parts.train)
    assert trainer.non_finite.every == MOST_IN_A_ROW
    trainer.step = MOST_IN_A_ROW - 2
    trainer.advance()
    with Watch() as watch:
        trainer.advance()
    assert watch.reads == []
    assert trainer.step == MOST_IN_A_ROW and trainer.modules[0].means.sums.device.type == "meta"
    with pytest.raises((RuntimeError, NotImplementedError)):
        trainer.advance()


def everything(trainer: Trainer) -> dict[str, Tensor]:
    state = {key: value for key, value in trainer.state().items() if key in ("ema_updates", "window")}
    numbers = {key: torch.tensor(value, dtype=torch.float64) for key, value in state.items()}
    return numbers | {f"{f}/{k}": v.clone() for f, file in trainer.tensors().items() for k, v in file.items()}


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
@pytest.mark.parametrize("good_before", [0, 2])
def test_a_skipped_step_changes_nothing_and_the_next_is_as_if_it_had_not_been(optimizer: str, good_before: int) -> None:
    """Weights, average, moments, their counters and the window: 0 times infinity is no way to change nothing."""
    trainer, never = (trainer_of({"training": {"optimizer": optimizer}}) for _ in range(2))
    for each in (trainer, never):
        for _ in range(good_before):
            each.advance()
    before = everything(trainer)
    with no_numbers(trainer.network):
        trainer.advance()
    after = everything(trainer)
    assert trainer.non_finite.skipped == 1
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(after[name].any() for name in after.keys() - before.keys()), "moments of 0 where none were"
    never.step += 1
    for each in (trainer, never):
        each.advance()
    ours, theirs = everything(trainer), everything(never)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert trainer.non_finite.in_a_row == 0


@pytest.mark.parametrize("first_bad", range(1, MOST_IN_A_ROW + 1))
def test_a_gpu_stops_within_twice_the_patience_wherever_it_diverges(first_bad: int) -> None:
    counter, step = NonFiniteCounter(torch.device("cpu")), 0
    counter.every = MOST_IN_A_ROW
    while True:
        counter.count(torch.tensor(step < first_bad))
        if counter.is_over(step):
            break
        step += 1
    assert MOST_IN_A_ROW <= step - first_bad + 1 < 2 * MOST_IN_A_ROW


def test_good_steps_between_bad_ones_start_the_count_again() -> None:
    counter = NonFiniteCounter(torch.device("cpu"))
    for step in range(5 * MOST_IN_A_ROW):
        counter.count(torch.tensor(step % MOST_IN_A_ROW == 0))
        assert not counter.is_over(step) and counter.in_a_row == step % MOST_IN_A_ROW


def test_the_layer_that_is_named_is_the_one_whose_gradient_is_not_finite() -> None:
    """Trap: clipping by a norm that is no number leaves no gradient finite, and the first layer is always named."""
    trainer = trainer_of()
    trainer.network.conv_norm_out.bias.register_hook(lambda gradient: gradient * math.nan)
    for _ in range(MOST_IN_A_ROW - 1):
        trainer.advance()
    with pytest.raises(Diverged, match=r"10 steps in a row .*gradient norm nan, first in conv_norm_out\.bias, on "):
        trainer.advance()


def test_an_average_that_was_told_to_wait_waits() -> None:
    network = torch.nn.Linear(2, 2)
    average = ExponentialAverage(network, decay=0.9)
    torch.nn.init.constant_(network.weight, 5.0)
    before = average.network.weight.clone()
    pairs = [*zip(average.network.parameters(), network.parameters(), strict=True)]
    average.update(pairs, torch.tensor(False))
    assert torch.equal(average.network.weight, before) and average.updates == 0
    average.update(pairs, torch.tensor(True))
    assert not torch.equal(average.network.weight, before) and average.updates == 1


def test_muon_alone_skips_too() -> None:
    weight = torch.nn.Parameter(torch.ones(4, 3))
    muon = Muon([weight], lr=1.0)
    weight.grad = torch.full((4, 3), math.inf)
    muon.found_inf = torch.ones(())
    muon.step()
    assert torch.equal(weight.detach(), torch.ones(4, 3)) and not muon.state[weight]["momentum"].any()


UNCHECKED = pytest.mark.skipif(
    not os.environ.get("ANCESTRAL_NO_SHAPE_CHECKS"),
    reason="the suite's checks of shapes cannot be compiled: set ANCESTRAL_NO_SHAPE_CHECKS=1",
)
HOWS = ["no", *(pytest.param(how, marks=UNCHECKED) for how in ("whole",))]


@pytest.mark.gpu
@pytest.mark.parametrize("how", HOWS)
def test_steps_on_a_gpu_wait_for_nothing(how: str) -> None:
    trainer = trainer_of({"compute": {"compile": how}})
    for _ in range(MOST_IN_A_ROW + 1):
        trainer.advance()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(MOST_IN_A_ROW - 1):
            trainer.advance()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert trainer.step == 2 * MOST_IN_A_ROW and trainer.non_finite.skipped == 0


@pytest.mark.gpu
@pytest.mark.parametrize("how", HOWS)
def test_a_gpu_takes_the_steps_of_a_cpu(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to rounding, once both have the same noise; uneven micro-batches, and a skipped step on the way. Weights are
    compared as a whole: where a gradient is 0 but for rounding, Adam goes a full step either way."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    changes = {
        "network": {"dropout": 0.0},
        "compute": {"compile": how, "micro_batch": 3, "precision": "float32"},
        "training": {"lr": 1e-3},
    }
    trainers = []
    start = flat(fresh(tiny(changes))[0].network)
    for device in ("cpu", "cuda"):
        pipeline, parts = fresh(tiny({**changes, "compute": {"precision": "float32"}} if device == "cpu" else changes))
        pipeline = pipeline.to(device)
        trainer = Trainer(Denoising(pipeline), parts.train)
        trainer._randomness = on_the_cpu(trainer)  # type: ignore[method-assign]
        for step in range(4):
            with no_numbers(trainer.network) if step == 1 else nullcontext():
                trainer.advance()
        trainers.append(trainer)
    ours, theirs = (everything(trainer) for trainer in trainers)
    assert int(ours["ema_updates"]) == int(theirs["ema_updates"]) == 3
    torch.testing.assert_close(theirs["window"], ours["window"], rtol=1e-2, atol=0)
    for pair in ([each.network for each in trainers], [each.ema.network for each in trainers]):
        here, there = (flat(network) for network in pair)
        assert (there - here).norm() < 0.1 * (here - start).norm()


def flat(network: torch.nn.Module) -> Tensor:
    return torch.cat([parameter.detach().cpu().flatten() for parameter in network.parameters()])


def on_the_cpu(trainer: Trainer) -> Callable[[], Any]:
    draws = trainer._randomness

    def same() -> Any:
        shape = (trainer.settings.batch_size, *trainer.task.pipeline.spec.shape)
        eps = torch.randn(shape, generator=torch.Generator().manual_seed(trainer.step))
        return draws()._replace(eps=eps.to(trainer.device))

    return same


@pytest.mark.gpu
def test_a_resumed_run_on_a_gpu_has_its_counters_where_the_optimiser_wants_them() -> None:
    """Trap: the fused optimiser's own step counters lie on the GPU, and a checkpoint is read on the CPU."""
    trainer = trainer_of()
    for _ in range(3):
        trainer.advance()
    tensors = {f: {k: v.cpu().clone() for k, v in file.items()} for f, file in trainer.tensors().items()}
    other = trainer_of()
    other.restore(tensors, trainer.state())
    for each in (trainer, other):
        each.advance()
    ours, theirs = everything(trainer), everything(other)
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name])
