"""A model as one HTML file that generates in a browser (docs/share.md): weights, plans, the engine and the page's own
scripts. It asks the network for nothing, and says nothing of the folder that the model lies in nor of its data.
"""

import gzip
import html
import json
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, NamedTuple

from ancestral.codec import PixelCodec
from ancestral.colors import NAMES
from ancestral.errors import InputError
from ancestral.networks.rounding import Bits
from ancestral.pipeline import Pipeline
from ancestral.progress import ProgressEvent, StagedWork
from ancestral.sampling.plan import Plan
from ancestral.settings import SamplingSettings
from ancestral.settings.data import DATA_SETS
from ancestral.share import weights
from ancestral.share.engine import KERNELS, MODULES
from ancestral.share.scripts import digest, joined, kernels, source
from ancestral.text import printable
from ancestral.tokenizer import Tokenizer

WORKER = (*MODULES, "plan.js", "tokens.js", "worker.js")
PAGE = (
    *("elements.js", "choice.js", "request.js", "pictures.js", "apng.js", "images.js", "mask.js", "brush.js"),
    *("painting.js", "pool.js", "page.js"),
)
MOST_MACS = 2 * 10**9  # multiply-adds of a call: a tenth of a second or more
PATIENCE = 8 * 10**10  # multiply-adds of all that a page generates when it is opened: a few seconds
MOST_AT_FIRST = 16  # images


class Sharing(NamedTuple):
    """What a page offers.

    plans: how images are generated, the first as they are when the page is opened; prompts: those that stand in the
    page at first; words: what the page says of the model in its own words, "" nothing; images: how many it generates
    when it is opened, None: as many as take seconds; changes: what of the first plan was asked, by names of settings,
    that the run does not say itself.
    """

    name: str
    plans: Sequence[SamplingSettings]
    bits: Bits = 16
    prompts: Sequence[str] = ()
    words: str = ""
    images: int | None = None
    changes: Mapping[str, Any] = MappingProxyType({})


def check_shareable(pipeline: Pipeline) -> int:
    """The multiply-adds of a call. Raises InputError for a network that the engine does not compute, or not in a time
    that anybody waits."""
    if (count := weights.macs(pipeline)) > MOST_MACS:
        raise InputError(
            f"expected at most {MOST_MACS / 1e6:,.0f} million multiply-adds in a network of a page, got "
            f"{count / 1e6:,.0f} million; write it by `ancestral export RUN --onnx`"
        )
    return count


def page(pipeline: Pipeline, sharing: Sharing) -> StagedWork[str]:
    """The page. Raises InputError for a network that the engine does not compute."""
    plans = []
    for number, settings in enumerate(sharing.plans):
        yield ProgressEvent("samplers", number, len(sharing.plans))
        plans.append(pipeline.plan(settings))
    script, style = joined(PAGE), source("colors.css") + source("page.css")
    policy = (
        f"default-src 'none'; script-src {digest(script)} 'wasm-unsafe-eval'; style-src {digest(style)}; "
        "worker-src blob:; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": html.escape(sharing.name),
        "style": style,
        "weights": _block(weights.packed(pipeline, sharing.bits)),
        "plans": _block(_json(_shared(plans)).encode()),
        "kernels": kernels(KERNELS),
        "about": _json(_about(pipeline, sharing, plans)).replace("<", "\\u003c"),
        "worker": joined(WORKER),
        "script": script,
    }
    assert not any("</script" in part for part in parts.values()), "which would end the block that it stands in"
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], source("page.html"))


