"""What `demo.py` leaves behind and how it is checked: the exports, the index page, the summary, the list of doubts."""

from __future__ import annotations

import html
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from atomic import write_atomically
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from stdlib_html import PAGE_CSS, PageMetrics

SKIPPED_FOLDERS = ("site-packages", "dist-packages", "__pycache__")

INDEX_CSS = """
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { border-bottom: 1px solid color-mix(in srgb, currentcolor 15%, transparent); padding: .2rem .75rem }
th, td { text-align: right }
th:first-child, td:first-child { text-align: left }
thead th { background: canvas; position: sticky; top: 0 }
"""


class Finished(BaseModel, frozen=True):
    """A task that has ended, and what came of it."""

    id: str
    state: str
    attempt: int
    duration_ms: float | None
    """Time that the last attempt spent in the handler."""
    error: str | None = None
    metrics: PageMetrics | None = None


def find_sources(root: Path) -> list[Path]:
    """Every Python file of the library at `root`, sorted; packages that somebody installed are not part of it."""
    found = (path for path in root.rglob("*.py") if not set(path.relative_to(root).parts) & set(SKIPPED_FOLDERS))
    return sorted(path for path in found if path.is_file())


def count_independently(root: Path) -> dict[Path, int]:
    """Every source file and its lines, found in another way than `find_sources` and the handler do."""
    counts: dict[Path, int] = {}
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
        paths = (Path(folder, name) for name in names if name.endswith(".py"))
        counts.update((path, count_lines(path)) for path in paths if path.is_file())
    return counts


def count_lines(path: Path) -> int:
    """Lines by bytes alone, without a thought for the encoding."""
    return len(path.read_bytes().splitlines())


def doubts(tasks: Sequence[Finished], pages: Path, *, files: int, lines: int) -> list[str]:
    """What does not add up between the sources, the tasks and the pages on disk; empty if everything does."""
    found: list[str] = []
    for task in tasks:
        if task.metrics is None:
            found.append(f"{task.id} {task.state}: {task.error or 'no result'}")
        elif not (page := pages / task.metrics.page).is_file():
            found.append(f"{task.id} succeeded but {page} is not there")
        elif page.stat().st_size != task.metrics.bytes_out:
            found.append(f"{page} has {page.stat().st_size} bytes, its task reported {task.metrics.bytes_out}")
    counts = {
        "results": len(tasks),
        "distinct task ids": len({task.id for task in tasks}),
        "pages on disk": sum(path.name != "index.html" for path in pages.glob("*.html")),
    }
    found += [f"{count} {what} for {files} source files" for what, count in counts.items() if count != files]
    reported = sum(task.metrics.lines for task in tasks if task.metrics)
    if reported != lines:
        found.append(f"the results tell of {reported} lines, the sources have {lines}")
    return found


def export(tasks: Iterable[Finished], out: Path) -> None:
    """`out` holds results.jsonl and results.parquet, one row a task in the order of their ids."""
    rows = [_row(task) for task in sorted(tasks, key=lambda task: task.id)]
    write_atomically(out / "results.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), buffer, compression="zstd")
    write_atomically(out / "results.parquet", buffer.getvalue().to_pybytes())


def _row(task: Finished) -> dict[str, object]:
    figures = task.metrics.model_dump() if task.metrics else dict.fromkeys(PageMetrics.model_fields)
    return task.model_dump(exclude={"metrics"}) | figures


def write_index(tasks: Iterable[Finished], pages: Path) -> Path:
    """`pages` holds index.html, which links every page with its figures and says the totals."""
    figures = sorted((task.metrics for task in tasks if task.metrics), key=lambda metrics: metrics.module)
    rows = "\n".join(
        f'<tr><td><a href="{html.escape(m.page)}">{html.escape(m.module)}</a></td><td>{m.lines:,}</td>'
        f"<td>{m.functions:,}</td><td>{m.classes:,}</td><td>{m.imports}</td><td>{m.complexity_max}</td></tr>"
        for m in figures
    )
    totals = (
        f"{len(figures):,} modules, {sum(m.lines for m in figures):,} lines, "
        f"{sum(m.functions for m in figures):,} functions, {sum(m.classes for m in figures):,} classes"
    )
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>The standard library</title>
<meta name="viewport" content="width=device-width"><style>{PAGE_CSS}{INDEX_CSS}</style></head>
<body><h1>The standard library</h1><p>{totals}</p>
<table><thead><tr><th>module</th><th>lines</th><th>functions</th><th>classes</th><th>imports</th><th>most complex</th>
</tr></thead><tbody>
{rows}
</tbody></table></body></html>
"""
    write_atomically(pages / "index.html", page.encode())
    return pages / "index.html"


def print_summary(console: Console, tasks: Sequence[Finished], *, wall_s: float, already_done: int) -> None:
    """Prints what ran, how fast, and what stood out."""
    figures = [task.metrics for task in tasks if task.metrics]
    states = Counter(task.state for task in tasks)
    fresh = len(tasks) - already_done
    table = Table(title="The standard library, one task a file", show_header=False)
    table.add_row("tasks", f"{len(tasks):,} ({', '.join(f'{count:,} {state}' for state, count in states.items())})")
    if already_done:
        table.add_row("done before", f"{already_done:,} (an earlier run was interrupted; their results were kept)")
    table.add_row("wall time", f"{wall_s:.1f} s")
    table.add_row("throughput", f"{fresh / wall_s:.1f} tasks/s")
    table.add_row("source", f"{sum(m.lines for m in figures):,} lines, {_megabytes(m.bytes_in for m in figures)}")
    table.add_row("pages", _megabytes(m.bytes_out for m in figures))
    slowest = sorted(tasks, key=lambda task: -(task.duration_ms or 0))[:5]
    table.add_row("slowest", "\n".join(f"{task.duration_ms or 0:,.0f} ms  {task.id}" for task in slowest))
    largest = sorted(figures, key=lambda metrics: -metrics.lines)[:5]
    table.add_row("largest", "\n".join(f"{metrics.lines:,} lines  {metrics.module}" for metrics in largest))
    console.print(table)


def _megabytes(sizes: Iterable[int]) -> str:
    return f"{sum(sizes) / 1e6:,.1f} MB"
