"""Augmentation that is told: changes are what their numbers say, and stay out of what is generated."""

from typing import Any

import pytest
import torch
from runs import TRANSFORMER, fresh, tiny

from ancestral.condition import Condition
from ancestral.diffusion.level import Noised
from ancestral.errors import InputError
from ancestral.networks.weights import weights_hash
from ancestral.pipeline import Pipeline
from ancestral.rng import generator
from ancestral.tensors import Pixels, from_pixels
from ancestral.training.augmentation import KINDS, SIZE, changed, drawn
from ancestral.training.denoiser import Denoising
from ancestral.training.run import RunFolder
from ancestral.training.step import Trainer

NUMBERS = ("mirrored", "right", "down", "scale", "cosine", "sine", "brightness", "contrast", "saturation")


def noise(channels: int = 3, height: int = 16, width: int = 24, count: int = 4) -> Pixels:
    draws = torch.Generator().manual_seed(channels)
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=draws)


def told(count: int = 4, **numbers: float) -> torch.Tensor:
    vectors = torch.zeros(count, SIZE)
    for name, number in numbers.items():
        vectors[:, NUMBERS.index(name)] = number
    return vectors


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_an_image_whose_vector_is_0_stays_to_the_level_whatever_befalls_the_others(channels: int) -> None:
    images = noise(channels, 7, 10, 64)
    vectors = drawn((channels, 7, 10), 64, 0.3, KINDS, generator(0, "augmentation", 0))
    untouched = (vectors == 0).all(1)
    found = changed(images, vectors)
    assert 4 < int(untouched.sum()) < 32 and torch.equal(found[untouched], images[untouched])
    assert bool((found[~untouched] != images[~untouched]).flatten(1).any(1).all())


def test_mirrored_turned_and_moved_images_are_those_pixels() -> None:
    """Moved by an eighth, 3 of 24 and 2 of 16 pixels; beyond the edge lies what is on this side of it."""
    images, square = noise(), noise(width=16)
    assert torch.equal(changed(images, told(mirrored=1)), images.flip(3))
    quarter = changed(square, told(cosine=-1, sine=1))
    assert torch.equal(quarter, square.rot90(-1, (2, 3)))
    assert torch.equal(changed(quarter, told(cosine=-1, sine=-1)), square)
    moved = changed(images, told(right=1, down=-0.5))
    assert torch.equal(moved[:, :, :-1, 3:], images[:, :, 1:, :-3])
    assert torch.equal(moved[:, :, :-1, :3], images[:, :, 1:, :3].flip(3))
    both = changed(square, told(mirrored=1, cosine=-1, sine=1, right=0.5))
    assert torch.equal(both[:, :, :, 1:], square.flip(3).rot90(-1, (2, 3))[:, :, :, :-1]), "mirrored first, moved last"


def test_an_image_is_enlarged_about_its_middle() -> None:
    ramp = (8.0 * torch.arange(24)).expand(1, 1, 16, 24).to(torch.uint8)
    found = changed(ramp, told(1, scale=1))[0, 0, 0].float()
    wanted = 8 * (11.5 + (torch.arange(24) - 11.5) / 1.25)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.51)


