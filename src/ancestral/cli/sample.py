"""`ancestral sample`: the words of the command; the work is in drawing.py."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.asking import add_drawing, computing, drawing_fields, sampling
from ancestral.cli.guides import add_guides, guides, lend
from ancestral.cli.options import Options, changes, whole
from ancestral.cli.output import say, tell, tell_json
from ancestral.cli.repeating import Recipe, compared, recipe
from ancestral.errors import InputError

ABOUT = """\
Draw images with RUN: the folder of a run, its pipeline, or a folder that diffusers wrote.

Image i has the seed --seed + i, and the same seed gives the same image in any batch. A PNG file tells in its
metadata how it was drawn, and --from FILE draws it again. A pipeline with classes draws all of them in turn, unless
--classes says which.
"""
EXAMPLES = (
    "ancestral sample runs/digits --classes 3,7 --num-images 20 --guidance 2",
    "ancestral sample runs/digits --film film.gif --strip",
    "ancestral sample runs/digits --guidance 2 --weaker runs/digits/checkpoints/step-00001000",
    "ancestral sample runs/digits --from runs/digits/drawn/seed-17.png",
    "ancestral sample runs/digits --sampler ancestral --steps 1000 --arrays chain.npz",
)
FILMS, ARRAYS = (".gif", ".png", ".apng"), (".npz",)
MOST_SEEDS = 2**63


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    options = parser()
    found = options.words(argv)
    typed, again = changes(found, drawing_fields()), _again(found)
    named, given = guides(found, {**again.settings, **typed} if again else typed)
    seeds = again.seeds if again else seeds_of(_or(found.seed, 0, "--seed"), _or(found.num_images, 16, "--num-images"))
    compute = computing(given)
    film, arrays = file_of_kind(found.film, "--film", FILMS), file_of_kind(found.arrays, "--arrays", ARRAYS)
    from ancestral.cli.drawing import draw, how_drawn, labels_for, write
    from ancestral.cli.together import together
    from ancestral.pipeline import Pipeline

    with together(found.device) as (on, processes):
        pipeline = Pipeline.load(found.run, on, compute)
        pipeline.processes = processes
        out = folder_for(found.out, Path(found.run), "drawn")
        settings = sampling(pipeline.config, given)
        lend(pipeline, named, settings, Path(found.run))
        if again:
            again.check(how_drawn(pipeline, settings))
        labels = labels_for(pipeline, again.classes if again else found.classes, len(seeds))
        drawing = draw(pipeline, seeds, labels, settings, keep_all=arrays is not None)
        if not processes.lead:
            return 0
    if again and len(seeds) == 1:
        say(compared(again.file, drawing.pixels))
    files = write(drawing, out, found.each or (again is not None and len(seeds) == 1), found.strip, film, arrays)
    if found.json:
        tell_json({"files": [str(file) for file in files], "seeds": [*seeds]})
    else:
        tell("\n".join(map(str, files)))
    return 0


def parser() -> Options:
    """The options of the verb."""
    options = Options("ancestral sample", "RUN", ABOUT, EXAMPLES)
    options.option("run", metavar="RUN", help="folder of a run or a pipeline")
    options.option("--num-images", metavar="N", help="how many [16]")
    options.option("--seed", metavar="INT", help="seed of the first image [0]")
    options.option("--classes", metavar="LIST", help="names or numbers with commas between, all, or none [all]")
    again = "draw again what this PNG file shows, by what it says of itself; settings that are given count instead"
    options.option("--from", metavar="FILE", help=again)
    options.option("--out", metavar="DIR", help="where grid.png goes [RUN/drawn; for a mere pipeline ./drawn]")
    options.option("--each", action="store_true", help="also every image as a PNG file of its own")
    options.option(
        "--film", metavar="FILE", help="how they were drawn, x_t beside x0 estimates: .gif, or animated .png"
    )
    options.option("--strip", action="store_true", help="the same of the first image, as strip.png")
    options.option("--arrays", metavar="FILE", help="x_t and the x0 estimate at up to 50 timesteps, as .npz")
    options.option("--device", choices=("cpu", "cuda"), help="where to compute [cuda where there is one]")
    options.option("--json", action="store_true", help="print the files written as JSON")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    add_guides(options)
    add_drawing(options)
    return options


def _again(found: Namespace) -> Recipe | None:
    """What --from names.

    Raises:
        InputError: the file tells no recipe, or seeds and classes were given beside it.
    """
    file = getattr(found, "from")
    if file is None:
        return None
    for name in ("seed", "num_images", "classes"):
        if getattr(found, name) is not None:
            raise InputError(f"expected no --{name.replace('_', '-')} with --from, whose file says it; leave one out")
    return recipe(Path(file))


def _or(word: str | None, usual: int, name: str) -> int:
    return usual if word is None else whole(word, name)


def folder_for(asked: str | None, source: Path, name: str) -> Path:
    """Where pictures go: asked for, or into the run; a folder that is only a pipeline is left as it is."""
    if asked:
        return Path(asked)
    return source / name if (source / "pipeline").is_dir() else Path(name)


def seeds_of(first: int, count: int) -> range:
    """The seeds of `count` images, of which the first one's is `first`.

    Raises:
        InputError: no images, or seeds beyond 63 bits.
    """
    if count < 1:
        raise InputError(f"expected --num-images of at least 1, got {count}")
    if not 0 <= first <= MOST_SEEDS - count:
        raise InputError(f"expected --seed in 0..{MOST_SEEDS - count}, got {first}")
    return range(first, first + count)


def file_of_kind(word: str | None, name: str, suffixes: tuple[str, ...]) -> Path | None:
    """The path, refused before anything is drawn if its ending is that of another kind of file."""
    if word is not None and Path(word).suffix.lower() not in suffixes:
        raise InputError(f"expected {name} to end in {' or '.join(suffixes)}, got {word!r}")
    return None if word is None else Path(word)
