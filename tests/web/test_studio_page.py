"""The studio's page in Chromium: its core, and the views of all runs and of one training."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
from browsers import Browser, Page
from browsers.chromium import ChromiumPage
from browsers.reach import THEMES_AND_WIDTHS, arrange, check_reach
from page_calls import ALERT, FILL, fill, go, has_button, opened, press, shows
from studio_calls import LONG, TINY, StudioProcess

from ancestral.settings import flat
from ancestral.web.trainings import Trainings

PAGES = Path(__file__).parents[2] / "src" / "ancestral" / "web" / "page"


def fill_lines(page: Page, lines: str) -> None:
    """Fills in all settings."""
    page.evaluate("(() => { document.querySelector('.all-settings').open = true; })()")
    fill(page, All_settings=lines)


def reload(page: Page) -> None:
    assert isinstance(page, ChromiumPage)
    page.page.reload()


def test_the_page_is_there_and_asks_nobody_else(chromium: Browser, studio: StudioProcess) -> None:
    """How soon is for the benchmark, `python -m benchmarks.studio`."""
    page = chromium.open(studio.address)
    page.wait("[...document.querySelectorAll('.card img')].some((each) => each.naturalWidth)")
    page.wait("document.querySelector('.sparkline')")
    assert page.complaints == []
    assert page.asked() == []
    assert "token" not in page.evaluate("location.href")


VIEWS = ("#/runs?compare=tiny", "#/train?run=tiny", "#/train")


@pytest.mark.parametrize(("scheme", "width"), THEMES_AND_WIDTHS)
def test_the_views_are_within_reach_of_everybody(
    scheme: str, width: int, chromium: Browser, studio: StudioProcess
) -> None:
    page = chromium.open(studio.address)
    arrange(page, scheme, width)
    for view in VIEWS:
        go(page, view)
        page.wait(shows("Settings that differ" if "compare" in view else "Curves" if "run=" in view else "Budget"))
        check_reach(page, width)
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    assert page.complaints == []


def test_the_theme_is_kept(chromium: Browser, studio: StudioProcess) -> None:
    page = chromium.open(studio.address)
    page.wait("document.querySelector('#views a')")
    words = "document.querySelector('#theme').textContent"
    assert page.evaluate(words) == "Switch to dark"
    page.click("#theme")
    reload(page)
    page.wait("document.documentElement.dataset.theme === 'dark'")
    assert page.evaluate(words) == "Switch to light"


def test_without_the_token_the_page_says_where_it_is_opened(chromium: Browser, studio: StudioProcess) -> None:
    """And with that of an earlier start, what has happened; it takes the address of now, at the view that it shows."""
    page = chromium.open(studio.url)
    page.wait(f"{ALERT}.includes('open the address that `ancestral studio` printed')")
    page.evaluate("sessionStorage.setItem('ancestral-token', 'a'.repeat(32))")
    go(page, "#/train?run=tiny")
    reload(page)
    page.wait(f"{ALERT}.includes('the key of an earlier start') && document.querySelector('.key-form')")
    fill(page, Address_or_key="the key")
    assert "expected the address that was printed" in page.evaluate("document.querySelector('.key-form').innerText")
    fill(page, Address_or_key=studio.address)
    assert isinstance(page, ChromiumPage)
    with page.page.expect_event("load"):
        press(page, "Open")
    page.wait(f"{shows('Curves')} && {ALERT} === '' && location.hash === '#/train?run=tiny'")


def test_a_training_is_begun_watched_stopped_and_goes_on(chromium: Browser, studio: StudioProcess) -> None:
    """And a page that is loaded anew, or opened beside it, shows the same."""
    page = opened(chromium, studio, "#/train", "ancestral train digits")
    changes = {**TINY, "training": {**TINY["training"], "steps": LONG}}
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in flat(changes))
    fill(page, Name="paged")
    fill_lines(page, lines)
    page.wait(shows(f"--training.steps {LONG}"))
    press(page, "Train")
    page.wait("location.hash === '#/train?run=paged'")
    page.wait("document.querySelectorAll('.chart').length >= 4")
    page.wait("document.querySelector('img.wall')?.naturalWidth")
    reload(page)
    page.wait(f"{has_button('Stop and keep')} && document.querySelectorAll('.chart').length >= 4")
    beside = opened(chromium, studio, "#/train?run=paged", "Training")
    beside.wait(has_button("Stop and keep"))
    press(page, "Stop and keep")
    page.wait(has_button("Go on"))
    beside.wait(has_button("Go on"))
    stopped, seen = logged(studio, "paged"), f"images seen{studio.get('/api/runs/paged')['images']:,}"
    for each in (page, beside):
        each.wait(shows(seen))
    press(page, "Go on")
    page.wait(f"/ancestral train .*paged/.test(document.querySelector('main').textContent) && {shows('Training:')}")
    page.wait(f"!({shows(seen)})")
    press(page, "Stop and keep")
    page.wait(has_button("Go on"))
    steps = [record["step"] for record in logged(studio, "paged")]
    assert steps == sorted({*steps})
    assert logged(studio, "paged")[: len(stopped)] == stopped
    saved = studio.get("/api/runs/paged")["checkpoints"][-1]
    press(page, "Go on")
    page.wait(f"{has_button('Stop and keep')} && {shows('Training:')}")
    with held(studio, "paged"):  # else it has saved before it can be asked again
        press(page, "Stop and keep")
        for each in (page, beside):
            each.wait(has_button("Stop without saving…"))
        press(page, "Stop without saving…")
        page.wait(shows(f"What it learned after step {saved:,}, its last checkpoint, is lost if it ends now."))
        press(page, "End it now")
        page.wait(f"!({has_button('End it now')})")
    page.wait(shows(f"It was ended at once. It goes on from step {saved:,}, its last checkpoint."))
    assert studio.get("/api/runs/paged")["checkpoints"][-1] == saved
    assert page.evaluate(ALERT) == ""
    assert page.complaints == []


@contextmanager
def held(studio: StudioProcess, id: str) -> Iterator[None]:
    """A training that does nothing for as long as that."""
    process = Trainings(studio.folder).process(id)
    assert process is not None
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def logged(studio: StudioProcess, id: str) -> list[dict[str, Any]]:
    """The records of a run's log."""
    return [json.loads(line) for line in (studio.folder / id / "log.jsonl").read_text().splitlines()]


