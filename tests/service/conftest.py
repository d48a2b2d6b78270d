"""Live services: real Ray, real processes, real HTTP. One for each test module, and gone afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.live import Live
from taskservice import Client

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.ray)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service, stopped at the end, with nothing left running."""
    # Callbacks go to the tests' own servers.
    live = Live(tmp_path_factory.mktemp("home"), environment={"TASKSERVICE_CALLBACK_PRIVATE_NETWORKS": "true"})
    live.up()
    processes = live.processes()
    yield live
    processes += live.processes()
    live.down()
    assert not [process for process in processes if process.is_running()]


@pytest.fixture
def client(live: Live) -> Iterator[Client]:
    with live.client() as client:
        yield client


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Live]:
    """A service that is not up yet, and that the test may end as it likes."""
    live = Live(tmp_path / "home")
    yield live
    live.kill_everything()
