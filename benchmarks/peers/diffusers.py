"""diffusers' UNet2DModel with our weights, stepped as its unconditional training script does, and at its best.

As its script runs: float32, channels first, AdamW and the averaged weights as torch and diffusers default to. At its
best: the same program with the switches a careful user has: bfloat16 autocast where the machine computes in it,
channels-last memory, the fused optimiser, the average by `foreach`. Neither loads any data: the batch is in memory.
"""

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ancestral.compute import computes_in_bfloat16
from ancestral.pipeline import Pipeline


@dataclass(frozen=True)
class Manner:
    """How the peer is run."""

    name: str
    at_its_best: bool

    def precision(self, device: torch.device) -> str:
        """What its products are computed in on `device`."""
        return "bfloat16" if self.at_its_best and computes_in_bfloat16(device.type) else "float32"

    def autocast(self, device: torch.device) -> torch.autocast:
        """bfloat16 where it is used, else nothing."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision(device) == "bfloat16")

    def laid_out(self, x: Tensor) -> Tensor:
        """`x` in the memory format of this manner."""
        return x.contiguous(memory_format=torch.channels_last if self.at_its_best else torch.contiguous_format)


SCRIPT = Manner("diffusers, as its script runs", at_its_best=False)
BEST = Manner("diffusers, at its best", at_its_best=True)
MANNERS = (SCRIPT, BEST)


def unet(pipeline: Pipeline, manner: Manner) -> nn.Module:
    """diffusers' network with the weights of `pipeline`, read from the folder that `pipeline` saves."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import UNet2DModel

        pipeline.save(Path(folder) / "pipeline")
        network = UNet2DModel.from_pretrained(Path(folder) / "pipeline" / "unet", low_cpu_mem_usage=False)
    format = torch.channels_last if manner.at_its_best else torch.contiguous_format
    return network.to(pipeline.device, memory_format=format)


def call(network: Any, x: Tensor, time: Tensor) -> Tensor:
    """Its network's output, (B, C, H, W)."""
    return network(x, time).sample


def forward_pass(network: nn.Module, x: Tensor, manner: Manner) -> Callable[[], Tensor]:
    """A call of the network on `x` (B, C, H, W) at t = 500."""
    network.eval()
    x, time = manner.laid_out(x), torch.full((len(x),), 500, device=x.device)

    @torch.inference_mode()
    def forward() -> Tensor:
        with manner.autocast(x.device):
            return call(network, x, time).float()

    return forward


def training_step(network: nn.Module, x0: Tensor, manner: Manner) -> Callable[[], float]:
    """One step on a batch in memory: noise, loss, backward, clip, AdamW, learning rate, average, the loss read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import DDPMScheduler
        from diffusers.training_utils import EMAModel

    network.train()
    x0, process, parameters = manner.laid_out(x0), DDPMScheduler(1000), [*network.parameters()]
    fused = {"fused": True} if manner.at_its_best else {}
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8, **fused)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, step / 500))
    average = EMAModel(parameters, decay=0.9999, use_ema_warmup=True, foreach=manner.at_its_best)

    def step() -> float:
        eps = torch.randn_like(x0)
        t = torch.randint(0, 1000, (len(x0),), device=x0.device)
        with manner.autocast(x0.device):
            output = call(network, process.add_noise(x0, eps, t), t)
        loss = F.mse_loss(output.float(), eps)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
        average.step(parameters)
        return loss.item()

    return step


def sampling_steps(network: nn.Module, x: Tensor, manner: Manner, chain: int, steps: int) -> Callable[[], Tensor]:
    """The first `steps` of a chain of `chain` timesteps, as its pipelines take them.

    Its script draws by DDPM, the sampler of its DDPMPipeline; at its best, deterministically by DDIM.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from diffusers import DDIMScheduler, DDPMScheduler

    network.eval()
    sampler = DDIMScheduler(1000) if manner.at_its_best else DDPMScheduler(1000)
    sampler.set_timesteps(chain)
    x = manner.laid_out(x)

    @torch.inference_mode()
    def run() -> Tensor:
        x_t = x
        for t in sampler.timesteps[:steps]:
            with manner.autocast(x.device):
                output = call(network, x_t, t).float()
            x_t = sampler.step(output, t, x_t).prev_sample
        return x_t

    return run
