"""The report of real, tiny runs: it is whole, asks the network for nothing, and says what is true."""

import io
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Generator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from test_html import Seen

from ancestral.data.datasets import load
from ancestral.data.imageset import Parts
from ancestral.errors import CannotWrite, InputError
from ancestral.evaluation.evaluate import as_pixels
from ancestral.jobs.events import NoteEvent
from ancestral.jobs.report import ReportSettings, report
from ancestral.pipeline import Pipeline
from ancestral.report.facts import RunFacts, read_facts, with_error
from ancestral.report.losses import loss_at, timesteps
from ancestral.report.page import CONTENTS, write_report
from ancestral.report.samples import Samples, copies, generate
from ancestral.settings import Config, merged
from ancestral.tensors import Pixels
from ancestral.training.loop import train
from ancestral.training.run import RunFolder

HOSTILE = ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "<b>&amp;</b>" + "long" * 60]
CHROMIUM = Path("/usr/bin/chromium")
TINY: dict[str, Any] = {
    "network": {"widths": (16, 16), "layers": 1, "attention": (), "norm_groups": 4, "middle_attention": False},
    "diffusion": {"schedule": {"num_timesteps": 40}},
    "sampling": {"steps": 5},
    "training": {"minutes": None, "steps": 4, "batch_size": 32, "log_every_steps": 2, "validate_every_steps": 2},
}


def settings(**data: Any) -> Config:
    return merged(Config(), {**TINY, "data": {"size": 8, **data}}, "the test")


def fresh(config: Config, parts: Parts) -> Pipeline:
    return Pipeline.fresh(config, parts.train.spec, "cpu")


def untrained(path: Path, config: Config) -> Path:
    """A run that has saved its pipeline and logged nothing yet."""
    path.mkdir()
    RunFolder(path).config.write_text(config.model_dump_json())
    fresh(config, load(config.data)).save(RunFolder(path).pipeline)
    return path


def hostile_folder(path: Path, key: str) -> Path:
    """36 images whose labels or captions want to be markup."""
    path.mkdir()
    random = np.random.default_rng(0)
    lines = []
    for i in range(36):
        Image.fromarray(random.integers(0, 256, (8, 12, 3), dtype=np.uint8)).save(path / f"{i}.png")
        lines.append(json.dumps({"file_name": f"{i}.png", key: HOSTILE[i % 3]}))
    (path / "metadata.jsonl").write_text("\n".join(lines))
    return path


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run by class, really trained, with an evaluation of numbers that are easy to find again."""
    config, path = settings(source="digits"), tmp_path_factory.mktemp("runs") / "digits"
    parts = load(config.data)
    for _ in train(fresh(config, parts), parts, RunFolder(path), say=lambda words: None):
        pass
    (path / "evaluation.json").write_text(json.dumps(evaluation()))
    (path / "classifier").mkdir()
    lines = [{"step": 1, "images": 32, "loss": 2.3}, {"step": 2, "images": 64, "loss": 1.25, "held_out_loss": 1.5}]
    RunFolder(path / "classifier").log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write(path)
    return path


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose class names, and whose folders' names, want to be markup; not square, RGB, nothing logged."""
    folder = hostile_folder(tmp_path_factory.mktemp("images") / "<i>birds & <script>", "label")
    config = settings(source=str(folder), size=(8, 12))
    path = untrained(tmp_path_factory.mktemp("runs") / "<u>run", config)
    write(path)
    return path


def evaluation() -> dict[str, Any]:
    def comparison(name: str, base: float) -> dict[str, Any]:
        metrics = ("frechet", "kernel", "precision", "recall", "density", "coverage")
        numbers = [{"name": m, "value": base + i / 16, "standard_error": 0.25} for i, m in enumerate(metrics)]
        return {"name": name, "num_left": 150, "num_right": 180, "numbers": numbers}

    names = ("generated against test", "generated against train", "train half against half", "train against test")
    near = {
        "num_generated": 150,
        "num_held_out": 180,
        "num_training": 1527,
        "generated_median": 3.0,
        "held_out_median": 2.0,
    }
    return {
        "num_generated": 150,
        "features": {"kind": "labels", "width": 64, "num_classes": 10, "accuracy": 0.987, "num_held_out": 180},
        "comparisons": [comparison(name, 5.5 - i) for i, name in enumerate(names)],
        "nearness": [{"space": "pixels", **near, "ratio": None, "nearer": 0.02}],
        "agreement": {"name": "agreement", "value": 0.953, "standard_error": 0.009},
    }


