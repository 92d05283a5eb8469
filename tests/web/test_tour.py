"""The tour in Chromium: its numbers are those of Python, on an image of one's own and the chosen run."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsers import Browser, Page
from browsers.reach import THEMES_AND_WIDTHS, arrange, check_reach
from page_calls import fill, give, go, opened, shows
from PIL import Image
from studio_calls import StudioProcess

from ancestral.jobs.events import ResultEvent
from ancestral.jobs.explain import explain
from ancestral.jobs.explain_settings import SamplingStepSettings, StepSettings, TrainingStepSettings
from ancestral.pipeline import Pipeline
from ancestral.rng import ImageNoise
from ancestral.tensors import from_pixels

T, S, ROW, COLUMN = 334, 200, 2, 5
AT = f"run=tiny&t={T}&s={S}&x={COLUMN}&y={ROW}&seed=3"
NUMBERS = """(() => [...document.querySelectorAll(".equations mn")].map((each) => each.textContent)
  .map((text) => Number(text.replace(/[()]/g, "").replace(/−/g, "-"))).filter((each) => !Number.isNaN(each)))()"""
PICTURES = """[...document.querySelectorAll(".station img, .moments canvas")]
  .every((each) => each.naturalWidth ?? each.width) && document.querySelectorAll(".station figure").length >= 3"""


@pytest.fixture(scope="module")
def own() -> torch.Tensor:
    """(1, 1, 8, 8) uint8"""
    return torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 1, 8, 8), dtype=np.uint8))


@pytest.fixture
def touring(chromium: Browser, studio: StudioProcess, own: torch.Tensor) -> Page:
    """The tour at its first station, with an image of one's own."""
    page = opened(chromium, studio, f"#/tour?{AT}", "The image and the pixel")
    page.wait("document.querySelectorAll('.stations a').length === 5")
    content = BytesIO()
    Image.fromarray(own[0, 0].numpy()).save(content, "PNG")
    give(page, "input[type=file]", content.getvalue(), "own.png")
    page.wait(shows("own.png, fitted to 8x8"))
    return page


def close(shown: list[float], *wanted: float) -> bool:
    """Whether each number is shown, to four decimals or four digits."""
    return all(any(abs(each - value) <= max(6e-5, 6e-4 * abs(value)) for each in shown) for value in wanted)


def told(job: StepSettings) -> dict[str, Any]:
    (*_, result) = explain(job)
    assert isinstance(result, ResultEvent)
    return result.tree


def station(page: Page, number: int, more: str = "") -> None:
    go(page, f"#/tour?{AT}&at={number}{more}")
    page.wait(f"document.querySelector('[aria-current=step]').textContent && location.hash.includes('at={number}')")
    page.wait(f"document.querySelector('.station') && {NUMBERS}.length > {2 if number < 5 else -1}")


def test_noise_and_the_posterior_are_those_of_python(touring: Page, studio: StudioProcess, own: torch.Tensor) -> None:
    diffusion = Pipeline.load(studio.folder / "tiny", "cpu").diffusion
    x0, eps = from_pixels(own).double(), ImageNoise([3], (1, 8, 8))().double()
    noised, (t, s) = diffusion.noised(x0, torch.tensor(T), eps), (torch.tensor(T), torch.tensor(S))
    pixel = (0, 0, ROW, COLUMN)
    level = noised.level
    wanted = [level.alpha, level.sigma, level.log_snr, noised.x_t[pixel], x0[pixel], eps[pixel]]
    assert close(touring.evaluate(NUMBERS), *map(float, wanted))
    station(touring, 2)
    posterior = diffusion.q_posterior(x0, noised.x_t, t, s)
    wanted = [diffusion.schedule.beta(t, s), diffusion.schedule.beta_tilde(t, s), posterior.mean[pixel]]
    assert close(touring.evaluate(NUMBERS), *map(float, [*wanted, *diffusion.posterior_factors(t, s)]))
    before = touring.evaluate(NUMBERS)
    touring.evaluate("document.querySelector('.layers canvas').focus()")
    touring.key("ArrowDown")
    touring.wait(f"JSON.stringify({NUMBERS}) !== {json.dumps(json.dumps(before, separators=(',', ':')))}")
    touring.wait(f"location.hash.includes('y={ROW + 1}')")
    fill(touring, Earlier_timestep="0")
    touring.wait(shows("At s = 0 it is the image's own"))
    assert touring.complaints == []


