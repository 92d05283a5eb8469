"""Networks of OpenAI's improved-diffusion and guided-diffusion (Nichol and Dhariwal 2021, Dhariwal and Nichol 2021).

Their files hold tensors and no settings. Names and shapes tell the widths, the blocks, which levels attend, what
changes the resolution, how time enters, the classes, and whether a variance is learned. They do not tell the size of
images, the heads, nor in which order a layer has its queries q, keys k and values v:

    old order: q, k, v of the first head, q, k, v of the second, ...                                         (1)
    new order: q of all heads, k of all, v of all                                                            (2)
"""

from collections.abc import Collection, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ancestral.errors import InputError
from ancestral.hub.network import NetworkFolder
from ancestral.settings import UNetSettings, parse

SIDES = {
    (1, 2, 2, 2): 32,
    (1, 2, 3, 4): 64,
    (1, 1, 2, 3, 4): 128,
    (1, 1, 2, 2, 4, 4): 256,
    (0.5, 1, 1, 2, 2, 4, 4): 512,
}
"""By the widths of the levels over the number of sinusoids: side of the images that they are chosen for there, px."""
RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
ATTENTION = {"norm": "group_norm", "qkv": "qkv", "proj_out": "to_out.0"}
ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb": "class_embedding",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}
"""The layers there, each with the name it has here; of qkv there are three here."""


class OpenAIOptions(NamedTuple):
    """What a file does not say."""

    side: int | None = None  # of the images, px; None: that of `SIDES`
    heads: int | None = None  # at every level
    head_width: int | None = None  # in place of `heads`
    new_order: bool = False  # (2), not (1)


def is_openai(names: Collection[str]) -> bool:
    """Whether tensors of these names are such a network's."""
    return {"time_embed.0.weight", "input_blocks.0.0.weight", "output_blocks.0.0.in_layers.0.weight"} <= {*names}


