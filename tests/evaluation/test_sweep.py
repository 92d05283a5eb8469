"""What a sweep compares, how sure it is of a difference, and what it recommends."""

import pytest
import torch
from pipelines import untrained

from ancestral.condition import NOTHING_TOLD
from ancestral.errors import InputError
from ancestral.evaluation.metrics import Jackknife, frechet_jackknife
from ancestral.evaluation.settings import SAMPLERS, SweepSettings
from ancestral.evaluation.sweep import (
    Decision,
    Present,
    SamplerChoice,
    Sweep,
    SweepRow,
    apart,
    chosen,
    decide,
    sampler_choices,
    seeds_and_condition,
)
from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import GRIDS
from ancestral.rng import generator
from ancestral.settings import SamplingSettings
from ancestral.training.noisy_classifier import new_classifier


def pipeline(T: int = 1000) -> Pipeline:
    settings = {"diffusion": {"schedule": {"num_timesteps": T}}, "sampling": {"steps": 2}}
    return untrained(classes=("a", "b", "c"), changes=settings)


def row(sampler: str, calls: int, value: float, without: tuple[float, ...]) -> SweepRow:
    one = SamplerChoice(sampler=sampler, grid="log-snr", budget=calls, steps=calls, calls=calls)
    return SweepRow(choice=one, jackknife=Jackknife(value, without, without), to_flow=None, agreement=None)


def sweep(*rows: SweepRow) -> Sweep:
    return Sweep(
        weights="w", settings=SweepSettings(), sampling=SamplingSettings(), num_test=9, floor=1, reference=1, rows=rows
    )


def test_everything_is_compared_and_nothing_exceeds_its_budget() -> None:
    found = sampler_choices(SweepSettings(calls=(5, 10)), pipeline(), SamplingSettings(eta=0.5))
    assert len(found) == len({*found}) == len(SAMPLERS) * len(GRIDS) * 2
    assert all(each.calls <= each.budget for each in found)
    spent = {(each.sampler, each.budget): (each.steps, each.calls) for each in found}
    assert spent["ddim", 10] == (10, 10)
    assert spent["heun", 10] == (5, 9), "two calls a step, and one onto 0: six steps would take eleven"
    assert spent["dpm++3s", 10] == (4, 10)
    assert spent["dpm++2s", 5] == (3, 5)


def test_the_calls_that_are_counted_are_those_that_are_made() -> None:
    made = pipeline()
    calls: list[int] = []
    made.network.register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    for each in sampler_choices(SweepSettings(calls=(10,), grids=("log-snr",)), made, SamplingSettings()):
        calls.clear()
        settings = chosen(SamplingSettings(), each.sampler, each.grid, each.steps)
        made.generate([1, 2], torch.tensor([0, 1]), settings)
        made_of = len(calls)
        assert calls == [2] * made_of
        # where the table is too coarse for thirds of a step, 3S takes one look ahead less
        assert made_of == each.calls or (each.sampler == "dpm++3s" and made_of < each.calls), each.sampler


def test_a_budget_beyond_the_timesteps_is_left_out_or_refused() -> None:
    few = sampler_choices(SweepSettings(calls=(8,)), pipeline(T=6), SamplingSettings())
    assert {each.sampler for each in few} == {"heun", "dpm++2s", "dpm++3s"}
    with pytest.raises(InputError, match="fewer network calls than T = 2"):
        sampler_choices(SweepSettings(calls=(8,), samplers=("ddim",)), pipeline(T=2), SamplingSettings())


def test_a_contender_takes_over_nothing_of_another_sampler() -> None:
    base = SamplingSettings(sampler="ancestral", variance="beta", guidance=2.0, cache=3, clip="dynamic", steps=50)
    found = chosen(base, "heun", "karras", 4)
    assert found == SamplingSettings(sampler="heun", grid="karras", steps=4, guidance=2.0, clip="dynamic")
    assert chosen(base, "ddim", None, 1).eta is None and chosen(base, "ancestral", None, 1).variance is None


def test_a_group_that_is_left_out_is_no_class() -> None:
    """Trap: classes in turn and every tenth image left out: each group is a class, and no distance seems sure."""
    seeds, (labels, *_) = seeds_and_condition(pipeline(), SweepSettings(images=60))
    assert labels is not None and labels.bincount().tolist() == [20, 20, 20]
    assert all(len(labels[group::3].unique()) > 1 for group in range(3))
    assert len({*seeds}) == 60


def test_classes_that_a_classifier_lends_are_asked_for() -> None:
    """Without them a network that knows no classes has nothing to be guided to, and a sweep of it is refused."""
    plain = untrained()
    assert seeds_and_condition(plain, SweepSettings(images=20))[1] == NOTHING_TOLD
    plain = plain.with_guides(classify=new_classifier(plain, ("a", "b"), 0))
    _, (labels, *_) = seeds_and_condition(plain, SweepSettings(images=20))
    assert labels is not None and labels.bincount().tolist() == [10, 10]


