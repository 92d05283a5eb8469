"""What earlier versions wrote under other names, as this one calls it: functions of what is in a file, and no more.

Whoever reads such a file passes it through here before it is checked. What bears the names of today stays as it is.
"""

from typing import Any

GUIDANCE_BY = {"no-class": "classifier-free", "weaker": "autoguidance"}
"""Values of the setting `guidance_by`: before, and now."""
NO_CHOICES = {
    "memory": "images and weights lie with their channels last, as convolutions read them fastest",
    "guidance": "what is guided by no class is computed in one call of twice the images",
}
"""Of how to compute, before, and what holds now."""
AS_NOW = ("auto", "channels-last", "one-call")
"""Their values that say the same."""
FIELDS_OF_SWEEPS = {"contender": "choice"}
"""Fields of a row of sweep.json: before, and now."""
NAMES_IN_EVALUATIONS = {
    "num_drawn": "num_generated",
    "drawn_median": "generated_median",
    "drawn against test": "generated against test",
    "drawn against train": "generated against train",
}
"""Fields of evaluation.json, and comparisons in it: before, and now."""


def settings(tree: Any) -> Any:
    """Settings, or anything that settings are nested in: config.json, ancestral.json, the text of a PNG file."""
    match tree:
        case list():
            return [settings(each) for each in tree]
        case dict():
            return {name: _setting(name, value) for name, value in tree.items()}
    return tree


def computed(tree: dict[str, Any]) -> dict[str, Any]:
    """compute.json of a run. Where it was computed in a way that is gone, it was so on no machine of today."""
    match tree:
        case {"choices": {"compile": "blocks" | "graphs"} | {"memory": "channels-first"}}:
            tree = {**tree, "machine": None}
    return {name: choices(value) if name == "choices" else value for name, value in tree.items()}


def choices(tree: Any) -> Any:
    """How a machine is used, without what is a choice no more."""
    if not isinstance(tree, dict):
        return tree
    found = {name: value for name, value in tree.items() if name not in NO_CHOICES}
    return {**found, "compile": "whole"} if found.get("compile") in ("blocks", "graphs") else found


def no_choices(tree: dict[str, Any]) -> list[str]:
    """What settings ask for that is a choice no more, and what holds instead, a line each."""
    asked = tree.get("compute")
    other = {name: asked[name] for name in NO_CHOICES if name in asked} if isinstance(asked, dict) else {}
    return [f"no compute.{name} {value}: {NO_CHOICES[name]}" for name, value in other.items() if value not in AS_NOW]


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


def evaluation(tree: Any) -> Any:
    """What `ancestral evaluate` wrote."""
    match tree:
        case list():
            return [evaluation(each) for each in tree]
        case dict():
            return {NAMES_IN_EVALUATIONS.get(name, name): evaluation(value) for name, value in tree.items()}
        case str():
            return NAMES_IN_EVALUATIONS.get(tree, tree)
    return tree


def _setting(name: str, value: Any) -> Any:
    if name == "compute":
        return choices(value)
    return GUIDANCE_BY.get(value, value) if name == "guidance_by" and isinstance(value, str) else settings(value)


def _row(row: Any) -> Any:
    return {FIELDS_OF_SWEEPS.get(name, name): value for name, value in row.items()} if isinstance(row, dict) else row
