"""Does a class-conditional run generate the class it is asked for? An independent classifier says so.

A support vector machine learns the run's real training images, is tried on real images it has not seen, and then says
of every generated image which class it shows. It knows nothing of networks or diffusion.

    python examples/agreement.py runs/demo --images 500
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from sklearn.svm import SVC

from ancestral import Pipeline, load
from ancestral.data import ImageSet


def learn(images: ImageSet) -> SVC:
    """A classifier of (N, H, W, C) uint8 images."""
    return SVC().fit(rows(images.pixels()), images.labels)


def rows(images: np.ndarray) -> np.ndarray:
    """(N, features) in 0..1."""
    return images.reshape(len(images), -1) / 255


def agreement(classifier: SVC, images: np.ndarray, labels: np.ndarray) -> float:
    """Share of (N, H, W, C) images in which the classifier sees the class that was asked for."""
    return float((classifier.predict(rows(images)) == labels).mean())


def generated(pipeline: Pipeline, num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W, C) of every class in turn, without guidance, and the classes asked for."""
    labels = torch.arange(num_images) % pipeline.num_classes
    settings = pipeline.config.sampling.model_copy(update={"guidance": 1.0})
    pixels = pipeline.generate(range(num_images), labels, settings)
    return pixels.permute(0, 2, 3, 1).numpy(), labels.numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description="How often a classifier sees the class that a run was asked for.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--images", type=int, default=500)
    asked = parser.parse_args()
    pipeline = Pipeline.load(asked.run)
    if not pipeline.num_classes:
        raise SystemExit(f"expected a run with classes, got {asked.run}, which was trained without labels")
    parts = load(pipeline.config.data)
    classifier = learn(parts.train)
    assert parts.test.labels is not None
    held_out = agreement(classifier, parts.test.pixels(), parts.test.labels)
    print(f"real, held out:      the classifier is right on {held_out:.1%} of {len(parts.test)}")
    agrees = agreement(classifier, *generated(pipeline, asked.images))
    print(f"generated, guidance 1: it agrees on {agrees:.1%} of {asked.images}")


if __name__ == "__main__":
    main()
