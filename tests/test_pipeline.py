"""Pipelines: what is saved is what is drawn with, here, in diffusers, alone or in a batch."""

import json
import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.cli_calls import snapshot
from combinations import combined
from hypothesis import given
from hypothesis import strategies as st
from pipelines import SMALL, answering, untrained

from ancestral import edits
from ancestral.condition import NOTHING_TOLD, Condition
from ancestral.diffusion import schedules
from ancestral.diffusion.process import Prediction
from ancestral.editing.operators import MeanPooled
from ancestral.errors import InputError, NonFinite
from ancestral.pipeline import Pipeline
from ancestral.pipeline.building import build_schedule
from ancestral.rng import generator
from ancestral.sampling.denoiser import Finite
from ancestral.settings import (
    ComputeSettings,
    Config,
    CosineSchedule,
    DiffusionSettings,
    ImageSpec,
    LinearSchedule,
    SamplingSettings,
    ScheduleSettings,
    TrainingSettings,
    UNetSettings,
    parse,
)
from ancestral.tensors import from_pixels, to_pixels

CLASSES = ("cat", "dog", "7")
FLOAT32 = ComputeSettings(precision="float32")
"""Where images are compared beyond what bfloat16 can tell, on machines that would choose it."""


def pipeline(classes: tuple[str, ...] = (), seed: int = 0, **settings: Any) -> Pipeline:
    """A pipeline of random weights that answers something: a fresh one would answer 0."""
    common = {"network": SMALL, "training": TrainingSettings(steps=1), "compute": FLOAT32, "seed": seed}
    return answering(untrained((3, 8, 8), classes, {**common, **settings}), seed)


QUICK = SamplingSettings(steps=5)


@pytest.mark.parametrize("classes", [(), CLASSES])
def test_what_is_saved_loads_without_flags_and_draws_the_same(tmp_path: Path, classes: tuple[str, ...]) -> None:
    made = pipeline(classes, sampling=QUICK)
    labels = torch.tensor([0, 2]) if classes else None
    made.save(tmp_path / "pipeline")
    again = Pipeline.load(tmp_path, "cpu", FLOAT32)
    assert again.config == made.config and again.spec == made.spec and again.weights_hash() == made.weights_hash()
    assert torch.equal(again.generate([3, 4], labels), made.generate([3, 4], labels))


def test_the_published_variance_is_diffusers_fixed_large_and_draws_what_beta_draws(tmp_path: Path) -> None:
    """The two differ in the likelihood of the last step alone, of which a scheduler says nothing."""
    sampling, drawn = SamplingSettings(sampler="ancestral", steps=7), []
    for variance in ("beta", "beta_published"):
        schedule = CosineSchedule(num_timesteps=20)
        made = pipeline(diffusion=DiffusionSettings(schedule=schedule, variance=variance), sampling=sampling)
        made.save(tmp_path / variance)
        scheduler = json.loads((tmp_path / variance / "scheduler/scheduler_config.json").read_text())
        assert scheduler["variance_type"] == "fixed_large"
        drawn.append(made.generate([5]))
    assert Pipeline.load(tmp_path / "beta_published").config.diffusion.variance == "beta_published"
    assert torch.equal(*drawn)
    (tmp_path / "beta_published/ancestral.json").unlink()
    assert Pipeline.load(tmp_path / "beta_published").config.diffusion.variance == "beta", "as the name is read"


