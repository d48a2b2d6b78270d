"""`top`: a live view of the service, from what its HTTP API tells anyway."""

from __future__ import annotations

import sys
import threading
from typing import Annotated

import typer
from rich.live import Live

from taskservice.cli import render
from taskservice.cli.tasks import AsJson, connected
from taskservice.cli.top_view import Counters, Snapshot, seen, view
from taskservice.client import Client
from taskservice.errors import AuthError, BackOffError

SHOWN = ("oldest_queued_seconds", "submits", "tasks_ended")
"""Metrics that are shown."""


def top(
    once: Annotated[bool, typer.Option("--once", help="Print it once, without rates, and end.")] = False,
    interval: Annotated[float, typer.Option(metavar="SECONDS", min=0.5, help="Between two looks.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """Watch queues, rates, shares, windows and nodes, until Ctrl-C. Without a terminal, or with --json, they are printed once."""
    with connected() as client:
        snapshot = look(client)
        if as_json:
            render.print_json(seen(snapshot))
        elif once or not sys.stdout.isatty():
            render.console().print(view(seen(snapshot), sys.maxsize), soft_wrap=False)
        else:
            watch(client, snapshot, interval)


def look(client: Client) -> Snapshot:
    """What the service says now."""
    try:
        counters = read_metrics(client.metrics())
    except AuthError:
        counters = None
    return Snapshot(client.usage(), client.status(), counters)


def read_metrics(text: str) -> Counters:
    """Those that are shown, by function."""
    from prometheus_client.parser import text_string_to_metric_families  # noqa: PLC0415 - for this command alone

    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        name = family.name.removeprefix("taskservice_")
        for sample in family.samples if name in SHOWN else ():
            if sample.labels.get("status", "accepted") != "accepted":
                continue
            key, known = (name, sample.labels["function"]), found.get((name, sample.labels["function"]), 0.0)
            found[key] = max(known, sample.value) if family.type == "gauge" else known + sample.value
    return found


def watch(client: Client, first: Snapshot, interval_s: float) -> None:
    """The terminal has shown it until Ctrl-C, and is as it was before."""
    never, before = threading.Event(), first
    try:
        with Live(view(seen(first)), console=render.console(), screen=True, auto_refresh=False) as live:
            while not never.wait(interval_s):
                try:
                    now = look(client)
                except BackOffError as error:
                    live.update(view(seen(before), note=error.message), refresh=True)
                    continue
                live.update(view(seen(now, before)), refresh=True)
                before = now
    except KeyboardInterrupt:
        pass
