"""What the settings of guidance mean, on a tiny pipeline: who guides, where, how strongly, and what is refused."""

from dataclasses import FrozenInstanceError, replace

import pytest
import torch
from pipelines import SMALL, answering, untrained
from torch import Tensor

from ancestral.condition import Condition
from ancestral.errors import InputError
from ancestral.networks.classifier import Classifier
from ancestral.pipeline import Pipeline
from ancestral.pipeline.classifying import NoisyClassifier
from ancestral.settings import (
    ComputeSettings,
    SamplingSettings,
    TrainingSettings,
    parse,
)

CLASSES = ("cat", "dog", "owl")
LABELS = torch.tensor([0, 2, 1])
SEEDS = [1, 2, 3]


def pipeline(classes: tuple[str, ...] = CLASSES, seed: int = 0) -> Pipeline:
    """A pipeline of random weights that answers something."""
    compute = ComputeSettings(precision="float32")
    settings = {"network": SMALL, "training": TrainingSettings(steps=1), "compute": compute}
    return answering(untrained(classes=classes, changes=settings), seed)


class Brightness(Classifier):
    """Bright images are of the last class, dark ones of the first, so that what guidance does can be seen."""

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return x.mean(dim=(1, 2, 3))[:, None] * torch.tensor([-8.0, 0.0, 8.0])


def by_brightness(made: Pipeline, names: tuple[str, ...] = CLASSES) -> NoisyClassifier:
    spec = made.spec.model_copy(update={"class_names": names})
    return NoisyClassifier(Brightness(made.config.network, 1, 3), spec, made.diffusion)


def drawn(made: Pipeline, labels: Tensor | None = LABELS, **settings: object) -> Tensor:
    """The last x of a chain, unrounded."""
    asked = parse(SamplingSettings, {"steps": 5, "clip": "none", **settings}, "the test")
    *_, last = made.steps(SEEDS, labels, asked)
    return last.x_s


def test_scale_one_is_no_guidance_whoever_would_guide() -> None:
    """The network's own answer at index t - 1, though all who could guide are there and guide at any other scale."""
    made = pipeline()
    made = made.with_guides(pipeline(seed=1), by_brightness(made))
    with torch.no_grad():
        plain = made.network(X, torch.full((3,), 399.0), Condition(LABELS))
    for by in ("classifier-free", "autoguidance", "classifier"):
        assert torch.equal(prediction(made, LABELS, X, T, guidance=1, guidance_by=by)[1], plain), by
        assert not torch.equal(prediction(made, LABELS, X, T, guidance=2, guidance_by=by)[1], plain), by


def test_a_weaker_network_guides_and_the_network_itself_does_not() -> None:
    made, plain = pipeline(), drawn(pipeline())
    made = made.with_guides(pipeline())
    assert torch.equal(drawn(made, guidance=3, guidance_by="autoguidance"), plain)
    made = made.with_guides(pipeline(seed=1))
    assert not torch.equal(drawn(made, guidance=3, guidance_by="autoguidance"), plain)


def test_the_networks_that_guide_go_to_the_device_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap: a guided pipeline that is moved, and fails at its first step since its guides stayed where they were. The
    device is torch's own of tensors without numbers, which every machine has."""
    monkeypatch.setattr("ancestral.pipeline.pipeline.on_device", torch.device)
    made = pipeline()
    moved = made.with_guides(pipeline(seed=1), by_brightness(made)).to("meta")
    assert moved.weaker and moved.classify
    for network in (moved.network, moved.weaker.network, moved.classify.network):
        assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    assert made.device.type == "cpu" and not next(made.network.parameters()).is_meta


def test_a_guided_pipeline_is_another_one() -> None:
    """Trap: who is given a pipeline guides it, and all who have it are guided."""
    made = pipeline()
    guided = made.with_guides(pipeline(seed=1), by_brightness(made))
    assert made.weaker is None and made.classify is None and guided.network is made.network
    assert guided.with_network(made.network).weaker is None, "what guides one network may not fit another"
    for name in ("weaker", "classify", "processes", "analytic", "compute", "network"):
        with pytest.raises(FrozenInstanceError):
            setattr(made, name, getattr(guided, name))


def prediction(
    made: Pipeline, labels: Tensor | None, x: Tensor, t: Tensor, **settings: object
) -> tuple[Tensor, Tensor]:
    asked = parse(SamplingSettings, {"clip": "none", **settings}, "the test")
    with torch.no_grad():
        found = made.denoiser(Condition(labels), asked)(x, t)
    return found.x0, found.eps


