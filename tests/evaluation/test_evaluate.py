"""The whole evaluation on digits: real images reach the floor, noise and copies are found out."""

from hashlib import sha256

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor

from ancestral.data.imageset import ImageSet, Parts
from ancestral.errors import InputError
from ancestral.evaluation.evaluate import (
    Evaluation,
    apart_of,
    as_pixels,
    check_counts,
    evaluate,
    evaluating,
    gaussian_like,
)
from ancestral.evaluation.features import Extractor, train_extractor
from ancestral.evaluation.settings import EvaluationSettings
from ancestral.progress import StepwiseWork, finish


def image_set(images: np.ndarray, labels: np.ndarray | None) -> ImageSet:
    names = () if labels is None else tuple("0123456789")
    images.flags.writeable = False
    return ImageSet(images, labels, names, None, None, sha256(images.tobytes()).hexdigest())


@pytest.fixture(scope="module")
def parts() -> Parts:
    """1,000 to train on, 300 to test; the validation part stands in for a perfect model, 497 new real images."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images = np.round(data.images[order] * 255 / 16).astype(np.uint8)[..., None]
    labels = data.target[order].astype(np.int64)
    cuts = (slice(0, 1000), slice(1300, None), slice(1000, 1300))
    return Parts(*[image_set(images[cut].copy(), labels[cut]) for cut in cuts])


@pytest.fixture(scope="module")
def extractor(parts: Parts, tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCESTRAL_CACHE", str(tmp_path_factory.mktemp("features")))
        patch.setattr("ancestral.evaluation.features.EPOCHS", 20)
        return finish(train_extractor(parts.train, parts.test))


@pytest.fixture(scope="module")
def perfect(parts: Parts, extractor: Extractor) -> Evaluation:
    """Real images that nobody has seen, asked for by their own labels."""
    return evaluate(as_pixels(parts.validation), torch.tensor(parts.validation.labels), parts, extractor=extractor)


def noise(count: int) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 8, 8), generator=draw, dtype=torch.uint8)


def test_pixels_keep_their_places_when_channels_move(parts: Parts) -> None:
    coloured = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    pixels = as_pixels(ImageSet(coloured, None, (), None, None, ""))
    assert pixels.shape == (2, 3, 3, 4)
    assert pixels[1, 2, 0, 3] == coloured[1, 0, 3, 2]


def test_every_comparison_has_the_same_counts_and_all_numbers(perfect: Evaluation) -> None:
    """The trap: a Fréchet distance beside one at other numbers of images says nothing."""
    assert {(c.num_left, c.num_right) for c in perfect.comparisons} == {(497, 300)}
    assert [c.name for c in perfect.comparisons][:4] == [
        "generated against test", "generated against train", "train half against half", "train against test",
    ]  # fmt: skip
    for comparison in perfect.comparisons:
        names = [number.name for number in comparison.numbers]
        assert names == ["frechet", "kernel", "precision", "recall", "density", "coverage"]
        assert all(number.standard_error is not None for number in comparison.numbers)


def test_new_real_images_reach_the_floor(perfect: Evaluation) -> None:
    """A set of new real images scores as well as training images do, is no copy, and shows what was asked for."""
    drawn, floor = perfect["generated against test"], perfect["train against test"]
    for name in ("frechet", "kernel"):
        assert drawn[name].value < floor[name].value + 2 * (drawn[name].standard_error or 0)
    assert min(drawn[name].value for name in ("precision", "recall", "coverage")) > 0.8
    assert all(near.ratio == pytest.approx(1, abs=0.15) and near.nearer < 0.05 for near in perfect.nearness)
    assert perfect.agreement is not None and perfect.agreement.value == pytest.approx(
        perfect.features.accuracy, abs=0.03
    )


def test_the_half_against_half_floor_is_small(perfect: Evaluation) -> None:
    """Between two halves of one set the unbiased distance is zero within its error bar."""
    floor, apart = perfect["train half against half"], perfect["gaussian images against test"]
    assert abs(floor["kernel"].value) < 3 * (floor["kernel"].standard_error or 0)
    assert floor["frechet"].value < 0.1 * apart["frechet"].value
    assert floor["density"].value == pytest.approx(1, abs=0.15)


def test_the_gaussians_are_told_from_digits(perfect: Evaluation) -> None:
    """Two moments of the features fool the Fréchet distance, which sees no more; density is not fooled."""
    fitted, floor = perfect["gaussian features against test"], perfect["train against test"]
    assert fitted["frechet"].value < floor["frechet"].value + 3 * (floor["frechet"].standard_error or 0)
    assert fitted["density"].value < 0.2 * floor["density"].value
    assert perfect["gaussian images against test"]["precision"].value < 0.8


def test_noise_is_much_farther_than_the_floor(parts: Parts, extractor: Extractor) -> None:
    measured = evaluate(noise(400), torch.arange(400) % 10, parts, extractor=extractor)
    drawn, floor = measured["generated against test"], measured["train against test"]
    assert drawn["frechet"].value > 20 * floor["frechet"].value
    assert drawn["kernel"].value > 10 * (drawn["kernel"].standard_error or 0)
    assert drawn["coverage"].value < 0.1
    assert measured.agreement is not None and measured.agreement.value < 0.25


def test_copies_are_found_out(parts: Parts, extractor: Extractor) -> None:
    copies = as_pixels(parts.train)[::2]
    measured = evaluate(copies, None, parts, extractor=extractor)
    assert [near.ratio for near in measured.nearness] == pytest.approx([0, 0], abs=1e-6)
    assert measured.nearness[0].nearer == 1
    assert len(measured.pairs) == 16
    assert all(pair.distance == 0 and pair.training == 2 * pair.generated for pair in measured.pairs)
    assert measured.agreement is None
    assert measured["generated against train"]["frechet"].value < measured["generated against test"]["frechet"].value


def test_it_survives_json_and_repeats(perfect: Evaluation, parts: Parts, extractor: Extractor) -> None:
    assert Evaluation.model_validate_json(perfect.model_dump_json()) == perfect
    again = evaluate(as_pixels(parts.validation), torch.tensor(parts.validation.labels), parts, extractor=extractor)
    assert again == perfect


def test_sets_sorted_by_class_are_sampled_fairly(parts: Parts, extractor: Extractor) -> None:
    """Images generated class after class: the first 150 of 497 would hold three or four digits only."""
    drawn = as_pixels(parts.validation)[torch.tensor(parts.validation.labels).argsort()]
    measured = evaluate(drawn, None, parts, EvaluationSettings(max_images=150), extractor)
    assert {(c.num_left, c.num_right) for c in measured.comparisons} == {(150, 150)}
    assert measured["generated against test"]["coverage"].value > 0.7
    assert measured.num_generated == 497
    train, pairs = as_pixels(parts.train).double(), measured.pairs
    apart = [float((drawn[pair.generated].double() - train[pair.training]).norm()) for pair in pairs]
    assert [pair.distance for pair in pairs] == sorted(apart), "places are those of what was handed in"


def test_it_trains_its_own_features_where_none_are_given(parts: Parts, quick_features: None) -> None:
    """Without labels, on transforms; the label-based agreement is then not to be had."""
    bare = Parts(*[part.unlabelled() for part in parts[:3]])
    asked = torch.zeros(50, dtype=torch.int64)
    work, seen = evaluating(noise(50), asked, bare, EvaluationSettings()), list[tuple[int, int]]()
    with pytest.raises(StopIteration) as end:
        while True:
            seen.append(next(work))
    measured = end.value.value
    assert (measured.features.kind, measured.features.num_classes) == ("transforms", 8)
    assert measured.agreement is None
    assert len(seen) > 1 and seen[-1][0] == seen[-1][1], "all of it, at the end"


def test_features_see_no_image_that_is_compared(
    parts: Parts, extractor: Extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: features trained on what they compare push real test images away, the more the fewer images there are."""
    seen: list[tuple[Tensor, str]] = []

    def learn(train: ImageSet, test: ImageSet, seed: int) -> StepwiseWork[Extractor]:
        seen.append((as_pixels(train), train.hash))
        yield from ()
        return extractor

    monkeypatch.setattr("ancestral.evaluation.evaluate.train_extractor", learn)
    measured = evaluate(noise(400), None, parts)
    compared, fitted = apart_of(parts, EvaluationSettings())
    assert sorted([*compared.tolist(), *fitted.tolist()]) == [*range(1000)], "every training image on one side"
    assert torch.equal(seen[0][0], as_pixels(parts.train)[fitted]) and measured.features.num_fitted == 500
    assert {(c.num_left, c.num_right) for c in measured.comparisons} == {(250, 250)}, "two halves of what is compared"
    evaluate(noise(400), None, parts, EvaluationSettings(seed=1))
    assert seen[0][1] != seen[1][1], "others that are looked at are other features in the cache"
    compared, _ = apart_of(parts, EvaluationSettings(max_images=100))
    assert len(compared) == 200, "of many images no more are kept apart than are compared"


