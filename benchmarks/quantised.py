"""`python -m benchmarks.quantised`: whether convolutions in 8 bits would pay on this CPU. Nothing of it is a setting.

A convolution is measured whole, as a network would have to use it: its input comes in float32 and is rounded to 256
levels, weights have been rounded before, the output is float32 again. Two forms: torch's quantised tensors, and the
kernel under torch's compiler, which takes bytes. Then the whole small network, with every 3x3 convolution that keeps
the resolution replaced: what is left of the gain beside normalisation, attention and conversions, and how far its
output is off. Scales are fixed beforehand, by the largest number that a few images in noise lead to.

Both forms are on their way out or private in torch 2.13: quantised tensors warn that they will be removed.
"""

import argparse
import copy
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.files import write_whole
from ancestral.machine import processor
from benchmarks.pairs import Case, Contestant, Measured, compare, timed
from benchmarks.workloads import small

LEVELS = ((32, 28), (64, 14), (128, 7))
"""(channels, side) of the small recipes' levels."""
BATCHES = (32, 64)
ROUNDS = 7
REACH = 127
"""Levels on either side of 0."""
WEIGHT_REACH = REACH if torch.cpu._is_vnni_supported() else REACH // 2
"""Of weights: without VNNI two products are added in 16 bits, which 8 bits of each overflow."""

Form = Callable[[nn.Conv2d, float, float], Callable[[Tensor], Tensor]]
"""(convolution, largest input, largest output) -> the same in 8 bits, (B, C, H, W) float32 to float32."""


def quantised_tensors(conv: nn.Conv2d, largest_in: float, largest_out: float) -> Callable[[Tensor], Tensor]:
    """By torch's quantised tensors: weights by channel, activations by one scale."""
    torch.backends.quantized.engine = "x86"
    weight, scales = conv.weight.detach(), _weight_scales(conv)
    zeros = torch.zeros(len(scales), dtype=torch.int64)
    packed = torch.ops.quantized.conv2d_prepack(
        torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8), conv.bias, *_shape_of(conv)
    )
    scale_in, scale_out = largest_in / REACH, largest_out / REACH

    def call(x: Tensor) -> Tensor:
        rounded = torch.quantize_per_tensor(x, scale_in, REACH + 1, torch.quint8)
        out: Tensor = torch.ops.quantized.conv2d(rounded, packed, scale_out, REACH + 1)
        return out.dequantize()

    return call


def bytes_in(conv: nn.Conv2d, largest_in: float, largest_out: float) -> Callable[[Tensor], Tensor]:
    """By the compiler's kernel, which takes bytes and answers in float32."""
    scales, scale, where = _weight_scales(conv), largest_in / REACH, _shape_of(conv)
    rounded = (conv.weight.detach() / scales[:, None, None, None]).round().to(torch.int8).contiguous()
    packed = torch.ops.onednn.qconv_prepack(rounded, scales, scale, REACH + 1, *where)
    zeros, bias = torch.zeros(len(scales), dtype=torch.int32), None if conv.bias is None else conv.bias.detach()

    def call(x: Tensor) -> Tensor:
        levels = x.mul(1 / scale).add_(REACH + 1.5).clamp_(0, 255).to(torch.uint8)
        out: Tensor = torch.ops.onednn.qconv_pointwise(
            levels, scale, REACH + 1, packed, scales, zeros, bias, *where, 1.0, 0, torch.float32, "none", [None], ""
        )
        return out

    return call


FORMS: dict[str, Form] = {"quantised tensors": quantised_tensors, "bytes": bytes_in}


class Replaced(nn.Module):
    """A convolution in another form, in its place in a network."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, prints the table in Markdown and writes the JSON."""
    words = _parser().parse_args(argv)
    if "x86" not in torch.backends.quantized.supported_engines:
        print(f"no 8-bit convolutions in this torch on {processor()}")
        return 1
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print("| | float32 | " + " | ".join(f"{form}, times faster | off by" for form in FORMS) + " |")
    print("|---" * (2 + 2 * len(FORMS)) + "|")
    shapes = [(batch, *level) for batch in BATCHES for level in LEVELS]
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
        rows = [convolution(*shape, words.rounds) for shape in shapes]
        rows += [network(batch, words.rounds) for batch in BATCHES]
    about = {"processor": processor(), "torch": torch.__version__, "threads": 1}
    write_whole(Path(words.out) / "quantised.json", json.dumps({**about, "rows": rows}, indent=1) + "\n")
    return 0


