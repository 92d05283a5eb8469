"""Runs as the page shows them: a card of each, and what the forms ask of one, read from its files without torch."""

import re
from contextlib import suppress
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from ancestral import migrations
from ancestral.colors import NAMES
from ancestral.files import parse_json, read_json
from ancestral.folders import OWN_FILE
from ancestral.run_states import MALFORMED, RunState, state_of
from ancestral.settings import CodecConfig, Config, ImageSpec, parse
from ancestral.web.library import Found

BUDGETS = ("steps", "images", "minutes")
NUMBERS = {
    **{name: f"{name}.json" for name in ("sweep", "likelihood", "evaluation", "quality")},
    "rate": "rate/rate.json",
}
"""Measurements of a run, and where in it they lie."""
NEAREST = "evaluation-nearest.png"
GRID = re.compile(r"step-(\d+)\.png")
MOST_HEADER = 2**24  # bytes that say what tensors a file holds
CHECKPOINT = re.compile(r"step-(\d+)")


def summary(found: Found) -> dict[str, Any]:
    """What a card shows of a run, a pipeline or a model."""
    card: dict[str, Any] = {"id": found.id, "name": found.path.name, "place": found.place, "kind": found.kind}
    state = state_of_pipeline(found) if found.kind in ("pipeline", "model") else state_of(found.path)
    fields = state._asdict()
    del fields["run"]
    return {
        **card,
        **fields,
        "seconds_left": seconds_left(fields),
        "grids": numbered(found.path / "samples", GRID),
        "budget": budget(found),
        "usable": pipeline_of(found).is_dir(),
    }


def state_of_pipeline(found: Found) -> RunState:
    """What there is to say of a pipeline that lies in no run."""
    images = images_of(found)
    changed = found.path.stat().st_mtime if found.path.is_dir() else 0.0
    return RunState(run="", state="finished", size=size_of(images) if images else "", changed=changed)


def seconds_left(state: dict[str, Any]) -> float | None:
    """Of a training, if it goes on as so far; None: nobody knows."""
    minutes, fraction = state["minutes"], state["fraction"]
    if state["state"] != "training" or not minutes or not fraction:
        return None
    return float(60 * minutes * (1 - fraction) / fraction)


def budget(found: Found) -> dict[str, Any]:
    """The limits of a run's training that are set."""
    with suppress(*MALFORMED):
        training = read_json(settings_file(found))["training"]
        return {name: training[name] for name in BUDGETS if training.get(name) is not None}
    return {}


def settings_file(found: Found) -> Path:
    """The file of the settings of a run."""
    return found.path / ("codec.json" if found.kind == "autoencoder" else "config.json")


def details(found: Found) -> dict[str, Any]:
    """The card, with what a form or a chart needs."""
    config, images = config_of(found), images_of(found)
    files = {name: found.path / file for name, file in NUMBERS.items()}
    measured = {name: file.stat().st_mtime for name, file in files.items() if file.is_file()}
    return {
        **summary(found),
        "settings": config.model_dump(mode="json") if config else None,
        "classes": [*images.class_names] if images else [],
        "attributes": [*images.attribute_names] if images else [],
        "reads_text": bool(images and images.text),
        "shape": [*images.shape] if images else None,
        **(diffusion_of(config) if isinstance(config, Config) else {}),
        "checkpoints": numbered(found.path / "checkpoints", CHECKPOINT),
        "parameters": parameters(pipeline_of(found)),
        "writes_onnx": find_spec("onnx") is not None,
        "numbers": [*measured],
        "outdated": [name for name, written in measured.items() if written < weights_saved(found.path)],
    }


def diffusion_of(config: Config) -> dict[str, Any]:
    """What is asked most, of the settings of a pipeline."""
    diffusion = config.diffusion
    return {
        "num_timesteps": diffusion.schedule.num_timesteps,
        "prediction": diffusion.prediction,
        "tells_noise": diffusion.tells_noise,
        "schedule": diffusion.schedule.model_dump(mode="json"),
        "sampling": config.sampling.model_dump(mode="json"),
    }


def config_of(found: Found) -> Config | CodecConfig | None:
    """The settings of a run, of which its pipeline knows better how to sample; None: it does not say."""
    if found.kind == "autoencoder":
        with suppress(*MALFORMED):
            return parse(CodecConfig, migrations.settings(read_json(settings_file(found))), "codec.json")
        return None
    config: Config | None = None
    with suppress(*MALFORMED):
        config = parse(Config, migrations.settings(read_json(pipeline_of(found) / OWN_FILE))["config"], OWN_FILE)
    with suppress(*MALFORMED):
        own = parse(Config, migrations.settings(read_json(settings_file(found))), "config.json")
        return own.model_copy(update={"sampling": config.sampling}) if config else own
    return config


def images_of(found: Found) -> ImageSpec | None:
    """What a pipeline generates; None: there is none yet, or it does not say."""
    with suppress(*MALFORMED):
        return parse(ImageSpec, read_json(pipeline_of(found) / OWN_FILE)["images"], OWN_FILE)
    return None


def pipeline_of(found: Found) -> Path:
    """The folder of the pipeline of a run, or the pipeline itself."""
    return found.path if found.kind in ("pipeline", "model") else found.path / "pipeline"


def size_of(images: ImageSpec) -> str:
    """Height, width and channels of images, in words."""
    return f"{images.height}x{images.width} {NAMES.get(images.channels, '')}".strip()


def parameters(pipeline: Path) -> int:
    """Numbers in all networks of a pipeline, by the headers of their files."""
    count = 0
    for file in pipeline.glob("*/*.safetensors"):
        with suppress(*MALFORMED), file.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
            tensors = parse_json(content.read(min(length, MOST_HEADER)), file.name)
            count += sum(prod(each["shape"]) for name, each in tensors.items() if name != "__metadata__")
    return count


def weights_saved(run: Path) -> float:
    """When a network was written that what is measured of a run is measured of; 0: never."""
    files = [*run.glob("pipeline/*/*.safetensors"), *run.glob("codec/*.safetensors")]
    return max((file.stat().st_mtime for file in files), default=0.0)


def numbers_of(name: str, file: Path) -> Any:
    """What a file of measurements holds, which an earlier version may have written."""
    renamed = {"sweep": migrations.sweep, "evaluation": migrations.evaluation}.get(name)
    return renamed(read_json(file)) if renamed else read_json(file)


def numbered(folder: Path, name: re.Pattern[str]) -> list[int]:
    """The numbers in the names of what lies in a folder, in order."""
    with suppress(OSError):
        return sorted(int(match[1]) for each in folder.iterdir() if (match := name.fullmatch(each.name)))
    return []
