"""`ancestral sample RUN --from FILE`: what a PNG file says of how it was generated, so that it is generated again."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ancestral.contracts import LONGEST_NUMBER, accepts
from ancestral.errors import InputError
from ancestral.jobs.branch import BranchSettings
from ancestral.jobs.settings import Changes
from ancestral.migrations import settings as migrated
from ancestral.prompts import Prompts
from ancestral.settings import MOST_IMAGES, MOST_SEED, SamplingSettings, parse

if TYPE_CHECKING:
    from ancestral.tensors import Pixels

NETWORKS = ("weights", "weaker", "classifier")  # what a file says of the networks: a digest of each that took part
DIGESTS = (*NETWORKS, "schedule")  # and of a noise schedule that is not the run's own


class ImageRecipe(NamedTuple):
    """How a file's images were generated; classes and attributes as the options take them, what was asked in words,
    what came after a branch, and digests of the networks."""

    file: Path
    seeds: range
    classes: str
    attributes: str | None
    settings: Changes
    networks: dict[str, str]
    prompts: Prompts
    branch: BranchSettings

    def check(self, facts: dict[str, str], class_names: Sequence[str]) -> None:
        """That the networks at hand, of which `facts` tell, generated the file, and that it names no class too many."""
        if self.classes not in class_names and self.classes.count(",") >= len(self.seeds):
            raise InputError(f"expected a class for each of {len(self.seeds)} images in {self.file}, got more")
        for name in DIGESTS:
            before, now = self.networks.get(name, "none"), facts.get(name, "none")
            if before != now:
                remedy = "the run that it came from" if name in NETWORKS else "its file by --schedule"
                raise InputError(
                    f"expected the {name} {before} that generated {self.file}, got {now}; name {remedy}, or give its "
                    "--seed without --from"
                )


def recipe(file: Path) -> ImageRecipe:
    """What a PNG file that `ancestral sample` has written says of itself."""
    from ancestral.viz.png_texts import read_metadata

    said = migrated(read_metadata(file))
    if "task" in said:
        raise InputError(f"expected an image that was generated, got {file}, an edit: repeat its `ancestral edit`")
    if not {"seed", "class", "weights"} <= said.keys():
        raise InputError(f"expected a PNG file that `ancestral sample` wrote, got {file}, which says nothing of itself")
    fields = SamplingSettings.model_fields
    settings = {name: said[name] for name in said if name in fields}
    settings |= {name: text.split() for name, text in settings.items() if accepts(fields[name].annotation, tuple)}
    if settings.get("variance") == "learned":  # of the run's own, which no setting names
        del settings["variance"]
    networks = {name: said[name] for name in DIGESTS if name in said}
    prompts, seeds = Prompts.read(said, str(file)), _seeds(said["seed"], file)
    asked, branch = (said["class"], said.get("attributes")), _branch(said, file)
    return ImageRecipe(file, seeds, *asked, settings, networks, prompts, branch)


def _branch(said: dict[str, str], file: Path) -> BranchSettings:
    """What changed after how many steps."""
    names = {"branch": "branch", "then_class": "then_classes", "then_sampler": "then_sampler"}
    told: dict[str, Any] = {name: said[key] for key, name in names.items() if key in said}
    if "then_seed" in said:
        told["then_seed"] = _seeds(said["then_seed"], file)[0]
    return parse(BranchSettings, told, str(file))


def _seeds(text: str, file: Path) -> range:
    """Of "3", or of "3 to 17"."""
    ends = text.split(" to ")
    known = len(ends) <= 2 and all(end.isdecimal() and len(end) < LONGEST_NUMBER for end in ends)
    seeds = range(int(ends[0]), int(ends[-1]) + 1) if known else range(0)
    if not 0 < len(seeds) <= MOST_IMAGES or seeds[-1] > MOST_SEED:
        most = f"at most {MOST_IMAGES:,} images"
        raise InputError(f"expected a seed, or those of {most}, in {file}, got {text[:40]!r}; it was changed")
    return seeds


def compared(file: Path, pixels: "Pixels") -> str:
    """How the one image that was generated again, (1, C, H, W), differs from that of the file, in a sentence."""
    import numpy as np

    from ancestral.data.images import decode, to_array

    now = np.moveaxis(pixels[0].numpy(), 0, -1).astype(int)
    try:
        before = to_array(decode(file, channels=now.shape[2])).astype(int)
    except InputError as fault:
        return f"not compared: {fault}"
    if before.shape != now.shape:
        return f"{file} is a picture of it in another size"
    if now.shape[2] in (2, 4):
        now[..., :-1] *= now[..., -1:] > 0  # a colour that nobody sees is read as black
    most = int(abs(before - now).max())
    if most == 0:
        return f"the same as {file}, pixel for pixel"
    return f"differs from {file} by up to {most} of 255 levels: another machine, precision or version rounds otherwise"
