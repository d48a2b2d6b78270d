"""The one service of a home: real processes, without Ray."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys

import msgspec
import psutil
import pytest

from taskservice.cli import daemon, processes
from taskservice.config import load_settings
from taskservice.errors import ConflictError, TaskServiceError

BOUND_S = 30


def started_by(record):
    """The processes that the service has started and that run."""
    return processes.members(record.mark, None)


def said_until_its_end(process):
    output, _ = process.communicate(timeout=BOUND_S)
    return output


def test_a_service_says_who_and_where_it_is_to_its_owner_alone(home, fake_service):
    process = fake_service("good")
    record = daemon.read_record(home)
    assert (record.pid, record.url) == (process.pid, "http://127.0.0.1:8700")
    assert processes.find(record.pid, record.started_s).pid == process.pid
    assert json.loads((home / "client.json").read_text()) == {"url": "http://127.0.0.1:8700", "api_key": "tsk_fresh"}
    for name in ("client.json", "taskservice.pid", "taskservice.lock"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("mode", ["good", "careless"])
def test_a_signal_stops_it_and_nothing_of_it_is_left(home, fake_service, mode, number):
    process = fake_service(mode)
    record = daemon.read_record(home)
    assert len(started_by(record)) == 1
    process.send_signal(number)
    assert said_until_its_end(process) == "stopped\n"
    assert process.returncode == 0
    assert not daemon.pid_file(home).exists()
    assert not started_by(record)


def test_a_second_signal_stops_it_at_once(home, fake_service):
    process = fake_service("slow")
    record = daemon.read_record(home)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "stopping\n"
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in said_until_its_end(process)
    assert not daemon.pid_file(home).exists()
    assert not started_by(record)


def test_a_service_that_fails_says_so_and_leaves_nothing(home, fake_service):
    process = fake_service("dying")
    assert "the dispatcher has ended" in said_until_its_end(process)
    assert process.returncode != 0
    assert not daemon.pid_file(home).exists()


def test_a_home_has_one_service(home, settings, fake_service):
    process = fake_service("good")
    said = rf"is up at http://127\.0\.0\.1:8700 already|\(process {process.pid}\)"
    with pytest.raises(ConflictError, match=said), daemon.claimed(settings):
        pytest.fail("two services in one home")
    assert daemon.read_record(home).pid == process.pid, "the one that was refused changes nothing"


def test_the_key_of_last_time_is_kept(home, fake_service):
    first = fake_service("good")
    assert first.ready_line == "ready tsk_fresh"
    daemon.stop(home)
    said_until_its_end(first)
    (home / "client.json").write_text(json.dumps({"url": "http://127.0.0.1:1", "api_key": "tsk_kept"}))
    assert fake_service("good").ready_line == "ready None", "it is not new, so it is not shown"
    assert json.loads((home / "client.json").read_text())["api_key"] == "tsk_kept"


def test_a_damaged_client_file_is_written_anew(home, fake_service):
    home.mkdir(mode=0o700)
    (home / "client.json").write_text("{")
    fake_service("good")
    assert json.loads((home / "client.json").read_text())["api_key"] == "tsk_fresh"


def test_down_stops_it_and_says_so(home, fake_service):
    process = fake_service("good")
    assert daemon.stop(home) == f"The service (process {process.pid}) has stopped."
    assert said_until_its_end(process) == "stopped\n"
    assert daemon.stop(home) == f"No service is running from {home}."


def test_down_ends_what_does_not_end_by_itself(home, fake_service):
    """`stop_grace_s` is over and the service is still stopping; its worker runs on when it is killed."""
    fake_service("slow")
    record = daemon.read_record(home)
    main = processes.find(record.pid, record.started_s)
    assert processes.end(record.mark, main, timeout_s=0.2, linger_s=0.1) == 2
    assert processes.find(record.pid, record.started_s) is None
    assert not started_by(record)


def test_down_ends_what_a_killed_service_has_left(home, fake_service):
    process = fake_service("good")
    record = daemon.read_record(home)
    process.kill()
    process.wait()
    assert len(started_by(record)) == 1
    said = f"The service (process {process.pid}) had been killed. What it left, 1 process, is ended as well."
    assert daemon.stop(home, linger_s=0.1) == said
    assert not started_by(record)
    assert not daemon.pid_file(home).exists()


def test_a_new_service_ends_what_a_killed_one_has_left(home, settings, fake_service):
    process = fake_service("good")
    record = daemon.read_record(home)
    process.kill()
    process.wait()
    with daemon.claimed(settings):
        assert not started_by(record)


def test_a_process_that_has_got_the_number_of_another_is_not_touched(home, settings):
    """The pid file is of before a reboot, say, and its number now belongs to somebody else."""
    bystander = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        started_s = processes.started_s(bystander.pid)
        assert processes.find(bystander.pid, started_s) is not None
        assert processes.find(bystander.pid, started_s - 60) is None
        home.mkdir()
        record = daemon.PidRecord(bystander.pid, started_s - 60, "another-mark", stop_grace_s=0)
        daemon.write_private(daemon.pid_file(home), msgspec.json.encode(record))
        assert "did not stop in good order" in daemon.stop(home)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_process_that_has_ended_does_not_count_as_running():
    """Also while its parent has not asked how it ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start_s = processes.started_s(process.pid)
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert processes.find(process.pid, start_s) is None
    process.wait()
    assert processes.find(process.pid, start_s) is None