@pytest.mark.parametrize(("prediction", "steps"), combined(["eps", "x0", "v"], [10, 50]))
def test_diffusers_draws_the_same_images_from_the_same_noise(tmp_path: Path, prediction: str, steps: int) -> None:
    from diffusers import DDPMPipeline

    schedule = LinearSchedule(num_timesteps=50)
    sampling = SamplingSettings(sampler="ancestral", steps=steps)
    diffusion = DiffusionSettings(schedule=schedule, prediction=prediction)  # type: ignore[arg-type]
    made = pipeline(diffusion=diffusion, sampling=sampling)
    made.save(tmp_path / "folder")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of diffusers' own dependencies
        theirs = DDPMPipeline.from_pretrained(tmp_path / "folder")
    theirs.set_progress_bar_config(disable=True)
    seeds = [5, 6, 7]
    generators = [generator(seed, "sample") for seed in seeds]
    images = theirs(batch_size=3, generator=generators, num_inference_steps=steps, output_type="np").images
    *_, last = made.steps(seeds)
    ours = ((last.x_s + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)
    assert (ours - torch.from_numpy(images)).abs().max() < 1e-3


def test_a_folder_of_diffusers_loads_and_draws(tmp_path: Path) -> None:
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )
    DDPMPipeline(unet, DDPMScheduler(num_train_timesteps=20)).save_pretrained(tmp_path)
    loaded = Pipeline.load(tmp_path, "cpu", FLOAT32)
    assert loaded.spec.shape == (3, 8, 8) and loaded.config.sampling.sampler == "ancestral"
    x, t = torch.randn(2, 3, 8, 8), torch.tensor(7)
    prediction = loaded.denoiser(NOTHING_TOLD, SamplingSettings(clip="none"))(x, t)
    with torch.no_grad():
        assert torch.allclose(prediction.eps, unet(x, 6).sample, atol=1e-5)


def test_an_image_does_not_depend_on_its_batch() -> None:
    """Trap: a batch whose images change with the batch size. Equal to float rounding, so equal as pixels."""
    made, labels = pipeline(CLASSES), torch.tensor([0, 1, 2, 1, 0])
    together = made.generate(range(5), labels, SamplingSettings(steps=5, eta=1.0))
    alone = made.generate([3], labels[3:4], SamplingSettings(steps=5, eta=1.0))
    assert (together[3].int() - alone[0].int()).abs().max() <= 1
    assert not torch.equal(together[3], together[1])


@pytest.mark.parametrize("changes", [{"eta": 1.0}, {"guidance": 3.0}, {"cache": 2}], ids=str)
def test_images_are_the_same_in_any_chunk(changes: dict[str, Any]) -> None:
    """Byte for byte, wherever the rounding of sums does not decide between two bytes."""
    made, labels, settings = pipeline(CLASSES), torch.arange(7) % 3, SamplingSettings(steps=5, **changes)
    *_, last = made.steps(range(7), labels, settings)
    levels = ((last.x_s + 1) * 127.5).clamp(0, 255)
    decided = (levels - levels.floor() - 0.5).abs() > 0.01
    assert decided.double().mean() > 0.9
    for chunk in (1, 3, 64):
        assert torch.equal(made.generate(range(7), labels, settings, chunk)[decided], to_pixels(last.x_s)[decided])


class Calls:
    """The batch size of every call of the first convolution and of the middle while `made` draws."""

    def __init__(self, made: Pipeline) -> None:
        self.whole: list[int] = []
        self.deep: list[int] = []
        made.network.conv_in.register_forward_hook(lambda module, given, output: self.whole.append(len(output)))
        made.network.mid_block.register_forward_hook(lambda module, given, output: self.deep.append(len(output)))


def test_the_machine_says_how_many_are_drawn_at_once() -> None:
    made = pipeline(compute=ComputeSettings(precision="float32", chunk=3))
    calls = Calls(made)
    made.generate(range(7), settings=SamplingSettings(steps=1))
    assert calls.whole == [3, 3, 1]
    made.generate(range(7), settings=SamplingSettings(steps=1), chunk=4)
    assert calls.whole[3:] == [4, 3]


@pytest.mark.parametrize("cache", [1, 2])
@pytest.mark.parametrize("clip", ["none", "dynamic"])
def test_a_step_is_guided_in_one_call_of_twice_the_images(clip: str, cache: int) -> None:
    labels, settings = torch.tensor([0, 3, 2]), SamplingSettings(steps=4, guidance=2.5, clip=clip, cache=cache)
    made = pipeline(CLASSES)
    calls = Calls(made)
    *_, _ = made.steps([1, 2, 3], labels, settings)
    assert calls.whole == [6] * 4


@pytest.mark.parametrize(("labels", "scale"), [([0, 1], 1.0), ([0, 1], 0.0), (None, 3.0), (None, 1.0)])
def test_one_call_of_the_batch_suffices_where_nothing_is_guided(labels: list[int] | None, scale: float) -> None:
    made, wanted = pipeline(CLASSES), None if labels is None else torch.tensor(labels)
    calls, settings = Calls(made), SamplingSettings(steps=3, guidance=scale)
    drawn = made.generate([1, 2], wanted, settings)
    assert calls.whole == [2, 2, 2]
    if labels is None or scale == 0:
        assert torch.equal(drawn, made.generate([1, 2], None, SamplingSettings(steps=3))), "the null class alone counts"


