"""Settings of Algorithm 2 and of guidance."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ancestral.settings.base import NumTimesteps, Settings
from ancestral.settings.diffusion import ReverseVariance
from ancestral.text import is_unicode


class SamplingSettings(Settings):
    """How images are generated, unless asked otherwise."""

    sampler: Literal[
        "ancestral", "ddim", "euler", "heun", "dpm++2m", "dpm++3m", "dpm++2s", "dpm++3s", "dpm++2m-sde",
        "unipc-1", "unipc-2", "unipc-3", "deis-2", "deis-3", "deis-4", "ipndm-2", "ipndm-3", "ipndm-4",
    ] = "ddim"  # fmt: skip
    """ancestral: Algorithm 2 at any stride. ddim: deterministic at eta 0. The others follow the probability flow at a
    higher order; `ancestral sweep` measures which is best for a network."""
    steps: NumTimesteps = 50
    """Steps from noise to image, at most T. Each is a network call; of heun and dpm++2s two, of dpm++3s three."""
    grid: Literal["trailing", "log-snr", "middle", "karras", "quadratic"] | None = None
    """Where the steps fall: evenly in t; in log-SNR; in log-SNR within noise of 80 to 0.03 times the signal; in
    sigma^(1/7); in the root of t. None: the sampler's own."""
    eta: Annotated[float, Field(ge=0, le=1)] | None = None
    """Noise of ddim and dpm++2m-sde: 0 is none (default of ddim), 1 as much as ancestral sampling (of dpm++2m-sde)."""
    variance: ReverseVariance | None = None
    """Variance of an ancestral step. None: diffusion.variance. analytic: the one that `ancestral variance` measured."""
    guidance: Annotated[float, Field(ge=0)] = 1.0
    """1 is none, more follows the label more closely, 0 ignores it."""
    guidance_by: Literal["classifier-free", "autoguidance", "classifier"] = "classifier-free"
    """What guides: the network's own prediction of no class (classifier-free guidance), that of a weaker network of the
    same class (autoguidance), or a classifier of noisy images, which also lends classes to a network without any."""
    negative: str | None = None
    """A class, attributes as in age=70, or of a network that reads texts a text: to move away from, in place of nothing
    told."""
    guidance_rescale: Annotated[float, Field(ge=0, le=1)] = 0.0
    """How far guided images are brought back to the contrast that they would have without: 0 not, 1 all the way."""
    guidance_interval: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(gt=0)]] | None = None
    """Guide only at these levels of noise over signal, from and to, such as 0.3 3. None: at all."""
    clip: Literal["none", "static", "dynamic"] = "static"
    """Keep the x0 estimate in [-1, 1]: by clipping, or by scaling it by its 99.5th percentile."""
    cache: NumTimesteps = 1
    """Compute the network's first level at every step, those below it only every so many; 1: all at every step."""

    @field_validator("negative")
    @classmethod
    def _can_be_written(cls, negative: str | None) -> str | None:
        if negative is not None and not is_unicode(negative):
            raise ValueError(f"expected a negative of Unicode letters, got {negative!r}; its bytes are no UTF-8")
        return negative

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> SamplingSettings:
        if self.eta is not None and self.sampler not in ("ddim", "dpm++2m-sde"):
            raise ValueError(f"expected no eta with the sampler {self.sampler}: eta belongs to ddim and dpm++2m-sde")
        if self.variance is not None and self.sampler != "ancestral":
            raise ValueError(f"expected no variance with the sampler {self.sampler}: it belongs to ancestral")
        for name in ("negative", "guidance_rescale", "guidance_interval"):
            if getattr(self, name) not in (None, 0) and self.guidance in (0, 1) and self.guidance_by != "classifier":
                raise ValueError(f"expected a guidance other than 0 and 1 with {name}: there is nothing to guide")
        if self.negative is not None and self.guidance_by != "classifier-free":
            raise ValueError(f"expected no negative with guidance_by {self.guidance_by}: it stands for no class")
        if self.guidance_rescale and self.guidance_by == "classifier":
            raise ValueError("expected no guidance_rescale with guidance_by classifier, which has no second image")
        low, high = self.guidance_interval or (0.0, 1.0)
        if low >= high:
            raise ValueError(f"expected a guidance_interval that rises, got {low} and {high}")
        if self.guidance_interval is not None and self.cache > 1:
            raise ValueError("expected cache 1 with a guidance_interval: between its ends what is kept would grow old")
        return self
