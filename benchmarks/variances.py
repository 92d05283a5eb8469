"""`python -m benchmarks.variances BASE`: does a learned variance pay, at equal training?

For each training seed two networks with the same settings, for the same number of images: one on the simple loss,
which serves beta, beta_tilde and the analytic variance, since they differ in the reverse steps alone; one on the hybrid
loss, which learns its variance. The analytic variance is estimated on training images, for drawing with labels and
clipping as images are drawn, for the bound as the bound is taken.

Each of the four draws the same seeds and classes by strided ancestral sampling, without guidance, and its images are
compared with the test part; beside it stands what real training images score. The bound on held-out images (no class
given, nothing clipped) is taken along the strided chain with all its terms, and along all T steps by a subsample, with
the same images, timesteps and noise for all four. All of these are drawn anew for each training seed, so that the
scatter over seeds holds their errors too.

Networks are kept in --out, where training goes on if it was stopped; results go to
benchmarks/results/variances-<base>.json, a seed at a time, and seeds that are there are not made again. `--table`
prints them. Errors are of the mean over training seeds; with one seed, those of the measurement: differences in bits
are then paired over test images, and the errors of two distances add in squares, as if nothing were shared.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch

from ancestral.cli.output import rounded
from ancestral.condition import NOTHING_TOLD, Condition
from ancestral.data.datasets import load
from ancestral.data.imageset import ImageSet, Parts
from ancestral.diffusion.analytic import estimate
from ancestral.diffusion.variances import Analytic, Variance, beta, beta_tilde
from ancestral.errors import InputError
from ancestral.evaluation.evaluate import Number, as_pixels, evaluate
from ancestral.evaluation.likelihood import Amount, joined, mean, planned
from ancestral.evaluation.settings import EvaluationSettings, LikelihoodSettings
from ancestral.files import write_whole
from ancestral.pipeline import Pipeline
from ancestral.presets import PRESETS
from ancestral.rng import ImageNoise, mix
from ancestral.sampling.denoiser import Denoiser
from ancestral.settings import Config, PositiveInt, SamplingSettings, Settings, merged
from ancestral.tensors import from_pixels
from ancestral.training.loop import train
from ancestral.training.run import RunFolder

HELD_OUT: dict[str, int | None] = {"digits": None, "mnist": 500}
"""Test images that the bound is taken of; None: all."""
FIXED = ("beta", "beta_tilde", "analytic")
NAMES = ("learned", *FIXED)
ESTIMATED_ON = 256
"""Training images that the analytic variance is estimated on."""
ESTIMATED_AT = 50
"""Timesteps at which it is, even in log-SNR."""
TERMS = {"digits": 100, "mnist": 32}
"""Terms of the full chain that each image visits."""


class Plan(Settings):
    """What the results belong to."""

    base: str
    prediction: Literal["eps", "x0", "v"]
    images: PositiveInt
    """That each network is trained on, counted as often as they are seen."""
    steps: PositiveInt
    """Of the strided chain."""
    draw: PositiveInt
    """Images drawn with each variance."""
    held_out: PositiveInt | None
    """Test images that the bound is taken of."""
    terms: PositiveInt
    """Of the full chain that each of them visits."""


class Bound(Settings):
    """Held-out bits per dimension along one chain."""

    total: Amount
    prior: float
    diffusion: float
    reconstruction: float
    gain: Amount
    """Learned minus this one, paired over the test images."""


class Row(Settings):
    """One variance of one training seed."""

    seed: int
    variance: str
    frechet: Amount
    """Drawn against test."""
    real: Amount
    """The same of as many real training images."""
    agreement: float
    """Share of drawn images in which a classifier sees the class asked for."""
    strided: Bound
    full: Bound


class Record(Settings):
    """What variances-<base>.json holds."""

    plan: Plan
    rows: tuple[Row, ...] = ()

    def of(self, variance: str) -> list[Row]:
        """The rows of one variance, by seed."""
        return sorted((row for row in self.rows if row.variance == variance), key=lambda row: row.seed)


def main(argv: Sequence[str] | None = None) -> int:
    """Trains and measures the seeds that are missing, then prints the tables; the exit code."""
    words = _parser().parse_args(argv)
    held_out = words.held_out or HELD_OUT[words.base]
    plan = Plan(base=words.base, prediction=words.prediction, images=words.images, steps=words.steps, draw=words.draw,
                held_out=held_out, terms=words.terms or TERMS[words.base])  # fmt: skip
    suffix = "" if plan.prediction == "eps" else f"-{plan.prediction}"
    file = Path(words.results) / f"variances-{plan.base}{suffix}.json"
    if words.table:
        print(tables(Record.model_validate_json(file.read_text())))
        return 0
    try:
        record = _read(file, plan)
    except InputError as fault:
        print(fault, file=sys.stderr)
        return 2
    parts = load(PRESETS[plan.base]().data)
    for seed in sorted({*range(words.seeds)} - {row.seed for row in record.rows}):
        rows = []
        for row in measured(plan, seed, parts, Path(words.out)):
            rows.append(row)
            print(row.model_dump_json(), flush=True)
        record = record.model_copy(update={"rows": (*record.rows, *rows)})
        write_whole(file, record.model_dump_json(indent=1) + "\n")
    print(tables(record))
    return 0


def measured(plan: Plan, seed: int, parts: Parts, folder: Path) -> Iterator[Row]:
    """The four variances of one training seed, learned first; trains what `folder` does not hold yet."""
    networks = {
        loss: trained(recipe(plan, loss, seed), parts, folder / f"{plan.base}-{plan.prediction}-{loss}-{seed}")
        for loss in ("simple", "hybrid")
    }
    learned: Mapping[str, list[float]] = {}
    for name in NAMES:
        pipeline = networks["hybrid" if name == "learned" else "simple"]
        frechet, real, agreement = quality(plan, pipeline, name, seed, parts)
        for_bound = as_chosen(pipeline, name, parts.train, NOTHING_TOLD, SamplingSettings(clip="none"))
        found = {of: bits(plan, for_bound, seed, parts.test, of) for of in ("strided", "full")}
        learned = learned or {of: images for of, (_, images) in found.items()}
        bounds = {of: _gaining(bound, learned[of], images) for of, (bound, images) in found.items()}
        yield Row(seed=seed, variance=name, frechet=frechet, real=real, agreement=agreement, **bounds)


def recipe(plan: Plan, loss: Literal["simple", "hybrid"], seed: int) -> Config:
    """The preset with that loss, its variance, and a budget in images: nothing else differs between the two."""
    never = {"minutes": None, "sample_every_steps": 10**6, "validate_every_steps": 10**6}
    changes = {
        "seed": seed,
        "diffusion": {"prediction": plan.prediction, "variance": "learned" if loss == "hybrid" else "beta_tilde"},
        "training": {**never, "loss": loss, "timesteps": "stratified", "images": plan.images},
    }
    return merged(PRESETS[plan.base](), changes, "the comparison of variances")


def trained(config: Config, parts: Parts, folder: Path) -> Pipeline:
    """The network of these settings at the end of its budget; goes on with what is in `folder`."""
    run = RunFolder(folder)
    for progress in train(Pipeline.fresh(config, parts.train.spec), parts, run):
        if progress.record:
            print(f"{folder.name}: {json.dumps(progress.record)}", flush=True)
    return Pipeline.load(run.path)


def as_chosen(
    pipeline: Pipeline, name: str, train: ImageSet, condition: Condition, settings: SamplingSettings
) -> Pipeline:
    """The same network with the variance of that name.

    Args:
        condition: what is told of the first training images: how the analytic variance is estimated.
    """
    variances: dict[str, Variance] = {"beta": beta, "beta_tilde": beta_tilde}
    if name == "analytic":
        variances[name] = analytic(pipeline, train, condition, settings)
    variance = variances.get(name, pipeline.diffusion.variance)
    return replace(pipeline, diffusion=replace(pipeline.diffusion, variance=variance))


def analytic(pipeline: Pipeline, train: ImageSet, condition: Condition, settings: SamplingSettings) -> Analytic:
    """The analytic variance of the network as `settings` bind it, from its errors on the first training images."""
    chunk = min(pipeline.compute.chunk, ESTIMATED_ON, len(train))
    timesteps = pipeline.diffusion.schedule.uniform_log_snr(ESTIMATED_AT)[:-1]
    ratios = []
    for start in range(0, min(ESTIMATED_ON, len(train)) - chunk + 1, chunk):
        images = from_pixels(as_pixels(train.sliced(start, start + chunk))).to(pipeline.device)
        denoise: Denoiser = pipeline.denoiser(condition.rows(slice(start, start + chunk)), settings)
        seeds = [mix(0, "analytic variance", start + i) for i in range(chunk)]
        noise = ImageNoise(seeds, pipeline.spec.shape, pipeline.device)
        ratios.append(estimate(pipeline.diffusion, denoise, images, timesteps, noise).ratio)
    return Analytic(torch.stack(ratios).mean(dim=0))


def quality(plan: Plan, pipeline: Pipeline, name: str, seed: int, parts: Parts) -> tuple[Amount, Amount, float]:
    """(Fréchet distance of drawn images to the test part, that of real training images, agreement)."""
    assert parts.train.labels is not None
    settings = SamplingSettings(sampler="ancestral", steps=plan.steps, grid="trailing", clip="static")
    chosen = as_chosen(pipeline, name, parts.train, parts.train.condition(pipeline.spec), settings)
    labels = torch.arange(plan.draw) % pipeline.num_classes
    drawn = chosen.generate([mix(seed, "variances", i) for i in range(plan.draw)], labels, settings)
    found = evaluate(drawn, labels, parts, EvaluationSettings())
    distances = [_amount(found[pair]["frechet"]) for pair in ("generated against test", "train against test")]
    assert found.agreement is not None
    return distances[0], distances[1], found.agreement.value


def bits(plan: Plan, pipeline: Pipeline, seed: int, test: ImageSet, chain: str) -> tuple[Bound, list[float]]:
    """The bound along the strided or the full chain, as yet without gain, and that of each test image."""
    steps, terms = (plan.steps, None) if chain == "strided" else (None, plan.terms)
    settings = LikelihoodSettings(num_images=plan.held_out, chain=steps, timesteps=terms, seed=seed)
    measurement = planned(pipeline, test, settings)
    sums = [measurement.sums(chunk) for chunk in range(measurement.num_chunks)]
    by_part = [joined(of) for of in zip(*((s.prior, s.diffusion, s.reconstruction) for s in sums), strict=True)]
    images = [sum(terms) for terms in zip(*by_part, strict=True)]
    found = measurement.result(sums)
    parts = {name: getattr(found, name).value for name in ("prior", "diffusion", "reconstruction")}
    return Bound(total=found.total, **parts, gain=Amount(value=0.0, standard_error=0.0)), images


def _gaining(bound: Bound, learned: Sequence[float], images: Sequence[float]) -> Bound:
    gain = mean([mine - other for mine, other in zip(learned, images, strict=True)])
    return bound.model_copy(update={"gain": gain})


def _amount(number: Number) -> Amount:
    assert number.standard_error is not None
    return Amount(value=number.value, standard_error=number.standard_error)


def tables(record: Record) -> str:
    """Means over seeds, differences, and every seed, in Markdown."""
    plan = record.plan
    steps = f"bits/dim, {plan.steps} steps"
    columns = ("Fréchet", steps, "bits/dim, all steps")
    blocks = [
        _table(("variance", "seeds", *columns), [_summary(name, record.of(name)) for name in NAMES]),
        _table(
            ("learned minus", *columns),
            [[name, *_differences(record.of("learned"), record.of(name))] for name in FIXED],
        ),
        _table(
            ("seed", "variance", *columns, "terms of these: L_T, between, L_0", "agreement", "real images' Fréchet"),
            [_one(row) for name in NAMES for row in record.of(name)],
        ),
    ]
    return "\n\n".join(blocks)


def _summary(name: str, rows: Sequence[Row]) -> list[str]:
    return [
        name,
        str(len(rows)),
        in_words([row.frechet for row in rows]),
        in_words([row.strided.total for row in rows]),
        in_words([row.full.total for row in rows]),
    ]


def _differences(learned: Sequence[Row], fixed: Sequence[Row]) -> list[str]:
    distances = [
        Amount(
            value=mine.frechet.value - other.frechet.value,
            standard_error=math.hypot(mine.frechet.standard_error, other.frechet.standard_error),
        )
        for mine, other in zip(learned, fixed, strict=True)
    ]
    return [
        in_words(distances),
        in_words([row.strided.gain for row in fixed]),
        in_words([row.full.gain for row in fixed]),
    ]


def _one(row: Row) -> list[str]:
    terms = (row.full.prior, row.full.diffusion, row.full.reconstruction)
    return [
        str(row.seed),
        row.variance,
        in_words([row.frechet]),
        in_words([row.strided.total]),
        in_words([row.full.total]),
        ", ".join(f"{term:.3f}" for term in terms),
        f"{row.agreement:.3f}",
        in_words([row.real]),
    ]


def in_words(amounts: Sequence[Amount]) -> str:
    """The mean with its error over seeds; of one seed its own."""
    amount = mean([each.value for each in amounts]) if len(amounts) > 1 else amounts[0]
    return rounded(amount.value, amount.standard_error)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *rows))


def _read(file: Path, plan: Plan) -> Record:
    """What `file` holds of this plan, or nothing yet."""
    record = Record.model_validate_json(file.read_text()) if file.is_file() else Record(plan=plan)
    if record.plan != plan:
        raise InputError(f"expected the settings of {file}, {record.plan}, got {plan}; move it away or set --results")
    return record


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.variances", description=__doc__)
    parser.add_argument("base", choices=HELD_OUT, help="the recipe that is trained")
    parser.add_argument("--images", type=int, default=40_000, help="budget of each training [40000]")
    parser.add_argument("--seeds", type=int, default=3, help="training seeds [3]")
    parser.add_argument("--steps", type=int, default=25, help="of the strided chain [25]")
    parser.add_argument("--draw", type=int, default=1000, help="images drawn with each variance [1000]")
    parser.add_argument("--held-out", type=int, help="test images for the bound [digits: all, mnist: 500]")
    parser.add_argument("--terms", type=int, help="of the full chain for each of them [digits: 100, mnist: 32]")
    parser.add_argument("--prediction", choices=("eps", "x0", "v"), default="eps", help="of the networks [eps]")
    parser.add_argument("--out", default="runs/variances", help="folder of the networks [runs/variances]")
    parser.add_argument("--results", default=str(Path(__file__).parent / "results"), help="folder of the results")
    parser.add_argument("--table", action="store_true", help="print what is there")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
