"""How a machine is used: who decides, what is kept for whom, and what is said of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pipelines import SMALL, TINY, untrained

from ancestral import compute
from ancestral.compute import Choices, defaults, in_words, load_tuned, remove_tuned, resolve, save_tuned, tuned_file
from ancestral.editing.operators import MeanPooled
from ancestral.edits import restore, tile
from ancestral.errors import InputError
from ancestral.pipeline import Pipeline
from ancestral.processes import SINGLE_PROCESS
from ancestral.settings import ComputeSettings, Config, ImageSpec, SamplingSettings, UNetSettings, parse

SPEC = ImageSpec(channels=1, height=8, width=8)
CPU = torch.device("cpu")
TUNED = Choices(compile="whole", threads=1, micro_batch=4, chunk=32)


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of its own, no number of threads from outside, and a machine without matrix units."""
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")


def test_without_settings_or_measurements_all_is_as_usual() -> None:
    assert resolve(ComputeSettings(), SMALL, SPEC, CPU) == defaults(CPU, SPEC) == Choices()


def test_what_was_measured_outranks_the_usual_and_the_users_word_outranks_both() -> None:
    save_tuned(TUNED, SMALL, SPEC, CPU)
    assert resolve(ComputeSettings(), SMALL, SPEC, CPU) == TUNED
    asked = ComputeSettings(compile="no", chunk=8)
    assert resolve(asked, SMALL, SPEC, CPU) == TUNED.model_copy(update={"compile": "no", "chunk": 8})


def test_every_setting_has_a_choice_that_it_decides() -> None:
    """Trap: a setting that is ignored in silence."""
    assert {*ComputeSettings.model_fields} == {*Choices.model_fields}


def test_the_environments_threads_outrank_measured_ones_but_not_the_users_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    save_tuned(TUNED, SMALL, SPEC, CPU)
    assert resolve(ComputeSettings(), SMALL, SPEC, CPU).threads is None
    assert resolve(ComputeSettings(threads=1), SMALL, SPEC, CPU).threads == 1


@given(
    st.fixed_dictionaries(
        {
            "precision": st.sampled_from(["float32", "bfloat16"]),
            "compile": st.sampled_from(["no", "whole"]),
            "threads": st.none() | st.integers(1, 99),
            "micro_batch": st.none() | st.integers(1, 99),
            "chunk": st.integers(1, 999),
            "engine": st.sampled_from(["torch", "onnxruntime", "openvino"]),
        }
    )
)
def test_what_is_remembered_is_recalled(made: dict[str, Any]) -> None:
    save_tuned(choices := Choices(**made), SMALL, SPEC, CPU)
    assert load_tuned(SMALL, SPEC, CPU) == choices


def keys() -> dict[str, tuple[UNetSettings, ImageSpec]]:
    wider = SMALL.model_copy(update={"widths": (16, 16)})
    return {"another network": (wider, SPEC), "another shape": (SMALL, SPEC.model_copy(update={"width": 16}))}


@pytest.mark.parametrize("name", keys())
def test_what_was_measured_of_one_network_and_shape_says_nothing_of_others(name: str) -> None:
    save_tuned(TUNED, SMALL, SPEC, CPU)
    assert load_tuned(*keys()[name], CPU) is None


