"""A training step and a forward pass with every choice of the CPU path open: what the trainer does, as one record.

The defaults are the trainer's own choices. `choices` changes one at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.backends import mkldnn

from ancestral.condition import NOTHING_TOLD
from ancestral.diffusion.losses import squared_error
from ancestral.pipeline import Pipeline
from ancestral.training.ema import ExponentialAverage
from ancestral.training.loss import training_losses
from benchmarks.workloads import Workload

THREADS = torch.get_num_threads()
"""What torch chose for this machine."""


@dataclass(frozen=True)
class Recipe:
    """How a step is computed.

    Args:
        precision: "mixed-products" stores float32 and lets oneDNN multiply in bfloat16, without any cast in the graph.
        micro_batches: parts a batch is computed in, one after another.
        gradients: "kept" zeroes them in place, so that they are not allocated anew.
        threads: None: as many as torch chose.
    """

    precision: Literal["auto", "float32", "bfloat16", "mixed-products"] = "auto"
    memory: Literal["channels-last", "channels-first"] = "channels-last"
    optimizer: Literal["fused", "foreach", "one-by-one"] = "fused"
    average: Literal["foreach", "one-by-one"] = "foreach"
    gradients: Literal["freed", "kept"] = "freed"
    micro_batches: int = 1
    compiled: bool = False
    threads: int | None = None


def recipe_step(work: Workload, recipe: Recipe) -> Callable[[], None]:
    """One optimiser step of `work` as `recipe` says, on a batch in memory."""
    pipeline = _pipeline(work, recipe)
    network = pipeline.network.train()
    called: Any = torch.compile(network) if recipe.compiled else network
    optimizer, average = _optimizer(network, recipe), ExponentialAverage(network, 0.9999)
    parts = _laid_out(work.batch().to(pipeline.device), recipe).chunk(recipe.micro_batches)

    def loss(x0: Tensor) -> Tensor:
        t = torch.randint(1, pipeline.diffusion.num_timesteps + 1, (len(x0),))
        noised = pipeline.diffusion.noised(x0, t, torch.randn_like(x0))
        losses = training_losses(pipeline, called, noised, NOTHING_TOLD, squared_error)
        return losses.sum() / work.batch_size

    def step() -> None:
        _switch(recipe)
        for x0 in parts:
            torch.autograd.backward(loss(x0))
        nn.utils.clip_grad_norm_(network.parameters(), 1.0, foreach=True)
        optimizer.step()
        _move(average, network, recipe)
        optimizer.zero_grad(set_to_none=recipe.gradients == "freed")

    return step


@dataclass(frozen=True)
class ForwardRecipe:
    """How a network is called where no gradient is wanted.

    Args:
        weights: "bfloat16" stores them so, instead of casting them in every call.
        dropout: "removed" replaces its modules, which do nothing, by nothing.
        grad: which switch keeps torch from recording.
        batch: images of a call; None: the workload's. Values are per image.
    """

    precision: Literal["auto", "float32", "bfloat16", "mixed-products"] = "auto"
    memory: Literal["channels-last", "channels-first"] = "channels-last"
    weights: Literal["float32", "bfloat16"] = "float32"
    dropout: Literal["idle", "removed"] = "idle"
    grad: Literal["inference-mode", "no-grad"] = "inference-mode"
    batch: int | None = None
    threads: int | None = None


def recipe_forward(work: Workload, recipe: ForwardRecipe) -> Callable[[], None]:
    """One call of the network of `work` as `recipe` says."""
    pipeline = _pipeline(work, recipe)
    network = pipeline.network.eval()
    if recipe.dropout == "removed":
        _remove_dropout(network)
    dtype = torch.bfloat16 if recipe.weights == "bfloat16" else torch.float32
    network.to(dtype)
    x = _laid_out(torch.randn(recipe.batch or work.batch_size, *work.spec.shape, device=pipeline.device), recipe)
    time = torch.full((len(x),), 500, device=x.device)
    recording = torch.inference_mode if recipe.grad == "inference-mode" else torch.no_grad

    def forward() -> None:
        _switch(recipe)
        with recording(), pipeline.compute.autocast(pipeline.device):
            network(x.to(dtype), time)

    return forward


def _pipeline(work: Workload, recipe: Recipe | ForwardRecipe) -> Pipeline:
    """A fresh pipeline whose settings ask for the recipe's precision, in its memory format."""
    tree = work.config.model_dump()
    tree["compute"] |= {"precision": "float32" if recipe.precision == "mixed-products" else recipe.precision}
    pipeline = Pipeline.fresh(type(work.config).model_validate(tree), work.spec)
    pipeline.network.to(memory_format=_memory_format(recipe))  # type: ignore[call-overload]
    return pipeline


def _memory_format(recipe: Recipe | ForwardRecipe) -> torch.memory_format:
    return torch.channels_last if recipe.memory == "channels-last" else torch.contiguous_format


def _laid_out(x: Tensor, recipe: Recipe | ForwardRecipe) -> Tensor:
    return x.contiguous(memory_format=_memory_format(recipe))


def _switch(recipe: Recipe | ForwardRecipe) -> None:
    """Sets what torch keeps per process."""
    torch.set_num_threads(recipe.threads or THREADS)
    products = "bf16" if recipe.precision == "mixed-products" else "ieee"
    for operation in (mkldnn.conv, mkldnn.matmul):  # type: ignore[attr-defined]
        operation.fp32_precision = products


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    fused, foreach = recipe.optimizer == "fused", recipe.optimizer == "foreach"
    return torch.optim.Adam(network.parameters(), 1e-4, fused=fused, foreach=foreach)


@torch.no_grad()
def _move(average: ExponentialAverage, network: nn.Module, recipe: Recipe) -> None:
    if recipe.average == "foreach":
        average.update(zip(average.network.parameters(), network.parameters(), strict=True))
        return
    for mean, new in zip(average.network.parameters(), network.parameters(), strict=True):
        mean.lerp_(new, 1e-4)


def _remove_dropout(network: nn.Module) -> None:
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, nn.Identity())
