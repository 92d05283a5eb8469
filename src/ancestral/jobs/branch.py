"""Another future from a step of a chain on: other classes, another sampler, other noise. Imports no torch."""

from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import Field

from ancestral.errors import InputError
from ancestral.jobs.settings import Typed, seeds_from
from ancestral.settings import SamplingSettings, Seed, Settings, sampling_with

if TYPE_CHECKING:
    from ancestral.condition import Condition
    from ancestral.pipeline import Pipeline
    from ancestral.sampling.loop import Chain


class BranchSettings(Settings):
    """After which step what changes; what is left out stays as it is."""

    branch: Annotated[Annotated[int, Field(ge=0)] | None, Typed("K", usual="none")] = None
    """after so many steps go on by what the --then options say, along the same timesteps"""
    then_classes: Annotated[str | None, Typed("LIST", usual="those before")] = None
    """classes after --branch, as for --classes"""
    then_sampler: Annotated[str | None, Typed("NAME", usual="the one before")] = None
    """sampler after --branch, out of those of --sampler"""
    then_seed: Annotated[Seed | None, Typed("INT", usual="that before")] = None
    """seed of the first image's noise after --branch"""

    def check_branch(self) -> None:
        """What can be told without a pipeline: that there is such a sampler, and nothing changes without --branch."""
        if self.then_sampler is not None:
            sampling_with(SamplingSettings(), {"sampler": self.then_sampler}, "--then-sampler")
        for name in ("classes", "sampler", "seed"):
            if self.branch is None and getattr(self, f"then_{name}") is not None:
                raise InputError(f"expected --branch with --then-{name}, got none; say after how many steps")

    def after(self, settings: SamplingSettings) -> SamplingSettings:
        """How images are generated from the branch on, where they are so before it."""
        if self.branch is not None and self.branch >= settings.steps:
            raise InputError(f"expected fewer for --branch than the {settings.steps} steps, got {self.branch}")
        named = {} if self.then_sampler is None else {"sampler": self.then_sampler}
        return sampling_with(settings, named, "--then-sampler")

    def future(
        self, pipeline: "Pipeline", settings: SamplingSettings, seeds: range, condition: "Condition"
    ) -> "Branch | None":
        """What comes after the branch, with this condition; None: there is no branch."""
        if self.branch is None:
            return None
        after = self.after(settings)
        if self.then_seed is not None and not pipeline.sampler(after).stochastic:
            remedy = "--eta 1 or --then-sampler ancestral does"
            raise InputError(f"expected a sampler that draws noise with --then-seed, got {after.sampler}; {remedy}")
        other = seeds if self.then_seed is None else seeds_from(self.then_seed, len(seeds))
        same = after == settings, self.then_classes is None, self.then_seed is None
        return Branch(self.branch, after, condition, other, *same)


class Branch(NamedTuple):
    """What there is after so many steps: settings, condition and seeds of all images, and what is as before."""

    step: int
    settings: SamplingSettings
    condition: "Condition"
    seeds: range
    same_sampler: bool
    same_condition: bool
    same_noise: bool

    def chain(self, pipeline: "Pipeline", chain: "Chain", part: slice) -> "Chain":
        """The chain of a part of the images that goes on so."""
        from ancestral.sampling.branching import branched

        then = pipeline.chain(self.seeds[part], self.condition.rows(part), self.settings)
        if self.same_sampler:
            then = then._replace(sampler=chain.sampler)
        if self.same_condition:
            then = then._replace(denoise=chain.denoise)
        if self.same_noise:
            then = then._replace(noise=chain.noise)
        return branched(chain, then, self.step)