def images_at_first(macs: int, plan: Plan) -> int:
    """As many as take seconds."""
    guided = {level.t for level in plan.levels if level.guidance not in (0, 1)}
    calls = [call.t for step in plan.steps for call in step.moves[-1].calls]
    each = macs * sum(1 + (t in guided) for t in calls)
    return max(1, min(MOST_AT_FIRST, PATIENCE // each))


def _block(content: bytes) -> str:
    return b64encode(gzip.compress(content, mtime=0)).decode()


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def _shared(plans: Sequence[Plan]) -> dict[str, Any]:
    """The plans, with what they have in common once: levels, clipping, what guidance moves away from."""
    whole = [plan.model_dump(mode="json") for plan in plans]
    levels: dict[int, Any] = {}
    for plan in whole:
        for level in plan.pop("levels"):
            assert levels.setdefault(level["t"], level) == level, "which no sampler changes"
    each = [{"sampler": plan.pop("sampler"), "steps": plan.pop("steps")} for plan in whole]
    assert all(plan == whole[0] for plan in whole), "which no sampler changes"
    return {"shared": whole[0], "levels": list(levels.values()), "plans": each}


def _about(pipeline: Pipeline, sharing: Sharing, plans: Sequence[Plan]) -> dict[str, Any]:
    """What the page's script knows of the model."""
    spec, usual, tokenizer = pipeline.spec, sharing.plans[0], pipeline.tokenizer
    samplers: dict[str, list[int]] = {}
    for plan in plans:
        samplers.setdefault(plan.sampler, []).append(len(plan.steps))
    text = isinstance(tokenizer, Tokenizer) and {
        "joins": tokenizer.joins,
        "length": tokenizer.length,
        "lower": tokenizer.lower,
    }
    return {
        "name": sharing.name,
        "file": "".join(each if each.isalnum() else "-" for each in sharing.name.lower()).strip("-") or "images",
        "lead": " ".join(filter(None, [sharing.words, _lead(pipeline)])),
        "facts": _facts(pipeline, sharing),
        "parameters": _parameters(pipeline),
        "image": spec.shape,
        "classes": spec.class_names,
        "attributes": [each.model_dump() for each in spec.attributes],
        "text": text or None,
        "prompts": sharing.prompts,
        "knows_null": pipeline.knows_null,
        "can_guide": pipeline.knows_null or usual.negative is not None,
        "away": _away(pipeline, usual),
        "in_pixels": isinstance(pipeline.codec, PixelCodec),
        "samplers": {name: sorted(counts) for name, counts in samplers.items()},
        "usual": {"sampler": usual.sampler, "steps": usual.steps, "guidance": usual.guidance},
        "flags": _flags(sharing.changes),
        "images": sharing.images or images_at_first(weights.macs(pipeline), plans[0]),
    }


def _parameters(pipeline: Pipeline) -> int:
    return sum(each.numel() for each in pipeline.network.parameters())


def _flags(changes: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """What was asked beside what the form asks, as the command line takes it."""
    others = {name: each for name, each in changes.items() if name not in ("sampler", "steps", "guidance")}
    values = {name: each if isinstance(each, list | tuple) else [each] for name, each in others.items()}
    return [(name, [str(word) for word in words]) for name, words in values.items()]


def _away(pipeline: Pipeline, settings: SamplingSettings) -> dict[str, Any]:
    """What guidance moves away from, as a worker is told it."""
    labels, attributes, *_ = pipeline.negative(settings.negative)
    return {
        "label": None if labels is None else int(labels),
        "attributes": None if attributes is None else attributes[0].tolist(),
        "prompt": settings.negative if pipeline.tokenizer is not None else None,
    }


def _lead(pipeline: Pipeline) -> str:
    channels, height, width = pipeline.spec.shape
    return (
        f"Images of {height} × {width} pixels, {NAMES[channels]}, generated on this device: nothing is sent anywhere."
    )


def _facts(pipeline: Pipeline, sharing: Sharing) -> list[tuple[str, str]]:
    count, config = _parameters(pipeline), pipeline.config
    kinds = pipeline.spec.kinds or "nothing"
    source = config.data.source
    trained = [("Trained on", source)] if source in DATA_SETS else []  # the path of a folder is nobody else's
    return [
        ("Network", f"{type(pipeline.network).__name__} of {count:,} weights, in {sharing.bits} bits"),
        ("It is told", printable(kinds)),
        *trained,
        ("Noise", f"{config.diffusion.schedule.name} schedule, {config.diffusion.schedule.num_timesteps:,} timesteps"),
        ("The network predicts", config.diffusion.prediction),
        ("Weights", f"SHA-256 begins with {pipeline.weights_hash()}"),
        ("Same seed, same image", "as torch generates on a CPU with these weights, within one of 255 levels"),
        ("Written by", f"ancestral {version('ancestral')}"),
    ]
