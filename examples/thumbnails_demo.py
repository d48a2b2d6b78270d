"""Thumbnails from a server that misbehaves: what may be retried is, what cannot succeed is given up, and both are seen.

    python examples/thumbnails_demo.py [--out DIR]

Draws a handful of pictures, serves them from this process, runs a service of its own, and checks every thumbnail, every
count of attempts and every refusal. Exit code 0 if all is as expected.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flaky_images import FlakyServer, Picture, Trouble, photograph, serve, sticker
from local_service import CommandFailed, local_service
from PIL import Image
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table
from thumbnails import Thumb

from taskservice import Client, RequestError, TaskFailed, TaskServiceError

EXAMPLES = Path(__file__).resolve().parent
FUNCTION = "media.thumbnail"
SIZES = [256, 64]
TASK_TIMEOUT_S = 60

console = Console()


@dataclass(frozen=True, slots=True)
class Case:
    """A picture, and what must come of it."""

    about: str
    picture: Picture | None
    thumbs: tuple[tuple[str, int, int], ...] = ()
    """Format, width and height of each; none if the task must fail."""
    attempts: int = 1
    """Attempts charged. One that was throttled is not."""
    downloads: int = 1


PHOTOGRAPH = photograph(640, 480)
LANDSCAPE = (("JPEG", 256, 192), ("JPEG", 64, 48))

CASES: Mapping[str, Case] = {
    "plain.jpg": Case("a photograph", Picture(PHOTOGRAPH), LANDSCAPE),
    "turned.jpg": Case(
        "turned by EXIF", Picture(photograph(640, 480, turned=True)), (("JPEG", 192, 256), ("JPEG", 48, 64))
    ),
    "sticker.png": Case("transparent", Picture(sticker(200)), (("PNG", 200, 200), ("PNG", 64, 64))),
    "busy.jpg": Case("the server is busy", Picture(PHOTOGRAPH, Trouble.BUSY), LANDSCAPE, attempts=1, downloads=2),
    "broken.jpg": Case("the server breaks", Picture(PHOTOGRAPH, Trouble.BROKEN), LANDSCAPE, attempts=2, downloads=2),
    "reset.jpg": Case("the connection drops", Picture(PHOTOGRAPH, Trouble.RESET), LANDSCAPE, attempts=2, downloads=2),
    "corrupt.jpg": Case("not an image", Picture(b"\xff\xd8 these are not the pixels you are looking for")),
    "missing.jpg": Case("not there", None),
}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a task ended."""

    state: str
    attempts: int
    thumbs: list[Thumb]
    error: str = ""


def main() -> int:
    """The exit code: 0 if all is as expected."""
    parser = argparse.ArgumentParser(description="Make thumbnails of pictures from a server that misbehaves.")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the thumbnails go (default: a new folder)")
    options = parser.parse_args()
    out = (options.out or Path(tempfile.mkdtemp(prefix="thumbnails-"))).resolve()
    try:
        return run(out)
    except (CommandFailed, TaskServiceError) as error:
        console.print(f"thumbnails: {error}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("thumbnails: interrupted.")
        return 130


def run(out: Path) -> int:
    """Runs all cases and prints what came of each; 0 if that is what must come of it."""
    pictures = {name: case.picture for name, case in CASES.items() if case.picture}
    # Ray's sockets need a short path, whatever `out` is; and nothing of the service is worth keeping here.
    with tempfile.TemporaryDirectory(prefix="thumbnails-") as home, serve(pictures) as server:
        with local_service("thumbnails:app", home=Path(home), code=EXAMPLES) as client:
            ended = convert_all(client, server, out)
            refused = is_refused_at_submit(client, server)
        wrong = [doubt for name in CASES for doubt in doubts(CASES[name], ended[name], server.downloads[name])]
    if not refused:
        wrong.append("a size of 0 was accepted")
    print_summary(ended, server)
    for doubt in wrong:
        console.print(f"wrong: {doubt}", style="red", markup=False)
    console.print(f"{len(CASES)} tasks, {sum(len(one.thumbs) for one in ended.values())} thumbnails in {out}")
    return 1 if wrong else 0


def convert_all(client: Client, server: FlakyServer, out: Path) -> dict[str, Ended]:
    """How each case's task ended, by the picture's name. All are submitted before the first is waited for."""
    handles = {
        name: client.submit(FUNCTION, {"url": server.url(name), "sizes": SIZES, "out_dir": str(out)}) for name in CASES
    }
    ended = {}
    for name, handle in handles.items():
        thumbs, error = [], ""
        try:
            thumbs = TypeAdapter(list[Thumb]).validate_python(handle.result(timeout=TASK_TIMEOUT_S))
        except TaskFailed as failure:
            error = f"{failure.reason}: {failure.message}"
        handle.refresh()
        ended[name] = Ended(handle.state, handle.info["attempt"], thumbs, error)
    return ended


def is_refused_at_submit(client: Client, server: FlakyServer) -> bool:
    """Whether a payload that the signature does not allow is turned away before it becomes a task."""
    try:
        client.submit(FUNCTION, {"url": server.url("plain.jpg"), "sizes": [0], "out_dir": "unused"})
    except RequestError:
        return True
    return False


def doubts(case: Case, ended: Ended, downloads: int) -> list[str]:
    """What differs from what must come of `case`; reads the files that were written."""
    found = []
    expected_state = "succeeded" if case.thumbs else "failed"
    if ended.state != expected_state:
        found.append(f"{case.about}: {ended.state} ({ended.error}), expected {expected_state}")
    if ended.error and not ended.error.startswith("non_retryable"):
        found.append(f"{case.about}: failed as {ended.error}, expected non_retryable")
    if ended.attempts != case.attempts:
        found.append(f"{case.about}: {ended.attempts} attempts, expected {case.attempts}")
    if downloads != case.downloads:
        found.append(f"{case.about}: downloaded {downloads} times, expected {case.downloads}")
    written = tuple(look(Path(thumb.path)) for thumb in ended.thumbs)
    if written != case.thumbs:
        found.append(f"{case.about}: the files are {written}, expected {case.thumbs}")
    return found


def look(path: Path) -> tuple[str, int, int]:
    """Format, width and height of an image file."""
    with Image.open(path) as image:
        image.load()
        return str(image.format), image.width, image.height


def print_summary(ended: Mapping[str, Ended], server: FlakyServer) -> None:
    """Prints one line per task."""
    table = Table("picture", "what is special", "state", "attempts", "downloads", "thumbnails or error")
    for name, one in ended.items():
        sizes = ", ".join(f"{thumb.width}x{thumb.height} {thumb.format}" for thumb in one.thumbs)
        counts = (str(one.attempts), str(server.downloads[name]))
        table.add_row(name, CASES[name].about, one.state, *counts, sizes or one.error)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
