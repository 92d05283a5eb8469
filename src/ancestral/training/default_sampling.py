"""How a run generates images unless asked otherwise: config.json and the pipeline always say the same.

A choice is first written to sampling.json, with what it takes the place of, then to the two files: a process that ends
in between leaves a choice that `agreed` completes, and `restored` knows what was before.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from ancestral.errors import CannotWrite, InputError
from ancestral.files import read_json, write_whole
from ancestral.folders import OWN_FILE
from ancestral.migrations import settings as migrated
from ancestral.pipeline.folder import read_own_file, settings_text
from ancestral.settings import Config, SamplingSettings, Settings, parse
from ancestral.training.run import RunFolder

CHOICE = "sampling.json"


class Choice(Settings):
    now: SamplingSettings
    before: SamplingSettings


def run_of(folder: Path) -> Path:
    """The run that a run's `pipeline/` belongs to; any other folder itself."""
    parent = folder.absolute().parent
    return parent if folder.absolute() == RunFolder(parent).pipeline and RunFolder(parent).config.is_file() else folder


def config_of(folder: Path) -> Config:
    """The settings of a run, or of a folder that is only a pipeline; InputError for one that diffusers wrote, whose
    images nobody knows."""
    if RunFolder(folder).config.is_file() or not (folder / OWN_FILE).is_file():
        return RunFolder(folder).read_config()
    return read_own_file(folder / OWN_FILE)[0]


def choose(folder: Path, sampling: SamplingSettings) -> None:
    """Makes `sampling` how the run or pipeline in `folder` generates images from now on. InputError where training goes
    on there, which would write its own settings again; CannotWrite leaves all files as they were."""
    _store(folder, sampling, Choice(now=sampling, before=read_own_file(_own_file(folder))[0].sampling))


def restored(folder: Path) -> SamplingSettings:
    """Undoes the last choice; what was before it. Raises as `choose` does, and where there is none."""
    choice = _choice(folder)
    if choice is None:
        raise InputError(
            f"expected a sweep's choice to undo in {folder}, got none; it generates images as it always did"
        )
    _store(folder, choice.before)
    (folder / CHOICE).unlink(missing_ok=True)
    return choice.before


def agreed(folder: Path) -> None:
    """Completes a choice that a process began to write and did not end. Raises as `choose` does."""
    choice, run = _choice(folder), RunFolder(folder)
    if choice is None or not run.config.is_file():
        return
    written = [run.read_config().sampling, read_own_file(_own_file(folder))[0].sampling]
    if written[0] != written[1] and choice.now in written:
        _store(folder, choice.now)


def check_free(folder: Path) -> None:
    """Raises InputError where no choice could be written: training goes on there."""
    with _held(folder):
        pass


@contextmanager
def _held(folder: Path) -> Iterator[Config | None]:
    """The settings of a run, which nobody trains meanwhile; None: the folder is only a pipeline."""
    run = RunFolder(folder)
    config = run.read_config() if run.config.is_file() else None
    with nullcontext() if config is None else run.claimed(config):
        yield config


def _store(folder: Path, sampling: SamplingSettings, choice: Choice | None = None) -> None:
    """Writes the choice, if one is made, and then both files; what fails leaves all as they were."""
    files = {} if choice is None else {folder / CHOICE: choice.model_dump_json(indent=2) + "\n"}
    with _held(folder) as config:
        if config is not None:
            chosen = config.model_copy(update={"sampling": sampling})
            files[RunFolder(folder).config] = chosen.model_dump_json(indent=2) + "\n"
        own, spec, codec = read_own_file(_own_file(folder))
        files[_own_file(folder)] = settings_text(own.model_copy(update={"sampling": sampling}), spec, codec)
        _write_all(files)


def _write_all(files: dict[Path, str]) -> None:
    before = {file: file.read_bytes() if file.is_file() else None for file in files}
    try:
        for file, content in files.items():
            write_whole(file, content)
    except BaseException:
        for file, old in before.items():
            with suppress(CannotWrite):
                if old is None:
                    file.unlink(missing_ok=True)
                elif file.read_bytes() != old:
                    write_whole(file, old)
        raise


def _own_file(folder: Path) -> Path:
    return (RunFolder(folder).pipeline if RunFolder(folder).config.is_file() else folder) / OWN_FILE


def _choice(folder: Path) -> Choice | None:
    file = folder / CHOICE
    return parse(Choice, migrated(read_json(file)), str(file)) if file.is_file() else None
