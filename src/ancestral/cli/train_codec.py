"""`ancestral train-codec`: the words of the command; the work is `ancestral.jobs.train_codec`."""

import json
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from ancestral.cli.job_options import job_options, job_settings
from ancestral.cli.options import Options
from ancestral.cli.output import rounded, say, tell
from ancestral.errors import InputError
from ancestral.jobs.codec_target import TrainCodecSettings, codec_settings_of
from ancestral.jobs.events import ResultEvent
from ancestral.machine import loading
from ancestral.settings import CodecConfig

ABOUT = """\
Train an autoencoder on FOLDER: images through few numbers, their latents, and back. FOLDER is a folder of images, what
`ancestral data pack` wrote, the name of a data set, or the folder of a run of this verb, which goes on.

The run is written to a folder: settings, log, checkpoints, grids of images above what is made of them, and RUN/codec,
which diffusers opens as an AutoencoderKL or a VQModel. Its latents have mean 0 and deviation 1. Ctrl-C saves and stops;
the same command goes on from there as if it had never stopped. At the end stands how near it comes to held-out images.

Settings, files and budgets are those of `ancestral train`, but that nothing is told of noise: --codec.name plain, kl or
vq, --codec.widths for how far the sides are divided (two, three or four of them: 2, 4 or 8), --codec.channels.
"""
EXAMPLES = (
    "ancestral train-codec ~/Pictures/birds --training.minutes 30",
    "ancestral train-codec ~/Pictures/birds --data.size 128 --codec.widths 32 64 96 128 --codec.adversarial 0.5",
    "ancestral train-codec digits --codec.name vq --codec.widths 32 64 --training.minutes 2",
)


def run(argv: Sequence[str]) -> int:
    found = parser(named_codec_config(argv)).words(argv)
    job = job_settings(found, TrainCodecSettings)
    plan = job.plan  # a faulty setting is told before torch is loaded
    if not found.dry_run:
        with loading():
            from ancestral.cli.training import show_training
            from ancestral.jobs.train_codec import train_codec

        return show_training(partial(train_codec, job), found.json, partial(show_codec, found.json))
    tell(*json.dumps(plan.config.model_dump(mode="json"), indent=2).splitlines())
    say(f"would write to {plan.out}")
    return 0


def parser(defaults: CodecConfig) -> Options:
    """The options of the verb; its help states the values of `defaults`."""
    about_json = "a JSON object for each record on stdout, all else on stderr"
    options = job_options("ancestral train-codec", "FOLDER", ABOUT, EXAMPLES, TrainCodecSettings, about_json, defaults)
    options.add_argument("--dry-run", action="store_true", help="print the settings as JSON, and write nothing")
    return options


def named_codec_config(argv: Sequence[str]) -> CodecConfig:
    """The settings whose values the help states: those of FOLDER, where one is named that can be read."""
    with suppress(InputError):
        if argv and not argv[0].startswith("-"):
            return codec_settings_of(argv[0])
    return CodecConfig()


def show_codec(as_json: bool, result: ResultEvent) -> None:
    """What a run has become, in a few lines."""
    speak, told, step = say if as_json else tell, result.tree, result.value
    state = "is finished already" if step is None else f"is finished after step {step:,}"
    speak(f"{told['run']} {state}; its codec is {told['codec']}")
    for line in measured_in_words(told):
        speak(line)


def measured_in_words(told: dict[str, Any]) -> list[str]:
    """What was measured on held-out images, in sentences."""
    if not told.get("num_held_out"):
        return ["no image is held out to measure the codec on (data.test 0)"]
    z, h, w = told["latents"]
    psnr, ssim = (rounded(told[name], told[f"{name}_error"]) for name in ("psnr", "ssim"))
    through = f"{told['num_held_out']:,} held-out images through {h}x{w} latents of {z} channels"
    lines = [f"{through}: PSNR {psnr} dB, SSIM {ssim}"]
    if "kl_bits_per_image" in told:
        bits = told["kl_bits_per_image"]
        lines += [f"{bits / (z * h * w):.2f} bits in each of {z * h * w:,} latents, {bits / 8:,.0f} bytes in an image"]
    if "codes_used" in told:
        used, bits = told["codes_used"], told["bits_per_code"]
        size = f"{bits:.2f} bits in each of {h * w:,}, {bits * h * w / 8:,.0f} bytes in an image"
        lines += [f"{used:.0%} of the codes in use, {size}"]
    mean, stds = max(map(abs, told["latent_means"])), told["latent_stds"]
    return [*lines, f"their latents have means within {mean:.3f} of 0, deviations {min(stds):.3f} to {max(stds):.3f}"]
