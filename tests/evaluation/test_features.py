"""The feature network: it learns, it repeats to the bit, it is kept, and a damaged copy is not believed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from ancestral.data.imageset import ImageSet, Parts
from ancestral.errors import InputError
from ancestral.evaluation import features
from ancestral.evaluation.features import Extractor, new_task, num_transforms, transform
from ancestral.files import cache_folder
from ancestral.progress import StepwiseWork, finish
from ancestral.training.checkpoint import load_checkpoint
from ancestral.training.loop import train


def image_set(images: Tensor, labels: Tensor | None, name: str) -> ImageSet:
    known = None if labels is None else labels.numpy()
    classes = () if labels is None else tuple(map(str, range(10)))
    return ImageSet(images.permute(0, 2, 3, 1).numpy(), known, classes, None, None, name)


def training(
    images: Tensor, labels: Tensor | None, held_out: Tensor, answers: Tensor | None, name: str, seed: int = 0
) -> StepwiseWork[Extractor]:
    return features.train_extractor(image_set(images, labels, name), image_set(held_out, answers, name), seed)


def train_extractor(*words: Any) -> Extractor:
    return finish(training(*words))


@pytest.fixture(scope="module")
def digits() -> tuple[Tensor, Tensor]:
    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch.Generator().manual_seed(0))
    return (torch.from_numpy(data.images)[order] * 255 / 16).round().to(torch.uint8)[:, None], torch.from_numpy(
        data.target
    )[order]


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick_features: None) -> Path:
    """A cache of the test's own and a tenth of a second of training."""
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path))
    return tmp_path


def kept() -> Path:
    (path,) = (cache_folder() / "features").glob("*.safetensors")
    return path


