"""Nearest training images against a brute search, and the memorisation ratio of copies and of new images."""

import pytest
import torch
from sklearn.datasets import load_digits

from ancestral.errors import InputError
from ancestral.evaluation.metrics import SEARCHED, memorisation, nearest


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    shades = torch.from_numpy(load_digits().images)
    order = torch.randperm(len(shades), generator=torch.Generator().manual_seed(0))
    return (shades[order] * 255 / 16).round().to(torch.uint8)[:, None]


@pytest.mark.parametrize(("queries", "references"), [(50, 350), (300, SEARCHED + 31), (SEARCHED + 5, 40)])
def test_nearest_is_the_brute_search_whatever_the_chunks(queries: int, references: int) -> None:
    draw = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, 256, (n, 1, 4, 4), generator=draw, dtype=torch.uint8) for n in (queries, references))
    apart = torch.cdist(a.flatten(1).double(), b.flatten(1).double(), compute_mode="donot_use_mm_for_euclid_dist")
    found = nearest(a, b)
    assert torch.equal(found.indices, apart.argmin(dim=1))
    assert torch.allclose(found.distance, apart.amin(dim=1), rtol=1e-14)


def test_a_copy_is_found_and_is_at_exactly_zero() -> None:
    """|x|² + |y|² - 2 x·y in float32 would leave a copy of a bright image units away."""
    draw = torch.Generator().manual_seed(0)
    references = torch.randint(200, 256, (300, 3, 32, 32), generator=draw, dtype=torch.uint8)
    found = nearest(references[[7, 299, 0]], references)
    assert found.indices.tolist() == [7, 299, 0]
    assert found.distance.tolist() == [0, 0, 0]


def ratio(generated: torch.Tensor, held_out: torch.Tensor, training: torch.Tensor) -> float | None:
    return memorisation(nearest(generated, training).distance, nearest(held_out, training).distance).ratio


def test_copies_have_ratio_zero_and_new_images_one(digits: torch.Tensor) -> None:
    training, held_out, new = digits[:1000], digits[1000:1400], digits[1400:]
    assert ratio(training[:300], held_out, training) == 0
    assert ratio(new, held_out, training) == pytest.approx(1, abs=0.05)


def test_slightly_noisy_copies_show_in_both_numbers(digits: torch.Tensor) -> None:
    training, held_out = digits[:1000], digits[1000:]
    noise = torch.randint(0, 5, training[:300].shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    copies = training[:300].clamp(max=250) + noise
    near, apart = nearest(copies, training), nearest(held_out, training)
    measured = memorisation(near.distance, apart.distance)
    assert torch.equal(near.indices, torch.arange(300))
    assert measured.ratio is not None and measured.ratio < 0.3
    assert measured.nearer > 0.95
    assert memorisation(apart.distance, apart.distance).nearer == pytest.approx(0.01, abs=0.003)


def test_a_test_part_full_of_training_images_tells_nothing(digits: torch.Tensor) -> None:
    training = digits[:100]
    assert ratio(digits[100:200], training[:20], training) is None


def test_nothing_to_compare_with_is_refused(digits: torch.Tensor) -> None:
    with pytest.raises(InputError, match="at least one training image"):
        nearest(digits[:3], digits[:0])
    with pytest.raises(InputError, match="generated and held-out"):
        memorisation(torch.zeros(0).double(), torch.zeros(3).double())
