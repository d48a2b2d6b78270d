"""A live service that explains itself and is adjusted: by its users' eyes, over a restart."""

from __future__ import annotations

import json

import pytest

from helpers.live import Live, eventually
from taskservice import AuthError, Client, NotFoundError


def test_a_service_says_why_tasks_wait_and_is_adjusted_while_it_runs(mortal: Live) -> None:
    mortal.app = "limits:app"
    with mortal.up() as client:
        others(client, mortal)
        for n in range(5):
            client.submit("limits.slow", {"i": n}, id=f"slow{n}")
        assert client.get("slow1").result(timeout=30) == 1
        rate(client, mortal)
        one_at_a_time(client)
        large = client.submit("limits.large", {}).why()
        assert (large["gate"], large["value"], large["reasons"][0]["cause"]) == ("pool.too_large", 1000.0, "cpus")
        assert client.change_function("limits.slow", paused=True)["set_by_operator"] == ["paused"]
        eventually(lambda: client.why("slow4")["gate"] == "function.paused", 10)
        client.change_tenant("default", rate="500/s", weight=2.0)
    mortal.kill_everything()
    with mortal.up() as client:
        after_a_restart(client)
        assert client.get("slow4").result(timeout=30) == 4
        usage = client.usage()
        assert usage["tenants"][0]["weight"] == 2.0
        assert [gate["gate"] for gate in usage["tenants"][0]["gates"]] == ["tenant.rate"]
        shown = mortal.cli("usage")
        assert shown.returncode == 0, shown.stderr
        assert "limits.large" in shown.stdout


def rate(client: Client, live: Live) -> None:
    """The third and later ones wait for the rate: a minute each."""
    eventually(lambda: client.why("slow4")["gate"] == "function.rate", 10, "it waits for the rate")
    why = client.why("slow4")
    assert (why["limit"], why["reasons"][0]["per_s"], why["rank"], why["before"]) == (2, pytest.approx(1 / 60), 3, 2)
    assert why["estimated_start"]["how"] == "2 tasks are before it at function.rate, at 0.0166667 a second"
    shown = live.cli("show", "slow4", "--json")
    told = json.loads(shown.stdout)
    assert told["why"]["gate"] == "function.rate"
    assert told["timeline"]["stages"][-1]["cause"] == "function.rate"
    assert "The rate of its function is used up" in live.cli("show", "slow4").stdout


def one_at_a_time(client: Client) -> None:
    """Of one key; the window of what it calls is there to be looked at."""
    first = client.submit("limits.hold", {"user": "ann", "seconds": 3}, id="first")
    eventually(lambda: first.refresh().state == "running", 30)
    client.submit("limits.hold", {"user": "ann"}, id="second")
    eventually(lambda: client.why("second")["gate"] in ("key.max_running", "downstream.window"), 10)
    assert client.get("second").info["key"] == "ann"
    window = client.change_downstream("pay", frozen=9)["window"]
    assert (window["limit"], window["frozen"]) == (9, 9)
    assert client.get("second").result(timeout=30) == "ann"
    waited = client.timeline("second")["spent_s"]
    assert {"key.max_running", "downstream.window"} & set(waited)


def others(client: Client, live: Live) -> None:
    """Another tenant sees neither tasks nor settings that are not its own."""
    client.create_tenant("acme", rate="5/s")
    secret = client.create_key(["submit", "read", "operate"], tenant="acme")["secret"]
    client.submit("limits.slow", {}, id="mine", delay="1h")
    with live.client(secret) as acme:
        for ask in (acme.why, acme.timeline):
            with pytest.raises(NotFoundError):
                ask("mine")
        assert [one["name"] for one in acme.usage()["tenants"]] == ["acme"]
        with pytest.raises(AuthError):
            acme.change_function("limits.slow", paused=True)
    client.cancel("mine")


def after_a_restart(client: Client) -> None:
    """What was set holds, and what was waited for before is unknown."""
    assert client.function("limits.slow")["paused"]
    assert client.downstream("pay")["frozen"] == 9
    eventually(lambda: client.why("slow4")["gate"] == "function.paused", 30)
    waited = [stage["cause"] for stage in client.timeline("slow4")["stages"] if stage["stage"] == "waited"]
    assert waited[0] == "unknown"
    client.change_function("limits.slow", paused=None, rate="100/s")
