"""How attempts end, and that each is told apart from the others."""

from __future__ import annotations

import pytest

from taskservice.core.types import OutcomeKind as Kind


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("fine", Kind.SUCCEEDED, ""),
        ("exit", Kind.CRASHED, "its process ended: exit code 7"),
        ("segfault", Kind.CRASHED, "its process ended: killed by signal SIGSEGV"),
        ("system_exit", Kind.HANDLER_ERROR, "SystemExit: 3"),
        ("interrupt", Kind.HANDLER_ERROR, "KeyboardInterrupt"),
        ("value", Kind.HANDLER_ERROR, "ValueError: no good"),
        ("listed", Kind.NON_RETRYABLE, "KeyError: 'never again'"),
        ("final", Kind.NON_RETRYABLE, "NonRetryable: in vain"),
        ("busy", Kind.THROTTLED, "Throttled: later"),
        ("recursion", Kind.HANDLER_ERROR, "RecursionError: maximum recursion depth exceeded"),
        ("not_json", Kind.BAD_RESULT, "the handler returned object, which is not JSON"),
        ("nan", Kind.BAD_RESULT, "the handler returned float, which is not JSON"),
        ("large", Kind.BAD_RESULT, "the result has 20000002 bytes, result_bytes_max is 16777216"),
        ("surrogate", Kind.BAD_RESULT, "surrogates not allowed"),
    ],
)
def test_each_way_to_end(node, how, kind, message):
    outcome = node.run("fail", [{"how": how}]).outcomes[1]
    assert outcome.kind == kind
    assert message in outcome.message
    assert outcome.retry_after_ms == (7_000 if how == "busy" else None)


def test_a_traceback_begins_in_the_handler(node):
    detail = node.run("fail", [{"how": "value"}]).outcomes[1].detail
    assert "raise ValueError" in detail
    assert "taskservice/runtime" not in detail


@pytest.mark.parametrize(
    ("kind", "expected", "message"),
    [
        ("unprintable", Kind.NON_RETRYABLE, "Unprintable: (its message cannot be made)"),
        ("unfinished", Kind.THROTTLED, "Unfinished"),
        ("surrogate", Kind.HANDLER_ERROR, "ValueError: bad \\ud800 file name"),
    ],
)
def test_odd_exceptions_are_outcomes_too(node, kind, expected, message):
    outcome = node.run("odd_error", [{"kind": kind}], module="rogue").outcomes[1]
    assert (outcome.kind, outcome.message) == (expected, message)


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ({"i": "many"}, "i: Input should be a valid integer"),
        ({"i": 1, "j": 2}, "j: Extra inputs are not permitted"),
        (b"[]", "payload: Input should be an object"),
        (b"{", "Invalid JSON"),
    ],
)
def test_a_payload_that_does_not_fit(node, payload, problem):
    outcome = node.run("noop", [payload]).outcomes[1]
    assert outcome.kind == Kind.BAD_PAYLOAD
    assert problem in outcome.message


def test_an_unknown_function_names_those_there_are(node):
    run = node.run("lost", [{}, {}])
    assert run.kinds == [Kind.IMPORT_FAILED] * 2
    assert "'sample.lost'" in run.outcomes[1].message
    assert "sample.noop" in run.outcomes[1].message


@pytest.mark.parametrize(
    ("source", "attribute", "message", "detail"),
    [
        ("raise RuntimeError('at import')", "app", "RuntimeError: at import", "at import"),
        ("raise SystemExit(4)", "app", "SystemExit: 4", ""),
        ("import os; print('bye', flush=True); os._exit(3)", "app", "ended: exit code 3", "bye"),
        ("import nowhere_to_be_found", "app", "No module named 'nowhere_to_be_found'", "import nowhere"),
        ("", "app", "broken:app is not there", ""),
        ("app = 3", "app", "broken:app is a int, not an App", ""),
        ("class a: app = None", "a.app", "broken:a.app is not there", ""),
        ("import time; time.sleep(60)", "app", "not imported within 1 s (load_timeout_s)", ""),
        ("import os\nif os.fork(): os._exit(3)\nimport time; time.sleep(60)", "app", "ended: exit code 3", ""),
    ],
)
def test_an_app_that_cannot_be_imported(make_node, tmp_path, source, attribute, message, detail):
    """All tasks say why, at once and not when somebody's patience ends."""
    (tmp_path / "broken.py").write_text(source)
    node = make_node(load_timeout_s=1 if "1 s" in message else 30)
    run = node.run("f", [{}, {}], module="broken", attribute=attribute, path=tmp_path)
    assert run.kinds == [Kind.IMPORT_FAILED] * 2
    assert message in run.outcomes[1].message
    assert detail in run.outcomes[2].detail


