"""Files of other formats: what of them is counted, and the best one within so many bytes."""

from io import BytesIO

import pytest
import torch
from PIL import Image, JpegImagePlugin
from test_linear_codec import waves

from ancestral.errors import InputError
from ancestral.evaluation.codec_quality import psnr
from ancestral.evaluation.image_files import best_within, from_files, jpeg, jpeg_payload, to_images, webp


def test_a_payload_is_what_follows_the_header_of_the_scan() -> None:
    """A JPEG of a flat image has next to nothing to say, and 600 bytes of tables to say it with; the two bytes that end
    a file count."""
    content = jpeg(Image.new("RGB", (64, 64), (90, 120, 30)), 50)
    payload = jpeg_payload(content)
    assert content[-payload - 14 : -payload - 12] == b"\xff\xda" and content.endswith(b"\xff\xd9")
    assert payload < 30 and len(content) > 250


def test_a_marker_inside_of_a_comment_is_no_scan() -> None:
    """Trap: looking for the two bytes of a scan's header finds them in a comment, a profile or a thumbnail."""
    image, out = to_images(waves(1))[0], BytesIO()
    image.save(out, "JPEG", quality=50, optimize=True, comment=b"\xff\xda\x00\x04ab" * 9)
    assert jpeg_payload(out.getvalue()) == jpeg_payload(jpeg(image, 50))
    with pytest.raises(InputError, match="a JPEG file with a scan"):
        jpeg_payload(webp(image, 50))


def test_colour_is_at_half_the_resolution() -> None:
    for quality in (0, 50, 100):
        with Image.open(BytesIO(jpeg(to_images(waves(1))[0], quality))) as image:
            assert isinstance(image, JpegImagePlugin.JpegImageFile)
            assert JpegImagePlugin.get_sampling(image) == 2


@pytest.mark.parametrize("channels", [1, 3])
def test_files_hold_the_images_upright(channels: int) -> None:
    images = waves(3, (16, 24), channels)
    for write in (jpeg, webp):
        found = from_files([write(each, 95) for each in to_images(images)], channels)
        assert found.shape == images.shape and psnr(images, found).min() > 25


def test_the_best_file_within_so_many_bytes_is_found() -> None:
    """Every quality is tried here: none above the found one fits, and its own file does."""
    image = to_images(waves(1, (32, 32)))[0]
    sizes = [len(jpeg(image, quality)) for quality in range(101)]
    for most in (sizes[30], sizes[30] + 1, sizes[60] - 1, 10**6):
        quality, found = best_within(image, jpeg, most)
        assert len(found) == sizes[quality] <= most
        assert all(size > most for size in sizes[quality + 1 :][:1])
    payload = best_within(image, jpeg, sizes[30], jpeg_payload)
    assert payload[0] > 30


def test_where_nothing_fits_the_smallest_file_is_given() -> None:
    image = to_images(waves(1))[0]
    assert best_within(image, jpeg, 10) == (0, jpeg(image, 0))


def test_images_with_transparency_are_refused() -> None:
    with pytest.raises(InputError, match="lay them over white"):
        to_images(torch.zeros(1, 4, 8, 8, dtype=torch.uint8))
