"""The whole of what is measured of prompts, with generators that need no training."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from captioned_squares import image_of, parts_of_squares
from scene_generators import deaf, obedient, pixels_of

from ancestral.data.imageset import Parts
from ancestral.data.scenes import HELD_OUT
from ancestral.data.shapes import shapes
from ancestral.diffusion.schedules import cosine
from ancestral.errors import InputError
from ancestral.evaluation import retrieval
from ancestral.evaluation.scene_facts import prompts, scene_prompt
from ancestral.evaluation.settings import PromptSettings
from ancestral.evaluation.text_evaluation import Prompted, PromptedImages, TextEvaluation, evaluating_text, texts_of
from ancestral.progress import ProgressEvent, StepwiseWork, finish
from ancestral.settings import DataSettings
from ancestral.tensors import Pixels, from_pixels

SMALL = PromptSettings(num_prompts=60, num_choosing=30, guidances=(1.0, 2.0, 4.0), lift_images=8, lift_levels=2)
Draws = Callable[[Sequence[str], float], Pixels]


def model(draws: Draws, calls: list[tuple[list[str], list[int], float]] | None = None) -> Prompted:
    """One that draws so, hears nothing when its errors are measured, and keeps what it was asked for in `calls`."""

    def images(texts: Sequence[str], seeds: Sequence[int], guidance: float) -> StepwiseWork[Pixels]:
        if calls is not None:
            calls.append(([*texts], [*seeds], guidance))
        yield 1, 2
        return draws(texts, guidance)

    return Prompted(images, lambda noised, texts: torch.zeros(len(texts)), from_pixels, cosine(100), "0" * 16)


def scenes(texts: Sequence[str], guidance: float) -> Pixels:
    """All that is asked for, or whatever there is where nothing is."""
    asked = [scene_prompt(text) for text in texts if text]
    return pixels_of(obedient(asked) if asked else deaf([*texts]))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def shapes_parts() -> Parts:
    whole = finish(shapes("shapes", DataSettings(source="shapes", scenes=100))).images
    return Parts(whole.sliced(0, 70), whole.sliced(70, 80), whole.sliced(80, 100))


@pytest.fixture(autouse=True, scope="module")
def few_scenes() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ancestral.evaluation.text_evaluation.READ", 40)
        yield


def measured(draws: Draws, parts: Parts, calls: Any = None, source: str = "shapes", **changes: Any) -> TextEvaluation:
    settings = SMALL.model_copy(update=changes)
    return finish(evaluating_text(model(draws, calls), parts, source, settings))[0]


class Obeyed(NamedTuple):
    found: TextEvaluation
    shown: PromptedImages
    events: list[ProgressEvent]


@pytest.fixture(scope="module")
def obeyed(shapes_parts: Parts, few_scenes: None) -> Obeyed:
    """What is measured of a model that draws all that it is asked for, and told on the way."""
    events = list[ProgressEvent]()
    return Obeyed(*finish(evaluating_text(model(scenes), shapes_parts, "shapes", SMALL), events.append), events)


def values(found: TextEvaluation, name: str) -> dict[str, float]:
    return {share.name: share.value for share in found[name].shares}


def test_a_model_that_obeys_scores_all_and_with_no_prompt_what_chance_does(obeyed: Obeyed) -> None:
    found = obeyed.found
    for name in ("seen pairs", "held-out pairs"):
        assert (values(found, name)["all"], values(found, name)["whole"]) == (1.0, 1.0)
    nothing = found["no prompt"]
    for share in nothing.shares:
        if share.name in ("all", "color", "shape", "size", "relation"):
            assert share.low - 0.05 <= nothing.chance[share.name] <= share.high + 0.05
    assert values(found, "no prompt")["all"] < 0.55
    assert found.reader_errors is not None and {*found.reader_errors} == {"clean", "blurred", "noisy"}
    assert found.choosing_ceiling == 1 - found.reader_errors["clean"]["all"]
    assert found.lift.bits == 0 and found.nearness.num_generated == 60
    assert TextEvaluation.model_validate_json(found.model_dump_json()) == found


def test_guidance_is_chosen_on_other_prompts_before_those_of_the_figures_are_asked_for(shapes_parts: Parts) -> None:
    """Trap: a model that obeys the prompts to choose by at guidance 2, and those of the figures at 4. Whoever looks at
    the figures takes 4."""
    choosing = {prompt.text for prompt in prompts("shapes", "choosing")}
    calls: list[tuple[list[str], list[int], float]] = []

    def moody(texts: Sequence[str], guidance: float) -> Pixels:
        obeys = guidance == (2.0 if texts[0] in choosing else 4.0)
        return scenes(texts if obeys else [""] * len(texts), guidance)

    found = measured(moody, shapes_parts, calls)
    assert found.guidance == 2.0
    assert values(found, "seen pairs")["all"] < 0.6
    figures = {prompt.text for held_out in (False, True) for prompt in prompts("shapes", "figures", held_out)}
    assert all({*texts} <= choosing for texts, _, _ in calls[:3])
    assert [guidance for _, _, guidance in calls] == [1.0, 2.0, 4.0, 2.0, 2.0, 1.0]
    assert {*calls[3][0], *calls[4][0]} <= figures and {*calls[5][0]} == {""}
    assert calls[0][1] == calls[1][1] == calls[2][1]  # only guidance differs
    assert len({seed for _, seeds, _ in calls[2:] for seed in seeds}) == 30 + 3 * 60


def test_of_several_the_least_guidance_is_taken(obeyed: Obeyed) -> None:
    assert obeyed.found.guidance == 1.0


def test_held_out_prompts_name_a_pair_that_was_not_trained_on(shapes_parts: Parts) -> None:
    calls: list[tuple[list[str], list[int], float]] = []
    measured(scenes, shapes_parts, calls, per_prompt=2, num_prompts=30, num_choosing=15)
    seen, held_out = ([scene_prompt(text).says for text in texts] for texts, _, _ in calls[3:5])
    assert all({thing.pair for thing in says.things} & {*HELD_OUT} for says in held_out)
    assert not any({thing.pair for thing in says.things} & {*HELD_OUT} for says in seen)
    assert calls[3][0][:4:2] == calls[3][0][1:5:2] and len({*calls[3][1]}) == 60


def test_progress_comes_to_its_end_and_images_are_shown_as_they_come(obeyed: Obeyed) -> None:
    shown, events = obeyed.shown, obeyed.events
    assert list(shown.texts) == [prompt.text for prompt in prompts("shapes", "figures", count=60)]
    assert torch.equal(shown.images, scenes(shown.texts, 1.0)) and shown.nearest.shape == shown.images.shape
    done = [event.done / event.total for event in events if event.what == "generating"]
    assert done == sorted(done) and 0.8 < done[-1] <= 1 and done[0] < 0.2


def squares_of(texts: Sequence[str], guidance: float) -> Pixels:
    random = np.random.default_rng(7)
    return torch.from_numpy(np.stack([image_of(text, random) for text in texts])).permute(0, 3, 1, 2)


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path_factory.getbasetemp() / "squares"))
    monkeypatch.setattr(retrieval, "LEAST_IMAGES", 3840)
    monkeypatch.setattr(retrieval, "EPOCHS", 1)


def test_captions_are_found_by_what_real_images_of_them_score(brief: None) -> None:
    """A model that draws what is asked reaches the ceiling, with no prompt it is at chance."""
    found = measured(squares_of, parts_of_squares(), source="squares")
    generated, real, nothing = (found[name] for name in ("generated", "real images", "no prompt"))
    assert real.shares[0].value > 0.5 and generated.shares[0].value == pytest.approx(real.shares[0].value, abs=0.1)
    for share in nothing.shares:
        assert share.low - 0.06 <= nothing.chance[share.name] <= share.high + 0.06
    assert found.gallery is not None and generated.chance == {"R@1": 1 / found.gallery, "R@5": 5 / found.gallery}
    assert found.chosen_by == "R@1" and "validation" in found.choosing and found.num_fitted == 400


def test_guidance_is_chosen_by_captions_of_the_validation_part(brief: None) -> None:
    parts, calls = parts_of_squares(), list[tuple[list[str], list[int], float]]()
    measured(squares_of, parts, calls, source="squares")
    assert calls[0][0] == texts_of(parts.validation)[:30]
    assert calls[3][0] == texts_of(parts.test)[:60]


def test_images_without_a_caption_are_neither_learned_from_nor_asked_for(brief: None) -> None:
    parts = parts_of_squares()
    texts = tuple("" if i % 3 else text for i, text in enumerate(texts_of(parts.test)))
    found = measured(squares_of, parts._replace(test=replace(parts.test, captions=texts)), source="squares")
    assert found["generated"].num_images == 27


def test_data_without_captions_are_refused() -> None:
    parts = parts_of_squares()
    none = Parts(*(replace(part, captions=None) for part in parts[:3]))
    with pytest.raises(InputError, match=r"training images of birds with at least two captions.*got none; `ancestral"):
        measured(squares_of, none, source="birds")
    with pytest.raises(InputError, match="test images of birds"):
        measured(squares_of, parts._replace(test=parts.test.sliced(0, 1)), source="birds")
