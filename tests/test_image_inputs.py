"""Images as people have them: told apart by their type, and refused in one line where it does not tell."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pipelines import untrained

from ancestral import edits
from ancestral.editing.inpaint import Rounds
from ancestral.editing.operators import MeanPooled
from ancestral.errors import InputError
from ancestral.image_inputs import as_images, as_mask
from ancestral.pipeline import Pipeline
from ancestral.settings import SamplingSettings, TrainingSettings
from ancestral.tensors import from_pixels, to_pixels

GREY, RGB = (1, 6, 8), (3, 6, 8)
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
WANTED = from_pixels(torch.from_numpy(PIXELS)).permute(2, 0, 1)[None]
FLOATS = WANTED[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    "given",
    [
        Image.fromarray(PIXELS),
        [Image.fromarray(PIXELS)],
        PIXELS,
        PIXELS.transpose(2, 0, 1),
        PIXELS[None],
        torch.from_numpy(PIXELS),
        torch.from_numpy(PIXELS).permute(2, 0, 1)[None],
        FLOATS,
        FLOATS.astype(np.float64),
        WANTED[0],
        WANTED.double().requires_grad_(),
        (PIXELS,),
        PIXELS[::-1][::-1],
        Image.fromarray(PIXELS).convert("RGBA"),
    ],
)
def test_every_way_to_hold_an_image_is_the_same_image(given: Any) -> None:
    assert torch.equal(as_images(given, RGB), WANTED)


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (1, 6, 8), (1, 1, 6, 8), (1, 6, 8, 1)])
def test_grey_images_need_no_axis_of_channels(shape: tuple[int, ...]) -> None:
    grey = PIXELS[..., 0]
    assert torch.equal(as_images(grey.reshape(shape), GREY), WANTED[:, :1])
    assert as_images(np.stack([grey, grey, grey]), GREY).shape == (3, 1, 6, 8), "a batch of (H, W)"
    assert torch.equal(as_images([grey, grey], GREY)[1:], WANTED[:, :1])


def test_pillow_images_are_made_what_the_pipeline_draws() -> None:
    """Grey for colour, transparency over white, and turned as their EXIF says; uint8 is never read as [-1, 1]."""
    clear = Image.new("RGBA", (8, 6), (9, 9, 9, 0))
    assert as_images(clear, RGB).unique().tolist() == [1.0]
    assert as_images(Image.new("L", (8, 6), 0), RGB).shape == (1, 3, 6, 8)
    assert as_images(Image.new("1", (8, 6), 1), GREY).unique().tolist() == [1.0]
    turned = Image.fromarray(PIXELS.transpose(1, 0, 2).copy())
    turned.getexif()[0x0112] = 6
    assert as_images(turned, RGB).shape == (1, 3, 6, 8)
    assert as_images(np.ones((6, 8), np.uint8), GREY).max() < -0.99
    assert as_images(clear, (4, 6, 8)).shape == (1, 4, 6, 8)


def test_where_axes_could_be_read_in_two_ways_the_pipelines_size_decides() -> None:
    assert as_images(np.zeros((3, 5, 3), np.uint8), (3, 3, 5)).shape == (1, 3, 3, 5)
    assert as_images(np.zeros((3, 5, 3), np.uint8), (3, 5, 3)).shape == (1, 3, 5, 3)
    with pytest.raises(InputError, match="two ways"):
        as_images(np.zeros((3, 5, 3), np.uint8), (3, 9, 9))


WRONG: list[tuple[Any, str]] = [
    (PIXELS.astype(np.int32), "got int32"),
    (PIXELS.astype(np.int64), "got int64"),
    (PIXELS.astype(np.uint16), "got uint16"),
    (PIXELS > 3, "got bool"),
    (torch.from_numpy(PIXELS).int(), "got torch.int32"),
    (FLOATS.astype(complex), "got complex128"),
    (PIXELS.astype(object), "got object"),
    (np.array([["a"]]), "got <U1"),
    (PIXELS.astype(np.float32), r"in \[-1, 1\], got .* 0..255 is uint8"),
    (2 * FLOATS, r"in \[-1, 1\]"),
    (np.where(FLOATS > 0, np.nan, FLOATS), "finite"),
    (np.where(FLOATS > 0, np.inf, FLOATS), "finite"),
    (FLOATS[..., :2], r"3 channels.*got \(6, 8, 2\)"),
    (FLOATS[..., 0], r"3 channels.*got \(6, 8\)"),
    (FLOATS[0, 0], r"got \(3,\)"),
    (FLOATS[None, None], r"got \(1, 1, 6, 8, 3\)"),
    (np.zeros((0, 6, 8, 3), np.uint8), r"got \(0, 6, 8, 3\)"),
    (np.float32(0.5), "got float32"),
    ([], "got none"),
    ([PIXELS, PIXELS[:4]], "6x8 and 4x8"),
    ([[0.1, 0.2]], "got float"),
    ("cat.png", "got str"),
    (None, "got NoneType"),
    (Image.new("F", (8, 6)), "mode F"),
    (Image.new("I;16", (8, 6)), "mode I;16"),
    (Image.new("CMYK", (8, 6)), "mode CMYK"),
]


@pytest.mark.parametrize(("given", "told"), WRONG)
def test_the_rest_is_refused_in_one_line(given: Any, told: str) -> None:
    with pytest.raises(InputError, match=told) as fault:
        as_images(given, RGB)
    assert "\n" not in str(fault.value) and str(fault.value).startswith("expected ")


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1), (1, 6, 8), (2, 6, 8), (2, 1, 6, 8), (1, 1, 6, 8), (3, 6, 8)])
def test_masks_fit_in_every_shape_that_means_one(shape: tuple[int, ...]) -> None:
    images = torch.zeros(2, 3, 6, 8)
    keep = np.zeros((6, 8), bool)
    keep[:2, 5:] = True
    mask = as_mask(np.broadcast_to(keep.reshape(6, 8, 1) if shape[-1] == 1 else keep, shape), images)
    assert torch.equal(mask.expand_as(images)[1, 2], torch.from_numpy(keep))


@pytest.mark.parametrize(
    ("keep", "told"),
    [
        (np.ones((8, 6), bool), r"got \(8, 6\)"),
        (np.ones((5, 6, 8), bool), r"got \(5, 6, 8\)"),
        (np.ones((1, 1, 1, 6, 8), bool), "mask that fits"),
        (np.ones((1, 8), bool), "mask that fits"),
        (np.ones((6, 8), np.uint8), "booleans, .* got uint8"),
        (torch.ones(6, 8), "booleans, .* got torch.float32"),
    ],
)
def test_other_masks_are_refused_in_one_line(keep: Any, told: str) -> None:
    with pytest.raises(InputError, match=told):
        as_mask(keep, torch.zeros(2, 3, 6, 8))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return untrained((3, 6, 8), changes={"training": TrainingSettings(steps=1), "sampling": SamplingSettings(steps=2)})


def test_edits_take_them(pipeline: Pipeline) -> None:
    """The same edit of the same image, however it is held; what is kept is the image's to the bit."""
    keep = np.zeros((6, 8), bool)
    keep[3:] = True
    ends = [
        [*edits.inpaint(pipeline, given, keep, range(2), rounds=Rounds(1))][-1].x_s
        for given in (Image.fromarray(PIXELS), PIXELS, WANTED)
    ]
    assert torch.equal(ends[0], ends[1]) and torch.equal(ends[0], ends[2])
    assert torch.equal(to_pixels(ends[0])[1, :, 3:], to_pixels(WANTED)[0, :, 3:])
    *_, last = edits.outpaint(pipeline, Image.fromarray(PIXELS), edits.Margins(1, 0, 0, 0), [0], rounds=Rounds(1))
    assert last.x_s.shape == (1, 3, 7, 8)
    for steps in (edits.vary(pipeline, [PIXELS], 0.5, [0]), edits.invert(pipeline, PIXELS)):
        assert [*steps][-1].x_s.shape == (1, 3, 6, 8)
    *_, last = edits.restore(pipeline, MeanPooled(2), Image.fromarray(PIXELS[::2, ::2].copy()), [0])
    assert last.x_s.shape == (1, 3, 6, 8)


