"""One attempt alone: its outcome is what the service would make of it."""

from __future__ import annotations

import io
import sys

import pytest

from helpers.tested_app import app
from taskservice import RequestError, TaskCancelled, TaskFailed
from taskservice.testing import run


@pytest.mark.parametrize(
    ("handler", "payload", "kind", "message"),
    [
        ("t.fail", {"times": 1}, "handler_error", "ValueError: not yet"),
        ("t.final", {"how": "raise"}, "non_retryable", "NonRetryable: for good"),
        ("t.final", {"how": "exit"}, "handler_error", "SystemExit: 3"),
        ("t.not_json", {}, "bad_result", "which is not JSON"),
    ],
)
def test_what_is_raised_is_classed(handler, payload, kind, message):
    attempt = run(app, handler, payload)
    assert (attempt.kind, attempt.succeeded) == (kind, False)
    assert message in attempt.message
    with pytest.raises(TaskFailed) as failed:
        _ = attempt.result
    assert (failed.value.reason, failed.value.__cause__) == (kind, attempt.error)


def test_the_traceback_begins_with_the_handler():
    detail = run(app, "t.fail", {"times": 1}).outcome.detail
    assert detail.splitlines()[1].strip().endswith("in fail")


def test_an_attempt_has_the_context_that_the_test_says():
    attempt = run(app, "t.fail", {"times": 1}, attempt=2, restored={"made": 1})
    assert (attempt.result, attempt.checkpoint) == ([2, {"made": 1}], {"made": 2})


def test_what_goes_to_stderr_is_masked_and_the_test_has_its_streams_back():
    before = sys.stderr
    attempt = run(app, "t.demanding", secrets={"TOKEN": "open sesame"}, tenant="acme")
    assert (attempt.result, attempt.logs) == ("acme", "<TOKEN>\n")
    assert sys.stderr is before
    assert not isinstance(before, io.StringIO) or "sesame" not in before.getvalue()


def test_one_that_was_cancelled_and_failed_is_cancelled():
    attempt = run(app, "t.fail", {"times": 1}, cancelled=True)
    assert attempt.kind == "cancelled"
    with pytest.raises(TaskCancelled):
        _ = attempt.result


@pytest.mark.parametrize("payload", [{"times": "1"}, {}, {"times": 1, "more": 2}, {"times": float("nan")}])
def test_a_payload_is_refused_as_at_submit(payload, service):
    with pytest.raises(RequestError) as alone:
        run(app, "t.fail", payload)
    with pytest.raises(RequestError) as submitted:
        service.client.submit("t.fail", payload)
    assert (alone.value.code, alone.value.message) == (submitted.value.code, submitted.value.message)


def test_a_name_that_is_not_there_is_told_with_the_one_that_was_meant():
    with pytest.raises(LookupError, match=r"Did you mean 't.awaited'\?"):
        run(app, "t.awaitde")


@pytest.mark.parametrize("secrets", [{}, {"TOKEN": "a", "OTHER": "b"}])
def test_secrets_are_those_that_are_declared(secrets):
    with pytest.raises(ValueError, match="declares the secrets TOKEN"):
        run(app, "t.demanding", secrets=secrets)


def test_ctrl_c_is_for_the_test():
    with pytest.raises(KeyboardInterrupt):
        run(app, "t.interrupted")
