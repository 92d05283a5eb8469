"""Milestones of lucidrains' denoising-diffusion-pytorch, from version 2 on: a U-Net that attends in linear time.

A milestone holds the network, its average, the optimiser, and tables of the process. The average is what its sampler
takes. All but the size of the images stands in it. Of the prediction the weights w_t of the loss tell, which are, with
R_t the ratio of signal to noise and some number c, infinite unless its ratio is capped,

    eps: min(R_t, c) / R_t      x0: min(R_t, c)      v: min(R_t, c) / (R_t + 1)                              (1)

With a learned variance its sampler takes the first half of the output for eps, whatever they tell.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from ancestral.diffusion import schedules
from ancestral.errors import InputError
from ancestral.hub.network import NetworkFolder
from ancestral.settings import DiffusionSettings, LinearAttentionSettings, parse

FIRST = "downs.0.0.block1.proj.weight"
NETWORK, AVERAGE = "model.", "ema_model."  # of the process, and of the object that averages it
SCHEDULES: dict[str, Callable[[int], schedules.Schedule]] = {
    "linear": schedules.linear,
    "cosine": schedules.cosine,
    "sigmoid": schedules.sigmoid,
}
NAMES = (
    (r"^init_conv\.", "conv_in."),
    (r"^time_mlp\.1\.", "time_embedding.linear_1."),
    (r"^time_mlp\.3\.", "time_embedding.linear_2."),
    (r"^(down|up)s\.(\d+)\.([01])\.", r"\1_levels.\2.resnets.\3."),
    (r"^(down|up)s\.(\d+)\.2\.", r"\1_levels.\2.attention."),
    (r"^(down|up)s\.(\d+)\.3\.(1\.)?", r"\1_levels.\2.onward."),
    (r"^mid_block1\.", "mid_block.0."),
    (r"^mid_attn\.", "mid_block.1."),
    (r"^mid_block2\.", "mid_block.2."),
    (r"^final_res_block\.", "resnet_out."),
    (r"^final_conv\.", "conv_out."),
    (r"\.mlp\.1\.", ".time_emb_proj."),
    (r"\.block([12])\.proj\.", r".conv\1."),
    (r"\.block([12])\.norm\.g$", r".norm\1.weight"),
    (r"\.res_conv\.", ".conv_shortcut."),
    (r"\.norm\.g$", ".norm.weight"),
    (r"\.mem_kv$", ".memory"),
    (r"\.to_out\.0\.", ".to_out."),
    (r"\.to_out\.1\.g$", ".norm_out.weight"),
)
"""What stands in a name there, and what stands here in its place; of the first lines one holds."""
OTHERS = (
    ("downs.0.0.block1.norm.weight", "a network of before version 2, whose norms are of groups of channels"),
    ("time_mlp.0.weights", "learned_sinusoidal_cond or random_fourier_features, whose waves of time are its own"),
    ("null_classes_emb", "a network that is told classes, which attends otherwise"),
)
"""Tensors that other networks of this program have."""


def is_milestone(names: Collection[str]) -> bool:
    """Whether tensors of these names are, or hold, such a network's."""
    return any(name.endswith(FIRST) for name in names)


def read_milestone(
    tensors: Mapping[str, Tensor], side: int | None, source: Path
) -> tuple[NetworkFolder, DiffusionSettings]:
    """The averaged network, in float32, and its process. `side`: of the images, px; `source`: the file, for errors."""
    places = [name.removesuffix(NETWORK + FIRST) for name in tensors if name.endswith(NETWORK + FIRST)]
    places = [place for place in places if f"{place}betas" in tensors]
    if not places:
        raise _unlike(source, "one without the betas of its process")
    if side is None:
        raise InputError(f"expected --size, the side of the images, which {source} does not tell")
    place = max(places, key=lambda each: each.endswith(AVERAGE))
    prefix = place + NETWORK
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    shapes = _Shapes(own, source)
    channels, outputs = shapes.of("init_conv.weight", 4)[1], shapes.of("final_conv.weight", 4)[0]
    _check_kind(own, channels, outputs, source)
    settings = shapes.settings()
    if side % (coarsest := 2 ** (len(settings.widths) - 1)):
        raise InputError(f"expected --size in multiples of {coarsest} pixels, as {source} has levels, got {side}")
    ours = dict(_renamed(own, source))
    network = NetworkFolder(settings, channels, outputs, side, side, None, ours)
    network.check_tensors(lambda got: _unlike(source, got), source)
    return network, _process(tensors, place, outputs == 2 * channels, source)


def _check_kind(own: Mapping[str, Tensor], channels: int, outputs: int, source: Path) -> None:
    """That the network is of the kind that is read; `channels` and `outputs`: those that it is given and gives."""
    for name, what in OTHERS:
        if name in own:
            raise _unlike(source, what)
    if channels == 2 * outputs:
        raise _unlike(source, "self_condition, a network that also sees its last prediction")
    if outputs not in (channels, 2 * channels):
        raise _unlike(source, f"a network that answers {channels} channels by {outputs}")


