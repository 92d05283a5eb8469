"""The codebook: the nearest code, the gradient past it, and how codes move, start and come back to life."""

import pytest
import torch
from torch import Tensor

from ancestral.networks.quantizer import EPSILON, Quantizer, vectors_of


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def filled(codes: int = 5, width: int = 3, decay: float = 0.9) -> Quantizer:
    quantizer = Quantizer(codes, width, decay)
    quantizer.take(torch.randn(codes, width))
    return quantizer


def test_the_nearest_code_is_taken() -> None:
    quantizer, z = filled(), torch.randn(2, 3, 4, 5)
    found = quantizer(z)
    codes = quantizer.embedding.weight
    for b, i, j in [(0, 0, 0), (1, 3, 4), (0, 2, 1)]:
        distances = [float((z[b, :, i, j] - code).square().sum()) for code in codes]
        assert int(found.indices[b, i, j]) == distances.index(min(distances))
        assert torch.equal(found.latents[b, :, i, j], codes[found.indices[b, i, j]])


def test_distances_that_are_not_in_memory_at_once_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    quantizer, z = filled(), torch.randn(2, 3, 4, 5)
    whole = quantizer.indices(z)
    monkeypatch.setattr("ancestral.networks.quantizer.MOST_DISTANCES", 15)
    assert torch.equal(quantizer.indices(z), whole)


def test_the_gradient_goes_past_the_codes_to_what_was_encoded() -> None:
    quantizer, z, weight = filled(), torch.randn(2, 3, 2, 2, requires_grad=True), torch.randn(2, 3, 2, 2)
    (quantizer(z).latents * weight).sum().backward()
    assert z.grad is not None and torch.equal(z.grad, weight)


def test_commitment_pulls_the_encoder_to_the_codes_and_is_a_sum_over_an_image() -> None:
    """Trap: the published loss has its small weight on the other term, which moves codes."""
    quantizer, z = filled(), torch.randn(2, 3, 2, 2, requires_grad=True)
    found = quantizer(z)
    gap = (z - quantizer.codes(found.indices)).detach()
    torch.testing.assert_close(found.commitment, gap.square().sum(dim=(1, 2, 3)))
    found.commitment.sum().backward()
    torch.testing.assert_close(z.grad, 2 * gap)
    assert [*quantizer.parameters()] == [], "no gradient moves a code"


def test_codes_are_codes_to_the_bit_also_amid_bfloat16() -> None:
    """Trap: z + (code - z) in half precision is another vector, and quantised again another code."""
    quantizer = filled(codes=200, width=4)
    z = 100 * torch.randn(2, 4, 8, 8, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = quantizer(z)
        again = quantizer(found.latents)
    assert found.latents.dtype == torch.float32
    assert torch.equal(found.latents, quantizer.codes(found.indices))
    assert torch.equal(again.indices, found.indices)


def test_averages_are_those_of_the_papers_appendix() -> None:
    quantizer, z = filled(codes=3, decay=0.75), torch.randn(4, 3, 3, 3)
    counts, sums = torch.ones(3), quantizer.embedding.weight.clone()
    for _ in range(2):
        indices = quantizer.indices(z)
        for code in range(3):
            near = vectors_of(z)[indices.flatten() == code]
            counts[code] = 0.75 * counts[code] + 0.25 * len(near)
            sums[code] = 0.75 * sums[code] + 0.25 * near.sum(dim=0)
        quantizer.update(z, indices)
        smoothed = (counts + EPSILON) / (counts.sum() + 3 * EPSILON) * counts.sum()
        torch.testing.assert_close(quantizer.embedding.weight, sums / smoothed[:, None])


def test_a_code_that_nothing_is_near_to_keeps_its_place() -> None:
    """Trap: without smoothing, a count that has died away divides 0 by 0."""
    quantizer = Quantizer(2, 2, 0.5)
    quantizer.take(torch.tensor([[0.0, 0.0], [50.0, 50.0]]))
    for _ in range(10):
        quantizer.update(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64))
    torch.testing.assert_close(quantizer.embedding.weight[1], torch.tensor([50.0, 50.0]), atol=1, rtol=0)
    for _ in range(300):
        quantizer.update(torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.int64))
    assert bool(quantizer.embedding.weight.isfinite().all())


