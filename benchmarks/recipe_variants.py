"""The recipes that are compared: for each data set a base, and what is changed of it, one table for each."""

from typing import Any, Literal, NamedTuple

from ancestral.settings import SamplingSettings

Changes = dict[str, Any]
"""Nested settings laid over the base recipe."""

DIGITS: dict[str, Changes] = {
    "as it is": {},
    "Muon": {"training": {"optimizer": "muon"}},
    "AdamW, decay 0.01": {"training": {"optimizer": "adamw"}},
    "second moment 0.99": {"training": {"betas": (0.9, 0.99)}},
    "rate halved": {"training": {"lr": 1e-3}},
    "rate doubled": {"training": {"lr": 4e-3}},
    "constant rate": {"training": {"lr_schedule": "constant"}},
    "linear fall": {"training": {"lr_schedule": "linear"}},
    "average 0.99": {"training": {"ema_decay": 0.99}},
    "average 0.9999": {"training": {"ema_decay": 0.9999}},
    "min-SNR weighting": {"training": {"weighting": "min-snr"}},
    "predicts eps": {"diffusion": {"prediction": "eps"}},
    "predicts x0": {"diffusion": {"prediction": "x0"}},
    "linear schedule": {"diffusion": {"schedule": {"name": "linear"}}},
    "sigmoid schedule": {"diffusion": {"schedule": {"name": "sigmoid"}}},
    "batch 32": {"training": {"batch_size": 32}},
    "batch 128": {"training": {"batch_size": 128}},
    "no attention": {"network": {"attention": (), "middle_attention": False}},
    "attention at both levels": {"network": {"attention": (0, 1)}},
    "two blocks a level": {"network": {"layers": 2}},
    "narrower": {"network": {"widths": (32, 64)}},
    "wider": {"network": {"widths": (64, 128)}},
    "scale and shift by time": {"network": {"time_conditioning": "scale-shift"}},
    "dropout 0.1": {"network": {"dropout": 0.1}},
}
X0: Changes = {"diffusion": {"prediction": "x0"}}
NARROWER: Changes = {**X0, "network": {"widths": (32, 64)}}
TOGETHER: dict[str, Changes] = {
    "x0, narrower": NARROWER,
    "x0, narrower, no attention": {**X0, "network": {"widths": (32, 64), "attention": (), "middle_attention": False}},
    "x0, narrower, batch 32": {**NARROWER, "training": {"batch_size": 32}},
    "x0, narrower, rate doubled": {**NARROWER, "training": {"lr": 4e-3}},
    "x0, narrower, scale and shift": {**X0, "network": {"widths": (32, 64), "time_conditioning": "scale-shift"}},
    "x0, narrower, sigmoid": {**NARROWER, "diffusion": {"prediction": "x0", "schedule": {"name": "sigmoid"}}},
    "x0, narrower, min-SNR": {**NARROWER, "training": {"weighting": "min-snr"}},
    "x0, narrower, Muon": {**NARROWER, "training": {"optimizer": "muon"}},
    "x0, narrowest": {**X0, "network": {"widths": (24, 48)}},
}
"""What won alone on digits, together, and what could depend on it."""
FOUR_LEVELS: Changes = {"network": {"widths": (16, 32, 64, 128), "attention": (3,)}}
LARGER: dict[str, Changes] = {
    "as it is": {},
    "predicts x0": X0,
    "x0, narrower": {**X0, "network": {"widths": (24, 48, 96)}},
    "x0, half as wide above": {**X0, "network": {"widths": (16, 32, 128)}},
    "x0, four levels": {**X0, **FOUR_LEVELS},
    "x0, no attention": {**X0, "network": {"attention": (), "middle_attention": False}},
    "x0, scale and shift": {**X0, "network": {"time_conditioning": "scale-shift"}},
    "x0, narrower, scale and shift": {
        **X0,
        "network": {"widths": (24, 48, 96), "time_conditioning": "scale-shift"},
    },
    "x0, four levels, scale and shift": {
        **X0,
        "network": {**FOUR_LEVELS["network"], "time_conditioning": "scale-shift"},
    },
    "x0, Muon": {**X0, "training": {"optimizer": "muon"}},
}
ROUGHER: dict[str, Changes] = {
    "four levels": FOUR_LEVELS,
    "scale and shift": {"network": {"time_conditioning": "scale-shift"}},
    "narrower, scale and shift": {"network": {"widths": (24, 48, 96), "time_conditioning": "scale-shift"}},
}
"""What could suit textures, which want v."""
SLOW: Changes = {"optimizer": "adam", "batch_size": 16, "lr": 6e-4}
MUON: Changes = {"optimizer": "muon", "batch_size": 32}
FAST: Changes = {"training": {**MUON, "lr": 4e-3}}
TRANSFORMER: Changes = {"name": "dit", "patch": 4, "width": 128, "layers": 6, "heads": 4}
COLORED: dict[str, Changes] = {
    "as it is": {},
    "rate doubled": {"training": {"lr": 1.2e-3}},
    "rate four times": {"training": {"lr": 2.4e-3}},
    "Muon 1e-3": {"training": {**MUON, "lr": 1e-3}},
    "Muon 2e-3": {"training": {**MUON, "lr": 2e-3}},
    "Muon 4e-3": FAST,
    "Muon 8e-3": {"training": {**MUON, "lr": 8e-3}},
    "Muon 4e-3, wider": {**FAST, "network": {"widths": (32, 64, 128)}},
    "Muon 2e-3, transformer": {"network": TRANSFORMER, "training": {**MUON, "lr": 2e-3}},
    "Muon 4e-3, four levels": {**FAST, "network": {"widths": (16, 48, 96, 128), "attention": (2, 3)}},
    "Muon 4e-3, batch 16": {"training": {**FAST["training"], "batch_size": 16}},
    "Muon 4e-3, timesteps normal, 2 ± 2.4": {
        "training": {**FAST["training"], "timesteps": "normal", "timesteps_mean": 2.0, "timesteps_std": 2.4}
    },
    "Muon 4e-3, straight path": {**FAST, "diffusion": {"prediction": "flow", "schedule": {"name": "rectified"}}},
}
"""For images of three colours: how fast they learn first, then what learns."""
THREE_LEVELS: Changes = {"widths": (32, 64, 128), "time_conditioning": "add"}


class Base(NamedTuple):
    """What variants are measured against: the preset of the same name as it was when this was measured."""

    changes: Changes
    variants: dict[str, Changes]
    sampling: SamplingSettings = SamplingSettings(steps=25)
    """How the images are generated that are compared."""
    compared: Literal["test", "validation"] = "test"
    """The part they are compared with."""


BASES = {
    "digits": Base(
        {
            "diffusion": {"prediction": "v"},
            "network": {"widths": (48, 96), "time_conditioning": "add"},
            "training": {"lr": 2e-3},
        },
        {**DIGITS, **TOGETHER},
    ),
    "mnist": Base({"diffusion": {"prediction": "v"}, "network": THREE_LEVELS}, LARGER),
    "textures": Base(
        {"diffusion": {"prediction": "v"}, "network": THREE_LEVELS, "training": SLOW}, {**LARGER, **ROUGHER}
    ),
    "cifar10": Base(
        {"network": {"widths": (24, 48, 96)}, "training": SLOW},
        COLORED,
        SamplingSettings(sampler="unipc-2", grid="middle", steps=12),
        "validation",
    ),
}
