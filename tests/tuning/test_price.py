"""What work takes is known before it is done, at a price that is small beside it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pipelines import TINY

from ancestral.condition import Condition
from ancestral.editing.inpaint import Rounds
from ancestral.editing.posterior import linearised
from ancestral.errors import InputError
from ancestral.pipeline import Pipeline
from ancestral.settings import Config, ImageSpec, SamplingSettings, UNetSettings
from ancestral.training.memory import LiveBytes, footprint
from ancestral.tuning import price as module
from ancestral.tuning.price import (
    Price,
    call_cost,
    check_training,
    duration,
    most_of_one,
    of_chains,
    of_training,
    out_of_bounds,
    refusal,
    weights_bytes,
)

CONFIG = Config(network=TINY)
SPEC = ImageSpec(channels=1, height=8, width=8, class_names=("a", "b"))
GIB = 2**30
HALF = torch.tensor(500)


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline.fresh(CONFIG, SPEC, "cpu")


class Clock:
    """What the time is where nothing but network calls takes any: `first` + `each` seconds for every image of one."""

    def __init__(self, pipeline: Pipeline, first: float, each: float) -> None:
        self.now, self.seen, self.first, self.each = 0.0, list[int](), first, each
        pipeline.network.register_forward_pre_hook(self._called)

    def _called(self, module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.seen.append(len(inputs[0]))
        self.now += self.first + self.each * self.seen[-1]

    def of(self, images: int, calls: int) -> float:
        """Seconds of so many calls."""
        return calls * (self.first + self.each * images)


@pytest.fixture
def clock(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of a small network on a usual machine."""
    found = Clock(pipeline, 0.01, 0.001)
    monkeypatch.setattr(module, "time_on", lambda device: found.now)
    return found


@pytest.mark.parametrize("images", [1, 2, 3, 16, 60, 500])
def test_few_calls_of_a_small_network_are_priced_in_the_batch_that_is_drawn(
    pipeline: Pipeline, clock: Clock, images: int
) -> None:
    """Trap: one image was timed, and that takes nearly as long as sixty."""
    told, measured = of_chains(pipeline, SamplingSettings(), images, 5).seconds, clock.now
    whole, rest = divmod(images, 64)
    seen = whole * clock.of(64, 5) + (clock.of(rest, 5) if rest else 0.0)
    assert seen / 1.25 < told < 1.25 * seen and measured < 1


def test_measuring_costs_a_few_hundredths_of_the_work_or_one_call(pipeline: Pipeline, clock: Clock) -> None:
    clock.first = 100.0
    call_cost(pipeline, SamplingSettings(), 16, 10)
    assert clock.seen == [1]
    call_cost(pipeline, SamplingSettings(), 16, 50)
    assert clock.seen == [1, 1, 1], "the first of fifty may be slower, as it sets things up"
    clock.seen, clock.now, clock.first, clock.each = [], 0.0, 0.0, 1.0
    call_cost(pipeline, SamplingSettings(), 16, 1000)
    assert max(clock.seen) == 5 and clock.now < 50
    clock.seen = []
    call_cost(pipeline, SamplingSettings(guidance=2.0), 1000, 10**6)
    assert max(clock.seen) == 128, "as many as are computed at once, and guidance doubles what it doubles in the work"


TIMED = """
from pathlib import Path
from ancestral.native import compiler
from ancestral.pipeline import Pipeline
from ancestral.settings import SamplingSettings
from ancestral.tuning import price

clock, there = price.time_on, []

def time_on(device):
    there.append([*Path().rglob("fused-*.so")])
    return clock(device)

price.time_on = time_on
price.call_cost(Pipeline.load("digits", "cpu"), SamplingSettings(), 16, 800)
print(len(there) > 2, compiler() is None or all(there))
"""


def test_the_kernel_is_compiled_before_a_call_is_timed(tmp_path: Path) -> None:
    """Trap: on a new machine the compiler's seconds were those of every call: an hour for sixteen digits."""
    words, environment = [sys.executable, "-c", TIMED], os.environ | {"ANCESTRAL_CACHE": str(tmp_path)}
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_the_price_is_that_of_all_images_windows_and_calls(pipeline: Pipeline, clock: Clock) -> None:
    price = of_chains(pipeline, SamplingSettings(), 16, 50, windows=3)
    assert price.calls == 16 * 50 * 3 and price.seconds == pytest.approx(3 * clock.of(16, 50))
    more = of_chains(pipeline, SamplingSettings(), 64, 50, windows=3)
    assert more.calls == 4 * price.calls and more.memory > 3 * price.memory
    seen_whole = of_chains(pipeline, SamplingSettings(), 16, 50, windows=3, whole=True)
    assert seen_whole.memory > 2 * price.memory, "not one after another"


def test_the_last_of_several_processes_has_whole_chunks() -> None:
    assert most_of_one(100, 64, 1) == 100
    assert most_of_one(100, 64, 4) == 64, "two of the four have nothing to do"
    assert most_of_one(1000, 64, 4) == 256


def test_memory_is_what_tensors_hold_at_their_peak() -> None:
    with LiveBytes() as live:
        kept = torch.zeros(1000) + 1
        del kept
        torch.zeros(500).add_(1)[3:].mul_(2)
    assert live.most == 8000 and live.now == 0


