"""How an application tests its handlers: `pytest examples/test_newsletter.py`. See docs/testing.md for all that there is.

The app sends a newsletter once a week: one task that finds the readers, and one for each of them. The mail server takes so many
mails and then asks for patience.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskservice import App, Client, Context, Retry, Throttled
from taskservice.testing import Service, run

app = App("newsletter")
READERS = [f"reader{number}@example.com" for number in range(10)]


class MailServer:
    """Takes `room` mails, and then no more until somebody makes room."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.sent: list[str] = []

    def send(self, to: str) -> None:
        if not self.room:
            raise Throttled(retry_after="1m")
        self.room -= 1
        self.sent.append(to)


server = MailServer(0)
client: Client | None = None
"""What the handlers submit with; in production it is made when it is first needed."""


@app.task
def issue(ctx: Context, number: int) -> int:
    """Each reader gets the issue once, however often this runs: the ids say so."""
    service = client or Client()
    tasks = [{"id": f"issue-{number}-{to}", "payload": {"to": to}} for to in READERS]
    service.submit_many([{**task, "function": "newsletter.send"} for task in tasks])
    print(f"issue {number} goes to {len(tasks)} readers")
    return len(tasks)


@app.task(retry=Retry(max_attempts=3, base="10s"), max_running=4)
def send(to: str) -> None:
    """The mail has been handed over."""
    server.send(to)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(f"{__name__}.server", MailServer(room=6))
    with Service(app) as one:
        monkeypatch.setattr(f"{__name__}.client", one.client)
        yield one


def test_a_mail_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.server", MailServer(room=1))
    assert run(app, send, {"to": "a@example.com"}).succeeded
    again = run(app, send, {"to": "b@example.com"})
    assert (again.kind, again.retry_after_s) == ("throttled", 60)


def test_a_full_server_is_left_alone_and_costs_no_attempts(service: Service) -> None:
    task = service.client.submit("newsletter.issue", {"number": 1})
    service.drain()
    assert task.result() == len(READERS)
    assert "issue 1 goes to 10 readers" in task.logs()
    assert len(server.sent) == 6
    server.room = 100
    service.advance("1h")
    assert sorted(server.sent) == sorted(READERS)
    assert {one.info["attempt"] for one in service.client.list(function="newsletter.send")} == {1}


def test_two_runs_of_an_issue_send_it_once(service: Service) -> None:
    server.room = 100
    for _ in range(2):
        service.client.submit("newsletter.issue", {"number": 1})
    service.drain()
    assert len(server.sent) == len(READERS)


def test_it_goes_out_every_monday(service: Service) -> None:
    server.room = 100
    service.client.create_schedule("newsletter.issue", {"number": 1}, cron="0 8 * * MON", zone="Europe/Paris")
    service.advance("14d")
    assert len(list(service.client.list(function="newsletter.issue", state="succeeded"))) == 2
