"""Settings of Algorithm 1 and its budget."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ancestral.settings.base import Fraction, NumImages, PositiveFloat, PositiveInt, Settings

ADJUSTABLE = {
    *("steps", "images", "minutes", "log_every_steps", "sample_every_steps", "checkpoint_every_steps"),
    *("checkpoint_every_minutes", "keep_checkpoints", "milestone_every_steps", "on_divergence", "rollbacks"),
}
"""Settings that may change when a run goes on: they do not change what a step computes, but for a budget that the
learning rate falls over (`training/budget.py`)."""
AugmentKind = Literal["flip", "translate", "scale", "rotate", "color"]


class TrainingSettings(Settings):
    """Algorithm 1 and its budget. Training ends at the first limit that is reached."""

    steps: PositiveInt | None = None
    """Budget in optimiser steps."""
    images: PositiveInt | None = None
    """Budget in images seen."""
    minutes: Annotated[float, Field(gt=0, le=1e8)] | None = None
    """Budget in minutes of training on this machine."""
    batch_size: NumImages = 128
    """Images of one optimiser step."""
    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    """adamw decays the weights apart from the gradient. muon: Adam, but inner weights take orthogonal steps."""
    lr: PositiveFloat = 2e-4
    """Learning rate after warm-up."""
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    """Decay of the optimiser's two moments."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Weight decay of adamw (0.01)."""
    warmup_images: Annotated[int, Field(ge=0, le=2**53)] = 20_000
    """Images over which the learning rate rises from 0."""
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """How the learning rate falls to 0 over the budget."""
    clip_norm: PositiveFloat | None = 1.0
    """Gradients with a larger norm are scaled down to it. None: no clipping."""
    ema_decay: Fraction = 0.9999
    """Decay of the averaged weights at each step; while young it is (1 + n) / (10 + n) after n steps."""
    ema_snapshots: Annotated[int, Field(ge=2, le=1024)] | None = None
    """Keep two more averages, and as many snapshots of each, of which `ancestral ema` makes an average of any length
    afterwards; 16 do. None: none."""
    loss: Literal["simple", "vlb", "hybrid", "continuous"] = "simple"
    """simple: squared error (DDPM). vlb: the bound on the log-likelihood, bits per dimension. hybrid: simple for the
    mean and vlb for a learned variance. continuous: the bound of infinitely many steps."""
    timesteps: Literal["uniform", "stratified", "importance", "normal"] = "uniform"
    """How a batch draws its timesteps: independently; one in each of as many equal parts; stratified, and more often
    where recent losses are large, which their weight makes up for; or stratified in a normal log-SNR."""
    timesteps_mean: float | None = None
    """Mean of the log-SNR of normal (0). A logit-normal m in tau is -2 m here."""
    timesteps_std: PositiveFloat | None = None
    """Standard deviation of the log-SNR of normal (2). A logit-normal s in tau is 2 s here."""
    timesteps_corrected: bool = False
    """Weigh the losses of normal by uniform over their density: the objective stays that of uniform. Without it the
    density is part of the objective, as in Stable Diffusion 3."""
    weighting: Literal["simple", "min-snr"] = "simple"
    """simple: every timestep counts alike (DDPM). min-snr: the weight min(SNR, gamma) in x0."""
    min_snr_gamma: PositiveFloat | None = None
    """gamma of min-snr (5)."""
    label_dropout: Fraction = 0.1
    """Share of training images of which the network is told nothing, no class and no attribute: guidance needs it."""
    augment: Fraction = 0.0
    """Chance of each kind of change of a training image. The network is told of it, and samples come out plain: for
    small sets, such as 0.12."""
    augment_by: tuple[AugmentKind, ...] | None = None
    """Kinds of changes. flip: left to right. translate: by an eighth at most. scale: by a quarter at most. rotate: by
    any angle. color: brightness, contrast and saturation. None: all of them."""
    log_every_steps: PositiveInt = 50
    """Steps between two lines of the log."""
    validate_every_steps: PositiveInt = 500
    """Steps between two held-out losses."""
    sample_every_steps: PositiveInt = 2000
    """Steps between two grids of samples; also after 1/16, 1/8, 1/4 and 1/2 of the first, and at the end."""
    checkpoint_every_steps: PositiveInt = 1000
    """Steps between two checkpoints."""
    checkpoint_every_minutes: Annotated[float, Field(gt=0, le=1e8)] = 5.0
    """A checkpoint at least this often."""
    keep_checkpoints: PositiveInt = 2
    """Newest checkpoints to keep."""
    milestone_every_steps: PositiveInt | None = None
    """Checkpoints at multiples of this are kept for good, beside the newest. None: none."""
    on_divergence: Literal["stop", "rollback"] = "stop"
    """What follows ten steps in a row that are not finite. rollback: back to the last checkpoint that is a multiple of
    checkpoint_every_steps, and on from there with half the learning rate."""
    rollbacks: PositiveInt | None = None
    """Times that rollback goes back before training stops all the same (3)."""

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> TrainingSettings:
        if self.steps is None and self.images is None and self.minutes is None:
            raise ValueError("expected a budget: set steps, images or minutes")
        if self.weight_decay is not None and self.optimizer != "adamw":
            raise ValueError(f"expected no weight_decay with {self.optimizer}: use optimizer adamw")
        if self.weighting == "min-snr" and self.loss != "simple":
            raise ValueError(f"expected no weighting min-snr with the loss {self.loss}, which has weights of its own")
        for name in ("timesteps_mean", "timesteps_std", "timesteps_corrected"):
            if getattr(self, name) is not None and getattr(self, name) is not False and self.timesteps != "normal":
                raise ValueError(f"expected no {name} with timesteps {self.timesteps}: use timesteps normal")
        if self.timesteps == "normal" and self.loss != "simple" and not self.timesteps_corrected:
            raise ValueError(f"expected timesteps_corrected with timesteps normal and {self.loss}, a sum over all t")
        if self.augment_by is not None and not self.augment:
            raise ValueError("expected no augment_by with augment 0: set augment, such as 0.12")
        if self.augment_by == ():
            raise ValueError("expected at least one kind of change in augment_by, got none: leave it out for all")
        if self.min_snr_gamma is not None and self.weighting != "min-snr":
            raise ValueError("expected no min_snr_gamma with weighting simple: use weighting min-snr")
        if self.rollbacks is not None and self.on_divergence != "rollback":
            raise ValueError("expected no rollbacks with on_divergence stop: use on_divergence rollback")
        return self

    def parted(self, share: float) -> tuple[TrainingSettings, TrainingSettings]:
        """The same with a share of the budget, and with what that leaves; each has at least a step and an image."""
        first: dict[str, float | None] = {"minutes": self.minutes and share * self.minutes}
        rest: dict[str, float | None] = {"minutes": self.minutes and self.minutes - share * self.minutes}
        for name, number in (("steps", self.steps), ("images", self.images)):
            part = number and max(1, min(round(share * number), number - 1))
            first[name], rest[name] = part, number and part and max(1, number - part)
        return self.model_copy(update=first), self.model_copy(update=rest)
