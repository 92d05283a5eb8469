"""`python -m benchmarks.latents`: a step of diffusion in latents beside one in the pixels of the same images.

Both have the network of the same widths and the batch of the same size; what the latents are made by is left out, since
they are encoded once. Steps are measured in alternating pairs, and so are calls of the network. The autoencoder's own
step is measured beside them.
"""

import argparse
from collections.abc import Sequence

import torch

from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import planned_spec
from ancestral.presets import SMALL_UNET, autoencoder_of
from ancestral.settings import Config, ImageSpec, KLSettings, SamplingSettings, TrainingSettings
from ancestral.training.codec import CodecTask
from ancestral.training.denoiser import Denoising
from ancestral.training.step import Trainer
from ancestral.tuning.tuner import noise
from benchmarks.pairs import Case, Contestant, compare, timed

ROUNDS = 7
BATCH = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser("python -m benchmarks.latents", description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="side of the images, px [64]")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of measurements in alternation [{ROUNDS}]")
    words = parser.parse_args(argv)
    training = TrainingSettings(steps=10**9, batch_size=BATCH)
    config = Config(codec=KLSettings(), network=SMALL_UNET, training=training, sampling=SamplingSettings(clip="none"))
    pixels = ImageSpec(channels=3, height=words.size, width=words.size)
    latents = planned_spec(config.codec, pixels)
    images = noise(pixels, 4 * BATCH)
    made = {"pixels": _trainer(config, pixels), "latents": _trainer(config, latents)}
    made["autoencoder"] = Trainer(CodecTask(autoencoder_of(config), images, torch.device("cpu")), images)
    steps = [Contestant(name, timed(each.advance, 0.5, each.settings.batch_size)) for name, each in made.items()]
    print("| a training step | images/s | to pixels |\n|---|---|---|")
    for found in compare(Case("", steps), words.rounds).measured:
        ratio = "" if found.ratio is None else f"{1 / found.ratio.median:.1f} x"
        print(f"| {found.name} | {1 / found.value.median:.1f} | {ratio} |")
    return 0


def _trainer(config: Config, spec: ImageSpec) -> Trainer:
    return Trainer(Denoising(Pipeline.fresh(config, spec, "cpu")), noise(spec, 4 * BATCH))


if __name__ == "__main__":
    raise SystemExit(main())
