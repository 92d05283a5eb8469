"""The curves of training, and the held-out loss against t, which is measured for the page."""

import math
from dataclasses import replace
from pathlib import Path

import torch

from ancestral.data.imageset import ImageSet
from ancestral.diffusion.losses import squared_error
from ancestral.evaluation.evaluate import as_pixels
from ancestral.pipeline import Pipeline
from ancestral.pipeline.classifying import CLASSIFIER_FILE
from ancestral.report.facts import LoggedRun, RunFacts, number
from ancestral.report.html import Html, element, joined, section, styled
from ancestral.report.pictures import chart
from ancestral.rng import generator
from ancestral.training.logs import read_log
from ancestral.training.loss import training_losses
from ancestral.training.run import RunFolder
from ancestral.viz import plots

POINTS = 20  # timesteps at which the held-out loss is measured
MOST_IMAGES = 128
MEANING = {  # what the curves of a loss show
    "simple": "Mean squared error of the predicted {}.",
    "vlb": "The variational bound, in bits per dimension.",
    "hybrid": "Mean squared error of the predicted {}, and 0.001 of the bound in bits per dimension.",
    "continuous": "The bound of infinitely many steps, in bits per dimension, without L_0 and L_T.",
}


def losses(facts: RunFacts) -> Html:
    """Loss against images seen, whole and by quarter of t, learning rate and gradient norm, loss against t."""
    charts = [*_over_training(facts), *_over_t(facts), *optimiser(facts), *_of_classifier(facts)]
    words = (
        f"{MEANING[facts.config.training.loss].format(facts.config.diffusion.prediction)} Training loss is that of the "
        "weights being trained; held-out loss is that of their average, at timesteps and noise that never change."
    )
    said = [words, *missing(facts)]
    return section("losses", "Losses", *(element("p", each) for each in said), styled("div", "charts", *charts))


def missing(facts: LoggedRun) -> list[str]:
    """What the logs do not tell, in sentences."""
    said = [] if facts.log else ["Nothing has been logged yet: no curves of training."]
    if facts.left_out:
        said.append(f"{facts.left_out:,} lines of the logs are no records and were left out.")
    return said


def loss_at(pipeline: Pipeline, images: ImageSet, t: int) -> tuple[float, float]:
    """Mean loss at t of the first 128 of `images`, on noise that is the same for every t, and its standard error."""
    held_out = images.sliced(0, MOST_IMAGES)
    shape, seed = (len(held_out), *pipeline.latent_shape), pipeline.config.seed
    # drawn, where a codec draws it: that is what was trained on
    x0 = pipeline.codec.encode(as_pixels(held_out), lambda: torch.randn(shape, generator=generator(seed, "loss-x0")))
    x0, eps = (each.to(pipeline.device) for each in (x0, torch.randn(shape, generator=generator(seed, "loss-by-t"))))
    condition = pipeline.known_of(held_out).to(pipeline.device)
    noised = pipeline.diffusion.noised(x0, torch.full((len(x0),), t), eps)
    with torch.inference_mode():
        each = training_losses(pipeline, pipeline.network.eval(), noised, condition, squared_error).double()
    error = float(each.std()) / math.sqrt(len(each)) if len(each) > 1 else 0.0
    return float(each.mean()), error


def timesteps(num_timesteps: int) -> list[int]:
    """At most 20 timesteps, evenly spread over 1..T."""
    return torch.linspace(1, num_timesteps, min(POINTS, num_timesteps)).round().int().tolist()


def _over_training(facts: RunFacts) -> list[Html]:
    seen, loss = facts.curve("loss")
    if not seen:
        return []
    quarters = [[math.nan if v is None else v for v in row] for row in facts.curve("loss_by_quarter")[1]]
    last, watched = number(facts.last("loss")), facts.last("held_out_loss")
    said = f"; held out, {number(watched)}" if watched is not None else ""
    alt = f"training loss against images seen, {last} at the end{said}"
    whole = chart("Loss", alt, plots.loss_curves(seen, loss, *facts.curve("held_out_loss")))
    alt = "training loss in each quarter of t against images seen"
    return [whole, chart("Training loss by quarter of t", alt, plots.loss_by_quarter(seen, quarters))]


def optimiser(facts: LoggedRun) -> list[Html]:
    """Learning rate and gradient norm."""
    seen, rates = facts.curve("lr")
    if not seen:
        return []
    figure = plots.learning_rate_and_gradient(seen, rates, facts.curve("grad_norm")[1], facts.config.training.clip_norm)
    return [chart("Learning rate and gradient", "learning rate and gradient norm against images seen", figure)]


def _of_classifier(facts: RunFacts) -> list[Html]:
    """Of the classifier of noisy images beside the run, if one was trained there."""
    log = RunFolder(facts.folder.path / Path(CLASSIFIER_FILE).stem).log
    of_it = replace(facts, log=read_log(log) if log.is_file() else [])
    if not (held := of_it.curve("loss"))[0]:
        return []
    figure = plots.loss_curves(*held, *of_it.curve("held_out_loss"), "cross-entropy, nats")
    alt = f"loss of the classifier of noisy images, {number(of_it.last('loss'))} at the end"
    return [chart("Classifier of noisy images", alt, figure)]


def _over_t(facts: RunFacts) -> list[Html]:
    held_out = facts.held_out()
    if held_out is None:
        return [element("p", "No image was held out, so there is no held-out loss against t.")]
    part, images = held_out
    times = timesteps(facts.pipeline.diffusion.num_timesteps)
    means, errors = zip(*(loss_at(facts.pipeline, images, t) for t in times), strict=True)
    some = f"{min(MOST_IMAGES, len(images))} {part} images"
    title = joined(["Held-out squared error against t ", styled("small", "floor", some)])
    ends = f"from {number(means[0])} at t = 1 to {number(means[-1])} at t = {times[-1]}"
    alt = f"squared error of {some}, {ends}"
    return [chart(title, alt, plots.loss_by_timestep(times, means, errors))]
