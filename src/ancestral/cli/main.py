"""`ancestral VERB ...`: finds the verb, runs it, and turns what goes wrong into one line and an exit code.

0 done, 2 usage or data, 3 diverged, 4 cannot write, 5 another process is gone, 129, 130 and 143 interrupted after
saving, by a terminal that closed, Ctrl-C or SIGTERM, 141 nobody reads the output.
"""

import gc
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

from ancestral.cli.output import UnfailingStream, say, write_nowhere
from ancestral.cli.signals import Stopped, stop_asked
from ancestral.errors import AncestralError, CannotWrite, InputError, shortage
from ancestral.files import REMEDIES
from ancestral.machine import is_main_process, keep_freed_memory, loading, share_the_cores, started_together
from ancestral.names import meant, spelled
from ancestral.text import printable

VERBS = {
    "train": "train on a data set or a folder of images; the same command goes on where it stopped",
    "sample": "generate images, and films of how they were generated",
    "edit": "inpaint, vary, interpolate, restore, enlarge, continue or tile images",
    "export": "write a model as ONNX, to be run without torch and without this package",
    "share": "write a model as one HTML file that generates in a browser",
    "report": "one page that shows a run: curves, samples, film, numbers",
    "evaluate": "measure generated images against held-out ones, beside the floors",
    "likelihood": "measure the bound on bits per dimension of held-out images",
    "sweep": "measure samplers against network calls, and keep to the best",
    "ema": "measure averages of the weights over other lengths of a run, after it; keep to one",
    "train-classifier": "train a classifier of noisy images, to guide a run's network by",
    "train-codec": "train an autoencoder of images: the latents of latent diffusion",
    "rate": "measure the bytes of an autoencoder's latents against its images, beside PCA, JPEG, WebP",
    "variance": "measure the best variance of a network's reverse steps",
    "import": "make a pipeline of weights that another program trained",
    "tune": "measure how this machine trains and generates fastest with a network, and keep to it",
    "show": "pictures of noise schedules, of the forward process, of a data set",
    "data": "check a folder of images before training on it; pack one as shards",
    "runs": "list runs: what each is doing, how far it has come, its last numbers",
    "studio": "one page in a browser on all runs: train, generate, edit, measure, share",
    "selftest": "check every formula against closed forms, on this machine",
    "completion": "print a script by which a shell completes verbs, options and names",
}
MEASURING = ("report", "evaluate", "likelihood", "train-classifier", "variance")
"""Verbs whose words are in measure.py; of the others each has a module."""
MODULES = {"import": "imports"}
"""Of verbs that are words of Python."""
TOGETHER = ("train", "sample", "evaluate", "likelihood", "sweep", "train-classifier", "train-codec")
"""Verbs that several processes can do together."""
EXAMPLES = {
    "ancestral sample digits": "images by a model that comes along, at once",
    "ancestral train digits": "two minutes, no download",
    "ancestral sample runs/digits --film film.gif": "what it learned, and how it generates",
    "ancestral report runs/digits": "curves, samples and numbers on one page",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line `argv` (None: the process's own); the exit code."""
    if argv is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # before a verb begins and after it has ended, Ctrl-C ends the process as SIGTERM does, without a traceback
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    words = [*(sys.argv[1:] if argv is None else argv)]
    share_the_cores()
    keep_freed_memory()
    _prepare_output()
    code = _outcome([word for word in words if word != "--debug"], "--debug" in words)
    # what is buffered is handed over; where nobody reads it any more, what was done is done all the same
    UnfailingStream(sys.stdout).flush()
    UnfailingStream(sys.stderr).flush()
    if started_together():
        os._exit(code)  # at once: the engine's threads may outlive its group, and abort a slower end
    if argv is None:
        gc.freeze()  # the process ends: what is left in a circle need not be found first, which takes half a second
    return code


def _outcome(words: Sequence[str], debug: bool) -> int:
    """The exit code, after what went wrong has been said."""
    try:
        with stop_asked(promise=None):
            return run(words)
    except SystemExit:  # after a verb's help
        return 0
    except BrokenPipeError:
        write_nowhere(sys.stdout)
        write_nowhere(sys.stderr)
        return 141
    except KeyboardInterrupt as stop:
        if is_main_process():
            say("; ".join(["ancestral: stopped", *vars(stop).get("__notes__", [])]))
        return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)
    except AncestralError as fault:
        return _failed(str(fault), fault.exit_code, debug) if fault.rank_local or is_main_process() else fault.exit_code
    except Exception as fault:
        if isinstance(fault, OSError) and fault.errno in REMEDIES:
            return _failed(f"cannot write: {fault.strerror}; {REMEDIES[fault.errno]}", CannotWrite.exit_code, debug)
        if short := shortage(fault):
            return _failed(short, InputError.exit_code, debug)
        internal = f"{type(fault).__name__}: {fault} (internal error; rerun with --debug for the traceback)"
        return _failed(internal, 1, debug)


def _failed(message: str, code: int, debug: bool) -> int:
    """Says what went wrong on one line of stderr, if anyone reads it; the exit code."""
    if debug:
        traceback.print_exc()
    print(_line("error", message), file=UnfailingStream(sys.stderr), flush=True)
    return code


def run(words: Sequence[str]) -> int:
    """Hands the words after the verb to the verb's module."""
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0
    if words[0] == "--version":
        from importlib.metadata import version

        print(f"ancestral {version('ancestral')}")
        return 0
    verb = spelled(words[0], VERBS)
    if verb not in VERBS:
        raise InputError(f"expected a verb, got {words[0]!r}; {meant(words[0], VERBS)}")
    if started_together() and os.environ["WORLD_SIZE"] != "1" and verb not in TOGETHER:
        raise InputError(
            f"expected one process for ancestral {verb}, got {os.environ['WORLD_SIZE']}; "
            f"start it without a launcher, which is for {', '.join(TOGETHER)}"
        )
    name = MODULES.get(verb, verb.replace("-", "_"))
    module, function = ("measure", name) if verb in MEASURING else (name, "run")
    with loading():
        view = import_module(f"ancestral.cli.{module}")
    code: int | None = getattr(view, function)(words[1:])
    return code or 0


def overview() -> str:
    from ancestral.models import about
    from ancestral.presets import PRESETS

    presets = {name: (recipe.__doc__ or "").strip().splitlines()[0] for name, recipe in PRESETS.items()}
    tables = {"verbs": VERBS, "presets, for ancestral train": presets}
    tables |= {"models that come along, for ancestral sample": about(), "examples": EXAMPLES}
    lines = ["usage: ancestral VERB [--help] ...", "", "Denoising diffusion you can train, measure and read."]
    for title, rows in tables.items():
        width = max(map(len, rows))
        lines += ["", f"{title}:", *(f"  {name:<{width}}  {text}" for name, text in rows.items())]
    help_of_verbs = "ancestral VERB --help explains a verb. --version; --debug: a traceback where something goes wrong."
    return "\n".join([*lines, "", help_of_verbs])


def _line(kind: str, message: str) -> str:
    """An error or a warning on one line, whatever the message holds."""
    return f"ancestral: {kind}: {printable(' '.join(message.split()))}"


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """A record of a log as a warning of ours, or as a note."""
        text = super().format(record)
        return _line("warning", text) if record.levelno >= logging.WARNING else printable(text)


def _prepare_output() -> None:
    """What other libraries, and our own logs, warn of is shown as our warnings are; nothing fails by being printed."""
    warnings.formatwarning = lambda message, *_: _line("warning", str(message)) + "\n"
    logging.getLogger("ancestral").setLevel(logging.INFO)  # notes of ours, and of others what they warn of
    if logging.lastResort is not None:
        logging.lastResort.setLevel(logging.INFO)
        logging.lastResort.setFormatter(_OneLine())
    # where there is no output it is dropped; what the terminal's encoding lacks is escaped
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
