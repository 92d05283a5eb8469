"""`python -m benchmarks.flow`: flow matching beside what the presets train by, for the same minutes of this machine.

Every variant is the preset with another schedule, prediction or law of the timesteps; network, rate and batch are the
preset's. Speeds, budgets and measures are those of `benchmarks.backbones`: 500 images, by 25 steps of DDIM, against the
test images. The held-out loss is of other units from one prediction to the next, and is compared within one only.

Results go to benchmarks/results/flow-<data>-<seconds>s.json as they come; runs that are there are not made again.
`--table` prints them.
"""

from collections.abc import Sequence
from typing import Any

from ancestral.presets import PRESETS
from ancestral.settings import merged
from benchmarks.backbones import compared

PATH = {"schedule": {"name": "rectified"}, "prediction": "flow"}
VARIANTS: dict[str, dict[str, Any]] = {
    "cosine, v": {"diffusion": {"prediction": "v"}},
    "cosine, x0": {"diffusion": {"prediction": "x0"}},
    "rectified, flow": {"diffusion": PATH},
    "rectified, flow, normal": {"diffusion": PATH, "training": {"timesteps": "normal"}},
    "rectified, flow, normal, corrected": {
        "diffusion": PATH,
        "training": {"timesteps": "normal", "timesteps_corrected": True},
    },
}
"""`normal` is that of Esser et al. 2024: log-SNR of mean 0 and deviation 2, logit-normal in tau with m = 0, s = 1."""
RECIPES = {
    data: {name: merged(PRESETS[data](), changes, "the variant") for name, changes in VARIANTS.items()}
    for data in ("digits", "textures", "mnist")
}


def main(argv: Sequence[str] | None = None) -> int:
    return compared("flow", __doc__ or "", RECIPES, argv)


if __name__ == "__main__":
    raise SystemExit(main())
