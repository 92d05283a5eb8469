"""The view of drawing, in Chromium: what it draws, compares, restores, and keeps where pages and connections do not."""

import io
import os
import shlex
import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from browsers import Browser, Page, opened_browser
from browsers.chromium import ChromiumPage
from browsers.reach import THEMES_AND_WIDTHS, arrange, check_reach
from page_calls import (
    ALERT,
    STATUS,
    WALL,
    begun,
    complaints,
    ended,
    fill,
    give,
    go,
    job_of,
    opened,
    press,
    shows,
    wall,
)
from PIL import Image, ImageSequence
from studio_calls import StudioProcess

from ancestral.cli.main import main

DRAW = "#/draw?run=model%3Adigits"
COMMAND = "document.querySelector('.command code').textContent"
CAUGHT = """(() => {
  window.saved = {};
  HTMLAnchorElement.prototype.click = function () { window.saved.name = this.download; };
  URL.createObjectURL = (blob) => ((window.saved.blob = blob), "#");
})()"""


def generated(command: str, folder: Path) -> np.ndarray:
    """The images of a command, (N, H, W), which are files in a folder."""
    assert main([*shlex.split(command)[1:], "--out", str(folder), "--each"]) == 0
    files = sorted(folder.glob("seed-*.png"), key=lambda file: int(file.stem.split("-")[1]))
    return np.stack([np.asarray(Image.open(file).convert("L")) for file in files])


def test_a_model_that_comes_along_draws_what_the_command_draws(
    chromium: Browser, studio: StudioProcess, tmp_path: Path
) -> None:
    """Before any run is chosen; and a picture of it, dropped, brings its settings back."""
    page = opened(chromium, studio, DRAW, "Next seeds")
    page.wait(f"{COMMAND}.startsWith('ancestral sample')")
    fill(page, Class="3", Seed="5", Images="5", Sampler="dpm++2m", Steps="6", Guidance="2")
    page.wait(f"{COMMAND}.includes('--guidance')")
    command = page.evaluate(COMMAND)
    job = ended(page, studio, begun(page, "Draw"))
    assert job["command"] == command
    images = generated(command, tmp_path)
    assert (wall(page, 5) == images).all()

    page.evaluate(CAUGHT)
    page.evaluate(f"document.querySelector('{WALL}').focus()")
    page.key("ArrowRight")
    assert "image 2 of 5 · seed 6, class 3 · " in page.evaluate("document.querySelector('.moment').textContent")
    press(page, "Save image")
    page.wait("window.saved.blob")
    content = bytes(page.evaluate("window.saved.blob.arrayBuffer().then((buffer) => [...new Uint8Array(buffer)])"))
    assert (np.asarray(Image.open(io.BytesIO(content)).convert("L")) == images[1]).all()
    go(page, DRAW + "&steps=9")
    page.wait(f"{COMMAND}.includes('--steps 9')")
    give(page, "#view form", content)
    page.wait(f"{STATUS}.startsWith('Settings of')")
    page.wait(f"{COMMAND}.includes('--num-images 1 --seed 6')")
    assert "dpm++2m" in page.evaluate(COMMAND)
    ended(page, studio, begun(page, "Draw"))
    assert (wall(page, 1)[0] == images[1]).all()
    assert complaints(page) == []