def test_a_gradients_memory_and_time_are_in_the_price(pipeline: Pipeline) -> None:
    """Trap: what the backward pass wants of the forward pass was left out, several times the rest."""
    x, told = torch.zeros(16, 1, 8, 8), Condition(torch.zeros(16, dtype=torch.int64))
    with LiveBytes() as live:
        _, pull_back = linearised(pipeline.denoiser(told, SamplingSettings()), x, HALF)
        pull_back(x)
    price = of_chains(pipeline, SamplingSettings(), 16, 10, pull_backs=1)
    assert live.most <= price.memory <= 1.5 * live.most
    assert price.calls == 3 * 16 * 10, "a backward pass counts as two calls"


@pytest.mark.parametrize(("side", "micro_batch", "at_once"), [(16, None, 24), (16, 6, 6), (64, 24, 24)])
def test_training_is_priced_by_the_images_it_computes_at_once(side: int, micro_batch: int | None, at_once: int) -> None:
    """Trap: only the four images of a trial were counted."""
    training = CONFIG.training.model_copy(update={"batch_size": 24})
    compute = CONFIG.compute.model_copy(update={"micro_batch": micro_batch})
    config = CONFIG.model_copy(update={"training": training, "compute": compute})
    spec = SPEC.model_copy(update={"height": side, "width": side})
    pipeline = Pipeline.fresh(config, spec, "cpu")
    pipeline.network.requires_grad_(True)
    needed = sum(footprint(pipeline, at_once))
    assert needed / 1.2 < of_training(config, spec, torch.device("cpu")).memory < 1.2 * needed


def test_images_beyond_memory_are_refused_before_a_call(pipeline: Pipeline) -> None:
    def none_at_all(*words: object) -> None:
        raise AssertionError("it was called")

    pipeline.network.register_forward_pre_hook(none_at_all)
    for images, pixels in ((10**13, None), (1, 10**13)):
        with pytest.raises(InputError, match="which is free"):
            of_chains(pipeline, SamplingSettings(), images, 50, pixels=pixels)


def test_weights_are_counted_without_being_made() -> None:
    before = torch.random.get_rng_state()
    built = sum(parameter.nbytes for parameter in Pipeline.fresh(CONFIG, SPEC, "cpu").network.parameters())
    assert weights_bytes(CONFIG, SPEC) == built
    assert torch.equal(torch.random.get_rng_state(), before)
    wide = CONFIG.model_copy(update={"network": UNetSettings(widths=(16_384,), layers=1, attention=())})
    with pytest.raises(InputError, match=r"lower training\.batch_size"):
        check_training(wide, SPEC, torch.device("cpu"))
    many = CONFIG.model_copy(update={"training": CONFIG.training.model_copy(update={"batch_size": 10**12})})
    with pytest.raises(InputError, match=r"lower training\.batch_size"):
        check_training(many, SPEC, torch.device("cpu"))


BOUNDS = {
    Price(1, 3599, GIB, GIB): ("", ""),
    Price(1, 3601, GIB, GIB): ("", "an hour"),
    Price(1, 60, 6 * GIB, GIB): ("", "half of the free memory"),
    Price(1, 60, GIB, 11 * GIB): ("", "a tenth of the free disk"),
    Price(1, 7200, 11 * GIB, GIB): ("10.7 GB of free memory", "an hour and half of the free memory"),
    Price(1, 60, GIB, 101 * GIB): ("107.4 GB of free disk", "a tenth of the free disk"),
}


@pytest.mark.parametrize("price", BOUNDS)
def test_what_is_out_of_bounds_is_named(price: Price) -> None:
    assert out_of_bounds(price, 10 * GIB, 100 * GIB) == BOUNDS[price]
    assert out_of_bounds(price._replace(seconds=1), None, None) == ("", "")


def test_much_must_be_meant_and_too_much_helps_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available_bytes", lambda device: 10 * GIB)
    long, large = Price(10**6, 7200.0, GIB), Price(10**6, 1.0, 11 * GIB)
    asked = refusal(long, False, torch.device("cpu"), tmp_path, "generate fewer")
    assert asked.startswith("expected --yes for more than an hour, got 1,000,000 network calls")
    assert asked.endswith("generate fewer, or add --yes") and "2.0 hours" in asked
    assert refusal(long, True, torch.device("cpu"), tmp_path, "generate fewer") == ""
    assert "fits into 10.7 GB of free memory" in refusal(large, True, torch.device("cpu"), tmp_path, "generate fewer")


def test_durations_are_said_in_the_unit_they_are_read_in() -> None:
    said = [duration(seconds) for seconds in (0.2, 90.0, 718.0, 7200.0, 400_000.0)]
    assert said == ["1 second", "90 seconds", "12 minutes", "2.0 hours", "5 days"]


def test_steps_are_counted_without_being_made() -> None:
    timesteps = torch.arange(20, -1, -1)
    for rounds in (Rounds(1, 1), Rounds(3, 4), Rounds(10, 30)):
        assert rounds.steps(timesteps) == sum(len(leg) - 1 for leg in rounds.legs(timesteps))
    assert Rounds(10**15).steps(timesteps) == 19 * 10**15 + 1
