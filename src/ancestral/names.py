"""Names as people type them: which known name a word is in another spelling, or most likely stands for."""

import difflib
import re
from collections.abc import Iterable, Mapping

SAME: dict[str, dict[str, str]] = {
    "sampler": {
        "ddpm": "ancestral",
        "ddpmscheduler": "ancestral",
        "ddimscheduler": "ddim",
        "dpmsolverpp2m": "dpm++2m",
        "dpmsolverpp3m": "dpm++3m",
        "dpmsolverpp2s": "dpm++2s",
        "dpmsolverpp3s": "dpm++3s",
        "dpmsolverpp2msde": "dpm++2m-sde",
        "sdedpmpp2m": "dpm++2m-sde",
    },
    "name": {"squaredcoscapv2": "cosine", "custom": "betas", "trainedbetas": "betas"},
    "prediction": {
        "epsilon": "eps",
        "noise": "eps",
        "sample": "x0",
        "xstart": "x0",
        "vprediction": "v",
        "velocity": "v",
    },
    "variance": {"fixedlarge": "beta", "fixedsmall": "beta_tilde", "learnedrange": "learned"},
    "precision": {"bf16": "bfloat16", "fp32": "float32", "f32": "float32", "no": "float32"},
    "color": {"gray": "grey", "grayscale": "grey", "greyscale": "grey", "l": "grey", "colour": "rgb"},
    "fit": {"centercrop": "crop", "centrecrop": "crop", "stretch": "squash", "letterbox": "pad"},
    "loss": {"mse": "simple", "l2": "simple", "lsimple": "simple", "elbo": "vlb"},
    "weighting": {"uniform": "simple", "none": "simple"},
    "guidance_by": {"cfg": "classifier-free", "noclass": "classifier-free", "weaker": "autoguidance"},
    "clip": {"off": "none", "no": "none", "false": "none", "clamp": "static", "thresholding": "dynamic"},
    "compile": {"none": "no", "off": "no", "false": "no"},
}
"""Other names of the same thing, by setting: taken as if the name here had been typed. Keys are `alike`."""

NEAR: dict[str, str] = {
    "eulera": "ancestral",
    "eulerancestral": "ancestral",
    "dpm2a": "ancestral",
    "pndm": "ipndm-4",
    "plms": "ipndm-4",
    "ipndm": "ipndm-4",
    "lms": "deis-4",
    "deis": "deis-3",
    "unipc": "unipc-2",
    "dpm2": "dpm++2s",
    "dpmsolver": "dpm++2m",
    "dpmpp": "dpm++2m",
    "dpmppsde": "dpm++2m-sde",
    "dpmsolverpp": "dpm++2m",
    "dpmsolvermultistep": "dpm++2m",
    "dpmsolversinglestep": "dpm++2s",
    "dpmpp2mkarras": "dpm++2m",
    "fp16": "bfloat16",
    "float16": "bfloat16",
    "half": "bfloat16",
    "gpu": "cuda",
    "cuda0": "cuda",
    "nvidia": "cuda",
    "generate": "sample",
    "draw": "sample",
    "infer": "sample",
    "inference": "sample",
    "predict": "sample",
    "run": "sample",
    "fit": "train",
    "resume": "train",
    "continue": "train",
    "finetune": "train",
    "learn": "train",
    "fid": "evaluate",
    "eval": "evaluate",
    "test": "evaluate",
    "metrics": "evaluate",
    "score": "evaluate",
    "validate": "evaluate",
    "likelihood": "evaluate",
    "gui": "report",
    "ui": "report",
    "web": "report",
    "html": "report",
    "plot": "report",
    "view": "report",
    "dashboard": "report",
    "inpaint": "edit",
    "outpaint": "edit",
    "interpolate": "edit",
    "img2img": "edit",
    "upscale": "edit",
    "restore": "edit",
    "ls": "runs",
    "list": "runs",
    "status": "runs",
    "check": "data",
    "pack": "data",
    "dataset": "data",
    "benchmark": "tune",
    "autotune": "tune",
    "schedule": "show",
    "visualize": "show",
    "doctor": "selftest",
    "verify": "selftest",
    "completions": "completion",
    "complete": "completion",
}
"""What other programs call what is nearest to it here, or something like it: suggested, never taken."""


SHOWN = 30
"""Names that a message lists, at most."""


def alike(word: str) -> str:
    """`word` without case, signs and spaces, and with p for +: equal for all usual spellings of a name."""
    return re.sub(r"[^a-z0-9]", "", word.lower().replace("+", "p"))


def spelled(word: str, names: Iterable[str], same: Mapping[str, str] | None = None) -> str:
    """The one of `names` that `word` spells, or is another name of by `same`; `word` itself where it is none."""
    known = [*names]
    if word in known:
        return word
    plain = alike(word)
    found = [name for name in known if alike(name) == plain] or [(same or {}).get(plain, word)]
    return found[0] if found[0] in known else word


def nearest(word: str, names: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The one of `names` that `word` most likely stands for, whatever its case; None where none is near."""
    known = {alike(name): name for name in names}
    plain = alike(word)
    if NEAR.get(plain) in known.values():
        return NEAR[plain]
    near = difflib.get_close_matches(plain, known, n=1, cutoff=cutoff)
    return known[near[0]] if near else None


def meant(word: str, names: Iterable[str]) -> str:
    """What an error about `word` adds: a suggestion, or where none is near the names, the first of very many."""
    known = [*names]
    if near := nearest(word, known):
        return f"did you mean {near}?"
    return f"there are {', '.join([*known[:SHOWN], *(['...'] if len(known) > SHOWN else [])])}"
