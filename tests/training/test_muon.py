"""Muon: the iteration against the singular value decomposition, what it steps, and what it leaves to Adam."""

import pytest
import torch
from runs import fresh, tiny

from ancestral.training.denoiser import Denoising
from ancestral.training.optimizer import Muon, optimizers_for, orthogonalised
from ancestral.training.step import Trainer


@pytest.mark.parametrize("shape", [(3, 16, 72), (2, 48, 24), (1, 8, 8)])
def test_singular_values_come_near_one_and_singular_vectors_stay(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    found = u.mT @ orthogonalised(matrices) @ v.mT
    values = found.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.3 and values.max() < 1.3
    assert (found - torch.diag_embed(values)).abs().max() < 1e-9


def test_long_rows_are_worked_on_by_their_squares_to_the_same_end() -> None:
    """Columns of zeros change no singular value: with them the same matrix is one of long rows. Of its
    singular values, from 1 to 1e-6, squares in float32 keep nothing below 1e-4, and no more is lost by it than that."""
    made = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(24, 24, generator=made)).Q for _ in range(2))
    matrix = (u * torch.logspace(0, -6, 24)) @ v.mT
    expected = torch.nn.functional.pad(orthogonalised(matrix[None]), (0, 60))
    found = orthogonalised(torch.nn.functional.pad(matrix, (0, 60))[None])
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-4)


def test_the_first_step_has_the_size_of_adams() -> None:
    """0.2 a root mean square entry, so that one learning rate serves both; a convolution counts as a matrix."""
    weight = torch.nn.Parameter(torch.zeros(32, 16, 3, 3))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    Muon([weight], lr=1.0).step()
    assert float(weight.detach().square().mean().sqrt()) == pytest.approx(0.2, rel=0.2)
    assert float((weight.detach() * weight.grad).sum()) < 0


def test_every_parameter_belongs_to_one_optimizer_and_ends_and_biases_to_adam() -> None:
    pipeline, _ = fresh(tiny({"training": {"optimizer": "muon"}}))
    network, settings = pipeline.network, pipeline.config.training
    muon, adam = optimizers_for(dict(network.named_parameters()), network, settings)
    inner, rest = ({id(p) for group in each.param_groups for p in group["params"]} for each in (muon, adam))
    assert not inner & rest and inner | rest == {id(p) for p in pipeline.network.parameters()}
    assert id(pipeline.network.conv_out.weight) in rest and id(pipeline.network.mid_block.resnets[0].conv1.bias) in rest
    assert id(pipeline.network.mid_block.resnets[0].conv1.weight) in inner


def test_of_a_transformer_the_matrices_inside_its_blocks_are_orthogonalised() -> None:
    pipeline, _ = fresh(tiny({"network": {"name": "dit", "width": 8, "layers": 1, "heads": 1}}))
    names = pipeline.network.matrices()
    assert sorted(name.split(".")[2] for name in names) == [
        *("modulation", "narrow", "to_k", "to_out", "to_q", "to_v", "widen"),
    ]


def test_a_resumed_run_has_the_same_momentum() -> None:
    pipeline, parts = fresh(tiny({"training": {"optimizer": "muon"}}))
    trainer = Trainer(Denoising(pipeline), parts.train)
    for _ in range(2):
        trainer.advance()
    saved, state = trainer.tensors(), trainer.state()
    saved = {name: {key: value.clone() for key, value in file.items()} for name, file in saved.items()}
    trainer.advance()
    other = Trainer(Denoising(fresh(tiny({"training": {"optimizer": "muon"}}))[0]), parts.train)
    other.restore(saved, state)
    other.advance()
    here, there = (dict(each.network.named_parameters()) for each in (trainer, other))
    assert all(torch.equal(here[name], there[name]) for name in here)
