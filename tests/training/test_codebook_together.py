"""Processes that each see other images keep one codebook. What has no `test_` is what every process runs (ranks.py)."""

from pathlib import Path
from typing import Any

import torch
from ranks import in_processes

from ancestral.networks.quantizer import Quantizer
from ancestral.processes import Processes

IMAGES = 6


def codes_of(processes: Processes, folder: Path) -> dict[str, list[list[float]]]:
    """The codes after a start, an update and a revival, of this process's images."""
    z = torch.randn(IMAGES, 2, 5, 5, generator=torch.Generator().manual_seed(0))[processes.local_slice(IMAGES)]
    quantizer, draws, found = Quantizer(7, 2, 0.5), torch.Generator().manual_seed(1), {}
    quantizer.start(z, draws)
    found["start"] = quantizer.embedding.weight.tolist()
    quantizer.take(torch.arange(14.0).reshape(7, 2) / 7 - 1)
    quantizer.update(z, quantizer.indices(z))
    found["update"] = quantizer.embedding.weight.tolist()
    quantizer.counts[2] = 0
    quantizer.revive(z, draws)
    found["revive"] = quantizer.embedding.weight.tolist()
    return found


def test_a_codebook_is_that_of_all_images_in_every_process(tmp_path: Path) -> None:
    """Trap: counts of one's own images, or draws of one's own, and codebooks drift apart without a word."""
    one, other = in_processes(2, codes_of, tmp_path)
    assert one == other
    alone: dict[str, Any] = codes_of(Processes(), tmp_path)
    torch.testing.assert_close(torch.tensor(one["update"]), torch.tensor(alone["update"]))
    assert one["revive"][2] != one["update"][2]
