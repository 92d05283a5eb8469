"""The view of noise schedules in Chromium: its tables are those of Python, and what it stores trains."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsers import Browser, Page
from browsers.reach import THEMES_AND_WIDTHS, arrange, check_reach
from page_calls import FILL, begun, complaints, ended, fill, go, has_button, opened, press, shows
from studio_calls import TINY, StudioProcess

from ancestral.cli.main import main
from ancestral.diffusion.schedules import Schedule
from ancestral.pipeline.building import GRIDS, build_schedule
from ancestral.rng import ImageNoise
from ancestral.settings import DiffusionSettings, parse

NAMED: dict[str, list[dict[str, Any]]] = {
    "cosine": [{}],
    "linear": [{}, {"beta_start": 0.001, "beta_end": 0.05}],
    "scaled-linear": [{}],
    "sigmoid": [{}],
    "log-snr": [{}, {"log_snr_max": 10.0, "log_snr_min": -8.0}],
    "rectified": [{}, {"shift": 3.0}],
}
SETTINGS = [
    {"name": name, "num_timesteps": T, **options, **({"zero_terminal_snr": True} if zero else {})}
    for name, several in NAMED.items()
    for options in several
    for T in (1000, 64)
    for zero in (False, True)
    if not (zero and name == "rectified")
]
TABLES = """async (settings, steps) => {
  const { tableOf, betasOf, GRIDS } = await import("/static/web/page/schedule_tables.js");
  return settings.map((each) => {
    const table = tableOf(each), grids = Object.values(GRIDS).map((grid) => steps.map((count) => grid(table, count)));
    return { table: [...table], betas: [...betasOf(table)], grids };
  });
}"""
CATCH = """(() => {
  const made = URL.createObjectURL;
  URL.createObjectURL = (blob) => (blob.text().then((text) => (window.saved = text)), made.call(URL, blob));
})()"""
AXES = """[...document.querySelectorAll(".curve, .noise .plot svg")].map((plot) => {
  const marks = [...plot.querySelectorAll("text.middle")].filter((each) => Number.isFinite(Number(each.textContent)));
  return marks.map((each) => {
    const { left, right } = each.getBoundingClientRect();
    return [each.textContent, Math.round((left + right) / 2)];
  });
})"""
CLIPPED = """[...document.querySelectorAll(".chart svg text")].filter((each) => {
  const [inner, outer] = [each, each.closest("svg")].map((one) => one.getBoundingClientRect());
  return inner.left < outer.left || inner.right > outer.right || inner.top < outer.top || inner.bottom > outer.bottom;
}).map((each) => each.textContent)"""
REDRAWN = """async (moves) => {
  const [curve, plots] = [document.querySelector(".curve"), [...document.querySelectorAll(".noise .plot")]];
  const line = curve.querySelector("path.line"), handle = curve.querySelectorAll("circle")[4];
  const { left, top } = handle.getBoundingClientRect(), redrawn = plots.map(() => 0).concat(0);
  const watch = (place, what, i) => new MutationObserver((all) => { redrawn[i] += all.length; }).observe(place, what);
  watch(line, { attributeFilter: ["d"] }, 0);
  plots.forEach((each, i) => watch(each, { childList: true }, i + 1));
  curve.setPointerCapture = () => {};
  const act = (target, kind, by) => {
    const at = { clientX: left + 7, clientY: top + 7 + by, bubbles: true, pointerId: 1 };
    target.dispatchEvent(new PointerEvent(kind, at));
  };
  act(handle, "pointerdown", 0);
  for (let i = 1; i <= moves; i++) act(curve, "pointermove", i / 4);
  act(curve, "pointerup", moves / 4);
  for (let i = 0; i < 30; i++) await new Promise(requestAnimationFrame);
  return redrawn;
}"""
MOMENT = """(place) => {
  const canvas = document.querySelectorAll(".moments canvas")[place], { width, height } = canvas;
  return [...canvas.getContext("2d").getImageData(0, 0, width, height).data].filter((_, i) => i % 4 === 0);
}"""
HANDLES = "[...document.querySelectorAll('.curve circle')]"
VALUES = f"{HANDLES}.map((each) => Number(each.getAttribute('aria-valuenow')))"
SETTLED = "document.querySelectorAll('.curve circle').length > 1 && location.hash.includes('name=')"


def by_python(tree: dict[str, Any]) -> Schedule:
    return build_schedule(parse(DiffusionSettings, {"schedule": tree, "prediction": "v"}, "test").schedule)


def designing(chromium: Browser, studio: StudioProcess, query: str = "") -> Page:
    page = opened(chromium, studio, f"#/schedule{query}", "Keep it")
    page.wait(SETTLED)
    return page


def exported(page: Page) -> dict[str, Any]:
    page.evaluate("(() => { window.saved = ''; })()")
    press(page, "Export JSON")
    page.wait("window.saved")
    found: dict[str, Any] = json.loads(page.evaluate("window.saved"))
    return found


def test_tables_are_those_of_python(chromium: Browser, studio: StudioProcess) -> None:
    page, steps = designing(chromium, studio), (1, 2, 7, 50)
    for tree, found in zip(SETTINGS, page.evaluate(TABLES, SETTINGS, steps), strict=True):
        schedule = by_python(tree)
        assert np.abs(np.array(found["betas"]) - schedule.betas.numpy()).max() < 1e-12, tree
        assert np.abs(np.array(found["table"]) - schedule.alpha_bar.numpy()).max() < 1e-12, tree
        for theirs, grid in zip(found["grids"], GRIDS.values(), strict=True):
            for times, count in zip(theirs, steps, strict=True):  # a tie is rounded either way
                assert (torch.tensor(times) - grid(schedule, count)).abs().max() <= 1, tree
    assert len({json.dumps(tree) for tree in SETTINGS}) == 32


def test_what_is_exported_is_the_table_and_trains(
    chromium: Browser, studio: StudioProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = designing(chromium, studio)
    page.evaluate(CATCH)
    for name in NAMED:
        for zero in (False, True):
            if zero and name == "rectified":
                continue
            fill(page, Schedule=name, Timesteps_T="200", **({} if name == "rectified" else {"No_signal_left": zero}))
            page.wait("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
            schedule = exported(page)["diffusion"]["schedule"]
            assert schedule["name"] == "betas" and schedule["num_timesteps"] == 200
            wanted = by_python({"name": name, "num_timesteps": 200, **({"zero_terminal_snr": True} if zero else {})})
            assert np.abs(np.array(schedule["betas"]) - wanted.betas.numpy()).max() < 1e-12, (name, zero)
    (tmp_path / "own.json").write_text(page.evaluate("window.saved"))
    monkeypatch.chdir(tmp_path)
    words = [
        f"--{branch}.{name} {value}" for branch, name, value in (("network", "widths", 8), ("network", "layers", 1))
    ]
    words += ["--network.attention", "--network.norm_groups 4", "--training.steps 2", "--training.batch_size 8"]
    more = " ".join([*words, "--diffusion.prediction v", "--compute.precision float32"]).split()
    assert main(["train", "digits", "--config", "own.json", *more, "--out", "run"]) == 0
    trained = json.loads((tmp_path / "run" / "config.json").read_text())["diffusion"]["schedule"]
    assert trained["betas"] == schedule["betas"]


def test_a_dragged_point_is_drawn_once_a_frame(chromium: Browser, studio: StudioProcess) -> None:
    """And so are the charts beneath; the image on its way follows."""
    page = designing(chromium, studio)
    before = page.evaluate(VALUES)
    page.evaluate(f"{HANDLES}[4].scrollIntoView({{ block: 'center', behavior: 'instant' }})")
    x, y = page.evaluate(
        f"(({{ left, top }}) => [Math.round(left + 7), Math.round(top + 7)])({HANDLES}[4].getBoundingClientRect())"
    )
    page.drag([(x, y), *((x + round(0.2 * i), y + i) for i in range(1, 41))])
    page.wait(f"{VALUES}[4] < {before[4] - 1}")
    after = page.evaluate(VALUES)
    assert [a for i, a in enumerate(after) if i != 4] == [b for i, b in enumerate(before) if i != 4]
    assert all(b > a for b, a in itertools.pairwise(after))
    assert page.evaluate(REDRAWN, 80) == [1, 1, 1]
    after = page.evaluate(VALUES)
    page.wait("location.hash.includes('name=points')")
    again = designing(chromium, studio, page.evaluate("location.hash.slice('#/schedule'.length)"))
    again.wait(f"Math.abs({VALUES}[4] - {after[4]}) < 0.01")
    for place in (4, 8):
        drawn = page.evaluate(MOMENT, place)
        again.wait(f"({MOMENT})({place}).length === {len(drawn)}")
        assert np.abs(np.subtract(drawn, again.evaluate(MOMENT, place))).max() <= 1
    assert [*complaints(page), *complaints(again)] == []


def test_points_are_moved_by_keys_and_numbers_and_keep_falling(chromium: Browser, studio: StudioProcess) -> None:
    page = designing(chromium, studio)
    before = page.evaluate(VALUES)
    page.evaluate(f"{HANDLES}[4].focus()")
    page.key("ArrowUp")
    page.wait(f"Math.abs({VALUES}[4] - {before[4] + 0.1}) < 0.011")
    for _ in range(6):
        page.key("PageUp")  # as far as its neighbour
    page.wait(f"{VALUES}[4] > {before[3] - 0.03} && {VALUES}[4] < {before[3]}")
    page.key("Delete")
    page.wait(f"{HANDLES}.length === {len(before) - 1}")
    press(page, "Add a point")
    page.wait(f"{HANDLES}.length === {len(before)}")
    page.evaluate("(() => { document.querySelector('.numbers').open = true; document.activeElement.blur(); })()")
    page.evaluate(FILL, "log-SNR of point 9", "-18")
    page.wait(f"{VALUES}[8] === -18")
    page.evaluate(FILL, "log-SNR of point 9", "15")
    page.wait(shows("each lies later and lower than the one before"))
    assert page.evaluate(VALUES)[8] == -18
    page.evaluate(CATCH)
    betas = exported(page)["diffusion"]["schedule"]["betas"]
    by_python({"name": "betas", "num_timesteps": 1000, "betas": betas})
    assert page.complaints == []


def test_the_film_is_the_forward_process(chromium: Browser, studio: StudioProcess) -> None:
    page = designing(chromium, studio, "?run=tiny")
    page.wait(f"({MOMENT})(8).length === 64")
    first, middle = (torch.tensor(page.evaluate(MOMENT, place)) for place in (0, 4))
    schedule, eps = by_python({"name": "cosine", "num_timesteps": 1000}), ImageNoise([0], (1, 8, 8))().flatten()
    x_t = schedule.level(torch.tensor(500)).alpha * (first / 127.5 - 1) + schedule.level(torch.tensor(500)).sigma * eps
    assert float(((x_t + 1) * 127.5).clamp(0, 255).sub(middle).abs().max()) < 1.01
    before = page.evaluate(MOMENT, 4)
    fill(page, Schedule="log-snr")
    page.wait(f"JSON.stringify(({MOMENT})(4)) !== {json.dumps(json.dumps(before, separators=(',', ':')))}")


def test_what_is_stored_is_chosen_for_training_and_trains(chromium: Browser, studio: StudioProcess) -> None:
    page = designing(chromium, studio, "?name=points&T=100&points=0:9,0.3:3,0.7:-2,1:-9")
    fill(page, Name="mine")
    press(page, "Train with it")
    page.wait("location.hash === '#/train?schedule=mine'")
    page.wait("[...document.querySelectorAll('select')].some((each) => each.value === 'mine')")
    (stored,) = studio.get("/api/schedules")
    tree = json.loads((studio.folder / "schedules" / "mine.json").read_text())["diffusion"]["schedule"]
    assert stored["schedule"] == tree and tree["name"] == "betas" and len(tree["betas"]) == 100
    levels = by_python(tree).log_snr(torch.arange(1, 101))
    assert levels[0] == pytest.approx(9, abs=1e-6) and levels[-1] == pytest.approx(-9, abs=1e-6)
    settings = {**TINY, "training": {**TINY["training"], "steps": 2}, "diffusion": {"time": "log-snr"}}
    asked = {"name": "by-mine", "data": None, "preset": "digits", "settings": settings, "schedule": "mine"}
    assert studio.post("/api/runs", asked).status == 200
    studio.wait("by-mine", lambda card: card["state"] == "finished")
    assert studio.get("/api/runs/by-mine")["schedule"]["betas"] == tree["betas"]
    go(page, "#/schedule")
    page.wait(SETTLED)
    page.wait("[...document.querySelectorAll('option')].some((each) => each.value === 'mine')")
    fill(page, Stored_before="mine")
    page.wait(f"{VALUES}.length > 2 && {VALUES}[0] === 9")
    draws_on_it(page, studio)
    assert page.complaints == []


def draws_on_it(page: Page, studio: StudioProcess) -> None:
    """Of a run that was trained with another schedule: what is drawn goes down the levels of the one on the page."""
    go(page, "#/schedule?run=by-mine&name=points&T=40&points=0:6,0.5:0,1:-7")
    page.wait(SETTLED)
    fill(page, Name="other")
    page.wait(has_button("Draw on it"))
    press(page, "Draw on it")
    page.wait("location.hash === '#/draw?run=by-mine&schedule=other'")
    page.wait(shows("--schedule"))
    job = begun(page, "Draw")
    levels = [step["log_snr"] for step in ended(page, studio, job)["frames"]["steps"]]
    assert levels[0] == pytest.approx(-7, abs=1e-6) and levels[1] == pytest.approx(0, abs=0.4)
    go(page, "#/schedule?run=tiny")
    page.wait(shows("tiny cannot be drawn on it: its network is told the number of the step"))
    assert not page.evaluate(has_button("Draw on it"))


@pytest.mark.parametrize(("scheme", "width"), THEMES_AND_WIDTHS)
def test_the_schedule_is_within_reach_of_everybody(
    scheme: str, width: int, chromium: Browser, studio: StudioProcess
) -> None:
    page = chromium.open(studio.address)
    arrange(page, scheme, width)
    go(page, "#/schedule?run=tiny")
    page.wait(SETTLED)
    page.wait("document.querySelectorAll('.noise .plot svg').length === 2")
    curve, *charts = page.evaluate(AXES)
    assert [mark for mark, _ in curve] == ["0", "250", "500", "750", "1000"]
    assert charts == [curve, curve]
    assert page.evaluate(CLIPPED) == []
    check_reach(page, width)
    assert page.complaints == []
