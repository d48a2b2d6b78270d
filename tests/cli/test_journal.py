"""`journal`: what people see of the log, and its copies, from the command line."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest

from helpers.ledger import Ledger, Place, busy, in_two_epochs, went_on
from helpers.seaweed import BUCKET, Seaweed
from taskservice.cli import journal_work
from taskservice.core import records as r
from taskservice.core.events import KeyPut
from taskservice.core.operations import OperationKind
from taskservice.core.specs import ApiKey
from taskservice.core.types import TaskState, TenantId
from taskservice.errors import UnreachableError
from taskservice.journal.verify import verify
from taskservice.objects import StoreUnavailable


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place("directory", tmp_path)


@pytest.fixture
def ledger(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A service that runs, and its state directory in the environment."""
    monkeypatch.setenv("TASKSERVICE_STATE_DIR", str(place.path))
    ledger = in_two_epochs(place.opens, tmp_path)
    yield ledger
    ledger.die()


def test_a_whole_log(run, ledger: Ledger, place: Place):
    before = place.files()
    shown = run("journal", "verify", "--deep")
    assert shown.exit_code == 0
    assert "All of it is whole." in shown.stdout
    told = json.loads(run("journal", "verify", "--json").stdout)
    assert (told["damage"], len(told["checkpoints"]), told["last"]) == ([], 2, list(ledger.journal.position[:2]))
    assert place.files() == before


def test_a_damaged_log_ends_with_1(run, ledger: Ledger, place: Place):
    chunk = max(each for each in (place.path / "chunk").rglob("*") if each.is_file())
    chunk.write_bytes(b"")
    shown = run("journal", "verify")
    assert shown.exit_code == 1
    assert str(chunk.relative_to(place.path)) in shown.stdout
    (place.path / "journal" / "00000001" / "sealed").unlink()
    told = run("journal", "verify", "--json")
    assert told.exit_code == 1
    assert "sealed" in json.loads(told.stdout)["damage"][0]


def dumped(run, *words: object) -> list[dict]:
    done = run("journal", "dump", *words)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_records_as_lines_of_json(run, ledger: Ledger):
    lines = dumped(run)
    places = [(line["epoch"], line["segment"], line["record"]) for line in lines]
    assert places == sorted(places)
    assert {"epoch", "accepted", "lease", "succeeded", "retrying", "cancelled"} <= {line["kind"] for line in lines}
    task = next(line for line in lines if line["kind"] == "accepted")["tasks"][0]
    assert (task["id"], task["payload"], task["state"]) == ("c-1", '{"to": "c"}', "queued")


def test_no_field_of_a_record_hides_where_and_what_it_is():
    """A line has the record's fields beside these names."""
    named = {"segment", "record", "kind"}
    assert [kind for kind in get_args(r.Record) if named & {*kind.__struct_fields__}] == []


def test_payloads_are_cut(run, ledger: Ledger):
    tasks = [task for line in dumped(run, "--payload-bytes", 5) if line["kind"] == "accepted" for task in line["tasks"]]
    assert {task["payload"] for task in tasks} == {'{"to"... (11 bytes)', '{"tex... (812 bytes)'}


def test_a_part_of_the_log(run, ledger: Ledger):
    every = dumped(run)
    some = dumped(run, "--from", "2/1", "--to", "2/3")
    assert some == [line for line in every if (2, 1) <= (line["epoch"], line["segment"]) <= (2, 3)]
    assert dumped(run, "--from", "1/0") == every
    assert dumped(run, "--to", "1/0") == []


def test_one_task(run, ledger: Ledger):
    lines = dumped(run, "--task", "c-2")
    assert [line["kind"] for line in lines][:3] == ["accepted", "lease", "retrying"]
    assert {task["id"] for line in lines if line["kind"] == "accepted" for task in line["tasks"]} == {"c-2"}
    told = run("journal", "dump", "--task", "c-2", "--story").stdout.splitlines()
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\S* +1/\d+ +accepted as 'c-2' of default", told[0])
    assert "retrying" in told[2]
    assert [
        json.loads(line)["line"]
        for line in run("journal", "dump", "--task", "c-2", "--story", "--json").stdout.splitlines()
    ]


def test_a_task_that_was_accepted_before_what_is_kept(run, ledger: Ledger):
    ledger.submit("early", delay_ms=10**9)
    for name in ("f", "g"):
        busy(ledger, name)
        ledger.checkpoint()
    ledger.cancel("early")
    done = run("journal", "dump", "--task", "early")
    assert "early of default was accepted before" in done.stderr
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == ["cancelled"]
    assert "cancelled" in run("journal", "dump", "--task", "early", "--story").stdout
    missing = run("journal", "dump", "--task", "nobody")
    assert missing.exit_code == 1
    assert "nobody" in missing.stderr


