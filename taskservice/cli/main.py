"""The command `taskservice`. Exit codes: 0 done, 1 the task or the operation failed, 2 wrong use, 3 not reachable."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from taskservice.cli import admin, bulk, operating, render, tasks, transfer, up
from taskservice.cli.callbacks import callback
from taskservice.cli.deploying import deploy
from taskservice.cli.dlq import dlq
from taskservice.cli.doctor import doctor
from taskservice.cli.journal import journal
from taskservice.cli.schedules import schedule
from taskservice.cli.simulate import simulate
from taskservice.cli.top import top
from taskservice.cli.triggers import trigger
from taskservice.errors import TaskServiceError


class Commands(TyperGroup):
    """Commands whose errors are words and an exit code, never a traceback: that would be a bug of ours."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TaskServiceError as error:
            render.print_error(error)
            raise typer.Exit(error.exit_code) from None


app = typer.Typer(
    cls=Commands,
    help="Asynchronous tasks on Ray: durable, fair, explained.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    up.up,
    up.down,
    up.status,
    tasks.submit,
    tasks.show,
    tasks.logs,
    *bulk.COMMANDS,
    operating.usage,
    top,
    simulate,
    doctor,
):
    app.command()(command)
app.command("list")(tasks.list_)
app.command("import")(transfer.import_)
app.command("export")(transfer.export)
app.add_typer(admin.tenant, name="tenant")
app.add_typer(admin.key, name="key")
app.add_typer(operating.function, name="function")
app.add_typer(operating.downstream, name="downstream")
app.add_typer(operating.class_, name="class")
app.add_typer(schedule, name="schedule")
app.add_typer(trigger, name="trigger")
app.add_typer(callback, name="callback")
app.add_typer(dlq, name="dlq")
app.add_typer(deploy, name="deploy")
app.add_typer(journal, name="journal")


def main() -> None:
    """Runs the command that `sys.argv` holds, and ends the process with its exit code."""
    app(prog_name="taskservice")
