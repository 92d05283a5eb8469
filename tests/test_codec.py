"""Codecs: pixels as they are, and a toy that compresses nothing but has latents of another shape and no bound."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from cli.cli_calls import call
from PIL import Image
from pipelines import SMALL, answering
from torch.nn import functional as F

from ancestral import edits
from ancestral.codec import PixelCodec
from ancestral.condition import NOTHING_TOLD
from ancestral.data.datasets import load
from ancestral.data.imageset import Parts
from ancestral.editing.inpaint import Rounds, outside_box
from ancestral.editing.operators import MeanPooled
from ancestral.errors import InputError
from ancestral.evaluation.flow_check import flow_check
from ancestral.evaluation.likelihood import planned
from ancestral.evaluation.settings import LikelihoodSettings
from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import CODECS
from ancestral.progress import finish
from ancestral.sampling.loop import Step
from ancestral.settings import Config, DataSettings, ImageSpec, SamplingSettings
from ancestral.tensors import Data, Images, Pixels, from_pixels, to_pixels
from ancestral.training.default_sampling import choose
from ancestral.training.denoiser import Denoising
from ancestral.training.loop import train
from ancestral.training.noisy_classifier import Classifying, measured, new_classifier
from ancestral.training.run import RunFolder
from ancestral.training.step import Trainer

SPEC = ImageSpec(channels=1, height=8, width=8, class_names=tuple("0123456789"))
QUICK = SamplingSettings(steps=3, clip="none")


@dataclass(frozen=True)
class SpaceToDepth:
    """Four channels of half the size, twice as large as the pixels; drawn, they are a little off. It notes what it
    encodes."""

    seen: list[Data] = field(default_factory=list, compare=False)
    bound: ClassVar[float | None] = None

    def shape(self, image: tuple[int, int, int]) -> tuple[int, int, int]:
        channels, height, width = image
        return 4 * channels, height // 2, width // 2

    def encode(self, pixels: Pixels, noise: Callable[[], Data] | None = None) -> Images:
        x0 = 2 * F.pixel_unshuffle(from_pixels(pixels), 2)
        self.seen.append(x0 if noise is None else x0 + 0.01 * noise())
        return self.seen[-1]

    def decode(self, x0: Images) -> Pixels:
        return to_pixels(F.pixel_shuffle(x0 / 2, 2))


def config(**changes: Any) -> Config:
    training = {"steps": 3, "batch_size": 8, "warmup_images": 0, "log_every_steps": 1, **changes.pop("training", {})}
    given = {"network": SMALL, "sampling": QUICK, "compute": {"precision": "float32"}, **changes}
    return Config.model_validate({**given, "training": training})


def latent(codec: SpaceToDepth | None = None, **changes: Any) -> Pipeline:
    return answering(Pipeline.fresh(config(**changes), SPEC, "cpu", codec=codec or SpaceToDepth()))


def end(steps: Iterator[Step]) -> Data:
    *_, last = steps
    return last.x_s


@pytest.fixture(scope="module")
def digits() -> Parts:
    return load(DataSettings(source="digits"))


@pytest.fixture(scope="module")
def two(digits: Parts) -> Pixels:
    return torch.tensor(digits.test.images[:2]).permute(0, 3, 1, 2)


def test_pixels_reach_from_minus_one_to_one_and_come_back_all_256() -> None:
    """Traps: 0..1 taken for -1..1; off by half a bin."""
    levels, codec = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16), PixelCodec()
    x0 = codec.encode(levels)
    assert x0.min() == -codec.bound and x0.max() == codec.bound and x0.mean().abs() < 1e-6
    assert torch.equal(codec.decode(x0), levels) and codec.shape((1, 16, 16)) == (1, 16, 16)


def test_latents_are_what_is_diffused_and_pixels_come_out() -> None:
    made = latent()
    steps = [*made.steps([3, 4], [1, None])]
    assert steps[0].x_t.shape == (2, 4, 4, 4) == (2, *made.latent_shape)
    assert made.generate([3, 4], [1, None]).shape == (2, 1, 8, 8)
    assert torch.equal(made.generate([3, 4], [1, None]), made.codec.decode(steps[-1].x_s))
    assert made.with_network(made.network).codec is made.codec and "8x8 grey" in repr(made)


@pytest.mark.parametrize("clip", ["static", "dynamic"])
def test_what_has_no_bound_is_not_clipped(clip: str) -> None:
    with pytest.raises(InputError, match=f"expected sampling.clip none, got {clip}"):
        latent().generate([0], settings=SamplingSettings(steps=2, clip=clip))  # type: ignore[arg-type]


def test_the_bound_is_what_clipping_goes_by() -> None:
    class Wide(SpaceToDepth):
        bound = 2.0

    made = latent(Wide())
    for clip in ("static", "dynamic"):
        shown = [step.x0 for step in made.steps(range(4), None, SamplingSettings(steps=3, clip=clip))]  # type: ignore[arg-type]
        assert max(float(x0.abs().max()) for x0 in shown) == 2.0, clip


@pytest.mark.parametrize("at_once", [1, 3, None])
def test_a_step_encodes_each_image_once_by_noise_of_its_own(digits: Parts, at_once: int | None) -> None:
    """Trap: a draw for each part of a batch, so that what is learnt depends on the memory there is."""
    whole, codec = SpaceToDepth(), SpaceToDepth()
    Trainer(Denoising(latent(whole)), digits.train).advance()
    Trainer(Denoising(latent(codec, compute={"precision": "float32", "micro_batch": at_once})), digits.train).advance()
    assert len(whole.seen) == 1 and torch.equal(torch.cat(codec.seen), whole.seen[0])
    draws = [task.randomness(step).codec_noise() for task in [Denoising(latent(whole))] for step in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2]), "by (seed, step)"
    Trainer(Denoising(latent(again := SpaceToDepth(), seed=1)), digits.train).advance()
    assert not torch.equal(again.seen[0], whole.seen[0])
    off = whole.seen[0] - 2 * F.pixel_unshuffle(from_pixels(whole.decode(whole.seen[0])), 2)
    assert 0.005 < off.std() < 0.015, "and with noise at all"


def test_a_run_of_latents_goes_on_to_the_bit_and_its_folder_says_the_codec(tmp_path: Path, digits: Parts) -> None:
    for name, stops in (("whole", (None,)), ("halted", (2, None))):
        for stop in stops:
            made = Pipeline.fresh(config(), digits.train.spec, "cpu", codec=SpaceToDepth())
            steps = train(made, digits, RunFolder(tmp_path / name), say=lambda text: None)
            assert all(progress.record for progress in steps if progress.step != stop or steps.close())
    one, other = (Pipeline.load(tmp_path / name, "cpu", codec=SpaceToDepth()) for name in ("whole", "halted"))
    assert one.weights_hash() == other.weights_hash() and one.codec == SpaceToDepth()
    choose(tmp_path / "whole", SamplingSettings(steps=2, clip="none"))
    again = Pipeline.load(tmp_path / "whole", "cpu", codec=SpaceToDepth())
    assert again.config.sampling.steps == 2


def test_a_folder_names_its_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of one's own has to be given, as a network has; and diffusers would take latents for images."""
    made = latent()
    made.save(tmp_path / "own")
    for wrong, got in ((None, "none"), (PixelCodec(), "pixels")):
        with pytest.raises(InputError, match=rf"test_codec.SpaceToDepth, got {got}; give it: .*codec=SpaceToDepth"):
            Pipeline.load(tmp_path / "own", codec=wrong)
    again = Pipeline.load(tmp_path / "own", "cpu", made.config.compute, codec=SpaceToDepth())
    assert torch.equal(again.generate([1]), made.generate([1])) and again.latent_shape == (4, 4, 4)
    assert json.loads((tmp_path / "own/model_index.json").read_text())["_class_name"] == "AncestralPipeline"
    monkeypatch.setitem(CODECS, "space-to-depth", SpaceToDepth)
    made.save(tmp_path / "named")
    assert Pipeline.load(tmp_path / "named", "cpu").codec == SpaceToDepth()