def test_one_tenant_sees_only_its_own(run, ledger: Ledger):
    acme = ledger.tenant("acme")
    ledger.submit("a-1", "mine", tenant=acme)
    ledger.submit("theirs")
    lines = dumped(run, "--tenant", "acme")
    assert [line["kind"] for line in lines] == ["tenant", "accepted"]
    assert {task["tenant"] for task in lines[1]["tasks"]} == {"acme"}
    done = run("journal", "dump", "--tenant", "default")
    assert "theirs" in done.stdout
    assert "acme" not in done.stdout


def test_a_schedule_is_its_tenants_and_its_tasks_are_tasks(run, ledger: Ledger):
    acme = ledger.tenant("acme")
    ledger.put_schedule("tick", interval_ms=60_000, tenant=acme)
    ledger.later(60_000)
    task = ledger.progress("tick", acme).last_task
    ledger.remove_schedule("tick", acme)
    kinds = [line["kind"] for line in dumped(run, "--tenant", "acme")]
    assert kinds == ["tenant", "schedule", "accepted", "schedule_fired", "schedule_removed"]
    assert not [line for line in dumped(run, "--tenant", "default") if line["kind"].startswith("schedule")]
    assert [line["kind"] for line in dumped(run, "--task", task)] == ["accepted"]


def test_what_was_done_to_a_task_is_told(run, ledger: Ledger):
    ledger.submit("t", delay_ms=10**9, ttl_ms=2 * 10**9)
    until_ms = ledger.now_ms + 10**6
    ledger.change(OperationKind.PAUSE, "t", resume_ms=until_ms)
    for kind in (OperationKind.RESUME, OperationKind.CANCEL, OperationKind.RETRY, OperationKind.DELETE):
        ledger.change(kind, "t")
    ledger.submit("u", delay_ms=10**9, ttl_ms=2 * 10**9)
    ledger.later(2 * 10**9)
    lines = dumped(run, "--task", "t")
    assert [(line["kind"], line.get("action")) for line in lines[1:]] == [
        ("changed", "pause"),
        ("changed", "resume"),
        ("cancelled", None),
        ("changed", "retry"),
        ("changed", "delete"),
    ]
    assert dumped(run, "--task", "u")[-1]["kind"] == "expired"
    story = run("journal", "dump", "--task", "t", "--story").stdout
    for words in (", expires ", f"paused until {until_ms}", "resumed", "cancelled", "it runs again", "deleted"):
        assert words in story
    told = run("journal", "dump", "--task", "u", "--story").stdout
    assert "expired: it had not started in time" in told


def test_a_bulk_operation_is_part_of_what_it_comes_past(run, ledger: Ledger):
    """Its steps name no tasks: of one task the first that came past it is shown, of a tenant those among its own."""
    acme = ledger.tenant("acme")
    ledger.submit("bulk-1", "bulk-2", delay_ms=10**9)
    ledger.submit("bulk-3", tenant=acme, delay_ms=10**9)
    ledger.bulk(OperationKind.PAUSE, states=(TaskState.SCHEDULED,))
    ledger.finish_bulk()
    kinds = [line["kind"] for line in dumped(run, "--task", "bulk-2")]
    assert kinds == ["accepted", "operation", "operation_step"]
    assert "came past: paused" in run("journal", "dump", "--task", "bulk-2", "--story").stdout.splitlines()[-1]
    assert [line["kind"] for line in dumped(run, "--task", "bulk-3")] == ["accepted"]
    assert "operation" not in {line["kind"] for line in dumped(run, "--tenant", "acme")}
    assert [line["kind"] for line in dumped(run, "--tenant", "default")][-2:] == ["operation", "operation_step"]


def test_a_bulk_operation_comes_past_a_task_accepted_before_what_is_kept(run, ledger: Ledger):
    ledger.submit("early", delay_ms=10**9)
    for name in ("f", "g"):
        busy(ledger, name)
        ledger.checkpoint()
    ledger.bulk(states=(TaskState.SCHEDULED,))
    ledger.finish_bulk()
    assert [line["kind"] for line in dumped(run, "--task", "early")] == ["operation", "operation_step"]
    assert "came past" in run("journal", "dump", "--task", "early", "--story").stdout


