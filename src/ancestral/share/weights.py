"""A network as one file for the browser's engine (`network.js`): safetensors, in whose metadata the settings stand.

Weights of two dimensions and more lie as the engine multiplies them, (blocks, rows, 8): eight outputs at a time, zeros
where there are fewer, and a row for each number of the input. They are stored in 32, 16 or 8 bits, the last times a
factor for each output, and become float32 when they are read. Vectors keep 32 bits. `rounded` is the pipeline of torch
that computes with the very numbers of the file.
"""

import json
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from ancestral.codec import check_pixels
from ancestral.errors import InputError
from ancestral.networks import rounding
from ancestral.networks.blocks import num_waves
from ancestral.networks.dit import WAVES, DiT
from ancestral.networks.layers import frequencies
from ancestral.networks.rounding import Bits, stored
from ancestral.networks.text import TextEncoder
from ancestral.networks.unet import UNet
from ancestral.pipeline import Pipeline

LANES = 8  # outputs that the engine computes side by side
ABOUT = "ancestral"  # the key of the settings in the metadata
EMBEDDING = "embedding.weight"  # ends the name of a linear layer of noughts and a one, of which a row is looked up


def packed(pipeline: Pipeline, bits: Bits = 16) -> bytes:
    """The file of a pipeline's network. Raises InputError for one that the engine does not compute."""
    network = _supported(pipeline)
    tensors = _frequencies(network)
    for name, weight in network.state_dict().items():
        numbers, scale = stored(name, weight.cpu(), bits)
        tensors[name] = _laid_out(name, numbers)
        if scale is not None:
            tensors[f"{name}.scale"] = _laid_out(name, scale)
    return save(tensors, {ABOUT: json.dumps(_about(pipeline, network))})


def rounded(pipeline: Pipeline, bits: Bits = 16) -> Pipeline:
    """The pipeline with the weights that the file holds."""
    return pipeline.with_network(rounding.rounded(_supported(pipeline), bits))


def _frequencies(network: UNet | DiT) -> dict[str, Tensor]:
    """Of the sinusoids of time, and of a transformer's places."""
    device, shift = torch.device("cpu"), network.settings.time_frequency_shift
    if isinstance(network, UNet):
        return {"frequencies": frequencies(num_waves(network.settings), shift, device)}
    places = frequencies(network.settings.width // 2, 0, device)
    return {"frequencies": frequencies(WAVES, shift, device), "place_frequencies": places}


def _about(pipeline: Pipeline, network: UNet | DiT) -> dict[str, Any]:
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
    }


def _supported(pipeline: Pipeline) -> UNet | DiT:
    check_pixels(pipeline.codec, "the browser's engine")
    network = pipeline.network
    if not isinstance(network, UNet | DiT):
        got = type(network).__name__
    elif network.text_encoder is not None and not isinstance(network.text_encoder, TextEncoder):
        got = "one that is told a text by an encoder of others"
    else:
        return network
    raise InputError(f"expected a U-Net or a transformer in pixels, got {got}; generate with `ancestral sample`")


def _laid_out(name: str, weight: Tensor) -> Tensor:
    """A weight, or its factors, as the engine multiplies it."""
    if weight.ndim < 2:
        return weight
    outputs = (weight.T if name.endswith(EMBEDDING) else weight).movedim(1, -1).flatten(1)
    padded = F.pad(outputs, (0, 0, 0, -len(outputs) % LANES))
    return padded.reshape(-1, LANES, padded.shape[1]).mT.contiguous()