def test_older_folders_hold_pixels(tmp_path: Path) -> None:
    made = answering(Pipeline.fresh(config(), SPEC, "cpu"))
    made.save(tmp_path)
    own = json.loads((tmp_path / "ancestral.json").read_text())
    assert own.pop("codec") == "pixels"
    (tmp_path / "ancestral.json").write_text(json.dumps(own))
    assert Pipeline.load(tmp_path, "cpu").codec == PixelCodec()


def test_an_edit_keeps_what_stands_for_known_pixels_alone(two: Pixels) -> None:
    """A box of pixels that cuts through latents takes all of each."""
    made, keep = latent(), outside_box(8, 8, 3, 2, 6, 6)
    filled = made.codec.decode(end(edits.inpaint(made, two, keep, [0, 1], settings=QUICK, rounds=Rounds(2))))
    whole = outside_box(8, 8, 2, 2, 6, 6)
    assert torch.equal(filled[..., whole], two[..., whole]) and not torch.equal(filled[..., ~whole], two[..., ~whole])
    each = keep.expand(2, 1, 8, 8).clone()
    each[1] = True
    kept = made.codec.decode(end(edits.inpaint(made, two, each, [0, 1], settings=QUICK, rounds=Rounds(1))))
    assert torch.equal(kept[1], two[1]) and not torch.equal(kept[0], two[0])


