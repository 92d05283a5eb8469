"""The network that a widely read DDPM tutorial trains on MNIST, and how its scripts use it: float32, channels first.

Three levels down from 28x28 (32 -> 64 -> 128 -> 256 channels, the last without halving), a middle (256 -> 256 -> 128)
and three levels up (to 64, 32, 16). Every block holds two layers, and each layer is a residual pair of normalisation,
SiLU and convolution with the time added between, carried by a 1x1 convolution, then four-headed attention over all
pixels whose weights are written out. One skip a level: what went into the block on the way down.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS, MIDDLE, HALVES = (32, 64, 128, 256), (256, 256, 128), (True, True, False)
OUT_WIDTHS = (16, 32, 64)
LAYERS, HEADS, GROUPS, TIME_WIDTH = 2, 4, 8, 128
NUM_PARAMETERS = 10_188_081
NUM_TIMESTEPS = 1000
NAME = "teaching script, as published"


def norm_then_convolve(in_width: int, out_width: int) -> nn.Sequential:
    """Group norm, SiLU, 3x3 convolution."""
    return nn.Sequential(nn.GroupNorm(GROUPS, in_width), nn.SiLU(), nn.Conv2d(in_width, out_width, 3, padding=1))


class Residual(nn.Module):
    """Two convolutions with the time added between them; a 1x1 convolution carries the input, whatever its width."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.first = norm_then_convolve(in_width, out_width)
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(TIME_WIDTH, out_width))
        self.second = norm_then_convolve(out_width, out_width)
        self.carried = nn.Conv2d(in_width, out_width, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        return self.second(self.first(x) + self.time(time)[:, :, None, None]) + self.carried(x)


class Attention(nn.Module):
    """x + attention of its pixels, after a group norm; the weights (B, HW, HW) are materialised and returned too."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width)
        self.attention = nn.MultiheadAttention(width, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        pixels = self.norm(x.flatten(2)).transpose(1, 2)
        seen, _ = self.attention(pixels, pixels, pixels)
        return x + seen.transpose(1, 2).reshape(x.shape)


class Layers(nn.Module):
    """Residual and attention, `LAYERS` times."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.residuals = nn.ModuleList(Residual(width, out_width) for width in (in_width, *[out_width] * (LAYERS - 1)))
        self.attentions = nn.ModuleList(Attention(out_width) for _ in range(LAYERS))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        for residual, attention in zip(self.residuals, self.attentions, strict=True):
            x = attention(residual(x, time))
        return x


class Middle(nn.Module):
    """A residual, then attention and residual, `LAYERS` times."""

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.first = Residual(in_width, out_width)
        self.attentions = nn.ModuleList(Attention(out_width) for _ in range(LAYERS))
        self.residuals = nn.ModuleList(Residual(out_width, out_width) for _ in range(LAYERS))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(B, in, H, W) -> (B, out, H, W)."""
        x = self.first(x, time)
        for attention, residual in zip(self.attentions, self.residuals, strict=True):
            x = residual(attention(x), time)
        return x


class TeachingNetwork(nn.Module):
    """(B, 1, H, W) images and (B,) times -> (B, 1, H, W); H and W divisible by 4."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = nn.Conv2d(1, WIDTHS[0], 3, padding=1)
        self.time = nn.Sequential(nn.Linear(TIME_WIDTH, TIME_WIDTH), nn.SiLU(), nn.Linear(TIME_WIDTH, TIME_WIDTH))
        self.down = nn.ModuleList(Layers(*pair) for pair in pairwise(WIDTHS))
        self.shrink = nn.ModuleList(
            nn.Conv2d(width, width, 4, 2, 1) if halves else nn.Identity()
            for width, halves in zip(WIDTHS[1:], HALVES, strict=True)
        )
        self.middle = nn.ModuleList(Middle(*pair) for pair in pairwise(MIDDLE))
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(width, width, 4, 2, 1) if halves else nn.Identity()
            for width, halves in zip(WIDTHS[:-1], HALVES, strict=True)
        )
        self.up = nn.ModuleList(Layers(2 * skip, out) for skip, out in zip(WIDTHS[:-1], OUT_WIDTHS, strict=True))
        self.leave = norm_then_convolve(OUT_WIDTHS[0], 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """The predicted noise."""
        embedding, h, skips = self.time(embed(time)), self.enter(x), []
        for down, shrink in zip(self.down, self.shrink, strict=True):
            skips.append(h)
            h = shrink(down(h, embedding))
        for middle in self.middle:
            h = middle(h, embedding)
        for grow, up in zip(reversed(self.grow), reversed(self.up), strict=True):
            h = up(torch.cat([grow(h), skips.pop()], dim=1), embedding)
        return self.leave(h)


def embed(time: Tensor) -> Tensor:
    """[sin, cos] of t / 10000^(i / half), (B,) -> (B, TIME_WIDTH)."""
    half = TIME_WIDTH // 2
    angles = time[:, None].float() / 10000 ** (torch.arange(half, dtype=torch.float32, device=time.device) / half)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def built(device: str) -> TeachingNetwork:
    """The network, its size asserted."""
    torch.manual_seed(0)
    network = TeachingNetwork().to(device)
    assert sum(parameter.numel() for parameter in network.parameters()) == NUM_PARAMETERS
    return network


def training_step(network: TeachingNetwork, x0: Tensor) -> Callable[[], float]:
    """One step on a batch in memory, as its training script takes it: noise, loss, Adam at 1e-4, the loss read."""
    optimizer, (signal, noise) = torch.optim.Adam(network.parameters(), lr=1e-4), levels(x0.device)
    network.train()

    def step() -> float:
        optimizer.zero_grad()
        eps, t = torch.randn_like(x0), torch.randint(0, NUM_TIMESTEPS, (len(x0),), device=x0.device)
        x_t = signal[t][:, None, None, None] * x0 + noise[t][:, None, None, None] * eps
        loss = F.mse_loss(network(x_t, t), eps)
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.item()

    return step


def forward_pass(network: TeachingNetwork, x: Tensor) -> Callable[[], Tensor]:
    """A call of the network on `x` (B, 1, H, W) at t = 500, as its sampling script makes it."""
    network.eval()

    @torch.no_grad()
    def forward() -> Tensor:
        return network(x, torch.full((1,), 500, device=x.device))

    return forward


def sampling_step(network: TeachingNetwork, x: Tensor) -> Callable[[], Tensor]:
    """One of its 1000 steps for a whole batch, in the middle of the chain: predict, clip, mean, noise."""
    (signal, noise), t, predict = levels(x.device), NUM_TIMESTEPS // 2, forward_pass(network, x)
    beta = 1 - (signal[t] / signal[t - 1]) ** 2
    sigma = math.sqrt(float(beta * noise[t - 1] ** 2 / noise[t] ** 2))

    @torch.no_grad()
    def step() -> Tensor:
        eps = predict()
        _x0 = ((x - noise[t] * eps) / signal[t]).clamp(-1, 1)  # its script computes it for the pictures it saves
        mean = (x - beta * eps / noise[t]) / (1 - beta).sqrt()
        return mean + sigma * torch.randn_like(x)

    return step


def levels(device: torch.device) -> tuple[Tensor, Tensor]:
    """Signal and noise of its linear schedule, each (T,)."""
    alpha_bar = torch.cumprod(1 - torch.linspace(1e-4, 0.02, NUM_TIMESTEPS, device=device), dim=0)
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