def test_what_two_distances_share_cancels_in_the_error_of_their_difference() -> None:
    """Against repeated generates: the error of a difference is that of the difference, far below that of either."""
    differences, claimed, own = [], [], []
    for i in range(60):
        drawn, real = (torch.randn(100, 3, generator=generator(i, name)).double() for name in ("drawn", "real"))
        nudged = drawn + 0.1 * torch.randn(100, 3, generator=generator(i, "nudge")).double()
        one, other = frechet_jackknife(drawn, real), frechet_jackknife(nudged, real)
        difference = other.minus(one)
        differences.append(difference.value)
        claimed.append(difference.error**2)
        own.append(one.error**2)
    spread = float(torch.tensor(differences).std())
    assert 0.8 < (sum(claimed) / 60) ** 0.5 / spread < 1.6
    assert sum(claimed) < 0.25 * sum(own)


def test_the_fewest_calls_that_are_not_clearly_worse_are_recommended() -> None:
    best = row("ddim", 20, 1.0, (0.9, 1.1, 1.0))
    same = row("unipc-2", 10, 1.05, (1.0, 1.1, 1.0))  # the difference is 0.05 give or take more than that
    better_there = row("deis-3", 10, 1.02, (0.9, 1.16, 1.0))
    worse = row("heun", 5, 1.5, (1.4, 1.6, 1.5))  # by exactly a half in every group
    found = sweep(best, same, better_there, worse)
    assert worse.jackknife.minus(best.jackknife).error == pytest.approx(0, abs=1e-9)
    assert found.recommended == better_there
    assert sweep(best, worse).recommended == best
    uncertain = row("heun", 5, 1.3, (0.3, 2.3, 1.3))
    assert uncertain.jackknife.minus(best.jackknife).error > 0.3
    assert sweep(best, uncertain).recommended == best, "too few images to tell is no reason to generate worse ones"


def decision(present: SweepRow, *rows: SweepRow, images: int = 200, num_test: int = 100) -> Decision:
    now = Present(sampling=SamplingSettings(), row=present)
    found = sweep(*rows).model_copy(update={"present": now, "num_test": num_test})
    return decide(found.model_copy(update={"settings": SweepSettings(images=images)}))


SURE, UNSURE = (0.0, 0.0, 0.0), (-0.3, 0.3, 0.0)
"""What leaving groups out changes: nothing, or much."""


def known(sampler: str, calls: int, value: float, spread: tuple[float, ...] = SURE) -> SweepRow:
    return row(sampler, calls, value, tuple(value + each for each in spread))


CHANGED = {
    "clearly better at the same calls": (known("ddim", 10, 1.0), known("unipc-2", 10, 0.9)),
    "the same at fewer calls": (known("ddim", 50, 1.0, UNSURE), known("unipc-2", 10, 1.05)),
    "better at fewer calls": (known("ddim", 50, 1.0), known("unipc-2", 10, 0.5)),
}
KEPT = {
    "better within the error at the same calls": (known("ddim", 10, 1.0, UNSURE), known("unipc-2", 10, 0.9)),
    "worse at the same calls": (known("ddim", 10, 1.0), known("unipc-2", 10, 1.1)),
    "better at more calls": (known("ddim", 10, 1.0), known("unipc-2", 20, 0.5)),
    "clearly worse at fewer calls": (known("ddim", 50, 1.0), known("unipc-2", 10, 1.05)),
    "much worse, of which nothing is sure": (known("ddim", 50, 1.0, (-2.0, 2.0, 0.0)), known("heun", 10, 1.5)),
}


@pytest.mark.parametrize("name", CHANGED)
def test_a_default_gives_way_to_what_is_better_or_as_good_with_fewer_calls(name: str) -> None:
    present, other = CHANGED[name]
    assert decision(present, other).row == other


@pytest.mark.parametrize("name", KEPT)
def test_a_default_stays_where_nothing_is_known_to_be_better(name: str) -> None:
    present, other = KEPT[name]
    found = decision(present, other)
    assert found.row is None and ("cannot tell" in found.reason or "nothing is better" in found.reason)


def test_too_few_images_change_no_default() -> None:
    present, other = known("ddim", 50, 1.0), known("unipc-2", 10, 0.5)
    assert decision(present, other).row == other
    assert "199 images" in decision(present, other, images=199).reason
    few = decision(present, other, num_test=63)
    assert few.row is None and "200 against 63 images are too few, fewer than the 64 features" in few.reason


def test_the_best_of_those_that_may_is_taken() -> None:
    """Not the best of all, which takes more calls than the default."""
    rows = known("heun", 40, 0.1), known("unipc-2", 10, 0.8), known("deis-3", 10, 0.7), known("ddim", 5, 0.95)
    assert decision(known("ddim", 20, 1.0), *rows).row == rows[2]


def test_a_sweep_survives_its_file() -> None:
    found = sweep(row("ddim", 20, 1.0, (0.9, 1.1)))
    assert Sweep.model_validate_json(found.model_dump_json()) == found


def test_the_distance_to_the_reference_is_in_levels() -> None:
    zero = torch.zeros(2, 1, 2, 2, dtype=torch.uint8)
    assert apart(zero + 200, zero) == 200
    assert apart(torch.tensor([[0, 30], [40, 0]], dtype=torch.uint8)[None, None], zero[:1]) == 25
