"""Names as people type them: taken where they mean the same, else answered with what does it here."""

import re
from importlib import import_module
from pathlib import Path

import pytest
from cli_calls import call

from ancestral.cli.job_options import job_options
from ancestral.cli.main import VERBS, run
from ancestral.errors import InputError
from ancestral.jobs.edit_tasks import TASKS
from ancestral.jobs.measurement_settings import EvaluateSettings, LikelihoodJobSettings, SweepJobSettings
from ancestral.jobs.sample import SampleSettings
from ancestral.names import NEAR, SAME, alike, nearest, spelled
from ancestral.presets import PRESETS
from ancestral.settings import (
    ComputeSettings,
    Config,
    DataSettings,
    DiffusionSettings,
    SamplingSettings,
    field_names,
    leaves,
)
from ancestral.synonyms import MEANT, answer

SAMPLING = [*SamplingSettings.model_fields]
TRAIN = [f"--{name}" for name in field_names(Config)] + ["--out", "--device", "--config", "--dry-run", "--tensorboard"]


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("DDPM", "ancestral"),
        ("DDIM", "ddim"),
        ("DPM++ 2M", "dpm++2m"),
        ("dpmpp_2m", "dpm++2m"),
        ("DPM++ 2M SDE", "dpm++2m-sde"),
        ("DPM-Solver++(2M)", "dpm++2m"),
        ("UniPC_2", "unipc-2"),
        ("Euler", "euler"),
    ],
)
def test_a_sampler_is_taken_in_any_usual_spelling_and_kept_by_its_own(typed: str, name: str) -> None:
    assert SamplingSettings(sampler=typed).sampler == name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("typed", "near"), [("euler_a", "ancestral"), ("PNDM", "ipndm-4"), ("dpm++ 2m karras", "dpm++2m"), ("DDMI", "ddim")]
)
def test_another_sampler_is_suggested_and_never_taken(typed: str, near: str) -> None:
    with pytest.raises(InputError, match=rf"sampler: expected one of .*; did you mean {near.replace('+', '.')}\?"):
        SamplingSettings(sampler=typed)  # type: ignore[arg-type]


def test_other_settings_names_are_taken_in_any_spelling_too() -> None:
    assert DiffusionSettings(schedule={"name": "Scaled_Linear"}).schedule.name == "scaled-linear"  # type: ignore[arg-type]
    assert DiffusionSettings(schedule={"name": "squaredcos_cap_v2"}).schedule.name == "cosine"  # type: ignore[arg-type]
    assert DataSettings(color="Gray", fit="Center Crop").color == "grey"  # type: ignore[arg-type]
    assert ComputeSettings(precision="bf16").precision == "bfloat16"  # type: ignore[arg-type]
    assert SamplingSettings(sampler="ancestral", variance="beta-tilde").variance == "beta_tilde"  # type: ignore[arg-type]


def test_no_two_names_are_alike_and_every_other_name_stands_for_one_that_exists() -> None:
    seen = 0
    for kind in (DataSettings(), SamplingSettings(), ComputeSettings(), DiffusionSettings()):
        for dotted, field, _ in leaves(kind, every=True):
            name = dotted.rpartition(".")[2]
            words = re.findall(r"'([^']+)'", str(field.annotation))
            assert len({alike(word) for word in words}) == len(words)
            for other, word in SAME.get(name, {}).items():
                seen += word in words
                assert alike(other) == other
    assert seen > 20
    known = {*VERBS, *SamplingSettings.model_fields["sampler"].annotation.__args__, "cuda", "bfloat16"}  # type: ignore[union-attr]
    assert {*NEAR.values()} <= known
    assert [word for word in NEAR if alike(word) != word] == []


def test_names_are_near_whatever_their_case() -> None:
    assert nearest("CIFAR", PRESETS) == "cifar10" and nearest("DIGITZ", PRESETS) == "digits"
    assert spelled("Fashion MNIST", PRESETS) == "fashion-mnist" and spelled("mnist-", ["MNIST"]) == "MNIST"
    assert nearest("qqq", PRESETS) is None