def test_guidance_one_is_what_the_network_says_of_the_class_and_others_move_away_from_no_class() -> None:
    """The network's own answer at index t - 1, bit for bit; beyond it on the line from what it says of no class."""
    made, told, t = pipeline(CLASSES), Condition(torch.tensor([1, 1])), torch.tensor(400)
    x = torch.randn(2, 3, 8, 8, generator=generator(0, "x"))
    with torch.no_grad():
        wanted, none = (made.network(x, torch.full((2,), 399.0), each) for each in (told, told.null()))
        found = {
            scale: made.denoiser(told, SamplingSettings(guidance=scale, clip="none"))(x, t).eps
            for scale in (0.0, 1.0, 4.0)
        }
    assert torch.equal(found[1.0], wanted) and torch.equal(found[0.0], none) and not torch.equal(wanted, none)
    torch.testing.assert_close(found[4.0], none + 4 * (wanted - none), rtol=1e-3, atol=1e-4)


def test_the_label_after_the_last_is_no_class() -> None:
    made = pipeline(CLASSES)
    assert torch.equal(made.generate([1, 2], torch.tensor([3, 3]), QUICK), made.generate([1, 2], None, QUICK))


def test_a_cache_skips_the_deep_levels_between_whole_calls_and_nothing_else() -> None:
    made, labels = pipeline(CLASSES), torch.tensor([0, 1])
    calls = Calls(made)
    for cache, whole in ((1, 7), (2, 4), (3, 3), (9, 1)):
        calls.deep.clear()
        calls.whole.clear()
        made.generate([1, 2], labels, SamplingSettings(steps=7, cache=cache))
        assert (len(calls.whole), len(calls.deep)) == (7, whole)


@pytest.mark.parametrize("widths", [(8,), (8, 16), (8, 4, 12)], ids=len)
def test_a_cache_of_one_is_none_and_the_first_step_is_always_whole(widths: tuple[int, ...]) -> None:
    network = UNetSettings(widths=widths, layers=1, attention=(), norm_groups=4)
    made, told = pipeline(CLASSES, network=network), Condition(torch.tensor([0, 1]))
    denoise = made.denoiser(told, SamplingSettings(clip="none"))
    cached = made._bound(1, told), made._bound(3, told)
    x = torch.randn(2, 3, 8, 8, generator=generator(0, "x"))
    with torch.inference_mode():
        for number, t in enumerate((torch.tensor(900), torch.tensor(600))):
            plain = denoise(x, t).x0
            assert torch.equal(cached[0](x, t).x0, plain)
            assert torch.equal(cached[1](x, t).x0, plain) == (number == 0)


def test_every_chain_begins_its_cache_anew() -> None:
    """Trap: deep features of one batch of images in the next."""
    made, settings = pipeline(), SamplingSettings(steps=4, cache=3)
    first = made.generate([1, 2], settings=settings)
    made.generate([8, 9], settings=settings)
    assert torch.equal(made.generate([1, 2], settings=settings), first)
    assert not torch.equal(made.generate([1, 2], settings=SamplingSettings(steps=4)), first)


def test_bfloat16_is_for_the_network_alone() -> None:
    """Traps: t embedded in bfloat16, where 998 is 1000, and a chain that is computed in it."""
    seen: dict[str, list[torch.Tensor]] = {"waves": [], "convolved": []}
    made = pipeline(CLASSES, compute=ComputeSettings(precision="bfloat16"))
    made.network.time_embedding.register_forward_pre_hook(lambda module, given: seen["waves"].append(given[0]))
    made.network.conv_in.register_forward_hook(lambda module, given, output: seen["convolved"].append(output))
    labels, settings = torch.tensor([0, 1]), SamplingSettings(steps=1000, guidance=2.0)
    steps = made.steps([1, 2], labels, settings)
    chain = [next(steps) for _ in range(3)]
    assert {output.dtype for output in seen["convolved"]} == {torch.bfloat16}
    assert all(step.x_s.dtype == step.x0.dtype == torch.float32 for step in chain)
    assert all(waves.dtype == torch.float32 for waves in seen["waves"])
    assert not torch.equal(seen["waves"][0], seen["waves"][2]), "t = 1000 and t = 998"
    assert not torch.is_autocast_enabled("cpu"), "the caller's code is not in bfloat16"
    exact = next(pipeline(CLASSES).steps([1, 2], labels, settings))
    rounded = (chain[0].x0 - exact.x0).abs().mean() / exact.x0.abs().mean()
    assert 0 < rounded < 0.05


