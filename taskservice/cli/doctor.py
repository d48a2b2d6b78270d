"""`doctor`: what is wrong on this machine, and what to do about it."""

from __future__ import annotations

import typer
from rich.text import Text

from taskservice.cli import render
from taskservice.cli.checks import CHECKS, Level
from taskservice.cli.tasks import AsJson
from taskservice.cli.up import ConfigFile
from taskservice.config import load_settings

STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def doctor(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Check this machine and its service, and say what to do. Exit code 1 if something fails."""
    settings = load_settings(config=config)
    findings = [(name, check(settings)) for name, check in CHECKS]
    if as_json:
        render.print_json(
            [
                {"check": name, "level": finding.level, "found": finding.found, "advice": finding.advice}
                for name, finding in findings
            ]
        )
    else:
        for name, finding in findings:
            render.console().print(
                Text.assemble((f"{finding.level:<5}", STYLES[finding.level]), (f"{name:<12}", "bold"), finding.found)
            )
            if finding.advice:
                render.print_line(f"{'':17}-> {finding.advice}")
    if any(finding.level is Level.FAIL for _, finding in findings):
        raise typer.Exit(1)
