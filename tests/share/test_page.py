"""The page of a model, in real browsers: it generates what torch generates, and asks for nothing."""

import gzip
import math
import shlex
from base64 import b64decode
from collections.abc import Sequence
from getpass import getuser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsers import Browser, Page
from browsers.reach import THEMES_AND_WIDTHS, arrange, check_reach
from PIL import Image, ImageSequence
from pipelines import SMALL, answering, untrained

from ancestral import edits
from ancestral.cli.main import main
from ancestral.editing.inpaint import Rounds
from ancestral.pipeline import Pipeline
from ancestral.presets import PRESETS
from ancestral.progress import finish
from ancestral.settings import AttributeSpec, Config, ImageSpec, LearnedText, SamplingSettings, UNetSettings
from ancestral.share.engine import bare_page
from ancestral.share.page import Sharing, images_at_first, page
from ancestral.share.scripts import joined
from ancestral.share.weights import rounded
from ancestral.tokenizer import Tokenizer

CLASSES = ("one", "two", "three")
SIX = ("ddim", "ancestral", "dpm++2m", "heun", "unipc-2", "dpm++2m-sde")
SEEDS = 8
DONE = "/ in |Stopped/.test(document.querySelector('#status').textContent) || !document.querySelector('#alert').hidden"
IMAGES = """(channels) => [...document.querySelectorAll("#grid canvas")].map((canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return [...data].filter((_, i) => i % 4 < channels);
})"""
ASK = """(values) => {
  document.querySelector("#status").textContent = "";
  for (const [id, value] of Object.entries(values)) {
    const field = document.getElementById(id);
    field.value = value;
    for (const kind of ["input", "change"]) field.dispatchEvent(new Event(kind, { bubbles: true }));
    if (String(field.value) !== String(value)) throw new Error(`${id} offers no ${value}`);
  }
}"""


def model(shape: tuple[int, int, int] = (1, 8, 8), classes: tuple[str, ...] = CLASSES, **changes: Any) -> Pipeline:
    """A pipeline that answers, with the weights that pages of it hold. It predicts v unless told otherwise: of weights
    at random x0 would be far beyond what pixels show."""
    usual = {"network": SMALL, "diffusion": {"prediction": "v"}}
    return rounded(answering(untrained(shape, classes, usual | changes)))


def written(folder: Path, pipeline: Pipeline, plans: Sequence[SamplingSettings], **more: Any) -> Path:
    """The page of a pipeline, as a file."""
    file = folder / "page.html"
    sharing = Sharing(**{"name": "a model", "plans": plans, **more})
    file.write_text(finish(page(pipeline, sharing)), encoding="utf-8")
    return file


def asked(shown: Page, press: str = "#generate", **values: object) -> np.ndarray:
    """The images that the page comes to, (B, H W, C), once such fields are set and a button is pressed."""
    shown.evaluate(ASK, values)
    shown.click(press)
    return result(shown)


def result(shown: Page, channels: int = 1) -> np.ndarray:
    shown.wait(DONE)
    assert shown.evaluate("document.querySelector('#alert').textContent") == ""
    return np.array(shown.evaluate(IMAGES, channels), int)


def flat(pixels: torch.Tensor) -> np.ndarray:
    """Images (B, C, H, W) as a page's canvases have them, (B, H W C)."""
    return pixels.permute(0, 2, 3, 1).flatten(1).numpy().astype(int)


def agree(got: np.ndarray, pixels: torch.Tensor) -> bool:
    """Whether no value is another by more than a level, and no more than one of a thousand begun."""
    apart = np.abs(got - flat(pixels))
    return bool(apart.max() <= 1 and (apart > 0).sum() <= math.ceil(1e-3 * apart.size))


def test_every_browser_generates_the_pixels_of_torch_and_asks_for_nothing(
    every_browser_at_once: Browser, tmp_path: Path
) -> None:
    pipeline, plans = model(), [SamplingSettings(sampler=each, steps=6) for each in SIX]
    labels = [i % len(CLASSES) for i in range(SEEDS)]
    shown = every_browser_at_once.open(written(tmp_path, pipeline, plans, images=SEEDS))
    result(shown)
    for settings in plans:
        got = asked(shown, sampler=settings.sampler, steps=6)
        assert agree(got, pipeline.generate(range(SEEDS), labels, settings)), settings.sampler
    assert shown.complaints == []


