"""A service of one's own for the length of a `with` block: its own home, a free port, stopped at the end.

It is started and stopped by the command line, as a user would, and disturbs no other service on the machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from taskservice import Client

UP_TIMEOUT_S = 180
DOWN_TIMEOUT_S = 60


class CommandFailed(Exception):
    """A `taskservice` command did not end with exit code 0; the text is what it said."""


@contextmanager
def local_service(
    app: str, *, home: Path, code: Path, keep: bool = False, options: Sequence[str] = ()
) -> Iterator[Client]:
    """A client of a service that serves `app` (MODULE:attribute, importable from the folder `code`).

    What `home` holds from an earlier run is continued. Unless `keep`, nothing of the service is left running
    afterwards, whether the block ended well or not. `options` are more of `taskservice up`. Raises CommandFailed if the service does not get ready.
    """
    home.mkdir(parents=True, exist_ok=True)
    stop(home)
    try:
        words = ("up", "--app", app, "--port", str(free_port()), "-d", *options)
        _taskservice(*words, home=home, cwd=code, timeout_s=UP_TIMEOUT_S)
        with connect(home) as client:
            yield client
    finally:
        if not keep:
            stop(home)


def connect(home: Path) -> Client:
    """A client of the service that lives in `home`."""
    access = json.loads((home / "client.json").read_text())
    return Client(access["url"], api_key=access["api_key"])


def stop(home: Path) -> None:
    """Nothing of the service that lives in `home` is running, whether it was or not."""
    _taskservice("down", home=home, cwd=home, timeout_s=DOWN_TIMEOUT_S)


def free_port() -> int:
    """A port that is free now, and that the kernel gives to nobody who asks for just any, as Ray does many times."""
    for port in random.sample(range(15_000, 30_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("none of 100 ports is free")


def _taskservice(*arguments: str, home: Path, cwd: Path, timeout_s: float) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TASKSERVICE_")}
    command = [sys.executable, "-m", "taskservice", *arguments]
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment | {"TASKSERVICE_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != 0:
        raise CommandFailed(
            f"`taskservice {' '.join(arguments)}` ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        )
