"""Flags, files and presets: one meaning, one order of precedence."""

import json
from pathlib import Path

import pytest
from cli_calls import call
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ancestral.cli.options import Options, accepts, changes
from ancestral.errors import InputError
from ancestral.jobs.target import overlaid, plan
from ancestral.presets import PRESETS, for_folder
from ancestral.settings import Config, DataSettings, DiTSettings, UNetSettings, field_names, leaves, merged


def dry_run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict:
    called = call(capsys, "train", *words, "--dry-run")
    assert called.code == 0, called.err
    return json.loads(called.out)


def parsed(*words: str) -> dict:
    options = Options("test", "", "")
    options.settings("all", leaves(Config(), every=True))
    return changes(options.words(words), leaves(Config(), every=True))


def test_every_setting_has_a_flag() -> None:
    assert {name for name, _, _ in leaves(Config(), every=True)} == {*field_names(Config)}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_dry_run_is_a_settings_file_that_means_itself(
    preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = dry_run(capsys, preset, "--training.lr", "3e-4", "--data.size", "24", "20", "--data.flip")
    (tmp_path / "shown.json").write_text(json.dumps(shown))
    assert dry_run(capsys, "--config", tmp_path / "shown.json") == shown
    assert dry_run(capsys, preset, "--config", tmp_path / "shown.json") == shown
    assert (shown["training"]["lr"], shown["data"]["size"], shown["data"]["flip"]) == (3e-4, [24, 20], True)


def test_a_dry_run_writes_nothing_and_says_where_it_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "runs/digits" in call(capsys, "train", "digits", "--dry-run").err
    assert not [*tmp_path.iterdir()]


def test_toml_and_flags_mean_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.toml").write_text(
        "seed = 5\n[data]\nsize = 12\nflip = true\n[network]\nwidths = [32, 64]\nattention = []\n"
        "middle_attention = false\n[training]\nlr = 1e-4\nimages = 1000\nbetas = [0.8, 0.99]\n"
        '[diffusion.schedule]\nname = "log-snr"\nlog_snr_min = -7.5\n'
    )
    flags = (
        "--seed=5 --data.size 12 --data.flip --network.widths 32 64 --network.attention --network.no_middle_attention "
        "--training.lr 1e-4 --training.images 1000 --training.betas 0.8 0.99 --diffusion.schedule.name log-snr "
        "--diffusion.schedule.log_snr_min -7.5"
    )
    from_file, from_flags = dry_run(capsys, "digits", "--config", "run.toml"), dry_run(capsys, "digits", *flags.split())
    assert from_file == from_flags
    assert from_file != dry_run(capsys, "digits")


def test_flags_override_the_file_which_overrides_the_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.toml").write_text("seed = 5\n[training]\nlr = 1e-4")
    shown = dry_run(capsys, "digits", "--config", "run.toml", "--training.lr", "7e-4")
    preset = PRESETS["digits"]()
    assert (shown["seed"], shown["training"]["lr"]) == (5, 7e-4)
    assert shown["training"]["batch_size"] == preset.training.batch_size != Config().training.batch_size


@given(kind=st.sampled_from(["steps", "images", "minutes"]), before=st.sampled_from(["steps", "images", "minutes"]))
def test_a_budget_replaces_the_one_before_it_of_whatever_kind(kind: str, before: str) -> None:
    base = overlaid(Config(), {"training": {before: 7}}, "")
    after = overlaid(base, {"training": {kind: 11}}, "").training
    assert {name: getattr(after, name) for name in ("steps", "images", "minutes")} == {
        **dict.fromkeys(("steps", "images", "minutes")),
        kind: 11,
    }


def test_budgets_given_together_all_count_and_other_settings_leave_the_preset_its_own() -> None:
    both = plan("digits", None, {"training": {"steps": 5, "minutes": 3}}, None).config.training
    assert (both.steps, both.minutes) == (5, 3)
    assert (
        plan("digits", None, {"training": {"lr": 1}}, None).config.training.minutes
        == PRESETS["digits"]().training.minutes
    )


