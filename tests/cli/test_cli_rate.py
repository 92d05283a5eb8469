"""`ancestral rate`: real bytes of a run's latents, or of a codec that others wrote, and what is not taken for one."""

import json
import shutil
from pathlib import Path

import pytest
from cli_calls import Called, call, snapshot

from ancestral.cli.output import rounded
from ancestral.evaluation.rate import read_rate
from ancestral.hub.autoencoder import read_autoencoder
from ancestral.networks.weights import weights_hash

FEW = ["--num-images", "6", "--num-fitted", "20", "--steps", "40", "160", "--qualities", "10", "80"]
SMALL = [*FEW, "--num-shown", "2", "--shown-bytes", "24"]


@pytest.fixture
def run(coded: Path, tmp_path: Path) -> Path:
    """A copy to write into."""
    return Path(shutil.copytree(coded, tmp_path / "run"))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_is_measured_on_the_images_that_it_held_out(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(capsys, "rate", run, *SMALL)
    assert done.code == 0, done.err
    assert names(run / "rate") == ["rate-images.png", "rate.json", "rate.png"]
    found = read_rate(run / "rate" / "rate.json")
    assert (found.image, found.x0, found.num_fitted, found.restored.num_images) == ((1, 8, 8), (2, 4, 4), 20, 6)
    assert [len(each.points) for each in found.curves] == [2] * 6 and found.curves[0].name == "codec"
    assert found.weights == weights_hash(read_autoencoder(run / "codec").network)
    said = " ".join(done.out.split())
    assert "6 held-out images 8x8 grey through 4x4 latents of 2 channels" in said and "20 training images" in said
    assert f"not rounded: PSNR {rounded(*found.restored.psnr)} dB" in said and "JPEG" in said
    assert done.out.rstrip().endswith("rate-images.png")


def test_fewer_images_go_beside_and_what_is_the_users_stays(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "rate", run, *SMALL, "--out", "out").code == 0
    before = snapshot(Path("out"))
    assert call(capsys, "rate", run, *SMALL, "--num-images", "4", "--out", "out").code == 0
    assert {*names(Path("out"))} >= {"rate-4.json", "rate-4.png", "rate-4-images.png"}
    assert before.items() <= snapshot(Path("out")).items()
    Path("out/rate.png").write_text("mine")
    before = snapshot(Path("out"))
    done = call(capsys, "rate", run, *SMALL, "--out", "out")
    assert (done.code, done.err.count("\n")) == (2, 1) and "--overwrite" in done.err
    assert snapshot(Path("out")) == before
    assert call(capsys, "rate", run, *SMALL, "--out", "out", "--overwrite").code == 0
    assert Path("out/rate.png").read_bytes().startswith(b"\x89PNG")


def test_a_codec_alone_is_measured_as_in_its_run(
    coded: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On images that are named, since its folder names none; the folder within a run is the run's."""

    def told(done: Called) -> dict[str, object]:
        assert done.code == 0, done.err
        tree = json.loads(done.out)
        return {name: value for name, value in tree.items() if name != "files"}

    alone = Path(shutil.copytree(coded / "codec", tmp_path / "vae"))
    by_run = told(call(capsys, "rate", run / "codec", *SMALL, "--json"))
    assert names(run / "rate") == ["rate-images.png", "rate.json", "rate.png"]
    assert told(call(capsys, "rate", alone, "--data", "digits", *SMALL, "--json")) == by_run
    assert names(tmp_path / "rate") == names(run / "rate")
    assert names(alone) == names(coded / "codec")


WRONG = {
    "nothing": ([], "CODEC"),
    "nowhere": (["./nowhere"], "which is no folder; `ancestral train-codec` makes a run"),
    "a run of another kind": (["{trained}"], "got a run: "),
    "a pipeline": (["{trained}/pipeline", "--data", "digits"], "got a pipeline: "),
    "the network of a pipeline": (["{trained}/pipeline/unet", "--data", "digits"], "AutoencoderKL"),
    "a folder with a run in it": (["{coded}/.."], "name a run in it, such as"),
    "a codec without images": (["{coded}/../vae"], "expected --data FOLDER_OR_SET"),
    "a division that trained on what it holds out": (["{coded}", "--test", "0.5"], "expected --data with --test"),
    "colours": (["{coded}", "--data", "photos", "--size", "8"], "of the 1 channels"),
    "nothing held out": (["{coded}", "--data", "digits", "--test", "0"], "2 held out, got"),
    "a data set that is not known": (["{coded}", "--data", "digit"], "digit"),
    "one step": (["{coded}", "--steps", "8"], "steps"),
    "no quality": (["{coded}", "--qualities", "0", "101"], "qualities"),
    "a file for a folder": (["{coded}", "--out", "rate.png"], "expected a folder for --out"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line(
    name: str, trained: Path, coded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (coded.parent / "vae").exists():
        shutil.copytree(coded / "codec", coded.parent / "vae")
    before, (words, expected) = snapshot(coded.parent), WRONG[name]
    done = call(capsys, "rate", *(word.format(trained=trained, coded=coded) for word in words))
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1) and expected in done.err, done.err
    assert snapshot(tmp_path) == {} and snapshot(coded.parent) == before
