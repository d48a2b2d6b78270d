"""`deploy`: code goes to a service that runs, wherever that is, and comes back if it has to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from taskservice.cli import render
from taskservice.cli.tasks import AsJson, connected
from taskservice.code.folder import Survey, packed, survey
from taskservice.config import Settings, load_settings
from taskservice.core.specs import Bundle
from taskservice.errors import RequestError

_APP = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
_HASH_SHOWN = 12
"""Characters of a hash in a table."""


class Deploys(TyperGroup):
    """What is not the name of a command is an app to deploy: `deploy shop.tasks:app` is `deploy app shop.tasks:app`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, ["app", *args] if args and args[0] not in known else args)


deploy = typer.Typer(cls=Deploys, help="Deploy an app: taskservice deploy MODULE:NAME.", no_args_is_help=True)

AppName = Annotated[str, typer.Argument(metavar="APP", help="The app's name, as its code says.")]


@deploy.command("app", hidden=True)
def app_(
    app: Annotated[str, typer.Argument(metavar="MODULE:NAME", help="An App, importable from the folder.")],
    path: Annotated[Path | None, typer.Option(help="The folder of its code; this one if not given.")] = None,
    canary: Annotated[str | None, typer.Option(help="The part of its tasks that runs it at first: 10%.")] = None,
    as_json: AsJson = False,
) -> None:
    """Deploy an app: its new leases run the code of the folder; what runs goes on with what it began with."""
    settings, bundle, share = load_settings(), parse_app(app, path or Path.cwd()), _share(canary)
    found = survey_of(Path(bundle.path), settings)
    tell_left_out(found)
    archive = packed(found, settings.code_bytes_max)
    with connected() as client:
        answer = client.deploy(archive.data, app, canary=share)
    if as_json:
        render.print_json(answer)
        return
    _tell(answer)
    shown = answer["app"]
    if shown["waiting"]:
        render.print_line(
            f"{shown['waiting']} tasks wait, and take what is current when they start, unless they are pinned."
        )
    for each in shown["missing"]:
        render.print_line(
            f"{each['function']} is not in it: {each['waiting']} tasks of it wait until a version has it again."
        )


@deploy.command("list")
def list_(app: Annotated[str | None, typer.Argument(metavar="APP")] = None, as_json: AsJson = False) -> None:
    """List the versions of an app, or of all, the newest first."""
    with connected() as client:
        apps = client.apps() if app is None else [client.app(app)]
    if as_json:
        render.print_json(apps if app is None else apps[0])
        return
    rows = [
        (
            each["app"],
            version["name"],
            _state(each, version),
            render.local_time(version["deployed_at"]),
            version["sha256"][:_HASH_SHOWN],
            len(version["functions"]),
            version["running"],
            version["succeeded"],
            version["failed"],
            version["pinned"],
        )
        for each in apps
        for version in each["versions"]
    ]
    heads = ("APP", "VERSION", "STATE", "DEPLOYED", "HASH", "FUNCTIONS", "RUNNING", "SUCCEEDED", "FAILED", "PINNED")
    render.print_table(heads, rows, "Nothing has been deployed.")


@deploy.command("promote")
def promote(app: AppName, as_json: AsJson = False) -> None:
    """Make the canary current: all new leases run it."""
    with connected() as client:
        _told(client.promote(app), as_json=as_json)


@deploy.command("rollback")
def rollback(
    app: AppName,
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="Such as v3; else see below.")] = None,
    as_json: AsJson = False,
) -> None:
    """Go back to a version. Without one: the canary ends; or, if there is none, what was current before is so again."""
    with connected() as client:
        _told(client.roll_back(app, version), as_json=as_json)


def parse_app(text: str, folder: Path) -> Bundle:
    """Where the app `MODULE:NAME` is, for whoever loads it. Raises RequestError if that is not what `text` says."""
    match = _APP.fullmatch(text)
    if match is None or match[1].endswith(".py"):
        hint = text.split(":", maxsplit=1)[0].removesuffix(".py").strip("./").replace("/", ".") or "tasks"
        name = text.partition(":")[2] or "app"
        message = f"{text}: write MODULE:NAME, the module with dots, such as {hint}:{name}"
        raise RequestError(message, code="bad_app")
    return Bundle(module=match[1], attribute=match[2], path=str(folder.absolute()))


def survey_of(folder: Path, settings: Settings) -> Survey:
    """What there is to pack in the folder, without what the service of this machine keeps there. Raises RequestError."""
    outside = [settings.home, *([Path(settings.state_dir)] if settings.state_is_local else [])]
    return survey(folder, settings.code_unpacked_bytes_max, outside)


def tell_left_out(found: Survey) -> None:
    """Whoever deploys knows which files are not in the code that might be missed."""
    for each in found.left_out:
        render.console(stderr=True).print(f"Left out: {each.path}: {each.why}", style="yellow", markup=False)


def _share(text: str | None) -> float | None:
    """What `10%` or `0.1` says. Raises RequestError for what is no part of a whole."""
    if text is None:
        return None
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise RequestError(f"--canary {text}: write a part of the tasks, such as 10%", code="bad_canary")
    return share


def _state(app: dict[str, Any], version: dict[str, Any]) -> str:
    share = app["canary_share"] if version["state"] == "canary" else None
    return str(version["state"]) if share is None else f"canary, {share:.0%}"


def _told(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        render.print_json(answer)
    else:
        _tell(answer)


def _tell(answer: dict[str, Any]) -> None:
    app, version = answer["app"], answer["version"]
    if app["canary"]:
        render.print_line(
            f"{app['app']} {version} runs {app['canary_share']:.0%} of the tasks beside {app['current']}."
        )
    else:
        render.print_line(f"{app['app']} {app['current']} is current.")
