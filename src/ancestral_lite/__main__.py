"""`python -m ancestral_lite MODEL`: images of a model that was exported as ONNX, as one PNG file."""

import argparse
import sys
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from ancestral_lite.asking import attributes_in
from ancestral_lite.model import Model
from ancestral_lite.png import MARK, grid, png

AT_ONCE = 32  # images
MOST_SEED = 2**63 - 1
NEAR = {"noise": 1e-5, "output": 1e-3}
"""How near noise and answer are to torch's where all is well."""


class _Options(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see --help")


def options() -> argparse.ArgumentParser:
    known = _Options("python -m ancestral_lite", description=__doc__, allow_abbrev=False)
    known.add_argument("model", metavar="MODEL", type=Path, help="the file model.onnx, or its folder")
    known.add_argument("--seed", type=int, default=0, help="of the first image; the next one's is 1 more [0]")
    known.add_argument("--num-images", type=int, metavar="N", help="how many [16, or as many as prompts]")
    known.add_argument("--classes", metavar="LIST", default="all", help="names or numbers with commas, all, none [all]")
    known.add_argument("--attributes", metavar="LIST", help="numbers by name, age=0.3,smiling=1")
    known.add_argument("--prompt", metavar="TEXT", action="append", default=[], help="several times: in turn")
    known.add_argument("--negative", metavar="WORDS", help="a text, class or attributes to be guided away from")
    known.add_argument("--guidance", type=float, metavar="G", help="1: none [as the model says]")
    known.add_argument("--out", type=Path, metavar="FILE", default=Path("grid.png"), help="[grid.png]")
    known.add_argument("--threads", type=int, metavar="N", default=0, help="[one a core]")
    known.add_argument("--check", action="store_true", help="only compare noise and network with torch's own numbers")
    return known


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 2 for what was asked and cannot be done."""
    try:
        _run(options().parse_args(argv))
    except (ValueError, MemoryError, OSError) as fault:
        print(f"ancestral_lite: error: {' '.join(str(fault).split()) or 'more memory than there is'}", file=sys.stderr)
        return 2
    return 0


def _run(asked: argparse.Namespace) -> None:
    count = max(16, len(asked.prompt)) if asked.num_images is None else asked.num_images
    checks = {
        "--num-images of 1 or more": count >= 1,
        f"--seed in 0..{MOST_SEED + 1 - count}": 0 <= asked.seed <= MOST_SEED + 1 - count,
        "--guidance of 0 or more": asked.guidance is None or (asked.guidance >= 0 and isfinite(asked.guidance)),
        "--out to end in .png": asked.out.suffix.lower() == ".png",
        "--threads of 0 or more": asked.threads >= 0,
        "at most one prompt for each image": len(asked.prompt) <= count,
    }
    if wrong := [each for each, holds in checks.items() if not holds]:
        raise ValueError(f"expected {wrong[0]}")
    model = Model(asked.model, asked.threads)
    if asked.check:
        _check(model)
        return
    _claim(asked.out)
    asked.out.write_bytes(png(grid(_generated(model, asked, count))))
    print(asked.out)


def _claim(out: Path) -> None:
    """Makes the folder of a file, and refuses to write over one that is not of here."""
    if out.exists():
        with out.open("rb") as file:
            if MARK not in file.read(100):
                raise ValueError(f"expected {out} not to be there yet, got a file of another kind; choose another name")
    out.parent.mkdir(parents=True, exist_ok=True)


def _check(model: Model) -> None:
    apart = model.apart()
    print(", ".join(f"{name} {far:.1e} from torch's" for name, far in apart.items()))
    if far := [name for name, most in NEAR.items() if not apart[name] <= most]:
        raise ValueError(f"expected {far[0]} within {NEAR[far[0]]:g} of torch's, got {apart[far[0]]:.1e}")


def _generated(model: Model, asked: argparse.Namespace, count: int) -> NDArray[np.uint8]:
    several = asked.classes not in model.asking.classes
    named = [each.strip() for each in asked.classes.split(",")] if several else [asked.classes]
    classes = {"all": None, "none": []}.get(asked.classes, named)
    attributes = None if asked.attributes is None else attributes_in(asked.attributes)
    whole = model.asked(count, classes, attributes, asked.prompt, asked.negative)
    if model.asking.tokenizer and (cut := model.asking.tokenizer.cut(asked.prompt)):
        print(f"ancestral_lite: note: the end of {cut} of the prompts is not read: too many tokens", file=sys.stderr)
    seeds, images = range(asked.seed, asked.seed + count), []
    for start in range(0, count, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        for number, step in enumerate(model.steps(seeds[part], whole.part(part), asked.guidance), 1):
            last = step
            if sys.stderr.isatty():
                print(f"\r{start} of {count} images, step {number} ", end="", file=sys.stderr)
        images.append(model.pixels(last.x_s))
    return np.concatenate(images)


if __name__ == "__main__":
    sys.exit(main())
