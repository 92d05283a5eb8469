"""The kernel of group normalisation and SiLU: against float64, against torch's own, and what looks into it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, channels_last

from ancestral.networks import fused
from ancestral.networks.layers import GroupNorm
from ancestral.networks.unet import UNet
from ancestral.settings import UNetSettings
from benchmarks.parts import NORMS

pytestmark = pytest.mark.skipif(
    not fused.applies_to(torch.zeros(1, 1, 1, 1)), reason="this machine has no C compiler, or no such OpenMP"
)
ODD = [
    (1, 5, 1, 1, 1), (2, 12, 1, 1, 3), (3, 17, 2, 5, 1), (1, 33, 9, 1, 11), (2, 48, 5, 7, 8), (5, 70, 11, 13, 35),
    (2, 40, 30, 31, 40), (1, 600, 9, 9, 4),
]  # fmt: skip
"""(batch, channels, height, width, groups)."""
REAL = [(batch, channels, side, side, groups) for batch, channels, side, groups in NORMS]
ROUNDING = {torch.float32: 2**-24, torch.bfloat16: 2**-9}
HOW = {
    "alone": (), "activated": ("activates",), "added": ("adds", "activates"), "modulated": ("modulates", "activates")
}  # fmt: skip

Inputs = dict[str, Tensor]


def inputs(shape: tuple[int, ...], dtype: torch.dtype, mean: float = 0.5) -> Inputs:
    """Of one norm and its gradient, images channels last."""
    batch, channels, height, width, _ = shape
    draw = torch.Generator().manual_seed(sum(shape))
    images = {name: torch.randn(batch, channels, height, width, generator=draw) for name in ("x", "dy")}
    images["x"] = 2 * images["x"] + mean
    rows = {name: torch.randn(batch, channels, generator=draw) for name in ("added", "scale", "shift")}
    weights = {name: torch.randn(channels, generator=draw) for name in ("weight", "bias")}
    images = {name: image.contiguous(memory_format=channels_last) for name, image in images.items()}
    return {name: each.to(dtype) for name, each in (images | rows).items()} | weights


def answers(given: Inputs, groups: int, *how: str) -> list[Tensor]:
    """The output, then the gradients of everything that was given."""
    given = {name: each.detach().requires_grad_(name != "dy") for name, each in given.items()}
    norm = GroupNorm(groups, len(given["weight"]))
    norm.weight.data, norm.bias.data = given["weight"].detach(), given["bias"].detach()
    added = given["added"] if "adds" in how else None
    modulation = (given["scale"], given["shift"]) if "modulates" in how else None
    y = norm(given["x"], added, modulation, "activates" in how)
    leaves = [given["x"], norm.weight, norm.bias, *([] if added is None else [added]), *(modulation or ())]
    return [y, *torch.autograd.grad(y, leaves, given["dy"])]


def exact(given: Inputs, groups: int, *how: str) -> list[Tensor]:
    """The same in float64, which the kernel does not compute."""
    return answers({name: each.double() for name, each in given.items()}, groups, *how)


@contextmanager
def torchs_own() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "applies_to", lambda x: False)
        yield


def away(found: Tensor, truth: Tensor) -> float:
    """Root mean square, of the truth's."""
    return float((found.detach().double() - truth.detach()).norm() / truth.detach().norm())


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("shape", [*REAL, *ODD], ids=str)
def test_it_is_no_further_from_float64_than_torch_s_own(shape: tuple[int, ...], how: str, dtype: torch.dtype) -> None:
    """Images are rounded once, to their type; the gradients of weights are sums of float32 whatever the type."""
    given = inputs(shape, dtype)
    truth, found = exact(given, shape[4], *HOW[how]), answers(given, shape[4], *HOW[how])
    with torchs_own():
        torchs = answers(given, shape[4], *HOW[how])
    for number, (true, here, there) in enumerate(zip(truth, found, torchs, strict=True)):
        assert here.dtype == there.dtype and (number > 1 or here.stride() == there.stride())
        rounding = ROUNDING[here.dtype]
        assert away(here, true) < 1.1 * max(rounding, away(there, true)) + 1e-6


@pytest.mark.parametrize("shape", ODD, ids=str)
def test_bfloat16_is_float32_rounded_to_the_nearest(shape: tuple[int, ...]) -> None:
    given = inputs(shape, torch.bfloat16)
    wide = {name: each.float() for name, each in given.items()}
    y, dx, dweight, *_ = answers(given, shape[4], "activates")
    wide_y, wide_dx, wide_dweight, *_ = answers(wide, shape[4], "activates")
    assert torch.equal(y, wide_y.bfloat16()) and torch.equal(dx, wide_dx.bfloat16())
    assert torch.equal(dweight, wide_dweight)