def test_every_grid_is_a_position_of_the_slider_which_stays_where_it_was_put(
    chromium: Browser, studio: StudioProcess
) -> None:
    shutil.copytree(studio.folder / "tiny", studio.folder / "walled")
    page = opened(chromium, studio, "#/train?run=walled", "step 6, 3 of 3")
    slider = "document.querySelector('.film input')"
    page.wait(f"{slider}?.max === '2'")
    assert page.evaluate(f"{slider}.value") == "2"
    page.evaluate(f"{slider}.focus()")
    page.key("Home")
    add_grid(studio.folder / "walled", 9)
    page.wait(f"{slider}.max === '3'")
    assert page.evaluate(f"{slider}.value") == "0"
    assert page.evaluate(shows("step 1, 1 of 4"))
    page.key("End")
    add_grid(studio.folder / "walled", 12)
    page.wait(f"{slider}.max === '4'")
    assert page.evaluate(f"{slider}.value") == "4"
    page.wait("document.querySelector('img.wall').alt.endsWith('step 12')")
    assert page.complaints == []


def add_grid(run: Path, step: int) -> None:
    samples = run / "samples"
    shutil.copy(samples / "step-00000003.png", samples / "beside.png")
    (samples / "beside.png").rename(samples / f"step-{step:08d}.png")


