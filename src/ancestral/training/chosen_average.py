"""Which average of a run its pipeline has, where that is not the run's own: RUN/average.json.

A note that holds only while both hashes are those of what lies there.
"""

from ancestral.files import read_json, write_whole
from ancestral.settings import Settings, parse
from ancestral.training.run import RunFolder


class AverageChoice(Settings):
    """The hashes are of its weights and of those of the run's own average."""

    length: float
    weights: str
    own: str


def read_choice(run: RunFolder) -> AverageChoice | None:
    """The note; None: there is none."""
    file = run.chosen_average
    return parse(AverageChoice, read_json(file), str(file)) if file.is_file() else None


def write_choice(run: RunFolder, choice: AverageChoice) -> None:
    write_whole(run.chosen_average, choice.model_dump_json(indent=2) + "\n")