def test_every_sampler_guided_is_that_of_torch(chromium: Browser, tmp_path: Path) -> None:
    plans = [
        SamplingSettings(sampler=each, steps=6) for each in SamplingSettings.model_fields["sampler"].annotation.__args__
    ]
    pipeline = model()
    shown = chromium.open(written(tmp_path, pipeline, plans, images=4))
    result(shown)
    for settings in plans:
        got = asked(shown, sampler=settings.sampler, steps=6, guidance="2", **{"class": "2"})
        assert agree(got, pipeline.generate(range(4), [2] * 4, settings.model_copy(update={"guidance": 2.0}))), settings


GUIDED = {"sampler": "dpm++2m", "steps": 8, "guidance": 3.0}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "noise as the network says": (
        {"diffusion": {"prediction": "v", "variance": "learned"}, "training": {"loss": "hybrid", "steps": 1}},
        {"sampler": "ancestral", "steps": 8},
    ),
    "levels of pixels": ({"diffusion": {"prediction": "levels"}}, {"sampler": "ddim", "steps": 8}),
    "dynamic clipping": ({}, {"sampler": "ddim", "steps": 8, "clip": "dynamic"}),
    "dynamic clipping of what is within": (
        {"diffusion": {"prediction": "x0"}}, {"sampler": "ddim", "steps": 8, "clip": "dynamic"},
    ),
    "guidance at some levels, brought back": (
        {}, {**GUIDED, "clip": "none", "guidance_interval": (0.3, 20.0), "guidance_rescale": 0.7},
    ),
    "away from a class": ({}, {**GUIDED, "negative": "two"}),
    "not clipped, noise added": ({}, {"sampler": "ddim", "steps": 8, "eta": 0.5, "clip": "none"}),
    "no label": ({}, {"sampler": "ddim", "steps": 8, "guidance": 0.0}),
    "flow": (
        {"diffusion": {"schedule": {"name": "rectified"}, "prediction": "flow"}}, {"sampler": "euler", "steps": 8},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_other_ways_to_generate_are_those_of_torch(kind: str, chromium: Browser, tmp_path: Path) -> None:
    changes, sampling = KINDS[kind]
    pipeline, settings = model(**changes), SamplingSettings(**sampling)
    got = result(chromium.open(written(tmp_path, pipeline, [settings], images=6)))
    assert agree(got, pipeline.generate(range(6), [i % 3 for i in range(6)], settings))


def test_what_is_not_painted_is_kept_and_the_rest_is_filled_as_torch_does(
    each_browser: Browser, tmp_path: Path
) -> None:
    """By the mouse and then by the keyboard: the same mask."""
    pipeline, settings = model(), SamplingSettings(sampler="dpm++2m", steps=5)
    shown = each_browser.open(written(tmp_path, pipeline, [settings], images=2))
    source = result(shown)[1]
    shown.click("#grid button:nth-child(2)")
    masks = []
    for by_mouse in (True, False):
        shown.click("#paint")
        if by_mouse:
            shown.evaluate("document.querySelector('#mask').scrollIntoView({ block: 'center' })")
            left, top, width = shown.evaluate(
                "(({ x, y, width }) => [x, y, width])(document.querySelector('#mask').getBoundingClientRect())"
            )
            shown.drag([(int(left + x * width / 8), int(top + 2.5 * width / 8)) for x in (2.5, 3.5, 4.5, 5.5)])
        else:
            for key in ["ArrowUp"] * 2 + ["ArrowLeft"] * 2 + ["Shift+ArrowRight"] * 3:
                shown.key(key)
        filled = asked(shown, "#fill", rounds="3")
        kept = np.ones((8, 8), bool)
        kept[2, 2:6] = False
        assert (filled[:, kept.flatten()] == source[kept.flatten()]).all()
        image = torch.from_numpy(source.reshape(1, 1, 8, 8).astype(np.uint8)).expand(2, -1, -1, -1)
        *_, last = edits.inpaint(pipeline, image, torch.from_numpy(kept), range(2), [1, 1], settings, Rounds(3))
        assert agree(filled, pipeline.decode(last.x_s))
        masks.append(shown.evaluate("document.querySelector('#mask').getAttribute('aria-label')").split(";")[0])
        shown.click("#paint")
        assert shown.evaluate("document.querySelectorAll('#grid button').length") == (4 if by_mouse else 6)
        assert shown.evaluate("document.querySelector('#class').value") == "all", "as before it was painted"
        shown.click("#grid button:nth-child(3)")
    assert masks == ["Mask: 4 of 64 pixels painted"] * 2


def test_an_image_that_is_read_when_painting_has_ended_is_not_taken_up(chromium: Browser, tmp_path: Path) -> None:
    shown = chromium.open(written(tmp_path, model(), [SamplingSettings(steps=5)], images=2))
    wanted = result(shown)
    shown.click("#paint")
    shown.evaluate(
        """(() => {
          const read = createImageBitmap, waits = new Promise((go) => (window.go = go));
          window.createImageBitmap = async (...given) => {
            await waits;
            return read(...given).finally(() => setTimeout(() => (window.wasRead = true)));
          };
        })()"""
    )
    Image.new("L", (8, 8)).save(tmp_path / "own.png")
    shown.evaluate(CHOSEN, list((tmp_path / "own.png").read_bytes()))
    shown.click("#paint")
    shown.evaluate("(() => go())()")
    shown.wait("window.wasRead")
    assert (result(shown) == wanted).all()
    assert shown.complaints == []


def test_painting_that_ends_while_the_pointer_is_down_leaves_nothing_behind(chromium: Browser, tmp_path: Path) -> None:
    shown = chromium.open(written(tmp_path, model(), [SamplingSettings(steps=5)], images=2))
    result(shown)
    shown.click("#paint")
    shown.evaluate(
        """(() => {
          const mask = document.querySelector("#mask"), { x, y } = mask.getBoundingClientRect();
          mask.setPointerCapture = () => {};
          const send = (kind) => mask.dispatchEvent(new PointerEvent(kind, { clientX: x + 9, clientY: y + 9 }));
          send("pointerdown");
          document.querySelector("#paint").click();
          ["pointermove", "pointerup"].forEach(send);
        })()"""
    )
    assert shown.complaints == []


def test_thumbnails_have_room_and_filling_is_in_sight(chromium: Browser, tmp_path: Path) -> None:
    shown = chromium.open(written(tmp_path, model(), [SamplingSettings(steps=5)], images=2))
    result(shown)
    beyond = "(each) => each.getBoundingClientRect().right - document.documentElement.clientWidth"
    for width in (390, 960, 1100, 1280, 1400):
        shown.resize(width, 900)
        assert shown.evaluate("innerWidth") == width
        assert shown.evaluate(f"Math.max(...[...document.querySelectorAll('#grid, #grid *')].map({beyond}))") <= 0
        assert shown.evaluate("document.querySelector('#grid').clientWidth") >= 300
    shown.click("#paint")
    shown.evaluate("scrollTo(0, 0)")
    assert shown.evaluate("document.querySelector('#fill').getBoundingClientRect().bottom") <= 900


def test_where_no_script_runs_there_is_nothing_to_press(chromium: Browser, tmp_path: Path) -> None:
    """As the page is before its script has begun."""
    shown = chromium.open(written(tmp_path, model(), [SamplingSettings(steps=5)], images=1))
    result(shown)
    there = (
        "[...document.querySelectorAll('button, input, select, pre')].filter((each) => each.checkVisibility()).length"
    )
    assert shown.evaluate(there) > 5
    shown.evaluate("(() => { delete document.documentElement.dataset.theme; })()")
    assert shown.evaluate(there) == 0


def test_a_seed_that_is_too_large_for_so_many_images_is_said(chromium: Browser, tmp_path: Path) -> None:
    shown = chromium.open(written(tmp_path, model(), [SamplingSettings(steps=5)], images=2))
    result(shown)
    shown.evaluate(ASK, {"seed": str(2**63 - 1)})
    shown.click("#generate")
    shown.wait("!document.querySelector('#alert').hidden")
    assert f"at most {2**63 - 2} for so many images, got {2**63 - 1}" in shown.evaluate(
        "document.querySelector('#alert').textContent"
    )


def test_a_wide_brush_paints_right_of_and_below_its_middle(chromium: Browser, tmp_path: Path) -> None:
    shown = chromium.open(written(tmp_path, model(), [SamplingSettings(steps=5)], images=2))
    source = result(shown)[0].reshape(8, 8)
    shown.click("#paint")
    shown.evaluate(ASK, {"size": "2"})
    shown.evaluate("document.querySelector('#mask').focus()")
    shown.key("Space")
    changed = (asked(shown, "#fill", rounds="1").reshape(-1, 8, 8) != source).any(0)
    assert np.argwhere(changed).tolist() == [[4, 4], [4, 5], [5, 4], [5, 5]]


CHOSEN = """(content) => {
  const chosen = new DataTransfer(), field = document.querySelector("#file");
  chosen.items.add(new File([Uint8Array.from(content)], "own.png", { type: "image/png" }));
  field.files = chosen.files;
  field.dispatchEvent(new Event("change"));
}"""
CAUGHT = """(() => {
  HTMLAnchorElement.prototype.click = function () { window.saved.name = this.download; };
  URL.createObjectURL = (blob) => (window.saved = { blob });
})()"""


def saved(shown: Page, kind: str) -> tuple[str, Image.Image]:
    """What a button saves: the name, and the picture as Pillow reads it."""
    shown.evaluate("(() => { window.saved = {}; })()")
    shown.click(f"#save-{kind}")
    shown.wait("window.saved.name")
    content = shown.evaluate("window.saved.blob.arrayBuffer().then((buffer) => [...new Uint8Array(buffer)])")
    return shown.evaluate("window.saved.name"), Image.open(BytesIO(bytes(content)))


def test_images_and_films_are_saved_as_they_are_seen(chromium: Browser, tmp_path: Path) -> None:
    shown = chromium.open(written(tmp_path, model(), [SamplingSettings(steps=5)], images=3))
    images = result(shown)
    shown.evaluate(CAUGHT)
    shown.click("#grid button:nth-child(2)")
    names, (image, film, grid) = zip(*(saved(shown, kind) for kind in ("image", "film", "grid")), strict=True)
    assert names == ("a-model-1.png", "a-model-1-film.png", "a-model-grid.png")
    whole = np.kron(images[1].reshape(8, 8), np.ones((32, 32), int))
    assert (np.asarray(image.convert("L")) == whole).all()
    frames = [np.asarray(frame.convert("L"), int) for frame in ImageSequence.Iterator(film)]
    assert len(frames) == 6
    assert (frames[-1] == whole).all()
    assert (frames[0] != whole).any()
    assert grid.getpixel((0, 0))[0] == images[0][0]
    assert grid.size == (2 * 8 * 16 + 16, 2 * 8 * 16 + 16)
    assert grid.getpixel((9 * 16, 0))[0] == images[1][0]
    assert grid.getpixel((0, 9 * 16))[0] == images[2][0]
    assert grid.getpixel((9 * 16, 9 * 16))[3] == 0, "there are three"


def test_films_show_noise_or_estimates_of_the_chosen_image(chromium: Browser, tmp_path: Path) -> None:
    pipeline, settings = model(), SamplingSettings(steps=5)
    shown = chromium.open(written(tmp_path, pipeline, [settings], images=2))
    result(shown)
    shown.click("#grid button:nth-child(2)")
    steps = list(pipeline.steps([0, 1], [0, 1], settings))
    pixels = "document.querySelector('#shown').getContext('2d').getImageData(0, 0, 8, 8).data"
    seen = f"[...{pixels}].filter((_, i) => i % 4 === 0)"
    shown.evaluate("document.querySelector('#position').focus()")
    for shows in ("x_t", "x_0"):
        shown.evaluate(f"document.querySelector('input[value={shows}]').click()")
        shown.key("Home")
        for step in steps:
            wanted = pipeline.decode(step.x_t if shows == "x_t" else step.x0)[1:]
            assert agree(np.array([shown.evaluate(seen)]), wanted)
            shown.key("ArrowRight")
        assert agree(np.array([shown.evaluate(seen)]), pipeline.decode(steps[-1].x_s)[1:]), "last comes the image"
    assert "class two" in shown.evaluate("document.querySelector('#moment').textContent")


def test_what_is_asked_stands_in_the_address(chromium: Browser, tmp_path: Path) -> None:
    plans = [SamplingSettings(steps=5), SamplingSettings(sampler="dpm++2m", steps=5)]
    file = written(tmp_path, model(), plans, images=2)
    shown = chromium.open(file)
    result(shown)
    wanted = asked(shown, seed="41", images="3", sampler="dpm++2m", guidance="2.5", **{"class": "1"})
    address = shown.evaluate("location.href")
    assert (result(chromium.open(address)) == wanted).all()
    assert (asked(shown, "#next")[0] != wanted).any()
    assert shown.evaluate("document.querySelector('#seed').value") == "44"
    assert "--seed 44 " in shown.evaluate("document.querySelector('#command').textContent")
    shown.evaluate("(() => { document.querySelector('#status').textContent = ''; location.hash = 'seed=41'; })()")
    assert (result(shown) == wanted).all(), "another address in the same page"
    beside = chromium.open(address.replace("seed=41", "seed=-1").replace("images=3", "images=1e9"))
    assert (len(result(beside)), beside.evaluate("document.querySelector('#seed').value")) == (2, "0")


def test_guidance_is_changed_where_there_is_any(chromium: Browser, tmp_path: Path) -> None:
    pipeline, settings = model(), SamplingSettings(**GUIDED, guidance_interval=(0.3, 20.0))
    shown = chromium.open(written(tmp_path, pipeline, [settings], images=6))
    result(shown)
    wanted = pipeline.generate(range(6), [1] * 6, settings.model_copy(update={"guidance": 1.5}))
    assert agree(asked(shown, guidance="1.5", **{"class": "1"}), wanted)


def test_the_slider_stays_where_it_is_put_and_follows_at_its_end(chromium: Browser, tmp_path: Path) -> None:
    plans = [SamplingSettings(steps=5), SamplingSettings(steps=1000)]
    shown = chromium.open(written(tmp_path, model(), plans, images=1))
    result(shown)
    shown.evaluate(ASK, {"steps": "1000"})
    shown.click("#generate")
    slider = "document.querySelector('#position')"
    shown.wait(f"{slider}.max > 2")
    assert shown.evaluate(f"{slider}.value === {slider}.max")
    shown.evaluate(f"{slider}.focus()")
    shown.key("Home")
    reached = shown.evaluate(f"{slider}.max")
    shown.wait(f"{slider}.max > {reached} + 2")
    assert shown.evaluate(f"{slider}.value") == "0"
    shown.key("End")
    shown.wait(f"{slider}.max > {reached} + 9 && {slider}.value === {slider}.max")
    shown.click("#stop")


@pytest.mark.parametrize("channels", [2, 4])
def test_transparency_is_shown_and_saved(channels: int, chromium: Browser, tmp_path: Path) -> None:
    pipeline, settings = model((channels, 8, 8)), SamplingSettings(steps=5)
    shown = chromium.open(written(tmp_path, pipeline, [settings], images=1))
    result(shown)
    shown.evaluate(CAUGHT)
    _, picture = saved(shown, "image")
    wanted = pipeline.generate([0], [0], settings)[0].permute(1, 2, 0).numpy()
    colors = wanted if channels == 4 else wanted[..., [0, 0, 0, 1]]
    assert np.abs(np.asarray(picture, int)[16::32, 16::32] - colors).max() <= 1


def test_generating_is_stopped_within_a_call(chromium: Browser, tmp_path: Path) -> None:
    shown = chromium.open(
        written(tmp_path, model(), [SamplingSettings(steps=5), SamplingSettings(steps=1000)], images=2)
    )
    result(shown)
    shown.evaluate(ASK, {"steps": "1000"})
    shown.click("#generate")
    shown.wait("document.querySelector('#status').textContent.includes('%')")
    shown.click("#stop")
    result(shown)
    assert shown.evaluate("document.querySelector('#status').textContent").startswith("Stopped: 0 of 2 images")
    steps = int(shown.evaluate("document.querySelector('#position').max"))
    assert 0 < steps < 999
    assert asked(shown, steps="5").shape == (2, 64), "and it goes on"


@pytest.mark.parametrize(("scheme", "width"), THEMES_AND_WIDTHS)
def test_the_page_is_within_reach_of_everybody(scheme: str, width: int, chromium: Browser, tmp_path: Path) -> None:
    shown = chromium.open(written(tmp_path, model(), [SamplingSettings(steps=5)], images=2))
    arrange(shown, scheme, width)
    result(shown)
    assert shown.evaluate("document.documentElement.dataset.theme") == scheme
    check_reach(shown, width)
    shown.click("#paint")
    check_reach(shown, width)


def test_the_page_is_within_reach_in_every_browser(each_browser: Browser, tmp_path: Path) -> None:
    shown = each_browser.open(written(tmp_path, model(), [SamplingSettings(steps=5)], images=2))
    shown.resize(390, 800)
    result(shown)
    check_reach(shown, 390)


def test_nothing_is_said_of_who_made_it_and_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "private-place" / "birds"
    untrained(classes=CLASSES, changes={"data": {"source": str(tmp_path / "private-photographs")}}).save(run)
    assert main(["share", str(run), "--out", str(tmp_path / "birds.html"), "--step-counts", "5"]) == 0
    text = (tmp_path / "birds.html").read_text(encoding="utf-8")
    for private in ("private", str(tmp_path), str(Path.home()), f"/{getuser()}/"):
        assert private not in text
    for block in ("weights", "plans"):
        content = gzip.decompress(b64decode(text.split(f'id="{block}">')[1].split("<")[0]))
        assert b"private" not in content
    assert "<title>birds</title>" in text


@pytest.mark.parametrize("bits", [32, 16, 8])
def test_a_page_is_hardly_larger_than_its_weights(bits: int) -> None:
    pipeline = Pipeline.fresh(PRESETS["digits"](), ImageSpec(channels=1, height=8, width=8, class_names=CLASSES), "cpu")
    plans = [SamplingSettings(sampler=each, steps=steps) for each in SIX for steps in (5, 10, 20, 50)]
    text = finish(page(pipeline, Sharing("digits", plans, bits)))
    count = sum(each.numel() for each in pipeline.network.parameters())
    assert len(text) <= 4 / 3 * count * bits / 8 + 150_000


def test_names_are_shown_and_never_read_as_html(chromium: Browser, tmp_path: Path) -> None:
    hostile = "</script><script>document.title = 'taken'</script><img src=x onerror=alert(1)>"
    pipeline = model(classes=(hostile, "{{style}}", "two"))
    settings = SamplingSettings(steps=5)
    shown = chromium.open(written(tmp_path, pipeline, [settings], images=2, words=hostile, name="{{worker}} & <b>"))
    result(shown)
    assert shown.evaluate("document.title") == "{{worker}} & <b>"
    assert shown.evaluate("document.querySelector('#class').options[1].text") == hostile
    assert shown.evaluate("document.querySelector('#lead').textContent").startswith(hostile)
    assert shown.complaints == []


def test_an_image_of_ones_own_is_painted_over(chromium: Browser, tmp_path: Path) -> None:
    pipeline = model((3, 8, 8))
    shown = chromium.open(written(tmp_path, pipeline, [SamplingSettings(steps=5)], images=2))
    result(shown, 3)
    own = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(own).save(tmp_path / "own.png")
    shown.click("#paint")
    shown.evaluate(CHOSEN, list((tmp_path / "own.png").read_bytes()))
    shown.wait("document.querySelector('#moment').textContent.startsWith('your own')")
    assert (result(shown, 3)[0] == own.reshape(-1)).all()


def test_the_command_that_a_page_shows_generates_its_images(chromium: Browser, tmp_path: Path) -> None:
    """A run has a grid for its own sampler, which others do not take over; what was asked stays with its sampler."""
    changes = {"sampling": {"sampler": "ddim", "grid": "quadratic", "steps": 5}, "diffusion": {"prediction": "v"}}
    pipeline = model(**changes)
    pipeline.save(tmp_path / "run")
    words = ["--samplers", "ddim", "dpm++2m", "--step-counts", "5", "--num-images", "4"]
    share = ["share", str(tmp_path / "run"), "--sampler", "dpm++2m-sde", "--eta", "0.3", "--clip", "none", *words]
    assert main([*share, "--out", str(tmp_path / "page.html")]) == 0
    shown = chromium.open(tmp_path / "page.html")
    result(shown)
    for sampler in ("dpm++2m-sde", "ddim", "dpm++2m"):
        got = asked(shown, sampler=sampler)
        command = shown.evaluate("document.querySelector('#command').textContent").replace("RUN", str(tmp_path / "run"))
        out = tmp_path / sampler
        assert main([*shlex.split(command)[1:], "--out", str(out), "--each", "--compute.precision", "float32"]) == 0
        pixels = [
            np.asarray(Image.open(each).convert("L"), int).flatten()
            for each in sorted({*out.glob("*.png")} - {out / "grid.png"})
        ]
        assert len(pixels) == 4
        assert np.abs(got - pixels).max() <= 1
    assert "--eta" not in command
    shown.click("#paint")
    command = shown.evaluate("document.querySelector('#command').textContent")
    assert shown.evaluate("document.querySelector('#command-note').checkVisibility()")
    half = Image.new("L", (8, 8))
    half.paste(255, (0, 0, 8, 4))
    half.save(tmp_path / "half.png")
    named = {"RUN": tmp_path / "run", "IMAGE": tmp_path / "half.png", "MASK": tmp_path / "half.png"}
    words = [str(named.get(word, word)) for word in shlex.split(command)]
    assert words[:3] == ["ancestral", "edit", "inpaint"] and "--rounds" in words
    assert main([*words[1:], "--out", str(tmp_path / "filled")]) == 0


def test_names_that_mean_something_else_are_spelled_for_the_command_line(chromium: Browser, tmp_path: Path) -> None:
    names = ("none", "all", "-x")
    pipeline = model(classes=names)
    pipeline.save(tmp_path / "run")
    shown = chromium.open(written(tmp_path, pipeline, [SamplingSettings(steps=5)], images=1))
    result(shown)
    for number, spelled in enumerate(("--classes '=none'", "--classes '=all'", "--classes=-x")):
        shown.evaluate(ASK, {"class": str(number)})
        command = shown.evaluate("document.querySelector('#command').textContent")
        assert spelled in command
        words = shlex.split(command.replace("RUN", str(tmp_path / "run")))
        assert main([*words[1:], "--out", str(tmp_path / str(number)), "--each"]) == 0
        with Image.open(tmp_path / str(number) / "seed-0.png") as file:
            written_image = np.asarray(file.convert("L"), int).flatten()
        assert np.abs(asked(shown)[0] - written_image).max() <= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--samplers", "best"], "expected --samplers out of"),
        (["--prompt", "a bird"], "expected no --prompt, got 'a bird': this network reads no texts"),
        (["--out", "page.pdf"], "expected --out to end in .html"),
        (["--num-images", "65"], "--num-images"),
        (["--guidance_by", "autoguidance"], "expected guidance_by classifier-free in a plan"),
        (["--cache", "3"], "expected cache 1 in a plan"),
        (["--name", "  "], "--name"),
        (["--step-counts", "5", "2000"], "expected --step-counts of at most 1000, the model's timesteps, got 2000"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    untrained(classes=CLASSES).save(tmp_path / "run")
    assert main(["share", str(tmp_path / "run"), *words]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error


def test_step_counts_that_nobody_set_are_those_that_the_model_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"diffusion": {"schedule": {"num_timesteps": 20}}, "sampling": {"steps": 5}}
    untrained(changes=changes).save(tmp_path / "run")
    share = ["share", str(tmp_path / "run"), "--samplers", "ddim", "--out", str(tmp_path / "a.html")]
    assert main(share) == 0
    assert main([*share, "--step-counts", "5", "10", "20", "50"]) == 2
    assert "expected --step-counts of at most 20" in capsys.readouterr().err


def test_a_page_is_replaced_and_another_file_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    untrained(classes=CLASSES).save(tmp_path / "run")
    share = ["share", "run", "--samplers", "ddim", "--step-counts", "5"]
    assert main(share) == 0
    assert main(share) == 0
    (tmp_path / "share.html").write_text("<!doctype html>mine")
    assert main(share) == 2
    assert (tmp_path / "share.html").read_text() == "<!doctype html>mine"
    assert sorted(each.name for each in (tmp_path / "run").iterdir()) == [
        "ancestral.json",
        "model_index.json",
        "scheduler",
        "unet",
    ]


TEXTS = (
    "a red bird",
    "",
    "It's 42 BIRDS'll  fly;\tà la carte",
    "Σίσυφος ΟΔΟΣ",
    "ΟΔΟΣ",
    "ẛ̣ é",
    "红色的鸟 🐦‍⬛!!",
    "a<|endoftext|>b",
)


@pytest.fixture(scope="module")
def reader() -> Pipeline:
    """A pipeline that reads texts and is told attributes, by a tokenizer of a few joins."""
    tokenizer = Tokenizer.learn(["a red bird", "a red bird's nest", "it's 42 birds", "σοσ οδοσ"] * 3, 560, 12)
    attributes = (AttributeSpec(name="age", mean=40, std=20), AttributeSpec(name="smiling", mean=0.5, std=0.5))
    spec = ImageSpec(channels=3, height=8, width=8, attributes=attributes)
    config = Config(network=SMALL, text=LearnedText(width=32, layers=1, length=12), diffusion={"prediction": "v"})
    return rounded(answering(Pipeline.fresh(config, spec, "cpu", tokenizer=tokenizer)))


@pytest.mark.parametrize("lower", [True, False])
def test_texts_are_the_tokens_of_python(lower: bool, reader: Pipeline, chromium: Browser, tmp_path: Path) -> None:
    assert isinstance(reader.tokenizer, Tokenizer)
    tokenizer = Tokenizer(reader.tokenizer.joins, 12, lower)
    script = joined(["tokens.js"]) + "\nwindow.tokenized = tokenized;"
    (tmp_path / "tokens.html").write_text(bare_page(script), encoding="utf-8")
    shown = chromium.open(tmp_path / "tokens.html")
    by = {"joins": tokenizer.joins, "length": 12, "lower": lower}
    found = shown.evaluate("(texts, by) => texts.map((text) => tokenized(text, by))", TEXTS, by)
    assert [each["row"] for each in found] == tokenizer.rows(TEXTS)
    assert sum(each["cut"] for each in found) == tokenizer.cut(TEXTS) == 3


def test_prompts_and_attributes_are_told(reader: Pipeline, chromium: Browser, tmp_path: Path) -> None:
    settings, prompts = SamplingSettings(steps=5, guidance=2.0, negative="birds"), ["a red bird", "it's a nest" * 9]
    shown = chromium.open(written(tmp_path, reader, [settings], images=3, prompts=prompts))
    wanted = reader.generate(range(3), reader.condition(None, 3, None, prompts), settings)
    assert agree(result(shown, 3), wanted)
    assert shown.evaluate("document.querySelector('#status').textContent").endswith(
        "the end of a prompt is not read: too many words"
    )
    shown.evaluate(ASK, {"prompt": " \nσοσ\n-x", "attribute-0": "70", "guidance": "1"})
    shown.click("#generate")
    wanted = reader.generate(
        range(3),
        reader.condition(None, 3, {"age": 70}, ["σοσ", "-x"]),
        settings.model_copy(update={"guidance": 1.0, "negative": None}),
    )
    assert agree(result(shown, 3), wanted)
    assert shown.evaluate("document.querySelector('#command').textContent") == (
        "ancestral sample RUN --seed 0 --num-images 3 --prompt 'σοσ' --prompt=-x --attributes age=70 "
        "--sampler ddim --steps 5 --guidance 1"
    )


def test_a_network_that_is_too_large_is_refused_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    wide = UNetSettings(widths=(64,), layers=4, attention=(), middle_attention=False)
    untrained((3, 128, 128), changes={"network": wide}).save(tmp_path / "run")
    assert main(["share", "run"]) == 2
    assert "million; write it by `ancestral export RUN --onnx`" in capsys.readouterr().err
    assert not (tmp_path / "share.html").exists()


def test_a_page_opens_with_as_many_images_as_take_seconds() -> None:
    pipeline = untrained(classes=CLASSES)
    few, many = (pipeline.plan(SamplingSettings(sampler="heun", steps=50, guidance=each)) for each in (3.0, 1.0))
    assert [images_at_first(macs, many) for macs in (10**6, 10**8, 2 * 10**9)] == [16, 8, 1]
    assert images_at_first(10**8, few) == 4
