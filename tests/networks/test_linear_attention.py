"""The U-Net that attends at every level: its laws, its promises, and what the package does with it.

That it is the network of another program is tested where milestones are imported.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from ancestral.condition import Condition
from ancestral.edits import tile
from ancestral.errors import InputError
from ancestral.networks.backbone import build
from ancestral.networks.conditions import Told
from ancestral.networks.linear_attention import PixelNorm, attend_linearly
from ancestral.pipeline import Pipeline
from ancestral.settings import Config, ImageSpec, LinearAttentionSettings, SamplingSettings, merged

SMALL = LinearAttentionSettings(widths=(8, 16), heads=2, head_width=4, memories=3)


def loud(network: torch.nn.Module) -> Any:
    """Every parameter redrawn, so that no branch is silent."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.3)
    return network.eval()


def pipeline(size: tuple[int, int] = (8, 12)) -> Pipeline:
    config = merged(Config(network=SMALL), {"sampling": {"steps": 2}, "diffusion": {"prediction": "v"}}, "the test")
    made = Pipeline.fresh(config, ImageSpec(channels=2, height=size[0], width=size[1], class_names=("a", "b")), "cpu")
    loud(made.network)
    return made


@torch.no_grad()
def test_linear_attention_is_its_sum_token_by_token() -> None:
    """Each token's shares of the features, of the means over all tokens by shares of each feature."""
    q, k, v = torch.randn(3, 2, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found, heads, width = attend_linearly(q[:, :4], k, v, 2), 2, 3
    for image, token, head in ((i, j, h) for i in range(2) for j in range(4) for h in range(heads)):
        part = slice(head * width, (head + 1) * width)
        features = q[image, token, part].exp() / q[image, token, part].exp().sum()
        wanted = torch.zeros(width, dtype=torch.float64)
        for d, share in enumerate(features):
            weights = k[image, :, part][:, d].exp()
            wanted += share * (weights[:, None] * v[image, :, part]).sum(0) / weights.sum()
        torch.testing.assert_close(found[image, token, part], wanted / width**0.5)


@torch.no_grad()
def test_a_norm_is_of_each_pixel_and_knows_no_scale() -> None:
    x = torch.randn(2, 6, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = PixelNorm(6).double()(x)
    torch.testing.assert_close(found.square().mean(dim=1), torch.ones(2, 3, 4, dtype=torch.float64))
    torch.testing.assert_close(PixelNorm(6).double()(x * torch.rand(2, 1, 3, 4)), found)


@torch.no_grad()
def test_a_new_network_answers_0_and_a_batch_is_its_images() -> None:
    network, x = build(SMALL, 2, 2, Told(2)), torch.randn(3, 2, 8, 12, generator=torch.Generator().manual_seed(0))
    assert not network(x, torch.tensor(500)).any()
    network, times, labels = loud(network).double(), torch.tensor([1, 500, 999]), torch.tensor([0, 1, -1])
    whole = network(x.double(), times, Condition(labels))
    alone = [network(x[i : i + 1].double(), times[i], Condition(labels[i : i + 1])) for i in range(3)]
    torch.testing.assert_close(torch.cat(alone), whole, rtol=0, atol=1e-11)
    assert not torch.allclose(whole[2], network(x.double(), times, Condition(labels.flip(0)))[2])


def test_every_weight_is_heard_and_learns() -> None:
    """Trap: a part that is built and not called. Those that are used for nothing yet, branches that start at 0, let
    gradients through once the last layer does."""
    network = loud(build(SMALL, 2, 2, Told(2))).train()
    network(
        torch.randn(3, 2, 8, 8), torch.tensor([3, 4, 5]), Condition(torch.tensor([0, 1, -1]))
    ).square().sum().backward()
    silent = [name for name, each in network.named_parameters() if each.grad is None or not each.grad.any()]
    assert silent == []
    muon = network.matrices()
    assert "mid_block.1.to_qkv.weight" in muon and not [name for name in muon if "memory" in name or "norm" in name]


def test_it_goes_to_a_folder_and_back_and_edges_are_seen_around(tmp_path: Path) -> None:
    made, how = pipeline(), SamplingSettings(steps=2, clip="static")
    made.save(tmp_path / "saved")
    again = Pipeline.load(tmp_path / "saved", "cpu")
    assert again.config.network == SMALL and again.weights_hash() == made.weights_hash()
    assert torch.equal(again.generate([0, 1], ["a", None], how), made.generate([0, 1], ["a", None], how))
    *_, last = tile(made, 8, 12, [0], by="padding", settings=how)
    assert last.x_s.shape == (1, 2, 8, 12)


def test_sides_that_the_coarsest_pixel_does_not_divide_are_refused_with_the_remedy() -> None:
    with pytest.raises(InputError, match=r"multiples of 2 pixels.*got 7x8; set data\.size"):
        pipeline((7, 8))
    with pytest.raises(InputError, match=r"multiples of the coarsest pixel, 2 pixels, got 8x9.*network\.widths"):
        build(SMALL, 1, 1)(torch.zeros(1, 1, 8, 9), torch.tensor(0))
    with pytest.raises(InputError, match="expected cache 1, got 2: this network has no deep features"):
        pipeline()(1, cache=2, steps=2)
