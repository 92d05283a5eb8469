"""What a setting must be, in one line: the faults that pydantic finds, in this package's words."""

import types
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic_core import ErrorDetails

from ancestral.names import SAME, meant, spelled
from ancestral.synonyms import answer

LONGEST_NUMBER = 20  # digits of a whole number, sign included
CONTRACTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "missing": lambda about: "a value for it",
    "greater_than": lambda about: f"more than {_number(about['gt'])}",
    "greater_than_equal": lambda about: f"at least {_number(about['ge'])}",
    "less_than": lambda about: f"less than {_number(about['lt'])}",
    "less_than_equal": lambda about: f"at most {_number(about['le'])}",
    "multiple_of": lambda about: f"a multiple of {_number(about['multiple_of'])}",
    "finite_number": lambda about: "a finite number",
    "too_short": lambda about: f"at least {_values(about['min_length'])}",
    "too_long": lambda about: f"at most {_values(about['max_length'])}",
    "string_too_short": lambda about: f"at least {about['min_length']} letters",
    "string_too_long": lambda about: f"at most {about['max_length']} letters",
    "string_pattern_mismatch": lambda about: f"a text like {about['pattern']}",
    "string_unicode": lambda about: "a text that is valid Unicode",
    "none_required": lambda about: "none",
}
"""By pydantic's kind of fault, what would be right; those of types are in `TYPES`."""
TYPES = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "path": "a path",
    "tuple": "a list of values",
    "list": "a list of values",
    "dict": "a table of settings",
    "model": "a table of settings",
}
"""What is expected where a fault's kind begins with this: int_parsing, int_type, int_from_float, ..."""


def described(faults: Sequence[ErrorDetails], known: Iterable[str]) -> str:
    """The first fault of a validation in one line: dotted name, contract, value, nearest name."""
    return ": ".join(filter(None, first_fault(faults, known)))


def first_fault(faults: Sequence[ErrorDetails], known: Iterable[str]) -> tuple[str, str]:
    """The dotted name, one of `known`, of the setting that is wrong, "" where it is none alone, and what is wrong."""
    names = [*known]
    chosen, faults = [str(part) for part in faults[0]["loc"]], [_of_setting(fault, names) for fault in faults]
    fault = faults[0]
    name = dotted(fault["loc"], names)
    if fault["type"] == "extra_forbidden" and name in names and len(chosen) > 2:  # branch, choice, setting of another
        branch, choice, field = chosen[-3:]
        return name.rpartition(".")[0], f"expected no {field} with the {branch} {choice}, which does not use it"
    if fault["type"] == "extra_forbidden":
        return "", f"unknown setting {name}{answer(name, names)}"
    if fault["type"] == "value_error":
        return name, str(fault["ctx"]["error"])
    same = _ways([other for other in faults if dotted(other["loc"], names) == name], len(name.split(".")))
    expected, given = " or ".join(dict.fromkeys(map(_expected, same))), same[0]["input"]
    shown = "none" if given is None else repr(given)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    near = meant(given, _choices(same[0])) if same[0]["type"] == "literal_error" and isinstance(given, str) else ""
    remedy = f"; {near}" if near.startswith("did") else ""
    return name or "settings", f"expected {expected}, got {shown}{remedy}"


def _of_setting(fault: ErrorDetails, names: Sequence[str]) -> ErrorDetails:
    """`fault` at the path that a user knows, in which pydantic names the choice that a branch of several is."""
    path = fault["loc"][:1]
    for part in fault["loc"][1:]:
        longer = ".".join(map(str, (*path, part)))
        leads = dotted(path, names) in names or any(f"{name}.".startswith(f"{longer}.") for name in names)
        if leads or (fault["type"] == "extra_forbidden" and part == fault["loc"][-1]):
            path = (*path, part)
    if fault["type"] == "union_tag_invalid":  # as of any word that is none of those known
        about = fault["ctx"]
        fault = {**fault, "type": "literal_error", "input": about["tag"], "ctx": {"expected": about["expected_tags"]}}
        path = (*path, "name")
    return {**fault, "loc": path}


def dotted(path: Sequence[int | str], names: Sequence[str]) -> str:
    """`path` down to the setting itself; what follows is an index, or pydantic's name for one way of reading it."""
    parts = [str(part) for part in path]
    ends = (".".join(parts[:end]) for end in range(1, len(parts) + 1))
    return next((name for name in ends if name in names), ".".join(parts))


def _ways(faults: Sequence[ErrorDetails], depth: int) -> Sequence[ErrorDetails]:
    """The first fault of one setting; where it may be of several types and the value is of none, that of each.

    `depth` counts the parts of its dotted name; pydantic's name for a type may follow.
    """
    types_tried = [fault for fault in faults if isinstance(next(iter(fault["loc"][depth:]), 0), str)]
    of_its_type = [fault for fault in types_tried if not _is_of_type(fault)]
    return of_its_type[:1] or types_tried or faults[:1]


def _expected(fault: ErrorDetails) -> str:
    kind, about, last = fault["type"], fault.get("ctx", {}), ("", *fault["loc"])[-1]
    if kind == "missing" and isinstance(last, int):
        return f"at least {_values(last + 1)}"
    if kind == "literal_error":
        return f"one of {', '.join(_choices(fault))}"
    if kind in CONTRACTS:
        return CONTRACTS[kind](about)
    return TYPES.get(kind.partition("_")[0], "another value")


def _is_of_type(fault: ErrorDetails) -> bool:
    """Whether it says that the value is of another type altogether, and not what is wrong with it."""
    kind, last = fault["type"], fault["loc"][-1]
    return kind not in CONTRACTS and kind.partition("_")[0] in TYPES and not isinstance(last, int)


def _choices(fault: ErrorDetails) -> list[str]:
    """The words of "'a', 'b' or 'c'"."""
    return [word.strip("'") for part in fault["ctx"]["expected"].split(", ") for word in part.split(" or ")]


def _number(value: int | float) -> str:
    return str(value) if isinstance(value, int) else f"{value:g}"


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count} values"


def in_known_spelling(value: Any, kind: Any, setting: str) -> Any:
    """`value` with each word spelled as the type `kind` names it, where it names words: DPM++ 2M is dpm++2m."""
    if isinstance(value, bool) and bool not in _members(kind):
        return "true" if value else "false"  # a text, so that no number is made of it
    if isinstance(value, list | tuple):
        parts = [part for part in _members(kind) if get_origin(part) is tuple]
        return [in_known_spelling(each, get_args(parts[0])[0], setting) for each in value] if parts else value
    words = [word for part in _members(kind) if get_origin(part) is Literal for word in get_args(part)]
    words = [word for word in words if isinstance(word, str)]
    same = SAME.get(setting) or SAME.get(setting.removesuffix("s"))
    return spelled(value, words, same) if words and isinstance(value, str) else value


def _members(kind: Any) -> tuple[Any, ...]:
    """The types that a union is of; the type itself where it is none."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def accepts(kind: Any, wanted: type) -> bool:
    """Whether a union, tuple and number among them, has a member of type `wanted`; not what is inside a tuple."""
    if get_origin(kind) is Annotated:
        return accepts(get_args(kind)[0], wanted)
    if get_origin(kind) in (Union, types.UnionType):
        return any(accepts(part, wanted) for part in get_args(kind))
    return kind is wanted or get_origin(kind) is wanted
