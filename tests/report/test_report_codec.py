"""The report of an autoencoder's run, really trained and measured: what its page says is what its files hold."""

import io
import json
import re
import shutil
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_html import Seen

from ancestral.cli.main import main
from ancestral.errors import InputError
from ancestral.evaluation.codec_measurement import read_measurement
from ancestral.evaluation.rate import read_rate
from ancestral.jobs.data_settings import ReportSettings
from ancestral.jobs.report import report
from ancestral.report.codec_page import CONTENTS, TERMS
from ancestral.report.facts import with_error
from ancestral.settings import CodecConfig
from ancestral.training.logs import read_log
from ancestral.training.run import CodecRunFolder

TRAIN = (
    "train-codec digits --codec.widths 8 8 --codec.channels 2 --codec.norm_groups 4 --training.batch_size 8 "
    "--training.steps 4 --training.log_every_steps 1 --training.sample_every_steps 2 --compute.precision float32"
)
RATE = "rate --num-images 6 --num-fitted 20 --steps 40 160 --qualities 10 80 --num-shown 2 --shown-bytes 24"


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps, its bytes measured, and its report."""
    run = tmp_path_factory.mktemp("runs") / "digits & <codec>"
    assert main([*TRAIN.split(), "--out", str(run)]) == 0
    assert main([*RATE.split(), str(run)]) == 0
    assert main(["report", str(run)]) == 0
    return run


def page_of(run: Path) -> str:
    return (run / "report.html").read_text(encoding="utf-8")


def reported(run: Path) -> str:
    """The text of the page, written anew."""
    for _ in report(ReportSettings(run=run)):
        pass
    return Seen(page_of(run)).text


def pictures(page: str, anchor: str) -> list[dict[str, str]]:
    """Attributes of the pictures of a section."""
    section = re.search(rf'<section id="{anchor}">(.*?)</section>', page, re.DOTALL)
    assert section
    seen = Seen(section[1])
    return [
        {str(k): str(v) for k, v in a.items()}
        for tag, a in zip(seen.tags, seen.attributes, strict=True)
        if tag == "img"
    ]


def pixels(source: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(source)) as image:
        return np.asarray(image.convert("RGB"))


def test_every_section_stands_in_order_and_asks_the_network_for_nothing(measured: Path) -> None:
    page = page_of(measured)
    seen = Seen(page)
    assert re.findall(r'<section id="(\w+)">', page) == [*CONTENTS]
    links = [a["href"] for tag, a in zip(seen.tags, seen.attributes, strict=True) if tag == "a"]
    assert links == [f"#{anchor}" for anchor in CONTENTS]
    assert not {"script", "iframe", "form", "codec"} & {*seen.tags}
    for attributes in seen.attributes:
        for name in {"src", "href"} & {*attributes}:
            assert str(attributes[name]).startswith(("data:", "#"))


def test_the_last_grid_and_the_picture_of_the_measurement_are_shown(measured: Path) -> None:
    """Pixel for pixel: of two grids the later one."""
    page = page_of(measured)
    for anchor, file in (("images", "samples/step-00000004.png"), ("rate", "rate/rate-images.png")):
        shown = pixels(b64decode(pictures(page, anchor)[-1]["src"].partition("base64,")[2]))
        assert np.array_equal(shown, pixels((measured / file).read_bytes()))
    assert "after step 4" in Seen(page).text


def test_a_curve_stands_for_each_term_that_was_logged(measured: Path) -> None:
    log = read_log(CodecRunFolder(measured).log)
    alts = [each["alt"] for each in pictures(page_of(measured), "losses")]
    logged = [title for name, (title, _) in TERMS.items() if name in log[-1]]
    assert len(logged) == 3 and len(alts) == len(logged) + 2
    assert all(any(alt.startswith(title) for alt in alts) for title in logged)
    nats = log[-1]["reconstruction_nats"]
    assert f"Reconstruction against images seen, {nats:.3g} at the end" in alts


def test_the_numbers_are_those_of_the_files_with_their_errors(measured: Path) -> None:
    text = Seen(page_of(measured)).text
    kept, found = read_measurement(measured / "quality.json"), read_rate(measured / "rate" / "rate.json")
    assert f"PSNR, dB ↑{with_error(kept.psnr, kept.psnr_error)}" in text
    assert f"SSIM ↑{with_error(kept.ssim, kept.ssim_error)}" in text
    assert f"Of {kept.num_held_out} held-out images after step 4" in text and "latents of an image4 × 4 × 2" in text
    assert f"PSNR, dB{kept.psnr:.2f}" in text and "images seen32" in text
    best = found.restored.psnr
    assert f"Not rounded: PSNR {with_error(best.value, best.standard_error)} dB" in text
    own = found.equal_bytes[0]
    assert f"{own.bytes:.0f}{own.psnr['codec']:.1f} dB, {own.ssim['codec']:.3f}" in text
    assert "Out of date" not in text and "Not measured" not in text


def test_the_settings_on_the_page_are_the_run_s(measured: Path) -> None:
    text = Seen(page_of(measured)).text
    assert "ancestral train-codec --config '" in text
    _, _, file = text.partition("The same as a file for --config")
    assert CodecConfig.model_validate_json(file[: file.rindex("}") + 1]) == CodecRunFolder(measured).read(CodecConfig)
    table, _, _ = text.partition("The same as a file for --config")
    assert (
        "codec.kl_weight" in table and "training.timesteps" not in table and "An autoencoder trained on digits" in text
    )


def test_what_is_not_there_says_which_command_makes_it(measured: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(measured, tmp_path / "run"))
    for name in ("rate", "samples"):
        shutil.rmtree(run / name)
    for name in ("quality.json", "log.jsonl", "timing.jsonl"):
        (run / name).unlink()
    text = reported(run)
    for verb in ("rate", "train-codec"):
        assert f"Not measured yet: run ancestral {verb} {run} and report again" in text
    assert "No grid was saved yet" in text and "Nothing has been logged yet" in text
    assert text.count("not logged yet") == 4


def test_numbers_of_other_weights_are_called_out_of_date(measured: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(measured, tmp_path / "run"))
    for file in (run / "quality.json", run / "rate" / "rate.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"weights": "0123456789abcdef"}))
    text = reported(run)
    assert text.count("Out of date.") == 2 and text.count("other weights, 0123456789abcdef") == 2


@pytest.mark.parametrize(
    "name", ["quality.json", "rate/rate.json", "rate/rate-images.png", "samples/step-00000004.png"]
)
def test_a_damaged_file_is_named_and_no_page_is_written(name: str, measured: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(measured, tmp_path / "run"))
    (run / name).write_bytes((run / name).read_bytes()[:40])
    (run / "report.html").unlink()
    with pytest.raises(InputError, match=re.escape(name)):
        reported(run)
    assert not (run / "report.html").exists()
