"""What the command line shows of the scheduler: why a task waits, what it has gone through, who has how much."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from taskservice.cli import render

WAITING = ("scheduled", "queued", "retrying", "paused")


def print_why(why: Mapping[str, Any]) -> None:
    """Why the task waits, and when it may start."""
    start = why["estimated_start"]
    render.print_facts(
        [
            ("waits because", why["text"] if why["state"] in WAITING else None),
            ("also closed", "\n".join(reason["text"] for reason in why["reasons"][1:])),
            ("place", _place(why)),
            (
                "starts",
                start
                and f"about {render.local_time(start['p50'])}, in 9 of 10 cases by {render.local_time(start['p90'])}",
            ),
            ("reckoned", start["how"] if start else why["no_estimate"]),
            ("", "it may expire before it starts" if why["may_expire"] else None),
            ("runs on", why["runner"] and f"{why['runner']} ({why['node']})"),
            ("until at most", why["deadline"] and render.local_time(why["deadline"])),
        ]
    )


def _place(why: Mapping[str, Any]) -> str | None:
    if why["rank"] is None:
        return None
    least = "" if why["rank_exact"] else "at least "
    before = "" if why["before"] is None else f"; {why['before']} before it in turn"
    return f"{least}{why['rank']} of {why['queued']} in its queue{before}"


def print_timeline(timeline: Mapping[str, Any]) -> None:
    """What the task has gone through."""
    rows = [
        (
            render.local_time(stage["at"]),
            stage["stage"],
            render.duration(None if stage["seconds"] is None else stage["seconds"] * 1000),
            stage["cause"],
            stage["message"] or stage["runner"] or "",
        )
        for stage in timeline["stages"]
    ]
    render.print_table(("AT", "STAGE", "FOR", "CAUSE", ""), rows, "")


def print_usage(usage: Mapping[str, Any]) -> None:
    """Who has how much: a table for each kind, and none where there is nothing to tell."""
    render.print_facts(
        [
            ("machines", amounts_text(usage["capacity"]) or "none"),
            ("shares", f"of the last {usage['span_s'] / 60:.0f} minutes"),
        ]
    )
    _table("TENANT", usage["tenants"])
    _table("CLASS", [one for one in usage["classes"] if one["due_ratio"] is not None])
    rows: list[tuple[object, ...]] = [
        (
            one["name"],
            sum(one["counts"].values()) - one["counts"].get("running", 0),
            one["counts"].get("running", 0),
            render.duration(None if one["mean_s"] is None else one["mean_s"] * 1000),
            "paused" if one["paused"] else gates_text([*one["gates"], *([one["retries"]] if one["retries"] else [])]),
        )
        for one in usage["functions"]
        if one["counts"] or one["paused"] or one["gates"]
    ]
    if rows:
        print()
        render.print_table(("FUNCTION", "WAITING", "RUNNING", "TAKES", "LIMITS USED"), rows, "", ("LIMITS USED",))
    if usage["downstreams"]:
        print()
        windows = [
            (
                one["name"],
                f"{one['in_flight']} of {one['limit']}",
                one["ceiling"],
                one["frozen"],
                ", ".join(f"{change['limit']} {change['why']}" for change in one["changes"][-4:]),
            )
            for one in usage["downstreams"]
        ]
        columns = ("DOWNSTREAM", "IN FLIGHT", "CEILING", "FROZEN", "LAST CHANGES")
        render.print_table(columns, windows, "", ("LAST CHANGES",))


def _table(name: str, uses: Iterable[Mapping[str, Any]]) -> None:
    rows = [
        (
            one["name"],
            one["weight"],
            percent(one["used_ratio"]),
            percent(one["due_ratio"]),
            one["running"] if name == "TENANT" else "",
            one["unfinished"] if name == "TENANT" else "",
            amounts_text(one["holds"]),
            quota_text(one["quota"]),
            gates_text(one["gates"]),
        )
        for one in uses
    ]
    if rows:
        print()
        wrapped = ("HOLDS", "QUOTA", "LIMITS USED")
        columns = (name, "WEIGHT", "USED", "DUE", "RUNNING", "UNFINISHED", *wrapped)
        render.print_table(columns, rows, "", wrapped)


def percent(ratio: float | None) -> str:
    return "-" if ratio is None else f"{100 * ratio:.0f} %"


def gates_text(gates: Iterable[Mapping[str, Any]]) -> str:
    """How much of each limit is taken."""
    return ", ".join(
        f"{gate['gate'].partition('.')[2]} {gate['value'] or 0:g}/{gate['limit'] or 0:g}" for gate in gates
    )


def rate_text(rate: Mapping[str, Any] | None) -> str | None:
    return None if rate is None else f"{rate['per_s']:g}/s burst {rate['burst']}"


def amounts_text(amounts: Mapping[str, float]) -> str:
    """Amounts on one line."""
    return ", ".join(
        f"{kind} {_size(amount) if kind == 'memory' else f'{amount:g}'}" for kind, amount in amounts.items()
    )


def quota_text(quota: Mapping[str, Any]) -> str:
    """A quota on one line."""
    parts = [(word, amounts_text(quota[name])) for word, name in (("reserved", "reserved"), ("at most", "maximum"))]
    return "; ".join(f"{word} {text}" for word, text in parts if text)


def quota_facts(one: Mapping[str, Any]) -> list[tuple[str, object]]:
    """A quota, line by line."""
    quota = one["quota"]
    return [("reserved", amounts_text(quota["reserved"])), ("maximum", amounts_text(quota["maximum"]))]


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 2**30:.3g} GiB" if size_bytes >= 2**30 else f"{size_bytes / 2**20:.3g} MiB"


def print_deliveries(found: Mapping[str, Any]) -> None:
    """A task's callbacks, and what became of them."""
    rows = [
        (
            one["type"],
            one["run"],
            one["state"],
            len(one["attempts"]),
            _last_answer(one["attempts"]),
            render.local_time(one["next_at"]),
            one["url"],
        )
        for one in found["deliveries"]
    ]
    render.print_table(("CALLBACK", "RUN", "STATE", "TRIES", "LAST ANSWER", "NEXT", "URL"), rows, "No callbacks yet.")
    endpoint = found["endpoint"]
    if endpoint is not None and endpoint["disabled_at"]:
        render.print_line(f"{endpoint['origin']} is disabled: {endpoint['reason']}", "red")


def _last_answer(attempts: list[dict[str, Any]]) -> str | None:
    if not attempts:
        return None
    status = attempts[-1]["status"]
    return f"HTTP {status}" if status else str(attempts[-1]["message"])
