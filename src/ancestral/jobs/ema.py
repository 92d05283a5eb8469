"""The job `ema`: averages of the weights over other lengths are made after the fact and measured, or one is kept to."""

import copy
from collections.abc import Generator

from torch import Tensor, nn

from ancestral.errors import InputError
from ancestral.evaluation.average_lengths import FILE, AverageLengths, ImageMean, read_lengths, row_of
from ancestral.files import write_whole
from ancestral.jobs.events import Event, FileEvent, NoteEvent, ProgressEvent, ResultEvent
from ancestral.jobs.measurement_settings import EmaSettings
from ancestral.jobs.measuring import data_of, priced
from ancestral.jobs.running import device_named
from ancestral.networks.weights import tensors_hash
from ancestral.outputs import AVERAGED, Output, check_part, check_writable, claim, place_for
from ancestral.pipeline import Pipeline
from ancestral.settings import SamplingSettings
from ancestral.training.chosen_average import AverageChoice, write_choice
from ancestral.training.denoiser import Denoising
from ancestral.training.kept_averages import KeptAverages, read_averages
from ancestral.training.means import HELD_OUT_IMAGES, ValidationLoss
from ancestral.training.run import RunFolder
from ancestral.tuning.price import of_chains
from ancestral.viz.plots import averages_figure, figure_to_png

UNCLIPPED = SamplingSettings(clip="none")


def ema(job: EmaSettings) -> Generator[Event, None, None]:
    """Measures and writes RUN/ema.json, whose content is the result's value; or makes one the pipeline's, and the
    value is a sentence."""
    run, said = RunFolder(job.run), list[str]()
    check_part(run.pipeline)
    if job.use is not None:
        kept = read_averages(run, said.append)
        yield from map(NoteEvent, said)
        yield used(run, kept, job.use)
        return
    file = place_for(run.path / FILE, HELD_OUT_IMAGES, lambda file: read_lengths(file).num_images, job.overwrite)
    picture = file.with_suffix(".png")
    claim([Output(picture, AVERAGED)], job.overwrite)
    config, kept = run.read_config(), read_averages(run, said.append)
    yield from map(NoteEvent, said)
    compute = job.compute
    if compute.precision == "auto":  # what bfloat16 rounds away is as much as averages differ by
        compute = compute.model_copy(update={"precision": "float32"})
    pipeline = Pipeline.load(run.path, device_named(job.device), compute).by_torch("held-out losses")
    images = (yield from data_of(run.path, config, pipeline)).validation
    if len(images) < 2:
        raise InputError(
            f"expected at least 2 validation images, which {run.path} was not trained on, got {len(images)}; train "
            "another run with data.validation"
        )
    count, total = min(HELD_OUT_IMAGES, len(images)), 1 + len(job.lengths)
    price = of_chains(pipeline, UNCLIPPED, count, total)
    price = yield from priced(price, job, pipeline, run.path, "name fewer --lengths", f"{total} averages")
    validation = ValidationLoss(Denoising(pipeline), images)
    own, rows = validation.losses(_network(pipeline, kept.own)), []
    for number, length in enumerate(sorted({*job.lengths}), start=1):
        yield ProgressEvent("measuring", number, total)
        weights, residual = kept.rebuilt(length)
        rows.append(row_of(length, residual, validation.losses(_network(pipeline, weights)), own))
    about = {"step": kept.step, "weights": tensors_hash(kept.own), "num_images": count}
    found = AverageLengths.model_validate({**about, "own": ImageMean.of(own), "rows": tuple(rows)})
    write_whole(file, found.model_dump_json(indent=1) + "\n")
    yield FileEvent(file)
    numbers = [(row.length, row.difference.value, row.difference.standard_error, row.residual) for row in rows]
    figure = averages_figure(*map(list, zip(*numbers, strict=True)))
    write_whole(picture, figure_to_png(figure, writer=AVERAGED.decode()))
    yield FileEvent(picture)
    best = found.best
    told = {"best": best and best.length, "clear": found.is_clear, "price": price.as_tree()}
    yield ResultEvent(found.model_dump(mode="json") | told, found)


def used(run: RunFolder, kept: KeptAverages, wanted: float | str) -> ResultEvent:
    """Makes an average what the pipeline has; the result's value is a sentence."""
    check_writable(run.path)
    length = _best(run, kept) if wanted == "best" else wanted
    with run.claimed(run.read_config()) as check:
        pipeline = Pipeline.load(run.path, "cpu")
        if isinstance(length, str):
            check()
            pipeline.with_network(_network(pipeline, kept.own)).save(run.pipeline)
            run.chosen_average.unlink(missing_ok=True)
            return ResultEvent({"used": None}, f"{run.path} generates images by its own average")
        weights, residual = kept.rebuilt(length)
        chosen = pipeline.with_network(_network(pipeline, weights))
        choice = AverageChoice(length=length, weights=chosen.weights_hash(), own=tensors_hash(kept.own))
        check()
        write_choice(run, choice)
        chosen.save(run.pipeline)
    missed = f", of whose profile {residual:.1%} is missed" if residual > 0 else ""
    said = (
        f"{run.path} generates images from now on, until it is trained further, by its average of length {length:g}"
        f"{missed}; --use own undoes it"
    )
    return ResultEvent({"used": length, "residual": residual}, said)


def _best(run: RunFolder, kept: KeptAverages) -> float:
    """The length that was measured to be best."""
    found = read_lengths(run.path / FILE) if (run.path / FILE).is_file() else None
    if found is None or (found.step, found.weights) != (kept.step, tensors_hash(kept.own)):
        raise InputError(f"expected a measurement of {run.path} at step {kept.step:,}, got none; measure it first")
    if found.best is None or not found.is_clear:
        raise InputError(
            f"expected an average that is better than the own one of {run.path} by more than chance, got none; name "
            "a length if one is wanted all the same"
        )
    return found.best.length


def _network(pipeline: Pipeline, weights: dict[str, Tensor]) -> nn.Module:
    """The pipeline's network with other weights, in evaluation mode."""
    network = copy.deepcopy(pipeline.network)
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False)