@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")  # it is let go on purpose
def test_detached_it_is_ready_and_goes_on_alone(home, settings, fake_command):
    ready = daemon.detach(settings, fake_command("good"))
    try:
        assert (ready.url, ready.functions, ready.new_key) == ("http://127.0.0.1:8700", ("fake.f",), "tsk_fresh")
        assert ready.try_next == "taskservice submit fake.f --payload '{\"n\": 1}' --wait"
        record = daemon.read_record(home)
        service = psutil.Process(record.pid)
        assert (service.terminal(), len(started_by(record))) == (None, 1)
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
    finally:
        said = daemon.stop(home)
    assert said == f"The service (process {record.pid}) has stopped."


def test_detached_and_not_started_it_says_why(home, settings, fake_command):
    settings.service_log.parent.mkdir(parents=True)
    settings.service_log.write_text("of an earlier run\n")
    with pytest.raises(TaskServiceError, match=r"(?s)ended with 1\. .*reading the app.*cannot be loaded") as failure:
        daemon.detach(settings, fake_command("broken"))
    assert "earlier run" not in failure.value.message
    assert not daemon.pid_file(home).exists()


def test_detached_and_not_started_its_words_are_not_buried_in_what_a_library_logged(home, settings):
    """Ray logs the trace of each actor that dies, before and after: more than is shown of a log."""
    words = "Error: the bucket is not there\\n  the second line"
    chatter = "Traceback (most recent call last):\\n" * 200
    command = [sys.executable, "-c", f"print('{chatter}{words}', flush=True); raise SystemExit(2)"]
    with pytest.raises(TaskServiceError, match=r"ended with 2\. .*\n.*the bucket is not there") as failure:
        daemon.detach(settings, command)
    assert "the second line" in failure.value.message
    assert "Traceback" not in failure.value.message


def test_the_state_is_that_of_the_service_that_runs_unless_somebody_says_otherwise(
    home, settings, fake_service, monkeypatch, tmp_path
):
    monkeypatch.setenv("TASKSERVICE_STATE_DIR", "s3://bucket/prod")  # as by `up --state-dir`: this shell only
    process = fake_service("good")
    monkeypatch.delenv("TASKSERVICE_STATE_DIR")
    assert daemon.state_in_use(settings).state_dir == "s3://bucket/prod"
    assert daemon.state_in_use(load_settings(state_dir=str(tmp_path))).state_dir == str(tmp_path)
    process.kill()
    process.wait()
    assert daemon.state_in_use(settings).state_dir == str(home / "state")
    daemon.stop(home)


def test_detached_and_hanging_it_is_given_up(home, settings):
    impatient = settings.model_copy(update={"ready_timeout_s": 0.1, "load_timeout_s": 0.1})
    hanging = [sys.executable, "-c", "import signal; print('hm', flush=True); signal.pause()"]
    with pytest.raises(TaskServiceError, match=r"(?s)was not ready after .*hm"):
        daemon.detach(impatient, hanging, margin_s=1)
