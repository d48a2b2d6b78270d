"""`up` and `down`: what they refuse, and what they tell. A service that runs is in tests/ray."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys

import jsonschema_rs
import pytest

from taskservice.cli.deploying import parse_app
from taskservice.cli.sample import sample, sample_command
from taskservice.cli.serving import serve
from taskservice.cli.up import is_loopback
from taskservice.config import load_settings
from taskservice.errors import RequestError


def test_an_app_is_a_module_and_a_name(tmp_path):
    bundle = parse_app("shop.tasks:app", tmp_path)
    assert (bundle.module, bundle.attribute, bundle.path) == ("shop.tasks", "app", str(tmp_path))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("shop/tasks.py:app", "shop.tasks:app"),
        ("./shop/tasks.py", "shop.tasks:app"),
        ("tasks", "tasks:app"),
        ("tasks.py:main", "tasks:main"),
        (":app", "tasks:app"),
        ("tasks:app.sub", "tasks:app.sub"),
    ],
)
def test_what_is_no_app_is_told_what_it_should_be(tmp_path, text, hint):
    with pytest.raises(RequestError, match=re.escape(f"such as {hint}")):
        parse_app(text, tmp_path)


@pytest.mark.parametrize(
    "arguments", [["--app", "x.py"], ["--app", "x:app", "--port", "0"], ["--app=x:app", "--state-dir=s3://b"]]
)
def test_up_refuses_wrong_use_with_2(run, home, arguments):
    done = run("up", *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: ")
    assert not home.exists()


def test_detached_up_says_why_it_did_not_start(home):
    """All the way through a process of its own: the port is taken, so no Ray is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "taskservice", "up", "--app", "x:app", "--port", str(port), "-d"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr
    assert str(home / "logs" / "service.log") in done.stderr
    assert "Traceback" not in done.stderr
    assert not (home / "taskservice.pid").exists()


def test_up_where_a_service_runs_says_so(home, fake_service):
    process = fake_service("good")
    done = subprocess.run(
        [sys.executable, "-m", "taskservice", "up", "--app", "x:app"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"is up at http://127.0.0.1:8700 (process {process.pid}) already" in done.stderr


def test_down_where_nothing_runs_is_well(run, home):
    done = run("down")
    assert (done.exit_code, done.stdout) == (0, f"No service is running from {home}.\n")


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("example.org", False),
    ],
)
def test_what_other_machines_can_reach_is_known(host, loopback):
    assert is_loopback(host) is loopback


def test_where_all_addresses_are_listened_on_clients_of_this_machine_use_loopback(home):
    class Service:
        url = "http://0.0.0.0:8701"
        ray_temp_dir = None
        tenants = "one"
        functions = ()

        def ensure_key(self, secret):
            return "tsk_1"

        def wait(self, stop):
            told.append("waited")

        def stop(self):
            told.append("stopped")

    told = []
    settings = load_settings(host="0.0.0.0", port=8701)
    serve(settings, [], lambda settings, bundles: Service(), lambda ready: told.append(ready.url))
    assert told == ["http://127.0.0.1:8701", "waited", "stopped"]
    assert json.loads((home / "client.json").read_text())["url"] == "http://127.0.0.1:8701"


def test_a_signal_that_ray_has_caught_while_it_starts_is_an_interruption(home):
    def start(settings, bundles):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(15)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        serve(load_settings(), [], start, lambda ready: None)
    assert signal.getsignal(signal.SIGTERM) == before, "and what was to happen at signals is what it was"
    assert not (home / "taskservice.pid").exists()


SCHEMAS = [
    {"type": "object", "properties": {"url": {"type": "string"}, "n": {"type": "integer"}}, "required": ["url"]},
    {"properties": {"n": {"type": "integer", "minimum": 5}, "f": {"type": "number"}}, "required": ["n", "f"]},
    {"type": "object", "properties": {"c": {"enum": ["red", "blue"]}, "d": {"const": 3}}, "required": ["c", "d"]},
    {"type": "object", "properties": {"xs": {"type": "array", "items": {"type": "integer"}, "minItems": 2}}, "required": ["xs"]},
    {"type": "object", "properties": {"o": {"anyOf": [{"type": "null"}, {"type": "string"}]}}, "required": ["o"]},
    {
        "$defs": {"Point": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
        "type": "object",
        "properties": {"p": {"$ref": "#/$defs/Point"}},
        "required": ["p"],
    },
    {"type": "object", "properties": {"b": {"type": ["boolean", "null"]}, "m": {"type": "object"}}, "required": ["b", "m"]},
    {},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_sample_of_a_schema_is_valid_for_it(schema):
    value = sample(schema, schema)
    assert jsonschema_rs.is_valid(schema, value)


def test_a_schema_that_holds_itself_has_an_end():
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}, "required": ["next"]}
    assert "next" in sample({"$ref": "#/$defs/Node", "$defs": {"Node": node}}, {"$defs": {"Node": node}})


def test_the_command_to_try_can_be_pasted():
    schema = {"type": "object", "properties": {"name": {"const": "it's"}}, "required": ["name"]}
    command = sample_command("a.f", schema)
    shown = subprocess.run(["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines() == ["taskservice", "submit", "a.f", "--payload", '{"name": "it\'s"}', "--wait"]
