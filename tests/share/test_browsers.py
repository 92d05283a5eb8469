"""Pages in three browsers: that what tests see of a page is what happens there, and the engine's random numbers."""

from pathlib import Path

import pytest
import torch
from browsers import BROWSERS, Browser, Page, ScriptError, opened_browser
from browsers.webdriver import running, until
from PIL import Image

from ancestral.rng import ImageNoise, mix
from ancestral.share.engine import bare_page

HARNESS = """
window.mixed = (text) => String(mix(text));
window.noise = (seed, count, draws) => {
  const noise = new ImageNoise(seed, count);
  return Array.from({ length: draws }, () => [...noise.next()]);
};
window.compiled = async () => (await WebAssembly.compile(wasm)) instanceof WebAssembly.Module;
"""
USED = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<title>Größe</title>
<style>
  body { margin: 0 }
  #place { position: absolute; left: 20px; top: 100px; width: 200px; height: 100px; background: #eee }
  #cover, #covered { position: absolute; left: 0; top: 300px; width: 99px; height: 99px }
  @media (prefers-color-scheme: dark) { html { background: #012345 } }
</style>
<main>
  <h1>A page that is used</h1>
  <button id="button">Press</button> <label>Text <input id="text"></label>
  <div id="place"></div>
  <button id="covered">Never</button><div id="cover"></div>
</main>
<script>
  window.events = [];
  for (const kind of ["keydown", "pointerdown", "pointermove", "pointerup", "click"])
    addEventListener(kind, (e) => events.push({
      kind, trusted: e.isTrusted, key: e.key, at: [e.clientX, e.clientY], target: e.target.id,
    }));
</script>
"""
NOISY = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; script-src 'unsafe-inline'; worker-src blob:; img-src file:">
<title>noisy</title>
<img src="beside.png" alt="">
<script>
  console.log("written");
  const later = (act) => new Promise((done) => setTimeout(() => { setTimeout(done); act(); }));
  window.done = Promise.all([
    later(() => { throw new Error("thrown"); }),
    later(() => { Promise.reject(new Error("rejected")); }),
    fetch("https://example.com/asked").catch(() => null),
    new Promise((done) => { document.images[0].onerror = done; }),
    new Promise((done) => {
      const script = "console.log('written by a worker'); postMessage(0);";
      new Worker(URL.createObjectURL(new Blob([script]))).onmessage = done;
    }),
  ]);
</script>
"""
WRONG = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>wrong</title><main><h1>Wrong</h1><input><p style="color: #eee; background: #fff">pale</p></main>
"""


def opened(browser: Browser, folder: Path, text: str) -> Page:
    file = folder / "a page.html"  # whose address has a space that is written otherwise
    file.write_text(text, encoding="utf-8")
    return browser.open(file)


@pytest.fixture(scope="module")
def engine(each_browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return opened(each_browser, tmp_path_factory.mktemp("engine"), bare_page(HARNESS))


@pytest.fixture(scope="module")
def used(each_browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return opened(each_browser, tmp_path_factory.mktemp("used"), USED)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 64, 784])
def test_random_numbers_are_torchs(engine: Page, count: int) -> None:
    for seed in (0, 1, 2**40 + 1, 2**63 - 1, -(2**63)):
        noise = ImageNoise([seed], (count,))
        for draw in engine.evaluate("noise", str(seed), count, 3):
            assert (torch.tensor(draw) - noise()[0]).abs().max() <= 1e-6


def test_streams_are_mixed_as_they_are_here(engine: Page) -> None:
    for seed, stream in ((0, "sample"), (-(2**63), "Größe"), (1, 126 * "x")):
        assert engine.evaluate("mixed", f"{seed}/{stream}") == str(mix(seed, stream))


def test_kernels_are_compiled_under_the_policy_and_nothing_is_complained_of(engine: Page) -> None:
    assert engine.evaluate("compiled()")
    assert engine.complaints == []


def test_what_a_page_does_wrong_is_complained_of(each_browser: Browser, tmp_path: Path) -> None:
    page = opened(each_browser, tmp_path, NOISY)
    page.evaluate("done")
    told = "\n".join(page.complaints)
    assert "thrown" in told or "Script error." in told
    for each in ("written", "rejected", "https://example.com/asked"):
        assert each in told
    assert ("beside.png" in told) == (each_browser.name != "firefox")
    assert ("written by a worker" in told) == (each_browser.name != "webkit")


def test_keys_and_mouse_do_what_a_users_do(used: Page) -> None:
    used.evaluate("events.length = 0")
    for name in ("Tab", "Space", "Tab", "a", "B", "ArrowLeft", "Delete", "Shift+Tab", "Enter"):
        used.key(name)
    assert used.evaluate("document.querySelector('#text').value") == "a"
    used.click("#button")
    used.drag([(30, 110), (60, 130), (90, 140)])
    events = used.evaluate("events")
    assert all(event["trusted"] for event in events)
    clicks = [event["target"] for event in events if event["kind"] == "click"]
    assert clicks == ["button", "button", "button", "place"]
    path = [(event["kind"], *event["at"]) for event in events if event["target"] == "place"]
    assert path[-5:] == [
        ("pointerdown", 30, 110),
        ("pointermove", 60, 130),
        ("pointermove", 90, 140),
        ("pointerup", 90, 140),
        ("click", 90, 140),
    ]


def test_nobody_clicks_what_is_covered_or_not_there(used: Page) -> None:
    with pytest.raises(ScriptError, match='#covered is covered by <div id="cover"'):
        used.click("#covered")
    with pytest.raises(ScriptError, match="there is no #nothing"):
        used.click("#nothing")


def test_values_come_out_of_scripts_whatever_the_policy(used: Page) -> None:
    assert used.evaluate("new Promise((done) => setTimeout(done, 1, [1, 'ü', null]))") == [1, "ü", None]
    assert used.evaluate("await 2 // and a comment") == 2
    assert used.evaluate("async (a, b) => a.concat(b)", [1], "x") == [1, "x"]
    assert used.evaluate("undefined") is None
    assert used.evaluate("document.title") == "Größe"
    with pytest.raises(ScriptError, match="no number"):
        used.evaluate("Promise.reject(new TypeError('no number'))")
    used.evaluate("setTimeout(() => { window.late = 3; }, 20), 0")
    used.wait("window.late === 3")


@pytest.mark.parametrize(("width", "height"), [(320, 640), (1200, 900)])
def test_a_page_is_as_large_as_was_asked(used: Page, width: int, height: int, tmp_path: Path) -> None:
    used.resize(width, height)
    assert used.evaluate("[innerWidth, innerHeight]") == [width, height]
    used.screenshot(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as image:
        assert image.size == (width, height)


def test_colours_are_dark_where_asked(used: Page, tmp_path: Path) -> None:
    for on, colour in ((True, (0x01, 0x23, 0x45)), (False, (255, 255, 255))):
        used.dark(on)
        used.screenshot(tmp_path / "page.png")
        with Image.open(tmp_path / "page.png") as image:
            assert image.convert("RGB").getpixel((image.width - 20, 250)) == colour


def test_axe_finds_what_is_wrong_under_a_policy_that_allows_no_script(
    each_browser: Browser, used: Page, tmp_path: Path
) -> None:
    assert used.axe() == []
    found = opened(each_browser, tmp_path, WRONG).axe()
    assert [each.partition(" ")[0] for each in sorted(found)] == ["color-contrast", "html-has-lang", "label"]


def test_a_browser_that_is_missing_skips_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for name in BROWSERS:
        with pytest.raises(pytest.skip.Exception, match=f"is not installed: pages are not tried in {name}"):
            opened_browser(name).__enter__()


def test_a_browser_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    with running(["false"], tmp_path / "output") as process, pytest.raises(RuntimeError, match="ended with 1"):
        until(process, lambda: None)
