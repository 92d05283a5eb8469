"""`python -m benchmarks.likelihood_curve RUN`: bits per dimension against minutes of training, and where it leads.

From the logs of a run on the loss `continuous`: the held-out loss is the bound of infinitely many steps without its
ends; L_0 + L_T, measured once by `ancestral likelihood`, are added where that has been run. The power law

    bits(n) = a + b n^-c,   n images seen                                                        (1)

is fitted to the held-out points, and told at twice and at ten times the images: an extrapolation, no promise. A falling
learning rate bends the end of the curve down, so (1) is fitted with the end and is the more hopeful for it.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ancestral.training.logs import read_log
from ancestral.training.run import RunFolder
from ancestral.viz.plots import COLORS, figure_to_png

Numbers = NDArray[np.float64]
POWERS = np.linspace(0.02, 2, 199)
"""Among which c of (1) is sought."""


class Point(NamedTuple):
    """A held-out measurement on the way."""

    minutes: float
    images: int
    bits: float


class PowerLaw(NamedTuple):
    """bits(n) = floor + scale n^-power."""

    floor: float
    scale: float
    power: float

    def at(self, images: float) -> float:
        """Bits per dimension after so many images."""
        return self.floor + self.scale * images**-self.power


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table and the fit, and draws the picture; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.likelihood_curve", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--picture", type=Path)
    words = parser.parse_args(argv)
    ends = ends_of(words.run)
    points = read_points(RunFolder(words.run), ends)
    law = fitted(points)
    print(f"held-out bits/dim, L_0 + L_T = {ends:.4f} of the test part added\n")
    print("| minutes | images | bits/dim |\n|---|---|---|")
    for point in points:
        print(f"| {point.minutes:.1f} | {point.images:,} | {point.bits:.4f} |")
    last = points[-1].images
    print(f"\nfit: {law.floor:.3f} + {law.scale:.3g} n^-{law.power:.3f}; ", end="")
    print(", ".join(f"at {k} x {last:,} images {law.at(k * last):.3f}" for k in (1, 2, 10)))
    if words.picture:
        words.picture.write_bytes(figure_to_png(drawn(points)))
    return 0


def ends_of(run: Path) -> float:
    """L_0 + L_T in bits per dimension where they have been measured, else 0."""
    file = run / "likelihood.json"
    if not file.is_file():
        return 0.0
    found = json.loads(file.read_text())
    return float(found["prior"]["value"] + found["reconstruction"]["value"])


def read_points(run: RunFolder, ends: float) -> list[Point]:
    """The held-out points of the logs, with the minutes at which they were taken."""
    minutes = {line["step"]: line["minutes"] for line in read_log(run.timing)}
    logged = [line for line in read_log(run.log) if "held_out_loss" in line and line["step"] in minutes]
    return [Point(minutes[line["step"]], line["images"], line["held_out_loss"] + ends) for line in logged]


def fitted(points: Sequence[Point]) -> PowerLaw:
    """(1) by least squares: the best of many powers, for each of which floor and scale are linear."""
    images, bits = (np.array(column, dtype=np.float64) for column in list(zip(*points, strict=True))[1:])
    return min((_with_power(images, bits, float(power)) for power in POWERS), key=lambda found: found[0])[1]


def _with_power(images: Numbers, bits: Numbers, power: float) -> tuple[float, PowerLaw]:
    """The sum of squares, and the law."""
    columns = np.stack([np.ones_like(images), images**-power], axis=1)
    (floor, scale), *_ = np.linalg.lstsq(columns, bits, rcond=None)
    return float(((columns @ (floor, scale) - bits) ** 2).sum()), PowerLaw(float(floor), float(scale), power)


def drawn(points: Sequence[Point]) -> Figure:
    """Bits per dimension against minutes."""
    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([p.minutes for p in points], [p.bits for p in points], color=COLORS[0], marker="o", markersize=4)
    axes.set_xlabel("minutes of training, two CPU cores", fontsize=11)
    axes.set_ylabel("held-out bits per dimension", fontsize=11)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