def test_a_module_that_is_not_there(node):
    assert "No module named 'absent'" in node.run("f", [{}], module="absent").outcomes[1].message


def test_one_crasher_among_fifty(node):
    """The others succeed in the same lease, and the crasher's last word is in its log."""
    run = node.run("crash_if", [{"i": i, "crasher": 17} for i in range(50)])
    assert run.outcomes.pop(18).kind == Kind.CRASHED
    assert run.results() == [i for i in range(50) if i != 17]
    assert node.log("t18") == "goodbye\n"


def test_the_context_tells_what_the_task_is(node):
    (about,) = node.run("about", [{}]).results()
    assert about == {"id": "t1", "tenant": "acme", "attempt": 1, "tags": {"colour": "red"}, "key": "acme/t1"}


def test_async_attempts_overlap(fresh):
    """`meet` ends only if all five are there at the same time."""
    assert len(fresh.run("meet", [{"i": i, "everybody": 5} for i in range(5)], is_async=True).results()) == 5


@pytest.mark.parametrize(("concurrency", "most"), [(10, 10), (3, 3), (1_000, 10)])
def test_async_attempts_keep_to_their_number(node, concurrency, most):
    """The smaller of what the lease says and what the code says."""
    run = node.run("crowd", [{"i": i} for i in range(30)], module="rogue", is_async=True, concurrency=concurrency)
    assert max(run.results()) == most


def test_an_async_exit_ends_the_attempt_only(node):
    run = node.run("exit_async", [{"i": i} for i in range(8)], is_async=True)
    assert run.outcomes.pop(4).kind == Kind.HANDLER_ERROR
    assert run.results() == [0, 1, 2, 4, 5, 6, 7]


def test_of_async_attempts_only_the_one_that_ended_the_process_has_crashed(node):
    """The others are handed back: a hundred neighbours of one bad task must not become dead letters."""
    run = node.run(
        "die_among", [{"i": i, "culprit": 2, "how": "itself"} for i in range(5)], module="rogue", is_async=True
    )
    assert {no: outcome.kind for no, outcome in run.outcomes.items()} == {3: Kind.CRASHED}
    assert sorted(run.handed_back) == [1, 2, 4, 5]


def test_async_attempts_have_all_crashed_if_it_may_have_been_any_of_them(node):
    run = node.run(
        "die_among", [{"i": i, "culprit": 2, "how": "thread"} for i in range(3)], module="rogue", is_async=True
    )
    assert run.kinds == [Kind.CRASHED] * 3


def test_an_async_exit_beside_the_attempt_ends_neither_the_process_nor_its_neighbours(fresh):
    """The attempt waits for the task that exits, and so has the error; the others know nothing of it."""
    run = fresh.run("exit_beside", [{"i": i} for i in range(3)], module="rogue", is_async=True)
    assert run.kinds == [Kind.HANDLER_ERROR] * 3
    assert run.outcomes[1].message == "SystemExit: 9"
    assert fresh.run("crowd", [{"i": 1}], module="rogue", is_async=True).results() == [1]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_handler_that_cancels_itself_cancels_nobody_else(node, concurrency):
    payloads = [{"i": i} for i in range(1, 9)]
    run = node.run("cancel_itself", payloads, module="rogue", is_async=True, concurrency=concurrency)
    assert run.results() == list(range(1, 9))


def test_two_thousand_tasks(node):
    run = node.run("noop", [{"i": i} for i in range(2_000)])
    assert run.results() == list(range(2_000))


def test_large_payloads_and_results_both_ways(make_node):
    """Both sides write more than the socket holds; neither waits for the other."""
    node = make_node(inline_bytes_max=2_000_000)
    run = node.run("echo", [{"text": str(i) * 1_000_000} for i in range(10)] * 2, module="rogue")
    assert [result[:1] for result in run.results()] == [str(i) for i in range(10)] * 2


def test_no_secrets_reach_the_child(fresh, monkeypatch):
    for name in ("RAY_ADDRESS", "AWS_SECRET_ACCESS_KEY", "TASKSERVICE_API_KEY", "OTEL_EXPORTER", "OF_THE_USER"):
        monkeypatch.setenv(name, "x")
    (names,) = fresh.run("environment", [{}]).results()
    assert "OF_THE_USER" in names
    assert not [name for name in names if name.startswith(("RAY_", "AWS_", "TASKSERVICE_", "OTEL_"))]


def test_an_app_whose_folder_is_on_other_machines_only(node, tmp_path):
    """The code is not sent: whoever has set up the machine is told what it lacks."""
    run = node.run("f", [{}], module="elsewhere", path=tmp_path / "not_here")
    assert run.kinds == [Kind.IMPORT_FAILED]
    assert f"has no folder {tmp_path / 'not_here'}: an app's code has to be at the same path" in run.outcomes[1].message
