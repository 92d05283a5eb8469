"""Guidance by other networks: a weaker one, or a classifier of noisy images."""

from pathlib import Path
from typing import TYPE_CHECKING

from ancestral.colors import check_channels
from ancestral.errors import InputError
from ancestral.jobs.settings import Changes, GeneratingSettings
from ancestral.settings import SamplingSettings, sampling_with

if TYPE_CHECKING:
    from ancestral.pipeline import Pipeline


def prepared(
    pipeline: "Pipeline", job: GeneratingSettings, changes: Changes, source: Path
) -> tuple["Pipeline", SamplingSettings]:
    """The pipeline, loaded from the folder `source`, with what guides it, and how it generates with these changes."""
    check_channels(pipeline.spec.channels)
    settings = sampling_with(pipeline.config.sampling, changes, "command line")
    if settings.guidance_by == "autoguidance" and job.weaker is not None:
        if settings.guidance == 1:
            raise InputError("expected a --guidance other than 1 with --weaker, which guides nothing at 1; 2 is usual")
        return pipeline.with_guides(weaker=_weaker(pipeline, job.weaker)), settings
    if settings.guidance_by == "classifier":
        from ancestral.pipeline.classifying import CLASSIFIER_FILE, load_classifier

        if settings.guidance == (pipeline.num_classes > 0):
            why = "the network knows its classes by itself" if pipeline.num_classes else "0 asks for no class"
            raise InputError(
                f"expected a --guidance other than {settings.guidance:g} by a classifier: {why}, and nothing guides"
            )
        file = job.classifier or source / CLASSIFIER_FILE
        classify = load_classifier(file, pipeline.latent_spec, pipeline.diffusion, pipeline.device)
        return pipeline.with_guides(classify=classify), settings
    return pipeline, settings


def _weaker(pipeline: "Pipeline", folder: Path) -> "Pipeline":
    """The pipeline in a folder, or with the averaged weights of a checkpoint, for the same images and noise."""
    from ancestral.pipeline import Pipeline
    from ancestral.pipeline.classifying import same_noise, size
    from ancestral.training.checkpoint import averaged_weights, is_checkpoint

    weights = averaged_weights(folder) if is_checkpoint(folder) else None
    run = folder if weights is None else folder.resolve().parent.parent
    if weights is not None and not (run / "pipeline").is_dir():
        raise InputError(f"expected the checkpoint {folder} inside its run, which says what network it is of")
    other = Pipeline.load(run, str(pipeline.device), pipeline.config.compute)
    if weights is not None:
        try:
            other.network.load_state_dict(weights)
        except RuntimeError:
            raise InputError(f"expected the checkpoint {folder} to be of {run}, got another network's") from None
    fits = {
        f"images of {size(other.spec)}": other.spec.shape == pipeline.spec.shape,
        "another codec": other.codec == pipeline.codec,
        "other classes": other.spec.class_names == pipeline.spec.class_names,
        "other attributes": other.spec.attributes == pipeline.spec.attributes,
        "another text": _text_of(other) == _text_of(pipeline),
        "another schedule": same_noise(other.diffusion.schedule.alpha_bar, pipeline.diffusion.schedule.alpha_bar),
    }
    if unlike := " and ".join(what for what, same in fits.items() if not same):
        raise InputError(
            f"expected a weaker network of images of {size(pipeline.spec)}, of the same classes and noise, got "
            f"{folder}, of {unlike}; name one of this run"
        )
    if other.weights_hash() == pipeline.weights_hash():
        raise InputError(f"expected a weaker network, got {folder}, of the very same weights; name a checkpoint")
    return other


def _text_of(pipeline: "Pipeline") -> str | None:
    """What decides how texts are told; None: none are."""
    return None if pipeline.tokenizer is None else pipeline.tokenizer.hash
