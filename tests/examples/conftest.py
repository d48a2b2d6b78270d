"""The examples are scripts beside each other: their folder is on the path, as it is when one of them is run."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from taskservice import Context

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "examples"))


@pytest.fixture
def ctx() -> Context:
    """An attempt, for a handler that is called without a service."""
    return Context(task_id="t", tenant="default", attempt=1, deadline=datetime(2030, 1, 1, tzinfo=UTC), tags={})
