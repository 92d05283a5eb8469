"""Shapes and types of the package, checked in the first calls of every function in every test.

The ten thousand calls of a training run say nothing that the first few do not, and checking them takes as long as
making them. So a function is wrapped where it is defined, and after its first calls the wrapper only calls it: the
import hook of jaxtyping has no way out, and took a third of the time of all tests.
"""

import sys
from collections.abc import Callable
from functools import wraps
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from inspect import isasyncgenfunction, iscoroutinefunction
from types import FunctionType, ModuleType
from typing import Any

from beartype import beartype
from jaxtyping import jaxtyped

CALLS = 2
"""Of a function in a test."""
tests_begun = 0


def begin_test() -> None:
    """Every function is checked again."""
    global tests_begun
    tests_begun += 1


def first_calls(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, its arguments and its result checked in the first `CALLS` calls of a test."""
    checked: Callable[..., Any] | None = None  # most functions are never called in a process, and making it takes time
    test, calls = 0, 0

    @wraps(function)
    def check(*args: Any, **named: Any) -> Any:
        nonlocal checked, test, calls
        if test != tests_begun:
            test, calls = tests_begun, 0
        if calls >= CALLS:
            return function(*args, **named)
        calls += 1
        checked = checked or jaxtyped(function, typechecker=beartype)
        return checked(*args, **named)

    return check


def check_functions(owner: ModuleType | type, module: str) -> None:
    """Wraps the functions that a module, or a class of it, defines; not those that a decorator made something else."""
    for name, value in [*vars(owner).items()]:
        inner = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        if iscoroutinefunction(inner) or isasyncgenfunction(inner):
            continue  # what they return is no result yet, and the wrapper would not be such a function
        if isinstance(inner, FunctionType) and inner.__module__ == module:
            if not hasattr(inner, "__wrapped__") and (not name.startswith("__") or name == "__call__"):
                wrapped = first_calls(inner)
                setattr(owner, name, wrapped if inner is value else type(value)(wrapped))
        elif isinstance(inner, type) and inner.__module__ == module and inner is not owner:
            check_functions(inner, module)


class CheckedLoader(SourceFileLoader):
    """A module with its functions checked, before anyone has imported them from it."""

    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        check_functions(module, module.__name__)


class Checked(MetaPathFinder):
    """Finds the package's modules."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name.partition(".")[0] != "ancestral":
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = CheckedLoader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Checks what is imported from here on."""
    sys.meta_path.insert(0, Checked())
