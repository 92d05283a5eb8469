"""The process that decodes uploaded images, one after another, within bounds, and without torch."""

import json
import resource
import sys
from pathlib import Path
from typing import Any

from ancestral.data.images import BadImage, load
from ancestral.errors import InputError
from ancestral.files import read_bytes
from ancestral.jobs.repeating import recipe

MEMORY = 2**32  # bytes of addresses that this process may have


def decoded(file: Path, kept: Path) -> dict[str, Any]:
    """Writes the image as PNG, and says what it is; `why` it is none."""
    try:
        image, _ = load(Path("the image"), read_bytes(file, 2**24))
    except BadImage as fault:
        return {"why": f"expected a PNG, JPEG, WebP, BMP, GIF or TIFF image, got one that {fault.reason}"}
    image.save(kept, "PNG", compress_level=1)
    facts = {"width": image.width, "height": image.height, "channels": len(image.getbands())}
    return {**facts, "recipe": recipe_of(file)}


def recipe_of(file: Path) -> dict[str, Any] | None:
    """How `ancestral sample` generated the image, where it says so."""
    try:
        said = recipe(file)
    except InputError:
        return None
    if said.branch.branch is not None or "schedule" in said.networks:  # which no form takes up
        return None
    return {
        "settings": said.settings,
        "seed": str(said.seeds[0]),
        "num_images": len(said.seeds),
        "classes": said.classes,
        "attributes": said.attributes,
        "prompt": [*said.prompts.texts],
        "weights": said.networks["weights"],
    }


def main() -> None:
    """Answers each line with one."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    print("{}", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(decoded(Path(asked["given"]), Path(asked["kept"]))), flush=True)


if __name__ == "__main__":
    main()
