"""The text encoder while a network is trained."""

from pathlib import Path

import pytest
import torch
from runs import run_all, tiny
from safetensors.torch import load_file

from ancestral.training.checkpoint import load_checkpoint, newest_checkpoint


def test_the_average_is_of_the_text_encoder_too(tmp_path: Path) -> None:
    """Trap 38: averaged weights of the image network beside the encoder's last ones fit together nowhere."""
    text = {"name": "learned", "width": 16, "layers": 1, "length": 8}
    run_all(tiny({"text": text, "network": {"middle_attention": True}}), tmp_path)
    newest = newest_checkpoint(tmp_path / "checkpoints", pytest.fail)
    assert newest is not None
    tensors, _ = load_checkpoint(newest)
    saved = load_file(tmp_path / "pipeline/text_encoder/model.safetensors")
    saved |= load_file(tmp_path / "pipeline/unet/diffusion_pytorch_model.safetensors")
    for name in tensors["model"]:
        assert torch.equal(saved[name.removeprefix("text_encoder.")], tensors["ema"][name])
    trained = "text_encoder.text_model.embeddings.position_embedding.weight"
    assert not torch.equal(tensors["model"][trained], tensors["ema"][trained])
