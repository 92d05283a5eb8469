"""A classifier trained for seconds on `digits`: it learns, forgets nothing on disk, and is refused elsewhere."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ranks import in_processes
from runs import no_numbers, tiny
from safetensors import safe_open
from safetensors.torch import save_file
from test_resume import assert_same_run

from ancestral.data.datasets import load
from ancestral.data.imageset import Parts
from ancestral.diffusion.schedules import cosine, linear, zero_terminal_snr
from ancestral.errors import InputError
from ancestral.networks.weights import weights_hash
from ancestral.pipeline import Pipeline
from ancestral.pipeline.classifying import CLASSIFIER_FILE, KEY, NoisyClassifier, load_classifier, same_noise
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.sampling.guidance import log_prob_gradient
from ancestral.settings import DataSettings, ImageSpec, merged
from ancestral.tensors import from_pixels
from ancestral.training.logs import read_log
from ancestral.training.loop import train
from ancestral.training.noisy_classifier import Classifying, measured, measured_timesteps, new_classifier, recipe
from ancestral.training.step import Trainer

NETWORK = {"widths": (16, 32), "attention": (), "middle_attention": True, "dropout": 0.0}


@pytest.fixture(scope="module")
def parts() -> Parts:
    return load(DataSettings(test=0.2))


@pytest.fixture(scope="module")
def pipeline(parts: Parts) -> Pipeline:
    return Pipeline.fresh(tiny({"network": NETWORK}), parts.train.spec, "cpu")


def task(pipeline: Pipeline, parts: Parts, steps: int | None, seed: int = 0, **more: object) -> Classifying:
    """Of batches of 32 images, with checkpoints at step 2, 4, ... unless `more` settings say otherwise."""
    own = {"batch_size": 32, "checkpoint_every_steps": 2, "checkpoint_every_minutes": 60, **more}
    training = recipe(merged(pipeline.config, {"training": own}, "the test").training, steps, own.get("minutes"))  # type: ignore[arg-type]
    config = pipeline.config.model_copy(update={"training": training, "seed": seed})
    return Classifying(new_classifier(pipeline, parts.train.class_names, seed), config, pipeline.compute)


def trained(pipeline: Pipeline, parts: Parts, steps: int, folder: Path, seed: int = 0) -> NoisyClassifier:
    of = task(pipeline, parts, steps, seed, checkpoint_every_steps=1000)
    assert len([*train(of, parts, folder, say=quiet)]) == steps
    return load_classifier(folder / CLASSIFIER_FILE, of.spec, pipeline.diffusion)


def quiet(text: str) -> None:
    pass


@pytest.fixture(scope="module")
def learned(pipeline: Pipeline, parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> NoisyClassifier:
    return measured(trained(pipeline, parts, 300, tmp_path_factory.mktemp("learned") / "c"), parts.test)


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


def test_the_same_seed_trains_the_same_classifier(pipeline: Pipeline, parts: Parts, tmp_path: Path) -> None:
    one, same, other = (trained(pipeline, parts, 3, tmp_path / name, name == "c").digest for name in "abc")
    assert one == same != other


def test_the_first_loss_is_the_log_of_the_number_of_classes(pipeline: Pipeline, parts: Parts, tmp_path: Path) -> None:
    first, *_ = train(task(pipeline, parts, 1, minutes=1.0, log_every_steps=1), parts, tmp_path / "c", say=quiet)
    assert first.fraction == 1 and first.record is not None
    assert first.record["loss"] == pytest.approx(math.log(10), abs=1e-5) and first.record["held_out_loss"] > 2


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_classifier_goes_on_bit_for_bit(stop: int, pipeline: Pipeline, parts: Parts, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert len([*train(task(pipeline, parts, 5), parts, whole, say=quiet)]) == 5
    steps = train(task(pipeline, parts, 5), parts, run, say=quiet)
    assert [next(steps).step for _ in range(stop)][-1] == stop
    steps.close()
    (run / CLASSIFIER_FILE).unlink(missing_ok=True)  # as a full disk leaves it
    said = list[str]()
    assert len([*train(task(pipeline, parts, 5), parts, run, said.append)]) == 5 - stop
    assert_same_run(run, whole, CLASSIFIER_FILE)
    assert [line for line in said if "written anew" in line] == [
        f"{run / CLASSIFIER_FILE} was not that of the checkpoint: written anew"
    ]


def test_a_killed_classifier_ends_as_one_never_killed(pipeline: Pipeline, parts: Parts, tmp_path: Path) -> None:
    """What a kill leaves is the last checkpoint and a log that is ahead of it."""
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert len([*train(task(pipeline, parts, 5, log_every_steps=1), parts, whole, say=quiet)]) == 5
    steps = train(task(pipeline, parts, 5, log_every_steps=1), parts, run, say=quiet)
    assert [next(steps).step for _ in range(3)][-1] == 3
    shutil.copytree(run, tmp_path / "killed")
    steps.close()
    assert len([*train(task(pipeline, parts, 5, log_every_steps=1), parts, tmp_path / "killed", say=quiet)]) == 3
    assert_same_run(tmp_path / "killed", whole, CLASSIFIER_FILE)


def test_a_batch_that_is_not_finite_is_skipped(pipeline: Pipeline, parts: Parts) -> None:
    of = task(pipeline, parts, 5)
    trainer, before = Trainer(of, parts.train), weights_hash(of.classifier.network)
    with no_numbers(of.classifier.network, [3]):
        trainer.advance()
    assert weights_hash(of.classifier.network) == before and int(trainer.non_finite.skipped) == 1
    trainer.advance()
    assert weights_hash(of.classifier.network) != before and int(trainer.non_finite.skipped) == 1


def classified(processes: Processes, folder: Path) -> list[float]:
    """What every process runs: the losses of five steps."""
    parts = load(DataSettings(test=0.2))
    of = task(Pipeline.fresh(tiny({"network": NETWORK}), parts.train.spec, "cpu"), parts, 5, log_every_steps=1)
    assert len([*train(of, parts, folder, say=quiet, processes=processes)]) == 5
    return [record["loss"] for record in read_log(folder / "log.jsonl")]


def test_two_processes_train_a_classifier_as_one_does(tmp_path: Path) -> None:
    alone = classified(SINGLE_PROCESS, tmp_path / "one")
    for found in in_processes(2, classified, tmp_path / "two"):
        assert found == pytest.approx(alone, rel=1e-5) and found[0] > found[-1]


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
