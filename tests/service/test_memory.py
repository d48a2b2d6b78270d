"""A live service and a handler that takes more memory than it said."""

from __future__ import annotations

import pytest

from taskservice import Client, TaskFailed


def test_who_runs_out_of_memory_has_more_the_next_time(client: Client) -> None:
    """And nobody else notices."""
    task = client.submit("work.take", {"megabytes": 300})
    assert list(client.map("work.noop", ({"i": i} for i in range(500)))) == list(range(500))
    assert task.result(timeout=60) == 300
    info = task.refresh().info
    assert (info["attempt"], info["crashes"], info["memory_bytes"]) == (2, 0, 600 * 2**20)
    assert info["error"]["reason"] == "out_of_memory"
    assert "and may have 150 MiB" in info["error"]["message"]


def test_who_needs_more_than_it_ever_may_is_a_dead_letter(client: Client) -> None:
    task = client.submit("work.take", {"megabytes": 5_000})
    with pytest.raises(TaskFailed, match="and may have 600 MiB"):
        task.result(timeout=60)
    assert task.refresh().info["error"]["reason"] == "out_of_memory"
