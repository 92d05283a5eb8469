"""Broken formulas are noticed; the list of them fits the source."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ancestral.selftest import GROUPS
from ancestral.selftest.checks import run
from benchmarks.mutations import MUTATIONS, SOURCE, Mutation, mutated, noticed, table


def modules(folder: str) -> list[Path]:
    """All files of a folder of the package that hold more than imports."""
    return [path for path in (SOURCE / "ancestral" / folder).glob("*.py") if path.name != "__init__.py"]


NAMED = {mutation.name: mutation for mutation in MUTATIONS}
REQUIRED = {
    *(f"diffusion/{name}.py" for name in ("schedules", "process", "parameterization", "variances", "analytic")),
    *(f"diffusion/{name}.py" for name in ("likelihood", "losses", "timesteps", "probability_flow")),
    *("gaussian.py", "sampling/guidance.py", "sampling/denoiser.py", "sampling/loop.py"),
    *("sampling/plan.py", "../ancestral_lite/plans.py", "../ancestral_lite/normals.py"),
    "rng.py",
    "pipeline/guiding.py",
    "networks/attention.py",
    "networks/blocks.py",
    "networks/unet.py",
    "networks/dit.py",
    "networks/fused.c",
    "data/loader.py",
    *(f"training/{name}.py" for name in ("randomness", "ema", "loss", "optimizer", "budget", "step", "engine")),
    *(f"evaluation/{name}.py" for name in ("bound_sums", "likelihood", "metrics")),
    *(f"{folder}/{path.name}" for folder in ("sampling/samplers", "editing") for path in modules(folder)),
}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_a_mutation_replaces_is_in_the_source_exactly_once(mutation: Mutation) -> None:
    text = (SOURCE / "ancestral" / mutation.file).read_text(encoding="utf-8")
    changed = mutated(mutation, text)
    assert mutation.old not in changed or mutation.old in mutation.new
    if mutation.file.endswith(".py"):
        compile(changed, mutation.file, "exec")


def test_every_part_of_the_mathematics_is_broken_at_least_once() -> None:
    assert {mutation.file for mutation in MUTATIONS} >= REQUIRED
    assert len(NAMED) == len(MUTATIONS) >= 150


def test_a_mutation_of_what_is_not_there_is_refused() -> None:
    for text in ("a = 2", "a = 1; a = 1"):
        with pytest.raises(ValueError, match="write the mutation anew"):
            mutated(Mutation("m", "a.py", "a = 1", "a = 3"), text)


def loaded(mutation: Mutation) -> ModuleType:
    """The mutated module, beside the true one."""
    true = importlib.import_module(f"ancestral.{mutation.file.removesuffix('.py').replace('/', '.')}")
    module = ModuleType(true.__name__)
    text = (SOURCE / "ancestral" / mutation.file).read_text(encoding="utf-8")
    exec(compile(mutated(mutation, text), mutation.file, "exec"), module.__dict__)
    return module


@pytest.mark.parametrize(
    ("name", "group", "failed"),
    [
        ("guidance off by one", "guidance", "guidance 2.5: score of the mixed density"),
        ("slerp of the first one's length", "editing", "slerp: radius and angle move evenly"),
        ("importance weights upside down", "losses", "importance sampling: weights leave the mean alone"),
        ("learned variance linear in v", "variances", "learned: both extremes and their geometric mean"),
    ],
)
def test_a_broken_formula_is_noticed(name: str, group: str, failed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = loaded(NAMED[name])
    for file in [other for key, other in sys.modules.items() if key.startswith("ancestral.selftest.")]:
        for shared in {*vars(file)} & {*vars(module)}:
            if getattr(vars(module)[shared], "__module__", None) == module.__name__:
                monkeypatch.setattr(file, shared, vars(module)[shared])
    chosen = [check for check in GROUPS[group] if check.name in (failed, GROUPS[group][0].name)]
    found = {each.name: each.held for each in run({group: chosen}, torch.device("cpu"))}
    assert not found.pop(failed)
    assert [*found.values()] == [True], "the check that fails says which formula it is"


@pytest.mark.slow
def test_a_copy_of_the_package_is_broken_and_this_one_is_not() -> None:
    """The whole way, by a process of its own: the exit code is 1 and the failed checks are named."""
    mutation = NAMED["bits for nats"]
    one = noticed(mutation)
    assert one.code == 1 and "losses: L_vlb over all t: the terms of the bound but L_T" in one.failed
    row = [*table([mutation], [one])][2]
    assert row.startswith("| bits for nats | `diffusion/likelihood.py` | 1 |") and one.fault == ""
    stale = noticed(mutation._replace(new="math.logg(2)"))
    assert stale.fault.startswith("AttributeError"), "a name that is not there would be noticed by anything"
