"""`ancestral studio`: the words of the command; the server is in web/."""

from collections.abc import Sequence
from importlib.util import find_spec

from ancestral.cli.job_options import job_options, job_settings
from ancestral.cli.output import say, tell, tell_json
from ancestral.cli.signals import stop_asked
from ancestral.errors import InputError
from ancestral.web.settings import StudioSettings

ABOUT = """\
Serve one page on all runs in FOLDER and below it, for a browser on this machine: watch trainings, begin and stop them,
generate, edit, measure and share.

The page's address, with a token that is new at each start, is printed. Ctrl-C ends the server and all that the page
computes; trainings that it began go on, and are found again when it is started again.
"""
EXAMPLES = (
    "ancestral studio",
    "ancestral studio ~/experiments --data ~/Pictures --port 8800",
    "ancestral studio --no-browser --socket /run/user/1000/studio.sock",
)


def run(argv: Sequence[str]) -> int:
    about_json = "print the address as JSON"
    found = job_options("ancestral studio", "[FOLDER]", ABOUT, EXAMPLES, StudioSettings, about_json).words(argv)
    job = job_settings(found, StudioSettings)
    for name in ("starlette", "uvicorn"):
        if find_spec(name) is None:
            raise InputError(
                f"expected the extra `studio`, got an installation without {name}; pip install 'ancestral[studio]'"
            )
    from ancestral.web.server import serve

    def begun(address: str) -> None:
        if found.json:
            tell_json({"address": address, "folder": str(job.folder)})
        else:
            tell(address)

    with stop_asked("stopping the studio") as asked:
        if still_trained := serve(job, lambda: asked.signal != 0, begun):
            say(f"trainings that go on: {', '.join(still_trained)}; the studio finds them again")
        return 128 + asked.signal
