"""Runs that train an autoencoder and diffuse its latents: stopped, killed, given more in every phase; what is kept.

Started as a script, this file trains a run and kills itself: test_latent_runs.py FOLDER WHEN.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import environment, free_port
from standing import Forked, Script, forked
from test_resume import assert_same_run
from torch import Tensor

from ancestral.data.datasets import load
from ancestral.data.imageset import ImageSet
from ancestral.data.loader import Loader
from ancestral.errors import InputError
from ancestral.hub.autoencoder import read_autoencoder, write_autoencoder
from ancestral.jobs.codec_target import TrainCodecSettings
from ancestral.jobs.events import Event, NoteEvent, ProgressEvent, ResultEvent, StartEvent, StepEvent
from ancestral.jobs.target import TrainSettings
from ancestral.jobs.train import train
from ancestral.jobs.train_codec import train_codec
from ancestral.networks.autoencoder import Autoencoder
from ancestral.networks.latents import LatentCodec, VQCodec, latent_codec, latent_statistics
from ancestral.networks.quantizer import vectors_of
from ancestral.pipeline import Pipeline
from ancestral.progress import finish
from ancestral.settings import Config, KLSettings, PlainSettings, VQSettings, merged
from ancestral.tensors import from_pixels
from ancestral.training.denoiser import Denoising
from ancestral.training.latents import latents_of

CPU = torch.device("cpu")
DATA = {"source": "digits", "test": 0.9, "validation": 0.02, "flip": True}
SMALL = {"widths": (8, 16), "channels": 2, "norm_groups": 4}
TREE: dict[str, Any] = {
    "data": {"test": 0.9, "validation": 0.02, "flip": True},
    "codec": {**SMALL, "name": "kl"},
    "network": {"widths": (8,), "layers": 1, "attention": (), "middle_attention": False, "norm_groups": 4},
    "training": {
        "steps": 8,
        "batch_size": 8,
        "log_every_steps": 1,
        "validate_every_steps": 3,
        "sample_every_steps": 100,
        "checkpoint_every_steps": 3,
        "ema_decay": 0.5,
    },
    "sampling": {"steps": 3},
    "compute": {"precision": "float32"},
}
OWN = "pipeline/unet/diffusion_pytorch_model.safetensors"
CODED = "codec/diffusion_pytorch_model.safetensors"
KINDS: dict[str, Any] = {
    "plain": PlainSettings(**SMALL),
    "kl": KLSettings(**SMALL),
    "vq": VQSettings(**SMALL, codes=16),
}
When = Callable[[list[Event]], bool]


def job(out: Path, target: str = "digits", **changes: dict[str, Any]) -> TrainSettings:
    """Half of eight steps of an autoencoder, and as many of diffusion."""
    settings = {name: {**branch, **changes.get(name, {})} for name, branch in TREE.items()}
    return TrainSettings(target=target, settings=settings, out=out, device="cpu")


def frozen_job(out: Path, folder: Path) -> TrainSettings:
    settings = {**job(out).settings, "codec": {"name": "frozen", "folder": str(folder)}}
    return TrainSettings(target="digits", settings=settings, out=out, device="cpu")


def ran(asked: TrainSettings, when: When = lambda seen: False) -> list[Event]:
    """All events of a start, which is asked to stop as soon as `when` says so of them."""
    seen: list[Event] = []
    events = train(asked, lambda: when(seen))
    while (event := next(events, None)) is not None:
        seen.append(event)
    return seen


def ended(seen: list[Event]) -> bool:
    end = seen[-1]
    assert isinstance(end, ResultEvent)
    return bool(end.tree["finished"])


def phase(seen: list[Event]) -> int:
    """1: the autoencoder's; 2: diffusion's."""
    return sum(isinstance(event, StartEvent) for event in seen)


def at_step(number: int, of_phase: int) -> When:
    return lambda seen: phase(seen) == of_phase and isinstance(seen[-1], StepEvent) and seen[-1].step == number


def encoding(seen: list[Event]) -> bool:
    return isinstance(seen[-1], ProgressEvent) and seen[-1].what == "encoding images"


def between(seen: list[Event]) -> bool:
    """The autoencoder is there, and no image is encoded."""
    return isinstance(seen[-1], NoteEvent) and "through the autoencoder" in seen[-1].text


MOMENTS: dict[str, When] = {
    "autoencoder": at_step(2, 1),
    "between": between,
    "encoding": encoding,
    "diffusion": at_step(2, 2),
}


@cache
def made(folder: Path, kind: str) -> Path:
    """A run that nothing happened to."""
    assert ended(ran(job(folder / kind, codec={"name": kind})))
    return folder / kind


@pytest.fixture
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return lambda kind: made(tmp_path_factory.getbasetemp() / "latent-runs", kind)


def cached(run: Path) -> np.ndarray:
    (file,) = (run / "latents").iterdir()
    return np.load(file)


def assert_same(one: Path, other: Path) -> None:
    """Both networks, and the latents between them, byte for byte."""
    assert_same_run(one, other, OWN)
    assert_same_run(one / "autoencoder", other / "autoencoder", CODED)
    ours, theirs = ([*(run / "latents").iterdir()] for run in (one, other))
    assert [file.name for file in ours] == [file.name for file in theirs] and len(ours) == 1
    assert ours[0].read_bytes() == theirs[0].read_bytes()


# stopping costs nothing


@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        *(("kl", moment) for moment in ("autoencoder", "encoding", "diffusion")),
        pytest.param("vq", "autoencoder", marks=pytest.mark.slow),
    ],
)
def test_a_run_goes_on_bit_for_bit_wherever_it_was_stopped(
    kind: str, moment: str, tmp_path: Path, whole: Callable[[str], Path]
) -> None:
    asked = job(tmp_path / "run", codec={"name": kind})
    stopped = ran(asked, MOMENTS[moment])
    assert not ended(stopped) and phase(stopped) == (2 if moment == "diffusion" else 1)
    if moment == "encoding":
        assert [file.suffix for file in (tmp_path / "run/latents").iterdir()] == [".part"]
        assert sum(map(encoding, ([event] for event in stopped))) == 1, "it is heard between two blocks"
    assert ended(ran(asked))
    assert_same(tmp_path / "run", whole(kind))


def learning(seen: list[Event]) -> bool:
    return any(isinstance(event, ProgressEvent) and event.what == "learning features" for event in seen)


def test_features_are_learned_first_and_go_where_the_run_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_features: None
) -> None:
    """Trap: others that are learned anew on another machine, or none. There is no cache where the run goes on."""
    by_features = {"codec": {"perceptual_by": "features"}}
    seen = ran(job(tmp_path / "whole", **by_features))
    assert ended(seen) and learning(seen) and learning(seen[: [*map(type, seen)].index(StartEvent)])
    stopped = ran(job(tmp_path / "run", **by_features), at_step(2, 1))
    assert not ended(stopped) and not learning(stopped), "they are in the cache"
    monkeypatch.setenv("ANCESTRAL_CACHE", str(tmp_path / "empty"))
    (tmp_path / "run").rename(tmp_path / "moved")
    again = ran(job(tmp_path / "moved", **by_features))
    assert ended(again) and not learning(again)
    assert_same(tmp_path / "moved", tmp_path / "whole")


@pytest.mark.parametrize("moment", ["between", "encoding"])
def test_a_kill_between_the_phases_loses_nothing(moment: str, tmp_path: Path, whole: Callable[[str], Path]) -> None:
    process = forked(Script(Path(__file__), tmp_path / "run", moment), Path.cwd())
    process.communicate(timeout=300)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "run/pipeline").exists() and (tmp_path / "run/autoencoder" / CODED).is_file()
    again = ran(job(tmp_path / "run"))
    assert not any(isinstance(event, StepEvent) for event in again[: [*map(type, again)].index(ProgressEvent)])
    assert ended(again)
    assert_same(tmp_path / "run", whole("kl"))


@pytest.mark.parametrize(
    "stops",
    [["encoding"], pytest.param(["autoencoder", "encoding", "diffusion"], marks=pytest.mark.slow)],
    ids=" ".join,
)
def test_two_processes_go_on_bit_for_bit_and_compute_what_one_does(
    stops: list[str], tmp_path: Path, whole: Callable[[str], Path]
) -> None:
    """One file of latents, which the main one writes; each is asked to stop while images are encoded, and later."""

    def by_two(run: Path, *words: str) -> None:
        port = free_port()
        script = Script(Path(__file__), run, *words)
        started = [Forked(script, Path.cwd(), environment(rank, 2, port)) for rank in range(2)]
        said = [process.communicate(timeout=300) for process in started]
        assert [process.wait() for process in started] == [0, 0], said

    by_two(tmp_path / "whole")
    for stop in stops:
        by_two(tmp_path / "run", f"stop-{stop}")
        assert not (tmp_path / "run" / "pipeline").exists() or stop == "diffusion"
    by_two(tmp_path / "run")
    assert_same(tmp_path / "run", tmp_path / "whole")
    one, two = (cached(run).astype(float) for run in (whole("kl"), tmp_path / "whole"))
    assert one.shape == two.shape and abs(one - two).max() < 0.02, "sums of another order"


# budgets


def test_a_longer_budget_leaves_the_autoencoder_as_it_is(tmp_path: Path, whole: Callable[[str], Path]) -> None:
    run = Path(shutil.copytree(whole("kl"), tmp_path / "run"))
    files = [path for part in ("autoencoder", "latents") for path in (run / part).rglob("*") if path.is_file()]
    before = {path: path.read_bytes() for path in files}
    seen = ran(job(run, training={"steps": 12, "lr_schedule": "cosine"}))
    assert phase(seen) == 1 and [event.step for event in seen if isinstance(event, StepEvent)] == [5, 6]
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_budget_that_changes_while_the_autoencoder_is_trained_is_that_of_the_run(tmp_path: Path) -> None:
    """The rate may rise again where its schedule is repeated, as in any run, and the run itself knows its budget."""
    run = tmp_path / "run"
    assert not ended(ran(job(run), at_step(2, 1)))
    before = (run / "config.json").read_bytes()
    with pytest.raises(InputError, match=r"repeat --training\.lr_schedule"):
        ran(job(run, training={"steps": 16}))
    assert (run / "config.json").read_bytes() == before
    longer = job(run, training={"steps": 16, "lr_schedule": "cosine"})
    assert not ended(ran(longer, at_step(4, 1)))
    assert json.loads((run / "config.json").read_text())["training"]["steps"] == 16
    seen = ran(TrainSettings(target=str(run), device="cpu"))
    numbers = [event.step for event in seen if isinstance(event, StepEvent)]
    assert ended(seen) and numbers == [6, 7, 8, *range(1, 9)], numbers


def test_another_autoencoder_than_that_of_the_pipeline_is_refused(tmp_path: Path, whole: Callable[[str], Path]) -> None:
    run = Path(shutil.copytree(whole("kl"), tmp_path / "run"))
    write_autoencoder(run / "autoencoder/codec", codec_of("kl", pixels(64)))
    longer = job(run, training={"steps": 12, "lr_schedule": "cosine"})
    with pytest.raises(InputError, match=r"expected the autoencoder that .*pipeline has") as said:
        ran(longer)
    assert "\n" not in str(said.value)
    shutil.rmtree(run / "autoencoder/codec")
    with pytest.raises(InputError, match="codec") as said:
        ran(longer)
    assert "\n" not in str(said.value)


# what is cached


def pixels(count: int, seed: int = 0) -> Tensor:
    """(N, 3, 8, 8) of squares, other ones left than right."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (count, 3, 4, 4), generator=random, dtype=torch.uint8)
    return coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)


