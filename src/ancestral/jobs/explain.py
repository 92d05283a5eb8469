"""One step of training or of sampling with every number of one pixel: `show training-step` and `show sampling-step`.

A training step, here on one image and by the averaged weights:

    x_t = alpha_t x_0 + sigma_t eps,   loss = mean (target - network(x_t, t))^2, times a weight of t            (1)

A step of any sampler is linear in what it is made of (sampling/plan.py):

    x_s = sum of factor times value,   values: x_t, predictions x_0 and eps, of before too, and noise           (2)

Factors and sums are float64; the network answers in the precision that this machine is fast in. Of a pipeline of
latents the pixel is one of theirs.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ancestral.codec import PixelCodec
from ancestral.condition import Condition
from ancestral.diffusion.level import Level, Noised
from ancestral.diffusion.process import GaussianDiffusion
from ancestral.diffusion.timesteps import SampledTimesteps
from ancestral.errors import InputError
from ancestral.evaluation.evaluate import as_pixels
from ancestral.jobs import measuring
from ancestral.jobs.edit_requests import read_images
from ancestral.jobs.events import Event, FileEvent, ProgressEvent, ResultEvent
from ancestral.jobs.explain_settings import SamplingStepSettings, StepSettings, TrainingStepSettings
from ancestral.jobs.generated import condition_for, notes_of_prompts
from ancestral.jobs.guides import prepared
from ancestral.jobs.running import Load, allow, check_asked, device_named
from ancestral.jobs.seen_steps import SeenCall, SeenSampler, SeenStep
from ancestral.outputs import SHOWN, Output, claim
from ancestral.pipeline import Pipeline
from ancestral.pipeline.calling import as_pillow
from ancestral.prompts import Prompts
from ancestral.rng import ImageNoise
from ancestral.sampling.denoiser import Denoiser, clipped
from ancestral.sampling.plan import Combination, PlanMove
from ancestral.tensors import Data, Pixels, to_pixels
from ancestral.training.default_sampling import config_of
from ancestral.training.loss import LOSSES, level_of, output_at, weighting_of
from ancestral.tuning.price import of_chains
from ancestral.viz import pictures

PixelNumbers = list[float]
"""Of one pixel: a number for each channel."""


def explain(
    job: TrainingStepSettings | SamplingStepSettings, load: Load = Pipeline.load
) -> Generator[Event, None, None]:
    """The numbers of the step that is asked for, and its pictures where a folder is named."""
    files = {name: job.out / f"{name}.png" for name in job.pictures} if job.out else {}
    claim([Output(file, SHOWN) for file in files.values()], job.overwrite)
    pipeline = load(job.run, device_named(job.device), job.compute)
    step = sampling_step(job, pipeline) if isinstance(job, SamplingStepSettings) else training_step(job, pipeline)
    tree, states = yield from step
    for name, file in files.items():
        pictures.save_png(as_pillow(_picture(pipeline, name, states[name])[0]), file, {"Software": SHOWN.decode()})
        yield FileEvent(file)
    yield ResultEvent({**tree, "files": [*map(str, files.values())]})


Explained = Generator[Event, None, tuple[dict[str, Any], dict[str, Data]]]
"""Yields what happens on the way; the numbers, and the states that pictures show."""


def training_step(job: TrainingStepSettings, pipeline: Pipeline) -> Explained:
    """(1) by the loss that the run trains on."""
    diffusion, settings, at = pipeline.diffusion, pipeline.config.training, Pixel.of(job, pipeline)
    t = job.t or (diffusion.num_timesteps + 1) // 2
    if t > diffusion.num_timesteps:
        raise InputError(f"expected --t in 1..{diffusion.num_timesteps}, got {t}")
    image, condition = yield from _image(job, pipeline)
    with torch.inference_mode():
        zero, index = (torch.zeros(1, dtype=kind, device=pipeline.device) for kind in (torch.float64, torch.int64))
        level = level_of(pipeline, SampledTimesteps(index + t, weight=zero + 1, within=zero))
        x0 = pipeline.codec.encode(image.to(pipeline.device), None)
        noised = Noised.at(level, x0, ImageNoise([job.seed], pipeline.latent_shape, pipeline.device)())
        output = output_at(pipeline, pipeline.network.eval(), noised, condition.to(pipeline.device)).double()
        exact = Noised.at(level, x0.double(), noised.eps.double())
        states = _training_states(diffusion, exact, output)
        loss = float(LOSSES[settings.loss](diffusion, output, exact))
        weight = float(weighting_of(settings)(diffusion, level))
    facts = {
        **_facts(job, pipeline, condition, at),
        "num_timesteps": diffusion.num_timesteps,
        "level": _level(level, t),
        "time": float(diffusion.network_time(level, exact.x_t)),
        "squared_error": float(states["squared_error"].mean()),
        "loss": {"name": settings.loss, "value": loss, "weight": weight, "weighted": weight * loss},
        "pixel": {name: at(state) for name, state in states.items()},
    }
    return facts, states


def _training_states(diffusion: GaussianDiffusion, noised: Noised, output: Data) -> dict[str, Data]:
    """What (1) is made of, and the x0 and eps that the output says; of a network that says how likely levels are the
    output is their mean."""
    parameterization, (alpha, sigma) = diffusion.parameterization, noised.level.over(noised.x0)
    mean, target = diffusion.split_output(output, noised.x_t)[0], diffusion.target(noised)
    answer = parameterization.answer(mean, noised.x_t, alpha, sigma)
    x0, eps = parameterization.decode(mean, noised.x_t, alpha, sigma)
    states = {"x0": noised.x0, "eps": noised.eps, "x_t": noised.x_t, "target": target, "output": answer}
    return {**states, "x0_estimate": x0, "eps_estimate": eps, "squared_error": (target - answer) ** 2}


def sampling_step(job: SamplingStepSettings, pipeline: Pipeline) -> Explained:
    """(2) of the step that is asked for, and the pixel along the whole chain."""
    pipeline, settings = prepared(pipeline, job, job.changes(), job.run)
    at, prompts = Pixel.of(job, pipeline), job.in_words()
    condition = condition_for(pipeline, job.classes, 1, job.attributes, prompts)
    yield from notes_of_prompts(pipeline, prompts, settings.negative)
    check_asked(pipeline, condition, settings)
    if job.step > settings.steps:
        raise InputError(f"expected --step in 1..{settings.steps}, got {job.step}")
    price = of_chains(pipeline, settings, 1, settings.steps * pipeline.sampler(settings).calls)
    allow(price, job.yes, pipeline.device, pipeline.processes, job.out or Path(), "lower --steps")

    def limit(denoise: Denoiser) -> Denoiser:
        return clipped(denoise, pipeline.diffusion.schedule, settings.clip, pipeline.codec.bound)

    unlimited = settings.model_copy(update={"clip": "none"})
    chain = pipeline.chain([job.seed], condition, unlimited)
    watched, way, numbers, states = SeenSampler(chain.sampler, limit), list[dict[str, Any]](), {}, {}
    for number, step in enumerate(chain._replace(sampler=watched).steps(), 1):
        seen = watched.seen[0]
        if number == job.step:
            numbers, prediction = _step(seen, pipeline, at), seen.calls[0].prediction
            states = {"x_t": step.x_t, "x0": prediction.x0, "eps": prediction.eps, "x_s": step.x_s}
        before = seen.calls[0].unclipped.x0
        way.append({"t": step.t, "x_t": at(step.x_t), "x0": at(step.x0), "x0_unclipped": at(before)})
        yield ProgressEvent("generating", number, settings.steps)
    way.append({"t": step.s, **dict.fromkeys(("x_t", "x0", "x0_unclipped"), at(step.x_s))})
    facts = {
        **_facts(job, pipeline, condition, at),
        **{name: getattr(settings, name) for name in ("sampler", "steps", "guidance", "clip")},
        "step": job.step,
        **numbers,
        "pixel": {name: at(state) for name, state in states.items()},
        "chain": {name: [each[name] for each in way] for name in way[0]},
    }
    return facts, states


def _step(seen: SeenStep, pipeline: Pipeline, at: "Pixel") -> dict[str, Any]:
    """(2), beside the posterior q(x_s | x_t, x_0) at the predicted x_0."""
    diffusion, move = pipeline.diffusion, seen.move()
    x_t, x0, values = seen.calls[0].x.double(), seen.calls[0].prediction.x0.double(), seen.values()
    from_x0, from_x_t = diffusion.posterior_factors(seen.t, seen.s)
    calls = [
        {"t": asked.t, "terms": _terms(asked.x, values, at), **_call(call, diffusion, at)}
        for call, asked in zip(seen.calls, move.calls, strict=True)
    ]
    return {
        "level": _level(diffusion.schedule.level(seen.t), int(seen.t)),
        "next_level": _level(diffusion.schedule.level(seen.s), int(seen.s)),
        "posterior": {
            "from_x0": float(from_x0),
            "from_x_t": float(from_x_t),
            "variance": float(diffusion.schedule.beta_tilde(seen.t, seen.s)),
            "mean": at(diffusion.q_posterior(x0, x_t, seen.t, seen.s).mean),
        },
        "calls": calls,
        "terms": [*_terms(move.x, values, at), *_noise(move, seen, at)],
    }


def _call(call: SeenCall, diffusion: GaussianDiffusion, at: "Pixel") -> dict[str, Any]:
    """A prediction. `output`: what the network says, guided; None where that is how likely levels are."""
    x0, eps = call.unclipped.x0.double(), call.unclipped.eps.double()
    alpha, sigma = diffusion.schedule.level(call.unclipped.t).over(x0)
    output = None if call.unclipped.levels is not None else at(diffusion.parameterization.target(x0, eps, alpha, sigma))
    limited = {"x0": at(call.prediction.x0), "eps": at(call.prediction.eps)}
    return {"x": at(call.x), "output": output, "x0_unclipped": at(x0), "eps_unclipped": at(eps), **limited}


def _terms(combination: Combination, values: dict[str, Data], at: "Pixel") -> list[dict[str, Any]]:
    return [{"of": name, "factor": factor, "value": at(values[name])} for name, factor in combination.items()]


def _noise(move: PlanMove, seen: SeenStep, at: "Pixel") -> Iterator[dict[str, Any]]:
    """The noise's term, where any is drawn; of a learned variance the factor is of each channel, a list."""
    if move.noise is None:
        return
    low, high = move.noise
    coefficient = seen.calls[0].prediction.variance_coeff
    factor: float | list[float] = high
    if low != high and coefficient is not None:
        factor = [low ** (0.5 * (1 - each)) * high ** (0.5 * (1 + each)) for each in at(coefficient)]
    yield {"of": "noise", "factor": factor, "value": at(seen.noise[0])}