def test_what_is_kept_of_bulk_operations_is_compared(run, ledger: Ledger):
    """The newer checkpoint is made from the older one and the segments between, with operations in it."""
    ledger.submit("bulk-1", "bulk-2", delay_ms=10**9)
    ledger.checkpoint()
    ledger.bulk(states=(TaskState.SCHEDULED,))
    ledger.finish_bulk()
    ledger.checkpoint()
    shown = run("journal", "verify", "--deep")
    assert (shown.exit_code, "All of it is whole." in shown.stdout) == (0, True)


def test_what_a_key_could_be_found_by_is_not_shown(run, ledger: Ledger):
    ledger.ask(KeyPut(ledger.next_ref(), ApiKey("key_1", TenantId("default"), ("read",), b"\xd1gest" * 6)))
    shown = run("journal", "dump").stdout
    assert "key_1" in shown
    assert "secret_sha256" not in shown
    assert "gest" not in shown


def test_the_numbers(run, ledger: Ledger):
    shown = run("journal", "stats")
    assert shown.exit_code == 0
    for word in ("EPOCH", "open", "ended", "CHECKPOINT", "accepted", "compressed"):
        assert word in shown.stdout
    told = json.loads(run("journal", "stats", "--json").stdout)
    assert [epoch["epoch"] for epoch in told["epochs"]] == [1, 2]
    assert told["tasks"]["cancelled"] == 5
    assert json.loads(run("journal", "stats", "--no-tasks", "--json").stdout)["tasks"] is None


def test_a_copy_and_an_earlier_one(run, ledger: Ledger, tmp_path: Path):
    done = run("journal", "copy", tmp_path / "state", tmp_path / "copy")
    assert done.exit_code == 0
    assert run("journal", "verify", "--deep", "--state-dir", tmp_path / "copy").exit_code == 0
    told = json.loads(run("journal", "copy", "--upto", "2/1", "--json", tmp_path / "state", tmp_path / "early").stdout)
    assert (told["epoch"], told["segment"]) == (2, 1)
    moment = datetime.fromtimestamp(ledger.now_ms / 1000, UTC).isoformat()
    told = json.loads(
        run("journal", "copy", "--upto-time", moment, "--json", tmp_path / "state", tmp_path / "then").stdout
    )
    assert (told["epoch"], told["segment"]) == ledger.journal.position[:2]
    again = run("journal", "copy", tmp_path / "state", tmp_path / "copy")
    assert again.exit_code == 1
    assert "not empty" in again.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("verify", "--state-dir", "{tmp}/nowhere"), 1, "no state here"),
        (("stats", "--state-dir", "gs://bucket"), 2, "s3://bucket/prefix"),
        (("dump", "--from", "3"), 2, "EPOCH/SEGMENT"),
        (("dump", "--story"), 2, "--task"),
        (("copy", "{tmp}/a", "{tmp}/b", "--upto-time", "2026-11-23"), 2, "zone"),
        (("copy", "{tmp}/a", "{tmp}/b", "--upto-time", "noon"), 2, "zone"),
        (("copy", "{tmp}/a", "{tmp}/b", "--upto", "1/1", "--upto-time", "noon"), 2, "not both"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(run, tmp_path: Path, words: tuple[str, ...], code: int, said: str):
    done = run("journal", *(word.format(tmp=tmp_path) for word in words))
    assert (done.exit_code, said in done.stderr) == (code, True), done.output
    assert not (tmp_path / "nowhere").exists()


def test_a_store_that_does_not_answer_is_3():
    with pytest.raises(UnreachableError) as raised, journal_work._errors():
        raise StoreUnavailable("no answer")
    assert raised.value.exit_code == 3


def test_from_a_directory_to_a_bucket_and_back(
    run, ledger: Ledger, place: Place, seaweed: Seaweed, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweed.endpoint_url)
    bucket = f"s3://{BUCKET}/journal-copy"
    known = ledger.states()
    assert run("journal", "copy", place.path, bucket).exit_code == 0
    assert run("journal", "verify", "--deep", "--state-dir", bucket).exit_code == 0
    assert json.loads(run("journal", "stats", "--json", "--state-dir", bucket).stdout)["epochs"][-1]["ended"]
    assert dumped(run, "--state-dir", bucket) == dumped(run)
    back = Place("directory", tmp_path / "back")
    assert run("journal", "copy", bucket, back.path).exit_code == 0
    assert [each[:5] for each in back.reader().segments()] == [each[:5] for each in place.reader().segments()]
    assert verify(back.reader(), deep=True).damage == []
    other = Ledger(back.opens, back.path.parent)
    assert other.states() == known
    went_on(other)
    other.close()
