"""`ancestral edit`: the words of the command; the tasks are in jobs/edit_tasks.py."""

from collections.abc import Sequence
from inspect import getdoc

from ancestral.cli.job_options import job_options, job_settings
from ancestral.cli.view import show_files
from ancestral.errors import InputError
from ancestral.jobs.edit_tasks import TASKS
from ancestral.names import meant, spelled

ABOUT = """\
usage: ancestral edit TASK RUN [IMAGE ...] [--help] [options]

What a trained model does beside generating from noise. RUN is the folder of a run or a pipeline, or a
model that comes along, by its name.

{tasks}

Every result is a PNG of its own that says how it was made, beside TASK.png, which shows all of them, in RUN/edited.
Images are fitted to the pipeline's size and colours. ancestral edit TASK --help explains a task.

examples:
{examples}
"""


def run(argv: Sequence[str]) -> None:
    if not argv or argv[0] in ("-h", "--help"):
        width = max(map(len, TASKS))
        lines = [f"  {name:<{width}}  {(getdoc(task) or '').splitlines()[0]}" for name, task in TASKS.items()]
        examples = [f"  {task.examples[0]}" for task in TASKS.values()]
        print(ABOUT.format(tasks="\n".join(lines), examples="\n".join(examples)), end="")
        return
    name = spelled(argv[0], TASKS)
    if name not in TASKS:
        raise InputError(f"expected a task, got {argv[0]!r}; {meant(name, TASKS)}")
    kind = TASKS[name]
    about = getdoc(kind) or ""
    found = job_options(f"ancestral edit {name}", kind.words, about, kind.examples, kind).words(argv[1:])
    task = job_settings(found, kind)
    from ancestral.jobs.edit import edit

    show_files(edit(task), found.json)
