"""`doctor`: each check finds what it is there for."""

from __future__ import annotations

import fcntl
import json
import socket

import pytest

from taskservice.cli import checks
from taskservice.cli.checks import Level
from taskservice.config import load_settings

HEALTHY = {"epoch": 1, "counts": {}, "functions": {}}
RUNNER = {"id": "r", "node": "n", "cpus": 2.0, "cpus_used": 0.0, "leases": 0, "draining": False}


def test_a_machine_without_a_service_is_well(run, home):
    done = run("doctor", "--json")
    found = {one["check"]: one for one in json.loads(done.stdout)}
    assert list(found) == [name for name, _ in checks.CHECKS]
    assert (found["service"]["level"], found["home"]["level"], found["python"]["level"]) == ("warn", "ok", "ok")
    assert done.exit_code == (1 if any(one["level"] == "fail" for one in found.values()) else 0)
    assert not home.exists(), "looking changes nothing"


def test_a_failed_check_is_shown_with_advice_and_ends_with_1(run, home):
    home.mkdir(mode=0o700)
    (home / "client.json").write_text("{}")
    (home / "client.json").chmod(0o644)
    done = run("doctor")
    assert done.exit_code == 1
    assert f"-> chmod 600 {home / 'client.json'}" in done.stdout


def test_a_home_that_others_can_look_into(settings, home):
    home.mkdir()
    home.chmod(0o755)
    assert checks.check_home(settings).level is Level.WARN
    home.chmod(0o700)
    assert checks.check_home(settings).level is Level.OK


def test_a_state_directory_that_cannot_be_written(tmp_path):
    """A file where the directory should be: also root cannot write there."""
    (tmp_path / "file").touch()
    settings = load_settings(state_dir=tmp_path / "file")
    assert checks.check_state_dir(settings).level is Level.FAIL


def test_a_state_directory_that_can_be_written(settings):
    finding = checks.check_state_dir(settings)
    assert "a durable write takes" in finding.found
    assert finding.level is not Level.FAIL


def test_a_journal_that_somebody_else_holds(settings, tmp_path):
    assert checks.check_journal(settings).found == "free"
    lock = tmp_path / "home" / "state" / "journal" / "lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w+") as file:
        file.write("4711\n")
        file.flush()
        assert checks.check_journal(settings).found == "free", "a lock that nobody holds is of an earlier service"
        fcntl.flock(file, fcntl.LOCK_EX)
        finding = checks.check_journal(settings)
    assert (finding.level, finding.found.split(",")[0]) == (Level.FAIL, "held by process 4711")


def test_a_journal_that_the_running_service_holds(settings, tmp_path, fake_service):
    fake_service("good")
    lock = tmp_path / "home" / "state" / "journal" / "lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert checks.check_journal(settings).level is Level.OK


def test_it_looks_at_the_state_of_the_service_that_runs(run, tmp_path, fake_service, monkeypatch):
    """It praised an empty directory that nobody used, while the service had its state elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("TASKSERVICE_STATE_DIR", str(elsewhere))
    fake_service("good")
    monkeypatch.delenv("TASKSERVICE_STATE_DIR")
    found = {each["check"]: each["found"] for each in json.loads(run("doctor", "--json").stdout)}
    assert found["state"].startswith(f"{elsewhere}: ")
    assert f"{elsewhere}: there is no state here" in " ".join(run("journal", "verify").stderr.split())


def test_a_port_that_is_taken(settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finding = checks.check_port(settings.model_copy(update={"port": port}))
        assert (finding.level, "in use" in finding.found) == (Level.FAIL, True)
    assert checks.check_port(settings.model_copy(update={"port": port})).level is Level.OK


def test_a_service_that_answers(settings, server):
    server.answer({**HEALTHY, "runners": [RUNNER]})
    server.answer({**HEALTHY, "runners": [RUNNER]})
    assert checks.check_service(settings).level is Level.OK
    assert checks.check_runners(settings).found == "1 ready, 2 CPUs"


def test_a_service_that_refuses_the_key(settings, server):
    server.problem(401, "invalid_key", "The API key is unknown or revoked.")
    finding = checks.check_service(settings)
    assert (finding.level, "refuses the key" in finding.found) == (Level.FAIL, True)


def test_a_service_that_does_not_answer(settings, monkeypatch, fake_service):
    monkeypatch.setenv("TASKSERVICE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("TASKSERVICE_API_KEY", "tsk_x")
    assert checks.check_service(settings).level is Level.WARN, "there is none, which is no fault"
    fake_service("good")
    assert checks.check_service(settings).level is Level.FAIL


@pytest.mark.parametrize("runners", [[], [{**RUNNER, "draining": True}]])
def test_a_service_without_runners(settings, server, runners):
    server.answer({**HEALTHY, "runners": runners})
    assert checks.check_runners(settings).level is Level.WARN


def test_misspelt_variables(settings, monkeypatch):
    assert checks.check_environment(settings).level is Level.OK
    monkeypatch.setenv("TASKSERVICE_PROT", "1")
    finding = checks.check_environment(settings)
    assert (finding.level, "TASKSERVICE_PROT" in finding.found) == (Level.WARN, True)


def test_few_open_files(settings):
    soft, hard = checks.resource.getrlimit(checks.resource.RLIMIT_NOFILE)
    checks.resource.setrlimit(checks.resource.RLIMIT_NOFILE, (min(1_000, soft), hard))
    try:
        assert checks.check_open_files(settings).level is Level.WARN
    finally:
        checks.resource.setrlimit(checks.resource.RLIMIT_NOFILE, (soft, hard))


def test_room_is_looked_for_where_the_state_will_be(tmp_path):
    assert checks.existing(tmp_path / "a" / "b" / "c") == tmp_path
    assert checks.existing(tmp_path) == tmp_path
