"""A pipeline, called as people call it: the images of `draw` in any form, and one line for what is wrong."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pipelines import answering, untrained

from ancestral.errors import InputError
from ancestral.files import as_path
from ancestral.pipeline import Pipeline
from ancestral.settings import SamplingSettings, TrainingSettings
from ancestral.tensors import Pixels

CLASSES = ("cat", "dog", "7", "cow")


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    settings = {"training": TrainingSettings(steps=1), "sampling": SamplingSettings(steps=2)}
    return answering(untrained((3, 4, 6), CLASSES, settings))


def drawn(pipeline: Pipeline, *args: Any, **kwargs: Any) -> Pixels:
    pixels = pipeline(*args, output="tensor", **kwargs)
    assert isinstance(pixels, torch.Tensor)
    return pixels


@pytest.mark.parametrize(
    "labels",
    [
        ["cat", 3],
        [0, "cow"],
        (0, np.int64(3)),
        torch.tensor([0, 3]),
        np.array([0, 3]),
        np.array(["cat", "cow"]),
        [torch.tensor(0), np.array(3)],
        range(0, 4, 3),
    ],
)
def test_classes_are_named_or_numbered_and_taken_in_turn(pipeline: Pipeline, labels: Any) -> None:
    settings = SamplingSettings(steps=3, guidance=2)
    wanted = pipeline.generate(range(4), torch.tensor([0, 3, 0, 3]), settings)
    assert torch.equal(drawn(pipeline, num_images=4, labels=labels, steps=3, guidance=2), wanted)


@pytest.mark.parametrize("label", ["dog", 1, np.int32(1), torch.tensor(1)])
def test_one_class_is_that_of_all(pipeline: Pipeline, label: Any) -> None:
    assert torch.equal(drawn(pipeline, 2, label), pipeline.generate(range(2), torch.tensor([1, 1])))


def test_a_name_of_digits_is_the_class_of_that_name_and_a_number_an_index(pipeline: Pipeline) -> None:
    assert torch.equal(drawn(pipeline, labels=["7"]), pipeline.generate([0], torch.tensor([2])))
    assert torch.equal(drawn(pipeline, labels=2), pipeline.generate([0], torch.tensor([2])))


def test_no_class_is_none_alone_or_in_a_list(pipeline: Pipeline) -> None:
    assert torch.equal(drawn(pipeline, 2), pipeline.generate(range(2)))
    assert torch.equal(drawn(pipeline, labels=[None, "cat"]), pipeline.generate(range(2), torch.tensor([4, 0])))


def test_how_many_follows_from_what_is_given(pipeline: Pipeline) -> None:
    assert len(drawn(pipeline)) == 1 and len(drawn(pipeline, labels=[1, 2, 3])) == 3
    assert torch.equal(drawn(pipeline, seeds=[5, 9]), pipeline.generate([5, 9]))
    assert torch.equal(drawn(pipeline, 2, seed=5), pipeline.generate([5, 6]))
    assert torch.equal(drawn(pipeline, seeds=torch.tensor([5, 9])), pipeline.generate([5, 9]))


def test_a_sampler_brings_its_own_settings(pipeline: Pipeline) -> None:
    """Trap: an eta of the pipeline's own sampler stays when another is asked for."""
    base = pipeline.config.sampling.model_copy(update={"eta": 0.5})
    other = replace(pipeline, config=pipeline.config.model_copy(update={"sampling": base}))
    wanted = pipeline.generate([0], settings=SamplingSettings(sampler="dpm++2m", steps=2))
    assert torch.equal(drawn(other, sampler="DPM++ 2M"), wanted)


def test_the_same_images_as_pillows_arrays_or_tensors(pipeline: Pipeline) -> None:
    wanted = pipeline.generate(range(3)).permute(0, 2, 3, 1).numpy()
    images, array = pipeline(3), pipeline(3, output="numpy")
    assert isinstance(array, np.ndarray) and (array == wanted).all() and array.shape == (3, 4, 6, 3)
    assert isinstance(images, list) and images.images is images  # type: ignore[attr-defined]
    assert all(
        image.mode == "RGB" and (np.array(image) == each).all() for image, each in zip(images, wanted, strict=True)
    )


def test_a_notebook_shows_the_images_as_a_grid(pipeline: Pipeline) -> None:
    png = pipeline(4)._repr_png_()  # type: ignore[union-attr]
    with Image.open(BytesIO(png)) as shown:
        assert shown.format == "PNG" and shown.width > 2 * 6


def test_it_says_in_a_line_what_it_is(pipeline: Pipeline) -> None:
    said = repr(pipeline)
    assert said.startswith("Pipeline(4x6 RGB, 4 classes, ") and said.endswith("weights on cpu, ddim by 2 steps)")