def test_edits_of_latents(two: Pixels) -> None:
    made = latent()
    wider = edits.outpaint(made, two, edits.Margins(0, 4, 0, 4), [0, 1], settings=QUICK, rounds=Rounds(1))
    assert torch.equal(made.codec.decode(end(wider))[..., 4:12], two)
    still = Pipeline.fresh(config(), SPEC, "cpu", codec=made.codec)  # it answers 0: both ways are straight
    noise = end(edits.invert(still, two, settings=QUICK))
    assert torch.equal(made.codec.decode(end(edits.from_noise(still, noise, settings=QUICK))), two)
    assert end(edits.vary(made, two, 0.5, [0, 1], settings=QUICK)).shape == (2, 4, 4, 4)
    assert end(edits.interpolate(made, (noise[:1], noise[1:]), 3, settings=QUICK)).shape == (3, 4, 4, 4)
    assert end(edits.canvas(made, 8, 12, [0], settings=QUICK)).shape == (1, 4, 4, 6)
    assert end(edits.tile(made, 16, 8, [0], settings=QUICK, by="windows")).shape == (1, 4, 8, 4)
    assert torch.equal(edits.noise_of(made, [5]), next(made.steps([5])).x_t)


def test_what_is_about_pixels_refuses_latents(two: Pixels, digits: Parts) -> None:
    made, refused = latent(), "expected a pipeline of pixels for {}.*SpaceToDepth's latents"
    for measure in (
        lambda: planned(made, digits.test, LikelihoodSettings()),
        lambda: finish(flow_check(made, two, NOTHING_TOLD)),
    ):
        with pytest.raises(InputError, match=r"for bits per dimension, got one of SpaceToDepth's .* no density"):
            measure()
    with pytest.raises(InputError, match=refused.format("restoring")):
        edits.restore(made, MeanPooled(2), two, [0, 1])
    for about in ({"diffusion": {"prediction": "levels"}}, {"training": {"loss": "vlb"}}):
        with pytest.raises(InputError, match=refused.format("diffusion.prediction levels and training.loss vlb")):
            latent(**about)


def test_a_classifier_guides_latents(digits: Parts) -> None:
    made = Pipeline.fresh(config(), SPEC.model_copy(update={"class_names": ()}), "cpu", codec=SpaceToDepth())
    classifier = new_classifier(made, digits.train.class_names, 0)
    trainer = Trainer(Classifying(classifier, made.config, made.compute, made.codec), digits.train)
    trainer.advance()
    classifier = measured(classifier, digits.test.sliced(0, 20), made.codec)
    guided = answering(made).with_guides(classify=classifier)
    settings = SamplingSettings(steps=3, clip="none", guidance=3.0, guidance_by="classifier")
    three, four = (end(guided.steps([0], [label], settings)) for label in (3, 4))
    assert not torch.equal(three, four)


def test_the_command_line_shows_latents_as_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, two: Pixels
) -> None:
    monkeypatch.setitem(CODECS, "space-to-depth", SpaceToDepth)
    monkeypatch.chdir(tmp_path)
    made = latent()
    made.save("made")
    Image.fromarray(two[0, 0].numpy()).save("in.png")
    files = ["--film", "film.gif", "--arrays", "way.npz", "--strip", "--each"]
    assert call(capsys, "sample", "made", "--num-images", "2", "--classes", "none", *files).code == 0
    generated = np.asarray(Image.open("generated/seed-1.png"))
    assert np.array_equal(generated, made.generate([1])[0, 0])
    assert np.load("way.npz")["x_t"].shape == (4, 2, 4, 4, 4)
    for words in (
        ["inpaint", "in.png", "--box", "2,2,6,6", "--rounds", "2", "--film", "fill.gif"],
        ["outpaint", "in.png", "--margins", "0,4,0,4", "--rounds", "2"],
        ["invert", "in.png"],
        ["canvas", "--size", "8x12"],
        ["tile", "--by", "windows", "--size", "8x12"],
    ):
        assert call(capsys, "edit", words[0], "made", *words[1:]).code == 0, words
    kept = np.asarray(Image.open("edited/inpaint-seed-0.png"))
    assert np.array_equal(kept[outside_box(8, 8, 2, 2, 6, 6)], two[0, 0][outside_box(8, 8, 2, 2, 6, 6)])
    assert np.asarray(Image.open("edited/outpaint-seed-0.png")).shape == (8, 16)
    refused = call(capsys, "edit", "enlarge", "made", "in.png", "--degrade")
    assert refused.code == 2 and "expected a pipeline of pixels for restoring" in refused.err
