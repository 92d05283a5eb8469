"""The work of `ancestral evaluate --likelihood`: its cost, measuring with a record to go on from, and the table."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from rich import box
from rich.table import Table

from ancestral.cli.asking import Given, computing, sampling
from ancestral.cli.measuring import data_of, rounded
from ancestral.cli.output import console, counting, say, tell, tell_json
from ancestral.cli.pricing import allow_generating
from ancestral.cli.together import together
from ancestral.config import SamplingSettings
from ancestral.errors import InputError
from ancestral.evaluation.bound_sums import Sums
from ancestral.evaluation.flow_check import add_flow_check
from ancestral.evaluation.likelihood import FlowCheck, Likelihood, LikelihoodSettings, Measurement, planned
from ancestral.evaluation.likelihood_file import ChunkFile, record
from ancestral.files import write_whole
from ancestral.outputs import BOUND, Output, claim, place_for
from ancestral.pipeline import Pipeline
from ancestral.processes import Processes
from ancestral.report.likelihood import FILE, picture, read_likelihood
from ancestral.training.run import RunFolder
from ancestral.tuning.price import Price, of_chains

USUAL_IMAGES = 1000
PARTIAL = "likelihood.partial.jsonl"


class LikelihoodOptions(NamedTuple):
    """What --likelihood is to measure; None is all, `images` apart."""

    images: int | str | None
    """A number, all, or None: as many as is usual."""
    timesteps: int | None
    chain: int | None
    num_timesteps: int | None
    """T, in place of the run's own."""
    seed: int
    given_classes: bool
    variance: str | None = None
    """Of the reverse steps, in place of the run's own."""
    flow: int | None = None
    """Images whose likelihood under the probability flow is set beside the bound; None: no such check."""


def measure_likelihood(
    run: Path, asked: LikelihoodOptions, given: Given, on: str | None, overwrite: bool, dear: bool, as_json: bool
) -> int:
    """Measures, writes likelihood.json and says what it holds; the exit code.

    Several processes deal the chunks among them; the first one keeps the record, and does the rest.
    """
    with together(on) as (where, processes):
        measurement = prepared(run, asked, given, where, processes)
        measurement.pipeline.processes = processes
        if processes.is_main:
            return _measure(run, measurement, asked, overwrite, dear, as_json)
        finish(run, measurement, None, dear)
        return 0


def _measure(
    run: Path, measurement: Measurement, asked: LikelihoodOptions, overwrite: bool, dear: bool, as_json: bool
) -> int:
    if (asked.flow or 0) > measurement.num_images:
        raise InputError(f"expected --flow of at most the {measurement.num_images} images measured, got {asked.flow}")
    file, partial = place_for(run / FILE, measurement.num_images, images_measured, overwrite), run / PARTIAL
    claim([Output(file.with_suffix(".png"), BOUND)], overwrite)
    with record(partial, json.loads(json.dumps(measurement.belongs_to())), say) as kept:
        try:
            price = finish(run, measurement, kept, dear)
        except KeyboardInterrupt as stop:
            done = measured(measurement, kept)
            stop.add_note(f"{done:,} of {measurement.num_images:,} images were measured; the same command goes on")
            raise
        result = checked(measurement, measurement.result(kept.sums), asked.flow)
        write_whole(file, result.model_dump_json(indent=2) + "\n")
        write_figure(result, measurement, file.with_suffix(".png"))
        partial.unlink(missing_ok=True)
    if as_json:
        tell_json(result.model_dump(mode="json") | {"price": price.as_tree()})
    else:
        show(result, file)
    return 0


def images_measured(file: Path) -> int:
    """How many images the measurement in a file is of.

    Raises:
        InputError: no such measurement.
    """
    return read_likelihood(file).num_images


def checked(measurement: Measurement, result: Likelihood, flow: int | None) -> Likelihood:
    """The result with the flow check of so many images, where one is asked for."""
    if flow is None:
        return result
    with counting() as counted:
        return add_flow_check(
            measurement.pipeline,
            measurement.images,
            result,
            measurement.settings,
            flow,
            on_progress=lambda n, of: counted("checking against the flow", n, of),
        )


def write_figure(result: Likelihood, measurement: Measurement, file: Path) -> None:
    """The terms over the noise and what they buy, as a picture; a chain of one step has no such terms."""
    if result.stretches:
        write_whole(file, picture(result, measurement.pipeline.diffusion.schedule))


def prepared(run: Path, asked: LikelihoodOptions, given: Given, on: torch.device, processes: Processes) -> Measurement:
    """The run with its test images, and what is to be measured.

    Raises:
        InputError: run, images and settings that do not go together.
    """
    config, compute = RunFolder(run).read_config(), computing(given)
    if compute.precision == "auto":  # what bfloat16 rounds away would count as bits
        compute = compute.model_copy(update={"precision": "float32"})
    pipeline = Pipeline.load(run, on, compute)
    if asked.num_timesteps is not None:
        pipeline = pipeline.with_num_timesteps(asked.num_timesteps)
    with processes.main_first():
        images = data_of(run, config, pipeline).test
    usual = min(USUAL_IMAGES, len(images)) or None
    count = usual if asked.images is None else asked.images if isinstance(asked.images, int) else None
    settings = LikelihoodSettings(
        num_images=count,
        timesteps=asked.timesteps,
        chain=asked.chain,
        seed=asked.seed,
        given_classes=asked.given_classes,
        variance=sampling(config, {"sampler": "ancestral", "variance": asked.variance}).variance,
    )
    return planned(pipeline, images, settings)