def images(count: int = 150, seed: int = 0) -> ImageSet:
    array = pixels(count, seed).permute(0, 2, 3, 1).contiguous().numpy()
    return ImageSet(array, None, (), None, None, f"{count} {seed}")


def codec_of(kind: str, seen: Tensor, seed: int = 0) -> LatentCodec:
    torch.manual_seed(seed)
    network = Autoencoder(KINDS[kind], 3).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(0, 0.2 if parameter.ndim == 1 else parameter[0].numel() ** -0.5)
        if network.quantize is not None:
            network.quantize.take(vectors_of(network.encoded(from_pixels(seen[:8])))[::5][:16])
    return latent_codec(network, *latent_statistics(network, [seen]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_has_the_moments_of_the_image_or_of_its_mirror_image(kind: str, tmp_path: Path) -> None:
    """Traps 6 and 15. The flips are those of pixels, and what is kept is no draw."""
    data, codec = images(), codec_of(kind, pixels(150))
    rows = finish(latents_of(codec, data, True, tmp_path / "latents"))
    assert rows.rows.shape == (150, 2, 2 if kind == "kl" else 1, 4, 4, 2) and rows.rows.dtype == np.float16
    kept, shown = (Loader(data, 16, 3, flip=True, latents=each) for each in (rows, None))
    mirrored = 0
    for step in range(12):  # into the second epoch
        batch, of_pixels = kept.batch(step), shown.batch(step)
        assert torch.equal(batch.indices, of_pixels.indices) and batch.moments is not None
        assert batch.pixels.shape == (16, 3, 0, 0)
        mean, std = codec.moments(of_pixels.pixels)
        torch.testing.assert_close(batch.moments.mean, mean, rtol=1e-3, atol=1e-3)
        assert (batch.moments.std is None) == (kind != "kl")
        if batch.moments.std is not None:
            torch.testing.assert_close(batch.moments.std, std, rtol=1e-3, atol=1e-4)
        part = batch.rows(slice(3, 7)).moments
        assert part is not None and torch.equal(part.mean, batch.moments.mean[3:7])
        unflipped = torch.from_numpy(data.pixels(batch.indices.numpy())).permute(0, 3, 1, 2)
        mirrored += int((of_pixels.pixels != unflipped).flatten(1).any(1).sum())
    assert 60 < mirrored < 132, "about half"
    there, back = (codec.moments(each)[0] for each in (pixels(8), pixels(8).flip(3)))
    assert (there.flip(3) - back).abs().max() > 0.1, "so that mirrored latents would be seen"


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_on_kept_latents_is_one_that_encodes(kind: str, tmp_path: Path) -> None:
    data, codec = images(), codec_of(kind, pixels(150))
    rows = finish(latents_of(codec, data, True, tmp_path / "latents"))
    tree = {"network": TREE["network"], "codec": {**SMALL, "name": kind}, "sampling": {"clip": "none"}}
    config = merged(Config(), {**tree, "compute": TREE["compute"], "training": {"batch_size": 16}}, "test")
    torch.manual_seed(0)
    pipeline = Pipeline.fresh(config, data.spec, CPU, codec=codec)
    with torch.no_grad():
        pipeline.network.conv_out.weight.normal_(0, 0.1)  # type: ignore[operator, union-attr]
    kept, encoding = Denoising(pipeline, rows), Denoising(pipeline)
    for step in (0, 5):
        batches = [Loader(data, 16, task.seed, True, latents=task.latents).batch(step) for task in (kept, encoding)]
        with torch.no_grad():
            (ours, _), (theirs, _) = (
                task.losses(pipeline.network, batch, task.randomness(step))
                for task, batch in zip((kept, encoding), batches, strict=True)
            )
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=1e-3)
        moments, noise = batches[0].moments, torch.randn(16, 2, 4, 4)
        assert moments is not None
        drawn = codec.encode(batches[1].pixels, noise.clone)
        torch.testing.assert_close(moments.draw(noise.clone), drawn, rtol=1e-3, atol=1e-3)
        if kind == "kl":
            assert (drawn - moments.mean).abs().max() > 0.05, "a draw is seen"


def test_what_another_codec_made_or_of_other_images_is_never_used(tmp_path: Path) -> None:
    data, folder = images(), tmp_path / "latents"
    codec, other = codec_of("kl", pixels(150)), codec_of("kl", pixels(150), seed=1)

    def kept(codec: LatentCodec, data: ImageSet, mirrored: bool) -> tuple[str, np.ndarray]:
        rows = np.array(finish(latents_of(codec, data, mirrored, folder)).rows)
        (file,) = folder.iterdir()
        return file.name, rows

    first = kept(codec, data, True)
    names = {first[0]}
    for changed in (
        (other, data, True),
        (replace(codec, mean=codec.mean + 0.1), data, True),
        (codec, images(seed=1), True),
        (codec, data, False),
    ):
        name, rows = kept(*changed)
        assert name not in names and (rows.shape != first[1].shape or abs(rows - first[1]).max() > 0.05)
        names.add(name)
    name, rows = kept(codec, data, True)
    assert name == first[0] and np.array_equal(rows, first[1])


def test_a_file_that_was_left_half_written_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """Whole blocks are kept, of whatever a kill has left; what is no beginning of the file is written anew."""
    data, codec = images(), codec_of("kl", pixels(150))
    finish(latents_of(codec, data, True, tmp_path / "whole"))
    (whole,) = (tmp_path / "whole").iterdir()
    content, block = whole.read_bytes(), 64 * 2 * 2 * 4 * 4 * 2 * 2
    header = len(content) - 150 * block // 64
    lengths = (0, header // 2, header, header + block - 1, header + block + 9, len(content))
    for length, steps in zip(lengths, (3, 3, 3, 3, 2, 1), strict=True):
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / f"{whole.stem}.part").write_bytes(content[:length])
        (folder / "other.part").write_bytes(b"of another codec")
        progress: list[ProgressEvent] = []
        rows = finish(latents_of(codec, data, True, folder), progress.append)
        assert len(progress) == steps and (progress[-1].done, progress[-1].total) == (150, 150)
        assert [path.name for path in folder.iterdir()] == [whole.name]
        assert (folder / whole.name).read_bytes() == content and len(rows) == 150
    (tmp_path / "0" / whole.name).write_bytes(content[:-1])
    with pytest.raises(InputError, match="is damaged; remove it"):
        finish(latents_of(codec, data, True, tmp_path / "0"))


@pytest.mark.parametrize("kind", ["kl", "vq", "plain"])
def test_kept_latents_have_mean_0_and_deviation_1(kind: str, tmp_path: Path, whole: Callable[[str], Path]) -> None:
    """Trap 8, of what a run diffuses, and on held-out images within the error of so few; of codes one deviation."""
    run = whole(kind)
    codec = read_autoencoder(run / "autoencoder/codec")
    config = merged(Config(), {"data": DATA}, "test")
    parts = load(config.data)
    rows = torch.from_numpy(cached(run)).double()  # (N, V, M, h, w, z)
    assert len(rows) == len(parts.train)
    mean, std = _statistics(rows[:, 0, 0], rows[:, 0, 1] if rows.shape[2] > 1 else None)
    assert float(mean.abs().max()) < 0.02
    deviation = std.square().mean().sqrt() if isinstance(codec, VQCodec) else std
    assert bool(((deviation > 0.98) & (deviation < 1.02)).all()), std
    mu, sigma = codec.moments(torch.tensor(parts.test.pixels()).permute(0, 3, 1, 2))
    of_images = mu.double().mean(dim=(2, 3))
    held_out, held_out_std = _statistics(mu.permute(0, 2, 3, 1).double(), sigma.permute(0, 2, 3, 1).double())
    error = of_images.std(dim=0) * (1 / len(parts.train) + 1 / len(parts.test)) ** 0.5
    assert bool((held_out.abs() < 5 * error).all()), (held_out, error)
    assert bool(((held_out_std / std - 1).abs() < 0.1).all()), held_out_std
    pipeline = Pipeline.load(run, "cpu")
    assert isinstance(pipeline.codec, LatentCodec) and pipeline.codec.hash == codec.hash


def _statistics(mean: Tensor, std: Tensor | None) -> tuple[Tensor, Tensor]:
    """Of each channel, of what is drawn; channels last."""
    drawn = mean.new_zeros(()) if std is None else std.square().mean(dim=(0, 1, 2))
    return mean.mean(dim=(0, 1, 2)), (mean.var(dim=(0, 1, 2), correction=0) + drawn).sqrt()


# an autoencoder that exists already


@pytest.mark.parametrize("places", [("foreign/vae",), pytest.param(("own", "foreign"), marks=pytest.mark.slow)])
def test_a_frozen_autoencoder_is_that_of_a_run_or_of_diffusers(places: tuple[str, ...], tmp_path: Path) -> None:
    """Trap 8: a constant that circulates is not the scale of these images."""
    settings = {name: TREE[name] for name in ("data", "codec", "compute")}
    settings["training"] = {**TREE["training"], "steps": 2}
    *_, end = train_codec(TrainCodecSettings(target="digits", settings=settings, out=tmp_path / "own", device="cpu"))
    assert isinstance(end, ResultEvent) and end.tree["finished"]
    shutil.copytree(tmp_path / "own/codec", tmp_path / "foreign/vae")
    config = tmp_path / "foreign/vae/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"scaling_factor": 0.18215}))
    parts = load(merged(Config(), {"data": DATA}, "test").data)
    shown = torch.tensor(parts.test.pixels(slice(0, 4))).permute(0, 3, 1, 2)
    before = read_autoencoder(tmp_path / "own/codec")
    for folder in (tmp_path / place for place in places):
        run = tmp_path / f"run-{folder.name}"
        asked = frozen_job(run, folder)
        seen = ran(asked)
        assert ended(seen) and [e.step for e in seen if isinstance(e, StepEvent)] == [*range(1, 9)], "all of the budget"
        rows = torch.from_numpy(cached(run)).double()
        mean, std = _statistics(rows[:, 0, 0], rows[:, 0, 1])
        assert float(mean.abs().max()) < 0.02 and float((std - 1).abs().max()) < 0.02
        after = Pipeline.load(run, "cpu").codec
        assert isinstance(after, LatentCodec)
        found, expected = (codec.images(codec.encode(shown)) for codec in (after, before))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        assert ended(ran(asked)), "and it is taken once"


@pytest.mark.parametrize("what", ["nothing", "a run that has made none yet", "of other channels"])
def test_an_autoencoder_that_cannot_be_taken_is_one_line(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "frozen"
    if what != "nothing":
        folder.mkdir()
    if what == "a run that has made none yet":
        (folder / "codec.json").write_text("{}")
        (folder / "lock").touch()
    if what == "of other channels":
        write_autoencoder(folder, codec_of("kl", pixels(64)))
    asked = frozen_job(tmp_path / "run", folder)
    with pytest.raises(InputError) as said:
        ran(asked)
    assert "\n" not in str(said.value) and not (tmp_path / "run/autoencoder/codec").exists()


def test_an_endless_set_is_encoded_step_by_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """2^24 images fit on no disk."""
    monkeypatch.setattr("ancestral.training.codec.MEASURED", 500)
    data = {"scenes": "endless", "test": 0.0, "validation": 0.0, "flip": False}
    settings = {**job(tmp_path, data=data, training={"steps": 4}).settings, "text": {"name": "none"}}
    seen = ran(TrainSettings(target="shapes-one", settings=settings, out=tmp_path / "run", device="cpu"))
    assert ended(seen) and not (tmp_path / "run/latents").exists()
    assert not any(encoding([event]) for event in seen)


if __name__ == "__main__":
    torch.set_num_threads(1)
    run, *words = sys.argv[1:]
    moment = words[0] if words else ""
    stop = MOMENTS.get(moment.removeprefix("stop-"), lambda seen: False) if moment else (lambda seen: False)
    if moment.startswith("stop-"):
        ran(job(Path(run)), stop)
    else:
        events: list[Event] = []
        for event in train(job(Path(run))):
            events.append(event)
            if stop(events):
                os.kill(os.getpid(), signal.SIGKILL)