def test_it_learns_digits_and_tells_its_held_out_accuracy(digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    extractor = train_extractor(images[:1400], labels[:1400], images[1400:], labels[1400:], "digits")
    assert (extractor.kind, extractor.num_classes, extractor.num_held_out) == ("labels", 10, 397)
    assert extractor.accuracy >= 0.95
    right = (extractor.classify(images[1400:]) == labels[1400:]).double().mean()
    assert extractor.accuracy == float(right)
    features = extractor.features(images[:1400])
    assert features.shape == (1400, 64) and features.dtype == torch.float64
    assert torch.allclose(features.std(dim=0), torch.ones(64).double(), atol=0.15)  # one unit is one deviation


def test_the_same_seed_gives_the_same_bits_and_leaves_the_callers_random_state(
    digits: tuple[Tensor, Tensor], few_steps: Path
) -> None:
    images, labels = digits

    def trained(name: str, seed: int) -> Tensor:
        data = images[:200], labels[:200], images[200:300], labels[200:300]
        return train_extractor(*data, name, seed).features(images[300:320])

    state = torch.random.get_rng_state()
    first = trained("one", 0)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(123)
    assert torch.equal(trained("two", 0), first)
    assert not torch.allclose(trained("three", 1), first, atol=0.1)


def test_what_is_kept_is_not_trained_again(digits: tuple[Tensor, Tensor], few_steps: Path) -> None:
    images, labels = digits
    seen: list[tuple[int, int]] = []

    def train() -> Extractor:
        data = images[:200], labels[:200], images[200:300], labels[200:300]
        work = training(*data, "digits")
        while True:
            try:
                seen.append(next(work))
            except StopIteration as end:
                return end.value

    first = train()
    assert seen == [(64 * (i + 1), 448) for i in range(7)]
    written, again = kept().stat().st_mtime_ns, train()
    assert (len(seen), kept().stat().st_mtime_ns) == (7, written)
    assert torch.equal(again.features(images[:64]), first.features(images[:64]))
    assert (again.kind, again.accuracy, again.num_held_out) == (first.kind, first.accuracy, first.num_held_out)


@pytest.mark.parametrize("other", ["hash", "labels", "no labels", "seed", "recipe"])
def test_other_data_tasks_and_recipes_share_nothing(
    digits: tuple[Tensor, Tensor], few_steps: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    images, labels = digits
    train_extractor(images[:200], labels[:200], images[200:300], labels[200:300], "digits")
    if other == "recipe":
        monkeypatch.setattr("ancestral.evaluation.features.RECIPE", 0)
    told = {"labels": 9 - labels, "no labels": None}.get(other, labels)
    parts = told if told is None else told[:200], images[200:300], told if told is None else told[200:300]
    train_extractor(images[:200], *parts, "others" if other == "hash" else "digits", int(other == "seed"))
    assert len(list((cache_folder() / "features").iterdir())) == 2


def flip_a_bit(content: bytes) -> bytes:
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


@pytest.mark.parametrize("damage", [flip_a_bit, lambda c: c[: len(c) // 2], lambda c: b"", lambda c: b"\xff" * 64])
def test_a_damaged_file_is_named_and_trained_again(
    digits: tuple[Tensor, Tensor],
    few_steps: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[bytes], bytes],
) -> None:
    images, labels = digits
    data = images[:200], labels[:200], images[200:300], labels[200:300]
    first = train_extractor(*data, "digits").features(images[:64])
    whole = kept().read_bytes()
    kept().write_bytes(damage(whole))
    assert torch.equal(train_extractor(*data, "digits").features(images[:64]), first)
    assert str(kept()) in caplog.text and "damaged" in caplog.text
    assert kept().read_bytes() == whole


@pytest.mark.parametrize("kind", ["labels", "transforms"])
def test_it_is_what_the_loop_stopped_in_the_middle_makes_of_its_task(
    digits: tuple[Tensor, Tensor], few_steps: Path, kind: str
) -> None:
    images, labels = digits[0][:300], digits[1][:300] if kind == "labels" else None
    learnt = image_set(images[:200], None if labels is None else labels[:200], "digits")
    rest = image_set(images[200:], None if labels is None else labels[200:], "others")
    extractor = finish(features.train_extractor(learnt, rest))
    run, parts = few_steps / "run", Parts(learnt, rest, rest)
    steps = train(new_task(learnt, 0), parts, run, lambda text: None)
    assert [next(steps).step for _ in range(3)] == [1, 2, 3]
    steps.close()
    assert len([*train(new_task(learnt, 0), parts, run, lambda text: None)]) == 7 - 3
    tensors, _ = load_checkpoint(run / "checkpoints" / "step-00000007")
    assert all(torch.equal(tensors["ema"][name], each) for name, each in extractor.network.state_dict().items())


def test_without_labels_it_learns_transforms(digits: tuple[Tensor, Tensor]) -> None:
    """Chance is 1/8. The same task is taken where every image has the same label, from which nothing is learnt."""
    images, _ = digits
    one_label = torch.zeros(800, dtype=torch.int64)
    extractor = train_extractor(images[:800], one_label, images[800:1200], one_label[:400], "digits")
    assert (extractor.kind, extractor.num_classes) == ("transforms", 8)
    assert extractor.accuracy > 0.6
    asked = torch.arange(400) % 8
    seen = extractor.classify(transform(images[1200:1600], asked))
    assert float((seen == asked).double().mean()) == pytest.approx(extractor.accuracy, abs=0.1)


def test_the_transforms_are_the_symmetries_of_a_square_or_of_a_rectangle() -> None:
    """All different, each but the diagonal turns undone by itself, and none moves a pixel of another image."""
    square, wide = torch.arange(2 * 9).reshape(2, 1, 3, 3).byte(), torch.arange(2 * 12).reshape(2, 1, 3, 4).byte()
    for images, count in ((square, 8), (wide, 4)):
        assert num_transforms(images.shape) == count
        seen = [transform(images, torch.full((2,), which)) for which in range(count)]
        assert len({tuple(image.flatten().tolist()) for image in seen}) == count
        assert all(torch.equal(image[0].flatten().sort().values, images[0].flatten()) for image in seen)
        mixed = transform(images, torch.tensor([0, count - 1]))
        assert torch.equal(mixed[0], images[0]) and torch.equal(mixed[1], seen[-1][1])


SHAPES = [(1, 8, 8), (3, 12, 20), (1, 28, 28), (3, 64, 64), (1, 96, 150), (3, 3, 5), (1, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_any_size_and_colour(shape: tuple[int, int, int], few_steps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bright and dark images are told apart at every size that is asked for."""
    monkeypatch.setattr("ancestral.evaluation.features.LEAST_IMAGES", 200)
    monkeypatch.setattr("ancestral.evaluation.features.BATCH", 8)
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    images = (torch.randint(0, 100, (64, *shape), generator=draw) + 120 * labels[:, None, None, None]).byte()
    extractor = train_extractor(images[:32], labels[:32], images[32:], labels[32:], "bright and dark")
    assert extractor.accuracy >= 0.9
    assert extractor.features(images).shape == (64, 64)


def test_no_held_out_images_are_refused(digits: tuple[Tensor, Tensor]) -> None:
    images, labels = digits
    with pytest.raises(InputError, match=r"got 100 and 0; set data\.test above 0"):
        train_extractor(images[:100], labels[:100], images[:0], labels[:0], "digits")
