"""`ancestral import`: the words of the command and what it has found; the work is `ancestral.jobs.imports`."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ancestral.cli.job_options import asked
from ancestral.cli.output import tell
from ancestral.cli.view import show_result
from ancestral.colors import NAMES
from ancestral.jobs.import_settings import ImportSettings
from ancestral.settings import DiffusionSettings, LinearAttentionSettings, UNetSettings

if TYPE_CHECKING:
    from ancestral.jobs.imports import Imported

ABOUT = """\
Make a pipeline folder of weights that another program trained: a .pt or .safetensors file of OpenAI's
improved-diffusion or guided-diffusion, or a milestone of lucidrains' denoising-diffusion-pytorch. Every verb then
generates with it, edits and measures; so does diffusers, where it can be such a network.

A milestone says all but --size. A file of OpenAI's says what the network looks like, but for the options below, which
are at what those programs take by themselves. With a wrong one images are noise: give the flags that the weights were
published with. Nothing in a file is run; pickles, and networks that cannot be had exactly, are refused by name. Folders
of diffusers need no import.

A pipeline knows no images. To evaluate it and to measure its bound, name some by --data.
"""
EXAMPLES = (
    "ancestral import cifar10_uncond_50M_500K.pt runs/openai --timesteps 4000 --schedule cosine --data cifar10",
    "ancestral import 64x64_diffusion.pt imagenet-64 --head-width 64 --new-attention-order --schedule cosine",
    "ancestral import lsun_bedroom.pt bedrooms --head-width 64",
    "ancestral import results/model-10.pt flowers --size 128",
)


def run(argv: Sequence[str]) -> None:
    job, as_json = asked(argv, "import SOURCE FOLDER", ABOUT, EXAMPLES, ImportSettings)
    from ancestral.jobs.imports import import_weights

    show_result(import_weights(job), as_json, lambda result: show(result.value, job))


def show(imported: "Imported", job: ImportSettings) -> None:
    """What the file said, what it did not, and what to do next."""
    (channels, height, width), network = imported.spec.shape, imported.config.network
    kind = NAMES.get(channels, f"of {channels} channels")
    tell(f"{height}x{width} {kind}, {imported.spec.kinds or 'no classes'}, {imported.num_weights:,} weights")
    if isinstance(network, LinearAttentionSettings):
        _tell_milestone(imported.config.diffusion, network)
    else:
        assert isinstance(network, UNetSettings)
        _tell_openai(imported.config.diffusion, network, job)
    tell(*(shlex.join(["ancestral", verb, str(job.folder)]) for verb in ("sample", *["likelihood"] * bool(job.data))))


def _tell_openai(diffusion: DiffusionSettings, network: UNetSettings, job: ImportSettings) -> None:
    widths, levels = _words(network.widths), _words(network.attention)
    tell(f"in the file: widths {widths}, layers {network.layers}, attention {levels}, {_learned(diffusion)}")
    heads = f"head width {job.head_width}" if job.head_width else f"heads {job.heads or 4}"
    said = f"{heads}, {'new' if job.new_attention_order else 'old'} attention order, {job.schedule} schedule"
    tell(f"not in the file: {said}, T = {job.timesteps}, prediction {job.prediction}")
    tell("if what it generates is noise, one of these is not as it was trained")


def _tell_milestone(diffusion: DiffusionSettings, network: LinearAttentionSettings) -> None:
    levels, heads = _words(network.full_levels), f"heads {network.heads} of width {network.head_width}"
    said = f"{diffusion.schedule.name} schedule, T = {diffusion.schedule.num_timesteps}"
    tell(f"in the file: widths {_words(network.widths)}, full attention {levels}, {heads}, {_learned(diffusion)},")
    tell(f"  {said}, prediction {diffusion.prediction}; its averaged weights, where it has some")
    tell("not in the file: the size, and whether images were from -1 to 1, as auto_normalize makes them there")


def _words(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers)) or "none"


def _learned(diffusion: DiffusionSettings) -> str:
    return "variance learned" if diffusion.variance == "learned" else "variance not learned"