@pytest.mark.parametrize(
    ("typed", "option"),
    [
        ("--learning_rate", "--training.lr"),
        ("--lr", "--training.lr"),
        ("--labels", "--data.labels"),
        ("--bs", "--training.batch_size"),
        ("--iterations", "--training.steps"),
        ("--resolution", "--data.size"),
        ("--output", "--out"),
        ("--cfg-scale", "--sampling.guidance"),
        ("--num-inference-steps", "--sampling.steps"),
        ("--clip-norm", "--training.clip_norm"),
        ("--EMA_decay", "--training.ema_decay"),
        ("--mixed-precision", "--compute.precision"),
        ("--training.learning_rate", "--training.lr"),
        ("--dryrum", "--dry-run"),
    ],
)
def test_what_other_programs_call_an_option_is_answered_with_the_one_that_does_it(typed: str, option: str) -> None:
    assert answer(typed, TRAIN) == f"; did you mean {option}?"


def test_what_does_not_exist_is_answered_with_the_reason() -> None:
    assert "--training.images N, where N is epochs times the number of images" in answer("--epochs", TRAIN)
    assert "did you mean --text.name" in answer("--prompt", TRAIN)
    assert "`ancestral sample`" in answer("--prompt", ["--steps"]) and "goes on where it stopped" in answer(
        "--resume", TRAIN
    )
    assert answer("guidance_scale", SAMPLING) == "; did you mean guidance?"
    assert answer("--xyzzy", TRAIN) == ""


def test_every_option_that_is_suggested_exists_in_a_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """Each target of the table is an option of some verb, and is answered there; sentences name options too."""
    kinds = (*TASKS.values(), SampleSettings, EvaluateSettings, LikelihoodJobSettings, SweepJobSettings)
    named: set[str] = {name for kind in kinds for name in job_options("ancestral verb", "", "", (), kind).names}
    for verb in ("train", "tune"):
        named |= {*import_module(f"ancestral.cli.{verb}").parser(Config()).names}
    named |= {"--calls", "--schedules"}
    plain = {name.lstrip("-").replace("_", "-") for name in named}
    missing = {target for targets in MEANT.values() for target in targets if " " not in target}
    assert {target for target in missing if target.replace("_", "-") not in plain} == set()
    sentences = {target for targets in MEANT.values() for target in targets if " " in target}
    spoken = {word.strip(",.:") for sentence in sentences for word in sentence.split() if word.startswith("--")}
    assert {word for word in spoken if word not in named} == {"--nproc-per-node"}, "torchrun's own"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["generate", "x"], "did you mean sample?"),
        (["fid"], "did you mean evaluate?"),
        (["GUI"], "did you mean studio?"),
        (["train", "digits", "--device", "gpu"], "did you mean cuda?"),
        (["train", "CIFAR-100"], "did you mean cifar10?"),
        (["show", "schedule", "COSIN"], "did you mean cosine?"),
        (["edit", "in-painting"], "did you mean inpaint?"),
    ],
)
def test_verbs_tasks_and_devices_are_suggested(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, *words)
    assert (code, len(err.splitlines())) == (2, 1) and told in err


def test_a_preset_is_known_in_any_spelling_and_names_its_run(capsys: pytest.CaptureFixture[str]) -> None:
    called = call(capsys, "TRAIN", "Fashion_MNIST", "--dry-run")
    assert called.code == 0 and '"fashion-mnist"' in called.out and "runs/fashion-mnist" in called.err


def test_the_help_of_a_switch_says_what_the_switch_does(capsys: pytest.CaptureFixture[str]) -> None:
    """Trap: `--network.no_middle_attention  Attend in the middle.`"""
    out = " ".join(call(capsys, "train", "digits", "--help").out.split())
    assert "--network.no_middle_attention do without: unet: Attend in the middle. [on]" in out
    assert "--data.flip Mirror half" in out


@pytest.mark.parametrize("verb", ["ema", "evaluate", "report", "sweep", "train-classifier", "variance"])
def test_a_folder_that_is_no_run_is_called_what_it_is(tmp_path: Path, verb: str) -> None:
    """What was given is named, with the verb that it is for, and nothing is written into it."""
    packed, checkpoint, pictures = (tmp_path / name for name in ("packed", "step-00000012", "pictures"))
    for folder, names in (
        (packed, ["packing.json"]),
        (checkpoint, ["manifest.json", "state.json"]),
        (pictures, ["bird.PNG"]),
    ):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    for folder, told in (
        (packed, "got a packed data set: .*; ancestral train .*packed trains on it"),
        (checkpoint, "got a checkpoint: .*; ancestral train goes on with the run"),
        (pictures, "got a folder of images: .*; ancestral train .*pictures makes a run of it"),
        (tmp_path / "missing", "which is no folder"),
    ):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(
            InputError, match=rf"expected a run folder with a config\.json, .*{told.removeprefix('got ')}"
        ):
            run([verb, str(folder)])
        assert sorted(tmp_path.rglob("*")) == before
