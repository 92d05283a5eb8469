"""Depth, polarity, bands and colours of a file, by its tags: the exact pixels, or a refusal that says what it is."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from written import chunk, png, tiff

from ancestral.data.check import check
from ancestral.data.images import BadImage, decode, load
from ancestral.settings import DataSettings

RAMP = np.arange(0, 256, 17).reshape(2, 8, 1)
"""16 levels of 0..255, each a whole number of steps in every depth of at least 4 bits."""
WHITE_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 2, 3, 5, 6
"""Values of PhotometricInterpretation."""


def shown(path: Path) -> np.ndarray:
    """(H, W) or (H, W, C) levels, transparency kept."""
    return np.asarray(load(path)[0]).astype(int)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8, 10, 12, 14, 15, 16])
@pytest.mark.parametrize("zero_is", ["black", "white"])
def test_the_white_of_a_tiff_of_n_bits_is_its_largest_number(
    tmp_path: Path, bits: int, order: str, zero_is: str
) -> None:
    """Trap: 12 bits shown as if they were 16, nearly black; a photographic negative shown as it is stored."""
    most = 2**bits - 1
    levels = np.linspace(0, most, min(16, most + 1)).round().astype(int).reshape(1, -1, 1)
    stored = levels if zero_is == "black" else most - levels
    path = tiff(tmp_path / "a.tif", stored, bits, {262: [1 if zero_is == "black" else 0]}, order)
    np.testing.assert_array_equal(shown(path), np.floor(levels[..., 0] * 255 / most + 0.5))


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_16_bits_have_the_scale_of_16_unless_a_tag_says_that_fewer_are_used(tmp_path: Path, bits: int) -> None:
    """Trap: the scale taken from the largest value, which differs from image to image."""
    dark = RAMP * 257 >> (16 - bits)
    plain = tiff(tmp_path / "plain.tif", dark, 16)
    np.testing.assert_array_equal(shown(plain), np.floor(dark[..., 0] * 255 / 65535 + 0.5))
    said = tiff(tmp_path / "said.tif", dark, 16, {281: [2**bits - 1]})
    np.testing.assert_array_equal(shown(said), np.floor(dark[..., 0] * 255 / (2**bits - 1) + 0.5))
    statistic = tiff(tmp_path / "statistic.tif", dark, 16, {281: [int(dark.max()) - 1]})
    np.testing.assert_array_equal(shown(statistic), shown(plain))


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("separate", [False, True])
def test_colours_and_transparency_of_every_depth(tmp_path: Path, bits: int, separate: bool) -> None:
    """Trap: planes of 16 bits read as if of 8. Alpha that colours were multiplied by is divided out."""
    most = 2**bits - 1
    color = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1).reshape(2, 8, 3) * most // 255
    alpha = np.full((2, 8, 1), most)
    alpha[0] = most // 5  # a fifth, exactly: 255 = 5 * 51
    eight = np.floor(np.concatenate([color, alpha], axis=2) * 255 / most + 0.5)

    def written(name: str, samples: np.ndarray, tags: dict[int, list[int]]) -> np.ndarray:
        planes = [b"".join(plane_bytes(samples[..., i : i + 1], bits)) for i in range(samples.shape[2])]
        tags |= {284: [2]} if separate else {}
        return shown(tiff(tmp_path / name, samples, bits, tags, blocks=planes if separate else None))

    both = np.concatenate([color, alpha], axis=2)
    np.testing.assert_array_equal(written("rgb.tif", color, {262: [RGB]}), eight[..., :3])
    np.testing.assert_array_equal(written("rgba.tif", both, {262: [RGB], 338: [2]}), eight)
    np.testing.assert_array_equal(written("unnamed.tif", both, {262: [RGB]}), eight)
    np.testing.assert_array_equal(written("other.tif", both, {262: [RGB], 338: [0]}), eight[..., :3])
    grey = np.concatenate([color[..., :1], alpha], axis=2)
    np.testing.assert_array_equal(written("la.tif", grey, {338: [2]}), eight[..., [0, 3]])
    multiplied = np.concatenate([color * alpha // most, alpha], axis=2)
    np.testing.assert_allclose(written("multiplied.tif", multiplied, {262: [RGB], 338: [1]}), eight, atol=5)


def plane_bytes(plane: np.ndarray, bits: int) -> list[bytes]:
    from written import packed

    return [packed(row.ravel(), bits, "<") for row in plane]


def test_palettes_of_every_depth(tmp_path: Path) -> None:
    """Entries have 16 bits, of which the high 8 count; a writer that takes them for 8 is understood."""
    for bits in (1, 2, 4, 8, 16):
        colors = np.zeros((3, 2**bits), int)
        colors[0, 1], colors[1, 0] = 65535, 128 * 256
        index = np.array([[[0], [1], [0]]])
        path = tiff(tmp_path / f"{bits}.tif", index, bits, {262: [PALETTE], 320: colors.ravel().tolist()})
        np.testing.assert_array_equal(shown(path)[0], [[0, 128, 0], [255, 0, 0], [0, 128, 0]])
        path = tiff(tmp_path / f"{bits}.tif", index, bits, {262: [PALETTE], 320: (colors.ravel() // 256).tolist()})
        np.testing.assert_array_equal(shown(path)[0, 1], [255, 0, 0])
    short = tiff(tmp_path / "short.tif", index, 8, {262: [PALETTE], 320: [0, 1, 2]})
    with pytest.raises(BadImage, match="palette is missing or too short"):
        load(short)


@pytest.mark.parametrize(("code", "squeezed"), [(1, bytes), (8, zlib.compress), (32946, zlib.compress)])
def test_tiles_predictors_and_bits_in_the_other_order(tmp_path: Path, code: int, squeezed) -> None:
    """Trap: a tile's padding shown, differences summed over the edge of a tile or over bytes instead of numbers."""
    values = np.random.default_rng(0).integers(0, 65536, (20, 23, 3))
    whole = np.zeros((32, 32, 3), "<u2")
    whole[:20, :23] = values
    tiles = []
    for top in (0, 16):
        for left in (0, 16):
            tile = whole[top : top + 16, left : left + 16]
            steps = np.diff(tile, axis=1, prepend=np.zeros((16, 1, 3), "<u2")) if code != 1 else tile
            tiles.append(squeezed(steps.astype("<u2").tobytes()))
    tags = {259: [code], 262: [RGB], 273: [], 278: [], 279: [], 317: [2 if code != 1 else 1], 322: [16], 323: [16]}
    tags |= {324: [0] * 4, 325: [len(tile) for tile in tiles]}
    path = tiff(tmp_path / "a.tif", values, 16, tags, blocks=tiles)
    np.testing.assert_array_equal(shown(path), (values * 255 + 32767) // 65535)
    backwards = [bytes(int(f"{byte:08b}"[::-1], 2) for byte in tile) for tile in tiles]
    path = tiff(tmp_path / "b.tif", values, 16, {**tags, 266: [2]}, blocks=backwards)
    np.testing.assert_array_equal(shown(path), (values * 255 + 32767) // 65535)


def test_inks_of_16_bits(tmp_path: Path) -> None:
    inks = np.zeros((1, 2, 4), int)
    inks[0, 0, 0] = 65535
    path = tiff(tmp_path / "a.tif", inks, 16, {262: [CMYK]})
    np.testing.assert_array_equal(shown(path)[0], [[0, 255, 255], [255, 255, 255]])


FORM = {"signed": 2, "float": 3}
REFUSED = {
    "16-bit signed grey TIFF": (1, 16, {339: [2]}),
    "8-bit signed grey TIFF": (1, 8, {339: [2]}),
    "32-bit grey TIFF": (1, 32, {}),
    "32-bit signed grey TIFF": (1, 32, {339: [2]}),
    "32-bit float grey TIFF": (1, 32, {339: [3]}),
    "16-bit float grey TIFF": (1, 16, {339: [3]}),
    "32-bit float RGB TIFF": (3, 32, {262: [RGB], 339: [3] * 3}),
    "32-bit RGB TIFF": (3, 32, {262: [RGB]}),
    "64-bit float grey TIFF": (1, 64, {339: [3]}),
    "8-bit grey TIFF of 5 bands": (5, 8, {338: [0] * 4}),
    "8-bit grey TIFF of 2 bands": (2, 8, {}),
    "16-bit RGB TIFF of 7 bands": (7, 16, {262: [RGB], 338: [0] * 4}),
    "8-bit CMYK TIFF with alpha": (5, 8, {262: [CMYK], 338: [2]}),
    "8-bit YCbCr TIFF of subsampled colours": (3, 8, {262: [YCBCR]}),
    "8-bit CIELab TIFF": (3, 8, {262: [8]}),
    "16-bit LogLuv TIFF": (3, 16, {262: [32845], 259: [34676]}),
    "16-bit camera raw TIFF": (1, 16, {262: [32803]}),
    "8-bit grey TIFF of compression 34712": (1, 8, {259: [34712]}),
    "12-bit grey TIFF of compression 7": (1, 12, {259: [7]}),
    "8/16-bit RGB TIFF": (3, 8, {262: [RGB], 258: [8, 8, 16]}),
    "12-bit grey TIFF with predictor 2": (1, 12, {259: [8], 317: [2]}),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_tiff_without_a_known_meaning_is_refused_by_its_kind(tmp_path: Path, kind: str) -> None:
    """Trap: accepted while its values happen to be small; called no TIFF image at all."""
    bands, bits, tags = REFUSED[kind]
    path = tiff(tmp_path / "a.tif", np.full((2, 8, bands), 9), bits, tags)
    with pytest.raises(BadImage, match=f"is a {kind}"):
        decode(path)


def test_a_hostile_directory_is_refused_before_its_values_are_made(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", RAMP, 8)
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<HHI", 258, 4, 1))
    data[at : at + 8] = struct.pack("<HHI", 258, 4, 2**30)
    path.write_bytes(data)
    with pytest.raises(BadImage, match="tag 258 has 1,073,741,824 values"):
        load(path)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_of_a_png_is_told_in_its_own_depth(tmp_path: Path, depth: int) -> None:
    """Trap: level 1 of 2 bits looked for among levels of 0..255. Only the low bits of the key count."""
    most = 2**depth - 1
    levels = np.array([0, 1, most])
    key = chunk(b"tRNS", struct.pack(">H", 1 if depth == 16 else 1 + 2**depth))
    path = png(tmp_path / "a.png", levels.reshape(1, -1, 1), depth, 0, key)
    expected = [[(255 * level + most // 2) // most, 0 if level == 1 else 255] for level in levels]
    np.testing.assert_array_equal(shown(path)[0], expected)


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_colour_of_a_png_is_compared_in_all_its_bits(tmp_path: Path, depth: int) -> None:
    """Trap: of 16 bits the high 8 alone, by which neighbours of the colour vanish too."""
    scale = 257 if depth == 16 else 1
    colors = np.array([[9, 99, 199], [9, 99, 198], [0, 255, 1]]) * scale
    near = colors[0] + [0, 0, 1]
    colors = np.stack([*colors, near])
    key = chunk(b"tRNS", struct.pack(">3H", *(colors[0] + (0 if depth == 16 else 256))))
    found = shown(png(tmp_path / "a.png", colors[None], depth, 2, key))[0]
    np.testing.assert_array_equal(found[:, 3], [0, 255, 255, 255])
    np.testing.assert_array_equal(found[:, :3], np.floor(colors / scale + 0.5))


@pytest.mark.parametrize(("kind", "bands"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bits_of_a_png_are_rounded_and_not_cut_off(tmp_path: Path, kind: int, bands: int) -> None:
    """Grey and colours, so that a grey picture has the same levels either way. sBIT changes nothing (PNG 11.3.3.4)."""
    values = np.random.default_rng(0).integers(0, 65536, (9, 7, bands))
    path = png(tmp_path / "a.png", values, 16, kind, chunk(b"sBIT", bytes([12] * bands)))
    np.testing.assert_array_equal(shown(path).reshape(values.shape), (values * 255 + 32767) // 65535)


def test_a_palette_with_transparent_entries(tmp_path: Path) -> None:
    colors = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255])) + chunk(b"tRNS", bytes([128, 0]))
    found = shown(png(tmp_path / "a.png", np.array([[[0], [1], [2]]]), 2, 3, colors))[0]
    np.testing.assert_array_equal(found, [[255, 0, 0, 128], [0, 255, 0, 0], [0, 0, 255, 255]])


def test_a_folder_of_both_depths_has_one_scale(tmp_path: Path) -> None:
    """A picture of 8 bits and the same of 16 are the same, however dark it is."""
    dark = RAMP // 4
    png(tmp_path / "eight.png", dark, 8, 0)
    png(tmp_path / "sixteen.png", dark * 257, 16, 0)
    tiff(tmp_path / "sixteen.tif", dark * 257, 16)
    tiff(tmp_path / "negative.tif", 65535 - dark * 257, 16, {262: [WHITE_IS_ZERO]})
    report = check(str(tmp_path), DataSettings())
    assert report.duplicates == (("eight.png", "negative.tif", "sixteen.png", "sixteen.tif"),)
    assert report.num_16_bit == 3


def profile(linear: bool) -> bytes:
    """The profile of sRGB, or of its primaries with a light that grows evenly."""
    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if not linear:
        return made
    data = bytearray(made)
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        at = data.index(name, 128)
        (place,) = struct.unpack_from(">I", data, at + 4)
        data[place : place + 12] = b"curv" + bytes(8)  # no points: the identity
        data[at + 8 : at + 12] = struct.pack(">I", 12)
    return bytes(data)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_colours_of_another_profile_become_those_of_srgb(tmp_path: Path, suffix: str) -> None:
    """Light at a fifth is level 124 of sRGB (IEC 61966-2-1), whatever number the file has for it. sRGB is untouched."""
    options = {"lossless": True} if suffix == "webp" else {}
    image = Image.new("RGBA", (2, 2), (51, 0, 255, 100))
    image.save(tmp_path / f"linear.{suffix}", icc_profile=profile(linear=True), **options)
    image.save(tmp_path / f"standard.{suffix}", icc_profile=profile(linear=False), **options)
    image.save(tmp_path / f"broken.{suffix}", icc_profile=b"no profile" * 20, **options)
    converted, kept, broken = (load(tmp_path / f"{name}.{suffix}") for name in ("linear", "standard", "broken"))
    np.testing.assert_allclose(np.asarray(converted[0])[0, 0].astype(int), [124, 0, 255, 100], atol=1)
    for same in (kept, broken):
        np.testing.assert_array_equal(np.asarray(same[0])[0, 0], [51, 0, 255, 100])
    assert converted[1].profile and not kept[1].profile
    assert check(str(tmp_path), DataSettings()).profiles == {converted[1].profile: 1, broken[1].profile: 1}


def test_the_tiff_library_writes_nothing_past_us(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Trap: what libtiff says of a damaged file went to the terminal, whatever Python caught."""
    file = tmp_path / "cut.tif"
    Image.effect_noise((40, 40), 50).save(file, compression="tiff_lzw")
    file.write_bytes(file.read_bytes()[:900] + bytes(200) + file.read_bytes()[1100:])
    with pytest.raises(BadImage):
        load(file)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(OSError, match=r"."), Image.open(file) as theirs:
        theirs.load()
    assert capfd.readouterr().err, "elsewhere the library speaks as before"