def test_edits_refuse_images_of_another_size_in_one_line(pipeline: Pipeline) -> None:
    with pytest.raises(InputError, match="expected images of 3x4 pixels to restore, got 6x8"):
        edits.restore(pipeline, MeanPooled(2), PIXELS, [0])
    with pytest.raises(InputError, match="at least 6 x 8 pixels, got 4 x 8"):
        [*edits.vary(pipeline, PIXELS[:4], 0.5, [0])]
    with pytest.raises(InputError, match="one image, or one for each of 3 seeds, got 2"):
        edits.vary(pipeline, [PIXELS, PIXELS], 0.5, range(3))


NOISE = torch.zeros(1, 3, 6, 8)
WRONG_WORDS = {
    "a name": (
        lambda p, x: edits.vary(p, x, 0.5, [0], labels="horse"),
        "expected no class, got",
    ),
    "labels of other images": (lambda p, x: edits.vary(p, x, 0.5, [0], labels=[0, 1]), "at most one label for each"),
    "labels that are no numbers": (lambda p, x: edits.vary(p, x, 0.5, [0], labels=torch.ones(1)), "a whole number"),
    "no seeds": (lambda p, x: edits.vary(p, x, 0.5, []), "at least one image"),
    "a seed below 0": (lambda p, x: edits.vary(p, x, 0.5, [-1]), "expected seeds in"),
    "a seed that is not whole": (lambda p, x: edits.inpaint(p, x, KEEP, [0.5]), "a seed, a whole number"),
    "a margin that is not whole": (lambda p, x: edits.outpaint(p, x, edits.Margins(0, 0, 0, 1.5), [0]), "a margin"),
    "corrections below 0": (lambda p, x: edits.invert(p, x, corrections=-1), "expected corrections in 0"),
    "noise of another shape": (lambda p, x: edits.from_noise(p, NOISE[:, :1]), r"noise of \(B, 3, H, W\)"),
    "noise that is none": (lambda p, x: edits.from_noise(p, NOISE / 0), "noise of finite numbers"),
    "noise of two sizes": (lambda p, x: edits.interpolate(p, (NOISE + 1, NOISE[..., :4] + 1), 3), "of one shape"),
    "a side below 0": (lambda p, x: edits.canvas(p, -4, 6, [0]), "expected a height in 1"),
    "no side": (lambda p, x: edits.tile(p, 4, 0, [0]), "expected a width in 1"),
}
KEEP = np.ones((6, 8), dtype=bool)


@pytest.mark.parametrize(("call", "told"), WRONG_WORDS.values(), ids=WRONG_WORDS.keys())
def test_edits_answer_wrong_words_in_one_line(pipeline: Pipeline, call: Any, told: str) -> None:
    with pytest.raises(InputError, match=told) as fault:
        [*call(pipeline, PIXELS)]
    assert "\n" not in str(fault.value)
