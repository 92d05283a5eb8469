"""What a call of a pipeline is given and gives back, as people write it: classes, seeds, settings, images."""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AnySet
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from ancestral.condition import UNTOLD, Tokens, Weights
from ancestral.data.images import picture_of
from ancestral.data.metadata import number_in
from ancestral.errors import InputError
from ancestral.names import meant, spelled
from ancestral.prompts import Prompts
from ancestral.settings import AttributeSpec, SamplingSettings, sampling_with
from ancestral.synonyms import answer
from ancestral.tensors import Labels, Pixels
from ancestral.text import as_utf8, normal_form, shortened
from ancestral.text_reader import TextReader
from ancestral.viz.pictures import grid, png_bytes

Name = TypeVar("Name", bound=str)
Classes = object
"""None, the name or index of one class, or several of these in a list, tensor or array; or a whole `Condition`."""
AttributeValues = object
"""None, numbers by the names of attributes, or several such dictionaries; `attributes_of` says what else."""
PromptsGiven = object
"""None, a text, or several, of which None is no text; or `Prompts`."""
SharesGiven = object
"""None, or a number for each prompt, in a list, tensor or array."""
OUTPUTS = ("pil", "tensor", "array")
SAME_OUTPUTS = {"pillow": "pil", "image": "pil", "pt": "tensor", "torch": "tensor", "np": "array", "numpy": "array"}
ARGUMENTS = (  # beside settings
    *("num_images", "labels", "attributes", "prompt", "blend", "between"),
    *("seed", "seeds", "output", "on_progress"),
)
MOST_SEEDS = 2**63


class Pictures(list[Image.Image]):
    """A list of Pillow images, which a notebook shows as a grid. `pixels` are the same, (B, C, H, W) uint8."""

    def __init__(self, pixels: Pixels) -> None:
        super().__init__(as_pillow(each) for each in pixels)
        self.pixels = pixels

    @property
    def images(self) -> "Pictures":
        """Itself, by the name that diffusers' results have."""
        return self

    def _repr_png_(self) -> bytes:
        return png_bytes(grid(self.pixels))


def as_pillow(pixels: UInt8[Tensor, "C H W"]) -> Image.Image:
    if not 1 <= len(pixels) <= 4:
        raise InputError(f"expected 1 to 4 channels for Pillow, got {len(pixels)}; take output tensor or array")
    return picture_of(np.ascontiguousarray(pixels.cpu().permute(1, 2, 0).numpy()))


def settings_of(base: SamplingSettings, given: dict[str, Any]) -> SamplingSettings:
    """`base` with the given settings laid over it; an unknown argument is refused with the nearest known one."""
    known = (*ARGUMENTS, *SamplingSettings.model_fields)
    for name in given:
        if name not in known:
            raise InputError(f"expected an argument of the call, got {name}{answer(name, known)}")
    negative = given.get("negative")
    if isinstance(negative, Mapping):
        given = {**given, "negative": ",".join(f"{name}={value}" for name, value in negative.items())}
    return sampling_with(base, given, "the call")


def one_of(name: object, names: Sequence[Name], what: str, same: Mapping[str, str] | None = None) -> Name:
    """The one of `names` that `name` spells."""
    found = spelled(name, names, same) if isinstance(name, str) else None
    for each in names:
        if each == found:
            return each
    raise InputError(f"expected {what} out of {', '.join(names)}, got {name!r}; {meant(str(name), names)}")


def as_output(pixels: Pixels, output: str) -> Pictures | Pixels | np.ndarray:
    """(B, C, H, W) uint8 as one of `OUTPUTS`."""
    if output == "pil":
        return Pictures(pixels)
    return pixels if output == "tensor" else np.ascontiguousarray(pixels.permute(0, 2, 3, 1).numpy())


def seeds_of(num_images: int | None, labels: Classes, seed: int, seeds: Iterable[object] | None) -> list[int]:
    """The seed of each image: those given, or `seed` and those after it."""
    if seeds is not None:
        given = [whole(each, "a seed") for each in _several(seeds)]
        if seed != 0 or num_images not in (None, len(given)):
            raise InputError(f"expected seeds, or num_images and seed, got {len(given)} seeds with one of the others")
    else:
        several = labels is not None and not isinstance(labels, str | int)
        count = whole(num_images, "num_images") if num_images is not None else len(_several(labels)) if several else 1
        first = whole(seed, "a seed")
        given = [*range(first, first + min(count, MOST_SEEDS))] if 0 <= first < MOST_SEEDS else [first]
    if not given:
        raise InputError("expected at least one image, got none; num_images is 1 or more")
    if not all(0 <= each < MOST_SEEDS for each in given):
        raise InputError(f"expected seeds in 0..{MOST_SEEDS - 1}, got {min(given)} to {max(given)}")
    return given


