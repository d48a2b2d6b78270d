"""What the tests of the command line share: a server to talk to, and services that are real processes without Ray."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from helpers.scripted_server import scripted_server
from taskservice.cli.main import app
from taskservice.config import ENV_PREFIX, load_settings

FAKE_SERVICE = Path(__file__).parent / "fake_service.py"


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """A home of its own, and no service or setting of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith(ENV_PREFIX)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TASKSERVICE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


@pytest.fixture
def settings(home):
    return load_settings(stop_grace_s=1)


@pytest.fixture
def server(monkeypatch):
    """A scripted server that the command line finds."""
    with scripted_server() as script:
        monkeypatch.setenv("TASKSERVICE_URL", script.url)
        monkeypatch.setenv("TASKSERVICE_API_KEY", "tsk_test")
        yield script


@pytest.fixture
def run():
    """Runs a command line; gives its exit code and what it printed."""
    runner = CliRunner()

    def run(*arguments, stdin=None):
        return runner.invoke(app, [str(argument) for argument in arguments], input=stdin, catch_exceptions=False)

    return run


@pytest.fixture
def fake_command():
    """The command that starts `fake_service.py` in a mode."""
    return lambda mode: [sys.executable, str(FAKE_SERVICE), mode]


@pytest.fixture
def fake_service(fake_command):
    """Starts `fake_service.py` in a mode, and gives the process once it is ready. Ended with the test."""
    started = []

    def start(mode):
        process = subprocess.Popen(fake_command(mode), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        said = []
        while not (said and said[-1].startswith("ready")):
            said.append(process.stdout.readline())
            assert said[-1], "".join(said)
        process.ready_line = said[-1].strip()
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
