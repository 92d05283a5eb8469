"""`python -m benchmarks.latents`: a step of diffusion in latents beside one in the pixels of the same images.

Both have the network of the same widths and the batch of the same size; what the latents are made by is left out, since
they are encoded once. Steps are measured in alternating pairs; the autoencoder's own step is measured beside them.

`python -m benchmarks.latents --runs LATENTS PIXELS`: two trained runs on the same images, by the Fréchet distance of
what each draws to the held-out images, and by the difference of the two, from whose error the images that both are
held against and the features have gone.
"""

import argparse
from collections.abc import Sequence

import torch

from ancestral.data.datasets import load
from ancestral.evaluation.evaluate import as_pixels, extractor_of
from ancestral.evaluation.metrics import Jackknife, frechet_jackknife, neighbourhood
from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import planned_spec
from ancestral.presets import SMALL_UNET, autoencoder_of
from ancestral.progress import finish
from ancestral.settings import Config, ImageSpec, KLSettings, SamplingSettings, TrainingSettings
from ancestral.training.codec import CodecTask
from ancestral.training.denoiser import Denoising
from ancestral.training.step import Trainer
from ancestral.tuning.tuner import noise
from benchmarks.pairs import Case, Contestant, compare, timed

ROUNDS = 7
BATCH = 16
IMAGES, STEPS = 1000, 25  # drawn by each run, and network calls an image


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser("python -m benchmarks.latents", description=__doc__)
    parser.add_argument("--size", type=int, default=64, help="side of the images, px [64]")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of measurements in alternation [{ROUNDS}]")
    parser.add_argument("--runs", nargs=2, metavar="RUN", help="compare what two trained runs draw")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"that each of --runs draws [{IMAGES}]")
    words = parser.parse_args(argv)
    return compare_runs(words.runs, words.images) if words.runs else compare_steps(words.size, words.rounds)


def compare_steps(size: int, rounds: int) -> int:
    """Prints how many images a second each kind of step sees."""
    training = TrainingSettings(steps=10**9, batch_size=BATCH)
    config = Config(codec=KLSettings(), network=SMALL_UNET, training=training, sampling=SamplingSettings(clip="none"))
    pixels = ImageSpec(channels=3, height=size, width=size)
    latents = planned_spec(config.codec, pixels)
    images = noise(pixels, 4 * BATCH)
    made = {"pixels": _trainer(config, pixels), "latents": _trainer(config, latents)}
    made["autoencoder"] = Trainer(CodecTask(autoencoder_of(config), images, torch.device("cpu")), images)
    steps = [Contestant(name, timed(each.advance, 0.5, each.settings.batch_size)) for name, each in made.items()]
    print("| a training step | images/s | to pixels |\n|---|---|---|")
    for found in compare(Case("", steps), rounds).measured:
        ratio = "" if found.ratio is None else f"{1 / found.ratio.median:.1f} x"
        print(f"| {found.name} | {1 / found.value.median:.1f} | {ratio} |")
    return 0


def compare_runs(runs: Sequence[str], images: int) -> int:
    """Prints the Fréchet distance of each run, and how far apart they are, with standard errors."""
    pipelines = [Pipeline.load(run) for run in runs]
    parts = load(pipelines[0].config.data)
    extractor = finish(extractor_of(parts, 0))
    real, found = extractor.features(as_pixels(parts.test)), list[Jackknife]()
    for run, pipeline in zip(runs, pipelines, strict=True):
        labels = torch.arange(images) % pipeline.num_classes if pipeline.num_classes else None
        asked = pipeline.config.sampling.model_copy(update={"steps": STEPS})
        features = extractor.features(pipeline.generate(range(images), labels, asked))
        found.append(frechet_jackknife(features, real))
        near = neighbourhood(real, features)
        words = f"precision {near.precision.value:.2f}, recall {near.recall.value:.2f}"
        print(f"{run}: Fréchet {found[-1].value:.2f} +- {found[-1].error:.2f}, {words}", flush=True)
    apart = found[1].minus(found[0])
    print(f"{runs[1]} - {runs[0]}: {apart.value:.2f} +- {apart.error:.2f}, {images} against {len(real)} images")
    return 0


def _trainer(config: Config, spec: ImageSpec) -> Trainer:
    return Trainer(Denoising(Pipeline.fresh(config, spec, "cpu")), noise(spec, 4 * BATCH))


if __name__ == "__main__":
    raise SystemExit(main())
