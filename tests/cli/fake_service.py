"""A service in the foreground as `taskservice up` runs it, with processes of its own, and without Ray.

    python fake_service.py MODE [--ready-fd N]

good: stops all it has started.   careless: leaves a process in a session of its own behind.   slow: takes for ever to
stop.   broken: does not get ready.   dying: ends by an error when it is ready.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading

from taskservice.cli.daemon import tell_ready
from taskservice.cli.serving import serve
from taskservice.config import load_settings
from taskservice.core.specs import Bundle, FunctionSpec
from taskservice.core.types import FunctionName
from taskservice.errors import RequestError, ServiceBug

WORKER = "import signal; signal.alarm(90); signal.pause()"
"""Ends by itself at last: a test that kills its parent has no hand on it."""
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


class FakeService:
    """What `actors.deploy.Service` is, with one process of its own."""

    url = "http://127.0.0.1:8700"
    ray_temp_dir = None
    tenants = "all are one"
    functions = (FunctionSpec(FunctionName("fake.f"), Bundle("fake", "app", "."), json.dumps(SCHEMA).encode()),)

    def __init__(self, mode):
        self.mode = mode
        self.worker = subprocess.Popen([sys.executable, "-c", WORKER], start_new_session=True)

    def ensure_key(self, secret):
        return secret or "tsk_fresh"

    def wait(self, stop):
        if self.mode == "dying":
            raise ServiceBug("the dispatcher has ended")
        stop.wait()

    def stop(self):
        if self.mode == "slow":
            print("stopping", flush=True)
            threading.Event().wait()
        if self.mode != "careless":
            self.worker.terminate()
            self.worker.wait()


def start(settings, bundles):
    if mode == "broken":
        print("reading the app", flush=True)
        raise RequestError("the app cannot be loaded")
    return FakeService(mode)


def on_ready(ready):
    if "--ready-fd" in sys.argv:
        tell_ready(int(sys.argv[-1]), ready)
    print(f"ready {ready.new_key}", flush=True)


mode = sys.argv[1]
serve(load_settings(stop_grace_s=1), [], start, on_ready)
print("stopped", flush=True)
