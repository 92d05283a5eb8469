"""Settings: nothing ignored, nothing silently converted, one line with the remedy."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ancestral.errors import InputError
from ancestral.presets import PRESETS, for_folder
from ancestral.settings import (
    Config,
    DiffusionSettings,
    FrozenText,
    ImageSpec,
    LearnedText,
    LinearSchedule,
    ScaledLinearSchedule,
    TextSpec,
    TrainingSettings,
    UNetSettings,
    field_names,
    leaves,
    merged,
    parse,
    read_settings,
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"lrr": 1}}, "unknown setting training.lrr; did you mean training.lr?"),
        ({"netwrok": {}}, "unknown setting netwrok; did you mean network"),
        ({"diffusion": {"schedule": {"num_timesteps": 0}}}, "diffusion.schedule.num_timesteps: .*1, got 0"),
        ({"training": {"lr": float("nan")}}, "training.lr: .*finite.*got nan"),
        ({"training": {"lr": "fast"}}, "training.lr: .*number.*got 'fast'"),
        ({"network": {"norm_groups": 7}}, "norm_groups = 7 divides"),
        ({"network": {"attention": [5]}}, r"attention levels in 0\.\.2, got \[5\]"),
        ({"network": {"head_width": 24}}, "head_width = 24 divides"),
        ({"network": {"heads": 24}}, "heads = 24 divides"),
        ({"network": {"heads": 4, "head_width": 32}}, "expected head_width or heads, got both"),
        ({"text": {"width": 64}}, "text: expected no width with the text none, which does not use it"),
        ({"text": {"name": "learned", "width": 30}}, "text: expected a width that heads = 4 .* divide, got 30"),
        ({"text": {"name": "learned", "width": 30, "pooled": False}}, "a width that heads = 4 divides, got 30"),
        (
            {"text": {"name": "learned", "pooled": False}, "network": {"cross_attention": [], "middle_layers": 0}},
            "expected text.pooled with a network in which nothing attends",
        ),
        ({"text": {"name": "learned", "vocab_size": 100}}, "text.vocab_size: expected at least 514, got 100"),
        ({"network": {"cross_attention": [2]}}, "no network.cross_attention with text.name none"),
        ({"network": {"middle_norm": False}, "text": {"name": "learned"}}, "expected network.middle_norm with text"),
        ({"network": {"cross_attention": [1]}, "text": {"name": "learned"}}, r"levels of attention \[2\], got 1"),
        (
            {"network": {"name": "linear-attention", "widths": [8], "full_attention": [1]}},
            r"full_attention levels in 0\.\.0, got \[1\]",
        ),
        ({"network": {"name": "linear-attention", "stem": 9}}, "an even number of waves, got 9"),
        ({"network": {"name": "linear-attention", "layers": 2}}, "no layers with the network linear-attention"),
        (
            {"text": {"name": "learned", "pooled": False}, "network": {"name": "linear-attention"}},
            "expected text.pooled with a network in which nothing attends",
        ),
        ({"training": {"minutes": None}}, "expected a budget"),
        ({"training": {"weight_decay": 0.1}}, "no weight_decay with adam"),
        ({"training": {"min_snr_gamma": 5}}, "no min_snr_gamma with weighting simple"),
        ({"diffusion": {"variance": "learned"}}, "hybrid or vlb with diffusion.variance learned .* got simple"),
        ({"training": {"loss": "hybrid"}}, "no hybrid without, got hybrid with beta_tilde"),
        ({"training": {"loss": "continuous"}}, "time log-snr and .* with the loss continuous, got index and cosine"),
        ({"training": {"loss": "vlb", "weighting": "min-snr"}}, "no weighting min-snr with the loss vlb"),
        (
            {"diffusion": {"schedule": {"beta_start": 0.1}}},
            "diffusion.schedule: expected no beta_start with the schedule cosine, which does not use it",
        ),
        (
            {"diffusion": {"schedule": {"log_snr_min": 1, "name": "Linear"}}},
            "no log_snr_min with the schedule linear",
        ),
        (
            {"diffusion": {"schedule": {"name": "consine"}}},
            r"schedule.name: expected one of .*, betas, got 'consine'; did you mean cosine\?",
        ),
        ({"diffusion": {"schedule": "cosine"}}, "diffusion.schedule: expected a table of settings, got 'cosine'"),
        (
            {"diffusion": {"schedule": {"name": "log-snr", "log_snr_mx": 7}}},
            "unknown setting diffusion.schedule.log_snr_mx; did you mean diffusion.schedule.log_snr_max",
        ),
        ({"diffusion": {"schedule": {"name": "linear", "beta_end": 2}}}, "schedule.beta_end: expected less than 1"),
        ({"diffusion": {"schedule": {"name": "betas"}}}, "num_timesteps = 1000 betas, got 0"),
        ({"diffusion": {"schedule": {"zero_terminal_snr": True}}}, "prediction x0, v or flow"),
        (
            {"diffusion": {"schedule": {"name": "log-snr", "log_snr_max": -7}}},
            r"above log_snr_min, got -7\.0 and -5",
        ),
        ({"data": {"size": "big"}}, "run.toml: data.size: expected a whole number or a list of values, got 'big'"),
        ({"sampling": {"eta": 0.5, "sampler": "ancestral"}}, "eta belongs to ddim"),
        ({"sampling": {"steps": 2000}}, "sampling.steps <= num_timesteps = 1000, got 2000"),
        (
            {"sampling": {"guidance_by": "autoguidance", "guidance": 2.0}},
            "guidance_by classifier-free, got autoguidance",
        ),
        ({"sampling": {"negative": "cat"}}, "a guidance other than 0 and 1 with negative"),
        ({"sampling": {"guidance_interval": (3.0, 0.3), "guidance": 2.0}}, "that rises, got 3.0 and 0.3"),
        ({"sampling": {"guidance_interval": (0.3, 3.0), "guidance": 2.0, "cache": 2}}, "cache 1 with a"),
        ({"sampling": {"sampler": "heun", "eta": 0.5}}, "no eta with the sampler heun"),
        ({"data": {"validation": 0.6, "test": 0.5}}, "validation \\+ test < 1"),
        ({"seed": -1}, "seed: .*got -1"),
    ],
)
def test_a_fault_is_one_line_that_names_it(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message) as fault:
        merged(Config(), changes, "run.toml")
    assert str(fault.value).startswith("run.toml: ") and "\n" not in str(fault.value)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_the_trip_through_json(name: str) -> None:
    config = PRESETS[name]()
    assert parse(Config, json.loads(config.model_dump_json()), "json") == config
    assert config.data.source in (name, "digits", "cifar10", "mnist") or config.codec.name != "pixels"


def test_a_folders_recipe_trains_on_that_folder() -> None:
    assert for_folder("some/where").data.source == "some/where"


@given(st.floats(1e-6, 1), st.integers(1, 2**40))
def test_toml_and_json_mean_the_same_numbers(lr: float, images: int) -> None:
    """Trap: 2e-4 read as text."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        toml, js = Path(folder) / "run.toml", Path(folder) / "run.json"
        toml.write_text(f"[training]\nlr = {lr!r}\nimages = {images}\n")
        js.write_text(json.dumps({"training": {"lr": lr, "images": images}}))
        ours, theirs = (merged(Config(), read_settings(path), path.name) for path in (toml, js))
    assert ours == theirs and ours.training.lr == lr and ours.training.images == images


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "[training\nlr=1", "not valid TOML"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", "[1]", "JSON object, got list"),
        ("a.yaml", "x: 1", r"ends in \.toml or \.json"),
        ("missing.toml", None, "No such file"),
    ],
)
def test_a_bad_settings_file_is_one_line(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as fault:
        read_settings(tmp_path / name)
    assert "\n" not in str(fault.value)


def test_every_setting_has_help() -> None:
    """The field docstrings are the help of the command line: none may be missing."""

    assert [name for name, field, _ in leaves(Config(), every=True) if not field.description] == []
    assert "training.lr" in field_names(Config) and "diffusion.schedule.betas" in field_names(Config)


def test_a_branch_that_becomes_another_choice_keeps_what_both_have_and_nothing_of_the_one_before() -> None:
    """Trap: the first beta of one schedule, laid under another that has one too, and another by default."""

    def schedule(base: Config, **changes: Any) -> Any:
        return merged(base, {"diffusion": {"prediction": "v", "schedule": changes}}, "the test").diffusion.schedule

    base = merged(Config(), {"diffusion": {"schedule": {"num_timesteps": 50}}}, "the test")
    linear = schedule(base, name="linear", beta_start=0.1, zero_terminal_snr=True)
    assert linear == LinearSchedule(num_timesteps=50, beta_start=0.1, zero_terminal_snr=True)
    base = base.model_copy(update={"diffusion": DiffusionSettings(schedule=linear, prediction="v")})
    assert schedule(base, name="scaled linear") == ScaledLinearSchedule(num_timesteps=50, zero_terminal_snr=True)
    assert schedule(base, name="LINEAR", beta_end=0.3) == linear.model_copy(update={"beta_end": 0.3})
    assert schedule(base, beta_end=0.3) == linear.model_copy(update={"beta_end": 0.3}), "no name: the one that it is"
    assert parse(Config, {"diffusion": {"schedule": {}}}, "the test") == Config(), "no name: the default choice"


def test_help_says_which_choice_a_setting_belongs_to() -> None:
    about = {name: (field.description, value) for name, field, value in leaves(DiffusionSettings(), every=True)}
    assert about["schedule.log_snr_min"] == ("log-snr: Log-SNR at t = T.", -5.0)
    assert about["schedule.num_timesteps"] == ("T, the number of noising steps.", 1000)
    assert str(about["schedule.beta_start"][0]).startswith("linear, scaled-linear: First beta")
    assert {name for name, _, _ in leaves(DiffusionSettings()) if "schedule" in name} == {
        *("schedule.name", "schedule.num_timesteps", "schedule.zero_terminal_snr")
    }


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TrainingSettings(steps=1).lr = 1.0  # type: ignore[misc]


def test_what_was_stored_before_there_was_text_means_what_it_did() -> None:
    """A run's settings, a pipeline's images, and the network that a machine was tuned for, by whose text a file is
    found: of none of them anything is stored that was not before."""
    tree = json.loads(Config().model_dump_json())
    assert tree.pop("text") == {"name": "none"} and "cross_attention" not in tree["network"]
    assert parse(Config, tree, "config.json") == Config()
    spec = ImageSpec(channels=1, height=8, width=8)
    assert "text" not in spec.model_dump() and ImageSpec.model_validate(spec.model_dump()) == spec
    told = spec.model_copy(update={"text": TextSpec(vocab_size=600, length=16)})
    assert ImageSpec.model_validate(told.model_dump()) == told and told.kinds == "text"
    for beyond in (UNetSettings(cross_attention=()), UNetSettings(heads=4)):
        assert UNetSettings.model_validate(beyond.model_dump()) == beyond != UNetSettings()
        assert not {"cross_attention", "heads"} & UNetSettings().model_dump().keys()
    for text in (LearnedText(), FrozenText(folder="clip")):
        without = text.model_copy(update={"pooled": False})
        assert "pooled" not in text.model_dump()
        assert type(text).model_validate(without.model_dump()) == without != text
