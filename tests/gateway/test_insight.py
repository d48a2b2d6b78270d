"""Why a task waits, what it has gone through, and who has how much, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from taskservice.core.events import RunnerJoined
from taskservice.core.specs import Resources
from taskservice.core.types import OutcomeKind, RunnerId

if TYPE_CHECKING:
    from tests.gateway.conftest import Service

pytestmark = pytest.mark.anyio

PAUSED = {
    "gate": "function.paused", "text": "Its function is paused by an operator.", "limit": None, "value": None,
    "clears_at": None, "per_s": None, "cause": None,
}  # fmt: skip


async def test_a_task_that_waits_names_what_keeps_it(service: Service) -> None:
    """The gate by name, all that is closed, its rank; and why there is no estimate."""
    await service.client("admin").patch("/v1/functions/media.echo", json={"paused": True})
    await service.submit("first")
    await service.submit("mine")
    answer = (await service.client().get("/v1/tasks/mine/why")).json()
    assert answer["reasons"][0] == PAUSED
    assert {name: answer[name] for name in ("gate", "text", "limit", "value", "clears_at")} == {
        name: PAUSED[name] for name in ("gate", "text", "limit", "value", "clears_at")
    }
    assert [reason["gate"] for reason in answer["reasons"]] == ["function.paused", "pool.too_large", "turn"]
    assert (answer["rank"], answer["rank_exact"], answer["queued"], answer["before"]) == (2, True, 2, 1)
    assert (answer["estimated_start"], answer["no_estimate"]) == (None, "no runner is large enough")


async def test_a_scheduled_task_says_when_it_starts_and_that_it_may_expire(service: Service) -> None:
    """The median is the time at which it is due."""
    await service.submit("later", delay=60, ttl=61)
    answer = (await service.client().get("/v1/tasks/later/why")).json()
    assert (answer["gate"], answer["clears_at"]) == ("task.due", "2030-03-17T17:47:40.000Z")
    assert answer["estimated_start"] == {
        "p50": "2030-03-17T17:47:40.000Z", "p90": "2030-03-17T17:47:40.000Z", "how": "it passes task.due by the clock",
    }  # fmt: skip
    assert (answer["expires_at"], answer["may_expire"]) == ("2030-03-17T17:47:41.000Z", False)


async def test_where_a_task_runs_is_told_to_admins(service: Service) -> None:
    """And to its tenant only that it does, since when, and until when it may."""
    await service.submit("mine")
    await service.start("mine")
    mine = (await service.client().get("/v1/tasks/mine/why")).json()
    assert (mine["state"], mine["gate"], mine["runner"], mine["node"]) == ("running", None, None, None)
    assert (mine["text"], mine["deadline"]) == ("It runs: attempt 1 of 5.", "2030-03-17T17:56:40.001Z")
    seen = (await service.client("admin").get("/v1/tasks/mine/why")).json()
    assert (seen["runner"], seen["node"]) == ("runner-0", "node-1")


async def test_a_task_that_has_ended_says_how(service: Service) -> None:
    """The error with its reason, here and in history."""
    await service.submit("mine")
    await service.fail("mine")
    answer = (await service.client().get("/v1/tasks/mine/why")).json()
    assert answer["text"] == "It failed (non_retryable): ZeroDivisionError: division by zero"
    assert answer["error"]["reason"] == "non_retryable"
    await service.submit("well")
    await service.succeed("well")
    await service.archive()
    gone = (await service.client().get("/v1/tasks/well/why")).json()
    assert (gone["state"], gone["text"], gone["reasons"]) == ("succeeded", "It has ended: succeeded.", [])


async def test_a_timeline_names_what_each_wait_was_for(service: Service) -> None:
    """Accepted, kept by a pause, then without a runner, then run to its end."""
    admin = service.client("admin")
    service.dispatcher.inner.emit(RunnerJoined(RunnerId("r"), "n", Resources(cpu_m=1000)))
    await admin.patch("/v1/functions/media.echo", json={"paused": True})
    await service.submit("mine")
    await service.client().get("/v1/tasks/mine/why")
    service.now_ms[0] += 5_000
    await admin.patch("/v1/functions/media.echo", json={"paused": None})
    lease = await service.runner.leases.get()
    assert [task.id for task in lease.tasks] == ["mine"]
    timeline = (await service.client().get("/v1/tasks/mine/timeline")).json()
    seen = [(stage["stage"], stage["cause"], stage["seconds"]) for stage in timeline["stages"]]
    assert seen == [("accepted", None, None), ("waited", "function.paused", 5.001), ("running", None, None)]
    assert timeline["spent_s"] == {"function.paused": 5.001}
    assert timeline["stages"][-1]["runner"] is None, "machines are told to admins"
    told = (await admin.get("/v1/tasks/mine/timeline")).json()
    assert told["stages"][-1]["runner"] == "r"


async def test_the_timeline_of_a_task_in_history_is_honest(service: Service) -> None:
    """What it waited for is not known any more."""
    await service.submit("mine")
    service.now_ms[0] += 700
    await service.succeed("mine")
    await service.archive()
    timeline = (await service.client().get("/v1/tasks/mine/timeline")).json()
    assert [(stage["stage"], stage["cause"]) for stage in timeline["stages"]] == [
        ("accepted", None), ("waited", "unknown"), ("running", None), ("succeeded", None),
    ]  # fmt: skip
    assert timeline["known_since"] is None


async def test_a_tenant_sees_its_own_usage_and_an_admin_everybodys(service: Service) -> None:
    """Neither another tenant's tasks nor its use."""
    await service.submit("mine")
    await service.submit("theirs", owner="rival", function="media.thumbnail", payload={"url": "x"})
    await service.start("mine")
    own = (await service.client().get("/v1/usage")).json()
    assert [one["name"] for one in own["tenants"]] == ["acme"]
    assert (own["tenants"][0]["running"], own["tenants"][0]["unfinished"]) == (1, 1)
    assert (own["tenants"][0]["used_ratio"], own["tenants"][0]["due_ratio"], own["classes"]) == (1.0, 0.5, [])
    assert [(one["name"], one["counts"]) for one in own["functions"]] == [("media.echo", {"running": 1})]
    everybodys = (await service.client("admin").get("/v1/usage")).json()
    assert [one["name"] for one in everybodys["tenants"]] == ["default", "acme", "rival"]
    assert [one["name"] for one in everybodys["classes"]] == ["critical", "high", "normal", "low", "batch"]
    rival = (await service.client("admin").get("/v1/usage?tenant=rival")).json()
    assert [one["name"] for one in rival["tenants"]] == ["rival"]
    assert (await service.client("admin").get("/v1/usage?tenant=none")).status_code == 404
    assert (await service.client().get("/v1/usage?tenant=acme")).status_code == 403


