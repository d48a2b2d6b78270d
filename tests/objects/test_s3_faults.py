"""What S3Objects promises, when requests and answers are lost, held up, doubled, damaged and refused on the way."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from helpers.s3fault import ALWAYS, Does, Rule, S3Fault
from taskservice.objects import NoSuchObject, StoreRefused, StoreUnavailable
from taskservice.objects.s3 import S3Objects

BODY = secrets.token_bytes(50_000)
OTHER = b"another's"

FAULTS: dict[str, Callable[[S3Fault], object]] = {
    "dropped": lambda fault: fault.rule(Does.DROP),
    "dropped twice": lambda fault: fault.rule(Does.DROP, times=2),
    "answer lost": lambda fault: fault.rule(Does.LOSE),
    "answer lost twice": lambda fault: fault.rule(Does.LOSE, times=2),
    "delivered twice": lambda fault: fault.rule(Does.TWICE),
    "body damaged": lambda fault: fault.rule(Does.CORRUPT),
    "no answer in time": lambda fault: fault.rule(Does.HOLD),
    "conflict": lambda fault: fault.answer(409, "ConditionalRequestConflict"),
    "conflict, but applied": lambda fault: fault.answer(409, "ConditionalRequestConflict", after=True),
    "overload": lambda fault: fault.answer(503, "SlowDown", times=3),
    "server error": lambda fault: fault.answer(500, "InternalError"),
    "server error, but applied": lambda fault: fault.answer(500, "InternalError", after=True),
    "bad gateway": lambda fault: fault.answer(502, "what is this?", times=2),
    "answer cut short": lambda fault: fault.rule(Does.TRUNCATE),
    "read of what is there fails": lambda fault: fault.answer(500, "InternalError", method="GET", times=2),
    "answer lost, read cut short": lambda fault: (fault.rule(Does.LOSE), fault.rule(Does.TRUNCATE, method="GET")),
}


Faulty = Callable[[], object]


@pytest.fixture(params=FAULTS)
def faulty(request: pytest.FixtureRequest, fault: S3Fault) -> Faulty:
    """At each call, the proxy does one of these once more."""
    return lambda: FAULTS[request.param](fault)


def test_a_creation_succeeds_through_any_fault(behind, direct: S3Objects, faulty: Faulty):
    """Also if it has succeeded before its answer was lost: what is found is its own."""
    store = behind(read_timeout_s=0.5)
    for key, body in (("bytes", BODY), ("blocks", BODY * 30), ("one", b"x")):
        faulty()
        assert store.put_if_absent(key, body) is None
        assert direct.get(key) == body
    assert [found.key for found in direct.list("")] == ["blocks", "bytes", "one"]


def test_anothers_object_is_shown_through_any_fault(behind, direct: S3Objects, faulty: Faulty):
    direct.put_if_absent("a", OTHER)
    faulty()
    assert behind(read_timeout_s=0.5).put_if_absent("a", BODY) == OTHER
    assert direct.get("a") == OTHER


def test_of_two_creators_behind_faults_one_succeeds(behind, direct: S3Objects, faulty: Faulty):
    faulty()
    stores = [behind(read_timeout_s=0.5), behind(read_timeout_s=0.5)]
    with ThreadPoolExecutor(2) as pool:
        seen = list(pool.map(lambda each: each[1].put_if_absent("a", each[0]), zip((BODY, OTHER), stores, strict=True)))
    assert sorted(seen, key=bool) in ([None, BODY], [None, OTHER])
    assert direct.get("a") == next(body for body, there in zip((BODY, OTHER), seen, strict=True) if there is None)


def test_an_unknown_outcome_and_then_412_is_ones_own(behind, fault: S3Fault):
    fault.rule(Does.LOSE)
    assert behind().put_if_absent("a", BODY) is None
    assert fault.statuses("PUT") == [0, 412]


def test_after_a_conflict_it_is_asked_again(behind, fault: S3Fault):
    """409 says that nothing is decided; neither that there is an object, nor that there is none."""
    fault.answer(409, "ConditionalRequestConflict", times=3)
    assert behind().put_if_absent("a", BODY) is None
    assert fault.statuses("PUT") == [409, 409, 409, 200]
    assert fault.statuses("GET") == []


def test_a_damaged_body_is_noticed_by_the_server(behind, fault: S3Fault, direct: S3Objects):
    fault.rule(Does.CORRUPT, times=ALWAYS)
    with pytest.raises(StoreUnavailable, match="BadDigest"):
        behind(deadline_s=0.3).put_if_absent("a", BODY)
    assert not list(direct.list(""))


def test_a_late_creation_after_anothers_is_a_loss(behind, fault: S3Fault, direct: S3Objects):
    """It waits in the network until the client has given it up, and another has created the object."""
    late = fault.rule(Does.HOLD)
    with ThreadPoolExecutor(1) as pool:
        creation = pool.submit(behind(read_timeout_s=0.5).put_if_absent, "a", BODY)
        assert late.held.wait(10)
        assert direct.put_if_absent("a", OTHER) is None
        assert creation.result() == OTHER
    late.release()
    assert late.delivered.result(10) == 412
    assert direct.get("a") == OTHER


def test_a_late_creation_may_succeed_after_its_caller_was_told_that_nothing_is_known(
    behind, fault: S3Fault, direct: S3Objects
):
    late = fault.rule(Does.HOLD, times=ALWAYS)
    store = behind(deadline_s=0.5, read_timeout_s=0.3)
    with pytest.raises(StoreUnavailable, match=r"creating s3://.*/a: no whole answer"):
        store.put_if_absent("a", BODY)
    assert not list(direct.list(""))
    late.release()
    assert late.delivered.result(10) in {200, 412}, "it may have tried twice, and the second overtaken the first"
    assert direct.get("a") == BODY
    assert direct.put_if_absent("a", OTHER) == BODY
    assert store.put_if_absent("a", BODY) is None


def test_a_late_copy_of_a_creation_changes_nothing(behind, fault: S3Fault, direct: S3Objects):
    late = fault.rule(Does.HOLD)
    assert behind(read_timeout_s=0.5).put_if_absent("a", BODY) is None
    late.release()
    assert late.delivered.result(10) == 412
    assert direct.get("a") == BODY


def test_an_object_deleted_between_refusal_and_look_is_created(behind, fault: S3Fault, direct: S3Objects):
    direct.put_if_absent("a", OTHER)
    look = fault.rule(Does.HOLD, method="GET")
    with ThreadPoolExecutor(1) as pool:
        creation = pool.submit(behind().put_if_absent, "a", BODY)
        assert look.held.wait(10)
        direct.delete(["a"])
        look.release()
        assert creation.result() is None
    assert fault.statuses("PUT") == [412, 200]
    assert fault.statuses("GET") == [404]
    assert direct.get("a") == BODY


def everything(store: S3Objects) -> list[Callable[[], object]]:
    return [
        lambda: store.put_if_absent("new", BODY),
        lambda: store.get("a"),
        lambda: list(store.list("")),
        lambda: store.delete(["a"]),
    ]


def on_all(fault: S3Fault, rule: Callable[[str], Rule]) -> list[Rule]:
    return [rule(method) for method in ("PUT", "GET", "POST")]


def test_what_never_answers_ends_at_the_deadline(behind, fault: S3Fault, direct: S3Objects):
    direct.put_if_absent("a", BODY)
    on_all(fault, lambda method: fault.rule(Does.HOLD, method=method, times=ALWAYS))
    for call in everything(behind(deadline_s=0.5, read_timeout_s=0.3)):
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"no whole answer .* \(\d attempts? in [\d.]+ s\)"):
            call()
        assert 0.5 <= time.monotonic() - begun < 4, "it is asked once more at most, and for 0.3 s"


def test_what_refuses_all_the_time_is_unavailable(behind, fault: S3Fault, direct: S3Objects):
    direct.put_if_absent("a", BODY)
    on_all(fault, lambda method: fault.answer(503, "SlowDown", method=method, times=ALWAYS))
    for call in everything(behind(deadline_s=0.2)):
        with pytest.raises(StoreUnavailable, match="503 SlowDown: so it says"):
            call()
    assert direct.get("a") == BODY


@pytest.mark.parametrize(
    "rule",
    [
        lambda fault, method: fault.rule(Does.DROP, method=method, times=2),
        lambda fault, method: fault.rule(Does.LOSE, method=method),
        lambda fault, method: fault.rule(Does.TRUNCATE, method=method),
        lambda fault, method: fault.answer(500, "InternalError", method=method, after=True),
        lambda fault, method: fault.answer(503, "SlowDown", method=method, times=2),
        lambda fault, method: fault.answer(409, "OperationAborted", method=method),
    ],
    ids=["dropped", "answer lost", "answer cut short", "error after", "overload", "conflict"],
)
def test_reads_lists_and_deletes_are_asked_again(behind, fault: S3Fault, direct: S3Objects, rule):
    store = behind()
    for key in ("a", "b", "c"):
        direct.put_if_absent(key, BODY)
    for key in ("a", "a"):
        rule(fault, "GET")
        assert store.get(key) == BODY
    rule(fault, "GET")
    assert [found.key for found in store.list("")] == ["a", "b", "c"]
    rule(fault, "POST")
    store.delete(["a", "b", "nothing"])
    assert [found.key for found in direct.list("")] == ["c"]


RANGES = [(0, 40_000), (10_000, None), (10_000, 40_000), (10_000, 10**9)]


@pytest.mark.parametrize("does", [Does.TRUNCATE, Does.LOSE])
def test_a_body_cut_short_is_never_taken_for_whole(behind, fault: S3Fault, direct: S3Objects, does: Does):
    direct.put_if_absent("a", BODY)
    store, hasty = behind(), behind(deadline_s=0.1)
    for start, end in [(0, None), *RANGES]:
        fault.rule(does, method="GET", times=2)
        assert store.get("a", start, end) == BODY[start:end]
    fault.rule(does, method="GET", times=ALWAYS)
    for start, end in [(0, None), *RANGES]:
        with pytest.raises(StoreUnavailable):
            hasty.get("a", start, end)


def test_half_a_range_that_says_it_is_all_is_never_taken_for_whole(behind, fault: S3Fault, direct: S3Objects):
    direct.put_if_absent("a", BODY)
    store = behind()
    for start, end in RANGES:
        fault.rule(Does.SHORTEN, method="GET", times=2)
        assert store.get("a", start, end) == BODY[start:end]
    assert fault.statuses("GET") == [206, 206, 206] * len(RANGES)


def test_a_body_that_comes_byte_by_byte_ends_at_the_deadline(behind, fault: S3Fault, direct: S3Objects):
    direct.put_if_absent("a", BODY)
    fault.rule(Does.DRIP, method="GET", times=ALWAYS)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="came too slowly"):
        behind(deadline_s=0.5).get("a")
    assert time.monotonic() - begun < 4, "all of it would take a quarter of an hour"


def test_deletes_that_fail_inside_a_success_are_asked_for_again(behind, fault: S3Fault, direct: S3Objects):
    for key in ("a", "b"):
        direct.put_if_absent(key, BODY)
    failing = fault.answer(200, "", method="POST")
    failing.body = errors(direct, a="InternalError", b="NoSuchKey")
    behind().delete(["a", "b"])
    assert [found.key for found in direct.list("")] == ["b"], "only of what failed"
    assert len(fault.statuses("POST")) == 2


def test_a_delete_that_is_refused_inside_a_success_is_a_refusal(behind, fault: S3Fault, direct: S3Objects):
    refusing = fault.answer(200, "", method="POST", times=ALWAYS)
    refusing.body = errors(direct, a="SlowDown", b="AccessDenied")
    with pytest.raises(StoreRefused, match=r"/b: DeleteObjects is not allowed .* s3:DeleteObject"):
        behind().delete(["a", "b"])
    refusing.body = errors(direct, a="SlowDown")
    with pytest.raises(StoreUnavailable, match="SlowDown"):
        behind(deadline_s=0.2).delete(["a", "b"])


def errors(store: S3Objects, **codes: str) -> bytes:
    entries = "".join(
        f"<Error><Key>{store._prefix}{key}</Key><Code>{code}</Code><Message>m</Message></Error>"
        for key, code in codes.items()
    )
    return f"<DeleteResult>{entries}</DeleteResult>".encode()


def test_missing_objects_are_told_from_missing_answers(behind, fault: S3Fault):
    fault.answer(500, "InternalError", method="GET", times=2)
    with pytest.raises(NoSuchObject):
        behind().get("a")
    assert fault.statuses("GET") == [500, 500, 404]


@pytest.mark.parametrize(
    "body", [b"", b"<html><body>Please log in.</body></html>", b"<html>Please log in<br>", b"Hello."]
)
def test_an_answer_that_is_not_s3s_is_not_believed(behind, fault: S3Fault, direct: S3Objects, body: bytes):
    """As that of a proxy: to take it for an empty list would be to begin anew where there is much."""
    direct.put_if_absent("a", BODY)
    for rule in on_all(fault, lambda method: fault.answer(200, "", method=method, times=ALWAYS)):
        rule.body = body
    for call in everything(behind(deadline_s=0.1))[:3]:
        with pytest.raises(StoreUnavailable):
            call()
