"""Where the time goes: kinds of operators, what they need, and that the shares of a step make up the step."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from benchmarks import flops, ours, profile_table
from benchmarks.__main__ import main
from benchmarks.bandwidth import Bandwidth, rate_at
from benchmarks.ceiling import Ceiling, bfloat16_gain
from benchmarks.machine import precisions
from benchmarks.operations import NAMES, OUTSIDE, REST, Needs, is_composite, kind_of
from benchmarks.peers import diffusers, teaching
from benchmarks.profile import STEPS, in_precision, profiled
from benchmarks.step import FORWARD, OF_THE_GAIN, TRAINING, goals_of
from benchmarks.workloads import smallest, transformer

STREAMS = [Bandwidth("copy", 2**20, 100.0), Bandwidth("add", 2**20, 90.0), Bandwidth("read", 2**28, 20.0)]
RATES = {"float32": 100.0, "bfloat16": 200.0}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::mkldnn_convolution", "convolution, forward"),
        ("aten::convolution_backward", "convolution, backward"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu_backward", "attention"),
        ("aten::native_group_norm_backward", "normalisation"),
        ("GroupNormSiLUBackward", "normalisation"),
        ("aten::_foreach_norm", "optimiser, clipping, average"),
        ("aten::normal_", "random numbers"),
        ("aten::upsample_nearest2d", "concatenation and resizing"),
        ("autograd::engine::evaluate_function: ConvolutionBackward0", OUTSIDE),
        ("aten::bitwise_not", REST),
    ],
)
def test_an_operator_is_known_by_its_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_what_is_only_made_of_others_is_known() -> None:
    """Trap: an overload that only TorchScript knows, such as `mul.left_t`."""
    assert [is_composite(name) for name in ("aten::linear", "aten::mul", "aten::convolution")] == [True, False, False]
    assert not is_composite("GroupNormSiLU") and not is_composite("Optimizer.step#Adam.step")


@pytest.mark.parametrize("inference", [False, True])
def test_needs_are_those_of_the_shapes(inference: bool) -> None:
    """A product of (2, 3) by (3, 4), a sum with a repeated row, an idle dropout, a view, an overwriting copy."""
    x, w, row = torch.ones(2, 3), torch.ones(4, 3), torch.ones(4)
    with torch.inference_mode(inference), Needs() as needs:
        y = F.linear(x, w)
        z = F.dropout(y + row.expand(2, 4), training=False).t()
        torch.empty(4, 2).copy_(z)
    found = [(each.kind, each.multiply_adds, each.bytes) for each in needs.operations]
    assert found == [
        ("matrix products", 2 * 3 * 4, 4 * (6 + 12 + 8)),
        ("additions and multiplications", 0, 4 * (8 + 4 + 8)),
        ("casts and copies", 0, 4 * (8 + 8)),
    ]


def test_an_operator_on_lists_needs_every_tensor() -> None:
    """Trap: an operator that writes to its tensors and returns none."""
    pairs = [torch.ones(8) for _ in range(3)]
    with Needs() as needs:
        torch._foreach_mul_(pairs, 2.0)
    assert [each.bytes for each in needs.operations] == [2 * 3 * 8 * 4]


@pytest.mark.parametrize("work", [smallest(True), transformer(True)], ids=lambda work: work.name)
@pytest.mark.parametrize("step", STEPS)
def test_multiply_adds_are_those_that_the_other_benchmarks_count(work, step: str) -> None:
    """Attention's too, by the fused kernel."""
    shape, count = (work.batch_size, *work.spec.shape), flops.step_flops
    if step == "sampling step":
        count = flops.forward_flops
    take = STEPS[step](work)
    take()
    with Needs() as needs:
        take()
    expected = count(work.pipeline().network, ours.call, shape)
    assert 2 * sum(each.multiply_adds for each in needs.operations) == expected


@pytest.mark.parametrize("precision", precisions())
def test_the_shares_make_up_the_step(precision: str) -> None:
    found = profiled(in_precision(smallest(True), precision), "training step", 1, RATES, STREAMS)
    assert sum(each.seconds for each in found.shares) == pytest.approx(found.profiled.median)
    assert {each.kind for each in found.shares} <= {*NAMES} and all(each.seconds >= 0 for each in found.shares)
    for each in found.shares:
        assert max(each.for_multiply_adds, each.for_bytes) <= each.least <= each.for_multiply_adds + each.for_bytes
    assert sum(each.multiply_adds for each in found.shares) * 2 / found.seconds.median == pytest.approx(
        found.of_ceiling * RATES[precision] * 1e9
    )


def test_bytes_move_at_the_rate_of_the_nearest_working_set() -> None:
    assert [rate_at(STREAMS, size) for size in (0, 2**20, 2**25, 2**30)] == [100.0, 100.0, 20.0, 20.0]


def test_goals_are_by_what_the_machine_multiplies_with(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Ceiling("convolution", "float32", "", 400.0), Ceiling("convolution", "bfloat16", "", 1000.0)]
    assert bfloat16_gain(found) == 2.5 and bfloat16_gain(found[:1]) == 1
    monkeypatch.setattr("benchmarks.step.ceilings", lambda quick: found)
    script, best = diffusers.SCRIPT.name, diffusers.BEST.name

    def goals(products: str, precision: str) -> list[dict[str, float]]:
        monkeypatch.setattr("benchmarks.step.products", lambda: products)
        return [goals_of(aims[key], precision, False) for aims, key in ((TRAINING, "paper"), (FORWARD, "teaching"))]

    assert goals("amx", "bfloat16") == [{script: 3.0, best: 1.2}, {teaching.NAME: 8.0}]
    assert goals("avx512-bf16", "bfloat16") == [{script: pytest.approx(2.5 * OF_THE_GAIN, abs=0.01), best: 1.0}, {}]
    assert goals("amx", "float32") == goals("f32", "float32") == [{script: 1.0, best: 1.0}, {}]


@pytest.mark.slow
def test_the_benchmark_writes_tables_json_and_a_chart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--rounds", "1", "--only", "profile", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    (file,) = tmp_path.glob("*-quick.json")
    stored = profile_table.stored(file)
    assert {(each.step, each.precision) for each in stored} == {(s, p) for s in STEPS for p in precisions()}
    assert len(stored) == 3 * len(STEPS) * len(precisions()) and "Python and dispatch" in said
    assert json.loads(file.read_text())["benchmarks"]["profile"]["bandwidth"][0]["gigabytes_per_second"] > 0
    assert (tmp_path / f"{file.stem}-profile.png").read_bytes().startswith(b"\x89PNG")
    assert profile_table.main([str(file), str(file)]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| convolution")]
    assert rows and all(row[1:4] == [*row[4:6], row[6].removesuffix(" |")] for row in rows)