def write(run: Path, out: Path | None = None) -> list[str]:
    """Writes a report; what is said meanwhile."""
    return [event.text for event in report(ReportSettings(run=run, out=out)) if isinstance(event, NoteEvent)]


def page_of(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def content(uri: str) -> bytes:
    return b64decode(uri.partition("base64,")[2], validate=True)


def images_of(page: str) -> list[dict[str, str | None]]:
    seen = Seen(page)
    return [a for tag, a in zip(seen.tags, seen.attributes, strict=True) if tag == "img"]


def tiles_of(page: str, anchor: str) -> list[str]:
    """The pictures of a section, as data: URIs in order."""
    section = re.search(rf'<section id="{anchor}">(.*?)</section>', page, re.DOTALL)
    assert section
    return [str(image["src"]) for image in images_of(section[1])]


def shrunk(uri: str, like: Pixels) -> np.ndarray:
    """The image a tile enlarges, (H, W, ...)."""
    with Image.open(io.BytesIO(content(uri))) as image:
        step = image.height // like.shape[2]
        return np.asarray(image)[step // 2 :: step, step // 2 :: step]


def test_every_section_stands_in_order_and_every_link_leads_to_one(digits: Path) -> None:
    page, anchors = page_of(digits), [anchor for anchor in CONTENTS if anchor not in ("text", "autoencoder")]
    seen = Seen(page)
    assert re.findall(r'<section id="(\w+)">', page) == anchors
    links = [a["href"] for tag, a in zip(seen.tags, seen.attributes, strict=True) if tag == "a"]
    assert links == [f"#{anchor}" for anchor in anchors]
    assert (seen.tags.count("h1"), seen.tags.count("h2")) == (1, len(anchors))


@pytest.mark.parametrize("run", ["digits", "hostile"])
def test_nothing_is_fetched_run_or_styled_from_elsewhere(run: str, request: pytest.FixtureRequest) -> None:
    page = page_of(request.getfixturevalue(run))
    seen = Seen(page)
    assert not {"script", "iframe", "object", "embed", "form", "base", "i", "b", "u"} & {*seen.tags}
    for attributes in seen.attributes:
        assert not any(name == "style" or name.startswith("on") for name in attributes)
        for name in {"src", "href", "srcset"} & {*attributes}:
            assert str(attributes[name]).startswith(("data:", "#"))
    (css,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    assert not re.search(r"url\(|@import|@font-face|expression", css)
    policy = next(str(a["content"]) for a in seen.attributes if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert f"'sha256-{b64encode(sha256(css.encode()).digest()).decode()}'" in policy


@pytest.mark.parametrize("run", ["digits", "hostile"])
def test_every_picture_has_words_and_is_a_picture_of_the_size_it_says(run: str, request: pytest.FixtureRequest) -> None:
    images = images_of(page_of(request.getfixturevalue(run)))
    assert len(images) > 80
    for attributes in images:
        assert attributes["alt"]
        with Image.open(io.BytesIO(content(str(attributes["src"])))) as image:
            image.load()
            assert image.size == (int(str(attributes["width"])), int(str(attributes["height"])))
            assert 96 <= min(image.size) <= max(image.size) <= 1600


def test_the_page_of_digits_is_small(digits: Path) -> None:
    assert (digits / "report.html").stat().st_size < 3_000_000


def test_the_samples_are_those_of_the_seeds_and_classes_it_names(digits: Path) -> None:
    page, pipeline = page_of(digits), Pipeline.load(digits)
    wanted = pipeline.generate(range(80), torch.arange(80) // 8)
    shown = np.stack([shrunk(uri, wanted) for uri in tiles_of(page, "samples")])
    assert np.array_equal(shown, wanted[:, 0].numpy())
    assert "seeds" in page and "0 to 79" in page and pipeline.weights_hash() in page


def test_the_film_moves_and_a_still_stands_in_for_readers_who_want_no_motion(digits: Path) -> None:
    page = page_of(digits)
    film = next(uri for uri in tiles_of(page, "film") if uri.startswith("data:image/gif"))
    with Image.open(io.BytesIO(content(film))) as gif:
        assert getattr(gif, "n_frames") == 6  # noqa: B009 (five steps and the finished images)
        gif.seek(5)
        last = np.asarray(gif.convert("L"))
    attributes = next(a for a in Seen(page).attributes if a.get("media") == "(prefers-reduced-motion: reduce)")
    with Image.open(io.BytesIO(content(str(attributes["srcset"])))) as still:
        assert np.array_equal(np.asarray(still.convert("L")), last)


def test_the_film_s_estimates_are_not_its_states() -> None:
    """Guards against an "x0" row that is really x of the next step.

    A new network answers 0, here meaning that x0 is grey: so grey is every estimate, and x only once it has arrived.
    """
    config = merged(settings(source="digits"), {"diffusion": {"prediction": "x0"}}, "the test")
    parts = load(config.data)
    frames = generate(fresh(config, parts), parts.train).frames
    assert [frame.t for frame in frames] == [40, 32, 24, 16, 8, 0]
    assert all(bool((frame.x0 == 128).all()) for frame in frames)
    spread = [float(frame.x.double().std()) for frame in frames]
    assert spread == sorted(spread, reverse=True) and spread[-2] > 5 and spread[-1] == 0


def test_the_film_ends_in_the_samples_of_the_page(digits: Path) -> None:
    """Guards against images that change with the batch they are generated in."""
    draws = generate(Pipeline.load(digits), load(RunFolder(digits).read_config().data).train)
    assert draws.labels is not None and draws.labels[draws.shown].tolist() == list(range(8))
    assert (draws.frames[-1].x.int() - draws.pixels[draws.shown].int()).abs().max() <= 1


def test_copies_are_shown_first_at_distance_0_beside_what_they_copy(digits: Path) -> None:
    facts = read_facts(digits)
    pixels = torch.full((20, 1, 8, 8), 128, dtype=torch.uint8)
    pixels[13] = as_pixels(facts.parts.train)[7]
    draws = Samples(pixels, None, [], [])
    section = copies(facts, draws)
    first, second = tiles_of(section, "copies")[:2]
    assert first == second
    assert np.array_equal(shrunk(first, pixels), pixels[13, 0].numpy())
    assert re.findall(r"<figcaption>(.*?)</figcaption>", section)[0] == "0"
    assert "90 validation images, which nobody trained on" in section


def test_loss_by_t_takes_the_same_noise_at_every_t() -> None:
    """The last convolution starts at zero, so a new network predicts eps = 0 and loses exactly the mean of eps²."""
    config = settings(source="digits")
    parts = load(config.data)
    pipeline = fresh(config, parts)
    losses = [loss_at(pipeline, parts.validation, t) for t in (1, 20, 40)]
    assert len({*losses}) == 1
    assert losses[0][0] == pytest.approx(1, abs=4 * losses[0][1])
    assert losses[0][1] == pytest.approx((2 / 64 / 90) ** 0.5, rel=0.3)


@pytest.mark.parametrize("num_timesteps", [1, 2, 19, 20, 21, 1000])
def test_timesteps_go_from_1_to_the_end_without_repeating(num_timesteps: int) -> None:
    times = timesteps(num_timesteps)
    assert times[0] == 1 and times[-1] == num_timesteps
    assert len(times) == len({*times}) == min(20, num_timesteps)


def test_the_numbers_of_the_logs_stand_at_the_top(digits: Path, tmp_path: Path) -> None:
    text = Seen(page_of(digits)).text
    facts = read_facts(digits)
    assert "images seen128" in text
    assert f"held-out loss{facts.log[-1]['held_out_loss']:.4f}" in text
    assert f"parameters{sum(p.numel() for p in facts.pipeline.network.parameters()):,}" in text
    lost = {"step": 99, "minutes": 1e6, "images_per_second": 1}
    ahead = RunFacts(**{**facts.__dict__, "timing": [*facts.timing, lost]})
    assert ahead.minutes() == facts.timing[-1]["minutes"], "time after the last logged step is not that of its images"


def test_the_loss_of_a_classifier_is_shown_where_one_was_trained(digits: Path, hostile: Path) -> None:
    shown = "loss of the classifier of noisy images, 1.25 at the end"
    assert shown in page_of(digits) and "Classifier of noisy images" not in page_of(hostile)


def test_an_evaluation_is_shown_whole_beside_its_floors(digits: Path) -> None:
    text = Seen(page_of(digits)).text
    assert "Fréchet distance5.5 real images 2.5" in text
    assert "class agreement95.3% held-out images 98.7%" in text
    for name in ("generated against test", "generated against train", "train half against half", "train against test"):
        assert name in text
    assert text.count("± 0.25") == 24
    assert "no telling" in text and "2.0%" in text


def test_the_settings_on_the_page_are_the_run_s(digits: Path) -> None:
    page = page_of(digits)
    text = Seen(page).text
    assert "ancestral train --config" in text
    _, _, file = text.partition("The same as a file for --config")
    assert Config.model_validate_json(file[: file.rindex("}") + 1]) == RunFolder(digits).read_config()
    assert "training.batch_size" in text and "Images of one optimiser step." in text


def test_hostile_names_are_shown_as_they_are(hostile: Path) -> None:
    text = Seen(page_of(hostile)).text
    for name in HOSTILE[:2]:
        assert name in text
    assert "<i>birds & <script>" in text
    assert "ancestral evaluate '" in text, "the path has letters that a shell would take for its own"


def test_a_run_that_has_logged_nothing_says_so(hostile: Path) -> None:
    text = Seen(page_of(hostile)).text
    assert text.count("not logged yet") == 4
    assert "Nothing has been logged yet" in text and "Not measured yet" in text


def test_captions_without_classes_and_without_held_out_images(tmp_path: Path) -> None:
    folder = hostile_folder(tmp_path / "captions", "text")
    config = settings(source=str(folder), validation=0, test=0, labels="none", color="grey")
    run = untrained(tmp_path / "run", config)
    out = tmp_path / "elsewhere" / "page.html"
    said = write(run, out)
    seen = Seen(out.read_text(encoding="utf-8"))
    assert not (run / "report.html").exists()
    assert said[0] == "generating 40 samples" and len(said) == 4
    assert HOSTILE[0] in seen.text and "script" not in seen.tags
    assert "no validation part" in seen.text and "without classes" in seen.text
    assert "no held-out loss against t" in seen.text and "no image was held out" in seen.text
    assert "36 training images, 0 for validation, 0 for test" in seen.text


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (7.594, 1.62, "7.6 ± 1.6"),
        (-0.01863, 0.0341, "−0.019 ± 0.034"),
        (0.98333, 0.00961, "0.9833 ± 0.0096"),
        (12345.6, 120.0, "12,346 ± 120"),
        (0.5, None, "0.5"),
        (1.0, 0.0, "1"),
    ],
)
def test_numbers_have_as_many_places_as_their_errors(value: float, error: float | None, said: str) -> None:
    assert with_error(value, error) == said


def test_what_is_no_run_gives_one_line(digits: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a run folder"):
        write(tmp_path / "nowhere")
    with pytest.raises(InputError, match="got a folder"):
        write(digits, tmp_path)
    started = tmp_path / "started"
    started.mkdir()
    RunFolder(started).config.write_text(settings(source="digits").model_dump_json())
    (started / "lock").touch()
    with pytest.raises(InputError, match="saved no pipeline yet"):
        write(started)


def test_damaged_numbers_and_other_images_are_named(tmp_path: Path) -> None:
    run = untrained(tmp_path / "run", settings(source="digits"))
    (run / "evaluation.json").write_text('{"num_generated": 3}')
    with pytest.raises(InputError, match=r"evaluation\.json.*features"):
        write(run)
    RunFolder(run).config.write_text(settings(source="digits", labels="none").model_dump_json())
    with pytest.raises(InputError, match="restore the images"):
        write(run)
    assert not (run / "report.html").exists()


def test_a_page_that_cannot_be_written_is_an_error_of_its_own(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def page(facts: RunFacts) -> Generator[str, None, str]:
        yield "it"
        return "a page"

    monkeypatch.setattr("ancestral.report.page.page", page)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is no folder"):
        write(digits, tmp_path / "file" / "report.html")
    with pytest.raises(CannotWrite, match="cannot write"):  # it was a folder before the work
        [*write_report(digits, tmp_path / "file" / "report.html")]


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed: the page is not tried in a browser")
def test_in_a_real_browser_nothing_overflows_and_nothing_is_complained_of(digits: Path, hostile: Path) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    complaints: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        for run in (digits, hostile):
            page = browser.new_page()
            page.on("console", lambda message: complaints.append(message.text))
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("request", lambda r: complaints.append(r.url) if not r.url.startswith(("data:", "file:")) else None)
            page.goto((run / "report.html").as_uri())
            page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
            for width in (360, 1280):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate("document.documentElement.scrollWidth") == width
                assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
                clipped = (
                    "[...document.querySelectorAll('img')].filter(i => i.getBoundingClientRect().right > innerWidth)"
                )
                assert page.evaluate(f"{clipped}.length") == 0
            assert page.evaluate("getComputedStyle(document.querySelector('.wall')).display") == "grid", "styles apply"
        browser.close()
    assert complaints == []