def test_colours_move_by_what_is_told_and_opacity_does_not() -> None:
    images = (96 + noise(4) // 4).contiguous()  # so that nothing is cut off at the ends
    mean = changed(images, told(brightness=0.5)).float() - images
    assert bool((mean[:, :3] - 0.2 * 127.5).abs().max() <= 0.51) and bool((mean[:, 3] == 0).all())
    farther = changed(images, told(contrast=1))[:, :3].float()
    torch.testing.assert_close(farther - 127.5, (images[:, :3] - 127.5) * 2**0.5, rtol=0, atol=0.51)
    faded, colors = changed(images, told(saturation=-1))[:, :3].float(), images[:, :3].float()
    torch.testing.assert_close(faded, (colors + colors.mean(1, keepdim=True)) / 2, rtol=0, atol=0.51)


def test_kinds_happen_apart_with_the_chance_asked_and_only_those_asked() -> None:
    vectors = drawn((1, 8, 32), 4096, 0.25, KINDS, generator(1, "augmentation", 0))
    parts = vectors.split([*KINDS.values()], dim=1)
    happens = torch.stack([(part != 0).any(1) for part in parts], dim=1).double()
    rates = happens.mean(0)
    assert rates.tolist() == pytest.approx([0.25, 0.25 * (1 - 1 / 27), 0.25, 0.25, 0.25], abs=0.03)
    assert float((torch.corrcoef(happens.T) - torch.eye(5)).abs().max()) < 0.08
    assert float((vectors[:, 1] * 4 - (vectors[:, 1] * 4).round()).abs().max()) == 0, "whole pixels of 32"
    assert bool((vectors[:, 8] == 0).all()), "grey has no saturation"
    some = drawn((3, 8, 8), 512, 0.9, ("scale", "color"), generator(1, "augmentation", 0))
    assert (some != 0).any(0).tolist() == [False, False, False, True, False, False, True, True, True]
    assert not torch.equal(vectors, drawn((1, 8, 32), 4096, 0.25, KINDS, generator(1, "augmentation", 1)))


def seen(changes: dict[str, object]) -> tuple[Trainer, list[tuple[Any, ...]]]:
    """What the network is given in the second step."""
    pipeline, parts = fresh(tiny(changes))
    trainer, given = Trainer(Denoising(pipeline), parts.train), list[tuple[Any, ...]]()
    trainer.advance()
    with torch.no_grad():
        trainer.network.augmentation_embedding.weight.normal_()  # type: ignore[operator, union-attr]
    trainer.network.register_forward_pre_hook(lambda module, each: given.append(each))
    trainer.advance()
    return trainer, given


@pytest.mark.parametrize("micro_batch", [8, 3])
def test_a_network_is_told_how_each_of_its_images_was_changed(micro_batch: int) -> None:
    """Traps: nothing is told, or what was done to another image; in parts, other changes than at once. Labels stay
    those of the images, and where they are hidden the change is told all the same."""
    settings = {"augment": 0.5, "label_dropout": 0.5}
    trainer, given = seen({"training": settings, "compute": {"micro_batch": micro_batch}})
    random, batch = trainer.task.randomness(1), trainer.loader.batch(1)
    vectors = random.augmentation
    assert vectors is not None and len({*map(tuple, vectors.tolist())}) > 4 and bool(random.hidden.any())
    x0 = from_pixels(changed(batch.pixels, vectors))
    noised = Noised.at(trainer.task.diffusion.schedule.level(random.times.t), x0, random.eps)  # type: ignore[attr-defined]
    x_t, _, conditions = (list(each) for each in zip(*given, strict=True))
    assert torch.equal(torch.cat(x_t), noised.x_t)
    assert torch.equal(torch.cat([each.augmentation for each in conditions]), vectors)
    hidden = batch.condition.hidden(random.hidden).labels
    assert hidden is not None and torch.equal(torch.cat([each.labels for each in conditions]), hidden)


@pytest.mark.parametrize("network", [{}, TRANSFORMER], ids=["unet", "transformer"])
def test_what_is_kept_is_the_network_without_what_reads_changes_and_answers_the_same(
    network: dict[str, object], tmp_path: Any
) -> None:
    """At first it is the network of a run without augmentation, tensor for tensor; at last its average, to the bit."""
    changes = {"network": network, "training": {"augment": 0.5}, "compute": {"precision": "float32"}}
    pipeline, without = fresh(tiny(changes))[0], fresh(tiny({**changes, "training": {}}))[0]
    assert weights_hash(pipeline.network) == weights_hash(without.network)
    trainer, _ = seen(changes)
    assert weights_hash(trainer.network) != weights_hash(trainer.network.with_augmentation(0))  # type: ignore[operator]
    trainer.task.save([average := trainer.ema.network], RunFolder(tmp_path))
    loaded = Pipeline.load(tmp_path / "pipeline", "cpu")
    assert loaded.network.state_dict().keys() == without.network.state_dict().keys()
    x, time, labels = torch.randn(3, 1, 8, 8), torch.tensor([1.0, 5.0, 9.0]), torch.tensor([1, -1, 2])
    with torch.no_grad():
        kept, untold = (each.eval()(x, time, Condition(labels)) for each in (loaded.network, average))
        changed = average(x, time, Condition(labels, augmentation=told(3, brightness=1)))
    assert torch.equal(kept, untold) and not torch.equal(changed, untold)


def error_of_noise(steps: int, is_told: bool) -> float:
    """How far from the only image, as it is, lies what a network says of pure noise after so many steps: 1 is as far as
    that is from its mean. It is mirrored and turned in three steps out of four."""
    training = {"augment": 0.5, "augment_by": ["flip", "rotate"], "lr": 1e-2, "warmup_images": 0, "batch_size": 32}
    network = {"name": "dit", "width": 32, "layers": 1, "heads": 1, "patch": 8}
    data, diffusion = {"labels": "none", "flip": False}, {"prediction": "x0"}
    pipeline, parts = fresh(tiny({"training": training, "network": network, "data": data, "diffusion": diffusion}))
    trainer = Trainer(Denoising(pipeline), parts.train.sliced(0, 1))
    if not is_told:
        reads = trainer.network.augmentation_embedding
        reads.register_forward_hook(lambda module, given, said: 0 * said)  # type: ignore[operator, union-attr]
    for _ in range(steps):
        trainer.advance()
    with torch.no_grad():
        noise = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        said = pipeline.network.eval()(noise, torch.tensor(999.0))
    image = from_pixels(torch.tensor(parts.train.pixels(slice(0, 1)))).permute(0, 3, 1, 2)
    return float((said - image).square().mean() / (image - image.mean()).square().mean())


def test_samples_come_out_plain_because_the_network_is_told() -> None:
    assert error_of_noise(150, is_told=True) < 0.1
    assert error_of_noise(50, is_told=False) > 0.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"augment_by": ["flip"]}}, "no augment_by with augment 0: set augment"),
        ({"training": {"augment": 0.1, "augment_by": ["hue"]}}, "augment_by.*one of flip, translate"),
        ({"training": {"augment": 0.1, "augment_by": []}}, "at least one kind of change in augment_by"),
        ({"training": {"augment": 0.1}, "codec": {"name": "kl"}, "sampling": {"clip": "none"}}, "augment 0 with codec"),
    ],
)
def test_what_cannot_be_augmented_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        tiny(changes)
