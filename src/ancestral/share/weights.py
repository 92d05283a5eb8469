"""A model as one file for the browser's engine (`network.js`): the weights of network, text encoder and decoder as
safetensors, in whose metadata the settings stand.

Weights of two dimensions and more lie as the engine multiplies them, (blocks, rows, 8): eight outputs at a time, zeros
where there are fewer, and a row for each number of the input. They are stored in 32, 16 or 8 bits, the last times a
factor for each output, and become float32 when they are read. Vectors keep 32 bits. `rounded` is the pipeline of torch
that computes with the very numbers of the file.
"""

import json
from dataclasses import replace
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ancestral.codec import PixelCodec
from ancestral.condition import Condition
from ancestral.errors import InputError
from ancestral.networks import rounding
from ancestral.networks.autoencoder import Autoencoder
from ancestral.networks.backbone import Backbone, weightless
from ancestral.networks.blocks import num_waves
from ancestral.networks.dit import WAVES, DiT
from ancestral.networks.latents import LatentCodec
from ancestral.networks.layers import frequencies
from ancestral.networks.rounding import Bits, stored
from ancestral.networks.text import TextEncoder
from ancestral.networks.unet import UNet
from ancestral.pipeline import Pipeline
from ancestral.pipeline.folder import build_network

LANES = 8  # outputs that the engine computes side by side
ABOUT = "ancestral"  # the key of the settings in the metadata
EMBEDDING = "embedding.weight"  # ends the name of a linear layer of noughts and a one, of which a row is looked up
DECODER = ("post_quant_conv.", "decoder.", "quantize.embedding.")  # begin the names of what an autoencoder decodes by
CODEC_SETTINGS = {"widths", "layers", "norm_groups"}  # of an autoencoder, that decoding takes


def packed(pipeline: Pipeline, bits: Bits = 16) -> bytes:
    """The file of a pipeline. Raises InputError for one that the engine does not compute."""
    network, codec = _supported(pipeline)
    weights, tensors = dict(network.state_dict()), _frequencies(network)
    if codec is not None:
        weights |= {name: each for name, each in codec.network.state_dict().items() if name.startswith(DECODER)}
        tensors |= {"codec.mean": codec.mean.float().cpu(), "codec.std": codec.std.float().cpu()}
    for name, weight in weights.items():
        numbers, scale = stored(name, weight.cpu(), bits)
        tensors[name] = _laid_out(name, numbers)
        if scale is not None:
            tensors[f"{name}.scale"] = _laid_out(name, scale)
    return save(tensors, {ABOUT: json.dumps(_about(pipeline, network, codec))})


def rounded(pipeline: Pipeline, bits: Bits = 16) -> Pipeline:
    """The pipeline with the weights that the file holds."""
    network, codec = _supported(pipeline)
    same = pipeline.with_network(rounding.rounded(network, bits))
    return same if codec is None else replace(same, codec=replace(codec, network=rounding.rounded(codec.network, bits)))


def macs(pipeline: Pipeline) -> int:
    """Multiply-adds of a call of the network for one image, of convolutions, linear layers and attention, counted on
    shapes alone. What it is told is read before."""
    _supported(pipeline)
    with torch.random.fork_rng(devices=[]), weightless():
        network = build_network(pipeline.config, pipeline.latent_spec).eval()
        x, time = torch.zeros(1, *pipeline.latent_shape), torch.zeros(1)
        told = network.read(Condition(labels=torch.zeros(1, dtype=torch.int64) if pipeline.num_classes else None), x)
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:  # written out, as the engine computes attention
            network(x, time, told)
    return int(counter.get_total_flops()) // 2


def _frequencies(network: UNet | DiT) -> dict[str, Tensor]:
    """Of the sinusoids of time, and of a transformer's places."""
    device, shift = torch.device("cpu"), network.settings.time_frequency_shift
    if isinstance(network, UNet):
        return {"time.frequencies": frequencies(num_waves(network.settings), shift, device)}
    places = frequencies(network.settings.width // 2, 0, device)
    return {"time.frequencies": frequencies(WAVES, shift, device), "places.frequencies": places}


def _about(pipeline: Pipeline, network: UNet | DiT, codec: LatentCodec | None) -> dict[str, Any]:
    told, encoder = network.told, network.text_encoder
    return {
        "network": network.settings.model_dump(mode="json"),
        "time_order": network.settings.time_order if isinstance(network, UNet) else "cos-sin",
        "shape": pipeline.latent_shape,
        "image": pipeline.spec.shape,
        "num_classes": told.num_classes,
        "null_class": told.null_class,
        "num_attributes": told.num_attributes,
        "text": encoder.shape._asdict() if isinstance(encoder, TextEncoder) else None,
        "codec": codec and codec.network.settings.model_dump(mode="json", include=CODEC_SETTINGS),
    }


def _supported(pipeline: Pipeline) -> tuple[UNet | DiT, LatentCodec | None]:
    """The network, and between images and x0 the codec; None: x0 is pixels."""
    network, codec = pipeline.network, pipeline.codec
    if not isinstance(network, UNet | DiT) or type(network) not in (UNet, DiT):
        raise _refusal("a network of this package", type(network).__name__, isinstance(network, Backbone))
    if network.text_encoder is not None and not isinstance(network.text_encoder, TextEncoder):
        raise _refusal("text.name learned", "frozen", False)
    if isinstance(codec, PixelCodec):
        return network, None
    if not isinstance(codec, LatentCodec) or type(codec.network) is not Autoencoder:
        got = type(codec.network if isinstance(codec, LatentCodec) else codec).__name__
        raise _refusal("pixels or an autoencoder of this package", got, isinstance(codec, LatentCodec))
    height, width = (codec.network.settings.factor * side for side in pipeline.latent_shape[1:])
    if codec.tiling.cuts(height, width):
        raise _refusal("images that are decoded whole", f"{width}x{height} pixels, which are decoded in tiles", True)
    return network, codec


def _refusal(expected: str, got: str, exports: bool) -> InputError:
    """`exports`: whether it can be exported all the same."""
    remedy = "write it by `ancestral export RUN --onnx`" if exports else "generate with `ancestral sample`"
    return InputError(f"expected {expected} for the browser's engine, got {got}; {remedy}")


def _laid_out(name: str, weight: Tensor) -> Tensor:
    """A weight, or its factors, as the engine multiplies it."""
    if weight.ndim < 2:
        return weight
    outputs = (weight.T if name.endswith(EMBEDDING) else weight).movedim(1, -1).flatten(1)
    padded = F.pad(outputs, (0, 0, 0, -len(outputs) % LANES))
    return padded.reshape(-1, LANES, padded.shape[1]).mT.contiguous()