X, T = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(5)), torch.tensor(400)


@pytest.mark.parametrize("labels", [LABELS, None], ids=["a class", "no class"])
def test_a_weaker_network_is_moved_away_from(labels: Tensor | None) -> None:
    """Of the same class, and without a class too: autoguidance needs none."""
    weaker = pipeline(seed=1)
    made = pipeline().with_guides(weaker)
    guided = prediction(made, labels, X, T, guidance=2.5, guidance_by="autoguidance")
    good, bad = prediction(made, labels, X, T), prediction(weaker, labels, X, T)
    for found, one, other in zip(guided, good, bad, strict=True):
        torch.testing.assert_close(found, one + 1.5 * (one - other))


def test_a_negative_class_stands_for_no_class() -> None:
    made = pipeline()
    guided = prediction(made, LABELS, X, T, guidance=2.5, negative="dog")
    wanted, unwanted = prediction(made, LABELS, X, T), prediction(made, torch.ones_like(LABELS), X, T)
    for found, one, other in zip(guided, wanted, unwanted, strict=True):
        torch.testing.assert_close(found, one + 1.5 * (one - other), rtol=1e-4, atol=1e-4)


def test_a_network_that_knows_no_null_class_can_have_a_negative_one() -> None:
    made = pipeline()
    training = made.config.training.model_copy(update={"label_dropout": 0.0})
    made = replace(made, config=made.config.model_copy(update={"training": training}))
    with pytest.raises(InputError, match="knows no null class"):
        drawn(made, guidance=2)
    known = pipeline()
    assert torch.equal(drawn(made, guidance=2, negative="owl"), drawn(known, guidance=2, negative="owl"))
    assert not torch.equal(drawn(made, guidance=2, negative="owl"), drawn(made))


def test_an_interval_guides_within_and_nowhere_else() -> None:
    made = pipeline()
    plain, guided = drawn(made), drawn(made, guidance=3)
    assert torch.equal(drawn(made, guidance=3, guidance_interval=(1e6, 1e7)), plain), "no timestep is so noisy"
    assert torch.equal(drawn(made, guidance=3, guidance_interval=(0, 1e9)), guided), "every timestep"
    some = drawn(made, guidance=3, guidance_interval=(0.3, 3))
    assert not torch.equal(some, plain) and not torch.equal(some, guided)


def test_an_interval_holds_for_a_classifier_too() -> None:
    made = pipeline()
    made, plain = made.with_guides(classify=by_brightness(made)), drawn(made)
    common = {"guidance": 4, "guidance_by": "classifier"}
    assert torch.equal(drawn(made, **common, guidance_interval=(1e6, 1e7)), plain)
    assert torch.equal(drawn(made, **common, guidance_interval=(0, 1e9)), drawn(made, **common))


@pytest.mark.parametrize("by", ["classifier-free", "autoguidance"])
def test_rescaling_brings_the_contrast_back(by: str) -> None:
    made = pipeline()
    made = made.with_guides(pipeline(seed=1))
    common = {"guidance": 4, "guidance_by": by}
    plain, guided = prediction(made, LABELS, X, T)[0], prediction(made, LABELS, X, T, **common)[0]
    back = prediction(made, LABELS, X, T, **common, guidance_rescale=1)[0]
    deviation = [each.flatten(1).std(1) for each in (plain, guided, back)]
    torch.testing.assert_close(deviation[2], deviation[0])
    assert not torch.allclose(deviation[1], deviation[0], rtol=0.02)


def test_a_classifier_moves_an_unconditional_pipeline_towards_the_class() -> None:
    made = pipeline(())
    made = made.with_guides(classify=by_brightness(made))
    assert (made.num_classes, made.class_names, made.class_index("owl")) == (0, CLASSES, 2)
    brightness = {
        (scale, label): drawn(made, torch.full((3,), label), guidance=scale, guidance_by="classifier").mean()
        for scale in (1, 3)
        for label in (0, 2)
    }
    unguided = drawn(made, None).mean()
    assert brightness[3, 0] < brightness[1, 0] < unguided < brightness[1, 2] < brightness[3, 2]
    assert torch.equal(drawn(made, LABELS, guidance=0, guidance_by="classifier"), drawn(made, None))


