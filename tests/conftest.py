"""What several folders of tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from helpers.seaweed import CREDENTIALS, Seaweed


def pytest_configure() -> None:
    """Processes that tests start can be interrupted. A shell's background job ignores SIGINT, and so do its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real S3 server with one bucket, and its credentials in the environment. Each test takes a prefix of its own."""
    server = Seaweed(tmp_path_factory.mktemp("seaweed"))
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        server.start()
        yield server
        server.kill()
