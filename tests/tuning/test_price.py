"""What work takes is known before it is done, at a price that is small beside it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ancestral.config import Config, ImageSpec, NetworkSettings, SamplingSettings
from ancestral.editing.canvas import num_starts, starts
from ancestral.editing.inpaint import Rounds
from ancestral.errors import InputError
from ancestral.pipeline import Pipeline
from ancestral.tuning import price as module
from ancestral.tuning.price import (
    Price,
    call_cost,
    check_training,
    duration,
    of_chains,
    out_of_bounds,
    refusal,
    weights_bytes,
)

CONFIG = Config(network=NetworkSettings(widths=(8,), layers=1, attention=(), middle_attention=False, norm_groups=4))
SPEC = ImageSpec(channels=1, height=8, width=8, class_names=("a", "b"))
GIB = 2**30


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline.fresh(CONFIG, SPEC, "cpu")


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call takes a tenth of a second, whatever it computes."""
    ticks = iter_of_tenths()
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(ticks))


def iter_of_tenths() -> Iterator[float]:
    now = 0
    while True:
        yield now / 10
        now += 1


def calls_of(pipeline: Pipeline, images: int, calls: int, guidance: float = 1.0) -> list[int]:
    seen: list[int] = []
    handle = pipeline.network.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    call_cost(pipeline, SamplingSettings(guidance=guidance), images, calls)
    handle.remove()
    return seen


def test_measuring_costs_a_hundredth_of_the_work_or_one_call(pipeline: Pipeline) -> None:
    assert calls_of(pipeline, 16, 800) == [4, 4]
    assert calls_of(pipeline, 1000, 10**6) == [64, 64], "as many as are computed at once"
    assert calls_of(pipeline, 1, 50) == [1]
    assert calls_of(pipeline, 16, 800, guidance=2.0) == [8, 8], "guidance doubles what it doubles in the work"


def test_the_price_is_that_of_all_images_windows_and_calls(pipeline: Pipeline, ticking: None) -> None:
    price = of_chains(pipeline, SamplingSettings(), 16, 50, windows=3)
    assert price.calls == 16 * 50 * 3
    assert price.seconds == pytest.approx(price.calls * 0.1 / 12), "a tenth of a second for the twelve measured at once"
    more = of_chains(pipeline, SamplingSettings(), 64, 50, windows=3)
    assert more.calls == 4 * price.calls and more.memory > price.memory


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
    wide = CONFIG.model_copy(update={"network": NetworkSettings(widths=(16_384,), layers=1, attention=())})
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
    asked = refusal(long, False, torch.device("cpu"), tmp_path, "draw fewer")
    assert asked.startswith("expected --yes for more than an hour, got 1,000,000 network calls")
    assert asked.endswith("draw fewer, or add --yes") and "2.0 hours" in asked
    assert refusal(long, True, torch.device("cpu"), tmp_path, "draw fewer") == ""
    assert "fits into 10.7 GB of free memory" in refusal(large, True, torch.device("cpu"), tmp_path, "draw fewer")


def test_durations_are_said_in_the_unit_they_are_read_in() -> None:
    said = [duration(seconds) for seconds in (0.2, 90.0, 718.0, 7200.0, 400_000.0)]
    assert said == ["1 second", "90 seconds", "12 minutes", "2.0 hours", "5 days"]


def test_windows_and_steps_are_counted_without_being_made() -> None:
    for length in range(8, 40):
        for stride in (1, 3, 4, 8):
            for wraps in (False, True):
                assert num_starts(length, 8, stride, wraps) == len(starts(length, 8, stride, wraps))
    timesteps = torch.arange(20, -1, -1)
    for rounds in (Rounds(1, 1), Rounds(3, 4), Rounds(10, 30)):
        assert rounds.steps(timesteps) == sum(len(leg) - 1 for leg in rounds.legs(timesteps))
    assert Rounds(10**15).steps(timesteps) == 19 * 10**15 + 1
