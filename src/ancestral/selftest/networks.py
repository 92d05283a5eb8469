"""What a network must satisfy before it has learned anything: its size, its first output, what it hears of time."""

import torch

from ancestral.config import NetworkSettings
from ancestral.networks.layers import sinusoids
from ancestral.networks.unet import UNet
from ancestral.presets import PRESETS
from ancestral.selftest.checks import Check, apart
from ancestral.selftest.oracles import double

SMALL = NetworkSettings(widths=(8, 16), layers=1, attention=(1,), norm_groups=4)


def waves(device: torch.device) -> float:
    """Sinusoids of t = 1 and 1000, width 4: frequencies 1 and 1e-4, or with shift 0 1 and 1e-2; numbers from tables."""
    time = torch.tensor([1.0, 1000.0], device=device)
    shifted = sinusoids(time, 4, "sin-cos", 1).double()
    plain = sinusoids(time[:1], 4, "cos-sin", 0).double()
    wanted = double(0.8414709848, 1e-4, 0.5403023059, 0.999999995, device=device)
    late = double(0.8268795405, 0.0998334166, 0.5623790763, 0.9950041653, device=device)
    other = double(0.5403023059, 0.9999500004, 0.8414709848, 0.0099998333, device=device)
    return apart(shifted, torch.stack([wanted, late])) + apart(plain, other[None])


def network(device: torch.device) -> UNet:
    """A small U-Net for grey images, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet(SMALL, 1, 2).to(device).eval()


@torch.no_grad()
def starts_at_zero(device: torch.device) -> float:
    """The first output, for any image and time: 0, so that the first loss of eps is 1."""
    x = torch.linspace(-1, 1, 98, device=device).reshape(2, 1, 7, 7)
    return apart(network(device)(x, torch.tensor(500.0, device=device)), 0.0)


@torch.no_grad()
def alone_as_in_a_batch(device: torch.device) -> float:
    """With weights that say something: an image's output alone and in a batch, each at its own time; float64."""
    unet, random = network(torch.device("cpu")).double(), torch.Generator().manual_seed(0)
    for weight in unet.parameters():
        weight.normal_(std=0.2, generator=random)
    unet.to(device)
    x = torch.linspace(-1, 1, 3 * 49, device=device, dtype=torch.float64).sin().reshape(3, 1, 7, 7)
    times = torch.tensor([0.0, 500.0, 999.0], device=device)
    together, alone = unet(x, times), torch.cat([unet(x[i : i + 1], times[i : i + 1]) for i in range(3)])
    said = float((together[0] - unet(x[:1], times[1:2])[0]).abs().max())
    return apart(together, alone) if said > 1e-6 else float("nan")


def published_size(_: torch.device) -> float:
    """Parameters of the DDPM paper's CIFAR-10 network beside 35,746,307; counted without memory for them."""
    with torch.device("meta"):
        unet = UNet(PRESETS["ddpm-cifar10"]().network, 3, 3)
    return float(abs(sum(weight.numel() for weight in unet.parameters()) - 35_746_307))


CHECKS = (
    Check("sinusoids of time, from tables", 2e-6, waves),
    Check("a new network answers 0", 0, starts_at_zero),
    Check("an image alone as in a batch, told of its time", 1e-12, alone_as_in_a_batch),
    Check("the DDPM paper's network has 35,746,307 parameters", 0, published_size),
)
