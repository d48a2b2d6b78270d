"""Every script, run as a user runs it: a process of its own, which starts and stops a whole service."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
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


def wait_for_a_page(pages: Path, process: subprocess.Popen[str]) -> None:
    """A page is there. Fails if the process ends before that, or none comes in time."""
    pause = threading.Event()
    for _ in range(1_500):
        if any(pages.glob("*.html")):
            return
        assert process.poll() is None, process.communicate()
        pause.wait(0.1)
    raise AssertionError(f"no page in {pages}")


def test_the_demo_stops_at_ctrl_c_then_goes_on_and_adds_up(tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, str(REPOSITORY / "examples/demo.py"), "--limit", "40", "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as demo:
        wait_for_a_page(out / "pages", demo)
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does: to all that it has in the foreground
        said, _ = demo.communicate(timeout=120)
    assert (demo.returncode, "Start it again to go on" in said) == (130, True), said
    assert processes_naming(out) == []

    said = run(*command[1:])
    assert "checked: 40 source files = results = distinct ids = pages on disk" in said
    rows = pq.read_table(out / "results.parquet").to_pylist()
    assert len({row["id"] for row in rows}) == len(list((out / "pages").glob("*.html"))) - 1 == 40
    assert {row["state"] for row in rows} == {"succeeded"}
    assert processes_naming(out) == []


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


def test_the_bench_of_both_stores_counts_what_a_bucket_is_asked(tmp_path):
    run("bench/stores.py", "--quick", "--out", str(tmp_path))
    values = {
        figure["name"]: figure["value"] for figure in json.loads((tmp_path / "stores.json").read_text())["figures"]
    }
    assert all(values.values())
    assert values["S3: bulk, requests for 1,000 tasks"] < values["S3: one at a time, requests for 1,000 tasks"] < 4_000


def test_the_bench_of_depth_kills_a_dispatcher_and_waits_for_its_next_lease(tmp_path):
    run("bench/durable.py", "--quick", "--out", str(tmp_path))
    figures = json.loads((tmp_path / "durable.json").read_text())["figures"]
    assert all(figure["value"] > 0 for figure in figures)
    assert len([figure for figure in figures if "first lease" in figure["name"]]) == 2
