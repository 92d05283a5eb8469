"""A schedule of one's own is one function that returns a `Schedule`: alpha_bar from 1 at t = 0 down to T.

Here the share of noise grows as a power of time. Two pictures set it beside the cosine schedule, as curves and as what
it does to an image, and a settings file trains with it: `ancestral train digits --config own-schedule.json`.

    python examples/own_schedule.py --power 0.75 --out runs/own-schedule
"""

import argparse
import json
from pathlib import Path

import torch

from ancestral import Schedule, load
from ancestral.diffusion.schedules import cosine
from ancestral.files import write_whole
from ancestral.rng import ImageNoise
from ancestral.settings import DataSettings
from ancestral.tensors import Images, Pixels, from_pixels, to_pixels
from ancestral.viz.pictures import save_png, strip
from ancestral.viz.plots import figure_to_png, schedule_curves


def power(num_timesteps: int = 1000, exponent: float = 0.75, left: float = 1e-3) -> Schedule:
    """1 - alpha_bar grows as (t / T) ** exponent, up to 1 - `left`."""
    u = torch.linspace(0, 1, num_timesteps + 1, dtype=torch.float64)
    return Schedule(1 - (1 - left) * u**exponent)


def noised(schedule: Schedule, x0: Images, times: list[int]) -> Pixels:
    """One image (1, C, H, W) at several timesteps of one noise, (S, C, H, W)."""
    eps = ImageNoise([0], x0.shape[1:])()
    t = torch.tensor(times)
    return to_pixels(schedule.alpha(t, x0) * x0 + schedule.sigma(t, x0) * eps)


def main() -> None:
    parser = argparse.ArgumentParser(description="A schedule of one's own beside the cosine schedule.")
    parser.add_argument("--power", type=float, default=0.75)
    parser.add_argument("--out", type=Path, default=Path("runs/own-schedule"))
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    both = {"own": power(exponent=asked.power), "cosine": cosine()}
    every = torch.arange(1, 1001)
    curves = schedule_curves({name: (s.betas, s.alpha_bar, s.log_snr(every)) for name, s in both.items()})
    write_whole(asked.out / "curves.png", figure_to_png(curves))

    digit = from_pixels(torch.tensor(load(DataSettings()).train.images[:1]).permute(0, 3, 1, 2))
    times = [0, 100, 250, 500, 750, 1000]
    rows = [(name, noised(schedule, digit, times)) for name, schedule in both.items()]
    save_png(strip(rows, times), asked.out / "strip.png")

    settings = {"name": "betas", "num_timesteps": 1000, "betas": both["own"].betas.tolist()}
    write_whole(asked.out / "own-schedule.json", json.dumps({"diffusion": {"schedule": settings}}))
    print(*(asked.out / name for name in ("curves.png", "strip.png", "own-schedule.json")), sep="\n")


if __name__ == "__main__":
    main()