def test_what_came_while_the_network_was_gone_is_shown_after_it(chromium: Browser, studio: StudioProcess) -> None:
    shutil.copytree(studio.folder / "tiny", studio.folder / "away")
    page = opened(chromium, studio, "#/train?run=away", "step 6, 3 of 3")
    assert isinstance(page, ChromiumPage)
    page.page.context.set_offline(True)
    add_grid(studio.folder / "away", 9)
    with (studio.folder / "away" / "log.jsonl").open("a") as log:
        log.write(json.dumps({"step": 9, "images": 72, "loss": None, "lr": 1e-3, "skipped": 3}) + "\n")
    studio.wait("away", lambda card: 9 in card["grids"] and card["steps"] == 9)
    page.page.context.set_offline(False)
    page.wait("document.querySelector('img.wall').alt.endsWith('step 9')")
    page.wait(shows("step 9, 4 of 4"))
    for words in ("It has diverged", "3 steps were skipped"):
        page.wait(shows(words))
    assert page.evaluate(ALERT) == ""
    page.wait("!document.querySelector('#jobs').textContent.includes('does not answer')")


def test_runs_are_compared_by_their_curves_and_settings(chromium: Browser, studio: StudioProcess) -> None:
    shutil.copytree(studio.folder / "tiny", studio.folder / "other")
    settings = json.loads((studio.folder / "other" / "config.json").read_text())
    settings["training"]["lr"] = 0.0125
    (studio.folder / "other" / "config.json").write_text(json.dumps(settings))
    page = opened(chromium, studio, "#/runs", "Runs")
    page.wait(
        "document.querySelectorAll('.card').length >= 2 && document.querySelector('[aria-label=\"Compare other\"]')"
    )
    for name in ("tiny", "other"):
        page.click(f"[aria-label='Compare {name}']")
        page.wait(f"document.querySelector('.toolbar').textContent.includes('{name}')")
    page.wait(shows("0.0125"))
    names = "[...document.querySelectorAll('.compared tbody th')].map((each) => each.textContent)"
    assert page.evaluate(names) == ["training.lr"]
    page.wait("document.querySelectorAll('.compared .plot path.line').length === 2")
    for along, last in (("step", "6"), ("images", "48"), ("minutes", None)):
        fill(page, Along=along)
        page.evaluate("(() => { document.querySelector('.compared details').open = true; })()")
        page.wait(f"document.querySelector('.compared .table thead th').textContent.startsWith('{along}')")
        rows = page.evaluate(
            "[...document.querySelectorAll('.compared .table tbody th')].map((each) => each.textContent)"
        )
        assert last is None or rows[-1] == last
    assert "x=minutes" in page.evaluate("location.hash")
    assert page.complaints == []


def test_what_is_wrong_with_a_new_run_is_said_where_it_is_typed(chromium: Browser, studio: StudioProcess) -> None:
    page = opened(chromium, studio, "#/train", "ancestral train digits")
    fill_lines(page, "training.lr = -1")
    page.wait("document.querySelector('textarea[aria-invalid=true]') && " + shows("training.lr"))
    fill_lines(page, "training.lr")
    page.wait(shows("expected name = value in line 1, got training.lr"))
    fill_lines(page, "training.lr = 0.125")
    page.wait(shows("--training.lr 0.125"))
    page.wait("!document.querySelector('[aria-invalid=true]')")
    page.evaluate("(() => { document.querySelector('.all-settings').open = false; })()")
    fill(page, Learning_rate="0.25", Budget="7")
    page.wait(shows("--training.lr 0.25") + " && " + shows("--training.minutes 7"))
    wrong = [
        ("Learning rate", "-1", "", "0.5"),  # in the browser's words
        ("Budget", "", "expected more than 0", "7"),
        ("Network width", "wide", "expected numbers with commas between, got wide", "32, 64"),
        ("Network width", "8.5", "expected a whole number, got 8.5", "32, 64"),
        ("Batch", "0", "expected at least 1, got 0", "8"),
        ("Name", "My run", "expected 1 to 64 of the letters a to z, digits and hyphens, got 'My run'", "mine"),
        ("Name", "tiny", "There is a run of this name; choose another.", "mine"),
    ]
    for label, value, words, right in wrong:
        fill(page, **{label: value})
        page.wait(f"{FAULTS}.length === 1 && !({shows('ancestral train digits')})")
        (said,) = page.evaluate(FAULTS)
        assert said[0] == label and said[1].startswith(words) and "\n" not in said[1]
        live = f"[{has_button('Train')}, {shows('Train is live once what is marked is mended.')}]"
        assert page.evaluate(live) == [False, True]
        fill(page, **{label: right})
        page.wait(f"{FAULTS}.length === 0 && {shows('ancestral train digits')} && {has_button('Train')}")
    assert page.evaluate(shows("--training.lr 0.5")) and page.evaluate(shows("--training.batch_size 8"))


