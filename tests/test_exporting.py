"""What is exported as ONNX answers and generates as torch does, whole, for anybody, and says nothing of where it was made."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from networks.test_autoencoder import randomised
from pipelines import SMALL, answering
from torch import Tensor

import ancestral_lite as lite
from ancestral.condition import Condition
from ancestral.errors import InputError
from ancestral.networks.autoencoder import Autoencoder
from ancestral.networks.graphs import network_graph
from ancestral.networks.interface import Backbone
from ancestral.networks.latents import LatentCodec, latent_codec
from ancestral.networks.rounding import rounded
from ancestral.pipeline import Pipeline
from ancestral.pipeline.exporting import exported
from ancestral.pipeline.folder import build_network
from ancestral.presets import PRESETS
from ancestral.selftest.samplers import KINDS
from ancestral.settings import AttributeSpec, Config, ImageSpec, SamplingSettings, TextSpec, merged
from ancestral.tokenizer import Tokenizer
from ancestral_lite.__main__ import main

SECRET = "/home/somebody/birds"
TOKENIZER = Tokenizer.learn(["a small red circle", "a large blue square", "a red square"], length=9)
BASE = Config(
    network=SMALL,
    data={"source": SECRET},
    training={"minutes": 1, "label_dropout": 0.1},
    sampling={"steps": 6},
    compute={"precision": "float32"},
)
TEXT = {"name": "learned", "width": 16, "layers": 1}
CROSS = {"widths": (8, 16), "layers": 1, "attention": (1,), "norm_groups": 4}
RELATIVES = {"time_conditioning": "scale-shift", "downsample_padding": "right-bottom", "head_width": 4, "stem": 4}
LEVELS = {"fourier": (5,), "output_rank": 4}
CLASSES = ("cat", "dog", "3")
AGE = (AttributeSpec(name="age", mean=40, std=10), AttributeSpec(name="smiling"))


def made(
    shape: tuple[int, int, int] = (1, 8, 8),
    codec: str | None = None,
    spec: dict[str, Any] | None = None,
    **changes: Any,
) -> Pipeline:
    """A pipeline that answers something; of latents, in half of the sides, rounded up."""
    config, tokenizer = merged(BASE, changes, "test"), TOKENIZER if "text" in changes else None
    images = ImageSpec(channels=shape[0], height=shape[1], width=shape[2], **(spec or {}))
    if codec is None:
        return answering(Pipeline.fresh(config, images, "cpu", tokenizer=tokenizer))
    own = {"name": codec, "widths": (8, 16), "channels": 4, "norm_groups": 4}
    of_latents = {"codec": own, "sampling": {"clip": "none"}, "diffusion": {"prediction": "x0"}}
    config = merged(config, of_latents, "test")
    autoencoder = randomised(Autoencoder(config.codec, shape[0]))  # type: ignore[arg-type]
    between = latent_codec(autoencoder, torch.linspace(-0.5, 0.5, 4).double(), torch.linspace(0.5, 2, 4).double())
    return answering(Pipeline.fresh(config, images, "cpu", codec=between, tokenizer=tokenizer))


MODELS: dict[str, Callable[[], Pipeline]] = {
    "classes": lambda: made(spec={"class_names": CLASSES}),
    "classes and attributes": lambda: made(
        (3, 8, 12),
        spec={"class_names": CLASSES, "attributes": AGE},
        network=RELATIVES,
        diffusion={"variance": "learned"},
        training={"loss": "hybrid"},
    ),
    "masked text": lambda: made(text={**TEXT, "masked": True}, network={**CROSS, "positions": True}),
    "levels": lambda: made(network=LEVELS, diffusion={"prediction": "levels", "time": "log-snr"}),
    "a transformer of latents": lambda: made(
        (3, 16, 23), "kl", {"class_names": CLASSES}, network={"name": "dit", "width": 16, "layers": 1, "heads": 2}
    ),
    "text in a codebook's latents": lambda: made((3, 16, 16), "vq", text=TEXT, network=CROSS),
}
ASKED: dict[str, dict[str, Any]] = {
    "classes and attributes": {"attributes": {"age": 55.0}},
    "masked text": {"prompts": ["a red square", "blue"]},
    "text in a codebook's latents": {"prompts": ["a large circle", "red"], "negative": "blue"},
}
HOW: dict[str, dict[str, Any]] = {
    "classes": {"guidance": 2.0, "negative": "dog", "sampler": "heun"},
    "classes and attributes": {"guidance": 2.0, "negative": "age=20", "sampler": "ancestral"},
    "masked text": {"guidance": 3.0, "guidance_rescale": 0.5},
    "a transformer of latents": {"guidance": 1.5, "sampler": "dpm++2m"},
    "text in a codebook's latents": {"guidance": 2.0, "negative": "blue"},
}
every_model = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Pipeline, Path]]:
    """Models by their names, exported once, and their folders."""

    @cache
    def export(name: str, bits: Any = 32) -> tuple[Pipeline, Path]:
        pipeline, folder = MODELS[name](), tmp_path_factory.mktemp("exported")
        settings = SamplingSettings(**{**pipeline.config.sampling.model_dump(), **HOW.get(name, {})})
        for file, content in exported(pipeline, settings, bits).items():
            folder.joinpath(file).write_bytes(content)
        return pipeline, folder

    return export


def told(pipeline: Pipeline, count: int) -> Condition:
    """Something of each of so many images, and nothing of some."""
    prompts = ["a red square", "small", "", "a blue circle"][: count if pipeline.tokenizer else 0]
    ages = [{"age": 31.0}, {}, {"age": 50, "smiling": 1}][: count if pipeline.spec.attributes else 0]
    labels = [i % 4 - 1 for i in range(count)] if pipeline.num_classes else None
    found = pipeline.condition(None, count, ages or None, prompts or None)
    return found if labels is None else found._replace(labels=torch.tensor(labels))


def answer(session: Any, x: Tensor, time: Tensor, rows: dict[str, Any]) -> np.ndarray:
    return session.run(None, {"x": x.numpy(), "time": time.numpy(), **rows})[0]


@every_model
def test_the_answer_is_torchs_for_any_number_of_images_of_any_size(
    name: str, exports: Callable[..., tuple[Pipeline, Path]]
) -> None:
    """Trap: the number of images, or of pixels, that a graph was traced with stays in it."""
    pipeline, folder = exports(name)
    session, noise = onnxruntime.InferenceSession(folder / "model.onnx"), torch.Generator().manual_seed(1)
    channels, height, width = pipeline.latent_shape
    for count, h, w in ((1, height, width), (3, height, width), (16, height, width), (2, height + 6, width + 2)):
        x, time = torch.randn(count, channels, h, w, generator=noise), torch.rand(count, generator=noise) * 900
        condition, rows = told(pipeline, count), {}
        if condition.tokens is not None:
            text = onnxruntime.InferenceSession(folder / "text.onnx")
            rows = dict(zip(("states", "tokens"), text.run(None, {"tokens": condition.tokens.numpy()}), strict=False))
        rows |= {
            kind: getattr(condition, kind).numpy()
            for kind in ("labels", "attributes")
            if getattr(condition, kind) is not None
        }
        with torch.inference_mode():
            expected = pipeline.network.eval()(x, time, condition).numpy()
        assert expected.std() > 0.05
        assert np.abs(answer(session, x, time, rows) - expected).max() < 2e-5


@every_model
def test_a_seed_gives_the_pipelines_image(name: str, exports: Callable[..., tuple[Pipeline, Path]]) -> None:
    pipeline, folder = exports(name)
    model, asked, seeds = lite.Model(folder), ASKED.get(name, {}), (3, 17, 2**40)
    settings = SamplingSettings(**{**pipeline.config.sampling.model_dump(), **HOW.get(name, {})})
    condition = pipeline.condition(
        [0, 1, 2] if pipeline.num_classes else None, 3, asked.get("attributes"), asked.get("prompts")
    )
    *_, ours = pipeline.steps(seeds, condition, settings)
    *_, theirs = model.steps(seeds, model.asked(3, **asked))
    assert float(ours.x_s.std()) > 0.1
    assert np.abs(theirs.x_s - ours.x_s.numpy()).max() < 1e-4
    pixels = model.pixels(theirs.x_s).astype(int)
    assert pixels.shape == (3, *pipeline.spec.shape)
    assert np.abs(pixels - pipeline.decode(ours.x_s).numpy()).max() <= 1
    assert model.apart()["noise"] < 1e-6 and model.apart()["output"] < 2e-5