@pytest.mark.parametrize("classes", [CLASSES, ()], ids=["conditional", "unconditional"])
def test_a_classifier_gives_what_the_network_does_not_know(classes: tuple[str, ...]) -> None:
    """eps - strength s grad log p, of strength g, or g - 1 where the network itself knows the class."""
    made = pipeline(classes)
    made = made.with_guides(classify=by_brightness(made))
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(made.classify(LABELS)(x, T).sum(), x)
    strength = 3.0 - bool(classes)
    eps = prediction(made, LABELS if classes else None, X, T)[1]
    found = prediction(made, LABELS, X, T, guidance=3, guidance_by="classifier")[1]
    torch.testing.assert_close(
        found, eps - strength * (1 - made.diffusion.schedule.alpha_bar_at(T)).sqrt().float() * slope
    )


WRONG_SETTINGS = {
    "cache and interval": ({"guidance": 2, "guidance_interval": (0.3, 3), "cache": 2}, "cache 1"),
    "falling interval": ({"guidance": 2, "guidance_interval": (3, 0.3)}, "that rises"),
    "interval of nothing": ({"guidance_interval": (0.3, 3)}, "nothing to guide"),
    "rescaled nothing": ({"guidance": 0, "guidance_rescale": 0.7}, "nothing to guide"),
    "negative nothing": ({"negative": "dog"}, "nothing to guide"),
    "negative of a weaker": ({"guidance": 2, "guidance_by": "autoguidance", "negative": "dog"}, "no negative"),
    "negative of a classifier": ({"guidance": 2, "guidance_by": "classifier", "negative": "dog"}, "no negative"),
    "rescaled classifier": ({"guidance_by": "classifier", "guidance_rescale": 0.5}, "no second image"),
    "unknown guide": ({"guidance_by": "stronger"}, "guidance_by"),
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_settings_that_do_not_go_together_are_one_line(name: str) -> None:
    settings, expected = WRONG_SETTINGS[name]
    with pytest.raises(InputError, match=expected) as fault:
        parse(SamplingSettings, settings, "the test")
    assert "\n" not in str(fault.value)


WRONG_GUIDES = {
    "no weaker": (CLASSES, LABELS, {"guidance": 2, "guidance_by": "autoguidance"}, "a weaker pipeline"),
    "no classifier": (CLASSES, LABELS, {"guidance": 2, "guidance_by": "classifier"}, "a classifier of noisy images"),
    "unknown negative": (CLASSES, LABELS, {"guidance": 2, "negative": "bird"}, "cat, dog, owl"),
    "negative without classes": ((), None, {"guidance": 2, "negative": "dog"}, "nothing to guide by"),
    "labels without classes": ((), LABELS, {"guidance_by": "autoguidance", "guidance": 2}, "trained without classes"),
    "cache with two calls a step": (CLASSES, LABELS, {"cache": 2, "sampler": "heun"}, "cache 1 with the sampler heun"),
}


@pytest.mark.parametrize("name", WRONG_GUIDES)
def test_guides_that_are_not_there_are_one_line(name: str) -> None:
    classes, labels, settings, expected = WRONG_GUIDES[name]
    with pytest.raises(InputError, match=expected) as fault:
        drawn(pipeline(classes), labels, **settings)
    assert "\n" not in str(fault.value)


def test_a_classifier_wants_a_class_of_its_own_for_every_image() -> None:
    made = pipeline()
    made = made.with_guides(classify=by_brightness(made))
    for labels, expected in ((None, "a class to be guided to"), (torch.tensor([0, 1, 3]), r"0\.\.2")):
        with pytest.raises(InputError, match=expected):
            drawn(made, labels, guidance=2, guidance_by="classifier")
    made = made.with_guides(classify=by_brightness(made, ("cat", "owl", "dog")))
    with pytest.raises(InputError, match="this pipeline's classes"):
        drawn(made, guidance=2, guidance_by="classifier")


def test_a_classifier_that_does_not_guide_lends_no_labels() -> None:
    made = pipeline(())
    made = made.with_guides(classify=by_brightness(made))
    with pytest.raises(InputError, match="trained without classes"):
        drawn(made, LABELS)


def test_the_precision_of_the_network_is_not_that_of_the_classifier() -> None:
    """Trap: a gradient in eight bits. The classifier is called outside of the network's autocast."""
    made = pipeline()
    made = made.with_compute(made.compute.model_copy(update={"precision": "bfloat16"}))
    seen: list[bool] = []
    guide = by_brightness(made)
    guide.network.register_forward_pre_hook(lambda module, given: seen.append(torch.is_autocast_enabled("cpu")))
    made = made.with_guides(classify=replace(guide))
    drawn(made, guidance=2, guidance_by="classifier")
    assert seen == [False] * 5
