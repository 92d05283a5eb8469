"""`ancestral edit`: the words of the command; those of each task are in edit_tasks.py, its plan in edit_plans.py."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from ancestral.cli.asking import Given, add_overwrite, add_sampling, add_yes, computing, sampling, sampling_fields
from ancestral.cli.edit_tasks import TASKS
from ancestral.cli.guides import add_guides, add_null_class, attach, guides, null_class_of
from ancestral.cli.options import Options, changes
from ancestral.cli.output import tell, tell_json
from ancestral.cli.sample import film_file, folder_for, seeds_of
from ancestral.errors import InputError
from ancestral.names import meant, spelled
from ancestral.outputs import DRAWN, FILM, Output, claim

ABOUT = """\
usage: ancestral edit TASK RUN [IMAGE ...] [--help] [options]

What a trained model does beside drawing from noise. RUN is the folder of a run or a pipeline.

{tasks}

Every result is a PNG of its own that says how it was made, beside TASK.png, which shows all of them, in RUN/edited.
Images are fitted to the pipeline's size and colours. ancestral edit TASK --help explains a task.

examples:
{examples}
"""
ONE_CLASS = {"invert", "interpolate"}
"""Tasks that run a chain both ways: by one class, and without noise."""


def run(argv: Sequence[str]) -> int:
    """The verb; its exit code."""
    if not argv or argv[0] in ("-h", "--help"):
        print(overview(), end="")
        return 0
    name = spelled(argv[0], TASKS)
    if name not in TASKS:
        raise InputError(f"expected a task, got {argv[0]!r}; {meant(name, TASKS)}")
    found = parser(name).words(argv[1:])
    named, given = guides(found, changes(found, sampling_fields()))
    _check(name, found, given)
    seeds = seeds_of(found.seed, "1" if name in ONE_CLASS else found.num_images)
    compute, film = computing(given), film_file(found.film)
    out = folder_for(found.out, Path(found.run), "edited")
    inputs = [Path(word) for word in (*found.images, getattr(found, "mask", None)) if word is not None]

    def claimed(names: Sequence[str]) -> list[Path]:
        """The files of so many results, and the film, once it is sure that they may be written."""
        files = [out / f"{name}.png" for name in names]
        films = [Output(film, FILM)] if film else []
        claim([*(Output(file, DRAWN) for file in files), *films], found.overwrite, inputs)
        return files

    claimed([name])
    from ancestral.cli.edit_plans import PLANS
    from ancestral.cli.editing import edit
    from ancestral.cli.machine import device
    from ancestral.colors import check_channels
    from ancestral.pipeline import Pipeline

    pipeline = Pipeline.load(found.run, device(found.device), compute, null_class_of(found))
    check_channels(pipeline.spec.channels)
    settings = sampling(pipeline.config, given)
    attach(pipeline, named, settings, Path(found.run))
    done = edit(name, PLANS[name], pipeline, settings, found, seeds, claimed, film)
    if found.json:
        tell_json({"files": [str(file) for file in done.files], **done.numbers, "price": done.price.as_tree()})
    else:
        tell(*map(str, done.files), *(_line(*number) for number in done.numbers.items()))
    return 0


def overview() -> str:
    """The help of the verb."""
    width = max(map(len, TASKS))
    lines = [f"  {name:<{width}}  {task.about.splitlines()[0]}" for name, task in TASKS.items()]
    examples = [f"  {task.examples[0]}" for task in TASKS.values()]
    return ABOUT.format(tasks="\n".join(lines), examples="\n".join(examples))


def parser(name: str) -> Options:
    """The options of a task."""
    task = TASKS[name]
    options = Options(f"ancestral edit {name}", task.words, task.about, task.examples)
    options.set_defaults(task=name)
    options.option("run", metavar="RUN", help="folder of a run or a pipeline")
    if task.images is None:
        options.set_defaults(images=[])
    else:
        options.option("images", nargs=task.images, metavar="IMAGE", help="PNG, JPEG, WebP, BMP, GIF or TIFF files")
    task.add(options)
    if name not in ONE_CLASS:
        options.option("--num-images", default=str(task.count), metavar="N", help=f"how many results [{task.count}]")
    options.option("--seed", default="0", metavar="INT", help="seed of the first result [0]; the next one's is 1 more")
    options.option("--classes", default="none", metavar="LIST", help="names or numbers of classes, or all [none]")
    add_null_class(options)
    options.option("--out", metavar="DIR", help="where files go [RUN/edited; for a mere pipeline ./edited]")
    add_overwrite(options)
    options.option("--film", metavar="FILE", help="how the results were generated: .gif, .webp, .mp4, .png")
    options.option("--device", choices=("cpu", "cuda"), help="where to compute [cuda where there is one]")
    add_yes(options)
    options.option("--json", action="store_true", help="print the files written, and what was measured, as JSON")
    options.option("--debug", action="store_true", help="show a traceback where something goes wrong")
    add_guides(options)
    add_sampling(options)
    return options


def _check(name: str, found: Namespace, given: Given) -> None:
    if (
        given.get("guidance", "1") not in ("0", "1", "1.0")
        and found.classes == "none"
        and given.get("guidance_by") is None
    ):
        raise InputError(f"expected --classes with --guidance {given['guidance']}: without a class nothing guides")
    if name in ONE_CLASS:
        given.setdefault("sampler", "ddim")
        if found.classes == "all" or "," in found.classes:
            raise InputError(f"expected one class for {name}, got {found.classes!r}: both ways are by the same one")


def _line(name: str, value: float | list[float]) -> str:
    numbers = value if isinstance(value, list) else [value]
    return f"{name.replace('_', ' ')} {', '.join(f'{number:.3g}' for number in numbers)}"
