"""What several folders of tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from helpers.seaweed import CREDENTIALS, Seaweed


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
