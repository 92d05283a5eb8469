"""Released models: presets trained, rounded to 16 bits, then measured, and packed as the data-only `ancestral_models`.

    python distribution/models.py                               all of them, into dist/
    python distribution/models.py shapes-one --minutes 0.2 --images 20          a rehearsal
    python distribution/models.py digits --into src/ancestral/models            the one that the package itself holds

Only presets whose data may be given on are here, and such that every machine can get: what comes with scikit-learn, and
what the package draws. Runs are kept in --runs, and the same command goes on with them. No network is needed.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from ancestral import Pipeline
from ancestral.compute import CPU, machine_name
from ancestral.evaluation.evaluate import FILE as EVALUATION
from ancestral.evaluation.evaluate import Evaluation
from ancestral.evaluation.text_evaluation import FILE as TEXT
from ancestral.evaluation.text_evaluation import TextEvaluation
from ancestral.files import read_json, write_whole
from ancestral.models import CARD, OTHERS, TABLE
from ancestral.networks.rounding import FloatBits
from ancestral.training.run import RunFolder

ROOT = Path(__file__).parents[1]
LICENCE = "LICENSE"  # of a model, beside its weights
MODEL = "model"  # what it is called while it is measured
BITS: FloatBits = 16
MIT = (ROOT / LICENCE).read_text(encoding="utf-8")
PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "ancestral-models"
version = "{version}"
description = "Trained models for ancestral: data alone."
readme = "README.md"
license = "{licence}"
license-files = ["{package}/*/LICENSE"]
requires-python = ">=3.11"

[tool.hatch.build.targets.wheel]
packages = ["{package}"]
"""


class Release(NamedTuple):
    """What is said of a model: what it generates, its data and how these may be used, and its licence (SPDX)."""

    about: str
    data: str
    licence: str = "MIT"
    reads_text: bool = False


DRAWN = "scenes that the package draws itself (the data set `{}`): no images of others are in it"
RELEASES = {
    "digits": Release(
        "handwritten digits, 8x8 grey, by class",
        "E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998, "
        "https://doi.org/10.24432/C50P49, given there under CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/): "
        "the 1,797 images that come with scikit-learn, which names no licence of its own for them. Changed: 0..16 "
        "became 0..255. The images are not part of the model.",
    ),
    "photos": Release(
        "32x32 RGB crops of two photographs, a temple and a flower",
        "two photographs that come with scikit-learn, both under CC BY 2.0 "
        "(https://creativecommons.org/licenses/by/2.0/): china.jpg by danielbuechele, "
        "https://www.flickr.com/photos/danielbuechele/6061409035/, and flower.jpg by vultilion, "
        "https://www.flickr.com/photos/vultilion/6056698931/ (scikit-learn's README gives the first name for both, and "
        "links these two pages). Changed: cropped. A model of two photographs copies its crops: what it generates is "
        "to be taken for parts of them, and their authors named.",
        "MIT AND CC-BY-2.0",
    ),
    "shapes-one": Release("a drawn thing by its caption, 32x32 RGB", DRAWN.format("shapes-one"), reads_text=True),
    "shapes": Release("two drawn things by their caption, 32x32 RGB", DRAWN.format("shapes"), reads_text=True),
}
PACKED = ("photos", "shapes-one", "shapes")
"""What `ancestral_models` holds; digits are in the package itself."""


def main(argv: Sequence[str] | None = None) -> None:
    asked = options().parse_args(argv)
    names, into = asked.names or PACKED, asked.into
    if into is not None:
        for name in names:
            release(name, asked, into)
        write_whole(into / TABLE, table(into))
        return
    folder = ROOT / "dist" / f"ancestral-models-{version('ancestral')}" if asked.out is None else asked.out
    package = folder / OTHERS
    shutil.rmtree(package, ignore_errors=True)
    for name in names:
        release(name, asked, package)
    write_package(folder, names)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*build, "--wheel-dir", str(folder.parent), str(folder)], check=True)
    print(*sorted(folder.parent.glob(f"{OTHERS}-*.whl")), sep="\n")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Trains, rounds, measures and packs the released models.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"out of {', '.join(RELEASES)} [{' '.join(PACKED)}]")
    parser.add_argument("--minutes", type=float, help="of training, for each [the preset's budget]")
    parser.add_argument("--images", type=int, default=1000, help="that each is measured by [1000]")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "models", help="where runs are kept")
    parser.add_argument("--out", type=Path, help="the package's folder; the wheel goes beside it [dist/...]")
    parser.add_argument("--into", type=Path, help="write the models' folders here, and pack nothing")
    return parser


