"""The library without the command line: settings, data, a fresh pipeline, training as a loop, a grid of samples.

python examples/train_in_python.py --steps 400 --out runs/in-python
"""

import argparse
from pathlib import Path

import torch

from ancestral import Config, Pipeline, RunFolder, load, train
from ancestral.settings import DataSettings, SamplingSettings, TrainingSettings, UNetSettings
from ancestral.viz.pictures import grid, save_png


def settings(steps: int, width: int) -> Config:
    """Digits by class; unknown or contradictory settings would be refused here."""
    return Config(
        data=DataSettings(source="digits"),
        network=UNetSettings(widths=(width, 2 * width), layers=1, attention=(1,), norm_groups=8),
        training=TrainingSettings(steps=steps, batch_size=64, lr=1e-3, warmup_images=640, log_every_steps=20),
        sampling=SamplingSettings(steps=20),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Train on digits from Python.")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("runs/in-python"))
    asked = parser.parse_args()
    config = settings(asked.steps, asked.width)
    parts = load(config.data)

    # Leaving this loop at any point saves a checkpoint; running it again goes on from there.
    for progress in train(Pipeline.fresh(config, parts.train.spec), parts, RunFolder(asked.out)):
        if progress.record:
            print(f"step {progress.step:5}  loss {progress.record['loss']:.4f}  {progress.seconds:5.1f} s")

    trained = Pipeline.load(asked.out)
    labels = torch.arange(40) % trained.num_classes
    save_png(grid(trained.generate(range(40), labels), columns=10), asked.out / "grid.png")
    print(f"samples: {asked.out / 'grid.png'}")


if __name__ == "__main__":
    main()
