"""What the autoscaler's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from world.machine import Machine


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A shard with the function `app.f`, and no runner."""
    machine = Machine()
    machine.register()
    yield machine
    machine.close()
