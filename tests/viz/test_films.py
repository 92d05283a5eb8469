"""Films: small enough to be sent, right to look at, and along a path where there is one."""

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ancestral.errors import InputError
from ancestral.tensors import to_pixels
from ancestral.viz import films
from ancestral.viz.pictures import film, morph


def chain(channels: int, side: int, frames: int = 40) -> list[Image.Image]:
    """Sixteen smooth images on their way out of noise."""
    draws = torch.Generator().manual_seed(0)
    coarse = torch.rand(16, channels, 4, 4, generator=draws) * 2 - 1
    x0 = torch.nn.functional.interpolate(coarse, size=side, mode="bilinear")
    times = np.linspace(1000, 0, frames).astype(int).tolist()
    noise = [t / 1000 for t in times]
    x_t = [to_pixels((1 - s**2) ** 0.5 * x0 + s * torch.randn(x0.shape, generator=draws)) for s in noise]
    return film(x_t, [to_pixels((1 - s) * x0) for s in noise], times)


@pytest.mark.parametrize(("channels", "side"), [(1, 28), pytest.param(3, 32, marks=pytest.mark.slow)])
def test_a_gif_of_sixteen_small_images_is_below_a_megabyte_and_looks_like_them(channels: int, side: int) -> None:
    frames = chain(channels, side)
    content = films.film_bytes(frames, ".gif")
    assert len(content) <= films.GIF_BYTES
    with Image.open(BytesIO(content)) as played:
        assert getattr(played, "n_frames", 1) >= 12
        played.seek(played.n_frames - 1)  # type: ignore[attr-defined]
        off = np.asarray(played.convert("RGB")).astype(float) - np.asarray(frames[-1]).astype(float)
    assert np.sqrt((off**2).mean()) < 16 and abs(off.mean()) < 3


def test_a_webp_has_every_frame() -> None:
    frames = chain(3, 8, 5)
    with Image.open(BytesIO(films.film_bytes(frames, ".webp", seconds=2.0))) as played:
        assert played.format == "WEBP" and played.n_frames == 5  # type: ignore[attr-defined]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not here")
def test_an_mp4_is_one(tmp_path: Path) -> None:
    films.save_film(chain(1, 7, 5), tmp_path / "film.mp4", seconds=1.0)
    assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"


def test_without_ffmpeg_an_mp4_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match=r"the program ffmpeg .* \.webp"):
        films.film_bytes(chain(1, 8, 2), ".mp4")


def test_a_morph_goes_along_the_path_and_back() -> None:
    images = torch.arange(0, 200, 50, dtype=torch.uint8).reshape(4, 1, 1, 1).expand(4, 1, 8, 8)
    frames = morph(images, ["0", "0.333", "0.667", "1"])
    seen = [frame.getpixel((frame.width // 2, frame.height - 40)) for frame in frames]
    assert [pixel[0] for pixel in seen] == [0, 50, 100, 150, 100, 50]  # type: ignore[index]
    assert len({frame.size for frame in frames}) == 1