def test_few_images_are_measured_and_nothing_is_concluded(parts: Parts, extractor: Extractor) -> None:
    few = evaluate(noise(49), None, parts, extractor=extractor)
    assert {c.too_few for c in few.comparisons} == {"49 against 300 images are too few, fewer than the 64 features"}
    assert {near.too_few for near in few.nearness} == {"49 against 300 images are too few, fewer than 50"}
    between = evaluate(noise(63), None, parts, extractor=extractor)
    assert all(c.too_few for c in between.comparisons) and not any(near.too_few for near in between.nearness)
    enough = evaluate(noise(64), None, parts, extractor=extractor)
    assert not any(c.too_few for c in enough.comparisons)


@pytest.mark.parametrize(("drawn", "test", "train"), [(5, 300, 1000), (400, 1, 1000), (400, 300, 20), (0, 0, 2)])
def test_a_handful_of_images_is_refused_before_anything_is_drawn(
    parts: Parts, drawn: int, test: int, train: int
) -> None:
    small = parts._replace(train=parts.train.sliced(0, train), test=parts.test.sliced(0, test))
    with pytest.raises(InputError, match="expected at least 6 generated images, 6 test images and 24 training images"):
        check_counts(drawn, small, EvaluationSettings())


def test_the_fitted_gaussian_has_the_moments_of_the_rows() -> None:
    """Also where rows are fewer than columns, as with pixels: no generate leaves the span of the rows."""
    rows = torch.randn(6, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 5
    drawn = gaussian_like(rows, 200_000, seed=0)
    assert torch.allclose(drawn.mean(dim=0), rows.mean(dim=0), atol=0.02)
    assert torch.allclose(drawn.T.cov(), rows.T.cov(), atol=0.03)
    assert torch.linalg.matrix_rank(drawn - rows.mean(dim=0)) == 5


def test_what_cannot_be_compared_is_refused(parts: Parts, extractor: Extractor) -> None:
    with pytest.raises(InputError, match=r"expected images of shape \(1, 8, 8\).*got \(3, 8, 8\)"):
        evaluate(noise(20).expand(-1, 3, -1, -1), None, parts, extractor=extractor)
    with pytest.raises(InputError, match=r"at least 6 generated images.*got 5, 300 and 1000"):
        evaluate(noise(5), None, parts, extractor=extractor)
    with pytest.raises(InputError, match=r"got 20, 0 and 1000.*set data\.test higher"):
        evaluate(noise(20), None, parts._replace(test=parts.test.sliced(0, 0)), extractor=extractor)
