"""Networks of 2 and 4 channels generate, edit and write transparency; others are refused before any work. And what is
said where memory runs out."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from pipelines import untrained

from ancestral.cli.main import main
from ancestral.errors import shortage


def saved(folder: Path, channels: int) -> str:
    settings = {"diffusion": {"schedule": {"num_timesteps": 10}}, "sampling": {"steps": 2}}
    untrained((channels, 8, 8), changes=settings).save(folder)
    return str(folder)


def opened(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.copy()


@pytest.mark.parametrize(("channels", "mode"), [(2, "LA"), (4, "RGBA")])
def test_transparency_is_drawn_edited_written_and_drawn_again(
    tmp_path: Path, channels: int, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline, out = saved(tmp_path / "pipeline", channels), str(tmp_path / "out")
    words = ["--num-images", "2", "--each", "--strip", "--film", str(tmp_path / "film.gif"), "--out", out]
    assert main(["sample", pipeline, *words]) == 0
    drawn = tmp_path / "out" / "seed-1.png"
    given = opened(drawn)
    assert given.mode == mode
    assert main(["sample", pipeline, "--from", str(drawn), "--out", str(tmp_path / "again")]) == 0
    assert "pixel for pixel" in capsys.readouterr().err
    box = ["--box", "1,1,4,4", "--rounds", "1", "--num-images", "1"]
    assert main(["edit", "inpaint", pipeline, str(drawn), *box, "--out", out]) == 0
    filled = opened(tmp_path / "out" / "inpaint-seed-0.png")
    assert filled.mode == mode
    visible = given.getpixel((7, 7))
    assert visible[-1] == 0 or filled.getpixel((7, 7)) == visible, "what is kept is kept, opacity too"


@pytest.mark.parametrize("verb", ["sample", "edit"])
def test_a_network_of_other_channels_is_refused_before_it_draws(
    tmp_path: Path, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trap: refused by the picture that all of the work was for, or by a KeyError. Generating begins with a line."""
    pipeline = saved(tmp_path / "pipeline", 5)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    words = ["sample", pipeline] if verb == "sample" else ["edit", "vary", pipeline, str(tmp_path / "a.png")]
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "got one of 5" in said
    assert not (tmp_path / "out").exists()


def test_want_of_memory_says_how_much_was_asked_for_and_what_to_lower() -> None:
    """Of torch and of NumPy, really asked; oneDNN's message as it comes."""
    with pytest.raises(RuntimeError) as asked:
        torch.empty(2**50, dtype=torch.uint8)
    assert "1,125,899.9 GB" in str(shortage(asked.value)) and "--compute.chunk" in str(shortage(asked.value))
    assert "800,444.5 GB" in str(shortage(MemoryError("Unable to allocate 728. TiB for an array with shape (1,)")))
    assert shortage(RuntimeError("could not create a primitive"))
    assert shortage(MemoryError())
    assert not shortage(RuntimeError("shapes do not fit"))
