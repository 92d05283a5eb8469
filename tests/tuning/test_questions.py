"""What is asked of which machine, for which settings."""

from typing import Any

import pytest

from ancestral.compute import Choices
from ancestral.settings import ComputeSettings, Config, TrainingSettings
from ancestral.tuning.choosing import LARGEST_CHUNK, Value, questions

Limits = dict[str, Any]
LAPTOP: Limits = {"gpu": False, "bfloat16": False, "cores": 8, "threads": 4, "images": 10**6, "compiling": False}
GPU: Limits = {"gpu": True, "bfloat16": True, "cores": 16, "threads": 16, "images": 10**6, "compiling": True}
CONFIG = Config(training=TrainingSettings(steps=1, batch_size=24))


def asked(
    limits: Limits = LAPTOP, config: Config = CONFIG, usual: Choices | None = None
) -> dict[str, list[tuple[Value, ...]]]:
    """Rows of values by choice."""
    found: dict[str, list[tuple[Value, ...]]] = {}
    for question in questions(usual or Choices(), config, **limits):
        found.setdefault(question.choice, []).append(question.values)
    return found


def values(rows: list[tuple[Value, ...]]) -> list[Value]:
    return [value for row in rows for value in row]


def test_the_usual_value_is_never_among_the_others() -> None:
    """Trap: a choice compared with itself."""
    for limits, usual in ((LAPTOP, Choices()), (GPU, Choices(precision="bfloat16", compile="whole", chunk=512))):
        for name, rows in asked(limits, usual=usual).items():
            assert getattr(usual, name) not in values(rows) and all(rows)


def test_precision_is_open_only_where_the_machine_computes_in_bfloat16() -> None:
    assert "precision" not in asked()
    found = asked(LAPTOP | {"bfloat16": True}, usual=Choices(precision="bfloat16"))
    assert found["precision"] == [("float32",)]


@pytest.mark.parametrize(("cores", "own", "expected"), [(8, 4, [8, 1]), (2, 2, [1]), (1, 1, []), (6, 6, [3, 1])])
def test_threads_are_one_half_and_all_of_the_cores_this_process_may_use(
    cores: int, own: int, expected: list[int]
) -> None:
    assert values(asked(LAPTOP | {"cores": cores, "threads": own}).get("threads", [])) == expected


def test_threads_that_the_environment_gives_are_not_asked_for() -> None:
    assert "threads" not in asked(LAPTOP | {"threads": None}) and "threads" not in asked(GPU)


def test_a_batch_is_halved_down_to_an_image_in_one_row() -> None:
    assert asked()["micro_batch"] == [(12, 6, 3, 1)]
    single = CONFIG.model_copy(update={"training": TrainingSettings(steps=1, batch_size=1)})
    assert "micro_batch" not in asked(config=single)


def test_compiling_is_tried_on_a_gpu_and_elsewhere_when_asked_for() -> None:
    assert "compile" not in asked()
    assert asked(LAPTOP | {"compiling": True})["compile"] == [("whole",)]
    assert asked(GPU, usual=Choices(compile="whole"))["compile"] == [("no",)]


@pytest.mark.parametrize(("fit", "up"), [(10**6, [(128, 256)]), (200, [(128,)]), (100, []), (3, [])])
def test_no_more_images_at_once_than_fit_into_memory(fit: int, up: list[tuple[int, ...]]) -> None:
    assert asked(LAPTOP | {"images": fit})["chunk"] == [*up, (32, 16, 8)]


def test_a_gpu_is_asked_for_more() -> None:
    more, fewer = asked(GPU, usual=Choices(chunk=512))["chunk"]
    assert max(v for v in more if isinstance(v, int)) == 8 * LARGEST_CHUNK and fewer == (256, 128, 64)


@pytest.mark.parametrize(
    "setting",
    [{"threads": 4}, {"micro_batch": 6}, {"chunk": 64}],
)
def test_what_the_user_has_set_is_not_asked(setting: dict) -> None:
    """Even where it is the usual value."""
    fixed = CONFIG.model_copy(update={"compute": ComputeSettings(**setting)})
    assert {*asked()} - {*asked(config=fixed)} == {*setting}


def test_each_engine_is_asked_of_one_image_and_torch_again_of_a_chunk() -> None:
    assert "engine" not in asked()
    found = [
        (question.work, question.values)
        for question in questions(Choices(), CONFIG, **LAPTOP, engines=("openvino", "onnxruntime"))
        if question.choice == "engine"
    ]
    assert found == [("one image", ("openvino",)), ("one image", ("onnxruntime",)), ("generating", ("torch",))]
