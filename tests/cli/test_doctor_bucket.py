"""`doctor` for state in a bucket: each check finds what it is there for, leaves nothing behind, and ends in time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from helpers.seaweed import BUCKET, Seaweed
from helpers.unreliable_objects import UnreliableObjects
from taskservice.cli.bucket_checks import BUDGET_S, CALLS, BucketChecks
from taskservice.cli.checks import Finding, Level, ok
from taskservice.cli.doctor import looked
from taskservice.config import load_settings
from taskservice.journal.manifest import claim
from taskservice.objects import ObjectStore, StoreRefused
from taskservice.objects.directory import DirectoryObjects
from taskservice.objects.memory import MemoryObjects

NAMES = ["bucket", "create", "read", "clock", "conditions", "latency", "delete", "journal"]


def found(store: ObjectStore, **options: object) -> dict[str, Finding]:
    checks = BucketChecks(lambda: store, **options).checks
    settings = load_settings()
    return {name: looked(check, settings) for name, check in checks}


def levels(findings: dict[str, Finding]) -> dict[str, str]:
    return {name: str(finding.level) for name, finding in findings.items() if finding.level is not Level.OK}


def test_a_bucket_that_is_well(tmp_path: Path):
    store = DirectoryObjects(tmp_path)
    findings = found(store)
    assert list(findings) == NAMES
    assert levels(findings) == {}
    assert "p50" in findings["latency"].found
    assert "none yet" in findings["journal"].found
    assert list(store.list("")) == []


def test_whose_it_is(tmp_path: Path):
    store = DirectoryObjects(tmp_path)
    claim(store, log="l", nonce="n", writer="host 4711", at_ms=1_000)
    said = found(store, now_ms=lambda: 61_000)["journal"].found
    assert "epoch 1, owned by host 4711; no checkpoint yet; last manifest 60 s ago" in said


class Refusing(UnreliableObjects):
    def __init__(self, verb: str) -> None:
        super().__init__()
        self.refusing.add(verb)

    def list(self, prefix: str, after: str = ""):
        self._fail("list")
        return super().list(prefix, after)


def test_a_part_of_a_state_is_not_called_empty(tmp_path: Path):
    store = DirectoryObjects(tmp_path)
    store.put_if_absent("log/00000001/0000000000", b"hello")
    assert "no manifest" in found(store)["journal"].advice


@pytest.mark.parametrize(
    ("verb", "bad"),
    [
        ("list", dict.fromkeys(NAMES[1:], "warn") | {"bucket": "fail"}),
        ("put", dict.fromkeys(NAMES[2:], "warn") | {"create": "fail"}),
        ("get", {"read": "fail", "conditions": "fail", "latency": "fail", "delete": "fail"}),
        ("delete", {"conditions": "fail", "delete": "fail"}),
    ],
)
def test_what_is_not_allowed_is_named(verb: str, bad: dict[str, str]):
    """By the clock of a store that counts, so but for its time all is as it would be."""
    findings = found(Refusing(verb), now_ms=lambda: 0)
    assert levels(findings) == bad
    assert all(finding.advice for finding in findings.values() if finding.level is not Level.OK)


def test_a_store_that_is_away_is_asked_once():
    store = UnreliableObjects()
    store.away = 1_000
    findings = found(store, now_ms=lambda: 0)
    assert (findings["create"].level, findings["read"].level) == (Level.FAIL, Level.WARN)
    assert store.away == 999


class Overwriting(MemoryObjects):
    """Ignores the condition, as a server that does not know the header."""

    def put_if_absent(self, key: str, data: bytes) -> bytes | None:
        self.delete([key])
        return super().put_if_absent(key, data)


def test_a_store_that_does_not_refuse_is_found_out():
    finding = found(Overwriting(), now_ms=lambda: 0)["conditions"]
    assert (finding.level, "If-None-Match" in finding.advice) == (Level.FAIL, True)


class Undeletable(MemoryObjects):
    def delete(self, keys: Sequence[str]) -> None:
        """As a bucket with a lock on its objects."""


def test_a_store_that_does_not_delete_is_found_out():
    assert found(Undeletable(), now_ms=lambda: 0)["delete"].level is Level.FAIL


@pytest.mark.parametrize(
    ("ahead_s", "level", "said"),
    [(0, "ok", "agree"), (-3, "ok", "3 s behind"), (60, "warn", "60 s ahead of"), (-900, "fail", "900 s behind")],
)
def test_clocks_that_differ(tmp_path: Path, ahead_s: int, level: str, said: str):
    """This machine's clock stands in for the store's, and is read wrongly."""
    store = DirectoryObjects(tmp_path)
    store.put_if_absent("now", b"")
    (made,) = store.list("now")
    finding = found(store, now_ms=lambda: made.modified_ms - ahead_s * 1000 + (1_500 if ahead_s < 0 else 0))["clock"]
    assert (str(finding.level), said in finding.found) == (level, True), finding


def slowly(step_s: float) -> Callable[[], float]:
    """A clock that goes on by so much with each look."""
    now_s = 0.0

    def clock_s() -> float:
        nonlocal now_s
        now_s += step_s
        return now_s

    return clock_s


def test_a_slow_store_is_found_out(tmp_path: Path):
    finding = found(DirectoryObjects(tmp_path), clock_s=slowly(0.25))["latency"]
    assert (finding.level, "nearer" in finding.advice) == (Level.WARN, True)


def test_what_takes_too_long_is_given_up_and_tidied_up(tmp_path: Path):
    store = DirectoryObjects(tmp_path)
    checks = BucketChecks(lambda: store, clock_s=slowly(BUDGET_S / (CALLS + 5)))
    findings = {name: looked(check, load_settings()) for name, check in checks.checks}
    assert any("so long" in finding.found for finding in findings.values() if finding.level is Level.FAIL)
    assert "not tried" in findings["journal"].found
    assert list(store.list("probe/"))
    checks.close()
    assert list(store.list("")) == []


def test_a_check_that_fails_itself_is_no_traceback():
    def broken(_: object) -> Finding:
        raise ZeroDivisionError("division by zero")

    finding = looked(broken, load_settings())
    assert (finding.level, "ZeroDivisionError" in finding.found) == (Level.FAIL, True)


def test_credentials_are_never_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    monkeypatch.setenv("TASKSERVICE_API_KEY", "tsk_0123456789")
    told = "wJalrXUtnFEMI/K7MDENG at http://me:hunter2@host/x with tsk_0123456789"
    assert looked(lambda _: ok(told), load_settings()).found == (
        "<AWS_SECRET_ACCESS_KEY> at http://host/x with <TASKSERVICE_API_KEY>"
    )

    def refused() -> ObjectStore:
        raise StoreRefused(told)

    (_, check), *_ = BucketChecks(refused).checks
    assert "hunter2" not in looked(check, load_settings()).advice


def test_a_real_bucket(run, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch, home: Path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed.endpoint_url)
    done = run("doctor", "--json", "--state-dir", f"s3://{BUCKET}/doctor")
    told = {one["check"]: one for one in json.loads(done.stdout)}
    assert {name: told[name]["level"] for name in NAMES if name != "latency"} == dict.fromkeys(
        [name for name in NAMES if name != "latency"], "ok"
    )
    assert "state" not in told
    assert not home.exists(), "looking changes nothing"
    assert list(seaweed.objects("doctor").list("")) == []
    told = json.loads(run("doctor", "--json", "--state-dir", "s3://no-such-bucket/x").stdout)
    refused = next(one for one in told if one["check"] == "bucket")
    assert (refused["level"], "There is no bucket no-such-bucket" in refused["advice"]) == ("fail", True)


def test_credentials_that_are_not_there(run, monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    done = run("doctor", "--state-dir", "s3://bucket/x")
    assert done.exit_code == 1
    assert "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in done.stdout
