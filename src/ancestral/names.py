"""Names as people type them: which known name a word is in another spelling, or most likely stands for."""

import difflib
import re
from collections.abc import Iterable, Mapping


def _by_word(table: Mapping[str, str]) -> dict[str, str]:
    """Word -> name, of a table that lists the words of each name."""
    return {word: name for name, words in table.items() for word in words.split()}


SAME: dict[str, dict[str, str]] = {
    setting: _by_word(table)
    for setting, table in {
        "sampler": {
            "ancestral": "ddpm ddpmscheduler",
            "ddim": "ddimscheduler",
            "dpm++2m": "dpmsolverpp2m",
            "dpm++3m": "dpmsolverpp3m",
            "dpm++2s": "dpmsolverpp2s",
            "dpm++3s": "dpmsolverpp3s",
            "dpm++2m-sde": "dpmsolverpp2msde sdedpmpp2m",
        },
        "name": {"cosine": "squaredcoscapv2", "betas": "custom trainedbetas"},
        "prediction": {"eps": "epsilon noise", "x0": "sample xstart", "v": "vprediction velocity"},
        "variance": {"beta": "fixedlarge", "beta_tilde": "fixedsmall", "learned": "learnedrange"},
        "precision": {"bfloat16": "bf16", "float32": "fp32 f32 no"},
        "color": {"grey": "gray grayscale greyscale l", "rgb": "colour"},
        "fit": {"crop": "centercrop centrecrop", "squash": "stretch", "pad": "letterbox"},
        "loss": {"simple": "mse l2 lsimple", "vlb": "elbo"},
        "weighting": {"simple": "uniform none"},
        "guidance_by": {"classifier-free": "cfg noclass", "autoguidance": "weaker"},
        "clip": {"none": "off no false", "static": "clamp", "dynamic": "thresholding"},
        "compile": {"no": "none off false"},
    }.items()
}
"""Other names of the same thing, by setting: taken as if the name here had been typed. Words are `alike`."""

NEAR = _by_word(
    {
        "ancestral": "eulera eulerancestral dpm2a",
        "ipndm-4": "pndm plms ipndm",
        "deis-4": "lms",
        "deis-3": "deis",
        "unipc-2": "unipc",
        "dpm++2s": "dpm2 dpmsolversinglestep",
        "dpm++2m": "dpmsolver dpmpp dpmsolverpp dpmsolvermultistep dpmpp2mkarras",
        "dpm++2m-sde": "dpmppsde",
        "bfloat16": "fp16 float16 half",
        "cuda": "gpu cuda0 nvidia",
        "sample": "generate draw infer inference predict run",
        "train": "fit resume continue finetune learn",
        "evaluate": "fid eval test metrics score validate likelihood",
        "report": "html plot",
        "studio": "gui ui web webui serve server app view dashboard",
        "edit": "inpaint outpaint interpolate img2img upscale restore",
        "runs": "ls list status",
        "data": "check pack dataset",
        "tune": "benchmark autotune",
        "show": "schedule visualize",
        "selftest": "doctor verify",
        "completion": "completions complete",
    }
)
"""What other programs call what is nearest to it here, or something like it: suggested, never taken."""


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
    return f"there are {', '.join([*known[:30], *(['...'] if len(known) > 30 else [])])}"
