"""`up`, `down` and `status`: the service of this machine."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from taskservice.cli import daemon, render
from taskservice.cli.daemon import ServiceReady
from taskservice.cli.deploying import parse_app, survey_of, tell_left_out
from taskservice.cli.serving import RunningService, serve
from taskservice.cli.tasks import AsJson, connected
from taskservice.client import Client
from taskservice.client.discovery import read_client_file
from taskservice.config import Settings, is_loopback, load_settings
from taskservice.core.specs import Bundle

NODE_SHOWN = 12
"""Characters of a node's id in a table: enough to tell nodes apart, and `--json` has it all."""

ConfigFile = Annotated[Path | None, typer.Option(help="YAML or TOML file with settings.")]


def up(
    app: Annotated[
        list[str],
        typer.Option(
            metavar="MODULE:NAME",
            help="An App of this folder, to be deployed as it is; may be repeated. None: as before.",
        ),
    ] = [],  # noqa: B006
    state_dir: Annotated[
        str | None, typer.Option(help="Where the state is: a local directory, or s3://bucket/prefix.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to join: auto, or its address.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    config: ConfigFile = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background; return when ready.")] = False,
    ready_fd: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Start the service, and stay until Ctrl-C; or with -d, return when it is ready."""
    if ready_fd is not None:
        os.set_inheritable(ready_fd, False)  # what we start must not keep the pipe open
    flags = {"state_dir": state_dir, "address": address, "host": host, "port": port, "config": config}
    settings = load_settings(**flags)
    bundles = [parse_app(text, Path.cwd()) for text in app]
    if ready_fd is None:
        for folder in dict.fromkeys(bundle.path for bundle in bundles):
            tell_left_out(survey_of(Path(folder), settings))
    if not is_loopback(settings.host):
        warning = f"{settings.host} can be reached from other machines, and HTTP is not encrypted: keys can be read."
        render.console(stderr=True).print(f"Warning: {warning}", style="yellow", markup=False)
    if detach:
        given = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items() if value is not None]
        command = [sys.executable, "-m", "taskservice", "up", *(f"--app={text}" for text in app), *given]
        announce(settings, daemon.detach(settings, command), detached=True)
        return
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)

    def on_ready(ready: ServiceReady) -> None:
        place = read_client_file(settings.client_file)
        assert place is not None, "it was written just now"
        with Client(place.url, place.api_key) as client:
            client.status()  # the key opens, and the dispatcher answers
        if ready_fd is None:
            announce(settings, ready, detached=False)
        else:
            daemon.tell_ready(ready_fd, ready)

    serve(settings, bundles, start_on_ray, on_ready)
    if ready_fd is None:
        render.print_line("The service has stopped.")


def start_on_ray(settings: Settings, bundles: Sequence[Bundle]) -> RunningService:
    """The service runs. Imports Ray, which takes a while, so only here."""
    from taskservice.actors import deploy  # noqa: PLC0415

    return deploy.start(settings, bundles)


def down(config: ConfigFile = None) -> None:
    """Stop the service; returns when nothing of it is left running."""
    render.print_line(daemon.stop(load_settings(config=config).home))


def status(as_json: AsJson = False) -> None:
    """Show how the service is: tasks by state and function, deadlines that were met and missed, and its runners."""
    with connected() as client:
        answer = {"url": client.url, **client.status()}
    if as_json:
        render.print_json(answer)
        return
    counts = ", ".join(f"{count} {state}" for state, count in answer["counts"].items() if count) or "none yet"
    render.print_facts([("service", answer["url"]), ("tasks", counts)])
    busy = [(name, *_waiting_and_running(states)) for name, states in answer["functions"].items()]
    if busy:
        print()
        render.print_table(("FUNCTION", "WAITING", "RUNNING"), busy, "")
    kept = [(name, each["met"], each["missed"]) for name, each in answer["deadlines"].items()]
    if kept:
        print()
        render.print_table(("FUNCTION", "DEADLINES MET", "MISSED"), kept, "")
    if answer["runners"]:
        print()
        rows = [
            (
                one["id"].replace(one["node"], one["node"][:NODE_SHOWN]),
                one["node"][:NODE_SHOWN],
                f"{one['cpus_used']:g} of {one['cpus']:g}",
                one["leases"],
                _runner_state(one),
            )
            for one in answer["runners"]
        ]
        render.print_table(("RUNNER", "NODE", "CPUS USED", "LEASES", "STATE"), rows, "")
    if answer.get("machines"):
        print()
        machines = [
            (one["kind"], one["wanted"], one["there"], one["leaving"], one["why"]) for one in answer["machines"]
        ]
        render.print_table(("MACHINES", "WANTED", "THERE", "LEAVING", "WHY"), machines, "")
    if answer.get("places"):
        print()
        places = [(one["shape"], one["places"], one["why"]) for one in answer["places"]]
        render.print_table(("PLACES FOR", "WANTED", "WHY"), places, "")


def _waiting_and_running(states: dict[str, int]) -> tuple[int, int]:
    running = states.get("running", 0)
    return sum(states.values()) - running, running


def _runner_state(runner: dict[str, object]) -> str:
    return "draining" if runner["draining"] else "ready"


def announce(settings: Settings, ready: ServiceReady, *, detached: bool) -> None:
    """Whoever started the service knows where it is and what to do next.

    The key is shown in full when it is new, and only on a terminal: what is printed elsewhere ends in some log.
    """
    new_key = ready.new_key if ready.new_key is not None and sys.stdout.isatty() else None
    render.print_facts(
        [
            ("taskservice", f"is up at {ready.url}"),
            ("functions", " ".join(ready.functions) or "none yet: taskservice deploy MODULE:NAME"),
            ("tenants", ready.tenants),
            ("key", f"in {settings.client_file}, where the SDK and the command line find it"),
            ("new key", None if new_key is None else f"{new_key} (it is shown this once)"),
            ("log", str(settings.service_log) if detached else None),
            ("try", ready.try_next),
            ("stop", "taskservice down" if detached else "Ctrl-C, or taskservice down"),
        ]
    )
