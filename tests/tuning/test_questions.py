"""What is asked of which machine, for which settings."""

from dataclasses import replace

import pytest

from ancestral.compute import Choices
from ancestral.settings import ComputeSettings, Config, TrainingSettings
from ancestral.tuning.questions import MOST, Limits, Question, questions

LAPTOP = Limits(gpu=False, bfloat16=False, cores=8, threads=4, images=10**6, compiling=False)
GPU = Limits(gpu=True, bfloat16=True, cores=16, threads=16, images=10**6, compiling=True)
CONFIG = Config(training=TrainingSettings(steps=1, batch_size=24))


def asked(limits: Limits = LAPTOP, config: Config = CONFIG, usual: Choices | None = None) -> dict[str, Question]:
    return {each.choice: each for each in questions(usual or Choices(), config, limits)}


def values(question: Question) -> list[object]:
    return [value for way in question.ways for value in way]


def test_the_usual_value_is_never_among_the_others() -> None:
    """Trap: a choice compared with itself."""
    for limits, usual in ((LAPTOP, Choices()), (GPU, Choices(precision="bfloat16", compile="whole", chunk=512))):
        for name, question in asked(limits, usual=usual).items():
            assert getattr(usual, name) not in values(question) and values(question)


def test_precision_is_open_only_where_the_machine_computes_in_bfloat16() -> None:
    assert "precision" not in asked()
    assert values(asked(replace(LAPTOP, bfloat16=True), usual=Choices(precision="bfloat16"))["precision"]) == [
        "float32"
    ]


@pytest.mark.parametrize(("cores", "own", "expected"), [(8, 4, [8, 1]), (2, 2, [1]), (1, 1, []), (6, 6, [3, 1])])
def test_threads_are_one_half_and_all_of_the_cores_this_process_may_use(
    cores: int, own: int, expected: list[int]
) -> None:
    found = asked(replace(LAPTOP, cores=cores, threads=own)).get("threads")
    assert (values(found) if found else []) == expected


def test_threads_that_the_environment_gives_are_not_asked_for() -> None:
    assert "threads" not in asked(replace(LAPTOP, threads=None)) and "threads" not in asked(GPU)


def test_a_batch_is_halved_down_to_an_image_in_one_row() -> None:
    assert asked()["micro_batch"].ways == ((12, 6, 3, 1),)
    single = CONFIG.model_copy(update={"training": TrainingSettings(steps=1, batch_size=1)})
    assert "micro_batch" not in asked(config=single)


def test_compiling_is_tried_on_a_gpu_and_elsewhere_when_asked_for() -> None:
    assert "compile" not in asked()
    assert values(asked(replace(LAPTOP, compiling=True))["compile"]) == ["whole"]
    assert values(asked(GPU, usual=Choices(compile="whole"))["compile"]) == ["no"]


@pytest.mark.parametrize(("fit", "up"), [(10**6, (128, 256)), (200, (128,)), (100, ()), (3, ())])
def test_no_more_images_at_once_than_fit_into_memory(fit: int, up: tuple[int, ...]) -> None:
    assert asked(replace(LAPTOP, images=fit))["chunk"].ways == (up, (32, 16, 8))


def test_a_gpu_is_asked_for_more() -> None:
    more, fewer = asked(GPU, usual=Choices(chunk=512))["chunk"].ways
    assert max(v for v in more if isinstance(v, int)) == 8 * MOST and fewer == (256, 128, 64)


@pytest.mark.parametrize(
    "setting",
    [{"threads": 4}, {"micro_batch": 6}, {"chunk": 64}],
)
def test_what_the_user_has_set_is_not_asked(setting: dict) -> None:
    """Even where it is the usual value."""
    fixed = CONFIG.model_copy(update={"compute": ComputeSettings(**setting)})
    assert {*asked()} - {*asked(config=fixed)} == {*setting}
