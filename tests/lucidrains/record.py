"""Records what denoising-diffusion-pytorch says of networks with random weights, and a milestone that it trained.

    python tests/lucidrains/record.py

writes the files beside this one. They were recorded with version 2.3.4, which the package does not depend on; it wants
torchvision. Weights and noise are drawn by NumPy's RandomState, whose numbers never change, so that files hold the
shapes of weights and no weights: metadata; the tables of the process; and for two images

    output     of the network at T and at T // 3 + 1, x from source 2
    chain      x after half of all T steps and after the last, clipped, x_T from source 5 and noise from source 4
    loss       of each, of pixels from source 1 and noise from source 3, at the same times; not with learned variances
"""

import gzip
import json
import math
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

FOLDER = Path(__file__).parent
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "v": {
        "unet": {"dim": 16, "init_dim": 24, "dim_mults": (1, 2, 2), "attn_heads": 2, "attn_dim_head": 8,
                 "full_attn": (False, True, True)},
        "process": {"image_size": 16, "timesteps": 25},
    },
    "eps": {
        "unet": {"dim": 8, "dim_mults": (1, 2, 4), "channels": 1, "attn_heads": 3, "attn_dim_head": 4,
                 "flash_attn": True},
        "process": {"image_size": 8, "timesteps": 8, "beta_schedule": "cosine", "objective": "pred_noise",
                    "min_snr_loss_weight": True},
    },
    "x0": {
        "unet": {"dim": 8, "dim_mults": (2,)},
        "process": {"image_size": 6, "timesteps": 50, "beta_schedule": "linear", "objective": "pred_x0"},
    },
    "learned": {
        "unet": {"dim": 8, "dim_mults": (1, 2), "attn_heads": 2, "attn_dim_head": 8, "learned_variance": True},
        "process": {"image_size": 8, "timesteps": 12, "schedule_fn_kwargs": {"tau": 0.7}},
    },
}  # fmt: skip
TRAINED = {
    "unet": {"dim": 4, "dim_mults": (1,), "channels": 1, "attn_heads": 1, "attn_dim_head": 4},
    "process": {"image_size": 8, "timesteps": 10},
}


def normal(source: np.random.RandomState, *shape: int) -> Tensor:
    return torch.from_numpy(source.standard_normal(math.prod(shape)).reshape(shape).astype(np.float32))


def weights(shapes: dict[str, list[int]], seed: int = 0) -> dict[str, Tensor]:
    """Weights of these shapes, in the order of their names: normal, of variance 1 over what a number is made of; what
    multiplies a norm near 1."""
    source, tensors = np.random.RandomState(seed), {}
    for name, shape in sorted(shapes.items()):
        values = normal(source, *shape)
        if name.endswith(".g"):
            values = 1 + 0.1 * values
        elif not name.endswith(".mem_kv"):
            values = values * (0.1 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5)
        tensors[name] = values
    return tensors


def pixels(source: np.random.RandomState, *shape: int) -> Tensor:
    """Images in [-1, 1]."""
    return torch.from_numpy((source.randint(0, 256, size=shape) / 127.5 - 1).astype(np.float32))


def process_of(unet: dict[str, Any], process: dict[str, Any]) -> Any:
    from denoising_diffusion_pytorch import GaussianDiffusion, LearnedGaussianDiffusion, Unet

    kind = LearnedGaussianDiffusion if unet.get("learned_variance") else GaussianDiffusion
    return kind(Unet(**unet), **process).eval()


@torch.no_grad()
def results(process: Any) -> dict[str, Tensor]:
    T, shape = process.num_timesteps, (2, process.channels, *process.image_size)
    times = torch.tensor([T, T // 3 + 1]) - 1
    found = {"output": process.model(normal(np.random.RandomState(2), *shape), times)}
    source, x, chain = np.random.RandomState(4), normal(np.random.RandomState(5), *shape), []
    with patch("torch.randn_like", lambda like: normal(source, *like.shape)):
        for t in reversed(range(T)):
            x, _ = process.p_sample(x, t)
            chain.append(x)
    found["chain"] = torch.stack([chain[T // 2 - 1], chain[-1]])
    if process.model.out_dim == process.channels:
        x0, noise = pixels(np.random.RandomState(1), *shape), normal(np.random.RandomState(3), *shape)
        found["loss"] = process.p_losses(x0, times, noise=noise, loss_reduction="none")
    return found


def record(name: str) -> None:
    process = process_of(**CASES[name])
    shapes = {each: [*tensor.shape] for each, tensor in process.model.state_dict().items()}
    process.model.load_state_dict(weights(shapes))
    tables = {each: tensor for each, tensor in process.state_dict().items() if not each.startswith("model.")}
    found = {each: tensor.clone() for each, tensor in (results(process) | tables).items()}
    save_file(found, FOLDER / f"{name}.safetensors", {"shapes": json.dumps(shapes, separators=(",", ":"))})


def record_trained() -> None:
    """A milestone as the program writes it, a few steps after its average was taken."""
    from denoising_diffusion_pytorch import Trainer

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as place:
        images, made = Path(place) / "images", Path(place) / "results"
        images.mkdir()
        for n, each in enumerate(np.random.RandomState(0).randint(0, 256, (100, 8, 8), dtype=np.uint8)):
            Image.fromarray(each).save(images / f"{n}.png")
        settings = {"train_num_steps": 4, "save_and_sample_every": 4, "num_samples": 1, "train_lr": 1e-2}
        trainer = Trainer(process_of(**TRAINED), images, results_folder=made, calculate_fid=False, **settings)
        trainer.train()
        (FOLDER / "model-1.pt.gz").write_bytes(gzip.compress((made / "model-1.pt").read_bytes(), mtime=0))
    save_file(results(trainer.ema.ema_model.eval()), FOLDER / "trained.safetensors")


if __name__ == "__main__":
    for case in CASES:
        record(case)
    record_trained()
