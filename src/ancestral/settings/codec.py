"""Settings of what x0 is made of: pixels, or an autoencoder, each with the losses that it is trained by."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ancestral.settings.base import Depth, Fraction, PositiveFloat, Settings, Width

Weight = Annotated[float, Field(ge=0, le=1e6)]  # of a loss beside another one
ADVERSARIAL_START = 0.5
SHARE = 0.5


class CodecSettings(Settings):
    """What the settings of all codecs have."""

    name: str


class PixelSettings(CodecSettings):
    """x0 is the pixels themselves."""

    name: Literal["pixels"] = "pixels"


class FrozenSettings(CodecSettings):
    """An autoencoder that exists already, which is not trained. Its latents are standardised anew, for the images."""

    name: Literal["frozen"] = "frozen"
    folder: str = ""
    """Folder of a run of `train-codec`, or of an AutoencoderKL or VQModel of diffusers."""

    @model_validator(mode="after")
    def _names_a_folder(self) -> FrozenSettings:
        if not self.folder:
            raise ValueError("expected codec.folder with codec.name frozen, got none; name the folder of one")
        return self


class AutoencoderSettings(CodecSettings):
    """What the settings of all autoencoders have. Levels count from 0, full resolution; each next one halves it."""

    widths: Annotated[tuple[Width, ...], Field(min_length=2, max_length=4)] = (32, 64, 96)
    """Channels at each level: two, three or four levels make latents of a half, a quarter or an eighth of the sides."""
    channels: Annotated[int, Field(ge=1, le=4096)] = 4
    """Channels of the latents."""
    layers: Depth = 1
    """ResNet blocks at each level of the encoder; one more in the decoder."""
    norm_groups: Width = 8
    """Groups of every group normalisation; must divide every width."""
    middle_attention: bool = False
    """Attend at the lowest level, in encoder and decoder."""
    perceptual: Weight = 0.5
    """Weight of the perceptual loss: its gradient at the decoder's last layer over the reconstruction's; 0: none."""
    perceptual_by: Literal["filters", "gradients", "features", "lpips"] = "filters"
    """What is compared by it. filters: how much random filters at several scales answer around each place. gradients:
    the differences of neighbouring pixels, at the same scales. features: what a small network sees that has learned to
    tell the labels or symmetries of the training images. lpips: what AlexNet or VGG16 see, by perceptual_weights."""
    perceptual_weights: str = ""
    """With lpips, the file of its weights, .pth or .safetensors: the state dict of LPIPS of the package lpips."""
    adversarial: Weight = 0.0
    """Weight of a discriminator of patches, measured in the same way; 0: none."""
    adversarial_start: Fraction = ADVERSARIAL_START
    """Share of the budget after which the discriminator is heard."""
    share: Annotated[float, Field(gt=0, lt=1)] = SHARE
    """Share of a budget for both that the autoencoder is trained for, before diffusion in its latents."""

    @property
    def factor(self) -> int:
        """Pixels of a side for each latent."""
        return 2 ** (len(self.widths) - 1)

    @model_validator(mode="after")
    def _fits_together(self) -> AutoencoderSettings:
        for width in self.widths:
            if width % self.norm_groups:
                raise ValueError(f"expected widths that norm_groups = {self.norm_groups} divides, got {width}")
        if self.adversarial_start != ADVERSARIAL_START and not self.adversarial:
            raise ValueError("expected adversarial_start with adversarial above 0, got it without a discriminator")
        if self.perceptual_by != "filters" and not self.perceptual:
            raise ValueError(f"expected perceptual_by with perceptual above 0, got {self.perceptual_by} without any")
        if self.perceptual_by == "lpips" and not self.perceptual_weights:
            raise ValueError("expected perceptual_weights with perceptual_by lpips, got none; name the file of them")
        if self.perceptual_weights and self.perceptual_by != "lpips":
            raise ValueError(f"expected perceptual_weights with perceptual_by lpips, got it with {self.perceptual_by}")
        return self


class PlainSettings(AutoencoderSettings):
    """An autoencoder whose latents are numbers, and nothing holds them together but what is lost between them."""

    name: Literal["plain"] = "plain"


class KLSettings(AutoencoderSettings):
    """A variational autoencoder: an image is a normal distribution of latents (Kingma and Welling 2014)."""

    name: Literal["kl"] = "kl"
    kl_weight: PositiveFloat = 1.0
    """Nats of reconstruction that a nat of KL counts as: 1 is the evidence lower bound, and less keeps more of the
    image."""


class VQSettings(AutoencoderSettings):
    """An autoencoder whose latents are entries of a codebook (van den Oord et al. 2017)."""

    name: Literal["vq"] = "vq"
    codes: Annotated[int, Field(ge=2, le=2**20)] = 512
    """Entries of the codebook."""
    commitment: PositiveFloat = 0.25
    """Weight of the squared distance between what is encoded and its code, beside the reconstruction."""
    decay: Fraction = 0.99
    """Decay, at each step, of the averages that the codes are made of."""


AnyAutoencoder = PlainSettings | KLSettings | VQSettings
AnyCodec = PixelSettings | PlainSettings | KLSettings | VQSettings | FrozenSettings
