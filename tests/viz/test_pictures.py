"""Pictures, looked at pixel by pixel: images stand where they should, unblurred, labelled; files keep what they say."""

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ancestral.errors import CannotWrite, InputError
from ancestral.tensors import Pixels
from ancestral.viz import boxes, pictures
from ancestral.viz.png_texts import read_metadata


def plain(*colors: tuple[int, int, int], size: int = 8) -> Pixels:
    """Images of one colour each."""
    return torch.tensor(colors, dtype=torch.uint8)[:, :, None, None].expand(-1, -1, size, size)


def hues(count: int) -> list[tuple[int, int, int]]:
    """Colours that no text or background has: blue is always full, red and green tell them apart."""
    return [(10 + 11 * i % 200, 5 + 5 * i, 255) for i in range(count)]


def place(picture: Image.Image, color: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the rectangle of exactly `color`, which must be full."""
    rows, columns = np.nonzero((np.asarray(picture) == color).all(axis=2))
    left, top, right, bottom = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert len(rows) == (right - left) * (bottom - top)
    return int(left), int(top), int(right), int(bottom)


def ink(picture: Image.Image, area: tuple[int, int, int, int]) -> int:
    """How many pixels of `area` are not background."""
    return int((np.asarray(picture.crop(area)) != boxes.BACKGROUND).any(axis=2).sum())


def noise(*shape: int) -> Pixels:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def reopened(content: bytes) -> list[tuple[Image.Image, int]]:
    """Every frame of a film as RGB, with its duration in ms."""
    with Image.open(BytesIO(content)) as film:
        frames = []
        for i in range(getattr(film, "n_frames", 1)):
            film.seek(i)
            frames.append((film.convert("RGB"), int(film.info["duration"])))
        assert film.info["loop"] == 0
    return frames


# --- pairs


def test_a_row_of_pairs_is_two_images_and_nothing_else() -> None:
    """A page cuts them out again."""
    left, right = noise(3, 3, 8, 6), noise(3, 3, 8, 6).flip(0)
    sheet = torch.from_numpy(np.array(pictures.pairs(left, right))).permute(2, 0, 1)
    scale = sheet.shape[1] // 24
    rows = torch.cat([torch.cat([left, right], dim=3)[i] for i in range(3)], dim=1)
    assert torch.equal(sheet, rows.repeat_interleave(scale, 1).repeat_interleave(scale, 2))


# --- grid


@given(st.integers(1, 20), st.integers(1, 7), st.integers(1, 4), st.integers(0, 9))
def test_image_i_stands_in_reading_order_at_even_spacing(count: int, columns: int, scale: int, gap: int) -> None:
    picture = pictures.grid(plain(*hues(count), size=5), columns, scale, gap=gap)
    origin = place(picture, hues(1)[0])[:2]
    for i, color in enumerate(hues(count)):
        left, top, right, bottom = place(picture, color)
        assert (right - left, bottom - top) == (5 * scale, 5 * scale)
        assert left == origin[0] + (i % columns) * (5 * scale + gap)
        assert top == origin[1] + (i // columns) * (5 * scale + gap)


def test_margins_are_equal_on_all_sides() -> None:
    picture = pictures.grid(plain(*hues(4)), 2)
    left, top, *_ = place(picture, hues(4)[0])
    *_, right, bottom = place(picture, hues(4)[3])
    assert left == top == picture.width - right == picture.height - bottom


@pytest.mark.parametrize("channels", [1, 3])
def test_every_pixel_becomes_a_square_of_its_colour(channels: int) -> None:
    """Guards against interpolation, which would invent colours, and against channels taken for columns."""
    image = noise(1, channels, 6, 9)
    picture = np.asarray(pictures.grid(image, scale=4))
    squares = picture[pictures.MARGIN : -pictures.MARGIN, pictures.MARGIN : -pictures.MARGIN]
    wanted = image[0].expand(3, -1, -1).permute(1, 2, 0).numpy()
    for row in range(24):
        assert (squares[row] == wanted[row // 4][np.arange(36) // 4]).all()


@pytest.mark.parametrize(("side", "least"), [(8, 80), (28, 80), (32, 80), (64, 64), (256, 256)])
def test_small_images_are_enlarged_until_legible_and_large_ones_left_alone(side: int, least: int) -> None:
    left, _, right, _ = place(pictures.grid(plain(hues(1)[0], size=side)), hues(1)[0])
    assert (right - left) % side == 0
    assert least <= right - left <= max(128, side)


def test_many_columns_are_not_enlarged_beyond_a_screen() -> None:
    assert pictures.grid(plain(*hues(40)), columns=40).width < 2000


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 2), (10, 5), (12, 4), (16, 4), (50, 10), (64, 8), (11, 4)])
def test_columns_divide_the_images_where_they_can(count: int, columns: int) -> None:
    images = torch.arange(count).byte()[:, None, None, None].expand(-1, 3, 8, 8)
    assert pictures.grid(images).tobytes() == pictures.grid(images, columns=columns).tobytes()


def test_a_caption_stands_under_its_own_image_and_nowhere_else() -> None:
    picture = pictures.grid(plain(*hues(3)), 3, labels=["", "shirt", ""])
    below = [(left, bottom, right, picture.height) for left, _, right, bottom in (place(picture, c) for c in hues(3))]
    assert ink(picture, below[1]) > 50
    assert ink(picture, below[0]) == ink(picture, below[2]) == 0


def test_captioned_images_are_evenly_spaced_whatever_their_captions() -> None:
    """Trap: columns as wide as their own longest caption."""
    picture = pictures.grid(plain(*hues(3)), 3, scale=1, labels=["a", "wide words", "b"])
    lefts = [place(picture, color)[0] for color in hues(3)]
    assert lefts[1] - lefts[0] == lefts[2] - lefts[1]


def test_a_long_caption_makes_room_instead_of_being_cut_off() -> None:
    short = pictures.grid(plain(*hues(4)), 2, labels=["a"] * 4)
    long = pictures.grid(plain(*hues(4)), 2, labels=["a", "a caption of many words that must be read", "a", "a"])
    spacing = [place(long, hues(4)[i])[0] for i in (0, 1)]
    assert spacing == [place(long, hues(4)[i])[0] for i in (2, 3)]
    assert long.width <= short.width + 12
    assert long.height > short.height + 30
    assert place(long, hues(4)[2])[1] > place(short, hues(4)[2])[1]
    assert place(long, hues(4)[0])[1] == place(long, hues(4)[1])[1]


def test_row_labels_stand_left_of_their_rows() -> None:
    picture = pictures.grid(plain(*hues(4)), 2, labels=["zero", ""])
    first, second = place(picture, hues(4)[0]), place(picture, hues(4)[2])
    assert ink(picture, (0, first[1], first[0], first[3])) > 50
    assert ink(picture, (0, second[1], second[0], second[3])) == 0


def test_a_title_stands_above_everything() -> None:
    picture = pictures.grid(plain(*hues(2)), title="64 samples of a model with a name far wider than two images " * 3)
    top = min(place(picture, c)[1] for c in hues(2))
    assert ink(picture, (0, 0, picture.width, top)) > 200
    edge = (picture.width - 4, 0, picture.width, picture.height)
    assert ink(picture, edge) == 0


@pytest.mark.parametrize(
    ("images", "settings", "said"),
    [
        (noise(2, 5, 8, 8), {}, "5, 8, 8"),
        (noise(0, 1, 8, 8), {}, "at least one"),
        (noise(2, 1, 8, 8), {"columns": 0}, "column"),
        (noise(2, 1, 8, 8), {"scale": 0}, "scale"),
        (noise(6, 1, 8, 8), {"columns": 3, "labels": ["a"] * 4}, "6 labels .* or 2"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_line(images: Pixels, settings: dict, said: str) -> None:
    with pytest.raises(InputError, match=said) as fault:
        pictures.grid(images, **settings)
    assert "\n" not in str(fault.value)


# --- strip


def test_rows_of_a_strip_are_the_rows_that_were_given() -> None:
    """Trap: a row of estimates of x_0 that is really x_{t-1} drawn twice."""
    x_t, x0 = hues(6)[:3], hues(6)[3:]
    picture = pictures.strip([("xₜ", plain(*x_t)), ("x₀", plain(*x0))], [1000, 500, 1])
    for above, below in zip(x_t, x0, strict=True):
        first, second = place(picture, above), place(picture, below)
        assert first[0] == second[0] and first[3] < second[1]
    assert place(picture, x_t[0])[0] < place(picture, x_t[1])[0] < place(picture, x_t[2])[0]


def test_strip_names_its_rows_and_its_times() -> None:
    picture = pictures.strip([("linear", plain(*hues(2))), ("cosine", plain(*hues(4)[2:]))], [0, 1000])
    for color in hues(2):
        left, top, right, _ = place(picture, color)
        assert ink(picture, (left, 0, right, top)) > 50
    for color in (hues(4)[0], hues(4)[2]):
        left, top, _, bottom = place(picture, color)
        assert ink(picture, (0, top, left, bottom)) > 50


def test_grey_and_rgb_rows_stand_together() -> None:
    picture = pictures.strip([("a", noise(2, 1, 8, 8)), ("b", plain(*hues(2)))], [2, 1])
    assert place(picture, hues(2)[1])


@pytest.mark.parametrize("other", [noise(3, 1, 8, 8), noise(2, 1, 8, 9)])
def test_a_row_of_another_shape_is_refused_by_name(other: Pixels) -> None:
    with pytest.raises(InputError, match="'odd'"):
        pictures.strip([("even", noise(2, 1, 8, 8)), ("odd", other)], [2, 1])


# --- film


def rgb_film(frames: int = 5) -> list[Image.Image]:
    clean = torch.linspace(0, 255, 3 * 16 * 16).to(torch.uint8).reshape(1, 3, 16, 16).flip(1)
    times = np.linspace(100, 0, frames).astype(int).tolist()
    blend = [(noise(1, 3, 16, 16) * (t / 100) + clean * (1 - t / 100)).to(torch.uint8) for t in times]
    return pictures.film(blend, [clean] * frames, times)


def test_a_frame_holds_x_t_before_x0_and_the_time_above_them() -> None:
    frames = pictures.film([plain(hues(4)[0]), plain(hues(4)[1])], [plain(hues(4)[2]), plain(hues(4)[3])], [10, 0])
    for frame, x_t, x0 in zip(frames, hues(4)[:2], hues(4)[2:], strict=True):
        first, second = place(frame, x_t), place(frame, x0)
        assert first[2] < second[0] and first[1] == second[1]
        assert ink(frame, (0, 0, frame.width, first[1])) > 100
    assert frames[0].size == frames[1].size
    head = (0, 0, frames[0].width, 40)
    assert frames[0].crop(head).tobytes() != frames[1].crop(head).tobytes()


def test_wide_grids_stand_above_one_another() -> None:
    (frame,) = pictures.film([plain(*hues(4))], [plain(*hues(8)[4:])], [5], columns=4)
    assert place(frame, hues(8)[0])[3] < place(frame, hues(8)[4])[1]
    assert place(frame, hues(8)[0])[0] == place(frame, hues(8)[4])[0]


def test_a_film_of_unequal_lengths_is_refused() -> None:
    with pytest.raises(InputError, match="2, 1 and 2"):
        pictures.film([noise(1, 1, 8, 8)] * 2, [noise(1, 1, 8, 8)], [2, 1])


@pytest.mark.parametrize("suffix", [".gif", ".png", ".apng"])
def test_a_film_has_every_frame_lasts_as_asked_and_holds_the_last(suffix: str) -> None:
    frames = reopened(pictures.film_bytes(rgb_film(5), suffix, seconds=2.0, hold=1.5))
    assert [duration for _, duration in frames] == [400, 400, 400, 400, 1500]


def test_a_film_of_one_frame_is_written() -> None:
    assert len(pictures.film_bytes(rgb_film(5)[:1], ".png")) > 100
    assert len(pictures.film_bytes(rgb_film(5)[:1], ".gif")) > 100


def test_frames_too_fast_for_a_browser_are_thinned_and_the_last_kept() -> None:
    frames = [Image.new("RGB", (4, 4), (i, 0, 0)) for i in range(200)]
    played = reopened(pictures.film_bytes(frames, ".png", seconds=1.0))
    assert len(played) == 50
    assert min(duration for _, duration in played) >= 20
    assert played[-1][0].getpixel((0, 0)) == (199, 0, 0)


def test_an_animated_png_is_exact() -> None:
    frames = rgb_film()
    for (played, _), frame in zip(reopened(pictures.film_bytes(frames, ".png")), frames, strict=True):
        assert played.tobytes() == frame.tobytes()


def test_a_grey_gif_is_exact() -> None:
    """Trap: an adaptive palette of a grey film that costs it half its levels."""
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    frames = pictures.film([images, images.flip(2)], [images, images], [1, 0])
    for (played, _), frame in zip(reopened(pictures.film_bytes(frames, ".gif")), frames, strict=True):
        assert played.tobytes() == frame.tobytes()


def test_a_coloured_gif_keeps_its_colours() -> None:
    """Trap: one palette for all frames, made from the first, which is noise."""
    frames = rgb_film()
    for (played, _), frame in zip(reopened(pictures.film_bytes(frames, ".gif")), frames, strict=True):
        off = np.asarray(played).astype(float) - np.asarray(frame).astype(float)
        assert np.sqrt((off**2).mean()) < 8
        assert abs(off.mean()) < 1
        assert np.abs(off[:3, :3]).max() <= 2, "the background changes colour"


def test_an_unknown_kind_of_film_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.gif.*'\.avi'"):
        pictures.save_film(rgb_film(2), tmp_path / "film.avi")
    assert list(tmp_path.iterdir()) == []


# --- files


@given(
    st.dictionaries(
        st.text("abcdefgh_", min_size=1, max_size=20),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    )
)
def test_metadata_survives_in_any_script(metadata: dict[str, str]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sample.png"
        pictures.save_png(Image.new("RGB", (3, 2)), path, metadata)
        assert read_metadata(path) == metadata


def test_a_saved_picture_is_exact_and_alone_in_its_folder(tmp_path: Path) -> None:
    picture = pictures.grid(noise(4, 3, 8, 8))
    path = tmp_path / "new folder" / "grid.PNG"
    pictures.save_png(picture, path, {"seed": "7", "sampler": "ddim η = 0"})
    with Image.open(path) as read:
        assert read.convert("RGB").tobytes() == picture.tobytes()
    assert [p.name for p in path.parent.iterdir()] == ["grid.PNG"]


def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "grid.png"
    pictures.save_png(Image.new("RGB", (3, 2)), path, {"seed": "1"})

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CannotWrite, match="No space left"):
        pictures.save_png(Image.new("RGB", (3, 2)), path, {"seed": "2"})
    assert read_metadata(path) == {"seed": "1"}
    assert [p.name for p in tmp_path.iterdir()] == ["grid.png"]


def test_a_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(CannotWrite, match="taken"):
        pictures.save_png(Image.new("RGB", (3, 2)), tmp_path / "taken" / "grid.png")


def test_a_picture_of_another_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.png"):
        pictures.save_png(Image.new("RGB", (3, 2)), tmp_path / "grid.jpg")


def test_metadata_of_what_is_no_png_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("text")
    for path in (tmp_path / "a.png", tmp_path / "missing.png"):
        with pytest.raises(InputError, match=path.name):
            read_metadata(path)


# --- pick


@given(st.integers(1, 60), st.integers(2, 60))
def test_picked_frames_are_even_and_hold_both_ends(length: int, n: int) -> None:
    picked = pictures.pick(range(length), n)
    assert len(picked) == min(length, n)
    assert (picked[0], picked[-1]) == (0, length - 1)
    steps = np.diff(picked)
    assert len(steps) == 0 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


def test_one_picked_frame_is_the_last_and_none_is_refused() -> None:
    assert pictures.pick("abc", 1) == ["c"]
    with pytest.raises(InputError):
        pictures.pick("abc", 0)