def set_other(page: Page, field: str, value: str) -> None:
    """Fills in the first field that fits of the other settings."""
    page.evaluate(
        """(selector, value) => {
          const field = document.querySelector(`fieldset.form ${selector}`);
          field.value = value;
          field.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        field,
        value,
    )


def test_two_settings_are_compared_on_the_same_seeds(chromium: Browser, studio: StudioProcess) -> None:
    page = opened(chromium, studio, f"{DRAW}&images=4&steps=4", "Nothing has been drawn yet")
    fill(page, Compare=True)
    page.wait(shows("The other has steps 1 instead of 4."))
    page.wait("[...document.querySelectorAll('.command code')].filter((each) => each.checkVisibility()).length === 2")
    first, other = page.evaluate("[...document.querySelectorAll('.command code')].map((each) => each.textContent)")
    assert "--steps 4" in first and other == first.replace("--steps 4", "--steps 1")
    set_other(page, "[placeholder^=usual]", "4")
    page.wait(shows("The other is the same."))
    ended(page, studio, begun(page, "Draw"))
    page.wait(shows("The other is the same. They are equal, pixel for pixel."))
    set_other(page, "select", "heun")
    ended(page, studio, begun(page, "Draw"))
    page.wait(shows("The other has sampler heun instead of ddim. They differ by up to"))
    seen = {}
    for mode in ("First", "Other", "Difference", "Wipe"):
        press(page, mode)
        seen[mode] = wall(page, 4).astype(int)
    assert (seen["Difference"] == abs(seen["First"] - seen["Other"])).all() and seen["Difference"].any()
    assert (seen["Wipe"][..., :4] == seen["First"][..., :4]).all()
    assert (seen["Wipe"][..., 4:] == seen["Other"][..., 4:]).all()
    address = page.evaluate("location.hash")
    again = opened(chromium, studio, address, "They differ by up to")
    assert (wall(again, 4) == seen["Wipe"]).all()


def test_firefox_shows_what_is_drawn(studio: StudioProcess) -> None:
    with opened_browser("firefox") as firefox:
        page = opened(firefox, studio, "#/draw?run=tiny&images=2&steps=2&sampler=ddim", "Next seeds")
        job = begun(page, "Draw")
        ended(page, studio, job)
        last = studio.ask("GET", f"/api/jobs/{job}/frames?from=2&to=3", headers=studio.own_headers()).body
        assert (wall(page, 2) == np.frombuffer(last, np.uint8).reshape(2, 2, 8, 8)[1]).all()
        assert complaints(page) == []


def test_a_film_is_saved(chromium: Browser, studio: StudioProcess) -> None:
    page = opened(chromium, studio, f"{DRAW}&images=1&steps=4", "Nothing has been drawn yet")
    fill(page, Keep_every_step=True)
    ended(page, studio, begun(page, "Draw"))
    page.evaluate(CAUGHT)
    for kind, name in (("film", "digits-seed-0-film.png"), ("numbers", "digits-steps.npz"), ("all", "digits-grid.png")):
        page.evaluate("(() => { delete window.saved.name; })()")
        press(page, f"Save {kind}")
        page.wait("window.saved.name")
        assert page.evaluate("window.saved.name") == name
        content = page.evaluate("window.saved.blob.arrayBuffer().then((buffer) => [...new Uint8Array(buffer)])")
        if kind == "film":
            frames = [
                np.asarray(each.convert("L")) for each in ImageSequence.Iterator(Image.open(io.BytesIO(bytes(content))))
            ]
            assert len(frames) == 5 and (frames[-1][16::32, 16::32] == wall(page, 1)[0]).all()
        if kind == "numbers":
            assert np.load(io.BytesIO(bytes(content)))["x_t"].shape == (5, 1, 1, 8, 8)


def playwright(page: Page) -> object:
    assert isinstance(page, ChromiumPage)
    return page.page


def test_what_is_drawn_outlives_its_page_and_its_connection(chromium: Browser, studio: StudioProcess) -> None:
    """A page without network, one that is loaded anew and one beside it: all have every frame, and the same."""
    page = opened(chromium, studio, f"{DRAW}&images=4&steps=120&sampler=ancestral", "Nothing has been drawn yet")
    job = begun(page, "Draw")
    page.wait("Number(document.querySelector('.film-bar input').max) > 3")
    address = page.evaluate("location.hash")
    reloaded = opened(chromium, studio, address, "step")
    reloaded.evaluate("location.reload()")
    playwright(page).context.set_offline(True)
    with studio.events() as events:  # it misses at least ten, where as many are to come
        before = studio.get(f"/api/jobs/{job}")["frames"]["count"]
        if before <= 120:
            next(each for each in events if each.name == "frame" and each.data["i"] >= min(before + 10, 120))
    beside = opened(chromium, studio, DRAW, "step")
    playwright(page).context.set_offline(False)
    pages = (page, reloaded, beside)
    for each in pages:
        tree = ended(each, studio, job)
        each.wait(f"document.querySelector('.film-bar input').max === '{tree['frames']['count'] - 1}'")
        assert job_of(each) == job
    assert tree["frames"]["count"] == len(tree["frames"]["steps"]) == 121
    for place in (0, 60, tree["frames"]["count"] - 1):
        for each in pages:
            each.evaluate(
                "(to) => { const slider = document.querySelector('.film-bar input'); slider.value = to;"
                " slider.dispatchEvent(new Event('input')); }",
                place,
            )
        assert len({wall(each, 4).tobytes() for each in pages}) == 1


def test_it_is_stopped_and_another_takes_its_place(chromium: Browser, studio: StudioProcess) -> None:
    page = opened(chromium, studio, f"{DRAW}&images=16&steps=1000", "Nothing has been drawn yet")
    first = begun(page, "Draw")
    page.wait("Number(document.querySelector('.film-bar input').max) > 3")
    second = begun(page, "Draw")
    page.wait("Number(document.querySelector('.film-bar input').max) > 3")
    began = page.evaluate("performance.now()")
    press(page, "Stop")
    page.wait("[...document.querySelectorAll('main button')].find((each) => each.textContent === 'Stop').hidden")
    assert page.evaluate("performance.now()") - began < 5000
    states = [studio.get(f"/api/jobs/{job}")["state"] for job in (first, second)]
    assert states == ["stopped", "stopped"]


def workers_of(studio: StudioProcess) -> list[int]:
    """The processes that compute for a studio."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            parent = int((process / "stat").read_text().rpartition(") ")[2].split()[1])
            if parent == studio.process.pid and b"ancestral.web.worker" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def test_the_death_of_what_draws_is_told_and_the_next_drawing_works(chromium: Browser, studio: StudioProcess) -> None:
    page = opened(chromium, studio, f"{DRAW}&images=16&steps=1000", "Nothing has been drawn yet")
    killed = begun(page, "Draw")
    page.wait("Number(document.querySelector('.film-bar input').max) > 3")
    for worker in workers_of(studio):
        os.kill(worker, signal.SIGKILL)
    page.wait(f"{ALERT}.includes('process')")
    failed = studio.get(f"/api/jobs/{killed}")
    assert failed["state"] == "failed" and "was killed by signal 9" in failed["why"]
    go(page, "#/tour?run=model%3Adigits&at=4")
    page.wait(shows("Loading torch and the model, for "))
    page.wait("document.querySelectorAll('.sum tbody tr').length")
    assert not page.evaluate(shows("Loading torch and the model, for "))
    go(page, f"{DRAW}&images=1&steps=3")
    page.wait(shows("Next seeds"))
    job = begun(page, "Draw")
    assert ended(page, studio, job)["state"] == "done"