def release(name: str, asked: argparse.Namespace, root: Path) -> None:
    """Trains the preset, writes its folder into `root` in 16 bits, measures that and the weights before rounding, and
    writes what is known into its card."""
    run, folder = (asked.runs / name).absolute(), root / name
    budget = [] if asked.minutes is None else ["--training.minutes", f"{asked.minutes:g}"]
    ancestral(["train", name, "--out", str(run), *budget], asked.runs)
    places: dict[FloatBits, Path] = {bits: run.with_name(f"{name}-{bits}") for bits in (BITS, 32)}
    words = measuring(RELEASES[name], asked.images)
    after, before = (measured(words, Pipeline.load(run, "cpu"), bits, place) for bits, place in places.items())
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(places[BITS] / MODEL, folder)
    rounded = Pipeline.load(places[BITS] / MODEL, "cpu")
    write_whole(folder / CARD, card(name, run, rounded, words, after, before))
    write_whole(folder / LICENCE, licence(name))


def ancestral(words: Sequence[str], folder: Path) -> None:
    """`ancestral WORDS`, in a folder; stopped by Ctrl-C, which it hears too, it is given the time to save."""
    folder.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([sys.executable, "-m", "ancestral", *words], cwd=folder) as verb:
        try:
            code = verb.wait()
        except KeyboardInterrupt:
            code = verb.wait()
    if code:
        raise subprocess.CalledProcessError(code, verb.args)


def measuring(what: Release, images: int) -> list[str]:
    """The words of the command that measures such a model, without its folder."""
    if what.reads_text:
        return ["evaluate", "--text", "--num-prompts", f"{images}", "--num-choosing", f"{max(2, min(100, images))}"]
    return ["evaluate", "--images", f"{images}"]


