"""Named recipes: functions that return a Config. The README's table has their measured times and results.

The small recipes are for two CPU cores; docs/recipes.md has what was tried for them, and how it did. They spend their
parameters at low resolution, where a convolution is cheap, and attend at the lowest level only. Networks and batches
are small: in a run this short, more steps are worth more than better ones. Glyphs are learned fastest by predicting x0,
which generates photographs and textures too smooth: these predict v, by Muon at a rate of its own.
"""

from collections.abc import Callable
from typing import Any, Literal

from ancestral.settings import (
    AnyCodec,
    AnyNetwork,
    CodecConfig,
    Config,
    DataSettings,
    DiffusionSettings,
    DiTSettings,
    KLSettings,
    LearnedText,
    LinearSchedule,
    LogSnrSchedule,
    NoText,
    PlainSettings,
    SamplingSettings,
    TrainingSettings,
    UNetSettings,
    VQSettings,
)
from ancestral.settings.codec import SHARE
from ancestral.settings.data import DATA_SETS
from ancestral.settings.training import ADJUSTABLE

SMALL_UNET = UNetSettings(widths=(24, 48, 96), layers=1, attention=(2,), norm_groups=4, time_conditioning="scale-shift")
"""For images of 28 to 64 pixels: 1.6 million parameters. Four groups, since narrow groups are slow to normalise."""


LATENT_UNET = SMALL_UNET.model_copy(update={"widths": (48, 96, 192), "attention": (1, 2), "norm_groups": 8})
"""For latents of 16 to 32 a side: 6.5 million parameters, which the few positions of latents leave time for."""
PIXEL_STEPS = {"optimizer": "muon", "batch_size": 32, "lr": 4e-3}
"""Of images of three colours; at Adam's usual rates they are learned several times slower."""
LATENT_STEPS = {"optimizer": "adam", "batch_size": 32, "lr": 1e-3}
"""Of their latents, where Muon is not measured yet."""
LATENT_SIDE = 64  # px, of images whose latents are diffused, unless said otherwise: smaller ones hardly need it


def digits() -> Config:
    """scikit-learn's handwritten digits, 8x8 grey, by class: two minutes."""
    network = SMALL_UNET.model_copy(update={"widths": (32, 64), "attention": (1,), "norm_groups": 8})
    return _short("digits", 2.0, {"batch_size": 64, "lr": 4e-3}, prediction="x0", network=network)


def digits_dit() -> Config:
    """The same digits by a transformer on patches of 2x2 pixels: two minutes."""
    network = DiTSettings(width=64, layers=6, heads=4)
    return _short("digits", 2.0, {"batch_size": 64, "lr": 3e-3}, prediction="x0", network=network)


def photos() -> Config:
    """32x32 crops of scikit-learn's two photographs, RGB: twenty minutes."""
    return for_folder("photos")


def mnist() -> Config:
    """MNIST's handwritten digits, 28x28 grey, by class: ten minutes."""
    return _glyphs("mnist")


def mnist_nll() -> Config:
    """A likelihood model of MNIST, without classes: 90 minutes. It is for bits per dimension, not for pictures.

    Told the log-SNR and trained on the continuous-time bound between 13.3 and -5 (Kingma et al. 2021), at the levels
    of noise where the bound is largest. Predicting levels leaves the network what the pixel itself does not show.
    """
    return Config(
        data=DataSettings(source="mnist", labels="none", validation=0.02),
        diffusion=DiffusionSettings(schedule=LogSnrSchedule(), prediction="levels", time="log-snr"),
        network=UNetSettings(
            widths=(32, 64, 96), norm_groups=2, fourier=(6, 7), output_rank=32, time_conditioning="scale-shift"
        ),
        training=TrainingSettings(
            minutes=90.0,
            batch_size=32,
            optimizer="adamw",
            lr=2e-3,
            betas=(0.9, 0.99),
            warmup_images=3200,
            lr_schedule="cosine",
            ema_decay=0.999,
            loss="continuous",
            timesteps="importance",
            validate_every_steps=1000,
            sample_every_steps=5000,
        ),
        sampling=SamplingSettings(grid="log-snr", clip="none"),
    )


def fashion_mnist() -> Config:
    """Fashion-MNIST's clothes, 28x28 grey, by class: ten minutes."""
    return _glyphs("fashion-mnist")


def textures() -> Config:
    """Wall and floor textures, 32x32 RGB, from the folder `textures` in $ANCESTRAL_DATA: twenty minutes."""
    return for_folder("textures", flip=True)


def cifar10() -> Config:
    """CIFAR-10, 32x32 RGB, by class, with a network that two cores can move: an hour for rough shapes."""
    return for_folder("cifar10", flip=True, minutes=60.0)


