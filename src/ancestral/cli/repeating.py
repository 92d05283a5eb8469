"""`ancestral sample RUN --from FILE`: what a PNG file says of how it was drawn, as the command that draws it again."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ancestral.cli.asking import Given
from ancestral.cli.options import accepts
from ancestral.config import SamplingSettings
from ancestral.errors import InputError

if TYPE_CHECKING:
    from ancestral.tensors import Pixels

NETWORKS = ("weights", "weaker", "classifier")
"""What a file says of the networks: a digest of each that took part."""


class Recipe(NamedTuple):
    """How the images of a file were drawn."""

    file: Path
    seeds: range
    classes: str
    """As `--classes` takes them."""
    settings: Given
    networks: dict[str, str]

    def check(self, facts: dict[str, str]) -> None:
        """That the networks at hand, of which `facts` tell, are those that drew the file.

        Raises:
            InputError: they are others.
        """
        for name in NETWORKS:
            if self.networks.get(name) != facts.get(name):
                raise InputError(
                    f"expected the {name} {self.networks.get(name, 'none')} that drew {self.file}, got "
                    f"{facts.get(name, 'none')}; name the run that it came from, or give its --seed without --from"
                )


def recipe(file: Path) -> Recipe:
    """What the PNG file says of itself.

    Raises:
        InputError: no PNG file, or one that `ancestral sample` has not written.
    """
    from ancestral.viz.pictures import read_metadata

    said = read_metadata(file)
    if "task" in said:
        raise InputError(f"expected an image that was drawn, got {file}, an edit: repeat its `ancestral edit`")
    if not {"seed", "class", "weights"} <= said.keys():
        raise InputError(f"expected a PNG file that `ancestral sample` wrote, got {file}, which says nothing of itself")
    fields = SamplingSettings.model_fields
    settings = {
        name: text.split() if accepts(fields[name].annotation, tuple) else text
        for name, text in said.items()
        if name in fields
    }
    if settings.get("variance") == "learned":  # of the run's own, which no setting names
        del settings["variance"]
    networks = {name: said[name] for name in NETWORKS if name in said}
    return Recipe(file, _seeds(said["seed"], file), said["class"], settings, networks)


def _seeds(text: str, file: Path) -> range:
    ends = text.split(" to ")
    if len(ends) > 2 or not all(end.isdecimal() for end in ends):
        raise InputError(f"expected a seed in {file}, got {text[:40]!r}; the file was changed")
    return range(int(ends[0]), int(ends[-1]) + 1)


def compared(file: Path, pixels: "Pixels") -> str:
    """How the one image that was drawn again differs from that of the file, in a sentence.

    Args:
        pixels: (1, C, H, W).
    """
    import numpy as np
    from PIL import Image

    with Image.open(file, formats=["PNG"]) as opened:
        before = np.atleast_3d(np.asarray(opened)).astype(int)
    now = np.moveaxis(pixels[0].numpy(), 0, -1).astype(int)
    if before.shape != now.shape:
        return f"{file} is a picture of it in another size"
    most = int(abs(before - now).max())
    if most == 0:
        return f"the same as {file}, pixel for pixel"
    return f"differs from {file} by up to {most} of 255 levels: another machine, precision or version rounds otherwise"
