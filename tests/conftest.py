"""What several folders of tests share."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from helpers.seaweed import CREDENTIALS, Seaweed


def pytest_configure() -> None:
    """Processes that tests start can be interrupted: a shell's background job ignores SIGINT, and so do its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # How long an example takes says nothing where other tests run beside it.
    hypothesis.settings.register_profile("patient", deadline=None)
    hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def seaweed() -> Iterator[Seaweed]:
    """A real S3 server with one bucket, and its credentials in the environment. Each test takes a prefix of its own."""
    with tempfile.TemporaryDirectory(prefix="seaweed-") as folder, pytest.MonkeyPatch.context() as patch:
        server = Seaweed(Path(folder))
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        try:
            server.start()
            yield server
        finally:
            server.kill()