def test_dashes_and_underscores_are_one_and_equals_signs_are_read() -> None:
    assert (
        parsed("--training.batch-size", "4") == parsed("--training.batch_size=4") == {"training": {"batch_size": "4"}}
    )


def test_none_unsets_only_what_may_be_unset() -> None:
    assert parsed("--data.size", "none", "--data.labels", "none", "--training.clip-norm", "None") == {
        "data": {"size": None, "labels": "none"},
        "training": {"clip_norm": None},
    }


def test_one_word_for_a_tuple_stays_a_tuple_and_a_side_a_side() -> None:
    tree = parsed("--network.widths", "32", "--data.size", "16", "--network.attention")
    settled = merged(Config(), {**tree, "network": {**tree["network"]}}, "")
    assert (settled.network.widths, settled.network.attention, settled.data.size) == ((32,), (), 16)


def test_a_network_is_chosen_by_its_name_and_takes_no_setting_of_another() -> None:
    tree = parsed("--network.name", "dit", "--network.width", "64")
    assert merged(Config(), tree, "").network == DiTSettings(width=64)
    with pytest.raises(InputError, match="expected no widths with the network dit"):
        merged(Config(), parsed("--network.name", "dit", "--network.widths", "8"), "")


def test_what_a_union_accepts_is_not_what_its_tuples_hold() -> None:
    widths, size = UNetSettings.model_fields["widths"].annotation, DataSettings.model_fields["size"].annotation
    assert accepts(widths, tuple) and not accepts(widths, int)
    assert accepts(size, tuple) and accepts(size, int) and accepts(size, type(None))


def test_a_run_is_named_after_its_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my birds").mkdir()
    assert plan("digits", None, {}, None).out == Path("runs/digits")
    assert plan("my birds/", None, {}, None).out == Path("runs/my birds")
    monkeypatch.chdir("my birds")
    assert plan(".", None, {}, None).out == Path("runs/my birds")
    assert plan(".", None, {}, tmp_path / "out").out == tmp_path / "out"


def test_a_folder_is_remembered_wherever_the_command_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "birds").mkdir(parents=True)
    assert plan("data/birds", None, {}, None).config.data.source == str(tmp_path / "data" / "birds")
    monkeypatch.setenv("ANCESTRAL_DATA", str(tmp_path / "data"))
    assert plan("birds", None, {}, None).config.data.source == str(tmp_path / "data" / "birds")


def test_help_states_the_values_of_the_target(capsys: pytest.CaptureFixture[str]) -> None:
    text = " ".join(call(capsys, "train", "cifar10", "--help").out.split())
    assert "--training.minutes NUMBER Budget in minutes of training on this machine. [60]" in text
    for name in field_names(Config):
        assert f"--{name} " in text or f"no_{name.rpartition('.')[2]}" in text


def test_a_schedule_that_float64_cannot_hold_is_refused_before_anything(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--diffusion.schedule.name", "linear", "--diffusion.schedule.beta_end", "0.99"]
    for dry in ([], ["--dry-run"]):
        called = call(capsys, "train", "digits", *words, *dry)
        assert called.code == 2 and called.out == "" and "bring beta_end 0.99 nearer to 0.02" in called.err


def test_a_folder_whose_captions_are_read_takes_their_recipe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Named by a flag or a file, of which the flag counts; what else is said still overrides it."""
    Image.new("RGB", (32, 32)).save(tmp_path / "one.png")
    file = tmp_path / "text.json"
    file.write_text(json.dumps({"text": {"name": "learned"}}))
    plain, told = for_folder(str(tmp_path)).training, for_folder(str(tmp_path), captioned=True).training
    assert plain != told

    def training(*words: str | Path) -> dict:
        return dry_run(capsys, tmp_path, *words)["training"]

    assert training() == training("--config", file, "--text.name", "none") == plain.model_dump(mode="json")
    assert training("--text.name", "learned") == training("--config", file) == told.model_dump(mode="json")
    assert training("--text.name", "learned", "--training.optimizer", "adam")["optimizer"] == "adam"