def test_a_large_mean_costs_no_digits() -> None:
    """Trap: the mean of squares less the square of the mean. What is lost is the rounding of the mean itself."""
    given = inputs((2, 32, 16, 16, 4), torch.float32, mean=3000.0)
    for here, true in zip(answers(given, 4, "activates"), exact(given, 4, "activates"), strict=True):
        assert away(here, true) < 3000 * ROUNDING[torch.float32]


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("shape", [(1, 48, 40, 40, 8), (3, 64, 20, 31, 4), (10, 32, 28, 28, 4)], ids=str)
def test_neither_threads_nor_the_batch_change_a_bit(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    given = inputs(shape, dtype)
    whole = answers(given, shape[4], "adds", "activates")
    threads = torch.get_num_threads()
    try:
        for number in (2, 3):
            torch.set_num_threads(number)
            assert all(map(torch.equal, answers(given, shape[4], "adds", "activates"), whole))
    finally:
        torch.set_num_threads(threads)
    alone = {name: each[-1:] if each.ndim > 1 else each for name, each in given.items()}
    for one, all_of_them in zip(answers(alone, shape[4], "adds", "activates"), whole, strict=True):
        assert one.ndim == 1 or torch.equal(one, all_of_them[-1:])


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_what_is_not_finite_stays_so_and_in_its_image(dtype: torch.dtype) -> None:
    given = inputs((3, 32, 6, 6, 4), dtype)
    clean = answers(given, 4, "activates")
    for bad in (torch.nan, torch.inf):
        given["x"][1, 5, 2, 2] = bad
        y, dx, dweight, *_ = answers(given, 4, "activates")
        assert not y[1, :8].isfinite().any() and not dx[1, :8].isfinite().any() and not dweight[:8].isfinite().any()
        assert torch.equal(y[::2], clean[0][::2]) and torch.equal(y[1, 8:], clean[0][1, 8:])


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_the_far_ends_of_silu(dtype: torch.dtype) -> None:
    """Beyond e^88 float32 ends: silu(z) is z there, or 0."""
    x = torch.linspace(-3, 3, 64).to(dtype).view(1, 1, 8, 8)
    bias = torch.tensor([0.0])
    for gain in (1e-3, 1.0, 50.0, 1e4, 1e30):
        y = fused.group_norm(x, 1, 1e-5, torch.tensor([gain]), bias, activates=True)
        z = fused.group_norm(x.double().float(), 1, 1e-5, torch.tensor([gain]), bias).double()
        torch.testing.assert_close(y.double(), z / (1 + (-z).exp()), rtol=2 * ROUNDING[dtype] + 1e-6, atol=gain * 1e-37)


def test_only_what_it_is_for_is_given_to_it() -> None:
    x = torch.zeros(2, 4, 3, 3).contiguous(memory_format=channels_last)
    assert fused.applies_to(x) and fused.applies_to(x.bfloat16())
    assert not any(map(fused.applies_to, (x.contiguous(), x.double(), x.half(), x[:0], x[0], x.flatten(2))))
    assert not fused.applies_to(x[:, :, :, ::2])


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # in torch's own rules of derivatives
def test_whatever_looks_into_a_network_sees_torch_s_own() -> None:
    """torch.func, forward-mode derivatives and exporting know no such kernel."""
    given = inputs((2, 8, 5, 4, 2), torch.float32)
    norm, x, applied = GroupNorm(2, 8), given["x"], list[bool]()

    def looked_at(x: Tensor) -> Tensor:
        applied.append(fused.applies_to(x))
        return x.sum()

    torch.func.vmap(looked_at)(x[None])
    torch.func.jvp(looked_at, (x,), (given["dy"],))
    with torch.autograd.forward_ad.dual_level():
        looked_at(torch.autograd.forward_ad.make_dual(x, given["dy"]))
    assert applied == [False] * 3
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(norm(leaf, activates=True).pow(3).sum(), leaf)
    torch.testing.assert_close(torch.func.grad(lambda x: norm(x, activates=True).pow(3).sum())(x), gradient)
    exported = torch.export.export(norm, (x,), strict=False)
    assert any("group_norm" in str(node.target) for node in exported.graph.nodes)
    torch.testing.assert_close(exported.module()(x), norm(x))


@pytest.mark.parametrize("how", HOW)
def test_the_derivative_of_a_derivative(how: str) -> None:
    """Of a function of the gradients, by everything that was given, against float64."""

    def second(given: Inputs) -> list[Tensor]:
        given = {name: each.detach().requires_grad_() for name, each in given.items()}
        norm = GroupNorm(2, 8)
        norm.weight.data, norm.bias.data = given["weight"].detach(), given["bias"].detach()
        added = given["added"] if "adds" in HOW[how] else None
        modulation = (given["scale"], given["shift"]) if "modulates" in HOW[how] else None
        leaves = [given["x"], norm.weight, *([] if added is None else [added]), *(modulation or ())]
        y = norm(given["x"], added, modulation, "activates" in HOW[how])
        first = torch.autograd.grad(y, leaves, given["dy"], create_graph=True)
        return [*torch.autograd.grad(sum(each.pow(2).sum() for each in first), [given["x"], given["dy"], norm.weight])]

    given = inputs((2, 8, 5, 4, 2), torch.float32)
    truth = second({name: each.double() for name, each in given.items()})
    assert all(away(here, true) < 1e-5 for here, true in zip(second(given), truth, strict=True))


def test_twenty_steps_of_training_agree_to_rounding() -> None:
    def trained() -> Tensor:
        torch.manual_seed(0)
        network = UNet(UNetSettings(widths=(8, 16), attention=(), norm_groups=4, dropout=0.0), 1, 1).to(
            memory_format=channels_last
        )
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
        losses = list[Tensor]()
        for _ in range(20):
            x, time = torch.randn(4, 1, 8, 8), torch.rand(4) * 1000
            losses.append((network(x, time) - x).square().mean())
            optimizer.zero_grad()
            losses[-1].backward()
            optimizer.step()
        return torch.stack(losses).detach()

    with torchs_own():
        torchs = trained()
    ours = trained()
    assert torchs[-1] < 0.9 * torchs[0] and not torch.equal(ours, torchs)
    torch.testing.assert_close(ours, torchs, rtol=1e-4, atol=1e-5)
