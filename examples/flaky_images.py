"""A loopback HTTP server of pictures whose first answers go wrong in ways that real servers do."""

from __future__ import annotations

import io
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image, ImageDraw

EXIF_ORIENTATION = 0x0112
TURN_RIGHT = 6
"""EXIF's word for: turn by 90 degrees clockwise to see it upright."""


class Trouble(StrEnum):
    """What happens to the first download of a picture."""

    BUSY = "503 with Retry-After: 1"
    BROKEN = "500"
    RESET = "connection reset"


@dataclass(frozen=True, slots=True)
class Picture:
    """What the server has under one name."""

    body: bytes
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class FlakyServer:
    """A running server. `downloads` counts the requests for each name, those that went wrong included."""

    port: int
    downloads: Counter[str]

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/{name}"


@contextmanager
def serve(pictures: Mapping[str, Picture]) -> Iterator[FlakyServer]:
    """A server of `pictures`, by name, for the length of the block. Other names are 404."""
    downloads: Counter[str] = Counter()
    counting = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            with counting:
                downloads[name] += 1
                first = downloads[name] == 1
            picture = pictures.get(name)
            if picture is None:
                self.send_error(404)
            elif picture.trouble and first:
                self.go_wrong(picture.trouble)
            else:
                self.send_response(200)
                self.send_header("Content-Length", str(len(picture.body)))
                self.end_headers()
                self.wfile.write(picture.body)

        def go_wrong(self, trouble: Trouble) -> None:
            if trouble is Trouble.RESET:
                # Lingering for 0 s makes the close that follows a reset.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return
            self.send_response(503 if trouble is Trouble.BUSY else 500)
            if trouble is Trouble.BUSY:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: what the server did is in `downloads`."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="flaky-images")
        thread.start()
        try:
            yield FlakyServer(server.server_port, downloads)
        finally:
            server.shutdown()
            thread.join()


def photograph(width: int, height: int, *, turned: bool = False) -> bytes:
    """A JPEG: a sky, a sun and a hill. `turned`: as a camera held upright stores it, to be turned right by EXIF."""
    image = Image.merge(
        "RGB",
        [
            Image.linear_gradient("L").resize((width, height)),
            Image.radial_gradient("L").resize((width, height)),
            Image.linear_gradient("L").rotate(180).resize((width, height)),
        ],
    )
    pen = ImageDraw.Draw(image)
    pen.ellipse((width * 0.7, height * 0.1, width * 0.85, height * 0.3), fill=(255, 220, 90))
    pen.polygon([(0, height), (width * 0.4, height * 0.5), (width, height)], fill=(40, 110, 60))
    exif = Image.Exif()
    if turned:
        exif[EXIF_ORIENTATION] = TURN_RIGHT
    return _encoded(image, "JPEG", exif=exif)


def sticker(side: int) -> bytes:
    """A PNG: a disc on nothing."""
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((side * 0.1, side * 0.1, side * 0.9, side * 0.9), fill=(200, 40, 80, 180))
    return _encoded(image, "PNG")


def _encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=file_format, **options)
    return buffer.getvalue()