def shapes_one() -> Config:
    """Drawn scenes of one thing, 32x32 RGB, by their captions: twenty minutes."""
    data = DataSettings(source="shapes-one", scenes="endless")
    return _captioned(data, 20.0, "x0", LearnedText(width=64, layers=2, length=10))


def shapes() -> Config:
    """Drawn scenes of two things, 32x32 RGB, by their captions: 45 minutes.

    Where one thing is to another is learned by pixels that know their places, at a third of the rate, and where there
    is nothing but noise.
    """
    data = DataSettings(source="shapes", scenes="endless")
    config = _captioned(data, 45.0, "x0", LearnedText(width=96, layers=3, length=20), lr=1e-3)
    training = config.training.model_copy(update={"timesteps_mean": -3.0, "timesteps_std": 3.0})
    network = config.network.model_copy(update={"positions": True})
    return config.model_copy(update={"network": network, "training": training})


def emoji() -> Config:
    """Emoji, 32x32 RGB on white, by their names, from the folder `emoji` in $ANCESTRAL_DATA: fifteen minutes."""
    return _captioned(DataSettings(source="emoji"), 15.0, "v", LearnedText(width=96, length=24))


def pixel_tiles() -> Config:
    """A game's tiles, 32x32 RGB on white, by their names, from the folder `pixel-tiles` in $ANCESTRAL_DATA: as long."""
    data = DataSettings(source="pixel-tiles", labels="none")
    return _captioned(data, 15.0, "v", LearnedText(width=96, length=20), lr=1e-3)


def textures_64() -> Config:
    """Wall and floor textures, 64x64 RGB, in latents of 16x16, from the folder `textures`: 45 minutes."""
    codec = KLSettings(kl_weight=0.7, perceptual=0.1, share=0.35)
    return in_latents(for_folder("textures", flip=True, minutes=45.0), codec)


def emoji_64() -> Config:
    """Emoji, 64x64 RGB on white, in latents of 16x16, by their names, from the folder `emoji`: 45 minutes."""
    data = DataSettings(source="emoji")
    codec = KLSettings(kl_weight=0.3, perceptual=0.1, share=0.25)  # flat colours and sharp edges are worth more bits
    return in_latents(_captioned(data, 45.0, "v", LearnedText(width=96, length=24), lr=1e-3), codec)


def photos_128() -> Config:
    """128x128 crops of scikit-learn's two photographs, RGB, in latents of 32x32: an hour."""
    config = for_folder("photos", minutes=60.0)
    data = config.data.model_copy(update={"size": 128})
    return in_latents(config.model_copy(update={"data": data}), KLSettings(kl_weight=0.7, perceptual=0.1))


def ddpm_cifar10() -> Config:
    """The DDPM paper's unconditional CIFAR-10 recipe, 35.7 million parameters, 800,000 steps: for a GPU."""
    return Config(
        data=DataSettings(source="cifar10", flip=True, labels="none", validation=0.01),
        diffusion=DiffusionSettings(schedule=LinearSchedule()),
        network=UNetSettings(
            widths=(128, 256, 256, 256), attention=(1,), dropout=0.1, norm_eps=1e-6, downsample_padding="right-bottom"
        ),
        training=TrainingSettings(steps=800_000, batch_size=128, lr=2e-4, warmup_images=640_000, ema_decay=0.9999),
        sampling=SamplingSettings(sampler="ancestral", steps=1000),
    )


def cifar10_gpu() -> Config:
    """CIFAR-10 by class with the DDPM paper's network, 35.7 million parameters: 25 minutes of one large GPU.

    Not measured yet. At the 5,400 images a second that are aimed at it takes 16,000 steps of 512, a twelfth of the
    paper's images. The paper's rate, 2e-4 at batch 128, grows with the root of the batch, and has to fall to 0 within
    so short a run. The average stays young and so spans the last tenth, however many steps the machine manages.
    """
    return Config(
        data=DataSettings(source="cifar10", flip=True, validation=0.01),
        diffusion=DiffusionSettings(prediction="v"),
        network=ddpm_cifar10().network,
        training=TrainingSettings(
            minutes=25.0,
            batch_size=512,
            lr=4e-4,
            warmup_images=250_000,
            lr_schedule="cosine",
            validate_every_steps=1000,
            sample_every_steps=4000,
            checkpoint_every_steps=5000,
            checkpoint_every_minutes=10.0,
        ),
    )


def teaching() -> Config:
    """The shape of the well-known teaching network, attention at every level, on MNIST: slow, for comparison."""
    return Config(
        data=DataSettings(source="mnist"),
        diffusion=DiffusionSettings(schedule=LinearSchedule()),
        network=UNetSettings(
            stem=32, widths=(64, 128, 256), layers=2, attention=(0, 1, 2), middle_layers=2, head_width=16, norm_groups=8
        ),
        training=TrainingSettings(images=40 * 57_000, batch_size=64, lr=1e-4, warmup_images=0),
        sampling=SamplingSettings(sampler="ancestral", steps=1000),
    )


