"""No public type of the packages bears a name that another one bears."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"


def defined(text: str) -> Iterator[str]:
    """Names of the public classes and type aliases of a module, from its text."""
    for node in ast.parse(text).body:
        match node:
            case ast.ClassDef(name=name):
                yield from [] if name.startswith("_") else [name]
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() | ast.BinOp()) if name[:1].isupper():
                yield from [] if name.isupper() else [name]


def twice(texts: dict[str, str]) -> dict[str, list[str]]:
    """The modules of each name that more than one of them defines."""
    homes: dict[str, list[str]] = {}
    for module, text in texts.items():
        for name in defined(text):
            homes.setdefault(name, []).append(module)
    return {name: modules for name, modules in homes.items() if len(modules) > 1}


def test_every_public_type_has_a_name_of_its_own() -> None:
    paths = sorted(SOURCE.rglob("*.py"))
    assert len(paths) > 100
    assert twice({str(path.relative_to(SOURCE)): path.read_text(encoding="utf-8") for path in paths}) == {}


@pytest.mark.parametrize("second", ["class Row: ...", "Row = tuple[str, int]", "Row = int | str"])
def test_a_second_definition_is_found(second: str) -> None:
    assert twice({"a": "class Row:\n    pass", "b": second, "c": "class _Row: ...\nROW = 1 + 1"}) == {"Row": ["a", "b"]}