def labels_of(labels: Classes, count: int, class_names: Sequence[str], num_classes: int) -> Labels | None:
    """(count,) the class of each image, those given in turn, -1 for none; None where no class is asked for.

    Args:
        class_names: of what may be asked for.
        num_classes: that the network knows; people give it as a label for no class.
    """
    each = [labels] if labels is None or isinstance(labels, str) else _several(labels)
    if all(label is None for label in each):
        return None
    if len(each) > count:
        raise InputError(f"expected at most one label for each of {count} images, got {len(each)}")
    known = [_label(label, class_names, num_classes) for label in each]
    return torch.tensor([known[i % len(known)] for i in range(count)])


def attributes_of(given: AttributeValues, count: int, known: Sequence[AttributeSpec]) -> Tensor | None:
    """(count, A) float32 standardised attributes of each image, those given in turn; what is None, NaN or left out is
    not told. None where nothing is told of any."""
    each: list[Any] = [*given] if isinstance(given, list | tuple) else [given]
    if all(one is None or (isinstance(one, Mapping) and not one) for one in each):
        return None
    if len(each) > count:
        raise InputError(f"expected at most one set of attributes for each of {count} images, got {len(each)}")
    rows = [_attribute_row({} if one is None else one, known) for one in each]
    return torch.tensor([rows[i % len(rows)] for i in range(count)])


def _attribute_row(given: object, known: Sequence[AttributeSpec]) -> list[float]:
    if not isinstance(given, Mapping):
        raise InputError(f"expected attributes as names with numbers, {{'age': 0.3}}, got {type(given).__name__}")
    names = [each.name for each in known]
    for name in given:
        if not names:
            raise InputError(f"expected no attributes, got {name!r}: this pipeline was trained without any")
        if name not in names:
            raise InputError(f"expected attributes out of {', '.join(names)}, got {name!r}")
    values = {name: math.nan if one is None else real(one, f"the attribute {name}") for name, one in given.items()}
    if infinite := [name for name, value in values.items() if math.isinf(value)]:
        raise InputError(f"expected a finite number for the attribute {infinite[0]}, got infinity")
    return [each.standardised(values.get(each.name, math.nan)) for each in known]


def prompts_of(given: PromptsGiven, blend: SharesGiven = None, between: bool = False) -> Prompts:
    """The texts given, mixed or in turn."""
    if isinstance(given, Prompts):
        return given.checked()
    each: list[Any] = [*given] if isinstance(given, list | tuple) else [given]
    if all(one is None for one in each):
        each = []
    if unlike := [one for one in each if not (one is None or isinstance(one, str))]:
        raise InputError(f"expected a prompt as a text, or several in a list, got {type(unlike[0]).__name__}")
    shares = None if blend is None else tuple(real(share, "a share in blend") for share in _several(blend))
    return Prompts(tuple(one or "" for one in each), shares, bool(between)).checked()


def tokens_of(
    prompts: Prompts, count: int, tokenizer: TextReader | None, reads: bool
) -> tuple[Tokens | None, Weights | None]:
    """The tokens of what is asked of each image, (count, L), or where some are blends (count, K, L) and the shares
    (count, K); None where no text is asked for. `reads`: whether the network is told texts."""
    if not prompts.texts:
        return None, None
    if tokenizer is None and reads:
        raise InputError(
            "expected a tokenizer beside a network that reads texts, got none; copy the whole folder again"
        )
    if tokenizer is None:
        remedy = "train with --text.name learned on images with captions, or ask by class (--classes)"
        raise InputError(f"expected no prompt, got {prompts.texts[0]!r}: this network reads no text; {remedy}")
    mixtures = prompts.of_each(count)
    most = max(len(mixture.texts) for mixture in mixtures)
    rows = dict(zip(prompts.texts, tokenizer.encode(prompts.texts), strict=True))
    untold = torch.full((tokenizer.length,), UNTOLD)
    blank = [untold] * most
    tokens = torch.stack([torch.stack([*(rows[text] for text in each.texts), *blank][:most]) for each in mixtures])
    if most == 1:
        return tokens[:, 0], None
    return tokens, torch.tensor([[*each.shares, *[0.0] * most][:most] for each in mixtures])


