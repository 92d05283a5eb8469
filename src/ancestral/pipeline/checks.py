"""Whether what is asked for is what the networks of a pipeline were trained for, and why they answer with no number."""

from collections.abc import Mapping

from torch import nn

from ancestral.classifying import NoisyClassifier
from ancestral.errors import InputError
from ancestral.networks.weights import first_not_finite
from ancestral.settings import SamplingSettings
from ancestral.tensors import Data, Labels, is_finite

VAST = 1e4
"""No image on its way from noise holds a number so large."""


def check_labels(labels: Labels | None, num_classes: int, knows_no_class: bool) -> None:
    """Raises InputError unless the network knows the class of each image, or that of no class."""
    if labels is not None and not num_classes:
        raise InputError("expected no labels: this pipeline was trained without classes")
    if labels is None and not knows_no_class:
        raise InputError(
            "expected a class for every image, got none: this network knows no null class; name one with --classes"
        )
    if labels is not None and not bool(((labels >= 0) & (labels < num_classes + knows_no_class)).all()):
        null = f" ({num_classes}: no class)" if knows_no_class else ""
        raise InputError(f"expected labels in 0..{num_classes - 1}{null}")


def check_classifier(labels: Labels | None, class_names: tuple[str, ...], classify: NoisyClassifier | None) -> None:
    """Raises InputError unless there is a classifier of the network's classes, if any, and a class for every image."""
    if classify is None:
        raise InputError(
            "expected a classifier of noisy images to be guided by, got none; train one with "
            "`ancestral train-classifier`"
        )
    if class_names and classify.class_names != class_names:
        raise InputError("expected a classifier of this pipeline's classes, got one of others; train one for this run")
    if labels is None:
        raise InputError("expected a class to be guided to by the classifier, got none")
    classes = len(classify.class_names)
    if not bool(((labels >= 0) & (labels < classes)).all()):
        raise InputError(f"expected labels in 0..{classes - 1}: a classifier guides every image to a class")


def check_classifier_free(settings: SamplingSettings, num_classes: int, knows_no_class: bool) -> None:
    """Raises InputError unless the network knows a class to follow and one to move away from, to guide itself."""
    if settings.guidance == 1:
        return
    if not num_classes:
        raise InputError(f"expected guidance 1 without classes, got {settings.guidance}: there is nothing to guide by")
    if settings.negative is None and not knows_no_class:
        raise InputError(
            f"expected guidance 1, got {settings.guidance:g}: this network knows no null class to guide by; it was "
            "trained with label_dropout 0, or elsewhere (--null-class N says which class stands for none)"
        )


def cause(x_t: Data, networks: Mapping[str, nn.Module], precision: str) -> str:
    """What has probably made a prediction at x_t that is not finite: said once it has, since looking takes time.

    Args:
        networks: those that predicted, by whose they are: "" or "weaker network's ".
        precision: of their products.
    """
    for whose, network in networks.items():
        if (name := first_not_finite(network.state_dict())) is not None:
            return f"the {whose}weights are no numbers, {name} first; take others, of before training diverged"
    if not is_finite(x_t) or x_t.abs().max() > VAST:
        return "x_t had grown beyond all images: take more steps, less guidance, or clip static"
    if precision == "bfloat16":
        return "a product in bfloat16 overflowed; set --compute.precision float32"
    return "a product overflowed float32; take less guidance or other weights"
