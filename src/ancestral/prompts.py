"""Which texts are asked of each image: prompts in turn, several mixed into one, or all the way from first to last."""

import json
from collections.abc import Mapping
from math import isfinite
from typing import NamedTuple

from ancestral.errors import InputError
from ancestral.text import is_unicode, shortened

SHOWN = 70  # letters of a prompt that stand beneath an image


class TextMix(NamedTuple):
    """The texts that are asked of an image, and the share of each, 1 in all; none: no text is."""

    texts: tuple[str, ...]
    shares: tuple[float, ...]

    def __str__(self) -> str:
        """In a few words."""
        parts = [(text, share) for text, share in zip(*self, strict=True) if share]
        if len(parts) == 1:
            return shortened(parts[0][0], SHOWN)
        most = SHOWN // max(1, len(parts))
        return " + ".join(f"{share:.0%} {shortened(text, most)}" for text, share in parts)


class Prompts(NamedTuple):
    """What is asked of images in words. `blend`: the share of each of the texts in every image; `between`: images lie
    evenly on the way through the texts, from the first to the last; neither: they show them in turn."""

    texts: tuple[str, ...] = ()
    blend: tuple[float, ...] | None = None
    between: bool = False

    def checked(self) -> "Prompts":
        """Itself, its shares 1 in all; raises InputError where it means nothing."""
        count = len(self.texts)
        if wrong := [text for text in self.texts if not is_unicode(text)]:
            raise InputError(f"expected a prompt of Unicode letters, got {wrong[0]!r}; its bytes are no UTF-8")
        if self.blend is not None and self.between:
            raise InputError("expected blend or between, got both; leave one of them out")
        if self.between and count < 2:
            raise InputError(f"expected two prompts or more to go between, got {count}")
        if self.blend is None:
            return self
        if len(self.blend) != count or not count:
            raise InputError(f"expected a share in blend for each of {count} prompts, got {len(self.blend)}")
        whole = sum(self.blend)
        if not all(isfinite(share) and share >= 0 for share in self.blend) or not whole:
            shares = ",".join(f"{share:g}" for share in self.blend)
            raise InputError(f"expected shares of 0 or more in blend, not all 0, got {shares}")
        return self if abs(whole - 1) < 1e-6 else self._replace(blend=tuple(share / whole for share in self.blend))

    def of_each(self, count: int) -> list[TextMix]:
        """Those of so many images."""
        texts = self.texts
        if self.between:
            return [self._at(i / max(1, count - 1) * (len(texts) - 1)) for i in range(count)]
        if self.blend is not None:
            return [TextMix(texts, self.blend)] * count
        if len(texts) > count:
            raise InputError(f"expected at most one prompt for each of {count} images, got {len(texts)}")
        return [TextMix((texts[i % len(texts)],), (1.0,)) if texts else TextMix((), ()) for i in range(count)]

    def _at(self, place: float) -> TextMix:
        """At `place` of the way, a text lying at each whole number."""
        before = min(int(place), len(self.texts) - 2)
        return TextMix(self.texts[before : before + 2], (1 - (place - before), place - before))

    def facts(self) -> dict[str, str]:
        """As a file says it, for `read`."""
        if not self.texts:
            return {}
        one = len(self.texts) == 1 and self.blend is None
        said = {"prompt": self.texts[0]} if one else {"prompts": json.dumps(self.texts, ensure_ascii=False)}
        said |= {} if self.blend is None else {"blend": ",".join(map(repr, self.blend))}
        return said | ({"between": "True"} if self.between else {})

    @classmethod
    def of(cls, mixture: TextMix) -> "Prompts":
        """Those that ask this of every image."""
        return cls(mixture.texts, mixture.shares if len(mixture.texts) > 1 else None)

    @classmethod
    def read(cls, said: Mapping[str, str], where: str) -> "Prompts":
        """What `facts` has written; an InputError where it was changed."""
        try:
            texts = json.loads(said["prompts"]) if "prompts" in said else [said["prompt"]] if "prompt" in said else []
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ValueError
            blend = tuple(map(float, said["blend"].split(","))) if "blend" in said else None
        except ValueError:
            raise InputError(f"expected prompts and their shares in {where}, got others; it was changed") from None
        return cls(tuple(texts), blend, said.get("between") == "True").checked()


NO_PROMPTS = Prompts()
