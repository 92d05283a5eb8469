"""A job's settings as the words of a command: whoever types these gets exactly the settings."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ancestral.cli.job_options import job_options, job_settings
from ancestral.errors import InputError
from ancestral.jobs.data_settings import CheckSettings, ReportSettings
from ancestral.jobs.edit_tasks import TASKS
from ancestral.jobs.export import ExportSettings
from ancestral.jobs.measurement_settings import (
    EmaSettings,
    EvaluateSettings,
    LikelihoodJobSettings,
    SweepJobSettings,
)
from ancestral.jobs.sample import SampleSettings
from ancestral.jobs.share import ShareSettings
from ancestral.jobs.target import TrainSettings
from ancestral.jobs.words import command
from ancestral.settings import ComputeSettings, Config, DataSettings, SamplingSettings, Settings, merged

RUN = {"run": Path("runs/a b")}
CASES: list[tuple[str, type[Settings], dict[str, Any]]] = [
    ("sample", SampleSettings, RUN),
    ("sample", SampleSettings, {"run": "digits", "num_images": 3, "seed": 2**62, "each": True, "film": "film.gif"}),
    ("sample", SampleSettings, {**RUN, "classes": "=none", "sampling": {"guidance_interval": [0.1, 1e6], "eta": None}}),
    ("sample", SampleSettings, {"run": "-x", "prompt": ("-x", "--debug", "", "it's", "%"), "between": True}),
    ("sample", SampleSettings, {**RUN, "arrays": "a.npz", "weaker": "runs/b", "device": "cpu", "yes": True}),
    ("sample", SampleSettings, {**RUN, "sampling": {"clip": "none", "guidance": 0.1 + 0.2, "negative": "-1"}}),
    ("sample", SampleSettings, {**RUN, "compute": ComputeSettings(engine="torch", chunk=3, precision="float32")}),
    ("sample", SampleSettings, {**RUN, "attributes": "age=-0.3,smiling=1", "out": "-", "overwrite": True}),
    ("edit inpaint", TASKS["inpaint"], {**RUN, "images": ("a.png", "-b.png"), "box": (0, 1, 2, 3), "rounds": 3}),
    ("edit inpaint", TASKS["inpaint"], {**RUN, "images": ("a.png",), "mask": "m.png", "sampling": {"steps": 3}}),
    ("edit outpaint", TASKS["outpaint"], {**RUN, "images": ("a.png",), "margins": (0, 4, 0, 4), "stride": 2}),
    ("edit vary", TASKS["vary"], {**RUN, "images": ("a.png",), "strength": 1e-7, "num_images": 2}),
    ("edit interpolate", TASKS["interpolate"], {**RUN, "seeds": (0, 7), "points": 3}),
    ("edit interpolate", TASKS["interpolate"], {**RUN, "images": ("a.png", "b.png"), "grain": 0.0}),
    ("edit enlarge", TASKS["enlarge"], {**RUN, "images": ("a.png",), "factor": 4, "how": "moments", "degrade": True}),
    ("edit canvas", TASKS["canvas"], {**RUN, "size": (32, 128)}),
    ("edit tile", TASKS["tile"], {**RUN, "by": "windows", "prompt": ("a",)}),
    ("evaluate", EvaluateSettings, {**RUN, "num_images": 7, "seed": 3, "sampling": {"sampler": "dpm++2m-sde"}}),
    ("likelihood", LikelihoodJobSettings, RUN),
    ("likelihood", LikelihoodJobSettings, {**RUN, "num_images": None, "timesteps": None, "chain": 5, "flow": 2}),
    ("sweep", SweepJobSettings, {**RUN, "calls": (3,), "samplers": ("ddim", "heun"), "grids": ("karras",)}),
    ("ema", EmaSettings, {**RUN, "lengths": (0.05, 0.2), "use": 0.07, "yes": True}),
    ("ema", EmaSettings, {**RUN, "use": "own", "compute": ComputeSettings(chunk=3)}),
    ("report", ReportSettings, {**RUN, "out": "a.html"}),
    ("share", ShareSettings, {**RUN, "weights": 8, "samplers": ("heun",), "words": "-'\n\"", "name": "=x"}),
    ("export", ExportSettings, {**RUN, "onnx": None, "weights": 16}),
    ("export", ExportSettings, {**RUN, "onnx": "a.onnx", "sampling": {"steps": 3}}),
    ("data check", CheckSettings, {"source": "a b", "images": {"size": [8, 9], "labels": "none", "flip": False}}),
    ("train", TrainSettings, {"target": "digits", "out": "runs/x", "settings": {
        "diffusion": {"schedule": {"name": "betas", "betas": [0.1, 0.25], "num_timesteps": 2}, "prediction": "v"},
        "network": {"attention": [], "middle_attention": False}, "training": {"steps": 3, "minutes": None},
        "sampling": {"steps": 2},
    }}),
]  # fmt: skip
LAID_OVER = {"sampling": SamplingSettings(), "images": DataSettings(source="a")}


def typed(line: str, verb: str, kind: type[Settings]) -> Settings:
    """The settings that a command line asks for."""
    words = shlex.split(line)
    begin = ["ancestral", *verb.split()]
    assert words[: len(begin)] == begin
    return job_settings(job_options(f"ancestral {verb}", "", "", (), kind).words(words[len(begin) :]), kind)


def meaning(settings: Settings) -> dict[str, Any]:
    """What settings mean, whether values are texts or numbers, and which were said and not left out."""
    tree: dict[str, Any] = {name: getattr(settings, name) for name in type(settings).model_fields}
    for name, usual in LAID_OVER.items():
        if name in tree and isinstance(tree[name], dict):
            changes = {"guidance": 3, **tree[name]} if name == "sampling" else tree[name]
            tree[name] = merged(usual, changes, name), {*tree[name]}
    if isinstance(settings, TrainSettings):
        tree["settings"] = merged(Config(), settings.settings, "settings")
    return tree | {"is all said": "num_images" in settings.model_fields_set}


@pytest.mark.parametrize(("verb", "kind", "values"), CASES)
def test_typing_the_words_gives_the_settings(verb: str, kind: type[Settings], values: dict[str, Any]) -> None:
    settings = kind.model_validate(values)
    line = command(verb, settings)
    assert meaning(typed(line, verb, kind)) == meaning(settings), line


@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"))), st.text("=-none ,3"))
def test_any_text_is_typed_as_it_is(prompts: list[str], classes: str) -> None:
    settings = SampleSettings(run=Path("r"), prompt=tuple(prompts), classes=classes)
    assert typed(command("sample", settings), "sample", SampleSettings) == settings


def test_a_command_says_what_is_unusual_and_no_more() -> None:
    asked = {"run": "runs/x", "classes": "=none", "seed": 3, "prompt": ("-x",), "sampling": {"steps": 20, "eta": 0.5}}
    line = command("sample", SampleSettings.model_validate(asked))
    assert line == "ancestral sample runs/x --prompt=-x --seed 3 --classes '=none' --steps 20 --eta 0.5"


def test_a_model_that_comes_along_is_named() -> None:
    assert command("sample", SampleSettings.model_validate({"run": "digits"})) == "ancestral sample digits"


def test_what_no_words_mean_is_refused() -> None:
    settings = SampleSettings(run=Path("r"), sampling={"negative": "None"})
    with pytest.raises(InputError, match="expected another negative than 'None'"):
        command("sample", settings)
