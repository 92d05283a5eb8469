"""The distance by features: the laws of (1), and that features are learned apart from those that judge."""

from pathlib import Path

import pytest
import torch
from ranks import in_processes
from test_codec_losses import noise
from test_codec_training import tiny
from torch import nn

from ancestral.data.datasets import load
from ancestral.evaluation.evaluate import extractor_of
from ancestral.evaluation.features import FeatureNetwork
from ancestral.files import cache_folder
from ancestral.jobs import perceptual
from ancestral.jobs.events import NoteEvent
from ancestral.networks.weights import tensors_hash
from ancestral.processes import SINGLE_PROCESS, Processes
from ancestral.progress import finish
from ancestral.training.feature_distance import FeatureDistance
from ancestral.training.run import CodecRunFolder


class Lighter(nn.Module):
    """Another brightness at every place, the same of all channels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.linspace(0.5, 3, x.shape[-1])


def test_a_distance_is_of_directions_at_each_place() -> None:
    """By hand: the same direction 0 whatever its length, a right angle 2, the opposite 4; of places and stages the
    mean."""
    x = torch.tensor([[1.0, 0.0, 3.0, 1.0], [0.0, 2.0, 0.0, 1.0]]).reshape(1, 2, 1, 4)
    y = torch.tensor([[5.0, 1.0, -1.0, 1.0], [0.0, 0.0, 0.0, 1.0]]).reshape(1, 2, 1, 4)
    torch.testing.assert_close(FeatureDistance([nn.Identity()])(x, y), torch.tensor([(0 + 2 + 4 + 0) / 4]))
    again = FeatureDistance([nn.Identity(), nn.AvgPool2d((1, 4))])(x, y)  # then of (5/4, 3/4) and (6/4, 1/4)
    cosine = (5 * 6 + 3 * 1) / ((25 + 9) * (36 + 1)) ** 0.5
    torch.testing.assert_close(again, torch.tensor([(1.5 + 2 - 2 * cosine) / 2]))
    x, y = noise(2, 3, 4, 4), noise(2, 3, 4, 4, seed=1)
    plain, lighter = FeatureDistance([nn.Identity()]), FeatureDistance([Lighter()])
    torch.testing.assert_close(plain(x, y), lighter(x, y))


def test_where_nothing_is_answered_there_is_a_gradient() -> None:
    """Trap: the length of (0, 0), whose square root has an infinite one."""
    x, y = torch.ones(1, 2, 2, 2), torch.zeros(1, 2, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(FeatureDistance([nn.Identity()])(x, y).sum(), y)
    assert bool(gradient.isfinite().all()) and bool((gradient < 0).all())


@pytest.mark.parametrize("shape", [(1, 8, 8), (4, 17, 33), (3, 96, 80)])
def test_the_distance_of_a_feature_network_lowers_itself(shape: tuple[int, int, int]) -> None:
    """Trap: one that is computed without a gradient, in half precision, or by statistics of the batch."""
    torch.manual_seed(0)
    network = FeatureNetwork(shape, 2)
    distance = FeatureDistance(network.stages())
    before = tensors_hash(distance.state_dict())
    x, y = noise(3, *shape).tanh(), (0.1 * noise(3, *shape, seed=1)).requires_grad_()
    found = distance(x, y).detach()
    torch.testing.assert_close(found[1:], distance(x[1:], y[1:]).detach())
    torch.testing.assert_close(found, distance(y, x).detach())
    assert distance(x, x).tolist() == [0.0] * 3
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(distance(x, y), found) and found.dtype == torch.float32
    for _ in range(10):
        (gradient,) = torch.autograd.grad(distance(x, y).sum(), y)
        y = (y - 0.02 * gradient / gradient.abs().mean()).detach().requires_grad_()
    assert bool((distance(x, y) < 0.9 * found).all())
    assert tensors_hash(distance.state_dict()) == before
    assert not any(each.requires_grad for each in distance.parameters())


def test_features_are_not_those_that_judge(
    quick_features: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: an autoencoder that is judged by the network it was trained by. They are learned once, and said."""
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path))
    config = tiny({"perceptual_by": "features"})
    parts, said = load(config.data), []
    for seed in (0, 1):
        other = config.model_copy(update={"seed": seed})
        work = perceptual.learned(other, parts, CodecRunFolder(tmp_path / "run"), SINGLE_PROCESS)
        distance = finish(work, said.append)
    assert len([*(cache_folder() / "features").iterdir()]) == 1
    assert sum(isinstance(event, NoteEvent) and "held-out images told rightly" in event.text for event in said) == 2
    assert distance is not None
    judge = FeatureDistance(finish(extractor_of(parts, 0)).network.stages())
    x, y = noise(2, 1, 8, 8), noise(2, 1, 8, 8, seed=1)
    assert not torch.equal(distance(x, y), judge(x, y))
    assert finish(perceptual.learned(tiny(), parts, CodecRunFolder(tmp_path), SINGLE_PROCESS)) is None


def hashed(processes: Processes, folder: Path) -> str:
    """Of the distance that a process has; on another machine others would be learned."""
    config = tiny({"perceptual_by": "features"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANCESTRAL_CACHE", str(folder / str(processes.rank)))
        patch.setattr(perceptual, "SEED", processes.rank)
        patch.setattr("ancestral.evaluation.features.LEAST_IMAGES", 500)
        patch.setattr("ancestral.evaluation.features.EPOCHS", 1)
        found = finish(perceptual.learned(config, load(config.data), CodecRunFolder(folder / "run"), processes))
    assert found is not None
    return tensors_hash(found.state_dict())


def test_processes_have_one_distance(tmp_path: Path) -> None:
    one, other = in_processes(2, hashed, tmp_path)
    assert one == other
