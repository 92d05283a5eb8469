"""What a pipeline generates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ancestral.settings.base import Settings, Side, Width


class ImageSpec(Settings):
    """What a pipeline generates: the shape of an image and the names of the classes (empty: unconditional)."""

    channels: Width
    height: Side
    width: Side
    class_names: tuple[str, ...] = ()
    null_class: Annotated[int, Field(ge=0)] | Literal["last", "none"] = "last"
    """Which class embedding of the folder stands for no class: last, as in all that is trained here; none of them; or
    that of an index. The others are the classes, in order."""

    @model_validator(mode="after")
    def _null_class_is_one_of_them(self) -> ImageSpec:
        if isinstance(self.null_class, int) and self.null_class >= (self.num_class_embeds or 0):
            raise ValueError(f"expected null_class in 0..{len(self.class_names)}, got {self.null_class}")
        return self

    @property
    def num_class_embeds(self) -> int | None:
        """Class embeddings of the network, that of no class included; None: no classes."""
        return len(self.class_names) + (self.null_class != "none") if self.class_names else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width
