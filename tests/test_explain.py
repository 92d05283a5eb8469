"""Laws of what `show training-step` and `show sampling-step` tell: the numbers are those of training and sampling."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pipelines import answering, untrained

from ancestral.cli.main import main
from ancestral.condition import NOTHING_TOLD
from ancestral.data.loader import Batch
from ancestral.diffusion.timesteps import SampledTimesteps
from ancestral.errors import InputError
from ancestral.jobs.events import FileEvent, ResultEvent
from ancestral.jobs.explain import explain
from ancestral.jobs.explain_settings import SamplingStepSettings, StepSettings, TrainingStepSettings
from ancestral.pipeline import Pipeline
from ancestral.rng import ImageNoise
from ancestral.settings import SamplingSettings
from ancestral.tensors import from_pixels
from ancestral.training.denoiser import Denoising
from ancestral.training.randomness import Randomness

T = 50
RGB = (3, 8, 8)


def small(
    prediction: str = "v",
    classes: tuple[str, ...] = (),
    diffusion: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
) -> Pipeline:
    schedule = {"name": "cosine" if prediction != "flow" else "rectified", "num_timesteps": T}
    changes = {
        "diffusion": {"schedule": schedule, "prediction": prediction, **(diffusion or {})},
        "training": {"minutes": 1, "label_dropout": 0.1, **(training or {})},
        "compute": {"precision": "float32"},
    }
    return answering(untrained(RGB, classes, changes))


def explained(job: StepSettings, pipeline: Pipeline) -> dict[str, Any]:
    events = [*explain(job, lambda *_: pipeline)]
    assert isinstance(events[-1], ResultEvent)
    return events[-1].tree


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def x0_of(photo: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(photo)).copy()).permute(2, 0, 1)[None]


LOSSES: dict[str, dict[str, Any]] = {
    "eps": {"prediction": "eps"},
    "x0": {"prediction": "x0", "training": {"weighting": "min-snr"}},
    "v": {"prediction": "v", "training": {"weighting": "min-snr", "min_snr_gamma": 2.0}},
    "flow": {"prediction": "flow"},
    "levels": {"prediction": "levels", "training": {"loss": "vlb"}},
    "hybrid": {"prediction": "eps", "diffusion": {"variance": "learned"}, "training": {"loss": "hybrid"}},
    "continuous": {
        "prediction": "eps",
        "diffusion": {"time": "log-snr", "schedule": {"name": "log-snr", "num_timesteps": T}},
        "training": {"loss": "continuous"},
    },
}


@pytest.mark.parametrize("name", LOSSES)
def test_a_training_step_is_that_of_training(name: str, photo: Path) -> None:
    pipeline, t, seed = small(**LOSSES[name]), 13, 4
    found = explained(TrainingStepSettings(run="r", image=photo, t=t, seed=seed, pixel=(2, 5)), pipeline)

    one, eps = torch.ones(1, dtype=torch.float64), ImageNoise([seed], RGB)()
    random = Randomness(SampledTimesteps(torch.tensor([t]), one, one * 0), eps, torch.tensor([False]))
    batch = Batch(x0_of(photo), NOTHING_TOLD, torch.tensor([0]))
    with torch.no_grad():
        losses, weights = Denoising(pipeline).losses(pipeline.network, batch, random)
    assert found["loss"]["value"] == pytest.approx(float(losses), rel=2e-4)
    assert found["loss"]["weight"] == pytest.approx(float(weights), rel=1e-6)
    assert found["loss"]["weighted"] == found["loss"]["value"] * found["loss"]["weight"]
    if found["loss"]["name"] == "simple":
        assert found["loss"]["value"] == pytest.approx(found["squared_error"], abs=0)

    pixel = {key: np.array(value) for key, value in found["pixel"].items()}
    alpha, sigma = found["level"]["alpha"], found["level"]["sigma"]
    assert alpha**2 + sigma**2 == pytest.approx(1, abs=1e-15)
    assert pixel["x0"] == pytest.approx(from_pixels(x0_of(photo))[0, :, 2, 5].double().numpy(), abs=0)
    assert pixel["eps"] == pytest.approx(eps[0, :, 2, 5].double().numpy(), abs=0)
    assert pixel["x_t"] == pytest.approx(alpha * pixel["x0"] + sigma * pixel["eps"], abs=1e-15)
    estimated = alpha * pixel["x0_estimate"] + sigma * pixel["eps_estimate"]
    assert estimated == pytest.approx(pixel["x_t"], abs=1e-12)
    assert pixel["squared_error"] == pytest.approx((pixel["target"] - pixel["output"]) ** 2, abs=1e-15)
    assert float(np.abs(pixel["output"]).max()) > 0, "the network answers something"


SAMPLERS: dict[str, dict[str, Any]] = {
    "ancestral": {"variance": "beta"},
    "ddim": {"eta": 0.5},
    "dpm++2m-sde": {},
    "heun": {},
    "dpm++3s": {},
    "dpm++3m": {},
    "unipc-3": {},
    "deis-4": {},
    "ipndm-4": {},
}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_terms_add_up_to_the_step_of_the_sampler(sampler: str) -> None:
    pipeline, seed = small(classes=("a", "b")), 7
    settings = {"sampler": sampler, "steps": 7, "guidance": 2.0, **SAMPLERS[sampler]}
    steps = [*pipeline.steps([seed], ["b"], SamplingSettings(**settings))]
    for number in (1, 2, 5, 7):
        job = SamplingStepSettings(run="r", sampling=settings, seed=seed, classes="b", step=number, pixel=(6, 1))
        found, step = explained(job, pipeline), steps[number - 1]
        assert (found["level"]["t"], found["next_level"]["t"]) == (step.t, step.s)
        for name, state in (("x_t", step.x_t), ("x0", step.x0), ("x_s", step.x_s)):
            assert found["pixel"][name] == state[0, :, 6, 1].double().tolist(), "the very numbers of the pipeline"
        added = sum(term["factor"] * np.array(term["value"]) for term in found["terms"])
        scale = max(abs(term["factor"]) * max(1, *np.abs(term["value"])) for term in found["terms"])
        assert added == pytest.approx(found["pixel"]["x_s"], abs=2e-6 * scale)
        for call in found["calls"]:
            at = sum(term["factor"] * np.array(term["value"]) for term in call["terms"])
            assert at == pytest.approx(call["x"], abs=2e-5)
        assert all(abs(each) <= 1 for each in found["calls"][0]["x0"])
    chain = found["chain"]
    assert chain["t"] == [*(step.t for step in steps), 0]
    assert chain["x_t"][:-1] == [step.x_t[0, :, 6, 1].double().tolist() for step in steps]
    assert chain["x0"][-1] == steps[-1].x_s[0, :, 6, 1].double().tolist()
    unclipped, clipped = np.array(chain["x0_unclipped"]), np.array(chain["x0"])
    assert np.abs(unclipped).max() > 1, "something is clipped"
    assert clipped[:-1] == pytest.approx(unclipped[:-1].clip(-1, 1), abs=0)


def test_an_ancestral_step_draws_from_the_posterior() -> None:
    """Its own factors are those of q(x_s | x_t, x_0), and its noise has that variance."""
    settings = {"sampler": "ancestral", "steps": 10}
    found = explained(SamplingStepSettings(run="r", sampling=settings, step=4), small())
    factors = {term["of"]: term["factor"] for term in found["terms"]}
    posterior = found["posterior"]
    assert factors["x"] == pytest.approx(posterior["from_x_t"], rel=1e-12)
    assert factors["x0.0"] == pytest.approx(posterior["from_x0"], rel=1e-12)
    assert factors["noise"] ** 2 == pytest.approx(posterior["variance"], rel=1e-12)
    mean = posterior["from_x0"] * np.array(found["pixel"]["x0"]) + posterior["from_x_t"] * np.array(
        found["pixel"]["x_t"]
    )
    assert posterior["mean"] == pytest.approx(mean, abs=1e-15)


def test_a_learned_variance_gives_each_channel_a_factor_of_its_own() -> None:
    learned = {"diffusion": {"variance": "learned"}, "training": {"loss": "hybrid"}}
    pipeline, settings = small(**learned), {"sampler": "ancestral", "steps": 10}
    found = explained(SamplingStepSettings(run="r", sampling=settings, step=4), pipeline)
    assert len({*found["terms"][-1]["factor"]}) == 3
    added = sum(np.array(term["factor"]) * np.array(term["value"]) for term in found["terms"])
    assert added == pytest.approx(found["pixel"]["x_s"], abs=2e-6)


def test_a_clipped_step_says_what_the_network_said() -> None:
    """The output is that before clipping: x0 = alpha x_t - sigma v, whatever the sampler is given."""
    found = explained(SamplingStepSettings(run="r", sampling={"steps": 10, "clip": "dynamic"}, step=2), small())
    call, level = found["calls"][0], found["level"]
    x0 = level["alpha"] * np.array(call["x"]) - level["sigma"] * np.array(call["output"])
    assert call["x0_unclipped"] == pytest.approx(x0, abs=1e-5)
    assert call["x0"] != call["x0_unclipped"]


def test_a_generated_image_is_the_pipelines(tmp_path: Path) -> None:
    pipeline = small(classes=("a", "b"))
    job = TrainingStepSettings(run="r", generated=9, classes="b", pixel=(0, 0), out=tmp_path / "step")
    events = [*explain(job, lambda *_: pipeline)]
    pixels = pipeline.generate([9], ["b"])
    assert events[-1].tree["pixel"]["x0"] == from_pixels(pixels)[0, :, 0, 0].double().tolist()
    assert events[-1].tree["class"] == "b"
    files = [event.file for event in events if isinstance(event, FileEvent)]
    assert [file.stem for file in files] == [*TrainingStepSettings.pictures]
    assert np.array_equal(np.asarray(Image.open(files[0])), pixels[0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    ("job", "said"),
    [
        (TrainingStepSettings(run="r", t=T + 1), f"--t in 1..{T}, got 51"),
        (TrainingStepSettings(run="r", pixel=(8, 0)), "--pixel ROW,COLUMN of at most 7,7, got 8,0"),
        (SamplingStepSettings(run="r", step=4, sampling={"steps": 3}), "--step in 1..3, got 4"),
    ],
)
def test_what_is_not_there_is_refused(job: StepSettings, said: str) -> None:
    with pytest.raises(InputError, match=said.replace(".", r"\.")):
        explained(job, small())


def test_the_command_line_tells_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a held-out image of a run, whose class the network is told."""
    run = tmp_path / "run"
    tiny = ["--network.widths", "8", "--network.layers", "1", "--network.attention", "--network.norm_groups", "4"]
    assert (
        main(["train", "digits", *tiny, "--training.steps", "1", "--compute.precision", "float32", "--out", str(run)])
        == 0
    )
    capsys.readouterr()
    words = ["show", "training-step", str(run), "--held-out", "3", "--t", "20", "--pixel", "4,4"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["class"] is not None and found["level"]["t"] == 20
    assert main(words) == 0
    out = capsys.readouterr().out
    assert f"{found['loss']['value']:.6g}" in out and "x0_estimate" in out
    assert main(["show", "sampling-step", str(run), "--steps", "5", "--step", "5", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["next_level"] == {"t": 0, "alpha_bar": 1.0, "alpha": 1.0, "sigma": 0.0, "log_snr": None}
    assert main(["show", "training-step", str(run), "--held-out", "3", "--generated", "3"]) == 2
    assert "expected one image, got --held-out and --generated" in capsys.readouterr().err
