"""What is wrong with a setting is said in this package's words, whichever kind of fault pydantic finds."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import pytest
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from ancestral.contracts import described
from ancestral.errors import InputError
from ancestral.settings import Config, Settings, TrainingSettings, merged

PHRASES = (
    "Input should",
    "should be",
    "validation error",
    "Field required",
    "valid integer",
    "Extra inputs",
    "pydantic",
)


class Inner(Settings):
    """A branch."""

    side: int = 1


class Everything(Settings):
    """A setting of every kind."""

    whole: int = 1
    positive: Annotated[int, Field(gt=0, le=9)] = 1
    real: Annotated[float, Field(ge=0, lt=2)] = 1.0
    even: Annotated[int, Field(multiple_of=2)] = 2
    switch: bool = False
    text: Annotated[str, Field(min_length=2, max_length=4)] = "abc"
    code: Annotated[str, Field(pattern="a+")] = "a"
    kind: Literal["first", "second"] = "first"
    pair: tuple[int, float] = (1, 2.0)
    several: Annotated[tuple[int, ...], Field(min_length=1, max_length=2)] = (1,)
    either: int | tuple[int, int] | None = None
    table: dict[str, int] | None = None
    inner: Inner = Inner()
    path: Path = Path()


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"whole": "x"}, "whole: expected a whole number, got 'x'"),
    ({"whole": 1.5}, "whole: expected a whole number, got 1.5"),
    ({"whole": None}, "whole: expected a whole number, got none"),
    ({"whole": "9" * 5000}, "whole: expected a whole number, got '999"),
    ({"positive": 0}, "positive: expected more than 0, got 0"),
    ({"positive": 10}, "positive: expected at most 9, got 10"),
    ({"real": "fast"}, "real: expected a number, got 'fast'"),
    ({"real": -1}, "real: expected at least 0, got -1"),
    ({"real": 2}, "real: expected less than 2, got 2"),
    ({"real": float("nan")}, "real: expected a finite number, got nan"),
    ({"even": 3}, "even: expected a multiple of 2, got 3"),
    ({"switch": "maybe"}, "switch: expected true or false, got 'maybe'"),
    ({"switch": []}, r"switch: expected true or false, got \[\]"),
    ({"text": 3}, "text: expected a text, got 3"),
    ({"text": "a"}, "text: expected at least 2 letters, got 'a'"),
    ({"text": "abcde"}, "text: expected at most 4 letters"),
    ({"code": "b"}, r"code: expected a text like a\+, got 'b'"),
    ({"kind": "frist"}, "kind: expected one of first, second, got 'frist'; did you mean first?"),
    ({"kind": 3}, "kind: expected one of first, second, got 3"),
    ({"pair": 3}, "pair: expected a list of values, got 3"),
    ({"pair": [1]}, r"pair: expected at least 2 values, got \[1\]"),
    ({"pair": [1, 2, 3]}, "pair: expected at most 2 values"),
    ({"pair": ["x", "y"]}, "pair: expected a whole number, got 'x'"),
    ({"several": []}, "several: expected at least 1 value"),
    ({"several": [1, 2, 3]}, "several: expected at most 2 values"),
    ({"either": "big"}, "either: expected a whole number or a list of values, got 'big'"),
    ({"either": [1, "x"]}, "either: expected a whole number, got 'x'"),
    ({"table": 3}, "table: expected a table of settings, got 3"),
    ({"inner": 3}, "inner: expected a table of settings, got 3"),
    ({"inner": {"side": "x"}}, "inner.side: expected a whole number"),
    ({"inner": {"sied": 1}}, "unknown setting inner.sied; did you mean inner.side?"),
    ({"path": 3}, "path: expected a path, got 3"),
    ({"nonsense": 1}, "unknown setting nonsense"),
]


@pytest.mark.parametrize(("values", "told"), WRONG)
def test_each_kind_of_fault_is_one_line_in_our_words(values: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told.replace("?", r"\?")) as fault:
        Everything(**values)
    assert "\n" not in str(fault.value) and not any(phrase in str(fault.value) for phrase in PHRASES)


CONTEXT = {
    **dict.fromkeys(("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length"), 2),
    "error": ValueError("expected it to be right"),
    "class": "Path",
    "pattern": "a",
    "expected": "'a' or 'b'",
    "expected_tags": "'a', 'b'",
    "tag": "c",
}


@pytest.mark.parametrize("kind", get_args(ErrorType))
def test_no_kind_that_pydantic_knows_is_told_in_its_words(kind: str) -> None:
    fault: ErrorDetails = {"type": kind, "loc": ("whole",), "msg": "Input should be x", "input": 3, "ctx": CONTEXT}
    told = described([fault], ["whole"])
    assert told.startswith(("whole: expected ", "unknown setting whole")) and not any(p in told for p in PHRASES)


def test_settings_made_in_python_answer_as_those_of_a_file() -> None:
    with pytest.raises(InputError, match=r"^TrainingSettings: lr: expected more than 0, got -1$"):
        TrainingSettings(lr=-1)
    with pytest.raises(InputError, match=r"^TrainingSettings: unknown setting learning_rate; did you mean lr\?$"):
        TrainingSettings(learning_rate=1)  # type: ignore[call-arg]
    with pytest.raises(InputError, match="frozen"):
        Config().seed = 3  # type: ignore[misc]


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(InputError) as fault:
        merged(Config(), {"network": {"widths": "x" * 10_000}}, "file")
    assert len(str(fault.value)) < 200


def test_pydantic_still_says_its_own_for_other_models() -> None:
    """Only the settings of this package are told so: the package changes nothing of pydantic."""

    class Theirs(BaseModel):
        side: int

    with pytest.raises(ValidationError):
        Theirs(side="x")  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        TypeAdapter(Inner).validate_python({"side": "x"})
