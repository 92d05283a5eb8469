"""`python -m benchmarks.few_images [COUNT ...]`: what an hour makes of 50, 200, 1,000 and 5,000 images of one's own.

Squares of 64x64 are cut from a folder of larger images, those of the smaller numbers among those of the larger, and a
network is trained on each number: by the recipe for a folder as it is, and with one setting that may help. What it
generates is compared with held-out squares of other images, the same ones for all, and looked for among the squares
that it was trained on. The results go to benchmarks/results/few-images-<machine>.json, and from there into
docs/few-images.md. Runs stay in --runs: the same command goes on where it stopped, and does nothing that is there
again.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ancestral.data.datasets import find_folder
from ancestral.errors import InputError
from ancestral.training.run import RunFolder
from benchmarks.entries import Entry, add_options, carried_out, keep_each
from benchmarks.few_images_data import Cuts, Sources, divided, read_sources, write_folder
from benchmarks.few_images_figures import Judge, draw_real, figures
from benchmarks.few_images_page import KIND, REAL_PICTURE, pages
from benchmarks.few_images_plans import COUNTS, VARIANTS, Plan, planned
from benchmarks.trained import trained, training_of, training_words

QUICK_COUNT, QUICK_IMAGES = 50, 40


def main(argv: Sequence[str] | None = None) -> int:
    """Measures what is asked for; 2 where a run could not be, after the others; that of a verb that was stopped."""
    return carried_out(_parser().parse_args(argv), measure, pages)


def measure(asked: argparse.Namespace, root: Path) -> int:
    """Cuts, then does what is missing, each setting with all numbers before the next, and keeps each in the machine's
    file."""
    sources = read_sources(find_folder(asked.source))
    runs, images = (asked.runs or root / "runs" / KIND).absolute(), QUICK_IMAGES if asked.quick else asked.images
    work = Work(sources, divided(sources), runs, root / "docs" / "pictures", images)
    counts, train = asked.counts or ([QUICK_COUNT] if asked.quick else COUNTS), work.cuts.train
    if max(counts) > len(train):
        got = f"{max(counts):,}; name a smaller number, or a folder with more images"
        raise InputError(f"expected at most the {len(train):,} images that can be cut to train on, got {got}")
    pairs = [(variant, train[:count]) for variant in asked.variants or VARIANTS for count in counts]
    plans = [planned(*pair, asked.share, asked.rate, asked.quick) for pair in pairs]
    return keep_each(KIND, asked, root, plans, work.measured)


@dataclass(frozen=True)
class Work:
    """What all runs share."""

    sources: Sources
    cuts: Cuts
    runs: Path
    pictures: Path
    images: int | None  # to generate of each; None: as many as are held out

    @cached_property
    def judge(self) -> Judge:
        """Its features are learned where it is first needed, before an hour is spent."""
        judge = Judge.of(self.sources, self.cuts, self.images)
        draw_real(judge, self.pictures / REAL_PICTURE)
        return judge

    def measured(self, plan: Plan) -> Entry:
        """Trains what is not there yet, measures it and says what came out."""
        judge, run, name = self.judge, RunFolder(self.runs / f"{plan.label}-{plan.settings}"), f"{plan.num_images}"
        parts = {"train": plan.cuts, "val": self.cuts.validation, "test": self.cuts.test}
        folder = write_folder(self.runs / "data" / name, self.sources, parts)
        processor_share = trained(training_words(str(folder), plan.changes), run.path)
        return {
            "count": plan.num_images,
            "variant": plan.variant,
            "num_sources": len({cut.source for cut in plan.cuts}),
            "num_overlapping": sum(cut.overlaps for cut in plan.cuts),
            "command": " ".join(["ancestral", *training_words(f"runs/{KIND}/data/{name}", plan.changes)]),
            "training": {**training_of(run), "processor_share": processor_share},
            **figures(run, judge, self.pictures / f"{KIND}-{plan.label}.png"),
        }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.few_images", description=__doc__)
    parser.add_argument("counts", nargs="*", type=int, metavar="COUNT", help=f"images [{' '.join(map(str, COUNTS))}]")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="of the settings, after all COUNTs [all]")
    source = "folder of images to cut squares from, or one in $ANCESTRAL_DATA [textures]"
    parser.add_argument("--source", default="textures", help=source)
    add_options(parser, "an hour", "as many as are held out", KIND)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
