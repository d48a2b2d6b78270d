"""Memory: who takes more than it may is stopped and told apart, and nobody else is harmed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from helpers.counting import calls_of
from taskservice.core.types import OutcomeKind as Kind
from taskservice.runtime import memory
from taskservice.runtime.memory import OomKills

MIB = 2**20
HOGS = {"module": "hogs"}


def test_a_hog_is_stopped_at_its_limit_and_the_rest_of_the_lease_goes_on(node):
    run = node.run("hold", [{"megabytes": each} for each in (8, 100_000, 8)], memory_bytes=200 * MIB, **HOGS)
    assert run.kinds == [Kind.SUCCEEDED, Kind.OUT_OF_MEMORY, Kind.SUCCEEDED]
    assert not run.handed_back
    said = re.fullmatch(r"it took (\d+) MiB of memory, and may have 200 MiB", run.outcomes[2].message)
    assert said
    assert 200 <= int(said[1]) < 2_000
    assert run.outcomes[2].duration_us > 0


def test_who_states_no_memory_takes_what_there_is(node):
    node.run("hold", [{"megabytes": 300, "seconds": 0.3}], **HOGS).results()


def test_what_is_only_reserved_is_not_taken(node):
    """As allocators do it: no limit on address space would let pyarrow import."""
    run = node.run("reserve", [{"megabytes": 4_000, "seconds": 0.3}], memory_bytes=200 * MIB, **HOGS)
    assert run.results() == [4_000 * MIB]


def test_what_a_handler_has_started_counts(node):
    run = node.run("breed", [{"megabytes": 300}], memory_bytes=200 * MIB, **HOGS)
    assert run.kinds == [Kind.OUT_OF_MEMORY]


def test_what_forks_share_counts_once(node):
    payload = {"megabytes": 100, "copies": 4, "seconds": 0.6}
    assert node.run("fork", [payload], memory_bytes=200 * MIB, **HOGS).results() == [100]


def test_a_leak_is_not_put_down_to_who_comes_after_it(fresh):
    """Each would have had enough in a process of its own, and gets one."""
    payloads = [{"megabytes": 60, "seconds": 0.25}] * 6
    run = fresh.run("keep", payloads, memory_bytes=250 * MIB, **HOGS)
    assert len(set(run.results())) == 2


def test_who_would_have_had_too_much_alone_is_spared_once(fresh):
    payloads = [{"megabytes": 100, "seconds": 0.25}, {"megabytes": 10_000}]
    run = fresh.run("keep", payloads, memory_bytes=250 * MIB, **HOGS)
    assert run.kinds == [Kind.SUCCEEDED, Kind.OUT_OF_MEMORY]


def test_a_warm_child_that_others_have_filled_is_not_for_who_is_limited(fresh):
    (full,) = fresh.run("keep", [{"megabytes": 100}], **HOGS).results()
    assert fresh.run("hold", [{"megabytes": 0}], **HOGS).results() == [full]
    (empty,) = fresh.run("hold", [{"megabytes": 0}], memory_bytes=200 * MIB, **HOGS).results()
    assert empty != full
    assert fresh.run("keep", [{"megabytes": 20}], memory_bytes=200 * MIB, **HOGS).results() == [empty]
    assert fresh.run("hold", [{"megabytes": 0}], memory_bytes=200 * MIB, **HOGS).results() == [empty]


def test_of_many_async_attempts_the_hog_is_told(node):
    payloads = [{"megabytes": 10_000 if each == 3 else 0} for each in range(6)]
    run = node.run("nap_or_hold", payloads, is_async=True, memory_bytes=200 * MIB, **HOGS)
    assert {no: outcome.kind for no, outcome in run.outcomes.items()} == {4: Kind.OUT_OF_MEMORY}
    assert sorted(run.handed_back) == [1, 2, 3, 5, 6]


@pytest.mark.parametrize(("function", "kind"), [("refused", Kind.OUT_OF_MEMORY), ("hopeless", Kind.NON_RETRYABLE)])
def test_a_handler_that_gets_no_memory(node, function, kind):
    outcome = node.run(function, [{}], **HOGS).outcomes[1]
    assert outcome.kind is kind
    assert outcome.message.startswith("MemoryError")


def test_whoever_is_killed_without_a_sign_of_why_has_crashed(node):
    outcome = node.run("be_killed", [{}], **HOGS).outcomes[1]
    assert (outcome.kind, outcome.message) == (Kind.CRASHED, "its process ended: killed by signal SIGKILL")


def test_whoever_is_killed_when_the_kernel_counts_that_has_run_out_of_memory(fresh, tmp_path):
    counter = tmp_path / "memory.events"
    counter.write_text("oom 5\noom_kill 2\n")
    fresh.pool.oom_kills = OomKills([str(tmp_path / "absent"), str(counter)])
    run = fresh.run("be_killed", [{"counter": str(counter)}, {}], **HOGS)
    assert run.outcomes[1].kind is Kind.OUT_OF_MEMORY
    assert "SIGKILL; likely out of memory" in run.outcomes[1].message


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of at most 64 MiB, where this process may make one."""
    with suppress(OSError):
        for root, limit in (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
            made = Path(root) / f"taskservice-test-{os.getpid()}"
            if Path(root, "cgroup.procs").exists():
                made.mkdir(exist_ok=True)
                if (made / limit).exists():
                    (made / limit).write_text(str(64 * MIB))
                    yield made
                    made.rmdir()
                    return
                made.rmdir()
    pytest.skip("no control groups to be had here")


def test_the_kernel_itself_ends_a_handler(fresh, group):
    fresh.pool.oom_kills = OomKills()
    outcome = fresh.run("fill_group", [{"group": str(group), "megabytes": 500}], **HOGS).outcomes[1]
    assert outcome.kind is Kind.OUT_OF_MEMORY
    assert outcome.message.startswith("its process ended: killed by signal SIGKILL; likely out of memory")


def test_looking_costs_a_lease_of_short_tasks_next_to_nothing(node):
    """Once when the child is taken; and then ten times a second, which a short lease does not live to see."""
    node.run("hold", [{"megabytes": 0}], **HOGS)
    payloads, runs = [{"megabytes": 0}] * 200, []
    looks = calls_of(
        lambda: runs.append(node.run("hold", payloads, memory_bytes=200 * MIB, **HOGS)), memory.taken_bytes
    )
    lasted_s = runs[0].reports[-1][0]
    assert 1 <= looks <= 1 + lasted_s / memory.LOOK_S
    assert calls_of(lambda: node.run("hold", payloads, **HOGS), memory.taken_bytes) == 0


def test_what_the_kernel_counted_long_ago_is_no_sign(tmp_path):
    counter = tmp_path / "vmstat"
    counter.write_text("pgfault 9\noom_kill 4\n")
    kills = OomKills([str(counter)])
    counter.write_text("pgfault 9\noom_kill 5\n")
    assert kills.recent() == 1
    for at_s in (2.0, 4.0):
        kills.look(kills.looked_s + at_s)
    assert kills.recent() == 0
