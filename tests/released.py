"""A package of models on the path, as `ancestral_models` is."""

from pathlib import Path

from ancestral.models import CARD, OTHERS, TABLE
from ancestral.pipeline import Pipeline
from distribution.models import table

RUNS_NOTHING = "raise SystemExit('data is not to be run')\n"


def packed(root: Path, name: str, pipeline: Pipeline) -> Path:
    """Writes the package into `root`, with one model of this name; the model's folder. To import it is a fault."""
    package = root / OTHERS
    package.mkdir()
    (package / "__init__.py").write_text(RUNS_NOTHING)
    pipeline.save(package / name, bits=16)
    (package / name / CARD).write_text(f"# {name}: dots, 8x8 grey\n")
    (package / TABLE).write_text(table(package))
    return package / name
