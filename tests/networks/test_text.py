"""The networks of text: agreement with transformers and diffusers, sizes, the traps of padding and of the null text."""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from ancestral.condition import UNTOLD, Condition
from ancestral.errors import InputError
from ancestral.networks.backbone import Backbone, build
from ancestral.networks.conditions import Told
from ancestral.networks.text import TextEncoder, TextShape
from ancestral.settings import DiTSettings, NetworkSettings, UNetSettings

START, END = 598, 599
SHAPE = TextShape(vocab_size=600, length=7, width=16, layers=2, heads=2)
TOKENS = torch.tensor([[START, 3, 500, 9, END, END, END], [START, 9, 500, 3, END, END, END], [UNTOLD] * 7])
EMPTY = torch.tensor([[START, *[END] * 6]])
UNET = UNetSettings(widths=(8, 16), layers=1, attention=(1,), norm_groups=4)
DIT = DiTSettings(width=16, layers=2, heads=2)
NETWORKS = (UNET, DIT)
KINDS = pytest.mark.parametrize("settings", NETWORKS, ids=["unet", "dit"])


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def made(settings: NetworkSettings, told: Told | None = None, silent: bool = False) -> Backbone:
    """A network of one channel, every weight redrawn unless `silent`."""
    network = build(settings, 1, 1, told or Told(num_classes=3, num_attributes=2, text=SHAPE)).eval()
    with torch.no_grad():
        for parameter in () if silent else network.parameters():
            parameter.normal_(0, 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
    return network.requires_grad_(False)


def asked(network: Backbone, condition: Condition, count: int = 3) -> Tensor:
    x = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return network(x, torch.full((count,), 500), condition)


@pytest.mark.parametrize(("layers", "heads"), [(1, 1), (3, 4)])
def test_the_encoder_is_that_of_transformers(layers: int, heads: int) -> None:
    """Causal, quick gelu, learned places: on random weights, by name."""
    transformers = pytest.importorskip("transformers")
    shape = TextShape(600, 9, 32, layers, heads)
    encoder = TextEncoder(shape)
    for parameter in encoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    known = {"vocab_size": 600, "hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": layers}
    ends = {"bos_token_id": START, "eos_token_id": END, "pad_token_id": END}
    config = transformers.CLIPTextConfig(**known, **ends, num_attention_heads=heads, max_position_embeddings=9)
    theirs = transformers.CLIPTextModel(config).eval()
    named = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    prefix = "text_model." if any(name.startswith("text_model.") for name in theirs.state_dict()) else ""
    theirs.load_state_dict({prefix + name: tensor for name, tensor in named.items()}, strict=True)
    tokens = torch.cat([torch.randint(0, 600, (4, 9)), torch.full((1, 9), END)])
    with torch.no_grad():
        torch.testing.assert_close(encoder(tokens), theirs(tokens).last_hidden_state, atol=1e-5, rtol=1e-5)


def test_networks_have_the_sizes_that_their_formulas_say() -> None:
    """Those of diffusers' networks of the same shape, counted there."""
    shape = TextShape(1024, 32, 128, 3, 4)
    sizes = {(24, 48, 96): (2_235_435, 62_496), (32, 64, 96): (2_500_163, 66_688), (32, 64, 128): (3_923_427, 66_688)}
    for widths, wanted in sizes.items():
        network = build(UNetSettings(widths=widths, layers=1, norm_groups=8), 3, 3, Told(text=shape))
        parts = {name: sum(each.numel() for each in part.parameters()) for name, part in network.named_children()}
        encoder, pooled = parts.pop("text_encoder"), parts.pop("add_embedding")
        assert (sum(parts.values()), pooled, encoder) == (*wanted, 730_240)


@KINDS
def test_a_new_network_answers_0_and_texts_are_as_one(settings: NetworkSettings) -> None:
    network = made(settings, silent=True)
    assert asked(network, Condition(tokens=TOKENS)).abs().max() == 0
    vectors = network.read(Condition(tokens=TOKENS), torch.empty(3)).vectors
    assert vectors[-1].abs().max() == 0, "the vector of the text is not heard yet"


@KINDS
def test_without_a_vector_of_the_whole_the_rest_is_the_same(settings: NetworkSettings) -> None:
    """By seed and name; the tokens are heard alone."""
    torch.manual_seed(1)
    with_vector = build(settings, 1, 1, Told(text=SHAPE))
    torch.manual_seed(1)
    without = build(settings, 1, 1, Told(text=SHAPE._replace(pooled=False)))
    tensors = without.state_dict()
    wanted = {name: each for name, each in with_vector.state_dict().items() if not name.startswith("add_embedding.")}
    assert tensors.keys() == wanted.keys() and all(torch.equal(tensors[name], wanted[name]) for name in wanted)
    network = made(settings, Told(text=SHAPE._replace(pooled=False)))
    assert network.read(Condition(tokens=TOKENS), torch.empty(3)).vectors == ()
    told, empty = asked(network, Condition(tokens=TOKENS)), asked(network, Condition())
    assert (told[:2] - empty[:2]).abs().amax(dim=(1, 2, 3)).min() > 1e-3


@pytest.mark.parametrize(("settings", "pooled"), [*product(NETWORKS, (True, False))])
def test_every_way_from_the_text_to_the_image_learns(settings: NetworkSettings, pooled: bool) -> None:
    """Trap: zeros behind zeros, through which no gradient comes. After a few steps all weights have moved."""
    network = made(settings, Told(text=SHAPE._replace(pooled=pooled)), silent=True).train().requires_grad_(True)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        torch.autograd.backward((asked(network, Condition(tokens=TOKENS)) - 1).square().mean())
        optimizer.step()
    unmoved = {name for name, tensor in network.state_dict().items() if torch.equal(tensor, before[name])}
    # a bias of keys moves all scores of a query alike
    assert unmoved <= {name for name in unmoved if name.endswith(("k_proj.bias", "to_k.bias"))}


@KINDS
def test_what_is_not_told_is_the_empty_text(settings: NetworkSettings) -> None:
    """Trap 34: a null of its own, learned from random numbers, would be one caption more. Told as -1, as nothing, or as
    the tokens of "", by the weights of a new network as by any."""
    for network in (made(settings), made(settings, Told(text=SHAPE), silent=True)):
        torch.nn.init.normal_(network.get_parameter("conv_out.weight" if settings is UNET else "pixels.weight"))
        untold, empty = (torch.full((3, 7), UNTOLD), EMPTY.expand(3, -1))
        null = asked(network, Condition())
        assert torch.equal(asked(network, Condition(tokens=untold)), null)
        assert torch.equal(asked(network, Condition(tokens=empty)), null)
    told, empty = asked(made(settings), Condition(tokens=TOKENS)), asked(made(settings), Condition())
    assert (told[:2] - empty[:2]).abs().amax(dim=(1, 2, 3)).min() > 1e-3


@KINDS
def test_the_order_of_words_is_read(settings: NetworkSettings) -> None:
    """The first two texts have the same tokens: a bag of words does not know which thing is red."""
    network = made(settings, Told(text=SHAPE))
    answers = network(torch.ones(3, 1, 8, 8), torch.tensor(3), Condition(tokens=TOKENS))
    assert (answers[0] - answers[1]).abs().max() > 1e-3


@pytest.mark.parametrize(("settings", "masked"), [*product(NETWORKS, (False, True))])
def test_padding_is_hidden_from_every_part_or_from_none(settings: NetworkSettings, masked: bool) -> None:
    """Trap 35: a mask in cross-attention that the vector of the whole knows nothing of. What stands in the places of
    padding is changed in the encoder's weights."""
    network, told = made(settings, Told(text=SHAPE._replace(masked=masked))), Condition(tokens=TOKENS[:2])
    before, vector = asked(network, told, 2), network.read(told, torch.empty(2)).vectors[0]
    places = network.get_parameter("text_encoder.text_model.embeddings.position_embedding.weight")
    places[5:] += 10 * torch.randn(2, SHAPE.width)
    changed, moved = asked(network, told, 2), network.read(told, torch.empty(2)).vectors[0]
    assert torch.equal(changed, before) == masked and torch.equal(moved, vector) == masked
    places[4] += 10 * torch.randn(SHAPE.width)
    ended, heard = asked(network, told, 2), network.read(told, torch.empty(2)).vectors[0]
    assert not torch.equal(ended, changed) and not torch.equal(heard, moved), "the first end is no padding"


@pytest.mark.parametrize(("settings", "masked"), [*product(NETWORKS, (False, True))])
def test_keys_and_values_are_computed_once(
    settings: NetworkSettings, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap 36: of two prompts and nothing, as a batch is that guidance makes; the encoder is not called again."""
    network = made(settings, Told(num_classes=3, num_attributes=2, text=SHAPE._replace(masked=masked)))
    told = Condition(torch.tensor([0, UNTOLD, 2]), torch.tensor([[0.1, 2.0], [torch.nan] * 2, [0, 1.0]]), TOKENS)
    embedded, whole = network.embedded(told, 3), asked(network, told)
    monkeypatch.setattr(TextEncoder, "forward", lambda *_: pytest.fail("the encoder was called again"))
    torch.testing.assert_close(asked(network, embedded), whole, atol=1e-6, rtol=1e-6)  # type: ignore[arg-type]
    assert len(embedded.text.keys_values) == (4 if settings is UNET else 2)  # type: ignore[union-attr]


@KINDS
def test_a_text_does_not_depend_on_its_batch(settings: NetworkSettings) -> None:
    network = made(settings).double()
    x, labels, numbers = torch.randn(3, 1, 8, 8).double(), torch.tensor([0, 1, UNTOLD]), torch.randn(3, 2)
    told = Condition(labels, numbers, TOKENS)
    together = network(x, torch.tensor([1, 2, 3]), told)
    for i in range(3):
        one = slice(i, i + 1)
        alone = network(x[one], torch.tensor([1, 2, 3])[one], told.rows(one))
        torch.testing.assert_close(alone, together[one], atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("levels", [None, (), (0,)])
def test_the_levels_that_see_the_text_are_those_of_the_settings(levels: tuple[int, ...] | None) -> None:
    settings = UNET.model_copy(update={"attention": (0, 1), "cross_attention": levels})
    names = [name for name, _ in made(settings).named_parameters() if name.endswith("attn2.to_k.weight")]
    seen = (0, 1) if levels is None else levels
    down = {name.split(".")[1] for name in names if name.startswith("down_blocks")}
    assert down == {str(level) for level in seen} and any(name.startswith("mid_block") for name in names)


def test_heads_are_32_wide_or_as_the_settings_say() -> None:
    def heads(width: int, **changes: Any) -> int:
        settings = UNET.model_copy(update={"widths": (width,), "attention": (0,), **changes})
        return int(made(settings).mid_block.attentions[0].transformer_blocks[0].attn2.heads)  # type: ignore[union-attr]

    assert [heads(width) for width in (8, 32, 48, 96, 112, 128)] == [1, 1, 1, 3, 2, 4]
    assert heads(64, head_width=16) == 4
    assert [heads(width, heads=8) for width in (8, 64)] == [8, 8]


@KINDS
def test_muon_takes_the_matrices_between_features_and_blocks_hold_them(settings: NetworkSettings) -> None:
    """Embeddings, which meet tokens and times, are Adam's; what is dealt out over processes are whole modules."""
    network = made(settings)
    inner = network.matrices()
    assert {"text_encoder.text_model.encoder.layers.1.self_attn.q_proj.weight"} <= {*inner}
    assert any(name.endswith("attn2.to_k.weight") for name in inner)
    assert not [name for name in inner if "embedding" in name]
    held = {id(each) for block in network.blocks() for each in block.parameters()}
    assert all(id(network.get_parameter(name)) in held for name in inner if "attentions" in name or "layers" in name)


def test_text_for_a_network_that_reads_none_and_tokens_of_another_length_are_refused() -> None:
    with pytest.raises(InputError, match="expected no tokens, got some; this network was built without text"):
        asked(made(UNET, Told()), Condition(tokens=TOKENS))
    with pytest.raises(InputError, match="expected 7 tokens of each text, got 5"):
        asked(made(UNET), Condition(tokens=TOKENS[:, :5]))