class Pixel(NamedTuple):
    """One pixel of x0 and of all that is made of it."""

    row: int
    column: int

    @classmethod
    def of(cls, job: StepSettings, pipeline: Pipeline) -> "Pixel":
        _, height, width = pipeline.latent_shape
        row, column = job.pixel or (height // 2, width // 2)
        if row >= height or column >= width:
            raise InputError(f"expected --pixel ROW,COLUMN of at most {height - 1},{width - 1}, got {row},{column}")
        return cls(row, column)

    def __call__(self, x: Data) -> PixelNumbers:
        """Its numbers in x, (1, C, h, w)."""
        numbers: PixelNumbers = x[0, :, self.row, self.column].double().tolist()
        return numbers


def _image(job: TrainingStepSettings, pipeline: Pipeline) -> Generator[Event, None, tuple[Pixels, Condition]]:
    """The image that is asked for, (1, C, H, W), and what the network is told of it."""
    prompts = job.in_words()
    if job.held_out is not None:
        run, _ = measuring.run_and_results(job.run)
        images = (yield from measuring.data_of(run, config_of(run), pipeline)).validation
        if job.held_out >= len(images):
            raise InputError(f"expected --held-out in 0..{len(images) - 1}, got {job.held_out}")
        chosen = images.sliced(job.held_out, job.held_out + 1)
        return as_pixels(chosen), _told(job, pipeline, prompts) or pipeline.known_of(chosen)
    if job.image is not None:
        (given,) = yield from read_images((job.image,), pipeline.spec.shape)
        return given.pixels, _told(job, pipeline, prompts) or pipeline.condition()
    condition, sampling = condition_for(pipeline, job.classes, 1, job.attributes, prompts), pipeline.config.sampling
    check_asked(pipeline, condition, sampling)
    work = measuring.generated(pipeline, [job.generated or 0], condition, sampling)
    return (yield from measuring.followed("generating", work)), condition


def _told(job: StepSettings, pipeline: Pipeline, prompts: Prompts) -> Condition | None:
    """What is asked by name; None: nothing is."""
    if job.classes is None and job.attributes is None and not prompts.texts:
        return None
    return condition_for(pipeline, job.classes or "none", 1, job.attributes, prompts)


def _facts(job: StepSettings, pipeline: Pipeline, condition: Condition, at: Pixel) -> dict[str, Any]:
    label = -1 if condition.labels is None else int(condition.labels[0])
    return {
        "seed": job.seed,
        "class": pipeline.class_names[label] if label >= 0 else None,
        "prediction": pipeline.config.diffusion.prediction,
        "shape": [*pipeline.latent_shape],
        "at": [*at],
    }


def _level(level: Level, t: int) -> dict[str, Any]:
    """`t` and (1)'s numbers there; log-SNR is infinite at t = 0, and where no signal is left."""
    alpha, sigma, log_snr = (float(each) for each in (level.alpha, level.sigma, level.log_snr))
    return {"t": t, "alpha_bar": alpha**2, "alpha": alpha, "sigma": sigma, "log_snr": log_snr}


def _picture(pipeline: Pipeline, name: str, state: Data) -> Pixels:
    """A state as pixels: -1 is black and 1 white; of squared errors 0 is black and the largest white."""
    if name == "squared_error":
        state = 2 * state / state.max().clamp(min=1e-12) - 1
    return (to_pixels(state) if isinstance(pipeline.codec, PixelCodec) else pipeline.decode(state.float())).cpu()