def convolution(batch: int, channels: int, side: int, rounds: int) -> dict[str, Any]:
    """One convolution, alone."""
    conv = nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(batch, channels, side, side).contiguous(memory_format=torch.channels_last)
    reach = float(x.abs().max()), float(conv(x).abs().max())
    forms = {name: form(conv, *reach) for name, form in FORMS.items()}
    return _row(f"{batch} x {channels} x {side} x {side}", conv, forms, x, rounds)


def network(batch: int, rounds: int) -> dict[str, Any]:
    """A call of the small network."""
    pipeline = small(False).pipeline()
    x = torch.randn(batch, *pipeline.spec.shape)
    forms = {name: _at_500(in_8_bits(pipeline.network, form, x)) for name, form in FORMS.items()}
    return _row(f"the small network, batch {batch}", _at_500(pipeline.network.eval()), forms, x, rounds)


def in_8_bits(network: nn.Module, form: Form, x: Tensor) -> nn.Module:
    """A copy with its 3x3 convolutions of stride 1 in 8 bits, scaled by what `x` leads to at t = 500."""
    other, seen = copy.deepcopy(network).eval(), {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[Tensor], output: Tensor) -> None:
            seen[name] = float(given[0].abs().max()), float(output.abs().max())

        return hook

    inner = [name for name, each in other.named_modules() if isinstance(each, nn.Conv2d) and _fits(each)]
    hooks = [other.get_submodule(name).register_forward_hook(note(name)) for name in inner]
    _at_500(other)(x)
    for name, hook in zip(inner, hooks, strict=True):
        hook.remove()
        conv = other.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        other.set_submodule(name, Replaced(form(conv, *seen[name])))
    return other


def _fits(conv: nn.Conv2d) -> bool:
    """Not the first and last convolutions, which are next to nothing, nor 1x1, which are matrix products."""
    return conv.kernel_size == (3, 3) and conv.stride == (1, 1) and min(conv.in_channels, conv.out_channels) > 3


def _at_500(network: nn.Module) -> Callable[[Tensor], Tensor]:
    time = torch.tensor(500.0)
    return lambda x: network(x, time)


def _row(
    name: str, plain: Callable[[Tensor], Tensor], forms: dict[str, Callable[[Tensor], Tensor]], x: Tensor, rounds: int
) -> dict[str, Any]:
    """Seconds in float32, and for each form how many times faster it is and its error over the output's spread."""
    contestants = [Contestant(each, _call(form, x)) for each, form in {"float32": plain, **forms}.items()]
    first, *others = compare(Case(name, contestants), rounds).measured
    exact = plain(x)
    errors = [float((form(x) - exact).square().mean().sqrt() / exact.std()) for form in forms.values()]
    row: dict[str, Any] = {"name": name, "seconds": first.value.median}
    row |= {who.name: _faster(who) | {"error": error} for who, error in zip(others, errors, strict=True)}
    cells = [
        f"{row[who]['median']:.2f} ({row[who]['low']:.2f} .. {row[who]['high']:.2f}) | {row[who]['error']:.1%}"
        for who in FORMS
    ]
    print(f"| {name} | {1e3 * first.value.median:.2f} ms | {' | '.join(cells)} |", flush=True)
    return row


def _call(form: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], float]:
    return timed(lambda: form(x), 0.1)


def _faster(who: Measured) -> dict[str, float]:
    assert who.ratio is not None
    return {"median": 1 / who.ratio.median, "low": 1 / who.ratio.high, "high": 1 / who.ratio.low}


def _weight_scales(conv: nn.Conv2d) -> Tensor:
    return conv.weight.detach().abs().amax((1, 2, 3)) / WEIGHT_REACH


def _shape_of(conv: nn.Conv2d) -> tuple[list[int], list[int], list[int], int]:
    """Stride, padding, dilation, groups."""
    return [*conv.stride], [int(each) for each in conv.padding], [*conv.dilation], conv.groups


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.quantised", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="timed rounds [7]")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results"), help="folder of the results")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