def cut_in_words(texts: Sequence[str], tokenizer: TextReader) -> str:
    """That the end of texts is not read, and of the first what is; "" where all of them is."""
    cut = [text for text in texts if tokenizer.cut([text])]
    if not cut:
        return ""
    read = shortened(tokenizer.decode(tokenizer.encode(cut[:1])[0]), 200)
    more = f"; {len(cut) - 1:,} more are cut" if len(cut) > 1 else ""
    return f"a prompt of more than {tokenizer.length} tokens is cut, and only this of it is read: {read!r}{more}"


def attributes_in(text: str) -> dict[str, float]:
    """The attributes in a line such as "age=0.3,smiling=true", the numbers as metadata may have them."""
    pairs = [word.rpartition("=") for word in text.split(",")]
    read = {name.strip(): number_in(value) for name, _, value in pairs if name.strip() and value.strip()}
    values = {name: number for name, number in read.items() if number is not None}
    if len(values) < len(pairs):
        raise InputError(f"expected attributes as NAME=NUMBER with commas between, each once, got {text!r}")
    return values


def class_index(name: str, class_names: Sequence[str]) -> int:
    """The label of a class, by name or number; after = by name alone. Names count in any form of Unicode."""
    named, known = name.removeprefix("="), [normal_form(each) for each in class_names]
    for word in (name, named):
        for form in (normal_form(word), normal_form(as_utf8(word))):  # as it is, or as typed under another locale
            if form in known:
                return known.index(form)
    if named == name and name.isdecimal() and int(name) < len(class_names):
        return int(name)
    if not class_names:
        raise InputError(f"expected no class, got {name!r}: this pipeline was trained without labels")
    raise InputError(f"expected a class, got {name!r}; {meant(name, class_names)}")


def _label(label: object, class_names: Sequence[str], num_classes: int) -> int:
    if isinstance(label, str):
        return class_index(label, class_names)
    if label is None and not num_classes:
        raise InputError("expected a class for every image, got none for some")
    index = num_classes if label is None else whole(label, "the name or the index of a class")
    if index < 0 and class_names:
        none = f" ({num_classes}: no class)" if num_classes else ""
        raise InputError(f"expected labels in 0..{len(class_names) - 1}{none}, got {index}")
    return UNTOLD if num_classes and index == num_classes else index


def _several(values: Any) -> list[object]:
    """The values of a list, tensor, array or range; of one value, that value."""
    if isinstance(values, bytes | Mapping | AnySet):
        raise InputError(f"expected labels or seeds in a list, a tensor or an array, got {type(values).__name__}")
    if isinstance(values, Tensor | np.ndarray):
        if values.ndim > 1:
            raise InputError(f"expected one label or seed for each image, got {tuple(values.shape)} of them")
        values = values.tolist()
    return [*values] if isinstance(values, Iterable) and not isinstance(values, str) else [values]


def whole(value: object, what: str, least: int = -MOST_SEEDS, most: int = MOST_SEEDS) -> int:
    """A whole number of any integer type; True and False are none."""
    value = value.item() if isinstance(value, Tensor | np.ndarray) and value.ndim == 0 else value
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or isinstance(value, bool | np.bool_):
        raise InputError(f"expected {what}, a whole number, got {value!r}")
    if not least <= number <= most:
        raise InputError(f"expected {what} in {least}..{most}, got {number}")
    return number


def real(value: object, what: str) -> float:
    """A number of any type; texts are none."""
    try:
        return float("a text" if isinstance(value, str) else value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"expected {what}, a number, got {value!r}") from None


def sampling_of(given: object, usual: SamplingSettings) -> SamplingSettings:
    """The settings given, or the usual ones for None."""
    if given is None:
        return usual
    if not isinstance(given, SamplingSettings):
        raise InputError(f"expected settings as SamplingSettings(steps=20), or None, got {type(given).__name__}")
    return given
