"""Runs as they lie in folders, seen from outside: state, progress and last numbers, without loading torch or a lock."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ancestral.colors import NAMES
from ancestral.errors import InputError
from ancestral.files import open_regular, parse_json, read_json
from ancestral.folders import CODEC, CODEC_FILE
from ancestral.migrations import settings as migrated
from ancestral.settings import AnyConfig, CodecConfig, Config, parse

MALFORMED = (ValueError, LookupError, TypeError)
"""What reading a file that is missing (an InputError, which is a ValueError) or says something else may raise."""


class RunState(NamedTuple):
    """A run in a line. None: not known yet, or of no such run. `fraction`: used of the budget, 0..1; `psnr`: of an
    autoencoder, dB; `changed`: seconds since 1970; `size`: of its images, in words."""

    run: str
    state: Literal["training", "stopped", "finished", "damaged"]
    steps: int | None = None
    images: int | None = None
    minutes: float | None = None
    images_per_second: float | None = None
    fraction: float | None = None
    loss: float | None = None
    bits_per_dim: float | None = None
    frechet: float | None = None
    psnr: float | None = None
    size: str = ""
    changed: float = 0.0
    fault: str = ""


def find_runs(folder: Path, depth: int = 3) -> Iterator[Path]:
    """The run folders at and up to `depth` folders below `folder`, by their names; none inside another run."""
    settings = any((folder / name).exists() for name in ("config.json", CODEC_FILE))
    if settings and ((folder / "lock").exists() or (folder / "checkpoints").is_dir()):
        yield folder
        return
    with suppress(OSError):
        for each in sorted(folder.iterdir()):
            if depth and each.is_dir() and not each.is_symlink() and not each.name.startswith("."):
                yield from find_runs(each, depth - 1)


def state_of(run: Path) -> RunState:
    """What a run's files say of it."""
    logged = _last_line(run / "log.jsonl")
    last = max(logged, _last_saved(run), key=lambda record: _number(record, "step", int) or 0)
    timed = _last_line(run / "timing.jsonl")
    about: dict[str, Any] = {
        "run": str(run),
        "steps": _number(last, "step", int),
        "images": _number(last, "images", int),
        "minutes": _number(timed, "minutes", float),
        "images_per_second": _number(timed, "images_per_second", float),
        "loss": _number(logged, "loss", float),
        "changed": _changed(run),
    }
    with suppress(*MALFORMED):  # the bound of a likelihood that was measured
        about["bits_per_dim"] = float(read_json(run / "likelihood.json")["total"]["value"])
    with suppress(*MALFORMED):  # the first comparison of an evaluation is of generated images
        numbers = read_json(run / "evaluation.json")["comparisons"][0]["numbers"]
        about["frechet"] = next((float(each["value"]) for each in numbers if each["name"] == "frechet"), None)
    with suppress(*MALFORMED):
        about["psnr"] = float(read_json(run / "quality.json")["psnr"])
    is_codec = (run / CODEC_FILE).exists()
    kind: type[CodecConfig] | type[Config] = CodecConfig if is_codec else Config
    file, made = (CODEC_FILE, CODEC) if is_codec else ("config.json", "pipeline")
    try:
        config: AnyConfig = parse(kind, migrated(read_json(run / file)), file)
    except InputError as wrong:
        return RunState(state="damaged", fault=str(wrong), **about)
    with suppress(*MALFORMED):
        about["size"] = _size(config, run)
    about["fraction"] = _fraction_used(config, run, last, about["minutes"])
    if _is_held(run / "lock"):
        return RunState(state="training", **about)
    if fault := _fault(run, made):
        return RunState(state="damaged", fault=fault, **about)
    finished = about["fraction"] >= 1 and (run / made).is_dir()
    return RunState(state="finished" if finished else "stopped", **about)


def _size(config: AnyConfig, run: Path) -> str:
    """Height, width and colours of the images, as what the run has made says."""
    if isinstance(config, CodecConfig):
        images = read_json(run / CODEC / "config.json")
        side, channels = images["sample_size"], images["in_channels"]
        height, width = config.data.height_width or (side, side)
    else:
        images = read_json(run / "pipeline" / "ancestral.json")["images"]
        height, width, channels = images["height"], images["width"], images["channels"]
    return f"{height}x{width} {NAMES.get(channels, '')}".strip()


def _is_held(lock: Path) -> bool:
    """Whether a trainer holds the lock: asked by a shared one, for a moment, of a file that is only read."""
    try:
        with open_regular(lock) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (OSError, InputError) as fault:
        return isinstance(fault, BlockingIOError)
    return False


def _fault(run: Path, made: str) -> str:
    """What is wrong with a run that no one trains and that makes a folder `made`; empty where nothing is to be seen."""
    kept = [*(run / "checkpoints").glob("step-*")]
    broken = [each.name for each in kept if not (each / "manifest.json").is_file()]
    if broken:
        return f"{broken[0]} has no manifest"
    if not kept and any((run / "checkpoints").glob("damaged-*")):
        return "every checkpoint was set aside as damaged"
    return f"checkpoints and no {made}" if kept and not (run / made).is_dir() else ""


def _fraction_used(config: AnyConfig, run: Path, last: dict[str, Any], minutes: float | None) -> float:
    """The share of the budget, of the limit that is nearest, that what was logged or saved last has used: 0..1."""
    budget = config.own_training
    used = (
        (_number(last, "step", int), budget.steps),
        (_number(last, "images", int), budget.images),
        (minutes, budget.minutes),
        (_number(_last_saved(run), "seconds", float), budget.minutes and 60 * budget.minutes),
    )
    return min(1.0, max((amount / limit for amount, limit in used if amount is not None and limit), default=0.0))


def _last_line(path: Path) -> dict[str, Any]:
    """The last whole line of a log that is an object; empty where there is none."""
    most = 2**16  # bytes of the end
    with suppress(InputError, OSError), open_regular(path) as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - most))
        for line in reversed(file.read(most).splitlines()):
            with suppress(InputError):
                value = parse_json(line, path.name)
                if isinstance(value, dict) and "step" in value:
                    return value
    return {}


def _last_saved(run: Path) -> dict[str, Any]:
    """What the newest checkpoint says of itself, whatever has become of the log; empty where there is none."""
    newest = max((run / "checkpoints").glob("step-*/state.json"), default=None)
    with suppress(InputError):
        return read_json(newest) if newest else {}
    return {}


def _number(values: dict[str, Any], name: str, kind: type[int] | type[float]) -> Any:
    value = values.get(name)
    return kind(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _changed(run: Path) -> float:
    """When the run last wrote, in seconds since 1970."""
    times = [0.0]
    for name in ("log.jsonl", "timing.jsonl", "config.json", CODEC_FILE, "pipeline", CODEC):
        with suppress(OSError):
            times.append((run / name).stat().st_mtime)
    return max(times)
