"""A live service whose running tasks are cancelled: real Ray, real processes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from helpers.live import Live, eventually
from taskservice import Client
from taskservice.errors import TaskCancelled

GRACE_S = 1.0


@pytest.mark.parametrize(("function", "bound_s"), [("work.heeds", 1.0), ("work.hangs", GRACE_S + 2.0)])
def test_a_running_task_has_ended_soon_after_it_is_cancelled(
    client: Client, live: Live, tmp_path: Path, function: str, bound_s: float
) -> None:
    """Within a second if it listens, by force after its grace if it does not; and it is not tried again."""
    begun = tmp_path / "begun"
    task = client.submit(function, {"file": str(begun)})
    eventually(begun.exists, 60)
    asked_s = time.monotonic()
    assert task.cancel().info["cancelling"] is True
    with pytest.raises(TaskCancelled):
        task.result(timeout=30)
    took_s = time.monotonic() - asked_s
    print(f"\n{function} was cancelled {took_s:.2f} s after that was asked (at most {bound_s:.1f})")
    assert took_s <= bound_s
    assert (task.refresh().state, task.info["attempt"]) == ("cancelled", 1)
    ended = live.cli("cancel", task.id)
    assert (ended.returncode, "cancelled" in ended.stdout) == (0, True)
    assert client.submit("work.when", {}).result(timeout=30) > 0, "its room is free again"
