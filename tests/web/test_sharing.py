"""The view of sharing: files are what the commands write, as large as the page says at most, and saved whole."""

import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from browsers import Browser, Page
from browsers.reach import THEMES_AND_WIDTHS, arrange, check_reach
from page_calls import fill, has_button, opened, press, shows
from studio_calls import StudioProcess

from ancestral.jobs.export import ExportSettings, export
from ancestral.jobs.share import ShareSettings, share

ALONE = """(name) => {
  for (const each of document.querySelectorAll("#view section[aria-label]")) {
    if (each.querySelector("form") && each.getAttribute("aria-label") !== name) each.remove();
  }
  const make = URL.createObjectURL;
  URL.createObjectURL = (blob) => ((window.saved = blob), make.call(URL, blob));
}"""
DIGEST = """(async () => {
  const digest = await crypto.subtle.digest("SHA-256", await window.saved.arrayBuffer());
  return [...new Uint8Array(digest)].map((each) => each.toString(16).padStart(2, "0")).join("");
})()"""
SIZE = """(() => {
  const [, number, unit] = /at most about ([\\d.]+) (kB|MB)/.exec(document.querySelector("#view").textContent);
  return Number(number) * (unit === "kB" ? 1e3 : 1e6);
})()"""


def section(chromium: Browser, studio: StudioProcess, name: str, words: str) -> Page:
    """The page with one of the view's forms alone, in which what is saved is kept."""
    page = opened(chromium, studio, "#/share?run=tiny", "Write the page")
    page.evaluate(ALONE, name)
    page.wait(has_button(words))
    return page


def saved(page: Page, words: str, file: str) -> str:
    """Presses what writes a file, saves it; the digest of what was saved."""
    press(page, words)
    page.wait(has_button(f"Save {file}"))
    press(page, f"Save {file}")
    page.wait("window.saved")
    return str(page.evaluate(DIGEST))


def digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def test_the_page_is_the_one_that_the_command_writes(chromium: Browser, studio: StudioProcess, tmp_path: Path) -> None:
    """Of the same settings, to the bit; and as large as was said before at most, and not much smaller."""
    page = section(chromium, studio, "One page", "Write the page")
    fill(page, Title="A <b>title</b>", Words_beneath="Said.", Bits="8", Steps="2 3", Images_at="2")
    page.wait(shows("--weights 8") + " && " + shows("--step-counts 2 3"))
    most = page.evaluate(SIZE)
    found = saved(page, "Write the page", "share.html")
    asked: dict[str, Any] = {
        "weights": 8,
        "step_counts": (2, 3),
        "num_images": 2,
        "name": "A <b>title</b>",
        "words": "Said.",
    }
    samplers = re.findall(
        r"--samplers ([a-z0-9+ -]+?)(?: --|$)", page.evaluate("document.querySelector('.command code').textContent")
    )
    settings = ShareSettings(
        run=studio.folder / "tiny", out=tmp_path / "share.html", samplers=samplers[0].split(), **asked
    )
    assert [*share(settings)]
    assert found == digest(tmp_path / "share.html") == digest(studio.folder / "tiny" / "share.html")
    assert most / 1.5 < (tmp_path / "share.html").stat().st_size <= most
    assert page.complaints == []


def test_onnx_and_the_report_are_what_the_commands_write(
    chromium: Browser, studio: StudioProcess, tmp_path: Path
) -> None:
    page = section(chromium, studio, "ONNX", "Write ONNX")
    fill(page, Bits="16")
    page.wait(shows("--weights 16"))
    most = page.evaluate(SIZE)
    found = saved(page, "Write ONNX", "model.onnx")
    assert [*export(ExportSettings(run=studio.folder / "tiny", onnx=tmp_path / "model.onnx", weights=16))]
    assert found == digest(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_size <= most
    page = section(chromium, studio, "Report", "Write the report")
    found = saved(page, "Write the report", "report.html")
    assert found == digest(studio.folder / "tiny" / "report.html")
    assert page.complaints == []


def test_without_onnx_the_page_says_what_is_missing(chromium: Browser, studio: StudioProcess) -> None:
    page = chromium.open(studio.address)
    page.evaluate("""(() => {
      const own = window.fetch;
      window.fetch = async (path, ...rest) => {
        const answer = await own(path, ...rest);
        return path === "/api/runs/tiny" ? Response.json({ ...(await answer.json()), writes_onnx: false }) : answer;
      };
      location.hash = "#/share?run=tiny";
    })()""")
    page.wait(shows("pip install 'ancestral[onnxruntime]'"))
    assert not page.evaluate(has_button("Write ONNX"))


def test_the_folder_of_diffusers_is_named_from_the_studio(chromium: Browser, studio: StudioProcess) -> None:
    page = opened(chromium, studio, "#/share?run=tiny", "Folder of diffusers")
    assert page.evaluate(shows("tiny/pipeline")) and not page.evaluate(shows(f"{studio.folder}/tiny/pipeline"))


@pytest.mark.parametrize(("scheme", "width"), THEMES_AND_WIDTHS)
def test_sharing_is_within_reach_of_everybody(
    scheme: str, width: int, chromium: Browser, studio: StudioProcess
) -> None:
    page = opened(chromium, studio, "#/share?run=tiny", "Write the page")
    arrange(page, scheme, width)
    page.wait(has_button("Write the page"))
    check_reach(page, width)
