"""The film of one image: x_t falls from noise to data, and beside it what the network believes x_0 to be.

python examples/film.py runs/demo --label 7 --seed 3 --out seven.gif
"""

import argparse
from pathlib import Path

import torch

from ancestral import Pipeline
from ancestral.tensors import Pixels, to_pixels
from ancestral.viz.pictures import film, save_film


def chain(pipeline: Pipeline, seed: int, label: str | None) -> tuple[list[Pixels], list[Pixels], list[int]]:
    """What every step arrives at, what x_0 was believed to be on the way there, and the timesteps arrived at."""
    labels = None if label is None else torch.tensor([pipeline.class_index(label)])
    steps = list(pipeline.steps([seed], labels))
    return [to_pixels(step.x_s) for step in steps], [to_pixels(step.x0) for step in steps], [step.s for step in steps]


def main() -> None:
    parser = argparse.ArgumentParser(description="A film of how a run generates one image.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--label", help="name or number of a class")
    parser.add_argument("--out", type=Path, default=Path("film.gif"), help=".gif, .webp, .mp4, .png or .apng")
    parser.add_argument("--seconds", type=float, default=4.0)
    asked = parser.parse_args()
    frames = film(*chain(Pipeline.load(asked.run), asked.seed, asked.label))
    save_film(frames, asked.out, seconds=asked.seconds)
    print(f"{len(frames)} frames: {asked.out}")


if __name__ == "__main__":
    main()
