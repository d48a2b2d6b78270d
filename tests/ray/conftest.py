"""Real Ray for the tests of this folder: on loopback, in folders of its own, started from a poisoned folder, and gone
afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.on_ray import Gate
from taskservice.actors import ray_env

HERE = Path(__file__).parent

# Ray reads some of its environment when it is imported, which test modules do: see `ray_env`.
ray_env.apply(ray_env.local_ray_env(HERE / "each cluster has a token file of its own"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.ray)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.close()


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose modules are called like ours, and like what we need, and end whoever imports them."""
    folder = tmp_path_factory.mktemp("poisoned")
    for name in ("taskservice", "actors", "ray", "msgspec"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('the wrong module')")
    return folder
