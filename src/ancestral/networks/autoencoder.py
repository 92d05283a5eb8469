"""Autoencoders of images: convolutions that halve the sides, what is between, and their mirror image.

    encoder: image (B, C, H, W) -> features (B, z or 2 z, H / f, W / f),   f the factor, z the channels of the latents
    quant_conv, 1x1: features -> latents (plain, vq), or mean and log-variance of their distribution (kl)
    post_quant_conv, 1x1; decoder: latents (B, z, H / f, W / f) -> image

The shape is that of latent diffusion (Rombach et al. 2022, appendix G), and tensors bear the names that they have in
diffusers' `AutoencoderKL` and `VQModel`. The 1x1 convolutions at the waist are where any mean and deviation of latents
can be folded in exactly: behind them the decoder's first convolution pads with zeros, and a shift would be lost there.

A new decoder answers 0, which is grey. A new kl encoder is sure of its latents within `START_LOG_VARIANCE`, far from
both ends of `LOG_VARIANCES`, where the gradient of the log-variance dies.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.gaussian import DiagonalGaussian
from ancestral.networks import layers
from ancestral.networks.blocks import Attention, FeatureMap
from ancestral.networks.layers import GroupNorm, convolution, zeroed
from ancestral.networks.quantizer import Quantized, Quantizer
from ancestral.settings import AutoencoderSettings, KLSettings, UNetSettings, VQSettings
from ancestral.tensors import Images

NORM_EPS = 1e-6
LOG_VARIANCES = (-30.0, 20.0)
"""Least and largest log-variance of a latent, as in latent diffusion."""
START_LOG_VARIANCE = -3.0
Latents = Float[Tensor, "B z h w"]


class Coded(NamedTuple):
    """Images through an autoencoder."""

    images: Images  # what is decoded
    encoded: Float[Tensor, "B encoded h w"]  # as `Autoencoder.encoded` has it
    features: FeatureMap  # of which the decoder's last layer made the images
    posterior: DiagonalGaussian | None = None  # of kl, that of the latents
    quantized: Quantized | None = None  # of vq


class Autoencoder(nn.Module):
    """An autoencoder of images of C channels, in [-1, 1], whose sides are multiples of the factor."""

    def __init__(self, settings: AutoencoderSettings, image_channels: int) -> None:
        super().__init__()
        self.settings, self.image_channels = settings, image_channels
        latents = settings.channels
        encoded = 2 * latents if isinstance(settings, KLSettings) else latents
        self.encoder = ImageEncoder(settings, image_channels, encoded)
        self.quant_conv = convolution(encoded, encoded, 1)
        self.quantize = Quantizer(settings.codes, latents, settings.decay) if isinstance(settings, VQSettings) else None
        self.post_quant_conv = convolution(latents, latents, 1)
        self.decoder = ImageDecoder(settings, image_channels)
        if isinstance(settings, KLSettings):
            with torch.no_grad():
                self.quant_conv.weight[latents:] = 0
                assert self.quant_conv.bias is not None
                self.quant_conv.bias[latents:] = START_LOG_VARIANCE

    def forward(self, x: Images, noise: Latents | None = None) -> Coded:
        """Images to latents and back. `noise`: a standard normal draw, by which the latents of kl are drawn from their
        distribution; None: they are its mean."""
        encoded = self.encoded(x)
        if self.quantize is not None:
            quantized = self.quantize(encoded)
            return self._coded(encoded, quantized.latents, quantized=quantized)
        if not isinstance(self.settings, KLSettings):
            return self._coded(encoded, encoded)
        posterior = _gaussian(encoded)
        z = posterior.mean if noise is None else posterior.sample(noise)
        return self._coded(encoded, z, posterior)

    def encoded(self, x: Images) -> Float[Tensor, "B encoded h w"]:
        """What the encoder makes of images (B, C, H, W): latents, of vq not yet the nearest codes; of kl means, and
        behind them log-variances as they are, (B, 2 z, H / f, W / f)."""
        return self.quant_conv(self.encoder(x))

    def posterior(self, x: Images) -> DiagonalGaussian:
        """The distribution of the latents of images, (B, z, H / f, W / f) each; kl alone has one."""
        assert isinstance(self.settings, KLSettings), "plain and vq encode to numbers"
        return _gaussian(self.encoded(x))

    def decoded(self, z: Latents) -> Images:
        """The images (B, C, f h, f w) of latents; of vq those of codes."""
        return self.decoder(self.post_quant_conv(z))

    def _coded(
        self,
        encoded: Float[Tensor, "B encoded h w"],
        z: Latents,
        posterior: DiagonalGaussian | None = None,
        quantized: Quantized | None = None,
    ) -> Coded:
        """With the images of z, whose last layer computes in float32 whatever surrounds it: bfloat16 has hardly more
        than half of the levels of a pixel."""
        features = self.decoder.features(self.post_quant_conv(z))
        with torch.autocast(features.device.type, enabled=False):
            images = self.decoder.conv_out(features.float())
        return Coded(images, encoded, features, posterior, quantized)


def _gaussian(encoded: FeatureMap) -> DiagonalGaussian:
    mean, log_variance = encoded.chunk(2, dim=1)
    return DiagonalGaussian(mean, log_variance.clamp(*LOG_VARIANCES))


class ImageEncoder(nn.Module):
    """Levels downwards, the middle, and a convolution to so many channels."""

    def __init__(self, settings: AutoencoderSettings, in_channels: int, out_channels: int) -> None:
        super().__init__()
        widths, groups = settings.widths, settings.norm_groups
        self.conv_in = convolution(in_channels, widths[0])
        above = [widths[0], *widths]
        self.down_blocks = nn.ModuleList(EncoderLevel(settings, level, above[level]) for level in range(len(widths)))
        self.mid_block = TimelessMiddle(settings)
        self.conv_norm_out = GroupNorm(groups, widths[-1], NORM_EPS)
        self.conv_out = convolution(widths[-1], out_channels)

    def forward(self, x: Images) -> Float[Tensor, "B encoded h w"]:
        h = self.conv_in(x)
        for level in self.down_blocks:
            h = level(h)
        return self.conv_out(self.conv_norm_out(self.mid_block(h), activates=True))


class ImageDecoder(nn.Module):
    """A convolution from the latents, the middle, and levels upwards, each a ResNet block longer than the encoder's."""

    def __init__(self, settings: AutoencoderSettings, out_channels: int) -> None:
        super().__init__()
        widths, groups = settings.widths, settings.norm_groups
        self.conv_in = convolution(settings.channels, widths[-1])
        self.mid_block = TimelessMiddle(settings)
        below = [*widths[1:], widths[-1]]
        levels = reversed(range(len(widths)))
        self.up_blocks = nn.ModuleList(DecoderLevel(settings, level, below[level]) for level in levels)
        self.conv_norm_out = GroupNorm(groups, widths[0], NORM_EPS)
        self.conv_out = zeroed(convolution(widths[0], out_channels))

    def forward(self, z: Latents) -> Images:
        return self.conv_out(self.features(z))

    def features(self, z: Latents) -> Float[Tensor, "B features H W"]:
        """All but the last layer."""
        h = self.mid_block(self.conv_in(z))
        for level in self.up_blocks:
            h = level(h)
        return self.conv_norm_out(h, activates=True)


class TimelessBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x)))))): the block of the U-Net, which is told no time here."""

    def __init__(self, settings: AutoencoderSettings, in_width: int, out_width: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(settings.norm_groups, in_width, NORM_EPS)
        self.conv1 = convolution(in_width, out_width)
        self.norm2 = GroupNorm(settings.norm_groups, out_width, NORM_EPS)
        self.conv2 = zeroed(convolution(out_width, out_width))
        self.conv_shortcut = convolution(in_width, out_width, 1) if in_width != out_width else None

    def forward(self, x: Images) -> FeatureMap:
        """(B, in_width, H, W) -> (B, out_width, H, W)."""
        h = self.conv1(self.norm1(x, activates=True))
        h = self.conv2(self.norm2(h, activates=True))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class EncoderLevel(nn.Module):
    """ResNet blocks, and half the resolution, but for the lowest level."""

    def __init__(self, settings: AutoencoderSettings, level: int, in_width: int) -> None:
        super().__init__()
        width, halves = settings.widths[level], level + 1 < len(settings.widths)
        in_widths = [in_width] + [width] * (settings.layers - 1)
        self.resnets = nn.ModuleList(TimelessBlock(settings, inner, width) for inner in in_widths)
        # zeros on the right and at the bottom alone: others would move the image by half a pixel
        self.downsamplers = nn.ModuleList(layers.Downsample(width, "right-bottom") for _ in range(int(halves)))

    def forward(self, x: Images) -> Float[Tensor, "B out h w"]:
        for part in (*self.resnets, *self.downsamplers):
            x = part(x)
        return x


class DecoderLevel(nn.Module):
    """ResNet blocks, and twice the resolution, but for the first level."""

    def __init__(self, settings: AutoencoderSettings, level: int, in_width: int) -> None:
        super().__init__()
        width = settings.widths[level]
        in_widths = [in_width] + [width] * settings.layers
        self.resnets = nn.ModuleList(TimelessBlock(settings, inner, width) for inner in in_widths)
        self.upsamplers = nn.ModuleList(layers.Upsample(width) for _ in range(int(level > 0)))

    def forward(self, x: Images) -> Float[Tensor, "B out h w"]:
        for part in (*self.resnets, *self.upsamplers):
            x = part(x)
        return x


class TimelessMiddle(nn.Module):
    """Two ResNet blocks, and between them attention of one head or nothing."""

    def __init__(self, settings: AutoencoderSettings) -> None:
        super().__init__()
        width, attends = settings.widths[-1], settings.middle_attention
        self.resnets = nn.ModuleList(TimelessBlock(settings, width, width) for _ in range(2))
        own = UNetSettings.model_construct(norm_groups=settings.norm_groups, norm_eps=NORM_EPS)  # what attention reads
        self.attentions = nn.ModuleList(Attention(own, width) for _ in range(int(attends)))

    def forward(self, x: Images) -> Images:
        before, after = self.resnets
        x = before(x)
        for attention in self.attentions:
            x = attention(x)
        return after(x)
