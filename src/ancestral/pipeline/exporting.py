"""A pipeline as files of ONNX (docs/onnx.md): model.onnx, whose metadata hold all else that generating takes; where
there is text, text.onnx, from tokens to what the network is told; where there are latents, decoder.onnx, from them to
images.

Nothing is said of the folder that a pipeline lies in, nor of the data that it was trained on.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ancestral.codec import PixelCodec
from ancestral.errors import InputError
from ancestral.networks.backbone import Backbone
from ancestral.networks.graphs import network_graph, onnx_graph, store
from ancestral.networks.latents import LatentCodec
from ancestral.networks.rounding import Bits, rounded, stored
from ancestral.networks.text import GivenStates, StatesShape, TextEncoder
from ancestral.networks.unet import UNet
from ancestral.pipeline.pipeline import Pipeline
from ancestral.rng import ImageNoise
from ancestral.sampling.plan import Plan
from ancestral.settings import SamplingSettings
from ancestral.tokenizer import Tokenizer

if TYPE_CHECKING:
    from onnx import ModelProto

FORMAT, VERSION = "ancestral-onnx", 1
MODEL, TEXT, DECODER = "model.onnx", "text.onnx", "decoder.onnx"
MOST_BYTES = 2**31  # of a file of ONNX, whose weights lie in it
CHECKED = 8  # numbers of noise and output that are kept of each of two seeds


def files_of(pipeline: Pipeline) -> tuple[str, ...]:
    """The names of its files. Raises InputError for what cannot be exported."""
    network, codec = pipeline.network, pipeline.codec
    if not isinstance(network, Backbone):
        name = type(network).__name__
        raise InputError(f"expected a network of this package, got {name}; give one's own to torch.onnx.export")
    text = network.text_encoder is not None
    if text and not (isinstance(network.text_encoder, TextEncoder) and isinstance(pipeline.tokenizer, Tokenizer)):
        raise InputError("expected text.name learned, got frozen: the encoder is another project's; export it there")
    latents = isinstance(codec, LatentCodec)
    if not (latents or isinstance(codec, PixelCodec)):
        name = type(codec).__name__
        raise InputError(f"expected pixels or an autoencoder of this package, got {name}; decode by it elsewhere")
    whole = [network, *([codec.network] if isinstance(codec, LatentCodec) else [])]
    if (size := 4 * max(sum(each.numel() for each in module.parameters()) for module in whole)) > MOST_BYTES:
        raise InputError(
            f"expected weights of 2 GiB, which a file of ONNX holds, got {size:,} bytes; train a smaller one"
        )
    return (MODEL, *[TEXT] * text, *[DECODER] * latents)


def exported(pipeline: Pipeline, settings: SamplingSettings, bits: Bits = 32) -> dict[str, bytes]:
    """The files, by their names, model.onnx last. `settings`: how images are generated with them, as a plan."""
    names, plan = files_of(pipeline), pipeline.plan(settings)
    assert isinstance(pipeline.network, Backbone)
    network = rounded(pipeline.network, bits).cpu().eval()
    shared = {"format": FORMAT, "version": str(VERSION), "weights": pipeline.weights_hash()}
    facts = {
        "plan": plan.to_json(),
        "about": json.dumps(_about(pipeline, settings, names, bits)),
        "schedule": json.dumps(pipeline.diffusion.schedule.alpha_bar.tolist()),
        "settings": json.dumps(_settings(pipeline, settings)),
        "check": json.dumps(_checked(pipeline, network, plan)),
    }
    files = {}
    if TEXT in names:  # before the network is given states in place of its encoder
        files[TEXT] = _file(_text_graph(network), pipeline.network, bits, shared)
    if isinstance(codec := pipeline.codec, LatentCodec):
        files[DECODER] = _file(_decoder_graph(codec, bits, pipeline.latent_shape), codec.network, bits, shared)
    return files | {MODEL: _file(_model_graph(pipeline, network), pipeline.network, bits, shared | facts)}


def _file(graph: "ModelProto", module: nn.Module, bits: Bits, facts: Mapping[str, str]) -> bytes:
    """The bytes of a graph of a module's weights, with what there is to say of it."""
    weights = {name: each.cpu() for name, each in module.state_dict().items() if each.is_floating_point()}
    store(graph, {name: stored(name, each, bits) for name, each in weights.items()})
    graph.producer_name, graph.producer_version = "ancestral", version("ancestral")
    for key, value in facts.items():
        graph.metadata_props.add(key=key, value=value)
    return graph.SerializeToString()


