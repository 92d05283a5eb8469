"""LPIPS (Zhang et al. 2018) by weights that the user has: the convolutions of AlexNet or VGG16 at five depths.

The file is the state dict of `LPIPS(net="alex")` or `LPIPS(net="vgg")` of the package lpips, version 0.1. Layers have
the numbers of torchvision, which counts activations and pooling too:

    scaling_layer.shift, scaling_layer.scale        (1, 3, 1, 1): how the network is shown images in [-1, 1]
    net.slice1.0.weight, net.slice1.0.bias, ...     the stage, and the layer
    lin0.model.1.weight, ... lin4.model.1.weight    (1, C, 1, 1): what each channel counts; or under lins.0, ... lins.4
"""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.errors import InputError
from ancestral.hub.published import read_named_tensors
from ancestral.tensors import Images, is_finite
from ancestral.training.feature_distance import FeatureDistance

WHAT = "the state dict of lpips.LPIPS(net='alex') or lpips.LPIPS(net='vgg')"
REMEDY = "write it by torch.save(lpips.LPIPS(net='alex').state_dict(), FILE)"


class Published(NamedTuple):
    """A network that was trained on photographs."""

    convolutions: tuple[tuple[int, int, int, int], ...]  # channels, px of a kernel's side, stride, padding of each
    pooled_before: tuple[int, ...]  # convolutions, counted from 0
    pooling: int  # side of the places of which the largest is taken, with stride 2
    ends: tuple[int, ...]  # how many layers there are up to the end of each stage
    least: int  # px a side of images of which the last layer still has a place


ALEXNET = Published(
    ((64, 11, 4, 2), (192, 5, 1, 2), (384, 3, 1, 1), (256, 3, 1, 1), (256, 3, 1, 1)),
    pooled_before=(1, 2),
    pooling=3,
    ends=(2, 5, 8, 10, 12),
    least=31,
)
VGG16 = Published(
    tuple((channels, 3, 1, 1) for channels in (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)),
    pooled_before=(2, 4, 7, 10),
    pooling=2,
    ends=(4, 9, 16, 23, 30),
    least=16,
)


class PublishedInput(nn.Module):
    """Images as a published network is shown them: grey in three equal channels, transparency over white, scaled."""

    def __init__(self) -> None:
        super().__init__()
        self.shift, self.scale = (nn.Buffer(torch.empty(1, 3, 1, 1)) for _ in range(2))

    def forward(self, x: Images) -> Float[Tensor, "B 3 H W"]:
        """Of 1 to 4 channels."""
        if x.shape[1] in (2, 4):
            x = 1 + (x[:, :-1] - 1) * (x[:, -1:] + 1) / 2
        return (x.expand(-1, 3, -1, -1) - self.shift) / self.scale


def read_lpips(path: Path, height: int, width: int) -> FeatureDistance:
    """LPIPS by the weights in a file, of images of this size."""
    tensors = read_named_tensors(path, WHAT).items()
    found = {name.replace("lins.", "lin", 1): tensor.float() for name, tensor in tensors}
    first = found.get("net.slice1.0.weight", torch.empty(0))
    published = ALEXNET if first.shape[2:] == (11, 11) else VGG16
    network = _weightless(published)
    for name, like in network.state_dict().items():
        got = found.get(name)
        if got is None or got.shape != like.shape or not is_finite(got):
            said = "none" if got is None else "numbers that are not finite" if got.shape == like.shape else [*got.shape]
            raise InputError(f"expected {path} to be {WHAT}, with {name} {[*like.shape]}, got {said}; {REMEDY}")
    if min(height, width) < published.least:
        raise InputError(
            f"expected images of at least {published.least} pixels a side for the network in {path}, got "
            f"{height}x{width}; set codec.perceptual_by filters"
        )
    network.load_state_dict(found, strict=False, assign=True)
    one, *others = network["net"].children()
    weights = [found[f"lin{i}.model.1.weight"][0] for i in range(len(published.ends))]
    return FeatureDistance([nn.Sequential(network["scaling_layer"], one), *others], weights)


def _weightless(published: Published) -> nn.ModuleDict:
    """The layers, named as in a file of their weights, on the device `meta`."""
    channels, layers, lasts = 3, list[nn.Module](), dict[str, nn.Module]()
    with torch.device("meta"):
        for number, (width, side, stride, padding) in enumerate(published.convolutions):
            layers += [nn.MaxPool2d(published.pooling, stride=2)] if number in published.pooled_before else []
            layers += [nn.Conv2d(channels, width, side, stride, padding), nn.ReLU()]
            channels = width
            if len(layers) in published.ends:
                model = nn.Sequential(nn.Identity(), nn.Conv2d(channels, 1, 1, bias=False))
                lasts[f"lin{len(lasts)}"] = nn.ModuleDict({"model": model})
        net = nn.ModuleDict()
        for number, (start, end) in enumerate(pairwise((0, *published.ends)), start=1):
            net[f"slice{number}"] = nn.Sequential()
            for layer in range(start, end):
                net[f"slice{number}"].add_module(str(layer), layers[layer])
        return nn.ModuleDict({"scaling_layer": PublishedInput(), "net": net, **lasts})
