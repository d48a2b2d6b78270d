"""Children: warm ones are used again, rogue ones harm nobody else, and none is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from helpers.processes import gone
from taskservice.core.types import OutcomeKind as Kind


def test_a_child_is_used_again_by_its_tenant_and_bundle_only(node):
    (pid,) = node.run("pid", [{}]).results()
    assert node.run("pid", [{}]).results() == [pid]
    assert node.run("pid", [{}], tenant="other").results() != [pid]
    assert node.run("sample.pid", [{}], module="alias").results() != [pid]
    assert node.run("pid", [{}]).results() == [pid]


def test_a_child_is_used_again_with_its_devices_only(fresh, monkeypatch):
    """Ray sets them for each lease; a library that has seen the one GPU will not look for another."""
    pids = []
    for gpu in ("0", "1", "0"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpu)
        pids += fresh.run("pid", [{}]).results()
    assert pids[0] == pids[2] != pids[1]


def test_the_least_recently_used_child_ends(make_node):
    node = make_node(children_max=2)
    pids = {tenant: node.run("pid", [{}], tenant=tenant).results()[0] for tenant in ("a", "b")}
    node.run("pid", [{}], tenant="a")
    node.run("pid", [{}], tenant="c")
    assert gone(pids["b"], within_s=0)
    assert node.run("pid", [{}], tenant="a").results() == [pids["a"]]


def test_an_idle_child_ends_and_the_next_lease_has_another(make_node):
    node = make_node(child_idle_s=0.1)
    (pid,) = node.run("pid", [{}]).results()
    assert gone(pid)
    assert node.run("pid", [{}]).results() != [pid]


def test_a_child_that_died_while_idle_costs_nothing(node):
    (pid,) = node.run("pid", [{}]).results()
    os.kill(pid, signal.SIGKILL)
    assert node.run("pid", [{}]).kinds == [Kind.SUCCEEDED]


def test_a_child_dies_with_its_supervisor(tmp_path):
    """SIGKILL: nobody has the time to clean up."""
    mark = tmp_path / "pid"
    os.mkfifo(mark)
    code = (
        f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parents[1])!r}]\n"
        "from pathlib import Path; from conftest import Node\n"
        f"Node(Path({str(tmp_path)!r})).run('mark_and_sleep', [{{'path': {str(mark)!r}}}], module='rogue')"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as supervisor:
        pid = int(mark.read_text())
        assert psutil.pid_exists(pid)
        supervisor.kill()
    assert gone(pid)


def test_crashed_children_leave_no_descriptor_and_no_zombie(fresh):
    fresh.run("fail", [{"how": "exit"}])
    descriptors, children = psutil.Process().num_fds(), psutil.Process().children()
    assert fresh.run("fail", [{"how": "exit"}] * 4).kinds == [Kind.CRASHED] * 4
    assert psutil.Process().num_fds() == descriptors
    assert psutil.Process().children() == children


@pytest.mark.parametrize("function", ["garbage", "huge_frame"])
def test_garbage_on_the_socket_is_a_crash_of_what_runs(node, function):
    run = node.run(function, [{"i": i, "when": 3} for i in range(6)], module="rogue")
    crashed = run.outcomes.pop(4)
    assert (crashed.kind, crashed.message) == (
        Kind.CRASHED, "its process ended: it has written to the service's socket, and was killed",
    )  # fmt: skip
    assert run.results() == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("first", [0, 3])
def test_a_handler_that_closes_all_descriptors(fresh, first):
    """It cannot have succeeded, since it cannot say so. Its neighbours may be taken for the culprit: they come again."""
    run = fresh.run("close_range", [{"i": i, "first": first} for i in range(4)], module="rogue")
    assert run.outcomes[3].kind == Kind.CRASHED
    assert set(run.kinds) <= {Kind.SUCCEEDED, Kind.CRASHED}


def test_a_handler_that_closes_the_usual_descriptors(fresh):
    """Ours are higher up. Nor are our arguments user code's."""
    assert fresh.run("close_low_descriptors", [{}] * 2, module="rogue").results() == [[], []]


def test_a_handler_that_closes_stdout(fresh):
    assert fresh.run("close_everything", [{}]).results() == ["still here"]
    assert fresh.run("noop", [{"i": 4}]).results() == [4]


def test_a_closed_output_does_not_keep_the_supervisor_busy(fresh):
    fresh.run("say", [{"text": ""}], module="rogue")
    before = psutil.Process().cpu_times().user
    fresh.run("close_all_output", [{}], module="rogue")
    assert psutil.Process().cpu_times().user - before < 0.25


def test_a_child_whose_reports_go_astray_is_given_up(make_node):
    """It says nothing and runs nothing, and each time the next in line is taken for the culprit in the end."""
    node = make_node(silence_s=0.5)
    run = node.run("lose_socket", [{"i": 1}], module="rogue")
    assert run.kinds == [Kind.CRASHED]
    assert "ran none and said nothing" in run.outcomes[1].message


@pytest.mark.parametrize(("how", "code"), [("exit", 0), ("return", 0), ("sys_exit", 1), ("raise", 1)])
def test_a_forked_copy_reports_nothing(node, how, code):
    """It runs none of the other tasks either, and what it prints is in the log."""
    run = node.run("fork", [{"how": how}] * 5, module="rogue")
    assert run.results() == [code] * 5
    assert [node.log(f"t{no}") for no in range(1, 6)] == ["from the copy\n"] * 5


def test_multiprocessing_in_a_handler(node):
    assert node.run("multiprocess", [{}] * 2, module="rogue").results() == [0, 0]
    assert node.log("t2") == "from the other process\n"


@pytest.mark.parametrize("function", ["fork_and_die", "shell_and_die"])
def test_a_death_is_seen_though_a_descendant_lives_on(node, function):
    """It has inherited the socket; and it does not outlive the lease."""
    run = node.run(function, [{}], module="rogue", timeout_ms=10_000)
    assert run.kinds == [Kind.CRASHED]
    assert "exit code 5" in run.outcomes[1].message
