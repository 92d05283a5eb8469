"""docs/few-images.md: how many images a person needs, written from the results as JSON, never by hand."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from ancestral.evaluation.evaluate import Comparison, Nearness, Number
from ancestral.report.facts import number, with_error
from benchmarks.entries import Entry, busy, computed_on, read_entries
from benchmarks.few_images_figures import GENERATED, REAL, THEMSELVES
from benchmarks.few_images_plans import COUNTS, MINUTES, VARIANTS
from benchmarks.trained import training_words

KIND = "few-images"
REAL_PICTURE = f"{KIND}-real.png"
NUMBERS = {"frechet": "Fréchet distance", "precision": "precision", "recall": "recall", "coverage": "coverage"}
HEAD = ("images", "setting", "seen", "each", *NUMBERS.values(), "copies", "distance", "loss")
ABOUT = """\
# How many images do I need?

What comes out of {counts} images of one's own at 64x64 after {minutes:.0f} minutes of training: is it good, is it
new, and which settings help. The command `python -m benchmarks.few_images` measures that and writes this page
([how to run it](recipes.md#few-images-of-ones-own)).

## On your own images

Train, and ask how near what comes out lies to what was trained on:

```text
ancestral train ~/Pictures/moths --data.size 64 --training.minutes 60
ancestral evaluate runs/moths
```

Three things tell a network that has learned its images by heart:

- `runs/moths/evaluation-nearest.png` has the generated images that lie nearest to one that was trained on, a pair a
  row: generated left, of training right. Copies are seen at once.
- `ancestral evaluate` says how near generated images lie to the nearest training image, beside how near held-out ones
  do ([is it copied?](evaluation.md#is-it-copied)). Much nearer is copied.
- The held-out loss rises again while that of training falls: both are in `runs/moths/log.jsonl`, and drawn by
  `ancestral report runs/moths`.

Then more images help, and perhaps [settings for few images](training.md#few-images). Of fewer than 500 images the tenth
that is held out is fewer than 50, and the numbers say nothing for or against; the pairs still do. Of fewer than 60 hold
out more, such as `--data.test 0.2`, or nothing can be measured.

## How it is measured

- **Images.** Squares of 64x64 are cut from the walls and floors of the folder `textures`, one of each image in turn, so
  that a small number shows as many different things as it can. Those of 50 are among those of 200, and so on; no two
  are the same, and only the largest number needs squares that overlap.
- **Held out** are squares of other images. Many of these walls are nearly alike: such images count as one here, so that
  no held-out square has its like among those that were trained on.
- **Settings.** `plain` is the recipe of the command above. Each of the others changes one thing of it:
  {others}.
- **Distances** are those of [evaluation](evaluation.md#distances), from the held-out images to as many generated ones:
  the same images and features for all numbers. The features are those of a classifier that learned which wall a square
  was cut from, of walls from which nothing is compared. Beside them stands what other real images score, and what *the
  training images themselves* do, drawn as often as needed: a network that only copies scores that.
- **Copies**: the share of generated images that lie as near to a training image, in pixels, as the nearest 1 % of
  held-out images do. Of new images it is 1 %.
- **Distance**: the median distance to the nearest training image over that of held-out images. About 1 is new.
- **Loss**: the held-out loss at its lowest, after how many images that was, and in the end.
- **Pictures**: the first seeds, none chosen, and the pairs that lie nearest to each other, no training image twice.
  ± is one standard error.
"""
UNTIL_THEN = """\
## What came out

Not measured yet: it takes {hours:.0f} hours of a machine that does nothing else. Here will stand a table of all numbers
and settings, and pictures of each.
"""


def pages(root: Path) -> dict[Path, str]:
    """docs/few-images.md as it is to be, by its place."""
    found = best(read_entries(root, KIND))
    names = {name: " ".join(training_words("", changes)[2:]) for name, changes in VARIANTS.items()}
    about = ABOUT.format(
        counts=listed([f"{count:,}" for count in COUNTS]),
        minutes=MINUTES,
        others=listed([f"`{name}`, `{words}`" for name, words in names.items() if words], "; "),
    )
    hours = len(COUNTS) * len(VARIANTS) * MINUTES / 60
    parts = [about, *([*results(found)] if found else [UNTIL_THEN.format(hours=hours)])]
    return {root / "docs" / f"{KIND}.md": "\n".join(parts)}


def best(entries: list[Entry]) -> list[Entry]:
    """Of each number and setting the entry of the largest share of the budget, then the newest; in order."""
    ranked = sorted(entries, key=lambda entry: (entry["share"], entry["when"]))
    found = {(entry["count"], entry["variant"]): entry for entry in ranked}
    return [found[key] for key in sorted(found, key=lambda key: (key[0], [*VARIANTS].index(key[1])))]


def results(entries: list[Entry]) -> Iterator[str]:
    """Of what was measured: in words, as a table, and each with its pictures."""
    by_count: dict[int, list[Entry]] = {}
    for entry in entries:
        by_count.setdefault(entry["count"], []).append(entry)
    yield "## What came out\n"
    yield "\n".join(f"- {in_words(its)}" for its in by_count.values()) + "\n"
    yield table(by_count) + "\n"
    yield f"![Real images that nobody trained on](pictures/{REAL_PICTURE})\n\nReal images that nobody trained on.\n"
    for entry in entries:
        yield section(entry)


def in_words(entries: list[Entry]) -> str:
    """What the entries of one number say of what to choose, and of copies."""
    first = min(entries, key=lambda entry: distance(entry).value)
    alike = [entry for entry in entries if entry is not first and within_errors(entry, first)]
    said = f"**{first['count']:,} images.** "
    if len(entries) > 1:
        said += f"The lowest Fréchet distance has `{first['variant']}`"
        names = listed([f"`{entry['variant']}`" for entry in alike])
        said += f"; within two standard errors of it: {names}. " if alike else ", by more than two standard errors. "
    shares = listed([f"{percent(in_pixels(entry).nearer)} with `{entry['variant']}`" for entry in entries])
    return f"{said}As near to a training image as 1 % of held-out images are: {shares}."


def table(by_count: Mapping[int, list[Entry]]) -> str:
    """Every number and setting, and beside them what copies and real images score."""
    rows = []
    for count, entries in by_count.items():
        rows += [row_of(entry) for entry in entries]
        rows.append([f"{count:,}", THEMSELVES, "", "", *numbers(compared(entries[0], THEMSELVES)), "", "", ""])
    newest = [*by_count.values()][-1][0]
    rows.append(["", REAL, "", "", *numbers(compared(newest, REAL)), "", "", ""])
    lines = [[*HEAD], ["---"] * len(HEAD), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def row_of(entry: Entry) -> list[str]:
    """The cells of an entry, as `HEAD` says."""
    count, seen, loss, near = entry["count"], entry["training"]["images"], entry["held_out_loss"], in_pixels(entry)
    ratio = "cannot be told" if near.ratio is None else number(near.ratio)
    losses = f"{number(loss['lowest'])} after {loss['lowest_at']:,}; {number(loss['last'])}"
    first = [f"{count:,}", f"`{entry['variant']}`", f"{seen:,}", f"{number(seen / count)} times"]
    return [*first, *numbers(compared(entry, GENERATED)), percent(near.nearer), ratio, losses]


def numbers(found: Comparison) -> list[str]:
    """Cells of `NUMBERS`."""
    each = (found[name] for name in NUMBERS)
    return [with_error(one.value, one.standard_error) for one in each]


def section(entry: Entry) -> str:
    """How one was trained, what else was measured of it, and its picture."""
    training, kernel = entry["training"], compared(entry, GENERATED)["kernel"]
    told = f"{training['images']:,} images, {training['images_per_second']:,.0f} a second"
    if entry["rate"] is not None:
        told += f", as many as the machine alone sees in that time at {entry['rate']:,.0f} a second"
    if entry["share"] < 1:
        told = f"A rehearsal by {100 * entry['share']:g} % of the time: {told}"
    overlapping = f", {entry['num_overlapping']:,} of them overlapping" if entry["num_overlapping"] else ""
    few = compared(entry, GENERATED).too_few
    caption = f"{entry['count']:,} images, {entry['variant']}: the first seeds, and the pairs nearest to each other"
    features, near = entry["features"], Nearness.model_validate(entry["nearness"][1])
    ratio = "cannot be told" if near.ratio is None else number(near.ratio)
    lines = [
        f"### {entry['count']:,} images, {entry['variant']}\n",
        f"```text\n{entry['command']}\n```\n",
        f"Squares of {entry['num_sources']:,} images{overlapping}. {told}{busy(entry)}; {computed_on(entry)}\n",
        f"{entry['num_compared']:,} images, in features of a classifier that tells {percent(features['accuracy'])} of "
        f"squares out of {features['num_classes']} walls: kernel distance "
        f"{with_error(kernel.value, kernel.standard_error)}; distance to the nearest training image over that of "
        f"held-out images {ratio}." + (f" Nothing can be told by it: {few}." if few else "") + "\n",
        f"![{caption}](pictures/{KIND}-{entry['label']}.png)\n",
    ]
    return "\n".join(lines)


def compared(entry: Entry, name: str) -> Comparison:
    """With the held-out images."""
    return next(each for each in map(Comparison.model_validate, entry["comparisons"]) if each.name == name)


def in_pixels(entry: Entry) -> Nearness:
    """How near what was generated lies to the training images."""
    return Nearness.model_validate(entry["nearness"][0])


def distance(entry: Entry) -> Number:
    """The Fréchet distance of what was generated."""
    return compared(entry, GENERATED)["frechet"]


def within_errors(entry: Entry, first: Entry) -> bool:
    """Whether the distances of two differ by less than two standard errors of their difference."""
    one, other = distance(entry), distance(first)
    errors = (one.standard_error, other.standard_error)
    return None in errors or abs(one.value - other.value) < 2 * math.hypot(*(error or 0.0 for error in errors))


def percent(share: float) -> str:
    """As it is read."""
    return f"{number(100 * share)} %"


def listed(words: list[str], between: str = ", ") -> str:
    """One, two and three."""
    return " and ".join([*filter(None, [between.join(words[:-1])]), *words[-1:]])
