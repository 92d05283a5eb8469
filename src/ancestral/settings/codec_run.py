"""The tree of settings of a run that trains an autoencoder: that of a diffusion model without noise and sampling."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from ancestral.settings.base import Seed, Settings
from ancestral.settings.codec import SHARE, AnyAutoencoder, KLSettings
from ancestral.settings.data import DataSettings
from ancestral.settings.training import TrainingSettings
from ancestral.settings.tree import ComputeSettings, Config

NO_NOISE = "there is no noise"


class CodecConfig(Settings):
    """Everything the run of an autoencoder is made of."""

    data: DataSettings = DataSettings()
    codec: Annotated[AnyAutoencoder, Field(discriminator="name")] = KLSettings()
    """plain: latents are numbers. kl: they are drawn from a normal distribution, as in Stable Diffusion. vq: they are
    codes out of a book."""
    training: TrainingSettings = TrainingSettings(minutes=30)
    compute: ComputeSettings = ComputeSettings()
    seed: Seed = 0
    """Seed of everything that is random."""

    UNUSED: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("loss", "timesteps", "timesteps_mean", "timesteps_std", "timesteps_corrected"), NO_NOISE),
        **dict.fromkeys(("weighting", "min_snr_gamma", "label_dropout", "augment", "augment_by"), NO_NOISE),
        "ema_snapshots": "no verb reads them",
    }
    """Settings of training that have no other value here than the usual one, and why."""
    NO_FLAGS: ClassVar[frozenset[str]] = frozenset(
        [*(f"training.{name}" for name in UNUSED), "compute.engine", "compute.chunk", "codec.share"]
    )
    """Settings that no command line offers."""

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> CodecConfig:
        fields = TrainingSettings.model_fields
        for name, why in self.UNUSED.items():
            if (value := getattr(self.training, name)) != fields[name].default:
                raise ValueError(f"expected no training.{name} for an autoencoder, got {value}: {why}")
        for name in ("engine", "chunk"):
            if (value := getattr(self.compute, name)) != ComputeSettings.model_fields[name].default:
                raise ValueError(f"expected no compute.{name} for an autoencoder, got {value}: nothing is generated")
        if self.codec.share != SHARE:
            raise ValueError(f"expected no codec.share for an autoencoder alone, got {self.codec.share}: it has all")
        return self

    @property
    def own_training(self) -> TrainingSettings:
        """How the network of this run is trained."""
        return self.training


AnyConfig = Config | CodecConfig
"""Everything a run is made of, whatever it trains."""
