"""Checkpoints of simulated attempts: numbered as they are saved, so that a checker sees which one an attempt begins with."""

from __future__ import annotations

from collections import Counter

from taskservice.core import records as r
from taskservice.core.checkpoints import CheckpointsSaved
from taskservice.core.lease_wire import LeaseReport, LeaseSpec, LeaseTask
from taskservice.core.story import story
from taskservice.core.types import TaskNo, Token


class Saves:
    """All of one world."""

    def __init__(self) -> None:
        self._count = 0
        self._acknowledged: dict[TaskNo, list[tuple[Token, int]]] = {}
        """Those that runners were told are durable, and under which lease."""
        self.restored: dict[Token, dict[TaskNo, bytes]] = {}
        """What each lease brought."""

    def next(self, task: LeaseTask) -> tuple[TaskNo, bytes]:
        """The attempt saves another one."""
        self._count += 1
        return task.no, b"%d" % self._count

    def launched(self, spec: LeaseSpec) -> None:
        """A runner has the lease: no attempt begins with less than what was acknowledged of the leases before."""
        self.restored[spec.token] = {task.no: task.checkpoint for task in spec.tasks}
        for task in spec.tasks:
            before = [number for token, number in self._acknowledged.get(task.no, ()) if token < spec.token]
            least = max(before, default=0)
            assert int(task.checkpoint or b"0") >= least, f"{task.no} under {spec.token} has lost checkpoint {least}"

    def acknowledged(self, report: LeaseReport) -> None:
        """The runner was told that its report is durable, and that its lease holds."""
        for no, text in report.checkpoints:
            self._acknowledged.setdefault(no, []).append((report.token, int(text)))


def check_restored(records: list[r.Record], saves: Saves) -> Counter[str]:
    """Each lease brought the last checkpoint that was saved by a holder of the task before it, and nothing of anybody whose lease
    had been superseded by then; gives how many there were."""
    holds: dict[TaskNo, Token] = {}
    last: dict[TaskNo, bytes] = {}
    found: Counter[str] = Counter()
    for record in records:
        if isinstance(record, r.LeaseGranted):
            holds.update(dict.fromkeys(record.nos, record.token))
            for no, text in saves.restored.get(record.token, {}).items():
                assert text == last.get(no, b""), "\n".join(story(records, no))
                found["restored"] += bool(text)
        elif isinstance(record, CheckpointsSaved):
            for no, text in record.rows:
                assert holds.get(no) == record.token, "\n".join(story(records, no))
                last[no] = text
                found["saved"] += 1
    return found