def test_a_folder_says_nothing_of_the_machine_and_loading_may(tmp_path: Path) -> None:
    pipeline(compute=ComputeSettings(precision="bfloat16", chunk=5)).save(tmp_path / "p")
    assert Pipeline.load(tmp_path / "p", "cpu").config.compute == ComputeSettings()
    asked = ComputeSettings(precision="bfloat16", chunk=3)
    loaded = Pipeline.load(tmp_path / "p", "cpu", compute=asked)
    chosen = loaded.compute
    assert (chosen.precision, chosen.chunk) == ("bfloat16", 3) and loaded.config.compute == asked


def test_dropout_is_off_while_sampling() -> None:
    """Trap: train mode while sampling."""
    made = pipeline()
    made.network.train()
    first = made.generate([1], settings=QUICK)
    assert not made.network.training
    assert torch.equal(first, made.generate([1], settings=QUICK))


def test_the_same_seed_makes_the_same_new_network_and_leaves_torchs_seed_alone() -> None:
    before = torch.get_rng_state()
    assert pipeline().weights_hash() == pipeline().weights_hash() != pipeline(seed=1).weights_hash()
    torch.set_rng_state(before)
    expected = torch.rand(1)
    torch.set_rng_state(before)
    Pipeline.fresh(Config(network=SMALL), ImageSpec(channels=1, height=8, width=8))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(
    ("labels", "changes", "message"),
    [
        ([0], {}, "trained without classes"),
        (None, {"guidance": 2.0}, "nothing to guide by"),
        (None, {"steps": 1001}, "at most T = 1000 steps, got 1001"),
    ],
)
def test_what_an_unconditional_pipeline_cannot_do(labels: list[int] | None, changes: dict, message: str) -> None:
    wanted = None if labels is None else torch.tensor(labels)
    with pytest.raises(InputError, match=message):
        pipeline().generate([0], wanted, SamplingSettings(**{"steps": 2, **changes}))


def test_what_a_conditional_pipeline_cannot_do() -> None:
    with pytest.raises(InputError, match=r"labels in 0\.\.2"):
        pipeline(CLASSES).generate([0], torch.tensor([4]), QUICK)
    undropped = pipeline(CLASSES)
    settings = undropped.config.training.model_copy(update={"label_dropout": 0.0})
    undropped = replace(undropped, config=undropped.config.model_copy(update={"training": settings}))
    with pytest.raises(InputError, match="knows no null class"):
        undropped.generate([0], torch.tensor([1]), SamplingSettings(steps=2, guidance=2.0))


