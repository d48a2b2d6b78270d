"""Code that is deployed to a live service while its tasks run: real Ray, real processes."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.live import Live, eventually
from taskservice import Client

CODE = """
import time
from pathlib import Path
from taskservice import App
from words import WORD

app = App("shop")

@app.task(max_running=1)
def wait(file: str, until: str) -> list[str]:
    Path(file).touch()
    while not Path(until).exists():
        time.sleep(0.02)
    return [WORD, Path("beside.txt").read_text()]
"""


def write(folder: Path, word: str, code: str = CODE) -> None:
    """The app's folder is like that now, edited in place."""
    folder.mkdir(exist_ok=True)
    (folder / "tasks.py").write_text(code)
    (folder / "words.py").write_text(f"WORD = {word!r}")
    (folder / "beside.txt").write_text(word)


def cli(live: Live, *words: str) -> subprocess.CompletedProcess[str]:
    return live.cli("deploy", *words)


def deploy(live: Live, folder: Path, *options: str) -> dict:
    ended = cli(live, "tasks:app", "--path", str(folder), "--json", *options)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shop"


def test_code_is_deployed_and_rolled_back_and_interrupts_no_task(
    live: Live, client: Client, folder: Path, tmp_path: Path
) -> None:
    """What runs ends on the version that it began on; what waits takes what is current when it starts."""
    begun, let_go = tmp_path / "begun", tmp_path / "let_go"
    payload = {"file": str(begun), "until": str(let_go)}
    write(folder, "one")
    assert deploy(live, folder)["version"] == "v1"
    running = client.submit("shop.wait", payload)
    eventually(begun.exists, 60)
    write(folder, "two")  # what runs has no business with it
    waiting = client.submit("shop.wait", payload)
    told = deploy(live, folder)
    assert (told["version"], told["app"]["waiting"]) == ("v2", 1)
    assert running.refresh().state == "running"
    let_go.touch()
    assert running.result(timeout=60) == ["one", "one"]
    assert waiting.result(timeout=60) == ["two", "two"]
    assert [task.refresh().info["version"] for task in (running, waiting)] == ["v1", "v2"]
    assert [task.info["attempt"] for task in (running, waiting)] == [1, 1]

    broken = cli(live, "tasks:app", "--path", str(tmp_path))
    assert (broken.returncode, "No module named 'tasks'" in broken.stderr) == (2, True), broken.stderr
    assert client.app("shop")["current"] == "v2"

    assert cli(live, "rollback", "shop").stdout.strip() == "shop v1 is current."
    assert client.submit("shop.wait", payload).result(timeout=60) == ["one", "one"]
    listed = json.loads(cli(live, "list", "shop", "--json").stdout)
    assert [(each["name"], each["state"], each["succeeded"]) for each in listed["versions"]] == [
        ("v2", "earlier", 1),
        ("v1", "current", 2),
    ]


def test_without_an_app_a_service_goes_on_with_what_was_deployed(mortal: Live) -> None:
    """Though all that was unpacked on the machine is gone."""
    mortal.up().close()
    mortal.kill_everything()
    shutil.rmtree(mortal.home / "code", ignore_errors=True)
    ended = mortal.cli("up", "--port", str(mortal.port), "-d")
    assert (ended.returncode, "work.when" in ended.stdout) == (0, True), ended.stderr
    with mortal.client() as client:
        assert client.submit("work.when", {}).result(timeout=60) > 0
