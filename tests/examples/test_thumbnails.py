"""`media.thumbnail`, called as the plain function that it is, against a server that misbehaves."""

from __future__ import annotations

import io

import httpx
import pytest
from flaky_images import Picture, Trouble, photograph, serve, sticker
from PIL import Image
from thumbnails import DOWNLOAD_BYTES_MAX, decode, retry_after_s, thumbnail

from taskservice import NonRetryable, Throttled


def sizes_of(thumbs) -> list[tuple[int, int]]:
    return [(thumb.width, thumb.height) for thumb in thumbs]


def test_the_longer_side_is_the_size_and_the_files_are_as_told(ctx, tmp_path):
    with serve({"a": Picture(photograph(640, 480))}) as server:
        thumbs = thumbnail(ctx, server.url("a"), [256, 64], str(tmp_path))
    assert sizes_of(thumbs) == [(256, 192), (64, 48)]
    for thumb in thumbs:
        with Image.open(thumb.path) as image:
            assert (image.format, image.size) == (thumb.format, (thumb.width, thumb.height)) == ("JPEG", image.size)
    assert sorted(path.stat().st_size for path in tmp_path.iterdir()) == sorted(thumb.bytes for thumb in thumbs)


def test_a_photograph_is_turned_as_exif_says(ctx, tmp_path):
    with serve({"a": Picture(photograph(640, 480, turned=True))}) as server:
        thumbs = thumbnail(ctx, server.url("a"), [64], str(tmp_path))
    assert sizes_of(thumbs) == [(48, 64)]


def test_transparency_is_kept_and_nothing_is_enlarged(ctx, tmp_path):
    with serve({"a": Picture(sticker(100))}) as server:
        thumbs = thumbnail(ctx, server.url("a"), [256, 50], str(tmp_path))
    assert sizes_of(thumbs) == [(100, 100), (50, 50)]
    with Image.open(thumbs[1].path) as image:
        assert image.format == "PNG"
        assert image.convert("RGBA").getpixel((0, 0))[3] == 0


def test_a_second_attempt_overwrites_the_files_of_the_first(ctx, tmp_path):
    with serve({"a": Picture(photograph(64, 64))}) as server:
        first = thumbnail(ctx, server.url("a"), [32], str(tmp_path))
        assert thumbnail(ctx, server.url("a"), [32], str(tmp_path)) == first
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("trouble", "error"),
    [(Trouble.BUSY, Throttled), (Trouble.BROKEN, httpx.HTTPStatusError), (Trouble.RESET, httpx.TransportError)],
)
def test_what_another_attempt_may_cure_is_told_so_and_cured(ctx, tmp_path, trouble, error):
    with serve({"a": Picture(photograph(64, 64), trouble)}) as server:
        with pytest.raises(error) as caught:
            thumbnail(ctx, server.url("a"), [32], str(tmp_path))
        assert len(thumbnail(ctx, server.url("a"), [32], str(tmp_path))) == 1
    if isinstance(caught.value, Throttled):
        assert caught.value.retry_after_ms == 1_000


@pytest.mark.parametrize(
    "body",
    [b"", b"not an image", photograph(64, 64)[:200], sticker(64)[:100]],
    ids=["empty", "text", "half a JPEG", "half a PNG"],
)
def test_what_is_no_image_is_not_tried_again(ctx, tmp_path, body):
    with serve({"a": Picture(body)}) as server, pytest.raises(NonRetryable, match="not an image"):
        thumbnail(ctx, server.url("a"), [32], str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/a.jpg", "nonsense", "http://127.0.0.1:port/", "file:///etc/passwd"])
def test_what_is_no_web_address_is_not_tried_again(ctx, tmp_path, url):
    with pytest.raises(NonRetryable, match="not a URL"):
        thumbnail(ctx, url, [32], str(tmp_path))


def test_a_picture_that_is_not_there_is_not_asked_for_again(ctx, tmp_path):
    with serve({}) as server, pytest.raises(NonRetryable, match="404"):
        thumbnail(ctx, server.url("gone"), [32], str(tmp_path))


def test_a_body_above_the_limit_is_refused(ctx, tmp_path):
    with (
        serve({"a": Picture(bytes(DOWNLOAD_BYTES_MAX + 1))}) as server,
        pytest.raises(NonRetryable, match="larger than"),
    ):
        thumbnail(ctx, server.url("a"), [32], str(tmp_path))


@pytest.mark.parametrize("side", [8_000, 10_000, 20_000])
def test_a_small_file_of_many_pixels_is_refused_before_it_is_decoded(side):
    """The sides are on either side of the sizes at which Pillow itself warns, and refuses."""
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, format="PNG")
    with pytest.raises(NonRetryable, match="more than"):
        decode(buffer.getvalue())


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        (None, 5),
        ("7", 7),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40),
        ("Thu, 01 Jan 1970 00:00:10 GMT", 0),
        ("soon", 5),
        ("999999999", 3600),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_bounds(header, wait_s):
    assert retry_after_s(header, now_s=60) == wait_s