PRESETS: dict[str, Callable[[], Config]] = {
    recipe.__name__.replace("_", "-"): recipe
    for recipe in (
        digits, digits_dit, photos, mnist, mnist_nll, fashion_mnist, textures, cifar10, shapes_one, shapes, emoji,
        pixel_tiles, textures_64, emoji_64, photos_128, ddpm_cifar10, cifar10_gpu, teaching,
    )
}  # fmt: skip


def _glyphs(source: str) -> Config:
    config = _short(source, 10.0, {"batch_size": 32, "lr": 8e-4}, prediction="x0")
    return config.model_copy(update={"sampling": SamplingSettings(steps=20, grid="log-snr")})


def for_folder(source: str, flip: bool = False, minutes: float = 20.0, captioned: bool = False) -> Config:
    """The recipe for images of the user's own: 32x32, by class where the folder has classes, twenty minutes.
    `captioned`: that for a network that is told captions, by an encoder that is still to be named."""
    if captioned:
        return _captioned(DataSettings(source=source, flip=flip), minutes, "v")
    return _short(source, minutes, PIXEL_STEPS, prediction="v", flip=flip)


def for_codec(source: str, size: int | None = None, flip: bool = False) -> CodecConfig:
    """The recipe for an autoencoder of any images: KL, a quarter of their sides, thirty minutes.

    Muon and small batches learn in a third of the images that Adam needs. Sharp edges, on which latents depend, come at
    the end: the rate falls to 0, and the average spans the last thousand steps at most.
    """
    training = for_folder(source).training
    own = {"minutes": 30.0, "optimizer": "muon", "batch_size": 8, "lr": 2e-3, "warmup_images": 3200}
    return CodecConfig(data=DataSettings(source=source, size=size, flip=flip), training=training.model_copy(update=own))


def autoencoder_of(config: Config) -> CodecConfig:
    """The run of the autoencoder that a run of diffusion trains first, by its share of the budget."""
    codec, training = config.codec, config.training
    assert isinstance(codec, PlainSettings | KLSettings | VQSettings), "others are not trained"
    own = for_codec(config.data.source).training
    shared = {name: getattr(training, name) for name in ADJUSTABLE}
    return CodecConfig(
        data=config.data,
        codec=codec.model_copy(update={"share": SHARE}),
        training=own.model_copy(update=shared).parted(codec.share)[0],
        compute=config.compute.model_copy(update={"engine": "auto", "chunk": None}),
        seed=config.seed,
    )


def in_latents(config: Config, codec: AnyCodec | None = None) -> Config:
    """A recipe of pixels for latents, whose x0 has no bound. `codec`: None: yet to be named."""
    size = config.data.size or (None if config.data.source in DATA_SETS else LATENT_SIDE)
    own = config.network
    is_usual = own.model_copy(update={"widths": SMALL_UNET.widths}) == SMALL_UNET
    steps = LATENT_STEPS if config.training.model_copy(update=PIXEL_STEPS) == config.training else {}
    changes = {
        "data": config.data.model_copy(update={"size": size}),
        "network": LATENT_UNET if is_usual else own,
        "training": config.training.model_copy(update=steps),
        "sampling": config.sampling.model_copy(update={"clip": "none"}),
    }
    return config.model_copy(update=changes | ({"codec": codec} if codec else {}))


def _captioned(
    data: DataSettings,
    minutes: float,
    prediction: Literal["x0", "v"],
    text: LearnedText | None = None,
    lr: float = 3e-3,
) -> Config:
    """What a caption adds is decided where an image is nearly all noise: there most timesteps are drawn. Muon, which
    learns it in half of Adam's steps, is worth its time."""
    network = SMALL_UNET.model_copy(update={"widths": (32, 64, 96)})
    steps = {"optimizer": "muon", "batch_size": 32, "lr": lr}
    drawn = {"timesteps": "normal", "timesteps_mean": -2.0, "timesteps_std": 2.0}
    config = _short(data.source, minutes, steps | drawn, prediction=prediction, network=network)
    return config.model_copy(update={"data": data, "text": text or NoText()})


def _short(
    source: str,
    minutes: float,
    steps: dict[str, Any],
    prediction: Literal["x0", "v"],
    network: AnyNetwork = SMALL_UNET,
    flip: bool = False,
) -> Config:
    """A run of minutes: a quick warm-up, a rate that falls to 0, an average over at most the last thousand steps.
    `steps`: settings of training that say what a step is."""
    return Config(
        data=DataSettings(source=source, flip=flip),
        diffusion=DiffusionSettings(prediction=prediction),
        network=network,
        training=TrainingSettings(
            minutes=minutes,
            warmup_images=6400,
            lr_schedule="cosine",
            ema_decay=0.999,
            sample_every_steps=1000,
            **steps,
        ),
    )