CENTRES = 4 * torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


def clusters(count: int) -> Tensor:
    """Latents (1, 2, 4, count) around four centres."""
    return (CENTRES[:, None] + 0.1 * torch.randn(4, count, 2)).permute(2, 0, 1)[None]


def test_codes_start_at_the_means_of_clusters() -> None:
    """Trap: codes that start near 0, far from what is encoded, are all but a few never used."""
    z = clusters(50)
    collapsed, started = Quantizer(16, 2, 0.9), Quantizer(16, 2, 0.9)
    started.start(z, draws())
    assert len(collapsed.indices(z).unique()) < 8 < len(started.indices(z).unique())
    assert float(started(z).commitment) < 0.01 * float(collapsed(z).commitment)
    indices = started.indices(z).flatten()
    for code in indices.unique().tolist():
        mean = vectors_of(z)[indices == code].mean(dim=0)
        assert (started.embedding.weight[code] - mean).norm() < 0.05
    torch.testing.assert_close(started.sums, started.embedding.weight * started.counts[:, None])


def test_a_start_from_fewer_vectors_than_codes_leaves_no_code_without_a_number() -> None:
    quantizer = Quantizer(9, 2, 0.9)
    quantizer.start(torch.randn(1, 2, 2, 2), draws())
    quantizer.update(torch.randn(1, 2, 2, 2), quantizer.indices(torch.randn(1, 2, 2, 2)))
    assert bool(quantizer.embedding.weight.isfinite().all())


def test_a_revived_code_stays_where_it_was_revived() -> None:
    """Trap: its old sum and count, kept, carry it back at the next update."""
    quantizer = Quantizer(2, 2, 0.9)
    quantizer.take(torch.tensor([[0.0, 0.0], [50.0, 50.0]]))
    z = torch.randn(1, 2, 8, 8)
    for _ in range(60):
        quantizer.update(z, quantizer.indices(z))
    dead = quantizer.revive(z, draws())
    assert dead.tolist() == [False, True]
    revived = quantizer.embedding.weight[1].clone()
    assert any(torch.equal(revived, vector) for vector in vectors_of(z))
    torch.testing.assert_close(quantizer.sums[1] / quantizer.counts[1], revived)
    quantizer.update(z, torch.zeros(1, 8, 8, dtype=torch.int64))
    torch.testing.assert_close(quantizer.embedding.weight[1], revived, atol=1e-3, rtol=0)
    assert not quantizer.revive(z, draws()).any(), "it has an even share, and time to earn it"


def test_codes_in_use_are_not_revived() -> None:
    quantizer, z = Quantizer(4, 2, 0.9), clusters(20)
    quantizer.start(z, draws())
    before = quantizer.embedding.weight.clone()
    assert not quantizer.revive(z, draws()).any()
    assert torch.equal(quantizer.embedding.weight, before)


def test_the_same_draws_start_the_same_codes() -> None:
    z, one, other = torch.randn(2, 2, 6, 6), Quantizer(5, 2, 0.9), Quantizer(5, 2, 0.9)
    one.start(z, draws(3))
    other.start(z, draws(3))
    assert torch.equal(one.embedding.weight, other.embedding.weight)


def test_all_that_moves_codes_goes_with_a_checkpoint() -> None:
    """Trap: sums and counts are state; a resumed run without them jumps at its first step."""
    quantizer, resumed, z = filled(), Quantizer(5, 3, 0.9), torch.randn(2, 3, 4, 4)
    quantizer.update(z, quantizer.indices(z))
    resumed.load_state_dict(quantizer.state_dict(), strict=True)
    for each in (quantizer, resumed):
        each.update(z, each.indices(z))
    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in quantizer.state_dict().items())
