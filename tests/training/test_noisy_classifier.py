"""A classifier trained for seconds on `digits`: it learns, forgets nothing on disk, and is refused elsewhere."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from runs import tiny
from safetensors import safe_open
from safetensors.torch import save_file

from ancestral.data.datasets import load
from ancestral.data.imageset import Parts
from ancestral.diffusion.schedules import cosine, linear, zero_terminal_snr
from ancestral.errors import InputError
from ancestral.pipeline import Pipeline
from ancestral.pipeline.classifying import KEY, NoisyClassifier, load_classifier, same_noise
from ancestral.sampling.guidance import log_prob_gradient
from ancestral.settings import DataSettings, ImageSpec
from ancestral.tensors import from_pixels
from ancestral.training.noisy_classifier import (
    measured,
    measured_timesteps,
    new_classifier,
    recipe,
    train_classifier,
)


@pytest.fixture(scope="module")
def parts() -> Parts:
    return load(DataSettings(test=0.2))


@pytest.fixture(scope="module")
def pipeline(parts: Parts) -> Pipeline:
    network = {"widths": (16, 32), "attention": (), "middle_attention": True, "dropout": 0.0}
    return Pipeline.fresh(tiny({"network": network}), parts.train.spec, "cpu")


def trained(pipeline: Pipeline, parts: Parts, steps: int, seed: int = 0) -> NoisyClassifier:
    classifier = new_classifier(pipeline, parts.train.class_names, seed)
    assert len([*train_classifier(classifier, parts.train, recipe(32, steps, None), seed)]) == steps
    return classifier


@pytest.fixture(scope="module")
def learned(pipeline: Pipeline, parts: Parts) -> NoisyClassifier:
    return measured(trained(pipeline, parts, 300), parts.test)


def test_it_beats_chance_where_there_is_signal_and_does_not_where_there_is_none(learned: NoisyClassifier) -> None:
    """Traps: an accuracy measured on clean images at every t, and a classifier that was told another t."""
    by_level = {round(each.log_snr): each.share for each in learned.accuracies}
    assert [each.timestep for each in learned.accuracies] == sorted(each.timestep for each in learned.accuracies)
    assert by_level[4] > 0.6 and by_level[2] > 0.5
    assert abs(learned.accuracies[-1].share - 0.1) < 0.06, "at T nothing of the image is left: three deviations"
    assert learned.accuracies[0].share > by_level[0] > by_level[-4] - 0.05
    assert learned.num_held_out == 359


def test_its_gradient_agrees_with_finite_differences(learned: NoisyClassifier, parts: Parts) -> None:
    classifier = replace(learned, network=learned.network.double())
    try:
        x = from_pixels(torch.tensor(parts.test.images[:3])).permute(0, 3, 1, 2).double()
        labels, t = torch.tensor(parts.test.labels[:3]), torch.tensor(300)
        way = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        log_prob = classifier(labels)
        ahead, behind = log_prob(x + 1e-5 * way, t), log_prob(x - 1e-5 * way, t)
        slope = (log_prob_gradient(log_prob, x, t) * way).flatten(1).sum(1)
        torch.testing.assert_close(slope, (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-8)
    finally:
        learned.network.float()


def test_probabilities_sum_to_one(learned: NoisyClassifier, parts: Parts) -> None:
    x, t = torch.randn(2, *parts.train.shape), torch.tensor([5, 900])
    total = sum(learned(torch.full((2,), label))(x, t).exp() for label in range(10))
    torch.testing.assert_close(total, torch.ones(2))


def test_the_same_seed_trains_the_same_classifier(pipeline: Pipeline, parts: Parts) -> None:
    before = torch.get_rng_state()
    one, same, other = (trained(pipeline, parts, 3, seed).digest for seed in (0, 0, 1))
    assert one == same != other
    assert torch.equal(torch.get_rng_state(), before), "the caller's random state is left alone"


def test_training_ends_at_the_first_limit_and_may_be_left_at_any_step(pipeline: Pipeline, parts: Parts) -> None:
    classifier = new_classifier(pipeline, parts.train.class_names, 0)
    steps = train_classifier(classifier, parts.train, recipe(8, None, 1.0), 0)
    first, second = next(steps), next(steps)
    assert (first.step, second.images) == (1, 16) and 0 < first.fraction < second.fraction < 1
    assert first.record is not None and first.record["loss"] == pytest.approx(2.302585, abs=1e-5), "log 10 at first"
    steps.close()
    assert not any(parameter.requires_grad for parameter in classifier.network.parameters())
    assert len([*train_classifier(classifier, parts.train, recipe(8, 4, 1.0), 0)]) == 4
    assert len([*train_classifier(classifier, parts.train, recipe(8, 4000, 1e-9), 0)]) == 1


def test_levels_of_noise_are_told_apart_on_any_schedule(learned: NoisyClassifier) -> None:
    def of(schedule: object) -> list[int]:
        return measured_timesteps(replace(learned, diffusion=replace(learned.diffusion, schedule=schedule)))

    assert of(cosine(1)) == [1] and of(cosine(3)) == [1, 2, 3]
    assert 50 not in of(zero_terminal_snr(cosine(50))), "no level without signal: it has no log-SNR to write down"


def test_without_held_out_images_nothing_is_measured(learned: NoisyClassifier, parts: Parts) -> None:
    found = measured(learned, parts.test.sliced(0, 0))
    assert (found.accuracies, found.num_held_out) == ((), 0)


@pytest.fixture
def file(learned: NoisyClassifier, tmp_path: Path) -> Path:
    learned.save(tmp_path / "c.safetensors")
    return tmp_path / "c.safetensors"


def test_what_is_saved_loads_and_says_the_same(learned: NoisyClassifier, file: Path) -> None:
    again = load_classifier(file, learned.spec, learned.diffusion)
    assert (again.accuracies, again.num_held_out, again.spec) == (learned.accuracies, 359, learned.spec)
    x, t = torch.randn(2, *learned.spec.shape), torch.tensor(100)
    assert torch.equal(again.scores(x, t), learned.scores(x, t)) and again.digest == learned.digest
    nameless = learned.spec.model_copy(update={"class_names": ()})
    assert load_classifier(file, nameless, learned.diffusion).class_names == learned.class_names, "it lends its classes"


def test_another_machines_rounding_is_the_same_schedule() -> None:
    one = linear(1000).alpha_bar
    rounded = torch.cat([torch.ones(1).double(), one[1:] * (1 + 1e-12)])
    assert same_noise(one, rounded)
    for other in (cosine(1000), linear(999), linear(1000, beta_end=0.0201)):
        assert not same_noise(one, other.alpha_bar)


def halved(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


def edited(path: Path, **changes: object) -> None:
    with safe_open(path, framework="pt") as file:
        said = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata={KEY: json.dumps({**said, **changes})})


DAMAGE = {
    "missing": (lambda path: path.unlink(), "no file"),
    "half a file": (halved, "damaged"),
    "one bit": (flipped, "digest"),
    "text": (lambda path: path.write_text("x" * 99), "damaged"),
    "other tensors": (lambda path: save_file({"a": torch.ones(2)}, path), "other tensors"),
    "no table": (lambda path: save_file({"a": torch.ones(2)}, path, metadata={KEY: "[]"}), "hold a JSON object"),
    "no JSON": (lambda path: save_file({"a": torch.ones(2)}, path, metadata={KEY: "{"}), "damaged"),
    "unknown key": (lambda path: edited(path, pickle="x"), "unknown setting pickle"),
    "settings of another network": (
        lambda path: edited(path, network={"widths": [32], "attention": []}),
        "not those of its settings",
    ),
    "a table that rises": (lambda path: edited(path, alpha_bar=[1.0, 2.0]), "another schedule"),
    "another time": (lambda path: edited(path, time="log-snr"), "another schedule"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_one_line(name: str, learned: NoisyClassifier, file: Path) -> None:
    damage, expected = DAMAGE[name]
    damage(file)
    with pytest.raises(InputError) as fault:
        load_classifier(file, learned.spec, learned.diffusion)
    assert "\n" not in str(fault.value) and str(file) in str(fault.value) and expected in str(fault.value)


STRANGE = {
    "larger images": ({"height": 9}, None, "images of 1x9x8, of this .* of images of 1x8x8; train"),
    "other classes": ({"class_names": ("a", "b")}, None, "classes"),
    "another schedule": ({}, linear(1000), "another schedule"),
    "another T": ({}, cosine(500), "another schedule"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_classifier_of_something_else_is_refused(name: str, learned: NoisyClassifier, file: Path) -> None:
    changes, schedule, expected = STRANGE[name]
    spec = ImageSpec(**{**learned.spec.model_dump(), **changes})
    diffusion = learned.diffusion if schedule is None else replace(learned.diffusion, schedule=schedule)
    with pytest.raises(InputError, match=expected):
        load_classifier(file, spec, diffusion)


@pytest.mark.parametrize("names", [(), ("one",)])
def test_fewer_than_two_classes_are_nothing_to_tell_apart(pipeline: Pipeline, names: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="at least two classes"):
        new_classifier(pipeline, names, 0)