def test_it_goes_to_a_device_and_is_returned(pipeline: Pipeline) -> None:
    assert pipeline.to("cpu") is pipeline and pipeline.to(torch.device("cpu")).device.type == "cpu"
    with pytest.raises(InputError, match="got gpu; did you mean cuda"):
        pipeline.to("gpu")
    with pytest.raises(InputError, match="expected a device"):
        pipeline.to("cuda:99")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"labels": "cta"}, "got 'cta'; did you mean cat"),
    ({"labels": "CAT"}, "did you mean cat"),
    ({"labels": "horse"}, "there are cat, dog, 7, cow"),
    ({"labels": [1.5]}, "a whole number, got 1.5"),
    ({"labels": [True]}, "got True"),
    ({"labels": np.array([1.0])}, "got 1.0"),
    ({"labels": [[1], [2]]}, "got "),
    ({"labels": torch.zeros(2, 2, dtype=torch.int64)}, r"got \(2, 2\)"),
    ({"labels": 9}, r"labels in 0\.\.3"),
    ({"labels": -1}, r"labels in 0\.\.3 \(4: no class\)"),
    ({"labels": 2**70}, "the index of a class in"),
    ({"num_images": 1, "labels": [1, 2]}, "at most one label for each of 1 images, got 2"),
    ({"num_images": 0}, "at least one image"),
    ({"num_images": -3}, "at least one image"),
    ({"num_images": True}, "got True"),
    ({"seeds": []}, "at least one image"),
    ({"seeds": [1, -1]}, "expected seeds in"),
    ({"seeds": [1.5]}, "a seed, a whole number, got 1.5"),
    ({"seed": 2**63}, "expected seeds in"),
    ({"num_images": 3, "seeds": [1, 2]}, "got 2 seeds with"),
    ({"labels": {3}}, "in a list, a tensor or an array, got set"),
    ({"labels": {3: 4}}, "got dict"),
    ({"labels": b"3"}, "got bytes"),
    ({"output": "jpg"}, "out of pil, tensor, array, got 'jpg'"),
    ({"steps": 0}, "the call: steps: expected at least 1, got 0"),
    ({"steps": 5000}, "at most T = 1000 steps, got 5000"),
    ({"guidance": 2}, "expected labels, attributes or a prompt with guidance 2"),
    ({"sampler": "pndm"}, "did you mean ipndm-4"),
    ({"guidance_scale": 2}, "got guidance_scale; did you mean guidance"),
    ({"num_inference_steps": 2}, "did you mean steps"),
    ({"batch_size": 2}, "did you mean num_images"),
    ({"class_labels": [2]}, "did you mean labels"),
    ({"generator": None}, "did you mean seed"),
    ({"output_type": "pil"}, "did you mean output"),
    ({"xyzzy": 2}, "expected an argument of the call, got xyzzy$"),
]


@pytest.mark.parametrize(("given", "told"), WRONG)
def test_what_is_wrong_is_one_line(pipeline: Pipeline, given: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told) as fault:
        pipeline(**given)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("there", ["a file", "a folder of other files", "a run", "a downloaded pipeline"])
def test_saving_replaces_nothing_but_a_pipeline_of_this_package(pipeline: Pipeline, tmp_path: Path, there: str) -> None:
    """`save(".")` or `save(home)` is one line, and every file is where it was."""
    place = tmp_path / "mine"
    files = {"a folder of other files": ["thesis.txt"], "a run": ["config.json", "lock"]}
    if there == "a file":
        place.write_text("mine")
    else:
        place.mkdir()
        for name in files.get(there, ["model_index.json"]):
            (place / name).write_text("mine")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="expected a new folder, or a pipeline that ancestral wrote") as fault:
        pipeline.save(place)
    assert "\n" not in str(fault.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_saving_again_keeps_what_lies_beside_the_pipeline(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.save(tmp_path / "saved")
    (tmp_path / "saved" / "README.md").write_text("what it is for")
    pipeline.save(f"{tmp_path}/saved/../saved/.")
    assert (tmp_path / "saved" / "README.md").read_text() == "what it is for"
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]
    assert Pipeline.load(tmp_path / "saved", "cpu").weights_hash() == pipeline.weights_hash()


@pytest.mark.parametrize("given", [3, None, b"saved", ["saved"], "", "a\0b", "x" * 5000, "nowhere/at/all"])
def test_what_is_no_path_is_one_line(given: Any) -> None:
    with pytest.raises(InputError, match=r"expected a (path|run or pipeline folder)") as fault:
        Pipeline.load(as_path(given))
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize("device", ["", "meta", "cpu:7", "gpu", "mps"])
def test_what_is_no_device_leaves_the_pipeline_where_it_is(pipeline: Pipeline, device: Any) -> None:
    with pytest.raises(InputError, match="expected a device, cpu or cuda, got"):
        pipeline.to(device)
    assert pipeline.device == next(pipeline.network.parameters()).device == torch.device("cpu")


def test_a_pipeline_saves_into_a_folder_named_by_a_text(pipeline: Pipeline, tmp_path: Path) -> None:
    pipeline.save(str(tmp_path / "saved"))
    assert Pipeline.load(str(tmp_path / "saved"), "cpu").weights_hash() == pipeline.weights_hash()
