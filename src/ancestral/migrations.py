"""What earlier versions wrote under other names, as this one calls it: functions of what is in a file, and no more.

Whoever reads such a file passes it through here before it is checked. What bears the names of today stays as it is.
"""

from typing import Any

GUIDANCE_BY = {"no-class": "classifier-free", "weaker": "autoguidance"}
"""Values of the setting `guidance_by`: before, and now."""
FIELDS_OF_SWEEPS = {"contender": "choice"}
"""Fields of a row of sweep.json: before, and now."""


def settings(tree: Any) -> Any:
    """Settings, or anything that settings are nested in: config.json, ancestral.json, the text of a PNG file."""
    match tree:
        case list():
            return [settings(each) for each in tree]
        case dict():
            return {
                name: GUIDANCE_BY.get(value, value) if _is_guide(name, value) else settings(value)
                for name, value in tree.items()
            }
    return tree


def sweep(tree: Any) -> Any:
    """What `ancestral sweep` wrote."""
    match settings(tree):
        case {"rows": list(rows), **rest}:
            present = rest.get("present")
            if isinstance(present, dict):
                rest["present"] = {name: _row(value) for name, value in present.items()}
            return {**rest, "rows": [_row(row) for row in rows]}
        case other:
            return other


def _is_guide(name: str, value: Any) -> bool:
    return name == "guidance_by" and isinstance(value, str)


def _row(row: Any) -> Any:
    return {FIELDS_OF_SWEEPS.get(name, name): value for name, value in row.items()} if isinstance(row, dict) else row
