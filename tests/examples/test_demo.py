"""The demo's own accounts: what it looks for is found when it is there, and its folders are cleared with care."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from demo import Job, WrongFolder, mark_finished, prepare, task_of
from stdlib_html import convert
from stdlib_report import Finished, count_independently, doubts, export, find_sources, write_index


@pytest.fixture
def library(tmp_path) -> Path:
    """A small library: 3 modules of 6 lines, beside what is not its own."""
    root = tmp_path / "lib"
    files = {
        "a.py": "x = 1\n",
        "b/__init__.py": "",
        "b/c.py": "def f():\n    pass\n\n\ny = 2",
        "site-packages/other.py": "z = 3\n",
        "b/__pycache__/c.py": "z = 4\n",
        "notes.txt": "not a module\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def job(library, tmp_path) -> Job:
    return Job(library, None, tmp_path / "out")


@pytest.fixture
def tasks(job, ctx) -> list[Finished]:
    """All tasks of the job, succeeded, and their pages."""
    described = [task_of(source, job) for source in find_sources(job.library)]
    return [
        Finished(id=task["id"], state="succeeded", attempt=1, duration_ms=1.5, metrics=convert(ctx, **task["payload"]))
        for task in described
    ]


def test_both_ways_to_look_for_sources_find_the_same(library):
    counted = count_independently(library)
    assert sorted(counted) == find_sources(library) == [library / "a.py", library / "b/__init__.py", library / "b/c.py"]
    assert sum(counted.values()) == 6


def test_ids_say_which_file(job):
    ids = [task_of(source, job)["id"] for source in find_sources(job.library)]
    assert ids == ["stdlib:a", "stdlib:b.__init__", "stdlib:b.c"]


def test_no_doubts_when_everything_is_there(job, tasks):
    write_index(tasks, job.pages)
    assert doubts(tasks, job.pages, files=3, lines=6) == []


@pytest.mark.parametrize(
    ("damage", "doubt"),
    [
        (lambda tasks, pages: tasks.pop(), "2 results for 3 source files"),
        (lambda tasks, pages: tasks.append(tasks[0]), "4 results for 3 source files"),
        (lambda tasks, pages: tasks.__setitem__(0, tasks[1]), "2 distinct task ids for 3 source files"),
        (lambda tasks, pages: (pages / "a.html").unlink(), "a.html is not there"),
        (lambda tasks, pages: (pages / "a.html").write_text("cut"), "a.html has 3 bytes"),
        (lambda tasks, pages: (pages / "z.html").write_text(""), "4 pages on disk for 3 source files"),
        (lambda tasks, pages: tasks.__setitem__(0, failed(tasks[0])), "stdlib:a failed: timeout: too slow"),
        (lambda tasks, pages: tasks.__setitem__(0, longer(tasks[0])), "tell of 7 lines, the sources have 6"),
    ],
)
def test_whatever_is_missing_wrong_or_too_much_is_doubted(job, tasks, damage, doubt):
    damage(tasks, job.pages)
    assert any(doubt in found for found in doubts(tasks, job.pages, files=3, lines=6))


def failed(task: Finished) -> Finished:
    return task.model_copy(update={"state": "failed", "metrics": None, "error": "timeout: too slow"})


def longer(task: Finished) -> Finished:
    return task.model_copy(update={"metrics": task.metrics.model_copy(update={"lines": task.metrics.lines + 1})})


def test_exports_have_a_row_a_task_in_the_order_of_their_ids_even_without_a_result(job, tasks):
    export([failed(tasks[1]), tasks[2], tasks[0]], job.out)
    lines = [json.loads(line) for line in (job.out / "results.jsonl").read_text().splitlines()]
    assert lines == pq.read_table(job.out / "results.parquet").to_pylist()
    assert [(row["id"], row["lines"]) for row in lines] == [
        ("stdlib:a", 1),
        ("stdlib:b.__init__", None),
        ("stdlib:b.c", 5),
    ]


def test_the_index_links_every_page_and_says_the_totals(job, tasks):
    page = write_index(tasks, job.pages).read_text()
    assert all(f'href="{task.metrics.page}"' in page for task in tasks)
    assert "3 modules, 6 lines, 1 functions" in page


def test_an_interrupted_job_finds_its_folder_as_it_left_it(job):
    prepare(job)
    (job.pages).mkdir()
    (job.pages / "a.html").write_text("done before")
    prepare(job)
    assert (job.pages / "a.html").exists()


def test_a_finished_job_or_another_one_begins_anew(job):
    for changed, finish in [(job, mark_finished), (Job(job.library, 2, job.out), prepare)]:
        prepare(job)
        job.pages.mkdir(exist_ok=True)
        (job.pages / "a.html").write_text("done before")
        finish(changed)
        prepare(job)
        assert not job.pages.exists(), finish


def test_a_folder_of_somebody_else_is_not_touched(job):
    (job.pages).mkdir(parents=True)
    (job.pages / "thesis.html").write_text("the only copy")
    with pytest.raises(WrongFolder, match="--out"):
        prepare(job)
    assert (job.pages / "thesis.html").read_text() == "the only copy"


def test_another_python_is_another_job(job):
    prepare(job)
    note = json.loads(job.note.read_text())
    assert note["python"] == sys.version
    job.note.write_text(json.dumps(note | {"python": "2.7"}))
    job.pages.mkdir()
    prepare(job)
    assert not job.pages.exists()