@pytest.mark.parametrize(("name", "other"), [("processor", "another processor"), ("usable_cores", 999)])
def test_nor_of_another_machine_or_of_fewer_cores(name: str, other: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap: a home folder that several machines share."""
    save_tuned(TUNED, SMALL, SPEC, CPU)
    monkeypatch.setattr(compute, name, lambda: other)
    assert load_tuned(SMALL, SPEC, CPU) is None


def test_names_of_classes_are_no_part_of_it() -> None:
    save_tuned(TUNED, SMALL, SPEC, CPU)
    assert load_tuned(SMALL, SPEC.model_copy(update={"class_names": ("cat", "dog")}), CPU) == TUNED


def half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:40])


def bytes_that_are_no_text(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00")


def rewrite(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        tree = json.loads(file.read_text())
        file.write_text(json.dumps(change(tree)))

    return damage


DAMAGES = {
    "half of it": half,
    "no text": bytes_that_are_no_text,
    "no choices": rewrite(lambda tree: {"machine": tree["machine"]}),
    "a list": rewrite(lambda tree: [tree]),
    "choices that are a number": rewrite(lambda tree: tree | {"choices": 7}),
    "an unknown choice": rewrite(lambda tree: tree | {"choices": tree["choices"] | {"turbo": True}}),
    "no threads at all": rewrite(lambda tree: tree | {"choices": tree["choices"] | {"threads": 0}}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_as_none(name: str) -> None:
    DAMAGES[name](save_tuned(TUNED, SMALL, SPEC, CPU))
    assert resolve(ComputeSettings(), SMALL, SPEC, CPU) == defaults(CPU, SPEC)


def test_what_is_forgotten_is_gone() -> None:
    assert not remove_tuned(SMALL, SPEC, CPU)
    save_tuned(TUNED, SMALL, SPEC, CPU)
    assert remove_tuned(SMALL, SPEC, CPU)
    assert load_tuned(SMALL, SPEC, CPU) is None and not tuned_file(SMALL, SPEC, CPU).exists()


def test_a_pipeline_folder_says_nothing_of_the_machine_it_was_trained_on(tmp_path: Path) -> None:
    """Trap: a pipeline that wants the trainer's eight threads on a laptop."""
    asked = ComputeSettings(threads=1, chunk=3)
    made = Pipeline.fresh(Config(network=SMALL, compute=asked), SPEC, CPU)
    made.save(tmp_path / "asked")
    Pipeline.fresh(Config(network=SMALL), SPEC, CPU).save(tmp_path / "plain")
    for name in ("asked", "plain"):
        loaded = Pipeline.load(tmp_path / name, CPU)
        assert (loaded.config.compute, loaded.compute) == (ComputeSettings(), defaults(CPU, SPEC))
    texts = [(tmp_path / name / "ancestral.json").read_text() for name in ("asked", "plain")]
    assert texts[0] == texts[1]


def test_a_pipeline_computes_as_measured_and_as_it_is_told_when_loaded(tmp_path: Path) -> None:
    Pipeline.fresh(Config(network=SMALL), SPEC, CPU).save(tmp_path / "p")
    save_tuned(TUNED, SMALL, SPEC, CPU)
    assert Pipeline.load(tmp_path / "p", CPU).compute == TUNED
    told = Pipeline.load(tmp_path / "p", CPU, ComputeSettings(chunk=5))
    assert told.compute == TUNED.model_copy(update={"chunk": 5})


def told(choices: Choices, settings: ComputeSettings | None = None) -> str | None:
    return in_words(choices, settings or ComputeSettings(), SMALL, SPEC, CPU)


def test_nothing_is_said_of_the_usual_nor_of_what_training_makes_no_use_of() -> None:
    assert told(defaults(CPU, SPEC)) is None
    assert told(Choices(chunk=8)) is None


def test_it_is_said_what_is_not_usual_and_by_whose_word() -> None:
    asked = ComputeSettings(precision="bfloat16", threads=3)
    assert told(Choices(precision="bfloat16", threads=3), asked) == "computing in bfloat16, on 3 threads (as set)"
    save_tuned(TUNED, SMALL, SPEC, CPU)
    assert told(TUNED) == "computing compiled (whole), on one thread, 4 images at a time (as tuned)"
    assert told(Choices(micro_batch=2)) == "computing 2 images at a time (as before)"
    assert told(TUNED, ComputeSettings(threads=1)) == (
        "computing on one thread (as set), compiled (whole), 4 images at a time (as tuned)"
    )


def test_a_setting_out_of_range_is_one_line() -> None:
    with pytest.raises(InputError, match=r"compute\.threads"):
        from ancestral.settings import merged

        merged(Config(), {"compute": {"threads": 0}}, "test")


def test_who_makes_a_pipeline_decides_how_it_computes_and_its_constructor_does_not() -> None:
    """Trap: a copy of a pipeline, or one with other weights, that reads the cache and sets the process's threads."""
    made, before = untrained(), torch.get_num_threads()
    save_tuned(tuned := TUNED.model_copy(update={"threads": before + 1}), TINY, made.spec, CPU)
    try:
        copied = [replace(made), made.with_network(made.network), made.with_processes(SINGLE_PROCESS)]
        assert torch.get_num_threads() == before and all(each.compute == Choices() for each in copied)
        assert untrained().compute == tuned and torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a package is not installed."""
    found = compute.find_spec
    monkeypatch.setattr(compute, "find_spec", lambda each: None if each == name else found(each))


def test_an_engine_that_is_asked_for_and_cannot_be_had_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = ComputeSettings(engine="openvino")
    assert resolve(asked, SMALL, SPEC, CPU).engine == "openvino"
    with pytest.raises(InputError, match="one's own"):
        resolve(asked, None, SPEC, CPU)
    with pytest.raises(InputError, match=r"cuda.*--device cpu"):
        resolve(asked, SMALL, SPEC, torch.device("cuda"))
    without("openvino", monkeypatch)
    with pytest.raises(InputError, match=r"pip install 'ancestral\[openvino\]'"):
        resolve(asked, SMALL, SPEC, CPU)


def test_an_engine_that_was_tuned_and_cannot_be_had_is_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    save_tuned(Choices(engine="onnxruntime", chunk=8), SMALL, SPEC, CPU)
    assert resolve(ComputeSettings(), SMALL, SPEC, CPU).engine == "onnxruntime"
    assert resolve(ComputeSettings(precision="bfloat16"), SMALL, SPEC, CPU).engine == "torch"
    without("onnxruntime", monkeypatch)
    assert resolve(ComputeSettings(), SMALL, SPEC, CPU) == Choices(chunk=8)


def test_bfloat16_is_not_asked_of_an_engine_without() -> None:
    with pytest.raises(InputError, match="expected the precision float32 with the engine onnxruntime, got bfloat16"):
        parse(ComputeSettings, {"engine": "onnxruntime", "precision": "bfloat16"}, "test")
    assert Choices(engine="onnxruntime", precision="bfloat16").engine_precision == "float32"


WITHOUT_ENGINE: dict[str, Callable[[Pipeline], object]] = {
    "a cache of features": lambda made: [*made.steps([0], settings=SamplingSettings(steps=2, cache=2))],
    "tiling by padding": lambda made: [*tile(made, 8, 8, [0], settings=SamplingSettings(steps=1), by="padding")],
    "restoring by gradient": lambda made: [
        *restore(made, MeanPooled(2), torch.zeros(1, 1, 4, 4), [0], settings=SamplingSettings(steps=1))
    ],
}


@pytest.mark.parametrize("what", WITHOUT_ENGINE)
def test_what_an_engine_cannot_do_it_is_not_asked_and_torch_does_where_it_was_tuned(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trap: an engine's graph pads as it was traced, has no deep features, and differentiates to nothing."""
    monkeypatch.setattr("ancestral.networks.engines.by_engine", None)  # that calls it, fails
    made = Pipeline.fresh(Config(network=SMALL), SPEC, CPU).with_compute(Choices(engine="openvino"))
    WITHOUT_ENGINE[what](made)
    asked = Pipeline.fresh(Config(network=SMALL, compute=ComputeSettings(engine="openvino")), SPEC, CPU)
    with pytest.raises(InputError, match=rf"expected compute\.engine torch for {what}.*, got openvino"):
        WITHOUT_ENGINE[what](asked)
