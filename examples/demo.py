"""The main job, on real input: every file of the standard library becomes a highlighted HTML page, one task a file.

    make demo                            (or: python examples/demo.py [--limit N] [--out DIR] [--keep])

Starts a service of its own under the output folder, submits all files, collects the results, and checks them against
what it counts itself. Exit code 0 if everything adds up. Interrupted, it stops the service; started again, it goes on
where it was, since the tasks' ids are made from the names of the files. Finished, it begins anew.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from atomic import write_atomically
from local_service import CommandFailed, local_service, stop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text
from stdlib_html import PageMetrics
from stdlib_report import Finished, count_independently, doubts, export, find_sources, print_summary, write_index

from taskservice import Client, TaskError, TaskServiceError

EXAMPLES = Path(__file__).resolve().parent
APP = "stdlib_html:app"
FUNCTION = "stdlib.convert"
TASK_TIMEOUT_S = 600
"""How long to wait for any one task; each has 2 minutes for an attempt, and 3 attempts."""

console = Console()


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be converted, and where everything goes."""

    library: Path
    limit: int | None
    out: Path

    @property
    def home(self) -> Path:
        return self.out / "service"

    @property
    def pages(self) -> Path:
        return self.out / "pages"

    @property
    def note(self) -> Path:
        """Says which job the folder belongs to, and whether it has finished."""
        return self.out / "job.json"


class Rate(ProgressColumn):
    """Tasks per second, lately."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0:.0f}/s")


def main() -> int:
    """The exit code: 0 all well, 1 something is missing or failed, 2 wrong use, 130 interrupted."""
    options = parse_options()
    library = Path(sysconfig.get_path("stdlib"))
    job = Job(library, options.limit, options.out.resolve())
    try:
        prepare(job)
        return run(job, keep=options.keep)
    except (CommandFailed, TaskServiceError, WrongFolder) as error:
        console.print(f"demo: {error}", style="red", markup=False)
        return 2 if isinstance(error, WrongFolder) else 1
    except KeyboardInterrupt:
        console.print("demo: interrupted. Start it again to go on; what has finished is kept.")
        return 130


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Convert the standard library to HTML, one task a file.")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N files")
    parser.add_argument("--keep", action="store_true", help="leave the service running afterwards")
    parser.add_argument("--out", type=Path, metavar="DIR", default=EXAMPLES.parent / "demo-out")
    return parser.parse_args()


class WrongFolder(Exception):
    """The output folder holds something that is not ours to clear."""


def prepare(job: Job) -> None:
    """The output folder is ready: as an interrupted run of the same job left it, or empty but for a note."""
    if job.out.exists() and any(job.out.iterdir()) and not job.note.is_file():
        raise WrongFolder(f"{job.out} is not empty and not from an earlier demo; name another folder with --out")
    note = {name: str(value) for name, value in asdict(job).items()} | {"python": sys.version}
    known = json.loads(job.note.read_text()) if job.note.is_file() else None
    if known == note | {"finished": False}:
        return
    if job.home.exists():
        stop(job.home)
    for folder in (job.home, job.pages):
        shutil.rmtree(folder, ignore_errors=True)
    write_atomically(job.note, json.dumps(note | {"finished": False}).encode())


def mark_finished(job: Job) -> None:
    note = json.loads(job.note.read_text())
    write_atomically(job.note, json.dumps(note | {"finished": True}).encode())


def run(job: Job, *, keep: bool) -> int:
    """Runs the job and says what came out. 0 if it adds up."""
    sources = find_sources(job.library)[: job.limit]
    console.print(
        f"{len(sources):,} source files in {job.library}. Starting a service in {job.home} ...", soft_wrap=True
    )
    with local_service(APP, home=job.home, code=EXAMPLES, keep=keep) as client:
        started_s = time.monotonic()
        tasks, already_done = convert_all(client, job, sources)
        wall_s = time.monotonic() - started_s
    export(tasks, job.out)
    index = write_index(tasks, job.pages)
    print_summary(console, tasks, wall_s=wall_s, already_done=already_done)
    counted = count_independently(job.library)
    expected = sorted(counted)[: job.limit]
    found = doubts(tasks, job.pages, files=len(expected), lines=sum(counted[path] for path in expected))
    for doubt in found:
        console.print(f"wrong: {doubt}", style="red", markup=False, soft_wrap=True)
    if found:
        return 1
    mark_finished(job)
    say_where_to_look(job, index, len(expected), keep=keep)
    return 0


def convert_all(client: Client, job: Job, sources: Sequence[Path]) -> tuple[list[Finished], int]:
    """Every source's task, finished, in the order of `sources`; and how many had finished in an earlier run."""
    already_done = sum(1 for _ in client.list(state="succeeded", function=FUNCTION))
    tasks = [task_of(source, job) for source in sources]
    client.submit_many(tasks).raise_for_refused()
    columns = (TextColumn("converting"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        results = {id: result_of(client, id) for id in progress.track([str(task["id"]) for task in tasks])}
    told = {task.id: task.info for task in client.list(function=FUNCTION)}
    return [finished(told[id], metrics) for id, metrics in results.items()], already_done


def task_of(source: Path, job: Job) -> dict[str, object]:
    """The task for one file. Its id says which file, so submitting it again is the same task."""
    module = ".".join(source.relative_to(job.library).with_suffix("").parts)
    payload = {"path": str(source), "module": module, "out_dir": str(job.pages)}
    return {"id": f"stdlib:{module}", "function": FUNCTION, "payload": payload}


def result_of(client: Client, id: str) -> PageMetrics | None:
    """The task's result once it has ended; None if it has none. Raises WaitTimeout."""
    try:
        return PageMetrics.model_validate(client.result(id, timeout=TASK_TIMEOUT_S))
    except TaskError:
        return None


def finished(info: Mapping[str, Any], metrics: PageMetrics | None) -> Finished:
    """What the service tells of a task that has ended, with its result."""
    error = info["error"]
    return Finished(
        id=info["id"],
        state=info["state"],
        attempt=info["attempt"],
        duration_ms=info["duration_ms"],
        error=f"{error['reason']}: {error['message']}" if error else None,
        metrics=metrics,
    )


def say_where_to_look(job: Job, index: Path, files: int, *, keep: bool) -> None:
    """Prints what is where, and how to go on."""
    say = functools.partial(console.print, markup=False, highlight=False, soft_wrap=True)
    say(f"checked: {files:,} source files = results = distinct ids = pages on disk; lines add up")
    say(f"pages:   {index}")
    say(f"results: {job.out / 'results.parquet'} and results.jsonl")
    if keep:
        say(f"running: TASKSERVICE_HOME={job.home} taskservice status   (and `down` to stop it)")
    say("yours:   cd examples && taskservice up --app stdlib_html:app -d   (then see examples/stdlib_html.py)")


if __name__ == "__main__":
    sys.exit(main())
