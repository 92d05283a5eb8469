"""The search on made-up costs and a made-up clock: no network, no time."""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ancestral.compute import Choices
from ancestral.errors import InputError
from ancestral.progress import finish
from ancestral.tuning import Tuning
from ancestral.tuning.choosing import (
    AGREEING,
    FEWEST_PAIRS,
    MARGIN,
    MOST_PAIRS,
    TOGETHER,
    CannotCompute,
    PairedTimes,
    Question,
    Work,
    choose,
    in_turns,
)

USUAL = Choices()
THREADS = [Question("training", "threads", (2,)), Question("training", "threads", (1,))]
PRECISION = [Question("training", "precision", ("bfloat16",))]
PARTS = [Question("training", "micro_batch", (16, 8, 4, 2, 1))]
CHUNK = [Question("generating", "chunk", (128, 256)), Question("generating", "chunk", (32, 16, 8))]
PLENTY = 1e6


@dataclass
class Machine:
    """What each choice costs here; every measurement takes `seconds` of its clock, and some noise."""

    cost: Callable[[Work, Choices], float]
    noise: float = 0.0
    seconds: float = 1.0
    now: float = 0.0
    calls: list[tuple[Work, Choices]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(0)

    def __call__(self, work: Work, choices: Choices) -> float:
        self.now += self.seconds
        self.calls.append((work, choices))
        return self.cost(work, choices) * self.random.lognormvariate(0, self.noise)

    def tune(self, *questions: list[Question], seconds: float = PLENTY) -> Tuning:
        search = choose(USUAL, [*itertools.chain(*questions)], self, seconds, lambda: self.now)
        return finish(search, self.said.append)


def free(work: Work, choices: Choices) -> float:
    """Nothing makes a difference."""
    return 1.0


def one_thread_is_best(work: Work, choices: Choices) -> float:
    return {None: 1.0, 2: 1.01, 1: 0.5}[choices.threads]


def test_the_faster_value_is_taken() -> None:
    found = Machine(one_thread_is_best).tune(THREADS, PRECISION)
    assert found.choices == USUAL.model_copy(update={"threads": 1})
    taken = {(c.choice, c.candidate): c.taken for c in found.comparisons}
    assert taken == {
        ("threads", 2): False,
        ("threads", 1): True,
        ("precision", "bfloat16"): False,
        (TOGETHER, "chosen"): True,
    }
    assert found.speeds["training"].after == pytest.approx(2 * found.speeds["training"].before)


def test_a_tie_keeps_the_usual_choices() -> None:
    found = Machine(free).tune(THREADS, PRECISION, PARTS, CHUNK)
    assert found.choices == USUAL and not any(c.taken for c in found.comparisons)
    assert TOGETHER not in {c.choice for c in found.comparisons}, "nothing to compare"


def test_a_gain_within_the_margin_is_a_tie() -> None:
    def a_little(work: Work, choices: Choices) -> float:
        return 0.98 if choices.precision == "bfloat16" else 1.0

    assert Machine(a_little).tune(PRECISION).choices == USUAL
    assert Machine(a_little, noise=0.001).tune(PRECISION).choices == USUAL


@pytest.mark.slow
def test_noise_makes_a_choice_out_of_a_tie_once_in_fifty_times() -> None:
    """Trap: a lucky pair. With 10 % of noise the median alone would pass a tie one time in six."""
    machine, wrong = Machine(free, noise=0.1), 0
    for _ in range(400):
        wrong += machine.tune(PRECISION).choices != USUAL
    assert wrong <= 16


def test_noise_hides_no_real_gain() -> None:
    def a_fifth(work: Work, choices: Choices) -> float:
        return 0.8 if choices.precision == "bfloat16" else 1.0

    machine = Machine(a_fifth, noise=0.1)
    assert sum(machine.tune(PRECISION).choices.precision == "bfloat16" for _ in range(50)) >= 48


def turns(*ways: Callable[[], float], pairs: int) -> list[tuple[float, ...]]:
    """Some rounds, as lists of values by way."""
    return [*zip(*itertools.islice(in_turns(ways), pairs), strict=True)]


def test_a_machine_that_slows_down_makes_neither_way_faster() -> None:
    """Trap: all of A first, then all of B."""
    now = itertools.count()

    def slower_and_slower() -> float:
        return float(1.1 ** next(now))

    outcome = PairedTimes(*turns(slower_and_slower, slower_and_slower, pairs=10))
    assert not outcome.faster and outcome.ratio == pytest.approx(1.0, abs=0.1)


def test_each_question_starts_from_the_best_so_far() -> None:
    """Parts pay only on one thread."""

    def cost(work: Work, choices: Choices) -> float:
        return one_thread_is_best(work, choices) * (0.8 if choices.threads == 1 and choices.micro_batch == 16 else 1.0)

    assert Machine(cost).tune(THREADS, PARTS).choices.micro_batch == 16
    assert Machine(cost).tune(PARTS, THREADS).choices.micro_batch is None


def test_a_row_of_values_is_followed_until_it_gets_no_faster() -> None:
    costs = {None: 1.0, 16: 0.9, 8: 0.8, 4: 0.79, 2: 0.1, 1: 0.1}
    found = Machine(lambda work, choices: costs[choices.micro_batch]).tune(PARTS)
    assert [(c.best, c.candidate, c.taken) for c in found.comparisons if c.choice == "micro_batch"] == [
        (None, 16, True),
        (16, 8, True),
        (8, 4, False),
    ]
    assert found.choices.micro_batch == 8


@pytest.mark.parametrize("best", [8, 32, 64, 128, 256])
def test_more_images_at_once_or_fewer_whichever_is_fastest(best: int) -> None:
    def cost(work: Work, choices: Choices) -> float:
        return max(choices.chunk / best, best / choices.chunk)

    found = Machine(cost).tune(CHUNK)
    assert found.choices.chunk == best
    assert {work for work, _ in Machine(cost).calls} <= {"generating"}


def test_each_work_is_asked_what_shows_in_it() -> None:
    machine = Machine(free)
    machine.tune(CHUNK, THREADS)
    changed = {
        name: {work for work, choices in machine.calls if getattr(choices, name) != getattr(USUAL, name)}
        for name in ("threads", "chunk")
    }
    assert changed == {"threads": {"training"}, "chunk": {"generating"}}


def test_what_is_no_gain_all_together_is_taken_back_and_said() -> None:
    """Two choices, each faster than what came before it in its own pairs, by a fault of the machine."""
    calls = {"n": 0}

    def turns_bad(work: Work, choices: Choices) -> float:
        calls["n"] += 1
        late = calls["n"] > 2 * (MOST_PAIRS + 1)
        return (2.0 if late else 0.5) if choices.precision == "bfloat16" else 1.0

    found = Machine(turns_bad).tune(PRECISION)
    assert [c.taken for c in found.comparisons] == [True, False] and found.comparisons[-1].choice == TOGETHER
    assert found.choices == USUAL and found.speeds["training"].after == found.speeds["training"].before


def test_pairs_alternate_after_one_warm_up_of_each() -> None:
    calls: list[str] = []

    def way(name: str) -> Callable[[], float]:
        return lambda: calls.append(name) or float(len(calls))

    first, second = turns(way("A"), way("B"), pairs=4)
    assert "".join(calls) == "AB" + "ABBAABBA"
    assert (first, second) == ((3, 6, 7, 10), (4, 5, 8, 9)), "each value is that of its way"


def test_the_warm_up_does_not_count() -> None:
    """Trap: the first step of a new network, which allocates, builds and compiles."""
    costs = iter([9.0, 1.0, 2.0])
    assert turns(lambda: next(costs), pairs=2) == [(1.0, 2.0)]


def test_with_time_enough_there_are_as_many_pairs_as_are_needed() -> None:
    found = Machine(free).tune(PRECISION)
    assert [len(c.outcome.ratios) for c in found.comparisons if c.outcome] == [MOST_PAIRS]


def test_a_pair_or_two_prove_nothing_and_it_is_said() -> None:
    """Trap: one lucky pair of a large network whose step takes half of the budget."""
    machine = Machine(lambda work, choices: 0.5 if choices.precision == "bfloat16" else 1.0)
    found = machine.tune(PRECISION, seconds=3.0)
    assert found.choices == USUAL and [c.note for c in found.comparisons] == ["too few pairs to tell"]


def test_what_seems_faster_takes_time_of_others_to_be_sure() -> None:
    machine = Machine(one_thread_is_best)
    found = machine.tune(THREADS, CHUNK, seconds=20.0)
    pairs = {c.candidate: len(c.outcome.ratios) for c in found.comparisons if c.choice == "threads" and c.outcome}
    assert pairs == {2: 1, 1: FEWEST_PAIRS} and found.choices.threads == 1


@given(st.floats(0.0, 400.0), st.floats(0.01, 50.0))
def test_the_budget_is_overrun_by_no_more_than_a_comparison(seconds: float, each: float) -> None:
    """A comparison is two warm-ups and at least a pair; the rest of its pairs fit into its share."""
    machine = Machine(one_thread_is_best, seconds=each)
    found = machine.tune(THREADS, PRECISION, PARTS, CHUNK, seconds=seconds)
    assert machine.now <= seconds + 4 * each + 1e-6
    measured = [c for c in found.comparisons if c.outcome is not None]
    assert all(len(c.outcome.usual) >= 1 for c in measured if c.outcome)
    assert all(c.note == "no time left" for c in found.comparisons if c.outcome is None)
    assert len(machine.said) == sum(c.choice != TOGETHER for c in measured) + len(found.speeds)


def test_time_is_shared_by_all_that_is_asked() -> None:
    """Trap: the first comparison takes all the time there is."""
    machine = Machine(free)
    found = machine.tune(THREADS, PRECISION, CHUNK, seconds=100.0)
    pairs = [len(c.outcome.usual) for c in found.comparisons if c.outcome]
    assert len(pairs) == len(found.comparisons) == 5 and max(pairs) <= 3 * min(pairs)
    assert {*found.speeds} == {"training", "generating"} and machine.now >= 70


def test_without_time_nothing_is_measured_and_the_usual_stays() -> None:
    machine = Machine(one_thread_is_best)
    found = machine.tune(THREADS, seconds=0.0)
    assert machine.calls == [] and found.choices == USUAL and found.speeds == {}
    assert {c.note for c in found.comparisons} == {"no time left"}


def test_what_a_machine_cannot_do_is_not_taken_and_the_reason_stands_there() -> None:
    def too_much(work: Work, choices: Choices) -> float:
        if choices.chunk > 128:
            raise CannotCompute(choices, "out of memory")
        return 64 / choices.chunk

    found = Machine(too_much).tune(CHUNK)
    assert found.choices.chunk == 128
    failed = next(c for c in found.comparisons if c.candidate == 256)
    assert (failed.taken, failed.outcome, failed.note) == (False, None, "out of memory")


def test_a_machine_that_cannot_do_the_usual_says_so() -> None:
    """Trap: the candidate blamed for what the usual choices cannot do either."""

    def no_memory(work: Work, choices: Choices) -> float:
        raise CannotCompute(choices, "out of memory")

    with pytest.raises(InputError, match="out of memory"):
        Machine(no_memory).tune(PRECISION)


COMPILE = [Question("training", "compile", ("whole",))]


def test_networks_are_compiled_only_where_that_is_what_is_asked() -> None:
    machine = Machine(lambda work, choices: 0.1 if choices.compile == "whole" else 1.0)
    found = machine.tune(COMPILE, PRECISION)
    assert found.choices.compile == "whole"
    assert not [c for _, c in machine.calls if c.precision == "bfloat16" and c.compile != "no"]


def test_or_where_the_user_has_set_it() -> None:
    machine, usual = Machine(free), USUAL.model_copy(update={"compile": "whole"})
    finish(choose(usual, PRECISION, machine, PLENTY, lambda: machine.now, compile_all=True))
    assert {choices.compile for _, choices in machine.calls} == {"whole"}


@given(st.lists(st.floats(0.5, 2.0), min_size=1, max_size=MOST_PAIRS))
def test_faster_means_by_the_margin_and_in_most_pairs(ratios: list[float]) -> None:
    outcome = PairedTimes(tuple(ratios), (1.0,) * len(ratios))
    if outcome.faster:
        assert median(ratios) > MARGIN and sum(ratio <= 1 for ratio in ratios) <= (1 - AGREEING) * len(ratios)
    if min(ratios) > MARGIN:
        assert outcome.faster == (len(ratios) >= FEWEST_PAIRS)
    if max(ratios) <= MARGIN:
        assert not outcome.faster


ENGINES = [
    Question("one image", "engine", ("openvino",)),
    Question("one image", "engine", ("onnxruntime",)),
    Question("generating", "engine", ("torch",)),
]


@pytest.mark.parametrize(("of_a_chunk", "chosen"), [(0.9, "onnxruntime"), (1.0, "onnxruntime"), (1.1, "torch")])
def test_an_engine_that_is_fastest_for_one_image_stays_unless_torch_is_faster_for_a_chunk(
    of_a_chunk: float, chosen: str
) -> None:
    def cost(work: Work, choices: Choices) -> float:
        return {"torch": 1.0, "openvino": 0.5, "onnxruntime": 0.4 if work == "one image" else of_a_chunk}[
            choices.engine
        ]

    found = Machine(cost).tune(ENGINES)
    assert found.choices.engine == chosen
    assert [(c.candidate, c.best) for c in found.comparisons if c.choice == "engine"] == [
        ("openvino", "torch"),
        ("onnxruntime", "openvino"),
        ("torch", "onnxruntime"),
    ]


def test_torch_is_not_compared_with_itself() -> None:
    found = Machine(lambda work, choices: 1.0).tune(ENGINES)
    assert [c.candidate for c in found.comparisons] == ["openvino", "onnxruntime"]