def measured(words: list[str], pipeline: Pipeline, bits: FloatBits, folder: Path) -> dict[str, Any]:
    """Writes a model into `folder` as MODEL in so many bits; its numbers, which are kept beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.save(folder / MODEL, bits=bits)
    ancestral([words[0], MODEL, *words[1:], "--yes"], folder)
    return read_json(folder / (TEXT if "--text" in words else EVALUATION))


def card(
    name: str, run: Path, rounded: Pipeline, words: list[str], after: dict[str, Any], before: dict[str, Any]
) -> str:
    """What is known of a model, its numbers as a table: those of the file, beside those before rounding."""
    what, folder = RELEASES[name], RunFolder(run)
    images, minutes = (json.loads(file.read_text().splitlines()[-1]) for file in (folder.log, folder.timing))
    count = sum(each.numel() for each in rounded.network.parameters())
    speed = images["images"] / minutes["minutes"] / 60
    rows = of_text if what.reads_text else of_images
    errors = "in brackets 95 % intervals" if what.reads_text else "± is one standard error"
    lines = [
        f"# {name}: {what.about}",
        "",
        f"Trained by `ancestral train {name}`, seed {rounded.config.seed}, the preset's own; `ancestral sample {name}` "
        "generates with it.",
        "",
        "| | |\n|---|---|",
        f"| data | {what.data} |",
        f"| licence of the weights | {what.licence} ([{LICENCE}]({LICENCE})) |",
        f"| trained on | {images['images']:,} images in {minutes['minutes']:.1f} minutes, {speed:,.0f} a second, on "
        f"{machine_name(CPU)} |",
        f"| weights | {count:,}, in {BITS} bits (vectors in 32); computed with in float32 or bfloat16; their hash is "
        f"{rounded.weights_hash()} |",
        "",
        "## Measured",
        "",
        f"By `ancestral {' '.join([words[0], name, *words[1:]])}`: the weights of this file, which were rounded first, "
        f"beside the same before rounding; {errors}.",
        "",
    ]
    return "\n".join([*lines, *rows(after, before)]) + "\n"


def of_images(after: dict[str, Any], before: dict[str, Any]) -> Iterator[str]:
    """Rows of a model of images, beside what real training images score."""
    found, plain = Evaluation.model_validate(after), Evaluation.model_validate(before)
    real = next(each for each in found.comparisons if each.name == "train against test")
    yield f"| {found.num_generated:,} images | this file | before rounding | real images |\n|---|---|---|---|"
    for name, title in (("frechet", "Fréchet distance to held-out images"), ("coverage", "coverage of them")):
        cells = (with_error(each[name]) for each in (found.comparisons[0], plain.comparisons[0], real))
        yield f"| {title} | {' | '.join(cells)} |"
    if found.agreement is not None and plain.agreement is not None:
        shares = f"{with_error(found.agreement)} | {with_error(plain.agreement)} | {found.features.accuracy:.3f}"
        yield f"| share in which a classifier sees the class asked for | {shares} |"
    for near, other in zip(found.nearness, plain.nearness, strict=True):
        ratios = " | ".join("cannot be told" if each.ratio is None else f"{each.ratio:.2f}" for each in (near, other))
        yield f"| distance to the nearest training image over that of held-out ones, in {near.space} | {ratios} | 1 |"


def of_text(after: dict[str, Any], before: dict[str, Any]) -> Iterator[str]:
    """Rows of a model that is told texts: what of its prompts holds, with 95 % intervals, beside chance."""
    found, plain = TextEvaluation.model_validate(after), TextEvaluation.model_validate(before)
    yield (
        f"| guidance {found.guidance:g}, before rounding {plain.guidance:g} | this file | before rounding | by chance |"
        "\n|---|---|---|---|"
    )
    for scores in found.scores:
        if scores.name in ("no prompt", "real images"):
            continue
        others = {share.name: share for share in plain[scores.name].shares}
        for share in scores.shares:
            both = (f"{each.value:.3f} ({each.low:.3f} to {each.high:.3f})" for each in (share, others[share.name]))
            chance = scores.chance.get(share.name)
            by_chance = "" if chance is None else f"{chance:.3f}"
            yield f"| {scores.name}, {scores.num_images:,} images: {share.name} | {' | '.join(both)} | {by_chance} |"


def with_error(number: Any) -> str:
    """A number of `evaluation.json` with its standard error."""
    return f"{number.value:.3g} ± {number.standard_error:.2g}"


def licence(name: str) -> str:
    """The licence of a model's weights, and what is said of its data."""
    what = RELEASES[name]
    return f"The weights of the model {name}: {what.licence}.\n\nData: {what.data}\n\n{MIT}"


def table(root: Path) -> str:
    """SHA-256 of every file of every model in `root`, in the form of `sha256sum`."""
    files = sorted(each for model in root.iterdir() if (model / CARD).is_file() for each in model.rglob("*"))
    rows = ((sha256(each.read_bytes()).hexdigest(), each.relative_to(root)) for each in files if each.is_file())
    return "".join(f"{digest}  {name.as_posix()}\n" for digest, name in rows)


def write_package(folder: Path, names: Sequence[str]) -> None:
    """All of the package but the models, which are there."""
    package = folder / OTHERS
    write_whole(package / "__init__.py", "")
    write_whole(package / TABLE, table(package))
    licences = " AND ".join(sorted({part for name in names for part in RELEASES[name].licence.split(" AND ")}))
    about = {"version": version("ancestral"), "licence": licences, "package": OTHERS}
    write_whole(folder / "pyproject.toml", PROJECT.format(**about))
    cards = [
        "# ancestral-models",
        "",
        f"Models for `ancestral {about['version']}`: data alone, nothing of it runs.",
        "",
    ]
    cards += [f"- [{name}]({OTHERS}/{name}/{CARD}): {RELEASES[name].about}; {RELEASES[name].licence}" for name in names]
    write_whole(folder / CARD, "\n".join(cards) + "\n")


if __name__ == "__main__":
    main()
