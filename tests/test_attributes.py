"""Attributes of images: what a network makes of them, what it is told, and what is learnt, kept and refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pipelines import SMALL, TINY, answering
from torch import Tensor

from ancestral.condition import Condition
from ancestral.data.imageset import ImageSet, Parts
from ancestral.data.loader import Loader
from ancestral.errors import InputError
from ancestral.networks.unet import UNet
from ancestral.pipeline import Pipeline
from ancestral.report.samples import generate
from ancestral.settings import Config, DiTSettings, ImageSpec, NetworkSettings, SamplingSettings, TrainingSettings
from ancestral.training.denoiser import Denoising
from ancestral.training.loop import train
from ancestral.training.step import Trainer

NAMES = ("brightness", "spot")
DIT = DiTSettings(width=16, layers=1, heads=2)
QUICK = SamplingSettings(steps=3)


def made_up(count: int = 192, classes: tuple[str, ...] = ()) -> ImageSet:
    """Images of 4 x 4 as bright as the first attribute says in percent, with a white corner where the second is 1."""
    random = np.random.default_rng(0)
    bright, spot = random.uniform(20, 80, count), random.integers(0, 2, count)
    pixels = np.broadcast_to(2.55 * bright[:, None, None, None], (count, 4, 4, 1)).astype(np.uint8)
    pixels[spot == 1, 0, 0] = 255
    told = np.stack([bright, spot], axis=1).astype(np.float32)
    told[::10, 1] = np.nan
    labels = np.arange(count) % len(classes) if classes else None
    return ImageSet(pixels, labels, classes, None, None, f"made up {count}", told, NAMES)


def parts(**changes: Any) -> Parts:
    whole = made_up(**changes)
    return Parts(whole.sliced(0, 160), whole.sliced(160, 176), whole.sliced(176, 192))


def config(**training: Any) -> Config:
    settings = {"steps": 4, "batch_size": 16, "log_every_steps": 4, **training}
    return Config(network=TINY, training=TrainingSettings(**settings), sampling=QUICK, compute={"precision": "float32"})


def answers(classes: tuple[str, ...] = (), **training: Any) -> Pipeline:
    """A pipeline that knows two attributes, and answers something."""
    return answering(Pipeline.fresh(config(**training), made_up(classes=classes).spec, "cpu"))


X, T = torch.randn(4, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor(500)
LABELS = torch.tensor([0, 1, 0, 1])
NUMBERS = torch.tensor([[0.5, 1.0], [-0.5, 1.0], [0.0, torch.nan], [1.5, -1.0]])


def predicted(made: Pipeline, condition: Condition, **settings: Any) -> Tensor:
    with torch.inference_mode():
        return made.denoiser(condition, SamplingSettings(clip="none", **settings))(X, T).eps


# Laws


@pytest.mark.parametrize("classes", [(), ("a", "b")], ids=["alone", "with classes"])
def test_an_image_of_which_all_is_hidden_is_one_of_which_nothing_is_told(classes: tuple[str, ...]) -> None:
    """Bit for bit, and guidance 1 is the plain prediction, and what one image is told moves no other."""
    made = answers(classes)
    told = Condition(LABELS if classes else None, NUMBERS)
    whole, null = predicted(made, told), predicted(made, Condition())
    one = torch.tensor([False, True, False, False])
    hidden = predicted(made, told.hidden(one))
    assert torch.equal(hidden[1], null[1]) and torch.equal(hidden[~one], whole[~one])
    assert torch.equal(predicted(made, told.null()), null) and not torch.isclose(whole, null).all(dim=(1, 2, 3)).any()
    with torch.inference_mode():
        assert torch.equal(whole, made.network(X, torch.full((4,), 499.0), told))
    torch.testing.assert_close(predicted(made, told, guidance=3), null + 3 * (whole - null))


@pytest.mark.parametrize("network", [TINY, DIT], ids=lambda network: network.name)
def test_a_network_whose_attributes_nobody_trained_is_one_without(network: NetworkSettings) -> None:
    """Trap: an embedding that starts at random numbers, or draws them before the other weights."""
    settings = config().model_copy(update={"network": network})
    plain, knowing = (Pipeline.fresh(settings, each, "cpu") for each in (ImageSpec(**SHAPE), made_up().spec))
    shared = plain.network.state_dict()
    assert all(torch.equal(knowing.network.state_dict()[name], weight) for name, weight in shared.items())
    answering(plain)
    knowing.network.load_state_dict(plain.network.state_dict(), strict=False)
    told = Condition(attributes=NUMBERS)
    assert torch.equal(predicted(knowing, told), predicted(plain, Condition()))
    assert not torch.equal(predicted(answering(knowing), told), predicted(knowing, told.null()))


def test_a_number_that_is_not_told_is_none_that_is() -> None:
    """Trap: not a number taken for the mean, 0."""
    made = answers()
    untold, mean = (predicted(made, Condition(attributes=torch.full((4, 2), x))) for x in (torch.nan, 0.0))
    assert not torch.isclose(untold, mean, atol=1e-4).all(dim=(1, 2, 3)).any()


def test_gradient_reaches_the_embedding_where_nothing_is_told() -> None:
    """Trap: processes that wait for the gradient of weights which a batch did not meet."""
    network = answers().network
    network(X, torch.full((4,), 9.0)).square().mean().backward()
    assert all(weight.grad is not None for weight in network.parameters())


SHAPE: dict[str, Any] = {"channels": 1, "height": 4, "width": 4}


# What is told


def test_numbers_are_told_in_deviations_from_the_mean_of_the_training_part() -> None:
    """At both doors alike: a network is told of its data as of what people ask for."""
    divided = parts()
    made = Pipeline.fresh(config(), divided.train.spec, "cpu")
    told = divided.train.attributes
    assert told is not None
    for k, each in enumerate(made.spec.attributes):
        assert each.name == NAMES[k] and each.mean == pytest.approx(np.nanmean(told[:, k].astype(float)))
        assert each.std == pytest.approx(np.nanstd(told[:, k].astype(float)))
    rows = [dict(zip(NAMES, row, strict=True)) for row in divided.test.attributes.tolist()]  # type: ignore[union-attr]
    asked = made.condition(None, len(rows), rows).attributes
    torch.testing.assert_close(divided.test.condition(made.spec).attributes, asked, equal_nan=True)
    batch = Loader(divided.train, 160, 0, spec=made.spec).batch(0).condition.attributes
    assert batch is not None and float(batch[:, 0].mean()) == pytest.approx(0, abs=1e-5)
    alike = replace(divided.train, attributes=np.full((160, 2), 0.1, np.float32)).spec.attributes
    assert [each.std for each in alike] == [1, 1], "trap: all alike, and a deviation of 0"


def test_attributes_are_asked_for_by_name_for_all_or_in_turn() -> None:
    made = answers()
    mean, std = made.spec.attributes[0].mean, made.spec.attributes[0].std
    asked = made.condition(None, 3, [{"brightness": mean + std}, {"brightness": mean, "spot": None}]).attributes
    assert asked is not None and asked.isnan().tolist() == [[False, True]] * 3
    assert asked[:, 0].tolist() == pytest.approx([1, 0, 1], abs=1e-6)
    same = made(2, attributes={"brightness": 40, "spot": True}, output="tensor")
    each = made(attributes=[{"spot": 1, "brightness": 40.0}] * 2, output="tensor")
    assert isinstance(same, Tensor) and isinstance(each, Tensor) and torch.equal(same, each)
    assert not torch.equal(same, made(2, output="tensor"))  # type: ignore[arg-type]
    assert "2 attributes (brightness, spot)" in repr(made)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no such": ({"attributes": {"age": 1}}, "out of brightness, spot, got 'age'"),
    "text": ({"attributes": {"spot": "1"}}, "the attribute spot, a number, got '1'"),
    "infinity": ({"attributes": {"spot": float("inf")}}, "a finite number for the attribute spot"),
    "no names": ({"attributes": [0.5]}, "names with numbers.*got float"),
    "too many": ({"num_images": 1, "attributes": [{"spot": 1}] * 2}, "for each of 1 images, got 2"),
    "a class": ({"labels": [0]}, "expected no labels"),
    "nothing to follow": ({"guidance": 2}, "expected labels, attributes or a prompt with guidance 2"),
    "negative": ({"attributes": {"spot": 1}, "guidance": 2, "negative": "age=1"}, "out of brightness, spot"),
    "a tensor": ({"attributes": torch.zeros(2, 2)}, "names with numbers.*got Tensor"),
    "twice": (
        {"attributes": {"spot": 1}, "guidance": 2, "negative": "spot=1,spot=0"},
        "each once, got 'spot=1,spot=0'",
    ),
    "no negative": ({"attributes": {"spot": 1}, "guidance": 2, "negative": "spot=high"}, "NAME=NUMBER with commas"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_asked_for_is_refused(name: str) -> None:
    words, expected = WRONG[name]
    with pytest.raises(InputError, match=expected):
        answers()(**words)


def test_a_network_that_was_told_of_every_image_is_to_be_told_of_every_image() -> None:
    made = answers(label_dropout=0)
    for attributes in (None, {"spot": None}):
        with pytest.raises(InputError, match=r"attributes of every image \(brightness, spot\)"):
            made(attributes=attributes)
    made(attributes={"spot": 1})
    with pytest.raises(InputError, match="knows no null class"):
        made(attributes={"spot": 1}, guidance=2)
    made(attributes={"spot": 1}, guidance=2, negative="spot=0")
    plain = answering(Pipeline.fresh(config(), ImageSpec(**SHAPE), "cpu"))
    with pytest.raises(InputError, match="got 'spot': this pipeline was trained without any"):
        plain(attributes={"spot": 1})


def test_guidance_moves_away_from_all_that_is_not_wanted() -> None:
    """A negative class or negative attributes beside nothing of the other kind."""
    made = answers(("a", "b"))
    asked = made.condition(["a", "b"], 4, {"brightness": 70})
    given = predicted(made, asked)
    for negative, unwanted in (
        ("b", Condition(torch.ones(4, dtype=torch.int64))),
        ("spot=1", made.condition(None, 4, {"spot": 1})),
    ):
        away = predicted(made, unwanted)
        found = predicted(made, asked, guidance=2.5, negative=negative)
        torch.testing.assert_close(found, away + 2.5 * (given - away))
    how = {"attributes": {"brightness": 70}, "guidance": 2.5, "output": "tensor"}
    words = [made(2, negative=each, **how) for each in ({"spot": True}, "spot=1", "spot=true")]
    assert isinstance(words[0], Tensor) and all(torch.equal(words[0], other) for other in words)  # type: ignore[arg-type]


# Training and folders


def test_training_hides_class_and_attributes_of_the_same_images() -> None:
    divided = parts(classes=("a", "b"))
    trainer = Trainer(Denoising(Pipeline.fresh(config(label_dropout=0.5), divided.train.spec, "cpu")), divided.train)
    seen: list[Condition] = []
    trainer.network.register_forward_pre_hook(lambda _, given: seen.append(given[2]))
    trainer.advance()
    (condition,) = seen
    assert condition.labels is not None and condition.attributes is not None
    hidden = condition.labels < 0
    assert 0 < hidden.sum() < 16 and torch.equal(condition.attributes[:, 0].isnan(), hidden)


def trained(folder: Path, stops: int | None = None, **training: Any) -> Pipeline:
    divided = parts()
    for last in (stops, None) if stops else (None,):
        steps = train(
            Pipeline.fresh(config(**training), divided.train.spec, "cpu"), divided, folder, say=lambda _: None
        )
        for progress in steps:
            if progress.step == last:
                break
        steps.close()
    return Pipeline.load(folder, "cpu")


def test_a_network_learns_what_an_attribute_means(tmp_path: Path) -> None:
    made = trained(tmp_path / "run", steps=150, batch_size=64, lr=1e-2, lr_schedule="cosine", ema_decay=0.9)
    levels = [25, 40, 60, 75]
    images = [made(12, attributes={"brightness": each}, steps=12, output="tensor") for each in levels]
    found = [float(each.float().mean()) / 2.55 for each in images]  # type: ignore[union-attr]
    assert found == sorted(found) and found == pytest.approx(levels, abs=12)


def test_an_interrupted_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = trained(tmp_path / "whole", sample_every_steps=4)
    resumed = trained(tmp_path / "resumed", stops=2, sample_every_steps=4)
    assert whole.weights_hash() == resumed.weights_hash() and whole.spec == resumed.spec
    grids = [*(tmp_path / "whole" / "samples").iterdir()]  # of the attributes of real images
    assert grids and all(file.read_bytes() == (tmp_path / "resumed/samples" / file.name).read_bytes() for file in grids)


def test_samples_of_a_report_are_of_the_attributes_of_training_images_of_their_class() -> None:
    divided = parts(classes=("a", "b"))
    made = answering(Pipeline.fresh(config(), divided.train.spec, "cpu"))
    samples = generate(made, divided.train)
    labels = samples.labels
    assert labels is not None and divided.train.labels is not None
    places = [int(np.flatnonzero(divided.train.labels == label)[0]) for label in (0, 1)]
    first = labels.tolist().index(1)
    asked = divided.train.condition(made.spec, np.array(places))
    wanted = made.generate([0, first], asked)
    assert torch.equal(samples.pixels[[0, first]], wanted)


@pytest.mark.parametrize(
    ("network", "place", "name"), [(SMALL, "unet", "AncestralUNet"), (DIT, "transformer", "AncestralNetwork")]
)
def test_a_folder_keeps_attributes_and_is_none_of_diffusers(
    tmp_path: Path, network: NetworkSettings, place: str, name: str
) -> None:
    made = answering(Pipeline.fresh(config().model_copy(update={"network": network}), made_up().spec, "cpu"))
    made.save(tmp_path / "saved")
    told = json.loads((tmp_path / "saved" / place / "config.json").read_text())
    assert (told["_class_name"], told["num_attributes"]) == (name, 2)
    again = Pipeline.load(tmp_path / "saved", "cpu", made.config.compute)
    assert again.spec == made.spec
    words: dict[str, Any] = {"attributes": {"brightness": 70}, "output": "tensor"}
    assert torch.equal(again(2, **words), made(2, **words))  # type: ignore[arg-type]
    (tmp_path / "saved/ancestral.json").unlink()
    assert Pipeline.load(tmp_path / "saved", "cpu").spec.attribute_names == ("0", "1")


def test_a_folder_of_before_has_no_attributes(tmp_path: Path) -> None:
    made = Pipeline.fresh(config(), ImageSpec(**SHAPE), "cpu")
    made.save(tmp_path / "saved")
    file = tmp_path / "saved/ancestral.json"
    own = json.loads(file.read_text())
    assert own["images"].pop("attributes") == []
    file.write_text(json.dumps(own))
    assert Pipeline.load(tmp_path / "saved", "cpu").spec == made.spec
    own["images"]["attributes"] = [{"name": "age", "mean": 3.0, "std": 0.5}]
    file.write_text(json.dumps(own))
    with pytest.raises(InputError, match="two that differ in attributes"):
        Pipeline.load(tmp_path / "saved", "cpu")


def test_a_network_without_attributes_refuses_some() -> None:
    with pytest.raises(InputError, match="built without"):
        UNet(SMALL, 1, 1)(X, torch.tensor(0), Condition(attributes=NUMBERS))
