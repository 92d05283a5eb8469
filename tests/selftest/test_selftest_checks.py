"""The self-test holds, covers what there is, and calls a failure a failure."""

import json
import math
import os
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from typing import Any

import pytest
import torch
from standing import command

from ancestral.diffusion.categorical import PredictsCategorical
from ancestral.diffusion.parameterization import Parameterization
from ancestral.pipeline.building import build_diffusion, build_sampler
from ancestral.sampling import samplers as every_sampler
from ancestral.sampling.branching import Branched
from ancestral.sampling.samplers import Sampler
from ancestral.selftest import GROUPS, orders, parameterizations, samplers, schedules
from ancestral.selftest.checks import Check, largest, outcome, run
from ancestral.settings import DiffusionSettings, SamplingSettings, choices, parse

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What `ancestral selftest` finds, in a process of its own: without the suite's checks of shapes it is faster."""
    words, here = ("selftest", "--json", "--device", "cpu"), tmp_path_factory.mktemp("selftest")
    with command(*words, cwd=here, environment={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        out, err = process.communicate(timeout=600)
    assert process.returncode in (0, 1), err
    return list(json.loads(out)["checks"])


@pytest.mark.parametrize("group", GROUPS)
def test_every_check_holds(group: str, outcomes: list[dict[str, Any]]) -> None:
    found = [each for each in outcomes if each["group"] == group]
    assert [(each["name"], each["error"], each["fault"]) for each in found if not each["held"]] == []
    assert [each["name"] for each in found] == [check.name for check in GROUPS[group]] and len(found) > 3


def test_an_error_just_beyond_what_is_allowed_fails() -> None:
    assert outcome("g", Check("at the limit", 1e-9, lambda device: 1e-9), CPU).held
    assert not outcome("g", Check("beyond", 1e-9, lambda device: 1.01e-9), CPU).held
    assert not outcome("g", Check("exact", 0.0, lambda device: 1e-300), CPU).held


def test_no_number_is_a_failure() -> None:
    """Trap: `max` of Python passes over NaN, and NaN > allowed is false."""
    for error in (math.nan, math.inf, largest([0.0, math.nan, 0.0]), torch.tensor([0.0, math.nan])):
        assert not outcome("g", Check("n", 1.0, lambda device, error=error: error), CPU).held


def test_a_check_that_raises_has_failed_and_the_next_is_run() -> None:
    def raises(device: torch.device) -> float:
        raise ZeroDivisionError("by 0")

    first, second = run({"g": [Check("raises", 1.0, raises), Check("holds", 1.0, lambda device: 0.5)]}, CPU)
    assert (first.held, first.error, first.fault) == (False, math.inf, "ZeroDivisionError: by 0")
    assert second.held and second.fault == ""


def test_every_schedule_is_checked() -> None:
    named = {*schedules.TABLES, "betas"} - {"zero-terminal"}
    assert named == {*choices(DiffusionSettings.model_fields["schedule"])}
    assert any(check.name.startswith("own betas") for check in schedules.CHECKS)
    for name, table in schedules.TABLES.items():
        zero = name == "zero-terminal"
        settings = {"name": "linear", "zero_terminal_snr": True} if zero else {"name": name}
        prediction = parse(
            DiffusionSettings, {"schedule": {**settings, "num_timesteps": 50}, "prediction": "v"}, "the test"
        )
        assert torch.equal(build_diffusion(prediction).schedule.alpha_bar, table(50).alpha_bar)


for module in iter_modules(every_sampler.__path__):
    import_module(f"{every_sampler.__name__}.{module.name}")


def classes(parent: type[Sampler]) -> Iterator[type[Sampler]]:
    """All of the package that are derived from a class, named anywhere or not, but for abstract ones."""
    for kind in parent.__subclasses__():
        yield from classes(kind)
        if kind.__module__.startswith("ancestral.sampling.") and not isabstract(kind):
            yield kind


def test_every_parameterisation_and_sampler_is_checked() -> None:
    kinds = {type(each) for each in parameterizations.ALL.values()} | {PredictsCategorical}
    assert kinds == {*Parameterization.__subclasses__()}
    built = {type(build(schedules.SHORT)) for build in samplers.KINDS.values()}
    names = SamplingSettings.model_fields["sampler"].annotation.__args__
    process = build_diffusion(DiffusionSettings())
    assert {*samplers.KINDS} == {*names}
    for name, build in samplers.KINDS.items():
        assert type(build(schedules.SHORT)) is type(build_sampler(SamplingSettings(sampler=name), process))
    assert built == {*classes(Sampler)} - {Branched}, "every class there is, but for that of two chains"
    assert {build(schedules.SHORT).order for build in samplers.KINDS.values()} == {1, 2, 3, 4}


def test_a_polynomial_of_one_degree_more_is_not_followed_exactly() -> None:
    """So the checks that say exact have something to tell apart."""
    for followed in orders.FOLLOWED:
        above = followed._replace(degree=followed.degree + 1)
        assert followed.degree == 3 or orders.exactly(above, CPU) > 1e-5


def test_names_are_different_and_fit_a_line() -> None:
    names = Counter((group, check.name) for group, checks in GROUPS.items() for check in checks)
    assert max(names.values()) == 1
    assert max(len(name) for _, name in names) <= 60
