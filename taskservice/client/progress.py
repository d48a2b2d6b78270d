"""How far an import or an export has come, and how that is shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

Report = Callable[["TransferProgress"], object]


@dataclass(frozen=True, slots=True)
class TransferProgress:
    """What has been done by now. An export only has `rows`."""

    rows: int
    seconds: float
    done_ratio: float | None = None
    """From 0 to 1; None where that cannot be known."""
    accepted: int = 0
    known: int = 0
    refused: int = 0

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """How long it will take from now on, if it goes on like that."""
        if not self.done_ratio:
            return None
        return self.seconds * (1 - self.done_ratio) / self.done_ratio


@contextmanager
def shown(what: str, wish: bool | Report | None) -> Generator[Report]:
    """Where to report to: the caller's function; a bar on stderr (by default only where that is a terminal); or nowhere."""
    if callable(wish):
        yield wish
        return
    if not (sys.stderr.isatty() if wish is None else wish):
        yield lambda progress: None
        return
    from rich.console import Console  # noqa: PLC0415 - only where somebody looks
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown_as = bar.add_task(what, total=None)

        def report(progress: TransferProgress) -> None:
            said = f"{what} {progress.rows:,} rows, {progress.rows_per_s:,.0f}/s"
            if progress.refused:
                said += f", {progress.refused:,} refused"
            total = None if progress.done_ratio is None else 1.0
            bar.update(shown_as, description=said, total=total, completed=progress.done_ratio or 0.0)

        yield report
