"""What the tests of `taskservice.testing` share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from helpers.tested_app import app, made
from taskservice.testing import Service


@pytest.fixture
def service() -> Iterator[Service]:
    """A service for the app; nothing has been done yet."""
    made.clear()
    with Service(app, secrets={"TOKEN": "open sesame"}) as one:
        yield one
