"""Weights in fewer bits are near those that they stand for, output by output."""

import pytest
import torch

from ancestral.networks.rounding import rounded, stored

WEIGHTS = {
    "conv_in.weight": torch.randn(6, 3, 3, 3) * torch.logspace(-3, 2, 6).reshape(6, 1, 1, 1),
    "class_embedding.weight": torch.randn(5, 8) * torch.logspace(-3, 2, 8),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_eight_bits_are_within_half_a_step_of_each_output(name: str) -> None:
    """Trap: one factor for outputs that differ a hundred thousand times in size; an embedding's are its columns."""
    weight = WEIGHTS[name]
    numbers, scale = kept = stored(name, weight, 8)
    assert numbers.dtype == torch.int8 and scale is not None and scale.numel() == max(6, 8 * ("class" in name))
    outputs = weight.mT if "class" in name else weight.flatten(1)
    apart = (kept.read() - weight).mT if "class" in name else (kept.read() - weight).flatten(1)
    assert bool((apart.abs().amax(1) <= outputs.abs().amax(1) / 127 / 2 * 1.0001).all())


def test_outputs_of_noughts_and_vectors_stay() -> None:
    layer = torch.nn.Linear(4, 3)
    with torch.no_grad():
        layer.weight[1] = 0
    for bits in (16, 8):
        copy = rounded(layer, bits)  # type: ignore[arg-type]
        assert not copy.weight[1].any() and torch.equal(copy.bias, layer.bias)
        assert not torch.equal(copy.weight, layer.weight), "the layer itself is as it was"
    assert torch.equal(rounded(layer, 32).weight, layer.weight)
