"""The keys of a JSON file of another project, each with what it may be: what nobody asks for is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ancestral.errors import InputError
from ancestral.files import read_json

DIFFUSERS_VERSION = "0.36.0"
"""Version whose keys we write."""
Json = dict[str, Any]
V = TypeVar("V")


class Keys:
    """The keys of one JSON object; each must be asked for, and what nobody asks for is refused.

    Every fault is reported under the file and the key it stands in.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.values = path, read_json(path, infinite=True)
        self.asked = {key for key in self.values if key.startswith("_")}

    def fault(self, key: str, expected: str) -> InputError:
        """The error that names `key`, what was expected of it and what it is."""
        return InputError(f"expected {key} in {self.path} to be {expected}, got {shown(self.values.get(key))}")

    def get(self, key: str, default: V, expected: str, accepts: Callable[[Any], bool]) -> V:
        """The value of `key`, `default` where it is missing; it must be one that `accepts` lets pass."""
        self.asked.add(key)
        value = self.values.get(key, default)
        if not accepts(value):
            raise self.fault(key, expected)
        return value

    def count(self, key: str, default: int, most: int) -> int:
        """A whole number in 1..most."""
        return self.get(key, default, f"a whole number in 1..{most}", lambda value: is_count(value, most))

    def count_or_null(self, key: str, default: int | None, what: str, most: int) -> int | None:
        """null, or a whole number in 1..most, which is called `what`."""
        expected = f"null or {what} in 1..{most}"
        return self.get(key, default, expected, lambda value: value is None or is_count(value, most))

    def number(self, key: str, default: float, low: float, high: float) -> float:
        """A number in (low, high)."""
        return float(self.get(key, default, f"a number between {low} and {high}", between(low, high)))

    def flag(self, key: str, default: bool) -> bool:
        """true or false."""
        return self.get(key, default, "true or false", lambda value: isinstance(value, bool))

    def choice(self, key: str, default: Any, meanings: dict[Any, V]) -> V:
        """What the value of `key` means here."""
        known = ", ".join(json.dumps(name) for name in meanings)
        return meanings[self.get(key, default, f"one of {known}", lambda value: _is_among(value, meanings))]

    def only(self, key: str, value: Any) -> None:
        """Refuse any value of `key` but the one that is built in here."""
        self.choice(key, value, {value: value})

    def finish(self) -> None:
        """Refuse keys that nobody asked for: they may change what the others mean."""
        unknown = sorted(self.values.keys() - self.asked)
        if unknown:
            raise InputError(f"expected only keys that can be honoured in {self.path}, got {unknown[0]}")


def shown(value: Any) -> str:
    """A value as JSON, shortened."""
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def is_count(value: Any, most: int) -> bool:
    """Whether it is a whole number in 1..most."""
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def between(low: float, high: float) -> Callable[[Any], bool]:
    """Whether a value is a number in (low, high)."""
    return lambda value: isinstance(value, int | float) and not isinstance(value, bool) and low < value < high


def _is_among(value: Any, names: dict[Any, Any]) -> bool:
    return any(value == name and isinstance(value, bool) == isinstance(name, bool) for name in names)
