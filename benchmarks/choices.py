"""The choices of the CPU path, one at a time against the trainer's own: a ratio above 1 says that the trainer is right.

Some belong to a process (how waiting threads wait, which allocator serves them): those are measured in processes of
their own, started in alternation. Compiling is measured so too, and given up where it takes too long to start.
"""

import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

from ancestral.compute import computes_in_bfloat16
from benchmarks.child import run_child
from benchmarks.machine import device
from benchmarks.pairs import Case, Cases, Contestant, timed
from benchmarks.recipe import THREADS, ForwardRecipe, Recipe, recipe_forward, recipe_step
from benchmarks.workloads import WORKLOADS, Workload

R = TypeVar("R", Recipe, ForwardRecipe)

CHOSEN = "as the trainer does"
CHILD_STEPS = 5
COMPILE_LIMIT_SECONDS = 240.0
LIBRARY_FOLDERS = ("/usr/lib", "/usr/local/lib", "/opt")

RECIPES = {
    "channels first in memory": Recipe(memory="channels-first"),
    "optimiser by foreach": Recipe(optimizer="foreach"),
    "optimiser one by one": Recipe(optimizer="one-by-one"),
    "average one by one": Recipe(average="one-by-one"),
    "gradients kept": Recipe(gradients="kept"),
    "two micro-batches": Recipe(micro_batches=2),
    "four micro-batches": Recipe(micro_batches=4),
    "half the threads": Recipe(threads=max(1, THREADS // 2)),
}
FORWARDS = {
    "channels first in memory": ForwardRecipe(memory="channels-first"),
    "dropout removed": ForwardRecipe(dropout="removed"),
    "no_grad": ForwardRecipe(grad="no-grad"),
    "half the threads": ForwardRecipe(threads=max(1, THREADS // 2)),
    "one image a call": ForwardRecipe(batch=1),
    "4 images a call": ForwardRecipe(batch=4),
    "64 images a call": ForwardRecipe(batch=64),
    "256 images a call": ForwardRecipe(batch=256),
}
ENVIRONMENTS = {
    "waiting threads sleep": {"OMP_WAIT_POLICY": "passive"},
    "waiting threads spin": {"OMP_WAIT_POLICY": "active"},
    "threads bound to cores": {"OMP_PROC_BIND": "true"},
    "huge pages (torch)": {"THP_MEM_ALLOC_ENABLE": "1"},
    "huge pages (glibc)": {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"},
}


def choices(quick: bool, key: str = "small") -> Cases:
    """Every choice on a network; seconds of a step, or of a call per image."""
    work = WORKLOADS[key](quick)
    yield from _steps(work)
    yield from _forwards(work, quick)
    yield from _environments(key, work.name, quick)
    yield from _compiled(key, work.name, quick)


def _steps(work: Workload) -> Cases:
    for name, recipe in {**RECIPES, **_precisions(Recipe())}.items():
        if work.batch_size >= recipe.micro_batches:
            steps = {CHOSEN: Recipe(), name: recipe}
            contestants = [Contestant(who, timed(recipe_step(work, how))) for who, how in steps.items()]
            yield Case(f"step, {work.name}: {name}", contestants)


def _forwards(work: Workload, quick: bool) -> Cases:
    in_bfloat16 = {"weights in bfloat16": ForwardRecipe(weights="bfloat16")} if computes_in_bfloat16(device()) else {}
    for name, recipe in {**FORWARDS, **in_bfloat16, **_precisions(ForwardRecipe())}.items():
        if not quick or (recipe.batch or 1) <= 4:
            calls = {CHOSEN: ForwardRecipe(), name: recipe}
            contestants = [Contestant(who, _per_image(work, how)) for who, how in calls.items()]
            yield Case(f"call per image, {work.name}: {name}", contestants)


def _per_image(work: Workload, recipe: ForwardRecipe) -> Callable[[], float]:
    return timed(recipe_forward(work, recipe), shortest=0.1, per=recipe.batch or work.batch_size)


def _precisions(chosen: R) -> dict[str, R]:
    """The other precisions; without units for bfloat16 there is nothing to choose."""
    if not computes_in_bfloat16(device()):
        return {}
    return {
        "float32": replace(chosen, precision="float32"),
        "float32, multiplied in bfloat16": replace(chosen, precision="mixed-products"),
    }


def _environments(key: str, name: str, quick: bool) -> Cases:
    found = dict(_allocators())
    for what, environment in {} if quick else {**ENVIRONMENTS, **found}.items():
        chosen, other = (_child(key, Recipe(), quick, each) for each in ({}, environment))
        yield Case(f"process, {name}: {what}", [Contestant(CHOSEN, chosen), Contestant(what, other)])
    if not quick:
        chosen, other = (_child(key, Recipe(), quick, gives_back=given) for given in (False, True))
        what = "freed memory given back"
        yield Case(f"process, {name}: {what}", [Contestant(CHOSEN, chosen), Contestant(what, other)])


def _allocators() -> Iterator[tuple[str, dict[str, str]]]:
    """Allocators that stand ready on this system, by name."""
    for name in ("tcmalloc", "jemalloc", "mimalloc"):
        for folder in LIBRARY_FOLDERS:
            libraries = sorted(Path(folder).rglob(f"lib{name}*.so*")) if Path(folder).is_dir() else []
            if libraries:
                yield name, {"LD_PRELOAD": str(libraries[0])}
                break


def _compiled(key: str, name: str, quick: bool) -> Cases:
    if quick:
        return
    compiled = _child(key, Recipe(compiled=True), quick, limit_seconds=COMPILE_LIMIT_SECONDS)
    try:
        compiled()
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as fault:
        print(f"compiled: left out on {name} ({type(fault).__name__}; limit {COMPILE_LIMIT_SECONDS:.0f} s)")
        return
    chosen = _child(key, Recipe(), quick)
    yield Case(f"process, {name}: compiled", [Contestant(CHOSEN, chosen), Contestant("compiled", compiled)])


def _child(
    key: str,
    recipe: Recipe,
    quick: bool,
    environment: Mapping[str, str] | None = None,
    limit_seconds: float | None = None,
    gives_back: bool = False,
) -> Callable[[], float]:
    steps = 1 if quick else CHILD_STEPS
    request = {"workload": key, "recipe": asdict(recipe), "quick": quick, "steps": steps, "gives_back": gives_back}
    return lambda: run_child(request, environment, limit_seconds)["seconds"]
