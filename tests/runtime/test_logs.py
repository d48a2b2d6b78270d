"""What handlers print, log and write, however they do it, is in the log of the attempt that did it."""

from __future__ import annotations

import socket
import time
from threading import Event, Thread

import psutil
import pytest

from taskservice.core.report import LOST_LOG
from taskservice.core.types import OutcomeKind as Kind
from taskservice.core.types import TaskNo
from taskservice.runtime.outbox import LOG_BURST_BYTES, LOG_BYTES_PER_S, Outbox
from taskservice.runtime.wire import Logged


def test_print_logging_stderr_and_subprocesses(node):
    node.run("talk", [{"lines": 3}])
    log = node.log()
    lines = log.splitlines()
    assert [line for line in lines if line.startswith("line")] == ["line 0", "line 1", "line 2"]
    assert lines.index("line 2") < next(i for i, line in enumerate(lines) if "WARNING sample: careful" in line)
    assert {"and an error", "from a subprocess"} <= set(lines)


def test_an_attempt_that_is_made_again_under_its_number_overwrites_nothing(node):
    """Throttled, lost and handed-back attempts are not charged: the next one has the same number."""
    node.run("say", [{"text": "once"}], module="rogue")
    node.run("say", [{"text": "again"}], module="rogue")
    assert node.log() == "once\nagain\n"


def test_each_attempt_has_its_own(node):
    node.run("say", [{"text": f"hello {i}"} for i in range(20)], module="rogue")
    assert [node.log(f"t{i + 1}") for i in range(20)] == [f"hello {i}\n" for i in range(20)]


@pytest.mark.parametrize(("function", "said"), [("raw", "raw"), ("child_says", "child")])
def test_raw_output_is_put_down_to_the_attempt_that_wrote_it(node, function, said):
    """However fast one attempt follows another."""
    node.run(function, [{"i": i} for i in range(60)], module="rogue")
    assert [node.log(f"t{i + 1}") for i in range(60)] == [f"{said} {i}\n" for i in range(60)]


def test_attempts_on_one_event_loop_do_not_mix(node):
    node.run("nap", [{"i": i, "seconds": 0.05} for i in range(10)], is_async=True)
    assert [node.log(f"t{i + 1}") for i in range(10)] == [f"nap {i}\nwoke {i}\n" for i in range(10)]


def test_threads_of_a_handler_write_to_its_log(node):
    node.run("threads", [{"count": 8}], module="rogue")
    assert sorted(node.log().split()) == sorted(["thread", "0", "thread", "1", "thread", "2", "thread", "3", "thread", "4", "thread", "5", "thread", "6", "thread", "7"])  # fmt: skip


def test_bytes_for_stdout(node):
    node.run("write_bytes", [{"text": "grüezi"}, {"text": "ciao"}], module="rogue")
    assert (node.log("t1"), node.log("t2")) == ("grüezi", "ciao")


def test_a_replaced_stdout_is_the_attempts_own_affair(node):
    """What the handler puts in the place of stdout is gone with the next attempt."""
    run = node.run("replace_stdout", [{}, {}], module="rogue")
    assert run.results() == ["swallowed\n"] * 2
    node.run("say", [{"text": "hello"}], module="rogue", ids=["later"])
    assert node.log("later") == "hello\n"


def test_nobody_answers_questions(node):
    run = node.run("ask", [{}], module="rogue")
    assert "EOFError" in run.outcomes[1].message


def test_a_signal_handler_prints_while_the_attempt_prints(node):
    """One message is written at a time, whole, though the second begins in the midst of the first."""
    run = node.run("alarm_prints", [{}], module="rogue")
    assert run.kinds == [Kind.SUCCEEDED]
    lines = node.log().splitlines()
    assert [line for line in lines if line.startswith("line")]
    assert "alarm" in node.log()


def test_nothing_is_written_for_a_silent_task(node):
    run = node.run("noop", [{}])
    assert node.spool.open_bytes == 0
    assert {(report.log, report.logs) for _, report in run.reports} == {("", ())}


