"""A live service with off-peak hours that are not now: what can wait does, until its deadline is near."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from helpers.live import Live, eventually
from taskservice import Client


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Its only window opens in twelve hours."""
    later = datetime.now(UTC) + timedelta(hours=12)
    settings = {
        "TASKSERVICE_OFF_PEAK_WINDOWS": json.dumps([f"{later:%H}:00-{later:%H}:30 UTC"]),
        "TASKSERVICE_OFF_PEAK_IDLE_RATIO": "0",
        "TASKSERVICE_PLACEMENT": "pack",
    }
    live = Live(tmp_path_factory.mktemp("home"), "patient:app", settings)
    live.up()
    yield live
    live.down()


def test_it_waits_until_its_deadline_is_near_and_is_done_by_then(live: Live, client: Client) -> None:
    for number in range(5):
        assert client.submit("patient.sweep", {"i": number}, off_peak=False).result(timeout=60) == number
    patient = client.submit("patient.sweep", {}, id="patient")
    began_s = time.time()
    words = "submit patient.sweep --id pressed --deadline 16s --json"
    pressed = json.loads(live.cli(*words.split()).stdout)
    assert (pressed["off_peak"], pressed["state"]) == (True, "queued")
    until = datetime.fromisoformat(pressed["off_peak_until"])
    assert 3 < until.timestamp() - began_s < 12, "ten seconds are kept for whatever it takes"
    assert client.result("pressed", timeout=60) == 0
    done = client.get("pressed").info
    assert datetime.fromisoformat(done["started_at"]) >= until
    assert (done["deadline_missed"], done["off_peak"]) == (False, False)
    assert client.status()["deadlines"] == {"patient.sweep": {"met": 1, "missed": 0}}
    assert client.get(patient.id).info["state"] == "queued"
    assert "off-peak" in live.cli("show", "patient").stdout


def test_it_is_not_forgotten_by_the_next_dispatcher(live: Live, client: Client) -> None:
    client.submit("patient.sweep", {}, id="survivor", deadline="1h")
    before = client.get("survivor").info
    live.actor("DispatcherProcess").kill()
    eventually(lambda: client.get("survivor").info == before, 60)
    assert before["off_peak_until"] is not None


def test_tasks_of_a_function_with_labels_wait_for_a_machine_that_has_them(live: Live, client: Client) -> None:
    client.submit("patient.elsewhere", {}, id="elsewhere")
    assert client.submit("patient.spread", {}, id="spread").result(timeout=60) == 1
    assert client.get("elsewhere").info["state"] == "queued"
    functions = {one["name"]: one for one in client.functions()}
    assert functions["patient.elsewhere"]["labels"] == {"zone": "nowhere"}
    assert functions["patient.spread"]["spread"] is True