class _Shapes:
    """The shapes of a network's tensors, and what they tell."""

    def __init__(self, tensors: Mapping[str, Tensor], source: Path) -> None:
        self.tensors, self.source = tensors, source

    def of(self, name: str, axes: int) -> tuple[int, ...]:
        """That of a tensor that has to be there, of so many axes."""
        shape = tuple(self.tensors[name].shape) if name in self.tensors else ()
        if len(shape) != axes or not all(shape):
            raise _unlike(self.source, f"no {name} of {axes} axes")
        return shape

    def settings(self) -> LinearAttentionSettings:
        levels = next(n for n in count() if f"downs.{n}.0.block1.proj.weight" not in self.tensors)
        full = [n for n in range(levels) if f"downs.{n}.2.to_out.weight" in self.tensors]
        heads = {self._heads(name) for name in self.tensors if name.endswith(".mem_kv")}
        if len(heads) != 1:
            wrong = "attn_heads or attn_dim_head that differ from level to level" if heads else "no mem_kv"
            raise _unlike(self.source, wrong)
        ((number, width, memories),) = heads
        settings = {
            "widths": [self.of(f"ups.{levels - 1 - n}.0.block1.proj.weight", 4)[0] for n in range(levels)],
            "full_attention": None if full == [levels - 1] else full,
            "heads": number,
            "head_width": width,
            "memories": memories,
            "stem": self.of("init_conv.weight", 4)[0],
            "waves": self.of("time_mlp.1.weight", 2)[1],
        }
        return parse(LinearAttentionSettings, settings, str(self.source))

    def _heads(self, name: str) -> tuple[int, int, int]:
        """Their number, their width, and the keys that are weights, of what holds these."""
        _, heads, *sizes = self.of(name, 4)
        width, memories = sizes if _is_linear(self.tensors, name) else sizes[::-1]
        return heads, width, memories


def _is_linear(own: Mapping[str, Tensor], memory: str) -> bool:
    """Whether the attention with the tensor `memory` is, whose output is normalised."""
    return f"{memory.rpartition('.')[0]}.to_out.0.weight" in own


def _renamed(own: Mapping[str, Tensor], source: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors under our names and in our shapes."""
    for name, tensor in own.items():
        if not tensor.is_floating_point():
            raise _unlike(source, f"{name}, {tensor.dtype}, which no layer has")
        here, values = name, tensor.float()
        for there, ours in NAMES:
            here = re.sub(there, ours, here)
        if name.endswith(".mem_kv"):
            tokens = values.mT if _is_linear(own, name) else values  # (2, heads, memories, head width)
            values = tokens.transpose(1, 2).flatten(2)
        elif name.endswith(".g"):
            values = values.flatten()
        elif re.search(r"\.to_(qkv|out|out\.0)\.weight$", name) and values.ndim > 1:
            values = values.flatten(1)
        yield here, values


def _process(tensors: Mapping[str, Tensor], place: str, learned: bool, source: Path) -> DiffusionSettings:
    betas = tensors[f"{place}betas"].double()
    if betas.ndim != 1 or not len(betas):
        raise _unlike(source, f"betas of shape {tuple(betas.shape)}")
    schedule, said = _schedule(betas, source)
    weights = tensors.get(f"{place}loss_weight", betas.new_full((), torch.nan)).double()
    prediction = "eps" if learned else _prediction(schedule, weights, source)
    variance = "learned" if learned else "beta_tilde"
    return parse(
        DiffusionSettings,
        {"schedule": said, "prediction": prediction, "variance": variance},
        f"the process of {source}",
    )


def _schedule(betas: Float64[Tensor, "T"], source: Path) -> tuple[schedules.Schedule, dict[str, Any]]:
    """The schedule of these betas, which a file has in float32, and its settings: by its name where it has one."""
    for name, formula in SCHEDULES.items():
        named = formula(len(betas))
        if torch.allclose(named.betas, betas, rtol=1e-4, atol=0):
            return named, {"name": name, "num_timesteps": len(betas)}
    try:
        schedule = schedules.from_betas(betas)
    except ValueError as fault:
        raise InputError(f"{source}: {fault}") from None
    return schedule, {"name": "betas", "num_timesteps": len(betas), "betas": betas.tolist()}


def _prediction(schedule: schedules.Schedule, weights: Tensor, source: Path) -> str:
    """That of (1) whose cap, the largest of all, explains the weights."""
    ratio = schedule.log_snr(torch.arange(1, schedule.num_timesteps + 1)).exp()
    if weights.shape != ratio.shape:
        raise _unlike(source, f"no {len(ratio)} weights of the loss, one for each beta")
    capped = {"eps": weights * ratio, "x0": weights, "v": weights * (ratio + 1)}
    fits = [
        name for name, found in capped.items() if torch.allclose(found, ratio.clamp(max=found.max()), rtol=1e-3, atol=0)
    ]
    if len(fits) != 1:
        raise _unlike(source, "weights of the loss that do not tell what it predicts")
    return fits[0]


def _unlike(source: Path, got: str) -> InputError:
    return InputError(
        f"expected {source} to be a milestone as denoising-diffusion-pytorch 2 makes it of a Unet in a "
        f"GaussianDiffusion, got {got}; generate with that program"
    )
