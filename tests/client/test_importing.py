"""Imports without a service: what is submitted, how often, and how much at once; on a clock of our own."""

from __future__ import annotations

import json
from collections import deque

import pytest

from helpers.conversing import World, ok, problem
from taskservice.client.importing import Importer, ImportOptions, transfer_talk
from taskservice.client.rows import Layout
from taskservice.client.steps import Await, Begin, Call, Pause, Send, Silence
from taskservice.errors import BackOffError, RequestError

FUNCTION = {
    "name": "a.f",
    "payload_schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
}
FULL = {"status": 429, "code": "queued_max", "detail": "full", "retry_after_s": 2.0}


class Service:
    """Keeps tasks by id. It may have no room for a while, be away, or take only small batches."""

    def __init__(self):
        self.tasks = {}
        self.requests = 0
        self.room = 10**9
        self.away = 0
        self.batch_max = 10**9

    def __call__(self, request):
        if request.path == "/v1/functions":
            return ok({"functions": [FUNCTION]})
        self.requests += 1
        if self.away:
            self.away -= 1
            return Silence("nobody there", connected=False)
        lines = request.body.splitlines()
        if len(lines) > self.batch_max:
            return problem(413, "too_large")
        return ok({"results": [self.accept(json.loads(line)) for line in lines]})

    def accept(self, task):
        id, payload = task["id"], task["payload"]
        if id in self.tasks:
            same = self.tasks[id] == payload
            error = {"status": 409, "code": "conflict", "detail": "it is another task"}
            return {"id": id, "status": "duplicate"} if same else {"id": id, "status": "refused", "error": error}
        if not isinstance(payload.get("n"), int):
            return {"id": id, "status": "refused", "error": {"status": 422, "code": "payload_invalid", "detail": "n"}}
        if self.room <= 0:
            self.room += 40
            return {"id": id, "status": "refused", "error": FULL}
        self.room -= 1
        self.tasks[id] = payload
        return {"id": id, "status": "accepted"}


def transferred(world, transfer, *, dies_after=None):
    """The transfer's result; what begins is carried out at once, and at most `in_flight` results wait. The process may die
    after so many batches: gives None."""
    begun, most = deque(), 0
    heard, error = None, None
    while True:
        try:
            step = transfer.send(heard) if error is None else transfer.throw(error)
        except StopIteration as end:
            world.most = most
            return end.value
        heard, error = None, None
        try:
            if isinstance(step, Begin):
                if dies_after == 0:
                    for sent in begun:
                        world.run(sent)  # the service had it, and nobody heard
                    return None
                dies_after = None if dies_after is None else dies_after - 1
                begun.append(step.conversation)
                most = max(most, len(begun))
            elif isinstance(step, Await):
                heard = world.run(begun.popleft())
            elif isinstance(step, Call):
                heard = step.call()
            elif isinstance(step, Pause):
                world.now_s += step.seconds
            else:
                assert isinstance(step, Send)
                heard = world.answer(step.request)
        except Exception as failure:
            error = failure


def importing(service, path, *, layout=None, dies_after=None, progress=None, **options):
    world = World(service, timeout_s=5, refused_s=5, batch_tasks=10)
    importer = Importer(
        transfer_talk(world.talk), path, layout or Layout("a.f"), ImportOptions(**options), progress or (lambda _: None)
    )
    return transferred(world, importer.run(), dies_after=dies_after), world


@pytest.fixture
def rows(tmp_path):
    """A file of 100 rows, of which two are not what the function takes."""
    path = tmp_path / "rows.csv"
    path.write_text("n\n" + "".join(f"{'x' if n in (7, 55) else n}\n" for n in range(100)))
    return path


def test_each_row_is_a_task_or_is_refused_with_its_reason(rows, tmp_path):
    service = Service()
    summary, _ = importing(service, rows, report=tmp_path / "refused.jsonl")
    assert (summary.rows, summary.accepted, summary.known, summary.refused) == (100, 98, 0, 2)
    assert [(each.row, each.code) for each in summary.refusals] == [(8, "payload_invalid"), (56, "payload_invalid")]
    told = [json.loads(line) for line in (tmp_path / "refused.jsonl").read_text().splitlines()]
    assert [(each["row"], each["code"], each["file"]) for each in told] == [
        (8, "payload_invalid", str(rows)), (56, "payload_invalid", str(rows)),
    ]  # fmt: skip
    assert told[0]["id"] == f"{summary.id_prefixes[0]}-8"
    assert sorted(task["n"] for task in service.tasks.values()) == [n for n in range(100) if n not in (7, 55)]


@pytest.mark.parametrize("dies_after", range(0, 10, 3))
def test_an_import_that_died_is_run_again(rows, dies_after):
    """Whatever it had submitted, and whatever of that it had heard of."""
    service = Service()
    assert importing(service, rows, dies_after=dies_after)[0] is None
    before = len(service.tasks)
    summary, _ = importing(service, rows)
    assert (summary.known, summary.accepted, summary.refused) == (before, 98 - before, 2)
    assert len(service.tasks) == 98


def test_a_changed_file_is_another_file(rows):
    """Also where rows stay what and where they were."""
    service = Service()
    importing(service, rows)
    rows.write_text(rows.read_text() + "100\n")
    summary, _ = importing(service, rows)
    assert (summary.known, summary.accepted) == (0, 99)


