"""What the README and docs/presets.md say of the presets: written from the results as JSON, never by hand."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ancestral.presets import PRESETS
from benchmarks.preset_figures import Figure

Entry = dict[str, Any]
BEGIN, END = "<!-- begin: python -m benchmarks.presets --table -->\n", "<!-- end -->\n"
ABOUT = """\
# Presets, measured

The command `python -m benchmarks.presets` trained each of these by its budget, or by the share of it that is told,
measured it and wrote this page ([how to run it](recipes.md#every-preset-measured)). On the left of each picture the
first seeds, none chosen; on the right real images that nobody trained on. ± is one standard error; in brackets are 95 %
intervals; [what is measured, and against what](evaluation.md).
"""


def read_entries(results: Path) -> list[Entry]:
    """Of every results file, each entry with the machine it was measured on; the file of what was measured by hand has
    one word for all of them."""
    entries = []
    for file in sorted(results.glob("presets-*.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        entries += [{**entry, "machine": record["machine"]} for entry in record["entries"].values()]
    return entries


def best(entries: list[Entry]) -> dict[str, Entry]:
    """Of each preset the entry that counts: at its own width before a narrower one, then that of the larger share of
    the budget, then the newest."""
    ranked = sorted(entries, key=lambda entry: (not entry["narrowed"], entry["share"], entry["when"]))
    return {entry["preset"]: entry for entry in ranked}


def pages(root: Path) -> dict[Path, str]:
    """README.md and docs/presets.md as they are to be, by their place."""
    entries = read_entries(root / "benchmarks" / "results")
    pictured = best([entry for entry in entries if "figures" in entry])
    readme = root / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    sections = [section(pictured[name]) for name in PRESETS if name in pictured]
    page = "\n".join([ABOUT, *(sections or ["None has been measured by it yet.\n"])])
    return {readme: f"{before}{BEGIN}{table(best(entries))}{END}{after}", root / "docs" / "presets.md": page}


def table(entries: Mapping[str, Entry]) -> str:
    """The README's: every preset, what it learns, its own budget, and what was measured."""
    found = {name: in_words(entries[name]) if name in entries else "not measured" for name in PRESETS}
    rows = [f"| `{name}` | {about(name)} | {budget(name)} | {found[name]} |" for name in PRESETS]
    return "\n".join(["| preset | images | budget | measured |", "|---|---|---|---|", *rows]) + "\n"


def about(name: str) -> str:
    """What a preset learns, as its docstring begins."""
    return (PRESETS[name].__doc__ or "").strip().splitlines()[0].partition(":")[0].rstrip(".")


def budget(name: str) -> str:
    """Its own."""
    training = PRESETS[name]().training
    kinds = {"minutes": training.minutes, "images": training.images, "steps": training.steps}
    return next(f"{value:,.0f} {kind}" for kind, value in kinds.items() if value is not None)


def in_words(entry: Entry) -> str:
    """What was measured, for a cell."""
    if "figures" not in entry:
        return f"{entry['measured']} (by hand, {entry['when']})"
    told = [_told(Figure(**each)) for each in entry["figures"] if "nearest" not in each["name"]]
    said = "; ".join([trained(entry), *told])
    return f"{said} ([more](docs/presets.md#{entry['preset']}))"


def trained(entry: Entry) -> str:
    """How long, on what share of a machine, and on what of the budget."""
    training = entry["training"]
    said = f"{training['images']:,} images, {training['images_per_second']:,.0f} a second"
    if (first := training["autoencoder_images"]) is not None:
        said += f", after {first:,} of the autoencoder"
    if entry["narrowed"]:
        said = f"rehearsed at a tenth of the width for {training['minutes']:.0f} minutes: {said}"
    elif entry["share"] < 1:
        said = f"a rehearsal by {100 * entry['share']:g} % of the budget: {said}"
    if entry["rate"] is not None:
        said += f", as many as the machine alone sees in those minutes at {entry['rate']:,.0f} a second"
    return said + _busy(entry)


def section(entry: Entry) -> str:
    """Of docs/presets.md: command, figures and grid."""
    name, training, machine = entry["preset"], entry["training"], entry["machine"]
    rows = [Figure(**each) for each in entry["figures"]]
    lines = [
        f"## {name}\n",
        f"{about(name)}. Own budget: {budget(name)}.\n",
        "\n".join(["```text", *filter(None, (entry["command"], entry["measured_by"])), "```\n"]),
        f"{trained(entry)}; {training['minutes']:.1f} minutes, {entry['threads']} of {machine['cores']} threads of "
        f"{machine['processor']} ({machine['products']}), torch {machine['torch']}. {entry['when']}, package as of "
        f"commit {entry['commit']}, settings {entry['settings']}.\n",
        "| | generated | real images |\n|---|---|---|",
        *(f"| {row.name} | {row} | {row.of_real_images} |" for row in rows),
        f"\n![{entry['caption']}](pictures/preset-{entry['label']}.png)\n\n{entry['caption']}.\n",
    ]
    if entry["narrowed"]:
        lines.append(f"![Loss of {name} at a tenth of its width](pictures/preset-{entry['label']}-curve.png)\n")
    return "\n".join(lines)


def _busy(entry: Entry) -> str:
    """Where training got less of the machine than it could have used."""
    share = entry["training"]["processor_share"]
    return f", on a busy machine: {100 * share:.0f} % of a core" if share < 0.9 * entry["threads"] else ""


def _told(figure: Figure) -> str:
    real = f" (real: {figure.of_real_images})" if figure.real is not None else ""
    return f"{figure.name} {figure}{real}"
