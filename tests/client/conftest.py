"""What the tests of the SDK share."""

from __future__ import annotations

import pytest

from helpers.scripted_server import scripted_server


@pytest.fixture
def server():
    """A scripted server on a port of its own."""
    with scripted_server() as script:
        yield script


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch, tmp_path):
    """No service of whoever runs the tests is found."""
    for name in ("URL", "API_KEY"):
        monkeypatch.delenv(f"TASKSERVICE_{name}", raising=False)
    monkeypatch.setenv("TASKSERVICE_HOME", str(tmp_path / "home"))