FAULTS = """[...document.querySelectorAll("main .fault")].filter((each) => each.checkVisibility() && each.textContent)
    .map((each) => [each.closest(".field")?.querySelector("label").textContent ?? "", each.textContent])"""
NOT_HIDDEN = """(place) => {
  document.documentElement.style.scrollBehavior = "auto";
  const found = document.querySelector(place);
  scrollTo(0, scrollY + found.getBoundingClientRect().bottom - innerHeight);
  found.focus();
  const bar = document.querySelector("#jobs").getBoundingClientRect();
  return [bar.height, bar.top - found.getBoundingClientRect().bottom];
}"""
"""The height of the bar of jobs, and how far above it an element is that was gone to."""


SIDE = """(() => {
  const label = [...document.querySelectorAll("label")].find((each) => each.textContent.startsWith("Image side"));
  const { value, placeholder } = document.getElementById(label.htmlFor);
  return [value, placeholder];
})()"""


def test_images_are_looked_at_before_they_are_trained_on(chromium: Browser, studio: StudioProcess, data: Path) -> None:
    page = opened(chromium, studio, "#/train", "ancestral train digits")
    page.resize(390, 800)
    waits = "Train is live once the images have been looked at."
    choose = f"({FILL})('Images', 'data~birds')"
    assert page.evaluate(f"(() => {{ {choose}; return [{has_button('Train')}, {shows(waits)}]; }})()") == [False, True]
    page.wait("document.querySelector('#jobs li')")
    height, above = page.evaluate(NOT_HIDDEN, ".all-settings summary")
    assert 0 < height < 800 / 16 and above >= 0, "jobs are a line, and nothing that is gone to is behind it"
    page.wait(has_button("Take the suggestion"))
    found = page.evaluate("document.querySelector('.data-check').innerText")
    for words in (
        "usable images\n8",
        "heights, px\n16",
        "classes\n2",
        "same pixels as another\n1",
        "only 8 images",
    ):
        assert words in found
    assert "red/broken.png" in page.evaluate("document.querySelector('.data-check').textContent")
    page.wait(f"{shows(f'ancestral train {data}/birds')} && {shows('--data.size 16')} && {has_button('Train')}")
    assert page.evaluate(SIDE) == ["16", "16"], "what is suggested is what is trained"
    fill(page, Image_side="24")
    page.wait(shows("--data.size 24"))
    fill(page, Image_side="")
    page.wait(shows("--data.size 16"))
    fill(page, Image_side="24")
    page.wait(shows("--data.size 24"))
    press(page, "Take the suggestion")
    page.wait(shows("--data.size 16"))
    assert page.evaluate(SIDE) == ["16", "16"]
    assert page.evaluate(ALERT) == ""
    assert page.complaints == []


def test_names_are_shown_and_never_read_as_html(chromium: Browser, studio: StudioProcess) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    shutil.copytree(studio.folder / "tiny", studio.folder / hostile)
    page = opened(chromium, studio, "#/runs", "Runs")
    page.wait(f"[...document.querySelectorAll('.card a')].some((each) => each.textContent === {json.dumps(hostile)})")
    assert page.complaints == []


def test_the_types_of_the_modules_are_right() -> None:
    if (compiler := shutil.which("tsc")) is None:
        pytest.skip("expected TypeScript's tsc, got none: the types of the page's modules are not checked")
    options = ["--allowJs", "--checkJs", "--strict", "--noEmit", "--target", "es2022", "--module", "esnext"]
    where = ["--moduleResolution", "node", "--lib", "es2022,dom,dom.iterable", "--skipLibCheck"]
    modules = [str(each) for each in sorted(PAGES.glob("*.js"))]
    found = run([compiler, *options, *where, *modules], capture_output=True, text=True, check=False).stdout
    assert [line for line in found.splitlines() if "error TS" in line and "/share/" not in line] == []