def _model_graph(pipeline: Pipeline, network: Backbone) -> "ModelProto":
    """The network, which is given the states of a text."""
    told: dict[str, tuple[int, ...]] = {"labels": ()} if pipeline.num_classes else {}
    if pipeline.spec.attributes:
        told["attributes"] = (len(pipeline.spec.attributes),)
    if isinstance(encoder := network.text_encoder, TextEncoder):
        shape = encoder.shape
        network.text_encoder = GivenStates(StatesShape(shape.length, shape.width, shape.masked, shape.pooled))
        told |= {"states": (shape.length, shape.width)} | ({"tokens": (shape.length,)} if shape.masked else {})
    return network_graph(network, told, pipeline.latent_shape, _is_any_size(network, pipeline.latent_shape))


def _is_any_size(network: Backbone, shape: tuple[int, int, int]) -> bool:
    """Whether the graph holds for others: not where its levels are padded as is right for sides of one pixel alone."""
    if not isinstance(network, UNet) or network.settings.downsample_padding == "even":
        return True
    return min(shape[1:]) >= 2 ** (len(network.settings.widths) - 1)


class _Text(nn.Module):
    """Tokens to the states of a text, and with masks the tokens that are seen, -1 in place of others."""

    def __init__(self, network: Backbone) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        encoder = self.network.text_encoder
        assert isinstance(encoder, TextEncoder)
        states, seen = encoder(tokens), encoder.seen(tokens)
        return states if seen is None else (states, torch.where(seen, tokens.clamp(min=0), -1))


def _text_graph(network: Backbone) -> "ModelProto":
    encoder = network.text_encoder
    assert isinstance(encoder, TextEncoder)
    tokens = torch.zeros(2, encoder.shape.length, dtype=torch.int64)
    return onnx_graph(_Text(network), {"tokens": tokens}, ["states", *["seen"] * encoder.shape.masked])


class _Decoder(nn.Module):
    """Latents to images, in [-1, 1] or a little beyond."""

    def __init__(self, codec: LatentCodec) -> None:
        super().__init__()
        self.codec, self.network = codec, codec.network

    def forward(self, x0: Tensor) -> Tensor:
        return self.network.decoded(self.codec.decodable(self.codec.latents(x0)))


def _decoder_graph(codec: LatentCodec, bits: Bits, shape: tuple[int, int, int]) -> "ModelProto":
    decoder = _Decoder(replace(codec, network=rounded(codec.network, bits).cpu()))
    sides = {"x0": ("height", "width"), "images": ("image_height", "image_width")}
    return onnx_graph(decoder, {"x0": torch.zeros(2, *shape)}, ["images"], sides)


def _about(pipeline: Pipeline, settings: SamplingSettings, names: tuple[str, ...], bits: Bits) -> dict[str, Any]:
    spec, tokenizer = pipeline.spec, pipeline.tokenizer
    text = None
    if isinstance(tokenizer, Tokenizer) and TEXT in names:
        text = {"joins": tokenizer.joins, "length": tokenizer.length, "lower": tokenizer.lower}
    return {
        "files": names,
        "bits": bits,
        "image": spec.shape,
        "x": pipeline.latent_shape,
        "classes": spec.class_names,
        "attributes": [each.model_dump() for each in spec.attributes],
        "text": text,
        "knows_null": pipeline.knows_null,
        "negative": settings.negative,
    }


def _settings(pipeline: Pipeline, settings: SamplingSettings) -> dict[str, Any]:
    """Those of noise, network, text and sampling."""
    config = pipeline.config.model_copy(update={"sampling": settings})
    return config.model_dump(mode="json", include={"diffusion", "network", "text", "sampling"})


@torch.no_grad()
def _checked(pipeline: Pipeline, network: Backbone, plan: Plan) -> dict[str, Any]:
    """Of the seeds 0 and 1, some numbers of x_T and of what the network says of it at the first timestep: of the first
    classes, attributes at their means and the empty text."""
    seeds, first = (0, 1), plan.levels[0]
    x = ImageNoise(seeds, pipeline.latent_shape)()
    output = network(first.scale * x, torch.full((2,), first.time), pipeline.in_turn(2))
    return {"seeds": seeds, "noise": _some(x), "output": _some(output)}


def _some(numbers: Tensor) -> list[list[float]]:
    each = numbers.flatten(1)
    return each[:, :: max(1, each.shape[1] // CHECKED)][:, :CHECKED].tolist()
