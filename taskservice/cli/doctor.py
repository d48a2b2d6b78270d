"""`doctor`: what is wrong on this machine, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.text import Text

from taskservice.cli import daemon, render
from taskservice.cli.checks import CHECKS, LOCAL_STATE, Check, Finding, Level, fail, without_secrets
from taskservice.cli.tasks import AsJson
from taskservice.cli.up import ConfigFile
from taskservice.config import Settings, load_settings

STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def doctor(
    state_dir: Annotated[
        str | None, typer.Option(help="Local directory, or s3://bucket/prefix; the running service's own if not given.")
    ] = None,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Check this machine, its state and its service, and say what to do. Exit code 1 if something fails."""
    settings = daemon.state_in_use(load_settings(state_dir=state_dir, config=config))
    findings: list[tuple[str, Finding]] = []
    with _checks(settings) as checks:
        for name, check in checks:
            findings.append((name, finding := looked(check, settings)))
            if not as_json:
                _show(name, finding)
    if as_json:
        render.print_json(
            [
                {"check": name, "level": finding.level, "found": finding.found, "advice": finding.advice}
                for name, finding in findings
            ]
        )
    if any(finding.level is Level.FAIL for _, finding in findings):
        raise typer.Exit(1)


@contextmanager
def _checks(settings: Settings) -> Iterator[list[tuple[str, Check]]]:
    """What to look at, where the state is."""
    if settings.state_is_local:
        yield list(CHECKS)
        return
    from taskservice.cli.bucket_checks import of_settings  # noqa: PLC0415 - for those who have a bucket

    bucket = of_settings(settings)
    at = [name for name, _ in CHECKS].index(LOCAL_STATE[0])
    others = [(name, check) for name, check in CHECKS if name not in LOCAL_STATE]
    try:
        yield [*others[:at], *bucket.checks, *others[at:]]
    finally:
        bucket.close()


def looked(check: Check, settings: Settings) -> Finding:
    """What the check has found; that it has failed itself, if it has. Credentials are not in it."""
    try:
        found = check(settings)
    except Exception as error:
        found = fail(f"could not be looked at: {type(error).__name__}: {error}", "This is a bug: please report it.")
    return Finding(found.level, without_secrets(found.found), without_secrets(found.advice))


def _show(name: str, finding: Finding) -> None:
    render.console().print(
        Text.assemble((f"{finding.level:<5}", STYLES[finding.level]), (f"{name:<12}", "bold"), finding.found)
    )
    if finding.advice:
        render.print_line(f"{'':17}-> {finding.advice}")
