"""What every kind of machine keeps of the promises: "auto" is bfloat16 where there are matrix units, else float32.

Each test runs as on both kinds, in this process. The marked ones run once more with the units hidden from torch itself
(`make test-float32`), so that on a machine that has them the other kernels compute too.
"""

from pathlib import Path

import pytest
import torch
from runs import TWO_LEVELS, fresh, run_all, run_until, tiny
from test_resume import assert_same_run

from ancestral import compute
from ancestral.compute import computes_in_bfloat16
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


@pytest.mark.parametrize(
    ("limit", "seen"),
    [(None, True), ("ALL", True), ("AVX512_CORE_AMX", True), ("avx512_core_bf16", False), ("AVX2", False)],
)
def test_units_that_the_environment_hides_are_not_counted_on(
    monkeypatch: pytest.MonkeyPatch, limit: str | None, seen: bool
) -> None:
    """Trap: bfloat16 by emulation, at a tenth of float32's speed."""
    monkeypatch.setattr(compute.torch.cpu, "_is_amx_tile_supported", lambda: True)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if limit is not None:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert computes_in_bfloat16("cpu") == seen
    monkeypatch.setattr(compute.torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert not computes_in_bfloat16("cpu")
