"""An app that depends on somebody else's server: an image is fetched over HTTP and scaled to several sizes.

Each way that it can go wrong ends in the error that says what should follow: come back later (`Throttled`), give up
(`NonRetryable`), or try again (any other exception, here mostly httpx's own). `thumbnails_demo.py` provokes all three.
"""

from __future__ import annotations

import email.utils
import hashlib
import io
import time
import warnings
from pathlib import Path
from typing import Annotated

import httpx
from atomic import write_atomically
from PIL import Image, ImageOps, UnidentifiedImageError
from pydantic import BaseModel, Field

from taskservice import App, Context, NonRetryable, Retry, Throttled

app = App("media")

DOWNLOAD_BYTES_MAX = 32 * 1024 * 1024
PIXELS_MAX = 50_000_000
"""A small file may decode into gigabytes. Above this it is refused before it is decoded."""
RETRY_AFTER_MAX_S = 3600.0

Image.MAX_IMAGE_PIXELS = PIXELS_MAX

Side = Annotated[int, Field(ge=1, le=4096)]
Sides = Annotated[list[Side], Field(min_length=1, max_length=16)]


class Thumb(BaseModel, frozen=True):
    """One file that was written."""

    path: str
    format: str
    width: int
    height: int
    bytes: int


@app.task(cpus=1, memory="512MiB", timeout="2m", retry=Retry(max_attempts=5, base="1s", max="1m"))
def thumbnail(ctx: Context, url: str, sizes: Sides, out_dir: str) -> list[Thumb]:
    """`out_dir` holds the image at `url` once for each size, its longer side at most so many pixels; never enlarged.

    The names come from `url` and the size, so an attempt that runs again overwrites what the one before it wrote.
    """
    image = decode(download(url))
    ctx.logger.info("%s: %d x %d, %s", url, image.width, image.height, image.mode)
    stem = hashlib.sha256(url.encode()).hexdigest()[:16]
    return [write_thumb(image, size, Path(out_dir) / f"{stem}-{size}") for size in sizes]


def download(url: str) -> bytes:
    """The body of `url`.

    Raises Throttled for 429 and 503, NonRetryable for other client errors, wrong URLs and bodies that are too large,
    and lets httpx's errors through for what another attempt may cure.
    """
    try:
        with httpx.stream("GET", url, follow_redirects=True, timeout=20) as response:
            _check_status(response)
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > DOWNLOAD_BYTES_MAX:
                    raise NonRetryable(f"{url} is larger than {DOWNLOAD_BYTES_MAX:,} bytes")
            return bytes(body)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise NonRetryable(f"not a URL that can be fetched: {url}") from error


def _check_status(response: httpx.Response) -> None:
    if response.status_code in (429, 503):
        raise Throttled(retry_after=retry_after_s(response.headers.get("Retry-After"), now_s=time.time()))
    if 400 <= response.status_code < 500:
        raise NonRetryable(f"{response.url} answered {response.status_code} {response.reason_phrase}")
    response.raise_for_status()


def retry_after_s(header: str | None, *, now_s: float, default_s: float = 5.0) -> float:
    """How long the server asks to wait, which it may say in seconds or as a date (RFC 9110, 10.2.3)."""
    if header is None:
        return default_s
    try:
        if header.strip().isdigit():
            wait_s = float(header)
        else:
            wait_s = email.utils.parsedate_to_datetime(header).timestamp() - now_s
    except ValueError:
        return default_s
    return min(max(wait_s, 0.0), RETRY_AFTER_MAX_S)


def decode(body: bytes) -> Image.Image:
    """The image in `body`, turned the way its EXIF data says. Raises NonRetryable if it is none, or too large."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "error", Image.DecompressionBombWarning
        )  # Pillow raises by itself only at twice the limit
        try:
            with Image.open(io.BytesIO(body)) as image:
                return ImageOps.exif_transpose(image)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise NonRetryable(f"more than {PIXELS_MAX:,} pixels: {error}") from error
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise NonRetryable(f"not an image that can be read: {error}") from error


def write_thumb(image: Image.Image, size: int, stem: Path) -> Thumb:
    """A PNG at `stem`.png if the image has transparency, else a JPEG at `stem`.jpg."""
    transparent = image.has_transparency_data
    scaled = image.convert("RGBA" if transparent else "RGB")
    scaled.thumbnail((size, size), Image.Resampling.LANCZOS)
    encoded = io.BytesIO()
    file_format, suffix = ("PNG", ".png") if transparent else ("JPEG", ".jpg")
    scaled.save(encoded, format=file_format, optimize=True, quality=85)
    target = stem.with_name(stem.name + suffix)
    write_atomically(target, encoded.getvalue())
    width, height = scaled.size
    return Thumb(path=str(target), format=file_format, width=width, height=height, bytes=len(encoded.getvalue()))
