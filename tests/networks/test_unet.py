"""The U-Net: the published network's size, agreement with diffusers, and the promises of its class."""

import warnings
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ancestral.condition import UNTOLD, Condition
from ancestral.errors import InputError
from ancestral.networks.blocks import attended
from ancestral.networks.conditions import NOTHING, Told
from ancestral.networks.layers import placed
from ancestral.networks.text import Text, TextShape
from ancestral.networks.unet import UNet
from ancestral.settings import UNetSettings

SMALL = UNetSettings(widths=(8, 16), layers=1, attention=(1,), norm_groups=4)
TEACHING = UNetSettings(
    widths=(64, 128, 256), stem=32, attention=(0, 1, 2), layers=2, middle_layers=2, head_width=32, norm_groups=8
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def randomised(network: torch.nn.Module) -> torch.nn.Module:
    """Every parameter redrawn, so that no branch is silent."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    return network


def test_the_papers_cifar10_network_has_its_published_size() -> None:
    settings = UNetSettings(
        widths=(128, 256, 256, 256), layers=2, attention=(1,), dropout=0.1, norm_eps=1e-6, time_order="sin-cos",
        time_frequency_shift=1, downsample_padding="right-bottom",
    )  # fmt: skip
    with torch.device("meta"):
        network = UNet(settings, 3, 3)
    assert sum(parameter.numel() for parameter in network.parameters()) == 35_746_307
    assert len(network.state_dict()) == 328


COMMON: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 2,
    "out_channels": 2,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
    "attention_head_dim": None,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
}
PLAIN: dict[str, Any] = {"widths": (8, 16), "layers": 1, "attention": (1,), "norm_groups": 4}
PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "two heads": ({"attention_head_dim": 8}, {"head_width": 8}),
    "two heads, counted": ({"attention_head_dim": 8}, {"heads": 2}),
    "scale-shift": (
        {"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 4},
        {"time_conditioning": "scale-shift"},
    ),
    "right-bottom": ({"downsample_padding": 0}, {"downsample_padding": "right-bottom"}),
    "eps": ({"norm_eps": 1e-2}, {"norm_eps": 1e-2}),
    "cos-sin": ({"flip_sin_to_cos": True}, {"time_order": "cos-sin"}),
    "no frequency shift": ({"freq_shift": 0}, {"time_frequency_shift": 0}),
    "no middle attention": ({"add_attention": False}, {"middle_attention": False}),
    "classes": ({"num_class_embeds": 4}, {}),
    "learned variance": ({"out_channels": 4}, {}),
    "attention everywhere, three levels, three layers": (
        {
            "block_out_channels": (8, 4, 12),
            "layers_per_block": 3,
            "down_block_types": ("AttnDownBlock2D",) * 3,
            "up_block_types": ("AttnUpBlock2D",) * 3,
            "attention_head_dim": 2,
        },
        {"widths": (8, 4, 12), "layers": 3, "attention": (0, 1, 2), "head_width": 2},
    ),
    "one level": (
        {"block_out_channels": (8,), "down_block_types": ("DownBlock2D",), "up_block_types": ("UpBlock2D",)},
        {"widths": (8,), "attention": ()},
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_diffusers_weights_load_strictly_and_give_the_same_output(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import UNet2DModel

    theirs_differ, ours_differ = PAIRS[name]
    theirs = randomised(UNet2DModel(**COMMON | theirs_differ)).eval()
    classes = 3 if "num_class_embeds" in theirs_differ else 0
    ours = UNet(UNetSettings(**PLAIN | ours_differ), 2, theirs.config.out_channels, Told(classes)).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, time = torch.randn(3, 2, 16, 12), torch.tensor([0, 7, 999])
    labels = torch.tensor([0, 3, 1]) if classes else None
    with torch.no_grad():
        expected = theirs(x, time, class_labels=labels).sample
        torch.testing.assert_close(ours(x, time, Condition(labels)), expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 0.1


@given(st.integers(1, 19), st.integers(1, 19), st.integers(1, 4), st.sampled_from(["even", "right-bottom", "resnet"]))
def test_any_size_and_channel_count(height: int, width: int, channels: int, way: Any) -> None:
    by: dict[str, Any] = {"resampling": way} if way == "resnet" else {"downsample_padding": way}
    settings = UNetSettings(widths=(4, 4, 8, 8), layers=1, attention=(2,), norm_groups=2, head_width=4, **by)
    x = torch.randn(2, channels, height, width)
    assert UNet(settings, channels, 2 * channels)(x, torch.tensor(5)).shape == (2, 2 * channels, height, width)


def test_four_levels_run_on_28x28_where_diffusers_fails() -> None:
    network = UNet(UNetSettings(widths=(8, 8, 8, 8), layers=1, attention=(), norm_groups=4), 1, 1)
    assert network(torch.randn(1, 1, 28, 28), torch.tensor(0)).shape == (1, 1, 28, 28)


def test_the_teaching_networks_shape_runs() -> None:
    network = UNet(TEACHING, 1, 1).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 1, 28, 28), torch.tensor([3])).shape == (1, 1, 28, 28)
    assert network.conv_in.out_channels == 32
    assert network.time_embedding.linear_1.out_features == 128
    assert len(network.mid_block.resnets) == 3 and len(network.mid_block.attentions) == 2
    attended = [name for name in network.state_dict() if name.endswith("to_q.weight")]
    assert len(attended) == 3 * 2 + 2 + 3 * 3


@pytest.mark.parametrize("pairs", [0, 1, 3])
def test_middle_layers_are_counted_in_pairs(pairs: int) -> None:
    middle = UNet(UNetSettings(**PLAIN | {"middle_layers": pairs}), 1, 1).mid_block
    assert (len(middle.resnets), len(middle.attentions)) == (pairs + 1, pairs)


@pytest.mark.parametrize("conditioning", ["add", "scale-shift"])
def test_a_new_network_predicts_zero_and_every_residual_branch_is_silent(conditioning: Any) -> None:
    """So the eps loss is 1 at initialisation."""
    network = UNet(UNetSettings(**PLAIN | {"time_conditioning": conditioning}), 3, 3, Told(2))
    assert network(torch.randn(2, 3, 8, 8), torch.tensor([1, 900]), Condition(torch.tensor([0, 2]))).abs().max() == 0
    silent = [name for name, p in network.named_parameters() if p.ndim > 1 and p.abs().max() == 0]
    assert silent and all(name.endswith(("conv2.weight", "to_out.0.weight", "conv_out.weight")) for name in silent)
    x = torch.randn(1, 16, 4, 4)
    assert torch.equal(network.mid_block(x, torch.randn(1, 32)), x)


def test_no_label_means_the_null_class_which_is_no_real_one() -> None:
    """Trap: the null class colliding with a real one."""
    network = randomised(UNet(SMALL, 1, 1, Told(3))).eval()
    x, time = torch.randn(4, 1, 8, 8), torch.tensor(10)
    assert network.class_embedding.num_embeddings == 4 and network.told.null_row == 3
    by_label = network(x[:1].expand(4, -1, -1, -1), time, Condition(torch.tensor([0, 1, 2, UNTOLD])))
    torch.testing.assert_close(network(x[:1], time), by_label[3:])
    distances = torch.cdist(by_label.flatten(1), by_label.flatten(1)) + torch.eye(4)
    assert distances.min() > 1e-2


def test_labels_for_a_network_without_classes_are_refused() -> None:
    with pytest.raises(InputError, match="without classes"):
        UNet(SMALL, 1, 1)(torch.randn(1, 1, 4, 4), torch.tensor(0), Condition(torch.tensor([0])))


LEVELS = pytest.mark.parametrize("widths", [(8,), (8, 16), (8, 4, 12)], ids=len)


@LEVELS
def test_a_call_resumed_with_its_own_deep_features_is_the_whole_call(widths: tuple[int, ...]) -> None:
    """Bit for bit, in a network of one, two and three levels."""
    network = randomised(UNet(UNetSettings(**PLAIN | {"widths": widths, "attention": ()}), 2, 2, Told(3))).eval()
    x, time, told = torch.randn(3, 2, 9, 7), torch.tensor([1, 5, 900]), Condition(torch.tensor([0, UNTOLD, 1]))
    whole, deep = network.with_deep(x, time, None, told)
    assert torch.equal(whole, network(x, time, told))
    again, kept = network.with_deep(x, time, deep, told)
    assert torch.equal(again, whole) and kept is deep
    assert not torch.allclose(network.with_deep(x, time, deep + 1, told)[0], whole), "the features play a part"


@LEVELS
def test_a_resumed_call_computes_the_first_level_only(widths: tuple[int, ...]) -> None:
    network = randomised(UNet(UNetSettings(**PLAIN | {"widths": widths, "attention": (0,)}), 1, 1)).eval()
    x, time = torch.randn(1, 1, 8, 8), torch.tensor(5)
    _, deep = network.with_deep(x, time, None)
    called: list[str] = []
    for name, module in network.named_modules():
        module.register_forward_hook(lambda module, given, output, name=name: called.append(name))
    network.with_deep(x + 1, time, deep)
    levels = {".".join(name.split(".")[:2]) for name in called if "_block" in name}
    assert levels == {"down_blocks.0", f"up_blocks.{len(widths) - 1}"}
    assert not any("downsamplers" in name or "mid_block" in name for name in called)
    assert {"conv_in", "time_embedding", "conv_norm_out", "conv_out"} <= {*called}, "the new x and its time are met"


def test_dropout_acts_in_training_only() -> None:
    network = randomised(UNet(UNetSettings(**PLAIN | {"dropout": 0.5}), 1, 1))
    x, time = torch.randn(1, 1, 8, 8), torch.tensor(10)
    assert not torch.equal(network(x, time), network(x, time))
    network.eval()
    assert torch.equal(network(x, time), network(x, time))


@pytest.mark.parametrize("settings", [SMALL, UNetSettings(**PLAIN | {"time_conditioning": "scale-shift", "stem": 4})])
def test_gradient_reaches_every_parameter(settings: UNetSettings) -> None:
    network = randomised(UNet(settings, 2, 2, Told(1)))
    x, time, told = torch.randn(2, 2, 8, 8), torch.tensor([3, 500]), Condition(torch.tensor([0, UNTOLD]))
    network(x, time, told).square().mean().backward()
    # A bias of the keys adds the same to every score of a query, and softmax does not see it.
    still = [
        name
        for name, p in network.named_parameters()
        if "to_k.bias" not in name and (p.grad is None or p.grad.abs().max() < 1e-9)
    ]
    assert still == []


@pytest.mark.parametrize("told", [NOTHING, Told(text=TextShape(600, 8, 64, 1, 4))], ids=["self", "text"])
def test_with_positions_pixels_that_look_alike_are_told_apart(told: Told) -> None:
    """Without them a layer of attention gives pixels of one colour one answer, above what is below or not."""
    for known in (False, True):
        network = randomised(UNet(UNetSettings(**PLAIN | {"positions": known}), 1, 1, told))
        alike, text = torch.full((1, 16, 4, 6), 0.5), None if told is NOTHING else Text(torch.randn(1, 8, 64))
        answer = attended(network.mid_block.attentions[0], alike, text)[0]
        apart = {"down": answer[:, 0, 3] - answer[:, 2, 3], "across": answer[:, 1, 0] - answer[:, 1, 4]}
        assert {way: bool(difference.abs().max() > 1e-2) for way, difference in apart.items()} == {
            "down": known, "across": known
        }  # fmt: skip


def test_positions_are_those_of_the_pixels_and_no_weights() -> None:
    """Trap: rows and columns change places in an image that is no square."""
    by_pixel = placed(torch.zeros(2, 15, 8), torch.zeros(2, 8, 3, 5))[1].unflatten(0, (3, 5))
    across, down = by_pixel.chunk(2, dim=2)
    assert torch.equal(across, across[:1].expand(3, -1, -1))
    assert torch.equal(down, down[:, :1].expand(-1, 5, -1))
    assert len(by_pixel.flatten(0, 1).unique(dim=0)) == 15
    assert UNet(UNetSettings(**PLAIN), 1, 1).state_dict().keys() == (
        UNet(UNetSettings(**PLAIN | {"positions": True}), 1, 1).state_dict().keys()
    )


def test_positions_without_attention_or_of_odd_widths_are_refused() -> None:
    with pytest.raises(InputError, match="expected positions with attention"):
        UNetSettings(**PLAIN | {"attention": (), "middle_attention": False, "positions": True})
    with pytest.raises(InputError, match="expected even attended widths"):
        UNetSettings(**PLAIN | {"widths": (8, 15), "norm_groups": 1, "positions": True})


def test_time_is_told_apart_under_bfloat16() -> None:
    """Trap: the embedding of t in bfloat16 takes 998 for 1000."""
    network = randomised(UNet(SMALL, 1, 1)).eval()
    x = torch.randn(1, 1, 8, 8).expand(3, -1, -1, -1)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        out = network(x, torch.tensor([998, 999, 1000])).float()
    assert not torch.equal(out[0], out[2])
    assert not torch.equal(out[0], out[1])


def test_integer_fractional_and_shared_times_are_one_scale() -> None:
    network = randomised(UNet(SMALL, 1, 1)).eval()
    x = torch.randn(2, 1, 8, 8)
    whole = network(x, torch.tensor([7, 7]))
    assert torch.equal(network(x, torch.tensor(7)), whole)
    assert torch.equal(network(x, torch.tensor(7.0)), whole)
    assert not torch.allclose(network(x, torch.tensor(7.5)), whole)


def test_an_image_does_not_depend_on_its_batch() -> None:
    """Trap: a batch whose images change with its size. float64, because sums are split by shape."""
    network = randomised(UNet(SMALL, 1, 1, Told(2))).double().eval()
    x, time, told = torch.randn(5, 1, 9, 7).double(), torch.arange(5), Condition(torch.tensor([0, 1, UNTOLD, 0, 1]))
    together, each = network(x, time, told), (slice(i, i + 1) for i in range(5))
    alone = torch.cat([network(x[one], time[one], told.rows(one)) for one in each])
    torch.testing.assert_close(alone, together, atol=1e-9, rtol=1e-9)


def test_memory_format_does_not_matter_and_is_kept() -> None:
    network = randomised(UNet(SMALL, 3, 3)).double().eval()
    x = torch.randn(2, 3, 8, 8).double()
    plain = network(x, torch.tensor(3))
    last = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last), torch.tensor(3))
    torch.testing.assert_close(last, plain)
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_attention_sees_the_whole_image() -> None:
    """A pixel reaches the far corner only through attention: one level, 3x3 convolutions, 24 pixels away."""
    x = torch.zeros(1, 1, 24, 24, dtype=torch.float64)
    touched = x.clone()
    touched[0, 0, 0, 0] = 5
    for levels, expected in (((0,), True), ((), False)):
        settings = UNetSettings(widths=(4,), layers=1, attention=levels, middle_attention=False, norm_groups=4)
        torch.manual_seed(0)
        network = randomised(UNet(settings, 1, 1)).double().eval()
        for module in network.modules():
            if isinstance(module, torch.nn.GroupNorm):  # normalisation couples pixels too: take it out
                module.register_forward_hook(lambda _, given, normalised: given[0])
        change = (network(touched, torch.tensor(1)) - network(x, torch.tensor(1)))[0, 0, -1, -1].abs()
        assert (change.item() > 1e-12) == expected
