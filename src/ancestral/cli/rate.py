"""`ancestral rate`: the words of the command and its table; the work is `ancestral.jobs.rate`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ancestral.cli.job_options import asked
from ancestral.cli.output import console, rounded, table, tell
from ancestral.cli.view import show_result
from ancestral.colors import NAMES
from ancestral.jobs.measurement_settings import RateJobSettings

if TYPE_CHECKING:
    from ancestral.evaluation.rate import RateDistortion

ABOUT = """\
Measure the bytes that the latents of CODEC take against what its images are worth, on held-out images.

Latents are rounded to steps, or are indices of a codebook, and a range coder makes real bytes of them. Beside them, at
equal bytes, stand PCA of the same factor, JPEG with and without its header, and WebP. CODEC is the run of an
autoencoder, measured on its own images unless --data names others, or a folder of an AutoencoderKL or VQModel with
--data. Into RUN/rate, or ./rate, go rate.json, rate.png (the curves) and rate-images.png; the report of the run shows
them.
"""
EXAMPLES = (
    "ancestral rate runs/birds-codec",
    "ancestral rate runs/birds-codec --num-images 1000 --shown-bytes 800",
    "ancestral rate ~/models/vae --data ~/Pictures/birds --size 128 --color rgb",
)


def run(argv: Sequence[str]) -> None:
    job, as_json = asked(argv, "rate CODEC", ABOUT, EXAMPLES, RateJobSettings)
    _ = job.plan  # what is wrong is told before torch is loaded
    from ancestral.jobs.rate import rate

    show_result(rate(job), as_json, lambda result: show(result.value))


def show(found: "RateDistortion") -> None:
    """What was measured, and PSNR and SSIM at equal bytes as a table."""
    from ancestral.evaluation import rate

    for line in in_words(found):
        tell(line)
    headers, *rows = rate.table(found)
    console(stderr=False).print(table(headers, rows))


def in_words(found: "RateDistortion") -> list[str]:
    """On what it was measured, and what is lost where nothing is rounded."""
    (channels, height, width), (z, h, w), best = found.image, found.x0, found.restored
    images = f"{best.num_images:,} held-out images {height}x{width} {NAMES[channels]}"
    psnr, ssim = (rounded(each.value, each.standard_error) for each in (best.psnr, best.ssim))
    said = [f"{images} through {h}x{w} latents of {z} channels, not rounded: PSNR {psnr} dB, SSIM {ssim}"]
    if found.codebook is not None:
        use = f"{found.codebook.used:.0%} of {found.codebook.codes:,} codes in use"
        said.append(f"{use}, {found.codebook.entropy:.2f} bits in an index where neighbours tell nothing")
    return [*said, f"at equal bytes of an image, steps and tables learned from {found.num_fitted:,} training images:"]
