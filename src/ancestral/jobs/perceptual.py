"""The perceptual distance by features: what a small network sees in images once it has learned to tell them apart.

It is a network as `evaluate` judges by, of another seed: a reconstruction is not to be judged by what it was trained to
please. A run holds it in its checkpoints.
"""

from collections.abc import Generator

from ancestral.data.imageset import Parts
from ancestral.evaluation.evaluate import in_memory
from ancestral.evaluation.features import Extractor, FeatureNetwork, train_extractor
from ancestral.jobs.events import Event, NoteEvent
from ancestral.jobs.measuring import followed
from ancestral.processes import Processes
from ancestral.progress import StepwiseWork
from ancestral.rng import mix
from ancestral.settings import CodecConfig
from ancestral.training.checkpoint import complete_checkpoints
from ancestral.training.codec import MEASURED
from ancestral.training.feature_distance import FeatureDistance
from ancestral.training.run import RunFolder

SEED = mix(0, "perceptual features")  # no seed that anyone judges by, and that of all runs: it is learned once


def learned(
    config: CodecConfig, parts: Parts, run: RunFolder, processes: Processes
) -> Generator[Event, None, FeatureDistance | None]:
    """The distance that a run is trained by, together; None: none that is learned. Where the run goes on, its weights
    are in the checkpoint that it goes on from, and not here."""
    if config.codec.perceptual_by != "features":
        return None
    if processes.broadcast("goes on" if complete_checkpoints(run.checkpoints) else ""):
        return FeatureDistance(FeatureNetwork(parts.train.shape, 1).stages())
    with processes.main_first():
        extractor = yield from followed("learning features", learning(parts))
    held_out = f"{extractor.accuracy:.1%} of {extractor.num_held_out:,} held-out images told rightly"
    yield NoteEvent(f"perceptual distance by features that tell {extractor.kind}: {held_out}")
    distance = FeatureDistance(extractor.network.stages())
    (weights,) = processes.all_gather_tensors(distance.state_dict(), 1)  # other machines round otherwise
    distance.load_state_dict(weights)
    return distance


def learning(parts: Parts) -> StepwiseWork[Extractor]:
    """Features of the first images to train on, from the cache where they are known; others are held out."""
    train, test = (in_memory(images.sliced(0, min(MEASURED, len(images)))) for images in (parts.train, parts.test))
    return (yield from train_extractor(train, test, SEED))
