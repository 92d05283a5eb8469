"""A whole denoising diffusion model on one page: Ho et al. 2020 on handwritten digits, out of this package's parts.

    python examples/ddpm.py --steps 1500 --out ddpm.png

A network learns to tell the noise eps that was mixed into an image,

    x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps,                                   (1)

at any noise level t, 1 (hardly any) to T (hardly anything else). To generate, it predicts again and again what of x_t
is noise, starting from noise alone, and a little of that is removed each time.

`ancestral train` does the same and more: it averages weights, resumes, measures; see docs/reading.md.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from ancestral.data.datasets import load
from ancestral.diffusion.schedules import Schedule, linear
from ancestral.networks.unet import UNet
from ancestral.settings import DataSettings, UNetSettings
from ancestral.tensors import from_pixels, to_pixels
from ancestral.viz.pictures import grid, save_png

BATCH_SIZE = 64


def digits() -> Tensor:
    """(N, 1, 8, 8) images of handwritten digits, in [-1, 1]."""
    pixels = load(DataSettings(source="digits")).train.images
    return from_pixels(torch.tensor(pixels)).permute(0, 3, 1, 2)


def training(network: nn.Module, schedule: Schedule, images: Tensor, steps: int, lr: float) -> None:
    """Algorithm 1."""
    optimizer = torch.optim.Adam(network.parameters(), lr)
    for step in range(1, steps + 1):
        x_0 = images[torch.randint(len(images), (BATCH_SIZE,))]
        t = torch.randint(1, schedule.num_timesteps + 1, (BATCH_SIZE,))
        eps = torch.randn_like(x_0)
        x_t = schedule.alpha(t, x_0) * x_0 + schedule.sigma(t, x_0) * eps
        loss = (eps - network(x_t, t.float())).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0 or step == steps:
            print(f"step {step:5}  loss {loss.item():.4f}", flush=True)


@torch.inference_mode()
def sampling(network: nn.Module, schedule: Schedule, shape: tuple[int, ...]) -> Tensor:
    """Algorithm 2: (B, C, H, W) images in [-1, 1], from noise.

    With alpha_t = 1 - beta_t, and the variance beta_t of the paper's two:

        x_(t-1) = (x_t - beta_t / sqrt(1 - alpha_bar_t) eps(x_t, t)) / sqrt(alpha_t) + sqrt(beta_t) z
    """
    x = torch.randn(shape)
    for t in range(schedule.num_timesteps, 0, -1):
        z = torch.randn(shape) if t > 1 else torch.zeros(shape)
        beta = schedule.betas[t - 1].item()
        eps = network(x, torch.full((len(x),), float(t)))
        mean = (x - beta / schedule.sigma(torch.tensor(t), x) * eps) / (1 - beta) ** 0.5
        x = mean + beta**0.5 * z
    return x


def main() -> None:
    parser = argparse.ArgumentParser(description="Train a denoising diffusion model on digits, and generate some.")
    parser.add_argument("--steps", type=int, default=1500, help="of training [1500, about two minutes]")
    parser.add_argument("--timesteps", type=int, default=200, help="T [200]")
    parser.add_argument("--width", type=int, default=32, help="channels of the network's first level [32]")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate [0.001]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("ddpm.png"))
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    schedule, images = linear(args.timesteps), digits()
    settings = UNetSettings(widths=(args.width, 2 * args.width), layers=1, attention=(1,), norm_groups=8)
    network = UNet(settings, in_channels=1, out_channels=1)
    training(network, schedule, images, args.steps, args.lr)
    generated = sampling(network.eval(), schedule, (40, *images.shape[1:]))
    save_png(grid(to_pixels(generated), columns=10), args.out)
    print(f"samples: {args.out}")


if __name__ == "__main__":
    main()