def test_stored_settings_are_those_of_the_address(chromium: Browser, studio: StudioProcess) -> None:
    page = opened(
        chromium,
        studio,
        f"{DRAW}&seed=9223372036854775800&images=2&guidance=3&guidance_from=0.3&guidance_to=3",
        "Away from",
    )
    page.wait(f"{COMMAND}.includes('--seed 9223372036854775800') && {COMMAND}.includes('--guidance_interval 0.3 3')")
    fill(page, Eta="7")
    page.wait("document.querySelector('main .fault:not([hidden])')?.textContent")


@pytest.mark.parametrize(("scheme", "width"), THEMES_AND_WIDTHS)
def test_the_views_of_images_are_within_reach_of_everybody(
    scheme: str, width: int, chromium: Browser, studio: StudioProcess
) -> None:
    page = opened(chromium, studio, f"{DRAW}&images=4&steps=3", "Next seeds")
    arrange(page, scheme, width)
    job = begun(page, "Draw")
    ended(page, studio, job)
    fill(page, Compare=True, Guidance="2")
    check_reach(page, width)
    go(page, f"#/trajectory?run=model%3Adigits&job={job}")
    page.wait(shows("The chosen pixel"))
    check_reach(page, width)
    go(page, f"#/edit?run=model%3Adigits&of={job}&image=1")
    page.wait(shows("A box by numbers"))
    check_reach(page, width)
    assert complaints(page) == []
