"""`ancestral sample`: the words of the command; the work is in generating.py."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ancestral.cli.asking import add_overwrite, add_sampling, add_yes, computing, sampling, sampling_fields
from ancestral.cli.guides import add_guides, add_null_class, attach, guides, null_class_of
from ancestral.cli.options import Options, changes, whole
from ancestral.cli.output import say, tell, tell_json
from ancestral.cli.repeating import ImageRecipe, compared, recipe
from ancestral.config import MOST_IMAGES
from ancestral.errors import InputError
from ancestral.outputs import claim, file_named, folder_named

if TYPE_CHECKING:
    from torch import Tensor

ABOUT = """\
Generate images with RUN: the folder of a run, its pipeline, or a folder that diffusers wrote.

Image i has the seed --seed + i, and the same seed gives the same image in any batch. A PNG file tells in its
metadata how it was generated, and --from FILE generates it again. A pipeline with classes generates all of them in
turn, unless --classes says which.
"""
EXAMPLES = (
    "ancestral sample runs/digits --classes 3,7 --num-images 20 --guidance 2",
    "ancestral sample runs/digits --film film.gif --strip",
    "ancestral sample runs/digits --guidance 2 --weaker runs/digits/checkpoints/step-00001000",
    "ancestral sample runs/digits --from runs/digits/drawn/seed-17.png",
    "ancestral sample runs/digits --sampler ancestral --steps 1000 --arrays chain.npz",
)
ARRAYS = (".npz",)
MOST_SEEDS = 2**63


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    options = parser()
    found = options.words(argv)
    typed, again = changes(found, sampling_fields()), _again(found)
    named, given = guides(found, {**again.settings, **typed} if again else typed)
    seeds = again.seeds if again else seeds_of(_or(found.seed, "0"), _or(found.num_images, "16"))
    compute = computing(given)
    film, arrays = film_file(found.film), file_named(found.arrays, "--arrays", ARRAYS)
    out = folder_for(found.out, Path(found.run), "drawn-again" if again else "drawn")
    from ancestral.cli.generating import (
        Finished,
        WantedFiles,
        filmed,
        generate,
        how_generated,
        labels_for,
        nowhere,
        price,
        write,
    )
    from ancestral.cli.pricing import allow, check_asked
    from ancestral.cli.together import together
    from ancestral.colors import check_channels
    from ancestral.pipeline import Pipeline

    wanted = WantedFiles(out, seeds, found.each or (again is not None and len(seeds) == 1), found.strip, film, arrays)
    claim(wanted.outputs(), found.overwrite, [again.file] if again else [])
    with together(found.device) as (on, processes):
        pipeline = Pipeline.load(found.run, on, compute, null_class_of(found))
        check_channels(pipeline.spec.channels)
        pipeline.processes = processes
        settings = sampling(pipeline.config, given)
        attach(pipeline, named, settings, Path(found.run))
        if again:
            again.check(how_generated(pipeline, settings), pipeline.class_names)
        takes = price(pipeline, settings, wanted)
        takes = allow(takes, found.yes, on, processes, wanted.fullest, "lower --num-images or --steps")
        labels = labels_for(pipeline, again.classes if again else found.classes, len(seeds))
        check_asked(pipeline, labels, settings)
        say(f"{len(seeds):,} images: {takes.words}")
        shown, finished = filmed(pipeline.spec.shape) if film else 1, Finished(out, len(seeds))

        def keep(pixels: "Tensor", place: int, facts: dict[str, str]) -> None:
            finished.write(pixels, wanted.one(seeds[place]), facts)

        kept = len(seeds) if arrays else shown
        try:
            generated = generate(pipeline, seeds, labels, settings, kept, keep if wanted.each else nowhere)
        except KeyboardInterrupt as stop:
            if wanted.each and processes.is_main:
                finished.tell_of(stop, found.json)
            raise
        if not processes.is_main:
            return 0
    if film and shown < len(seeds):
        say(f"{film} shows the first {shown} of {len(seeds)} images")
    if again and len(seeds) == 1:
        say(compared(again.file, generated.pixels))
    files = write(generated, wanted)
    files[1:1] = finished.files
    if found.json:
        tell_json({"files": [str(file) for file in files], "seeds": [*seeds], "price": takes.as_tree()})
    else:
        tell(*map(str, files))
    return 0


def parser() -> Options:
    """The options of the verb."""
    options = Options("ancestral sample", "RUN", ABOUT, EXAMPLES)
    options.option("run", metavar="RUN", help="folder of a run or a pipeline")
    options.option("--num-images", metavar="N", help="how many [16]")
    options.option("--seed", metavar="INT", help="seed of the first image [0]")
    names = "names or numbers with commas between, all, or none; =none is a class that is called none [all]"
    options.option("--classes", metavar="LIST", help=names)
    again = "generate again what this PNG file shows, by what it says of itself; settings that are given count instead"
    options.option("--from", metavar="FILE", help=again)
    add_null_class(options)
    where = "where grid.png goes [RUN/drawn, or RUN/drawn-again with --from; for a mere pipeline ./drawn]"
    options.option("--out", metavar="DIR", help=where)
    add_overwrite(options)
    options.option("--each", action="store_true", help="also every image as a PNG file of its own")
    options.option(
        "--film", metavar="FILE", help="how they were generated, x_t beside x0 estimates: .gif, .webp, .mp4, .png"
    )
    options.option("--strip", action="store_true", help="the same of the first image, as strip.png")
    options.option("--arrays", metavar="FILE", help="x_t and the x0 estimate at up to 50 timesteps, as .npz")
    options.option("--device", choices=("cpu", "cuda"), help="where to compute [cuda where there is one]")
    add_yes(options)
    options.option("--json", action="store_true", help="print the files written as JSON")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    add_guides(options)
    add_sampling(options)
    return options


def _again(found: Namespace) -> ImageRecipe | None:
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


def _or(word: str | None, usual: str) -> str:
    return usual if word is None else word


def folder_for(asked: str | None, source: Path, name: str) -> Path:
    """Where pictures go: asked for, or into the run; a folder that is only a pipeline is left as it is."""
    if asked:
        return folder_named(asked, "--out")
    return source / name if (source / "pipeline").is_dir() else Path(name)


def seeds_of(seed: str, num_images: str) -> range:
    """The seeds of so many images, of which the first one's is `seed`.

    Raises:
        InputError: no images or too many, or seeds beyond 63 bits.
    """
    count = whole(num_images, "--num-images", 1, MOST_IMAGES)
    first = whole(seed, "--seed", 0, MOST_SEEDS - count)
    return range(first, first + count)


def film_file(word: str | None) -> Path | None:
    """The path of a film, refused before anything is generated where no such film can be made here."""
    if word is None:
        return None
    from ancestral.viz.films import FILMS, check_film

    file = file_named(word, "--film", FILMS)
    check_film(Path(word).suffix.lower())
    return file
