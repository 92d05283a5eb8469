"""The whole tree of settings, and what one branch asks of another."""

from __future__ import annotations

from pydantic import model_validator

from ancestral.settings.base import Seed, Settings
from ancestral.settings.compute import ComputeSettings
from ancestral.settings.data import DataSettings
from ancestral.settings.diffusion import DiffusionSettings
from ancestral.settings.network import NetworkSettings
from ancestral.settings.sampling import SamplingSettings
from ancestral.settings.training import TrainingSettings


class Config(Settings):
    """Everything a run is made of."""

    data: DataSettings = DataSettings()
    diffusion: DiffusionSettings = DiffusionSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings(minutes=30)
    sampling: SamplingSettings = SamplingSettings()
    compute: ComputeSettings = ComputeSettings()
    seed: Seed = 0
    """Seed of everything that is random."""

    @model_validator(mode="after")
    def _losses_find_what_they_train(self) -> Config:
        loss, diffusion = self.training.loss, self.diffusion
        if (loss == "hybrid") != (diffusion.variance == "learned") and loss != "vlb":
            raise ValueError(
                f"expected the loss hybrid or vlb with diffusion.variance learned and no hybrid without, got {loss} "
                f"with {diffusion.variance}: only a bound trains a variance"
            )
        if loss == "continuous" and (diffusion.time, diffusion.schedule.name) != ("log-snr", "log-snr"):
            raise ValueError(
                "expected diffusion.time log-snr and diffusion.schedule.name log-snr with the loss continuous, got "
                f"{diffusion.time} and {diffusion.schedule.name}: it trains at times between the timesteps"
            )
        return self

    @model_validator(mode="after")
    def _guided_by_itself(self) -> Config:
        if self.sampling.guidance_by != "classifier-free":
            raise ValueError(
                f"expected sampling.guidance_by classifier-free, got {self.sampling.guidance_by}: other networks are "
                f"named when images are generated, by --weaker or --classifier"
            )
        return self

    @model_validator(mode="after")
    def _no_more_steps_than_timesteps(self) -> Config:
        if self.sampling.steps > self.diffusion.schedule.num_timesteps:
            raise ValueError(
                f"expected sampling.steps <= num_timesteps = {self.diffusion.schedule.num_timesteps}, "
                f"got {self.sampling.steps}"
            )
        return self
