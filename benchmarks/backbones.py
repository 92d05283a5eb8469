"""`python -m benchmarks.backbones`: a U-Net and a transformer for the same minutes of this machine.

Each has a recipe of its own: the preset of the U-Net, and one for a transformer that a few runs of a minute have
chosen. Speeds are measured in alternating pairs, and those of equal networks are equal. Then each is trained on the
images that it sees in the minutes of the preset, and 500 images are generated and compared with the test images, as
`benchmarks.recipes` does.

Results go to benchmarks/results/backbones-<data>-<seconds>s.json as they come; runs that are there are not made again.
`--table` prints them.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ancestral.files import write_whole
from ancestral.presets import digits, digits_dit, mnist
from ancestral.settings import Config, merged
from benchmarks.recipes import IMAGES, budget, quality_of, speed_of, table

MNIST_DIT: dict[str, Any] = {
    "network": {"name": "dit", "patch": 4, "width": 128, "layers": 6, "heads": 4},
    "training": {"lr": 2e-3},
}
NETWORKS = {
    "digits": {"U-Net": digits(), "transformer": digits_dit()},
    "mnist": {"U-Net": mnist(), "transformer": merged(mnist(), MNIST_DIT, "the transformer")},
}
"""The recipes of each data set, the first of which the others are divided by."""


def main(argv: Sequence[str] | None = None) -> int:
    return compared("backbones", __doc__ or "", NETWORKS, argv)


def compared(name: str, about: str, each: Mapping[str, Mapping[str, Config]], argv: Sequence[str] | None) -> int:
    """Measures speeds, then trains and measures what is missing, of the recipes for each data set."""
    words = _parser(name, about, each).parse_args(argv)
    recipes = each[words.data]
    first, minutes = next(iter(recipes)), words.minutes or next(iter(recipes.values())).training.minutes
    assert minutes is not None, "a preset of so many minutes"
    file = Path(words.out) / f"{name}-{words.data}-{round(60 * minutes)}s.json"
    record = json.loads(file.read_text()) if file.is_file() else {"minutes": minutes, "speeds": {}, "runs": {}}
    for name, config in recipes.items() if not words.table else ():
        if name not in record["speeds"]:
            same = name != first and config.network == recipes[first].network
            record["speeds"][name] = record["speeds"][first] if same else speed_of(recipes[first], config)
            record["speeds"][first]["ratio"] = 1.0  # what was measured beside itself is the noise of measuring
            write_whole(file, json.dumps(record, indent=1) + "\n")
    for seed in range(words.seeds) if not words.table else ():
        for name in (name for name in recipes if f"{name}/{seed}" not in record["runs"]):
            images = budget(minutes, record["speeds"][first]["images_per_second"], record["speeds"][name]["ratio"])
            found = quality_of(in_images(recipes[name], images, seed), count=words.images)
            record["runs"][f"{name}/{seed}"] = {**found, "images": images}
            write_whole(file, json.dumps(record, indent=1) + "\n")
    print(table(record))
    return 0


def in_images(config: Config, images: int, seed: int) -> Config:
    """The recipe with a budget in images, and nothing on the way that takes time of its own."""
    often = {"sample_every_steps": 10**6, "validate_every_steps": 10**6, "checkpoint_every_minutes": 1e6}
    return merged(config, {"seed": seed, "training": {"minutes": None, "images": images, **often}}, "the budget")


def _parser(name: str, about: str, each: Mapping[str, object]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"python -m benchmarks.{name}", description=about)
    parser.add_argument("data", choices=each, help="what is generated")
    parser.add_argument("--minutes", type=float, help="of this machine, for each run [those of the preset]")
    parser.add_argument("--seeds", type=int, default=3, help="training seeds of each recipe [3]")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"that are generated and measured [{IMAGES}]")
    parser.add_argument("--table", action="store_true", help="print what is there, in Markdown")
    parser.add_argument("--out", default=str(Path(__file__).parent / "results"), help="folder of the results")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
