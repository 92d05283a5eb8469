"""What is asked of images, as rows of what a network is told: classes, attributes and texts by their names."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from ancestral_lite.bytepairs import BytePairs

UNTOLD = -1  # a class or a token that is not told; an attribute that is not is no number
ToldRows = dict[str, NDArray[Any]]
"""By kinds, of those that a network knows: labels (B,), attributes (B, A) standardised, tokens (B, L)."""


class Asking:
    """`about`: of a model, as docs/onnx.md has it."""

    def __init__(self, about: Mapping[str, Any]) -> None:
        self.classes: list[str] = about["classes"]
        self.attributes: list[dict[str, Any]] = about["attributes"]
        text = about["text"]
        self.tokenizer = text and BytePairs(map(tuple, text["joins"]), text["length"], text["lower"])
        self.knows_null: bool = about["knows_null"]

    @property
    def kinds(self) -> list[str]:
        """Of what the network is told."""
        there = {"classes": self.classes, "attributes": self.attributes, "a prompt": self.tokenizer}
        return [kind for kind, any_there in there.items() if any_there]

    def rows(
        self, count: int, classes: Sequence[str], attributes: Mapping[str, float], prompts: Sequence[str]
    ) -> ToldRows:
        """Of `count` images, classes and prompts in turn; of what is left out nothing is told."""
        if prompts and not self.tokenizer:
            raise ValueError(f"expected no prompt, got {prompts[0]!r}: this model reads no text")
        rows: ToldRows = {}
        if labels := [self._label(each) for each in classes] or [UNTOLD] * bool(self.classes):
            rows["labels"] = np.array(labels, np.int64)
        if numbers := self._numbers(attributes):
            rows["attributes"] = np.array([numbers], np.float32)
        if self.tokenizer:
            texts = self.tokenizer.rows(prompts) or [[UNTOLD] * self.tokenizer.length]
            rows["tokens"] = np.array(texts, np.int64)
        return {kind: each[np.arange(count) % len(each)] for kind, each in rows.items()}

    def away(self, negative: str | None) -> ToldRows:
        """Of one image, what guidance moves away from: a text where the network reads texts, else a class or attributes
        as in age=70; None: nothing told."""
        if negative is None:
            return self.rows(1, (), {}, ())
        if self.tokenizer:
            return self.rows(1, (), {}, [negative])
        if self.attributes and "=" in negative.removeprefix("=") and negative not in self.classes:
            return self.rows(1, (), attributes_in(negative), ())
        return self.rows(1, [negative], {}, ())

    def check_told(self, classes: Sequence[str], attributes: Mapping[str, float], prompts: Sequence[str]) -> None:
        """Raises ValueError where a network that knows no image without is told nothing of a kind."""
        told = {"classes": classes, "attributes": attributes, "a prompt": prompts}
        missing = [kind for kind in self.kinds if not told[kind]]
        if missing and not self.knows_null:
            raise ValueError(f"expected {missing[0]} of every image, got none: this model was trained with all of them")

    def _label(self, name: str) -> int:
        """Of a class, by name or number; after = by name alone."""
        forms = [normalize("NFC", each) for each in self.classes]
        for word in (name, name.removeprefix("=")):
            if (form := normalize("NFC", word)) in forms:
                return forms.index(form)
        if name.isdecimal() and int(name) < len(self.classes):
            return int(name)
        if not self.classes:
            raise ValueError(f"expected no class, got {name!r}: this model knows none")
        some = ", ".join(self.classes[:20]) + (" ..." if len(self.classes) > 20 else "")
        raise ValueError(f"expected a class out of {some}, got {name!r}")

    def _numbers(self, attributes: Mapping[str, float]) -> list[float]:
        known = [each["name"] for each in self.attributes]
        for name in attributes:
            if name not in known:
                some = f"attributes out of {', '.join(known)}" if known else "no attributes"
                raise ValueError(f"expected {some}, got {name!r}")
        values = (attributes.get(name, np.nan) for name in known)
        return [(value - each["mean"]) / each["std"] for value, each in zip(values, self.attributes, strict=True)]


def attributes_in(text: str) -> dict[str, float]:
    """The attributes in a line such as age=0.3,smiling=1."""
    try:
        pairs = [(name.strip(), float(value)) for name, _, value in (word.rpartition("=") for word in text.split(","))]
    except ValueError:
        pairs = []
    if not pairs or not all(name and isfinite(value) for name, value in pairs) or len(dict(pairs)) < len(pairs):
        raise ValueError(f"expected attributes as NAME=NUMBER with commas between, each once, got {text!r}")
    return dict(pairs)
