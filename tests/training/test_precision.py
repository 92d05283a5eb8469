"""What every kind of machine keeps of the promises: "auto" is bfloat16 where the machine is fast in it, else float32.

Each test runs as on both kinds, in this process. The marked ones run once more with the units hidden from torch itself
(`make test-float32`), so that on a machine that has them the other kernels compute too.
"""

from pathlib import Path

import pytest
import torch
from runs import TWO_LEVELS, fresh, run_all, run_until, tiny
from test_resume import assert_same_run

from ancestral import bfloat16, compute
from ancestral.compute import LEAST_SIDE, computes_in_bfloat16
from ancestral.pipeline import Pipeline
from ancestral.settings import SamplingSettings
from ancestral.training.checkpoint import load_checkpoint, newest_checkpoint

pytestmark = pytest.mark.precision
ALL = {"network": TWO_LEVELS}
LEVELS_APART = {"float32": 1, "bfloat16": 2}
"""Of 0..255, by which an image may differ alone and in a batch: a sum in another order, rounded 24 bits deep or 8."""


def test_auto_is_what_the_machine_is_fast_in(usual_precision: str) -> None:
    assert fresh(tiny(ALL))[0].compute.precision == usual_precision


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path, usual_precision: str) -> None:
    run_all(tiny(ALL), tmp_path / "whole")
    run_until(4, tiny(ALL), tmp_path / "parts")
    run_all(tiny(ALL), tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def test_weights_averages_and_moments_are_float32(tmp_path: Path, usual_precision: str) -> None:
    """Trap: an average of 0.9999 in bfloat16 never moves."""
    run_all(tiny({**ALL, "training": {"steps": 2}}), tmp_path)
    newest = newest_checkpoint(tmp_path / "checkpoints", pytest.fail)
    assert newest is not None
    tensors, _ = load_checkpoint(newest)
    kinds = {tensor.dtype for group in ("model", "ema", "optimizer") for tensor in tensors[group].values()}
    assert kinds == {torch.float32}


def test_an_image_alone_is_the_image_in_a_batch_up_to_rounding(tmp_path: Path, usual_precision: str) -> None:
    run_all(tiny({**ALL, "training": {"steps": 2}}), tmp_path)
    pipeline, settings = Pipeline.load(tmp_path), SamplingSettings(steps=10)
    labels = torch.arange(6)
    batch = pipeline.generate(range(6), labels, settings).int()
    alone = torch.cat([pipeline.generate([seed], labels[seed : seed + 1], settings) for seed in range(6)]).int()
    other = pipeline.generate(range(6, 12), labels, settings).int()
    assert (alone - batch).abs().max() <= LEVELS_APART[usual_precision] < (other - batch).abs().max()
    assert torch.equal(pipeline.generate(range(6), labels, settings).int(), batch), "and the same batch to the bit"


# what the environment lets oneDNN use -> whether that includes matrix units, and vector units, for bfloat16
LIMITS = {
    None: (True, True),
    "ALL": (True, True),
    "AVX512_CORE_AMX": (True, True),
    "avx512_core_bf16": (False, True),
    "AVX512_CORE_FP16": (False, True),
    "AVX512_CORE_VNNI": (False, False),
    "AVX2": (False, False),
}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("faster", [True, False])
def test_units_that_the_environment_hides_are_not_counted_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str | None, faster: bool
) -> None:
    """Trap: bfloat16 by emulation, at a tenth of float32's speed. And matrix units need no measurement, vector units
    one, without which they do not count either."""
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path))
    monkeypatch.setattr(bfloat16, "measured_ratio", lambda: 2.0 if faster else 1.0)
    monkeypatch.setattr(compute, "processor", lambda: f"the one of {tmp_path}")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    matrix, vector = LIMITS[limit]
    for units, seen in {(True, True): matrix or (vector and faster), (False, True): vector and faster}.items():
        monkeypatch.setattr(compute.torch.cpu, "_is_amx_tile_supported", lambda units=units: units[0])
        monkeypatch.setattr(compute.torch.cpu, "_is_avx512_bf16_supported", lambda: True)
        assert computes_in_bfloat16("cpu") == computes_in_bfloat16("cpu", LEAST_SIDE) == seen
        assert computes_in_bfloat16("cpu", LEAST_SIDE - 1) == (units[0] and matrix), "small images gain by matrix units"
        assert any(tmp_path.iterdir()) == (vector and not (units[0] and matrix)), "measured where it has to be"
    monkeypatch.setattr(compute.torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert not computes_in_bfloat16("cpu")