def read_openai(tensors: Mapping[str, Tensor], asked: OpenAIOptions, source: Path) -> NetworkFolder:
    """The network whose tensors these are, in float32; `source`: the file, for errors."""
    shapes = _Shapes(tensors, source)
    settings = shapes.settings(asked)
    channels, outputs = shapes.size("input_blocks.0.0.weight", 1), shapes.size("out.2.weight")
    if channels % 2 == 0 and outputs in (channels // 2, channels) and channels > 4:
        raise InputError(
            f"expected a network that sees one image, got {source}, an upsampler, which sees a small image beside the "
            "large one; `ancestral edit enlarge` enlarges by any network of large images"
        )
    classes = shapes.size("label_emb.weight") if "label_emb.weight" in tensors else None
    side = asked.side or SIDES.get(tuple(width / shapes.waves for width in settings.widths))
    if side is None:
        widths = " ".join(map(str, settings.widths))
        raise InputError(f"expected --size, the side of the images, which widths {widths} do not tell of {source}")
    ours = dict(_renamed(tensors, settings, asked.new_order, source))
    network = NetworkFolder(settings, channels, outputs, side, side, classes, ours)
    network.check_tensors(lambda got: _unlike(source, got), source)
    return network


class _Shapes:
    """The shapes of a file's tensors, and what they tell."""

    def __init__(self, tensors: Mapping[str, Tensor], source: Path) -> None:
        self.tensors, self.source = tensors, source
        self.waves = self.size("time_embed.0.weight", 1)

    def size(self, name: str, axis: int = 0) -> int:
        """The length of an axis of a tensor that has to be there."""
        shape = self.tensors[name].shape if name in self.tensors else ()
        if axis >= len(shape) or not shape[axis]:
            raise _unlike(self.source, f"no {name} of {axis + 1} axes")
        return shape[axis]

    def settings(self, asked: OpenAIOptions) -> UNetSettings:
        """Those of the network. Of a level's blocks on the way up, one more than on the way down, the last enlarges."""
        ups = next(n for n in count() if f"output_blocks.{n}.0.in_layers.0.weight" not in self.tensors)
        layers = next(filter(self._enlarges, range(ups)), ups - 1)
        if layers < 1 or ups % (layers + 1):
            raise _unlike(self.source, f"{ups} blocks on the way up, not as many at each level")
        firsts = [1 + start for start in range(0, ups, layers + 1)]  # blocks on the way down that begin a level
        widths = [self.size(f"input_blocks.{n}.0.in_layers.2.weight") for n in firsts]
        attention = [level for level, n in enumerate(firsts) if f"input_blocks.{n}.1.qkv.weight" in self.tensors]
        stem, scales = self.size("input_blocks.0.0.weight"), self.size("input_blocks.1.0.emb_layers.1.weight")
        settings = {
            "widths": widths,
            "layers": layers,
            "attention": attention,
            **_heads(asked, {widths[-1], *(widths[level] for level in attention)}),
            "stem": None if stem == widths[0] else stem,
            "waves": None if self.waves == stem else self.waves,
            "time_conditioning": "scale-shift" if scales == 2 * widths[0] else "add",
            "time_order": "cos-sin",
            "time_frequency_shift": 0,
            "resampling": "resnet"
            if f"input_blocks.{1 + layers}.0.in_layers.0.weight" in self.tensors
            else "convolution",
        }
        return parse(UNetSettings, settings, str(self.source))

    def _enlarges(self, block: int) -> bool:
        ways = ("1.conv", "2.conv", "1.in_layers.0", "2.in_layers.0")  # after attention or without
        return any(f"output_blocks.{block}.{way}.weight" in self.tensors for way in ways)


def _heads(asked: OpenAIOptions, attended: set[int]) -> dict[str, int | None]:
    """As the settings say it in the way that diffusers can have too: one head, or heads of one width, if they are."""
    if asked.heads == 1:
        return {}
    if asked.heads and len(attended) == 1 and not min(attended) % asked.heads:
        return {"head_width": min(attended) // asked.heads}
    return {"heads": asked.heads, "head_width": asked.head_width}


def _layers(settings: UNetSettings) -> Iterator[tuple[str, str]]:
    """Every layer there and its name here."""
    yield from ENDS.items()
    convolves, levels = settings.resampling == "convolution", range(len(settings.widths))

    def parts(of: Mapping[str, str], there: str, here: str) -> Iterator[tuple[str, str]]:
        return ((f"{there}.{theirs}", f"{here}.{ours}") for theirs, ours in of.items())

    def block(there: str, here: str, number: int, attends: bool) -> Iterator[tuple[str, str]]:
        yield from parts(RESNET, f"{there}.0", f"{here}.resnets.{number}")
        if attends:
            yield from parts(ATTENTION, f"{there}.1", f"{here}.attentions.{number}")

    block_number = count(1)
    for level in levels:
        here = f"down_blocks.{level}"
        for layer in range(settings.layers):
            yield from block(f"input_blocks.{next(block_number)}", here, layer, level in settings.attention)
        if level < levels[-1]:
            way = {"op": "conv"} if convolves else RESNET
            yield from parts(way, f"input_blocks.{next(block_number)}.0", f"{here}.downsamplers.0")
    yield from block("middle_block", "mid_block", 0, attends=True)
    yield from parts(RESNET, "middle_block.2", "mid_block.resnets.1")
    block_number = count()
    for up, level in enumerate(reversed(levels)):
        here, attends = f"up_blocks.{up}", level in settings.attention
        for layer in range(settings.layers + 1):
            there = f"output_blocks.{next(block_number)}"
            yield from block(there, here, layer, attends)
            if level and layer == settings.layers:
                way = {"conv": "conv"} if convolves else RESNET
                yield from parts(way, f"{there}.{1 + attends}", f"{here}.upsamplers.0")


def _renamed(
    tensors: Mapping[str, Tensor], settings: UNetSettings, new_order: bool, source: Path
) -> Iterator[tuple[str, Tensor]]:
    """The tensors under our names, queries, keys and values apart."""
    layers = dict(_layers(settings))
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if layer not in layers or not tensor.is_floating_point():
            raise _unlike(source, f"{name}, {tensor.dtype}, which no layer has")
        here, values = layers[layer], tensor.float()
        if here.endswith(".to_out.0"):
            yield f"{here}.{kind}", values.flatten(1) if values.ndim > 1 else values
        elif here.endswith(".qkv"):
            width = len(values) // 3 if values.ndim else 0
            heads = settings.heads or width // (settings.head_width or width or 1)
            if not heads or len(values) % (3 * heads):
                raise _unlike(source, f"{tuple(values.shape)} for {name}, which does not divide into heads")
            for part, value in zip("qkv", _apart(values, heads, new_order), strict=True):
                yield f"{here.removesuffix('qkv')}to_{part}.{kind}", value
        else:
            yield f"{here}.{kind}", values


def _apart(values: Tensor, heads: int, new_order: bool) -> list[Tensor]:
    """q, k and v of a tensor with the rows of (1) or (2), the rows of a head as neighbours."""
    rows = values.flatten(1) if values.ndim > 1 else values
    order = (3, heads, -1) if new_order else (heads, 3, -1)
    parts = rows.reshape(*order, *rows.shape[1:]).unbind(0 if new_order else 1)
    return [part.flatten(0, 1).contiguous() for part in parts]


def _unlike(source: Path, got: str) -> InputError:
    return InputError(
        f"expected {source} to be a U-Net as improved- or guided-diffusion makes it, got {got}; "
        "one that changed code makes is not read"
    )
