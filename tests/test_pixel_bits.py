"""The bits of a likelihood model, taken apart by pixel and noise."""

import pytest
import torch

from ancestral.pipeline import Pipeline
from ancestral.rng import generator
from ancestral.settings import Config, ImageSpec, merged
from benchmarks.pixel_bits import edges_of, integrand, masks

CHANGES = {
    "diffusion": {"prediction": "levels", "time": "log-snr", "schedule": {"name": "log-snr", "log_snr_max": 14.0}},
    "network": {"widths": [8], "layers": 1, "attention": [], "norm_groups": 4, "output_rank": 4},
    "training": {"loss": "continuous"},
}


def test_an_ignorant_network_pays_eight_bits_for_every_pixel_of_every_class() -> None:
    """It says that all levels are as likely, so the integral over all noise is log2 256 (I-MMSE)."""
    pipeline = Pipeline.fresh(merged(Config(), CHANGES, "the test"), ImageSpec(channels=1, height=8, width=8), "cpu")
    pixels = torch.randint(0, 256, (60, 1, 8, 8), generator=generator(0, "pixels")).to(torch.uint8)
    edges = edges_of(pipeline)
    bits = integrand(pipeline, pixels, edges)
    assert edges == pytest.approx([-5.0, 2.0, 4.0, 6.0, 8.0, 10.0, 14.0]) and bits.shape == (3, 6)
    assert float(bits.sum()) == pytest.approx(8, abs=0.25)
    grey = masks(pixels)["edge, 1 to 249"].double().mean()
    assert float(bits[1].sum()) / float(grey) == pytest.approx(8, abs=0.25)
    assert sum(mask.double().mean() for mask in masks(pixels).values()) == pytest.approx(1)