def finish(run: Path, measurement: Measurement, kept: ChunkFile | None, dear: bool) -> Price:
    """Measures the chunks that are not yet in the record, after saying what that costs, together; the price.

    Args:
        kept: the record, on the first process.
        dear: whether it may cost more than is usual.
    """
    processes = measurement.pipeline.processes
    first = int(processes.broadcast("" if kept is None else str(len(kept.sums))))
    left = measurement.num_images - min(first * measurement.pipeline.compute.chunk, measurement.num_images)
    if first:
        say(f"going on after {measurement.num_images - left:,} of {measurement.num_images:,} images")
    if not left:
        return Price(0, 0.0, 0)
    work = f"{left:,} images x {measurement.calls:,} calls"
    price = of_chains(measurement.pipeline, SamplingSettings(clip="none"), left, measurement.calls)
    price = allow_generating(price, dear, measurement.pipeline, run, "lower --images or --timesteps", work)
    with counting() as counted:

        def sums(chunk: int) -> str:
            return measurement.sums(chunk, calls_shown(measurement, chunk, counted)).model_dump_json()

        for text in processes.map(range(first, measurement.num_chunks), sums):
            if kept is not None:
                kept.append(Sums.model_validate_json(text))
    return price


def calls_shown(measurement: Measurement, chunk: int, counted: Callable[[str, int, int], None]) -> Callable[[], None]:
    """To be called after each call of the network on a chunk: moves the bar."""
    done, total = chunk * measurement.calls, measurement.num_chunks * measurement.calls

    def shown() -> None:
        nonlocal done
        done += 1
        counted("measuring", done, total)

    return shown


def measured(measurement: Measurement, kept: ChunkFile) -> int:
    """Images in the record."""
    return min(len(kept.sums) * measurement.pipeline.compute.chunk, measurement.num_images)


def show(result: Likelihood, file: Path) -> None:
    """What was measured, the terms as a table, and which noise they are paid at."""
    to = console(stderr=False)
    table = Table("bits per dimension", "", box=box.SIMPLE)
    terms = {
        "total": result.total,
        f"L_T, t = {result.num_timesteps}": result.prior,
        "diffusion, t > 1": result.diffusion,
        "L_0": result.reconstruction,
    }
    for name, amount in terms.items():
        table.add_row(name, rounded(amount.value, amount.standard_error))
    to.print(heading(result), table)
    images, timesteps = result.error_from_images, result.error_from_timesteps
    tell(f"of its error {images:.2g} is the images', {timesteps:.2g} that of timesteps and noise; they add in squares")
    if result.too_few:
        tell(f"it says little: {result.too_few}")
    if result.diffusion.value > 0:
        tell(quarters(result))
    if result.flow is not None:
        tell(beside_the_flow(result.flow))
    tell(str(file))


def beside_the_flow(check: FlowCheck) -> str:
    """The flow check in a sentence."""
    bound, flow, difference = (rounded(a.value, a.standard_error) for a in (check.bound, check.flow, check.difference))
    return (
        f"{check.num_images:,} images under the probability flow, {check.steps:,} steps: {flow}, the bound of the same "
        f"{bound}, difference {difference}"
    )


def heading(result: Likelihood) -> str:
    """Of which images, along which chain, and of which density."""
    chain = "all" if result.steps == result.num_timesteps else f"{result.steps:,}"
    drawn = "all of them" if result.timesteps == result.steps - 1 else f"{result.timesteps:,} of them"
    variance = result.variance.replace("_", " ")
    density = "p(x | class), each image's class given" if result.given_classes else "p(x), no class given"
    return (
        f"{result.num_images:,} {result.part} images of {result.dims:,} dimensions, {chain} steps of "
        f"T = {result.num_timesteps:,}, {drawn} and L_0 for each image; {variance} variance; {density}"
    )


def quarters(result: Likelihood) -> str:
    """The shares of the diffusion term that four equal ranges of log-SNR pay, the noisiest first."""
    middles = [stretch.log_snr for stretch in result.stretches]
    low, width = min(middles), (max(middles) - min(middles)) / 4 or 1.0
    shares = [0.0] * 4
    for stretch in result.stretches:
        shares[min(int((stretch.log_snr - low) / width), 3)] += stretch.bits / result.diffusion.value
    told = ", ".join(f"{share:.0%}" for share in shares)
    return f"the diffusion term is paid at log-SNR {low:.1f} to {max(middles):.1f}, by quarters: {told}"
