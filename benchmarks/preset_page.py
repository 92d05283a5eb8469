"""What the README and docs/presets.md say of the presets: written from the results as JSON, never by hand."""

from collections.abc import Mapping
from pathlib import Path

from ancestral.presets import PRESETS
from benchmarks.entries import Entry, busy, computed_on, read_entries
from benchmarks.preset_figures import Figure

BEGIN, END = "<!-- begin: python -m benchmarks.presets --table -->\n", "<!-- end -->\n"
ABOUT = """\
# Presets, measured

The command `python -m benchmarks.presets` trained each of these by its budget, or by the share of it that is told,
measured it and wrote this page ([how to run it](recipes.md#every-preset-measured)). On the left of each picture the
first seeds, none chosen; on the right real images that nobody trained on. ± is one standard error; in brackets are 95 %
intervals; [what is measured, and against what](evaluation.md).
"""


def best(entries: list[Entry]) -> dict[str, Entry]:
    """Of each preset the entry that counts: at its own width before a narrower one, then that of the larger share of
    the budget, then the newest."""
    ranked = sorted(entries, key=lambda entry: (not entry["narrowed"], entry["share"], entry["when"]))
    return {entry["preset"]: entry for entry in ranked}


def pages(root: Path) -> dict[Path, str]:
    """README.md and docs/presets.md as they are to be, by their place; none where there is no README.md to go into."""
    readme = root / "README.md"
    if not readme.is_file():
        return {}
    entries = read_entries(root, "presets")
    pictured = best([entry for entry in entries if "figures" in entry])
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
    return said + busy(entry)


def section(entry: Entry) -> str:
    """Of docs/presets.md: command, figures and grid."""
    name = entry["preset"]
    rows = [Figure(**each) for each in entry["figures"]]
    lines = [
        f"## {name}\n",
        f"{about(name)}. Own budget: {budget(name)}.\n",
        "\n".join(["```text", *filter(None, (entry["command"], entry["measured_by"])), "```\n"]),
        f"{trained(entry)}; {computed_on(entry)}\n",
        "| | generated | real images |\n|---|---|---|",
        *(f"| {row.name} | {row} | {row.of_real_images} |" for row in rows),
        f"\n![{entry['caption']}](pictures/preset-{entry['label']}.png)\n\n{entry['caption']}.\n",
    ]
    if entry["narrowed"]:
        lines.append(f"![Loss of {name} at a tenth of its width](pictures/preset-{entry['label']}-curve.png)\n")
    return "\n".join(lines)


def _told(figure: Figure) -> str:
    real = f" (real: {figure.of_real_images})" if figure.real is not None else ""
    return f"{figure.name} {figure}{real}"
