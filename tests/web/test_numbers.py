"""The view of numbers: what was measured, as the files say it and the report writes it, and measuring from there."""

import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from browsers import Browser, Page
from browsers.reach import THEMES_AND_WIDTHS, arrange, check_reach
from page_calls import canvas, complaints, fill, has_button, opened, press, shows
from studio_calls import StudioProcess

from ancestral import migrations
from ancestral.evaluation.evaluate import Evaluation
from ancestral.evaluation.likelihood import Likelihood
from ancestral.evaluation.metrics import Jackknife
from ancestral.evaluation.sweep import SamplerChoice, Sweep, SweepRow, fewest_calls
from ancestral.jobs.codec_target import TrainCodecSettings
from ancestral.jobs.rate import rate
from ancestral.jobs.train_codec import train_codec
from ancestral.pipeline.building import build_schedule
from ancestral.report.facts import with_error
from ancestral.report.measurements import plain
from ancestral.training.default_sampling import config_of
from ancestral.viz.pictures import pairs, save_png

OLD_RUN = Path(__file__).parents[1] / "old_run"
IMAGES = torch.randint(0, 256, (4, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
PAIRS = [{"generated": i, "training": i, "distance": distance} for i, distance in enumerate((12.2, 13.7))]
OUT_OF_DATE = """[...document.querySelectorAll("#view .warning")].some((each) => {
  return each.checkVisibility() && each.textContent.startsWith("Out of date");
})"""


@pytest.fixture(scope="module")
def measured(studio: StudioProcess) -> str:
    """A run with what an earlier version measured; its id."""
    folder = shutil.copytree(studio.folder / "tiny", studio.folder / "measured")
    shutil.copy(OLD_RUN / "sweep.json", folder)
    tree = {**migrations.evaluation(json.loads((OLD_RUN / "evaluation.json").read_text())), "pairs": PAIRS}
    tree["nearness"][0]["near"] = 12.5
    (folder / "evaluation.json").write_text(json.dumps(tree))
    save_png(pairs(IMAGES[:2], IMAGES[2:]), folder / "evaluation-nearest.png")
    studio.wait("measured", lambda card: card["usable"])
    return "measured"


def with_open_form(page: Page, name: str) -> None:
    """The page with the form of a measurement alone, so that its fields have names of their own."""
    page.evaluate(
        """(name) => {
          for (const each of document.querySelectorAll("#view section[aria-labelledby]")) {
            const form = each.querySelector("details:has(form)");
            if (each.getAttribute("aria-labelledby") === `numbers-${name}`) form.open = true;
            else each.remove();
          }
        }""",
        name,
    )


def said(page: Page) -> str:
    """The text of the view, its spaces plain."""
    return str(page.evaluate("document.querySelector('#view').textContent")).replace("\xa0", " ")


def test_what_was_measured_stands_there_with_its_errors(
    chromium: Browser, studio: StudioProcess, measured: str
) -> None:
    page = opened(chromium, studio, f"#/numbers?run={measured}", "Fréchet distance ↓")
    page.wait(shows("Recommended:"))
    text = said(page)
    evaluation = Evaluation.model_validate(migrations.evaluation(json.loads((OLD_RUN / "evaluation.json").read_text())))
    for compared in evaluation.comparisons:
        for number in compared.numbers:
            assert with_error(number.value, number.standard_error) in text, number
    sweep = Sweep.model_validate(migrations.sweep(json.loads((OLD_RUN / "sweep.json").read_text())))
    assert with_error(sweep.rows[0].frechet, sweep.rows[0].jackknife.error) in text
    assert "20 images of each are too few to choose by" in text
    assert not page.evaluate(OUT_OF_DATE)
    assert "12.2, suspiciously near13.7" in text and "no more than 12.5." in text
    page.wait("document.querySelector('.pairs canvas').width === 198")
    for i in range(2):
        page.evaluate("(i) => { document.querySelectorAll('.pairs canvas')[i].id = `pair-${i}`; }", i)
        shown = canvas(page, f"#pair-{i}")[..., 0]
        for half, image in ((shown[:, :96], IMAGES[i]), (shown[:, -96:], IMAGES[i + 2])):
            assert (half[::12, ::12] == image[0].numpy()).all()
    weights = next((studio.folder / measured / "pipeline").glob("*/*.safetensors"))
    os.utime(weights)
    again = opened(chromium, studio, f"#/numbers?run={measured}", "Recommended:")
    assert again.evaluate(OUT_OF_DATE)
    os.utime(weights, (0, 0))
    assert complaints(page) == []


def test_a_likelihood_is_measured_from_the_page(chromium: Browser, studio: StudioProcess, measured: str) -> None:
    page = opened(chromium, studio, f"#/numbers?run={measured}", "Not measured yet")
    with_open_form(page, "likelihood")
    fill(page, Images=20, Terms=3)
    page.wait(shows("--images 20 --timesteps 3"))
    press(page, "Measure")
    page.wait(shows("bits/dim, the variational bound"))
    found = json.loads((studio.folder / measured / "likelihood.json").read_text())
    text = said(page)
    for name in ("total", "diffusion", "reconstruction"):
        assert with_error(found[name]["value"], found[name]["standard_error"]) in text
    assert "20 images are too few" in text
    edges = page.evaluate(
        """async (file) => {
          const { edgesOf } = await import("/static/web/page/likelihood_numbers.js");
          const { get } = await import("/static/web/page/api.js");
          return edgesOf(file, await get("/api/runs/measured"));
        }""",
        found,
    )
    schedule = build_schedule(config_of(studio.folder / measured).diffusion.schedule)
    assert edges == pytest.approx([*plain(Likelihood.model_validate(found), schedule).log_snr], abs=1e-6)
    page.wait("document.querySelectorAll('.chart svg path.line').length >= 3")  # once their width is known
    page.wait("document.querySelectorAll('.chart .error').length > 10")
    assert page.complaints == []


def test_a_measurement_is_found_again_and_stopped(chromium: Browser, studio: StudioProcess, measured: str) -> None:
    page = opened(chromium, studio, f"#/numbers?run={measured}", "Fréchet distance ↓")
    with_open_form(page, "evaluation")
    fill(page, Images=100000)
    page.wait(shows("--images 100000"))
    press(page, "Measure")
    page.wait(has_button("Stop"))
    again = opened(chromium, studio, f"#/numbers?run={measured}", "Fréchet distance ↓")
    with_open_form(again, "evaluation")
    again.wait(has_button("Stop"))
    press(again, "Stop")
    for each in (page, again):
        each.wait("document.querySelector('main form > [role=status]').textContent.startsWith('stopped')")
        each.wait(has_button("Measure"))


def test_a_row_of_a_sweep_becomes_how_the_run_generates(
    chromium: Browser, studio: StudioProcess, measured: str
) -> None:
    folder = studio.folder / measured
    page = opened(chromium, studio, f"#/numbers?run={measured}", "Recommended:")
    page.evaluate(
        "(() => [...document.querySelectorAll('summary')].find((each) => each.textContent === 'All 1 rows').click())()"
    )
    press(page, "Keep it")
    page.wait(shows("Kept:"))
    sampling = config_of(folder).sampling
    assert (sampling.sampler, sampling.grid, sampling.steps) == ("ddim", "trailing", 2)
    assert "ancestral sweep measured --restore" in said(page)


def test_the_page_recommends_what_the_command_recommends(page: Page) -> None:
    draw = random.Random(0)
    for _ in range(20):
        rows = []
        for number in range(8):
            value = draw.uniform(1, 2)
            without = [tuple(value + draw.gauss(0, 0.05) for _ in range(10)) for _ in range(2)]
            choice = SamplerChoice(sampler="ddim", grid=str(number), budget=9, steps=9, calls=draw.choice((5, 10, 20)))
            rows.append(SweepRow(choice=choice, jackknife=Jackknife(value, *without), to_flow=None, agreement=None))
        trees: list[Any] = [row.model_dump(mode="json") for row in rows]
        grid, error = page.evaluate(
            """async (rows) => {
              const { errorOf, recommended } = await import("/static/web/page/sweep_numbers.js");
              const found = recommended(rows);
              return [found.choice.grid, errorOf(found.jackknife)];
            }""",
            trees,
        )
        best = fewest_calls(rows)
        assert grid == best.choice.grid
        assert error == pytest.approx(best.jackknife.error)


@pytest.fixture(scope="module")
def codec(studio: StudioProcess) -> str:
    """An autoencoder's run, with its bytes and quality; its id."""
    from ancestral.jobs.measurement_settings import RateJobSettings

    settings = {
        "codec": {"widths": [8, 8], "channels": 2, "layers": 1, "norm_groups": 4},
        "training": {"steps": 2, "batch_size": 8, "checkpoint_every_steps": 2, "sample_every_steps": 2},
        "compute": {"precision": "float32"},
    }
    run = studio.folder / "codec"
    assert [*train_codec(TrainCodecSettings(target="digits", settings=settings, out=run))]
    few = {"num_images": 6, "num_fitted": 20, "steps": (24.0, 120.0), "qualities": (10, 90), "num_shown": 1}
    assert [*rate(RateJobSettings(codec=run, **few))]
    studio.wait("codec", lambda card: bool(card["kind"] == "autoencoder"))
    return "codec"


def test_an_autoencoder_has_bytes_against_quality(chromium: Browser, studio: StudioProcess, codec: str) -> None:
    page = opened(chromium, studio, f"#/numbers?run={codec}", "Not rounded:")
    page.wait(shows("latents of an image"))
    quality = json.loads((studio.folder / codec / "quality.json").read_text())
    rates = json.loads((studio.folder / codec / "rate" / "rate.json").read_text())
    text = said(page)
    assert with_error(quality["psnr"], quality["psnr_error"]) in text
    assert with_error(*rates["restored"]["psnr"]) in text
    assert page.evaluate("document.querySelectorAll('.chart').length") == 2
    assert page.complaints == []


@pytest.mark.parametrize(("scheme", "width"), THEMES_AND_WIDTHS)
def test_numbers_are_within_reach_of_everybody(
    scheme: str, width: int, chromium: Browser, studio: StudioProcess, measured: str, codec: str
) -> None:
    for run, words in ((measured, "Recommended:"), (codec, "Not rounded:")):
        page = opened(chromium, studio, f"#/numbers?run={run}", words)
        arrange(page, scheme, width)
        page.evaluate("(() => { for (const each of document.querySelectorAll('#view details')) each.open = true; })()")
        check_reach(page, width)
