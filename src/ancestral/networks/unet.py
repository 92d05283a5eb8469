"""The U-Net of the DDPM paper and its relatives (Ho et al. 2020, appendix B; Ronneberger et al. 2015).

Down: at each level, ResNet blocks with or without attention, then half the resolution. Middle. Up: the mirror image,
one ResNet block more at each level, each fed a skip by concatenation. The time is embedded in sines and cosines, goes
through two linear layers, gains the embedding of the class, and enters every ResNet block.

Upsampling goes to the size of the skip it meets, so any height and width will do. The last convolution starts at 0:
a new network predicts 0, and against unit noise its mean squared error is 1.

What the levels below the first say changes slowly from one step of a chain to the next: `with_deep` hands their
features out and takes them back (Ma et al. 2023, DeepCache).
"""

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from ancestral.condition import NOTHING_TOLD, Condition
from ancestral.networks import blocks
from ancestral.networks.blocks import DownLevel, FeatureMap, num_waves, stem_width, time_width
from ancestral.networks.conditions import NOTHING, Embedded, Told
from ancestral.networks.interface import Backbone, inner_weights
from ancestral.networks.layers import Embedding, GroupNorm, TimeEmbedding, TimeInput, convolution, zeroed
from ancestral.networks.spatial import SpatialTransformer
from ancestral.networks.text import Text, TextLayer, text_attentions
from ancestral.settings import UNetSettings
from ancestral.tensors import Images


class UNet(Backbone):
    """A U-Net of (image, time, condition) whose tensors are named as in diffusers' `UNet2DModel`."""

    def __init__(
        self,
        settings: UNetSettings,
        in_channels: int,
        out_channels: int,
        told: Told = NOTHING,
    ) -> None:
        super().__init__()
        self.settings: UNetSettings = settings
        self.roll_multiple = 2 ** (len(settings.widths) - 1)  # the coarsest pixel
        self.told = told
        levels = range(len(settings.widths))
        self.conv_in = convolution(in_channels * (1 + 2 * len(settings.fourier)), stem_width(settings))
        with torch.no_grad():  # Fourier features count for nothing at first, since of noise they are noise
            self.conv_in.weight[:, in_channels:] = 0
        self.time_embedding = TimeEmbedding(num_waves(settings), time_width(settings))
        self.class_embedding = told.class_embedding(time_width(settings))
        above = [stem_width(settings), *settings.widths]
        self.down_blocks = nn.ModuleList(DownLevel(settings, level, above[level], told.text_width) for level in levels)
        self.mid_block = blocks.Middle(settings, told.text_width)
        below = [*settings.widths[1:], settings.widths[-1]]
        self.up_blocks = nn.ModuleList(
            blocks.UpLevel(settings, level, below[level], above[level], told.text_width) for level in reversed(levels)
        )
        self.conv_norm_out = GroupNorm(settings.norm_groups, settings.widths[0], settings.norm_eps)
        self.conv_out = convolution(settings.widths[0], settings.output_rank or out_channels)
        self.mixer = convolution(settings.output_rank, out_channels, 1) if settings.output_rank else None
        zeroed(self.conv_out if self.mixer is None else self.mixer)
        self.read_last(told, time_width(settings))

    def forward(
        self, x: Images, time: TimeInput, condition: Condition | Embedded = NOTHING_TOLD
    ) -> Float[Tensor, "B out H W"]:
        """The network's output, (B, out_channels, H, W), for images of any H and W."""
        return self._output(x, time, None, condition)[0]

    def with_deep(
        self, x: Images, time: TimeInput, deep: FeatureMap | None, condition: Condition | Embedded = NOTHING_TOLD
    ) -> tuple[Float[Tensor, "B out H W"], FeatureMap]:
        """The output, and the features that met the first level on the way up.

        `deep`: such features of an earlier call, (B, F, H, W): only the first level is computed. None: all levels.
        Like `forward` it gathers the weights where they are spread over processes, so neither calls the other.
        """
        return self._output(x, time, deep, condition)

    def _output(
        self, x: Images, time: TimeInput, deep: FeatureMap | None, condition: Condition | Embedded
    ) -> tuple[Float[Tensor, "B out H W"], FeatureMap]:
        told = condition if isinstance(condition, Embedded) else self.read(condition, x)
        embedding = F.silu(self._embedding(time.expand(x.shape[0]), told))
        stem, (*ups, last_up) = self.conv_in(self._seen(x)), self.up_blocks
        skips = [stem, *self.down_blocks[0](stem, embedding, told.text)]
        if deep is None:
            deep = self._deep(skips[-1], ups, embedding, told.text)
        h = last_up(deep, skips, embedding, told.text)
        h = self.conv_out(self.conv_norm_out(h, activates=True))
        return h if self.mixer is None else self.mixer(h), deep

    def blocks(self) -> list[nn.Module]:
        kinds = blocks.ResnetBlock | blocks.Attention | SpatialTransformer | TextLayer
        return [*text_attentions(self), *(each for each in self.modules() if isinstance(each, kinds))]

    def matrices(self) -> list[str]:
        return inner_weights(self)

    def _seen(self, x: Images) -> FeatureMap:
        """The image and its Fourier features (Kingma et al. 2021, appendix C)."""
        waves = [wave(2**n * math.pi * x) for n in self.settings.fourier for wave in (torch.sin, torch.cos)]
        return torch.cat([x, *waves], dim=1) if waves else x

    def _deep(
        self, x: FeatureMap, ups: list[nn.Module], embedding: Embedding, text: Text | None
    ) -> Float[Tensor, "B deep H W"]:
        """From the first level's output through all below it and back, at the first level's resolution."""
        skips = [x]  # no more is met of this one than its size
        for above, below in pairwise(self.down_blocks):
            assert isinstance(above, DownLevel)
            skips.append(above.halve(skips[-1], embedding))
            skips += below(skips[-1], embedding, text)
        h = self.mid_block(skips[-1], embedding, text)
        for up in ups:
            h = up(h, skips, embedding, text)
        return h

    def _embedding(self, time: TimeInput, told: Embedded) -> Embedding:
        embedding = self.time_embedding(blocks.time_waves(self.settings, time))
        return told.added_to(embedding)