# Classes of a folder of diffusers


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder without ancestral.json, of a network with four class embeddings."""
    pipeline(CLASSES).save(tmp_path / "foreign")
    (tmp_path / "foreign" / "ancestral.json").unlink()
    return tmp_path / "foreign"


def said_of(folder: Path, labels: list[int] | None, null_class: int | None) -> Any:
    """What the network of a folder says of two images, each of its label."""
    loaded = Pipeline.load(folder, "cpu", FLOAT32, null_class)
    told = loaded.condition(labels, 2)
    generator = torch.Generator().manual_seed(3)
    denoise = loaded.denoiser(told, SamplingSettings(clip="none"))
    return denoise(torch.randn(2, 3, 8, 8, generator=generator), torch.tensor(500)).eps


def test_a_folder_of_diffusers_has_as_many_classes_as_embeddings(foreign: Path) -> None:
    """Trap: its last class taken for the null class, which none of them is unless somebody says so."""
    loaded = Pipeline.load(foreign, "cpu", FLOAT32)
    assert loaded.class_names == ("0", "1", "2", "3") and loaded.class_index("3") == 3
    assert loaded.generate([0], torch.tensor([3]), QUICK).shape == (1, 3, 8, 8)
    for labels, guidance, message in (
        (None, 1, "a class for every image"),
        ([1], 3, "knows no null class"),
        ([4], 1, "0..3"),
    ):
        with pytest.raises(InputError, match=message):
            wanted = None if labels is None else torch.tensor(labels)
            loaded.generate([0], wanted, SamplingSettings(steps=2, guidance=guidance))


@pytest.mark.parametrize("null_class", [0, 2, 3])
def test_the_null_class_may_be_told_and_is_remembered(foreign: Path, tmp_path: Path, null_class: int) -> None:
    """Classes keep the names, and in a saved folder the embeddings, of the indices that they have there."""
    loaded = Pipeline.load(foreign, "cpu", FLOAT32, null_class)
    others = [str(index) for index in range(4) if index != null_class]
    assert loaded.class_names == tuple(others)
    labels = [loaded.class_index(name) for name in others[1:]]
    assert torch.equal(said_of(foreign, labels, null_class), said_of(foreign, [int(name) for name in others[1:]], None))
    assert torch.equal(said_of(foreign, None, null_class), said_of(foreign, [null_class] * 2, None))
    loaded.save(tmp_path / "ours")
    assert Pipeline.load(tmp_path / "ours").spec == loaded.spec
    assert torch.equal(said_of(tmp_path / "ours", None, None), said_of(foreign, [null_class] * 2, None))
    (tmp_path / "ours" / "ancestral.json").unlink()
    assert torch.equal(said_of(tmp_path / "ours", [1, 3], None), said_of(foreign, [1, 3], None))


def test_a_null_class_that_is_none_of_the_folders_is_refused(foreign: Path, tmp_path: Path) -> None:
    for index in (-1, 4):
        with pytest.raises(InputError, match=r"null class in 0\.\.3"):
            Pipeline.load(foreign, null_class=index)
    pipeline().save(tmp_path / "ours")
    with pytest.raises(InputError, match=r"ancestral\.json says which"):
        Pipeline.load(tmp_path / "ours", null_class=0)


def test_no_class_is_refused_where_it_was_never_trained() -> None:
    """With label_dropout 0 its embedding is what it was at the start."""
    undropped = pipeline(CLASSES, training=TrainingSettings(steps=1, label_dropout=0.0))
    with pytest.raises(InputError, match="a class for every image"):
        undropped.generate([0], None, QUICK)


# Numbers that are none


def test_weights_that_are_no_numbers_stop_the_first_step_and_are_named() -> None:
    """Trap: NaN drawn as black, with exit code 0."""
    made = pipeline()
    torch.nn.init.constant_(made.network.mid_block.resnets[0].conv1.bias, float("nan"))
    image = torch.zeros(1, 3, 8, 8)
    for steps in (made.steps([1], settings=QUICK), edits.vary(made, image, 0.9, [1], settings=QUICK)):
        with pytest.raises(NonFinite, match=r"^step 1 of [45]: .* t = \d+ .*mid_block\.resnets\.0\.conv1\.bias first"):
            next(steps)


def test_what_diverges_on_the_way_stops_at_its_step() -> None:
    """Guidance so strong that float32 overflows: before clipping could make black and white of it."""
    made, labels = pipeline(CLASSES), torch.tensor([1])
    for clip in ("none", "static", "dynamic"):
        with pytest.raises(NonFinite, match=r"^step [1-5] of 5: .*less guidance"):
            made.generate([1], labels, SamplingSettings(steps=5, guidance=3e38, clip=clip))


def test_a_measurement_that_pulls_beyond_numbers_stops_before_clipping() -> None:
    """Trap: the guided estimate overflowed to infinity, and clipping made white of it."""
    bright = torch.full((1, 3, 4, 4), 3e38)
    with pytest.raises(NonFinite, match=r"^step 1 of 5: .*pulls too hard"):
        next(edits.restore(pipeline(), MeanPooled(2), bright, [1], None, SamplingSettings(steps=5)))


def test_a_variance_that_is_no_number_stops_as_predictions_do() -> None:
    """Of a network that predicts it too; the last step takes none of it, so that an image seemed whole."""
    made, x = pipeline(), torch.ones(1, 3, 8, 8)
    vast = Finite(lambda x_t, t: Prediction(t, x_t, x_t, x_t * math.inf), made.diffusion.schedule, lambda _: "why")
    with pytest.raises(NonFinite, match="prediction at t = 3 is not finite: why"):
        vast(x, torch.tensor(3))


def test_classes_by_name_before_number() -> None:
    made = pipeline(CLASSES)
    assert [made.class_index(name) for name in ("dog", "7", "0", "2")] == [1, 2, 0, 2]
    for wrong in ("bird", "3", "-1"):
        with pytest.raises(InputError, match="cat, dog, 7"):
            made.class_index(wrong)


def damage_json(folder: Path) -> None:
    (folder / "ancestral.json").write_text('{"config": {')


def drop_images(folder: Path) -> None:
    own = json.loads((folder / "ancestral.json").read_text())
    del own["images"]
    (folder / "ancestral.json").write_text(json.dumps(own))


def other_network(folder: Path) -> None:
    own = json.loads((folder / "ancestral.json").read_text())
    own["config"]["network"]["widths"] = [16, 16]
    (folder / "ancestral.json").write_text(json.dumps(own))


def other_classes(folder: Path) -> None:
    own = json.loads((folder / "ancestral.json").read_text())
    own["images"]["class_names"] = ["one"]
    (folder / "ancestral.json").write_text(json.dumps(own))


def other_schedule(folder: Path) -> None:
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"trained_betas": None}))


def key_twice(folder: Path) -> None:
    text = (folder / "ancestral.json").read_text()
    (folder / "ancestral.json").write_text(text.replace('"config"', '"images": {}, "config"', 1))


def null_class_beyond(folder: Path) -> None:
    own = json.loads((folder / "ancestral.json").read_text())
    own["images"]["null_class"] = 10**15
    (folder / "ancestral.json").write_text(json.dumps(own))


def variance_of_words(folder: Path) -> None:
    (folder / "variance.json").write_text(json.dumps({"weights": "x", "ratio": ["a"] * 1000}))


def no_weights(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()


def half_weights(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


DAMAGE = [
    damage_json,
    drop_images,
    other_network,
    other_classes,
    other_schedule,
    null_class_beyond,
    key_twice,
    variance_of_words,
    no_weights,
    half_weights,
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_one_line(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    pipeline(CLASSES).save(tmp_path / "p")
    damage(tmp_path / "p")
    with pytest.raises(InputError) as fault:
        Pipeline.load(tmp_path / "p")
    assert "\n" not in str(fault.value) and str(tmp_path) in str(fault.value)


def test_folders_that_hold_no_pipeline_say_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        Pipeline.load(tmp_path / "missing")
    with pytest.raises(InputError, match=r"model_index\.json"):
        Pipeline.load(tmp_path)


def test_saving_again_replaces_the_pipeline_whole_and_keeps_what_is_none_of_it(tmp_path: Path) -> None:
    first, second, folder = pipeline(), pipeline(seed=1), tmp_path / "p"
    first.save(folder)
    for stale in ("variance.json", "network.json", ".ancestral.json.0123abcd", "unet/config.json.bak"):
        (folder / stale).write_text("from the old pipeline")
    (folder / "notes.txt").write_text("mine")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("mine")
    (tmp_path / ".p.new").mkdir()
    (tmp_path / ".p.new" / "left.txt").write_text("mine, in a save that was killed")
    second.save(folder)
    assert Pipeline.load(folder).weights_hash() == second.weights_hash()
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
    kept = {".git", "left.txt", "notes.txt"}
    assert {path.name for path in folder.iterdir()} == {
        "ancestral.json",
        "model_index.json",
        "scheduler",
        "unet",
    } | kept
    assert (folder / "notes.txt").read_text() == (folder / ".git" / "HEAD").read_text() == "mine"
    assert not (folder / "unet" / "config.json.bak").exists()


@pytest.mark.parametrize("theirs", ["notes.txt", ".hidden", "vae/weights", "ancestral"])
def test_nothing_but_a_pipeline_is_ever_replaced_by_one(tmp_path: Path, theirs: str) -> None:
    """Trap: saving to a folder that was there removed whatever it held, were it the folder of all temporary files."""
    folder = tmp_path / "home"
    for name in (theirs, "model_index.json", "unet/weights"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    before = snapshot(tmp_path)
    for place in (folder, folder / "model_index.json", tmp_path):
        with pytest.raises(InputError, match="expected a new folder, or a pipeline"):
            pipeline().save(place)
    assert snapshot(tmp_path) == before


def test_an_empty_folder_becomes_a_pipeline_and_a_downloaded_one_stays(tmp_path: Path) -> None:
    made = pipeline()
    made.save(tmp_path)
    assert Pipeline.load(tmp_path).weights_hash() == made.weights_hash()
    (tmp_path / "ancestral.json").unlink()
    with pytest.raises(InputError, match="got a pipeline: "):
        made.save(tmp_path)


def schedule_of(settings: dict) -> ScheduleSettings:
    return parse(DiffusionSettings, {"schedule": settings, "prediction": "v"}, "the test").schedule


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "linear", "num_timesteps": 20, "beta_start": 2e-4}, schedules.linear(20, beta_start=2e-4)),
        ({"name": "scaled-linear", "beta_end": 0.02}, schedules.scaled_linear(1000, beta_end=0.02)),
        ({"name": "sigmoid", "num_timesteps": 7}, schedules.sigmoid(7)),
        ({"name": "log-snr", "log_snr_min": -8.0}, schedules.log_snr_linear(1000, log_snr_min=-8.0)),
        ({"name": "betas", "num_timesteps": 2, "betas": (0.1, 0.4)}, schedules.from_betas([0.1, 0.4])),
        ({"zero_terminal_snr": True}, schedules.zero_terminal_snr(schedules.cosine())),
    ],
)
def test_settings_name_the_schedule_they_build(settings: dict, expected: schedules.Schedule) -> None:
    assert torch.equal(build_schedule(schedule_of(settings)).alpha_bar, expected.alpha_bar)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "linear", "beta_end": 0.99}, "bring beta_end 0.99 nearer to 0.02"),
        ({"name": "linear", "beta_start": 1e-20}, "bring beta_start 1e-20 nearer to 0.0001"),
        ({"name": "log-snr", "log_snr_max": 40.0}, "bring log_snr_max 40 nearer to 13.3"),
        ({"name": "log-snr", "log_snr_min": -800.0}, "bring log_snr_min -800 nearer to -5"),
        ({"name": "log-snr", "log_snr_max": 40.0, "log_snr_min": 20.0}, "bring log_snr_max 40 nearer"),
        ({"name": "betas", "num_timesteps": 3, "betas": (1e-20, 0.1, 0.2)}, "at least 1.2e-16, got 1e-20 at t = 1"),
        ({"name": "betas", "num_timesteps": 3, "betas": (0.1, 1.0, 1.0)}, "only the last .* none left at t = 2"),
        ({"name": "betas", "num_timesteps": 400, "betas": (0.9,) * 400}, "only the last .* none left"),
    ],
)
def test_a_schedule_that_float64_cannot_hold_is_refused_with_a_remedy(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_schedule(schedule_of(settings))


@pytest.mark.parametrize("name", ["linear", "cosine", "sigmoid", "scaled-linear", "log-snr"])
@pytest.mark.parametrize("num_timesteps", [1, 2, 100_000])
def test_schedules_are_held_at_every_number_of_timesteps(name: Any, num_timesteps: int) -> None:
    table = build_schedule(schedule_of({"name": name, "num_timesteps": num_timesteps})).alpha_bar
    assert len(table) == num_timesteps + 1


@given(st.lists(st.integers(0, 255), min_size=1, max_size=50))
def test_pixels_survive_the_trip_to_floats_and_back(values: list[int]) -> None:
    """Traps: truncation instead of rounding, and a map that is off by half a bin."""
    pixels = torch.tensor(values, dtype=torch.uint8)
    assert torch.equal(to_pixels(from_pixels(pixels)), pixels)
    nudged = from_pixels(pixels) + 0.49 / 127.5
    assert torch.equal(to_pixels(nudged), pixels)
    assert from_pixels(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]
