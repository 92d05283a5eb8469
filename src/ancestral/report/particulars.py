"""What it takes to have the run, or one of its samples, again: schedule, sampling, settings, command."""

import json
import shlex

import torch

from ancestral.report.facts import RunFacts
from ancestral.report.html import Html, element, joined, pairs, section, styled
from ancestral.report.pictures import chart, shortened
from ancestral.sampling.samplers import DDIM, DPMSolver2MSDE
from ancestral.settings import leaves
from ancestral.text import printable
from ancestral.viz.plots import schedule_curves

LONGEST = 80  # letters of a value in the table; whole values stand in the JSON below it


def schedule(facts: RunFacts) -> Html:
    """The curves of the noise schedule."""
    noise, settings = facts.pipeline.diffusion.schedule, facts.config.diffusion.schedule
    log_snr = noise.log_snr(torch.arange(noise.num_timesteps + 1))
    figure = schedule_curves({settings.name: (noise.betas, noise.alpha_bar, log_snr)})
    ends = "t = 0 is the image, t = T is noise"
    words = f"The schedule {settings.name} over T = {settings.num_timesteps:,} timesteps; {ends}."
    alt = f"beta, alpha-bar and log-SNR of the schedule {settings.name} against t / T"
    drawing = styled("div", "charts", chart("beta, alpha-bar and log-SNR", alt, figure))
    return section("schedule", "Noise schedule", element("p", words), drawing)


def sampling(facts: RunFacts, count: int) -> Html:
    """How the `count` samples of this page were generated."""
    chosen, schedule = facts.pipeline.config.sampling, facts.pipeline.diffusion.schedule
    sampler = facts.pipeline.sampler(chosen)
    eta = [("eta", f"{sampler.eta:g}")] if isinstance(sampler, DDIM | DPMSolver2MSDE) else []
    calls = f", {sampler.network_calls(chosen.steps):,} network calls" if sampler.calls > 1 else ""
    items = [
        ("sampler", chosen.sampler),
        ("steps", f"{chosen.steps:,} of T = {schedule.num_timesteps:,}, {chosen.grid or sampler.grid}{calls}"),
        *eta,
        ("guidance", f"{chosen.guidance:g}" + (" (none)" if chosen.guidance == 1 else "")),
        ("clipping of x0", chosen.clip),
        ("seeds", f"0 to {count - 1}, in the order of the page"),
        ("weights", f"averaged, SHA-256 {facts.pipeline.weights_hash()}"),
    ]
    return section("sampling", "How the samples were generated", pairs(items, "facts"))


def settings(facts: RunFacts) -> Html:
    """Every setting with its meaning, and the command that repeats the run."""
    path = shlex.quote(printable(str(facts.folder.config)))
    command = element("pre", element("code", f"ancestral train --config {path} --out AGAIN"))
    rows = []
    for name, field, value in leaves(facts.config):
        said = element("code", shortened(_said(value), LONGEST))
        rows.append((element("code", name), joined([said, styled("span", "help", field.description or "")])))
    budget = " (a budget in minutes ends after as many steps as the machine makes in it)"
    text = element("pre", element("code", facts.config.model_dump_json(indent=2)))
    return section(
        "settings",
        "Settings",
        element("p", f"The same run again, into another folder{budget if facts.config.training.minutes else ''}:"),
        command,
        element("details", element("summary", f"All {len(rows)} settings"), pairs(rows, "facts settings")),
        element("details", element("summary", "The same as a file for --config"), text),
    )


def _said(value: object) -> str:
    """A value as the command line takes it."""
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)