def test_a_step_of_training_is_that_of_the_command_line(
    touring: Page, studio: StudioProcess, own: torch.Tensor, tmp_path: Path
) -> None:
    station(touring, 3)
    touring.wait(PICTURES)
    Image.fromarray(own[0, 0].numpy()).save(tmp_path / "own.png")
    job = TrainingStepSettings(run=studio.folder / "tiny", image=tmp_path / "own.png", t=T, seed=3, pixel=(ROW, COLUMN))
    found = told(job)
    pixel = {name: value[0] for name, value in found["pixel"].items()}
    shown = touring.evaluate(NUMBERS)
    assert close(shown, pixel["x_t"], pixel["output"], pixel["target"], pixel["x0_estimate"], pixel["squared_error"])
    assert close(shown, found["squared_error"], found["loss"]["value"], found["loss"]["weight"])
    touring.wait(shows("show training-step"))
    assert f"--t {T}" in touring.evaluate("document.querySelector('.command code').textContent")
    assert touring.complaints == []


def test_a_step_of_sampling_is_the_sum_of_its_terms(touring: Page, studio: StudioProcess) -> None:
    station(touring, 4, "&sampler=dpm%2B%2B3m&steps=8&k=4&classes=7")
    touring.wait("document.querySelectorAll('.sum tbody tr').length === 5")
    touring.wait(PICTURES)
    cells = touring.evaluate(
        "[...document.querySelectorAll('.sum tbody tr')].map((row) => [...row.querySelectorAll('td')]"
        ".map((each) => each.textContent.replace(/−/g, '-')))"
    )
    sampling = {"sampler": "dpm++3m", "steps": 8}
    job = SamplingStepSettings(
        run=studio.folder / "tiny", sampling=sampling, step=4, seed=3, classes="7", pixel=(ROW, COLUMN)
    )
    found = told(job)
    for (factor, value, product), term in zip(cells, found["terms"], strict=False):
        assert close([float(factor), float(value)], term["factor"], term["value"][0])
        assert float(product) == pytest.approx(float(factor) * float(value), abs=2e-3)
    assert float(cells[-1][2]) == pytest.approx(found["pixel"]["x_s"][0], abs=6e-5)
    touring.wait(shows("show sampling-step"))
    command = touring.evaluate("document.querySelector('.command code').textContent")
    assert "--classes 7" in command and "--sampler dpm++3m" in command and "--step 4" in command
    fill(touring, Step_of_the_chain="8")
    touring.wait("document.querySelectorAll('.sum tbody tr').length === 2")  # onto 0 it is the guess
    assert touring.complaints == []


def test_the_chain_leads_to_a_step_and_from_what_was_drawn(touring: Page, studio: StudioProcess) -> None:
    station(touring, 5, "&steps=8&k=2")
    touring.wait("document.querySelector('.chart .place')?.getAttribute('visibility') === 'visible'")
    touring.click(".chart svg")
    touring.wait("Number(new URLSearchParams(location.hash.split('?')[1]).get('k')) > 2")
    asked = {"kind": "sample", "run": "tiny", "view": "draw", "settings": {"num_images": 12, "seed": 5}}
    job = studio.post("/api/jobs", asked).value["id"]
    go(touring, f"#/tour?run=tiny&job={job}&image=11&step=1&x=0&y=0")
    touring.wait(
        "location.hash.includes('seed=16') && location.hash.includes('k=2') && location.hash.includes('classes=1')"
    )
    touring.wait(shows("A step of sampling"))
    assert touring.complaints == []


def test_the_run_gives_an_image_which_the_address_keeps(
    touring: Page, chromium: Browser, studio: StudioProcess
) -> None:
    before = touring.evaluate("location.hash")
    touring.click(".own-image button")
    touring.wait(shows("Generated from the seed 0: 0"))
    touring.wait(f"location.hash !== {json.dumps(before)} && location.hash.includes('classes=0')")
    touring.click(".own-image button:nth-of-type(2)")
    touring.wait(shows("Held-out image 0: "))
    touring.wait("!location.hash.includes('classes=0')")
    numbers, kept = touring.evaluate(NUMBERS), touring.evaluate("location.hash")
    again = opened(chromium, studio, kept, "The image and the pixel")
    again.wait(f"JSON.stringify({NUMBERS}) === {json.dumps(json.dumps(numbers, separators=(',', ':')))}")
    assert [*touring.complaints, *again.complaints] == []


@pytest.mark.parametrize(("scheme", "width"), THEMES_AND_WIDTHS)
def test_the_stations_are_within_reach_of_everybody(
    scheme: str, width: int, chromium: Browser, studio: StudioProcess
) -> None:
    page = opened(chromium, studio, f"#/tour?{AT}", "The image and the pixel")
    page.wait("document.querySelectorAll('.stations a').length === 5")
    arrange(page, scheme, width)
    for number in (1, 3, 5) if scheme == "light" else (2, 4):  # each at every width
        station(page, number, "&steps=4")
        page.wait(PICTURES)
        page.wait("document.querySelector('.station .command')?.hidden !== true")
        check_reach(page, width)
    assert page.complaints == []
