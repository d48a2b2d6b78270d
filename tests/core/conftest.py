"""The pure core under test: every test ends by comparing what lives with what replays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from world.machine import Machine


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A shard with the function `app.f` and a runner of one CPU."""
    machine = Machine()
    machine.register()
    machine.join()
    yield machine
    machine.close()
