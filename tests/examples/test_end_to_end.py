"""Every script, run as a user runs it: a process of its own, which starts and stops a whole service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]


def run(script: str, *arguments: str) -> str:
    """What the script printed. It must end well within the time, and leave no process of its service behind."""
    command = [sys.executable, str(REPOSITORY / script), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{script} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def processes_naming(folder: Path) -> list[str]:
    """The commands of running processes whose arguments or environment name the folder: a service that lives there."""
    found = []
    for process in psutil.process_iter():
        try:
            command, environment = process.cmdline(), process.environ()
        except psutil.Error:
            continue
        if any(str(folder) in text for text in [*command, *environment.values()]):
            found.append(" ".join(command))
    return found


def test_the_demo_converts_checks_and_stops_and_then_begins_anew(tmp_path):
    out = tmp_path / "out"
    said = run("examples/demo.py", "--limit", "40", "--out", str(out))
    assert "checked: 40 source files = results = distinct ids = pages on disk" in said
    rows = pq.read_table(out / "results.parquet").to_pylist()
    assert len({row["id"] for row in rows}) == len(list((out / "pages").glob("*.html"))) - 1 == 40
    assert {row["state"] for row in rows} == {"succeeded"}
    assert processes_naming(out) == []


def test_the_demo_goes_on_where_it_was_interrupted(tmp_path):
    """A run whose note was put back to unfinished is what an interrupted one leaves: its tasks are known again."""
    out = tmp_path / "out"
    run("examples/demo.py", "--limit", "10", "--out", str(out))
    note = json.loads((out / "job.json").read_text())
    (out / "job.json").write_text(json.dumps(note | {"finished": False}))
    said = run("examples/demo.py", "--limit", "10", "--out", str(out))
    assert "checked: 10 source files" in said
    assert "done before" in said


def test_thumbnails_come_out_right_from_a_server_that_misbehaves(tmp_path):
    said = run("examples/thumbnails_demo.py", "--out", str(tmp_path))
    assert "8 tasks, 12 thumbnails" in said
    assert len(list(tmp_path.iterdir())) == 12


def test_the_bench_measures_and_says_on_what(tmp_path):
    run("bench/run.py", "--quick", "--out", str(tmp_path))
    report = json.loads((tmp_path / "results.json").read_text())
    assert all(figure["value"] > 0 for figure in report["figures"])
    assert {figure["name"] for figure in report["figures"] if figure["target"]} == {
        "end to end, no-op",
        "submit + result, p50",
    }
    assert report["machine"]["cpus"] > 0
    assert set(report["versions"]) == {"python", "taskservice", "ray"}
