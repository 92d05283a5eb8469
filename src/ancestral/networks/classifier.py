"""A classifier of (image, time): the way down of a U-Net, the mean over what is left of the image, one linear layer.

Told the time, it can be a classifier of noisy images at every level of noise (Dhariwal and Nichol 2021, section 4).
"""

from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, channels_last, nn
from torch.nn import functional as F

from ancestral.networks.blocks import DownLevel, num_waves, stem_width, time_waves, time_width
from ancestral.networks.layers import GroupNorm, TimeEmbedding, TimeInput, convolution, linear, zeroed
from ancestral.settings import UNetSettings
from ancestral.tensors import Images


class Classifier(nn.Module):
    """Scores of every class. Of the settings those count that shape the way down; it has no middle and no output.

    The last layer starts at 0: a new classifier takes all classes to be equally likely.
    """

    def __init__(self, settings: UNetSettings, in_channels: int, num_classes: int) -> None:
        super().__init__()
        assert num_classes > 1 and not settings.fourier, "the pixels themselves tell one class from another"
        self.settings = settings
        above = [stem_width(settings), *settings.widths]
        self.conv_in = convolution(in_channels, stem_width(settings))
        self.time_embedding = TimeEmbedding(num_waves(settings), time_width(settings))
        self.down_blocks = nn.ModuleList(DownLevel(settings, n, above[n]) for n in range(len(settings.widths)))
        self.norm_out = GroupNorm(settings.norm_groups, settings.widths[-1], settings.norm_eps)
        self.scores = zeroed(linear(settings.widths[-1], num_classes))
        self.to(memory_format=channels_last)  # type: ignore[call-overload]  # faster; the stubs lack it

    def forward(self, x: Images, time: TimeInput) -> Float[Tensor, "B classes"]:
        """log p(class | x) but for a constant of each image, at any H and W; `time`, () or (B,), as for the U-Net."""
        embedding = F.silu(self.time_embedding(time_waves(self.settings, time.expand(x.shape[0]))))
        h = self.down_blocks[0](self.conv_in(x), embedding)[-1]
        for above, below in pairwise(self.down_blocks):
            assert isinstance(above, DownLevel)
            h = below(above.halve(h, embedding), embedding)[-1]
        return self.scores(self.norm_out(h, activates=True).mean(dim=(2, 3)))


def classifier_settings(unet: UNetSettings) -> UNetSettings:
    """A classifier as wide as a U-Net of these settings, with one block at each level."""
    unused = {"middle_layers": 0, "middle_attention": False, "fourier": (), "output_rank": None}
    return unet.model_copy(update={"layers": 1, "dropout": 0.0, **unused})
