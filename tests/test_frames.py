"""Frames that jobs show as their chains go: announced before the first, and the same images as are written."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ancestral.jobs import generated
from ancestral.jobs.edit import edit
from ancestral.jobs.edit_tasks import TASKS
from ancestral.jobs.events import FileEvent, FrameEvent, FramesEvent, ProgressEvent
from ancestral.jobs.sample import SampleSettings, sample
from ancestral.pipeline import Pipeline

DIGITS = Pipeline.load("digits", "cpu")


def load(*_: object) -> Pipeline:
    return DIGITS


def pixels_of(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file))


def test_frames_of_each_part_hold_the_images_at_their_places(tmp_path: Path) -> None:
    chunk = DIGITS.with_compute(DIGITS.compute.model_copy(update={"chunk": 2}))
    asked = SampleSettings(run="digits", num_images=3, out=tmp_path, each=True, sampling={"steps": 4})
    events = [*sample(asked, lambda *_: chunk, show=True)]
    (begun,) = (event for event in events if isinstance(event, FramesEvent))
    frames = [event for event in events if isinstance(event, FrameEvent)]
    assert events.index(begun) < events.index(frames[0])
    assert (begun.images, begun.shape, begun.labels) == (3, (1, 8, 8), ["0", "1", "2"])
    assert [(each.number, each.place) for each in frames] == [(i, place) for place in (0, 2) for i in range(5)]
    assert [each.t for each in frames] == 2 * [level["t"] for level in begun.levels]
    for seed, images, i in ((0, frames[4], 0), (1, frames[4], 1), (2, frames[9], 0)):
        assert (images.x_t[i, 0].numpy() == pixels_of(tmp_path / f"seed-{seed}.png")).all()
        assert torch.equal(images.x_t, images.x_0)


def test_nobody_who_did_not_ask_is_shown_frames(tmp_path: Path) -> None:
    asked = SampleSettings(run="digits", num_images=1, out=tmp_path, sampling={"steps": 2})
    assert not [event for event in sample(asked, load) if isinstance(event, FramesEvent | FrameEvent)]


def test_many_steps_are_picked_from_and_many_images_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generated, "FRAMES_BYTES", 2 * 64 * generated.FEWEST_FRAMES * 2)
    asked = SampleSettings(run="digits", num_images=3, out=tmp_path, sampling={"steps": 12})
    events = [*sample(asked, load, show=True)]
    (begun,) = (event for event in events if isinstance(event, FramesEvent))
    frames = [event for event in events if isinstance(event, FrameEvent)]
    assert begun.images == 2 and all(len(each.x_t) == 2 for each in frames)
    assert [each.number for each in frames] == [*range(generated.FEWEST_FRAMES)]
    times = [level["t"] for level in begun.levels]
    assert [each.t for each in frames] == times and times[0] == DIGITS.diffusion.num_timesteps and times[-1] == 0
    assert sum(each.x_t.numel() + each.x_0.numel() for each in frames) <= generated.FRAMES_BYTES


@pytest.mark.parametrize(
    ("task", "asked"),
    [
        ("inpaint", {"images": ["one.png"], "box": [0, 0, 4, 8], "rounds": 3, "jump": 2}),
        ("outpaint", {"images": ["one.png"], "margins": [0, 4, 0, 0], "rounds": 1}),
        ("vary", {"images": ["one.png", "one.png"], "strength": 0.4}),
        ("invert", {"images": ["one.png"]}),
        ("interpolate", {"seeds": [0, 1], "points": 3}),
        ("enlarge", {"images": ["one.png"], "degrade": True}),
        ("canvas", {"size": [8, 12]}),
        ("tile", {}),
    ],
)
def test_steps_of_edits_are_those_announced(task: str, asked: dict[str, Any], tmp_path: Path) -> None:
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * 3).save(tmp_path / "one.png")
    asked |= {"images": [tmp_path / each for each in asked["images"]]} if "images" in asked else {}
    values = {"run": "digits", "out": tmp_path / "out", "sampling": {"steps": 5}, "classes": "3", **asked}
    events = [*edit(TASKS[task].model_validate(values), load, show=True)]
    (begun,) = (event for event in events if isinstance(event, FramesEvent))
    frames = [event for event in events if isinstance(event, FrameEvent)]
    moves = [(level["t"], level["s"]) for level in begun.levels]
    assert [(each.number, each.t) for each in frames] == [(i, t) for i, (t, _) in enumerate(moves)]
    assert all(s < t for t, s in moves[:-1]) and moves[-1] == (0, 0)
    assert len(frames) - 1 == sum(isinstance(each, ProgressEvent) and each.what == "generating" for each in events)
    results = [each.file for each in events if isinstance(each, FileEvent) and each.file.stem != task][-begun.images :]
    assert all(each.x_t.shape == (begun.images, *begun.shape) for each in frames)
    for image, file in zip(frames[-1].x_t, results, strict=True):
        assert (image[0].numpy() == pixels_of(file)).all()
