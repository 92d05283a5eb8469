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
"""Settings of how to compute that are gone, and what holds now."""
IN_EVALUATIONS = {
    "num_drawn": "num_generated",
    "drawn_median": "generated_median",
    "drawn against test": "generated against test",
    "drawn against train": "generated against train",
}
"""Fields of evaluation.json, and comparisons in it: before, and now."""


BEFORE_ATTRIBUTES = {"source", "size", "color", "fit", "background", "flip", "labels", "validation", "test"}
"""Settings of the data that a run stored, all of them, before there were attributes."""


def settings(tree: Any) -> Any:
    """Settings, or anything that settings are nested in: config.json, ancestral.json, the text of a PNG file."""
    match tree:
        case list():
            return [settings(each) for each in tree]
        case dict():
            return {name: _setting(name, value) for name, value in tree.items()}
    return tree


def _setting(name: str, value: Any) -> Any:
    if name == "compute":
        return choices(value)
    if name == "data" and isinstance(value, dict) and {*value} >= BEFORE_ATTRIBUTES:
        return {
            "attributes": ["none"],
            "captions": "metadata",
            **value,
        }  # images of which more is read have another hash
    if name == "schedule" and isinstance(value, dict):  # each had the fields of all schedules, null unless given
        return {field: setting for field, setting in value.items() if setting is not None}
    return GUIDANCE_BY.get(value, value) if name == "guidance_by" and isinstance(value, str) else settings(value)


def computed(tree: dict[str, Any]) -> dict[str, Any]:
    """compute.json of a run. Where it was computed in a way that is gone, it was so on no machine of today."""
    match tree:
        case {"choices": {"compile": "blocks" | "graphs"} | {"memory": "channels-first"}}:
            tree = {**tree, "machine": None}
    # before there were engines, torch was the only one
    return {name: {"engine": "torch", **choices(value)} if name == "choices" else value for name, value in tree.items()}


def choices(tree: Any) -> Any:
    """How a machine is used, without the settings that are gone."""
    if not isinstance(tree, dict):
        return tree
    found = {name: value for name, value in tree.items() if name not in NO_CHOICES}
    return {**found, "compile": "whole"} if found.get("compile") in ("blocks", "graphs") else found


def no_choices(tree: dict[str, Any]) -> list[str]:
    """What settings ask for that is gone and would do otherwise, and what holds instead, a line each."""
    compute = tree.get("compute")
    asked = [(name, compute[name]) for name in NO_CHOICES if name in compute] if isinstance(compute, dict) else []
    as_now = ("auto", "channels-last", "one-call")
    return [f"no compute.{name} {value}: {NO_CHOICES[name]}" for name, value in asked if value not in as_now]


def shards(tree: dict[str, Any]) -> dict[str, Any]:
    """index.json of a packed data set: version 1 had no columns but the images and labels that it described itself."""
    match tree:
        case {"version": 1, "shape": shape, "labels": labels, "count": int(count), "shards": [*files]}:
            described = [each for each in files if isinstance(each, dict)]
            named = [{key: each[key] for key in each if key != "count"} for each in described]
            columns = {"images": {"dtype": "uint8", "shape": shape, "files": named}}
            match labels:
                case {"bytes_each": 1 | 2 | 4 as size, **file}:
                    whole = {**file, "bytes": size * count}
                    columns["labels"] = {"dtype": f"uint{8 * size}", "shape": [], "files": [whole]}
            rest = {name: value for name, value in tree.items() if name not in ("shape", "labels", "shards")}
            return {**rest, "version": 2, "counts": [each.get("count") for each in described], "columns": columns}
    return tree


def sweep(tree: Any) -> Any:
    """What `ancestral sweep` wrote: before, the `choice` of a row was its `contender`."""
    return _renamed(settings(tree), {"contender": "choice"})


def evaluation(tree: Any) -> Any:
    """What `ancestral evaluate` wrote."""
    return _renamed(tree, IN_EVALUATIONS)


def _renamed(tree: Any, names: dict[str, str]) -> Any:
    """The same with other names, of fields and as values, at any depth."""
    match tree:
        case list():
            return [_renamed(each, names) for each in tree]
        case dict():
            return {names.get(name, name): _renamed(value, names) for name, value in tree.items()}
        case str():
            return names.get(tree, tree)
    return tree