def test_with_a_prefix_a_changed_row_is_refused_as_another_task(rows):
    service = Service()
    importing(service, rows, id_prefix="day-1")
    rows.write_text(rows.read_text().replace("\n98\n", "\n980\n") + "100\n")
    summary, _ = importing(service, rows, id_prefix="day-1")
    assert (summary.known, summary.accepted) == (97, 1)
    assert [each.id for each in summary.refusals if each.code == "conflict"] == ["day-1-99"]


def test_the_same_rows_as_other_tasks_have_other_ids(rows):
    service = Service()
    importing(service, rows)
    summary, _ = importing(service, rows, layout=Layout("a.f", payload={"m": 1}))
    assert summary.accepted == 98


def test_what_is_no_payload_makes_no_other_ids(rows):
    """Who forgets the priority when it is run again does not have each row twice."""
    service = Service()
    importing(service, rows, layout=Layout("a.f", columns={"n": "n"}, options={"priority": "low"}))
    again = Layout("a.f", columns={"n": "n"}, task_columns={"tags.n": "n"})
    assert importing(service, rows, layout=again)[0].known == 98


def test_a_file_of_another_name_with_the_same_bytes_is_the_same(rows, tmp_path):
    service = Service()
    importing(service, rows)
    copy = tmp_path / "copy.csv"
    copy.write_bytes(rows.read_bytes())
    assert importing(service, copy)[0].known == 98


def test_two_files_with_the_same_bytes_are_two_in_one_import(rows, tmp_path):
    (tmp_path / "rows2.csv").write_bytes(rows.read_bytes())
    service = Service()
    summary, _ = importing(service, tmp_path / "*.csv")
    assert (summary.files, summary.accepted) == (2, 196)
    assert importing(service, tmp_path)[0].known == 196


def test_ids_may_come_from_a_column(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"n": 1, "order": "o-1"}\n{"n": 2, "order": "o-2"}\n{"n": 3}\n')
    service = Service()
    summary, _ = importing(service, path, layout=Layout("a.f", task_columns={"id": "order"}))
    assert service.tasks == {"o-1": {"n": 1}, "o-2": {"n": 2}}
    assert [(each.row, each.id, each.code) for each in summary.refusals] == [(3, None, "bad_row")]


@pytest.mark.parametrize("in_flight", [1, 3])
def test_no_more_batches_than_wished_are_under_way(rows, in_flight):
    _, world = importing(Service(), rows, in_flight=in_flight)
    assert world.most == in_flight


def test_what_the_queue_has_no_room_for_waits_as_long_as_it_is_told(rows):
    service = Service()
    service.room = 25
    summary, world = importing(service, rows)
    assert (summary.accepted, summary.refused) == (98, 2)
    assert world.pauses
    assert all(pause >= 2.0 for pause in world.pauses)


def test_a_service_that_is_away_is_waited_for(rows):
    service = Service()
    service.away = 30
    assert importing(service, rows)[0].accepted == 98


@pytest.mark.parametrize("why", ["away", "full"])
def test_an_import_that_stands_still_gives_up(rows, why):
    service = Service()
    if why == "away":
        service.away = 10**9
    else:
        service.room = -(10**9)
    with pytest.raises(BackOffError):
        importing(service, rows, stall_timeout_s=60)


def test_batches_shrink_to_what_the_service_takes(rows):
    service = Service()
    service.batch_max = 3
    assert importing(service, rows)[0].accepted == 98


def test_a_dry_run_checks_each_row_and_submits_none(rows):
    service = Service()
    summary, _ = importing(service, rows, dry_run=True)
    assert (summary.rows, summary.accepted, summary.refused, summary.dry_run) == (100, 0, 2, True)
    assert service.requests == 0
    assert "$.payload.n" in summary.refusals[0].message


def test_with_check_what_is_wrong_is_not_submitted(rows):
    service = Service()
    assert importing(service, rows, check=True)[0].refused == 2
    assert service.requests == 10


def test_a_file_that_changes_meanwhile_ends_the_import(rows):
    service = Service()

    def change(progress):
        rows.write_text(rows.read_text() + "1\n")

    rows.write_text("n\n" + "".join(f"{n}\n" for n in range(5_000)))
    with pytest.raises(RequestError, match="was changed"):
        importing(service, rows, progress=change)


def test_progress_says_how_far_it_has_come(rows):
    told = []
    importing(Service(), rows, progress=told.append)
    assert [each.rows for each in told] == sorted(each.rows for each in told)
    assert (told[-1].rows, told[-1].done_ratio, told[-1].accepted, told[-1].refused) == (100, 1.0, 98, 2)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: {"path": path / "none.csv"}, "cannot be read"),
        (lambda path: {"path": path / "none*.csv"}, "no file"),
        (lambda path: {"path": "-"}, "which format"),
        (lambda path: {"path": path / "rows.csv", "layout": Layout("a.g")}, "no function"),
        (lambda path: {"path": path / "rows.csv", "format": "xlsx"}, "no format"),
        (lambda path: {"path": path / "rows.csv", "format": "parquet"}, "cannot be read as parquet"),
    ],
)
def test_what_cannot_be_imported_says_why(rows, make, why):
    wish = make(rows.parent)
    with pytest.raises(RequestError, match=why):
        importing(Service(), wish.pop("path"), **wish)


def test_an_earlier_report_is_gone_when_nothing_is_refused(tmp_path):
    path, report = tmp_path / "rows.csv", tmp_path / "rows.csv.refused.jsonl"
    path.write_text("n\n1\n")
    report.write_text("{}\n")
    summary, _ = importing(Service(), path, report=report)
    assert (summary.report, report.exists()) == (None, False)