async def test_usage_shows_limits_and_how_much_of_them_is_taken(service: Service) -> None:
    """Rates as buckets, counts, quotas, windows with their changes, budgets of retries."""
    admin = service.client("admin")
    limits = {"rate": "5/s burst 10", "running_max": 3, "quota": {"maximum": {"cpus": 2, "memory": "1GiB"}}}
    await admin.patch("/v1/tenants/acme", json=limits)
    await admin.patch("/v1/functions/media.echo", json={"max_running": 7})
    await admin.patch("/v1/downstreams/media.echo", json={"frozen": 2})
    await service.submit("mine")
    await service.start("mine")
    usage = (await service.client().get("/v1/usage")).json()
    tenant, function, window = usage["tenants"][0], usage["functions"][0], usage["downstreams"][0]
    assert [(gate["gate"], gate["value"], gate["limit"]) for gate in tenant["gates"]] == [
        ("tenant.rate", 1, 10), ("tenant.running_max", 1, 3),
    ]  # fmt: skip
    assert tenant["quota"] == {"reserved": {}, "maximum": {"cpus": 2.0, "memory": 1 << 30}}
    assert tenant["holds"] == {"cpus": 1.0}
    assert [(gate["gate"], gate["value"], gate["limit"]) for gate in function["gates"]] == [
        ("function.max_running", 1, 7)
    ]
    assert function["retries"]["gate"] == "function.retries"
    assert (window["name"], window["limit"], window["in_flight"], window["frozen"]) == ("media.echo", 2, 1, 2)
    assert [change["why"] for change in window["changes"]] == ["new", "frozen"]


async def test_a_retry_says_what_the_last_attempt_ended_with(service: Service) -> None:
    """In why and in the timeline."""
    await service.submit("mine")
    await service.end("mine", OutcomeKind.THROTTLED, message="full", retry_after_ms=9_000)
    why = (await service.client().get("/v1/tasks/mine/why")).json()
    assert (why["gate"], why["cause"] if "cause" in why else why["reasons"][0]["cause"]) == (
        "task.retrying",
        "throttled",
    )
    timeline = (await service.client().get("/v1/tasks/mine/timeline")).json()
    assert timeline["stages"][-1]["cause"] == "throttled"