@pytest.mark.parametrize("function", ["shout", "shout_raw"])
def test_a_hundred_megabytes_are_cut_and_nothing_here_grows(node, function):
    """The log ends with a mark that names the limit and what was dropped."""
    log_bytes_max = node.options.log_bytes_max
    peak = PeakMemory()
    with peak:
        assert node.run(function, [{"megabytes": 100}]).results() == [100]
    log = node.log(remarks=True)
    written = 100_000_100 if function == "shout" else 100_000_000
    mark = f"[log cut here: {written - log_bytes_max} bytes dropped, log_bytes_max is {log_bytes_max}]\n"
    assert log.endswith(mark)
    assert log_bytes_max < len(log) < log_bytes_max + 100
    assert peak.grown_bytes < 50_000_000


class PeakMemory:
    """How much this process has grown at most."""

    def __enter__(self) -> None:
        self.grown_bytes = 0
        self._before = psutil.Process().memory_info().rss
        self._over = Event()
        self._thread = Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.005):
            self.grown_bytes = max(self.grown_bytes, psutil.Process().memory_info().rss - self._before)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def test_a_disk_that_refuses_costs_the_log_not_the_task(make_node, caplog):
    node = make_node()
    (node.spool.folder / "open").unlink()
    run = node.run("say", [{"text": "unheard"}], module="rogue")
    assert run.results() == ["unheard"]
    assert [report.log for _, report in run.reports if report.outcomes] == [LOST_LOG]
    assert "8 bytes of the log of task t1 are lost" in caplog.text


def test_each_line_has_its_time_and_its_stream(node):
    before_ms = time.time_ns() // 1_000_000
    node.run("talk", [{"lines": 2}])
    written = node.written()
    streams = [(each.stream, each.text.decode().split(": ")[-1]) for each in written]
    assert [each for each in streams if each[0] == "stdout"] == [("stdout", "line 0\n"), ("stdout", "line 1\n")]
    assert {("warning", "careful\n"), ("stderr", "and an error\n")} <= set(streams)
    assert "".join(text for stream, text in streams if stream == "output").endswith("from a subprocess\n")
    times = [each.at_ms for each in written if each.stream != "output"]
    assert times == sorted(times)
    assert before_ms <= times[0] <= times[-1] <= time.time_ns() // 1_000_000


def test_how_an_attempt_ended_badly_is_in_its_log(node):
    """A traceback where there is one; of a process that died, its last words and how it ended."""
    node.run("fail", [{"how": "value"}, {"how": "exit"}])
    log = node.log("t1", remarks=True)
    assert log.startswith("Traceback (most recent call last)")
    assert log.endswith("ValueError: no good\n")
    assert node.log("t2", remarks=True) == "[its process ended: exit code 7]\n"


def test_an_attempt_that_ends_well_and_at_once_has_one_piece(node):
    run = node.run("say", [{"text": "once"}], module="rogue")
    (piece,) = node.pieces()
    assert (piece.part, piece.whole, piece.ended, piece.before, piece.previous) == (0, True, True, "", "")
    (report,) = [report for _, report in run.reports if report.outcomes]
    assert report.log == str(node.spool.places()[0])


def test_a_process_that_says_too_much_waits_and_one_that_says_little_does_not():
    """By the bytes: attempt after attempt, each within its limit, would fill the disk that others' logs wait on."""
    ours, theirs = socket.socketpair()
    reader = Thread(target=lambda: [None for _ in iter(lambda: theirs.recv(1 << 20), b"")])
    reader.start()
    pauses: list[float] = []
    outbox = Outbox(ours, pauses.append)
    outbox.log(Logged(TaskNo(1), b"x" * LOG_BURST_BYTES))
    assert pauses == []
    outbox.log(Logged(TaskNo(1), b"x" * 2 * LOG_BURST_BYTES))
    ours.close()
    reader.join()
    theirs.close()
    assert len(pauses) == 1
    assert LOG_BURST_BYTES <= pauses[0] * LOG_BYTES_PER_S <= 2 * LOG_BURST_BYTES
