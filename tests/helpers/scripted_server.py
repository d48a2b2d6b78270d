"""A real HTTP server that answers as it is told."""

from __future__ import annotations

import json
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HANG_UP = object()
"""Instead of an answer: the connection is closed."""


@dataclass
class Asked:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def lines(self):
        return [json.loads(line) for line in self.body.splitlines()]


@dataclass
class Scripted:
    """The server's side: what it answers next, and what it was asked. An answer may be a function of what was asked."""

    url: str
    answers: deque = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)

    def answer(self, body=None, status=200, headers=None, *, text=None):
        """One more answer: a JSON value, or text."""
        raw = json.dumps(body).encode() if text is None else text.encode()
        kind = "application/json" if text is None else "text/plain"
        self.answers.append((status, {"content-type": kind, **(headers or {})}, raw))

    def problem(self, status, code, detail="it says why", headers=None, **more):
        """One more answer: a refusal."""
        body = {"type": f"urn:x:{code}", "title": code, "status": status, "detail": detail, "code": code, **more}
        self.answer(body, status, {"content-type": "application/problem+json", **(headers or {})})

    def hang_up(self):
        self.answers.append(HANG_UP)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20

    def _respond(self):
        script = self.server.script
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        asked = Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
        script.asked.append(asked)
        answer = script.answers.popleft() if script.answers else (500, {}, b"the test's script has no further answer")
        if callable(answer):
            answer = answer(asked)
        if answer is HANG_UP:
            self.close_connection = True
            return
        status, headers, raw = answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PATCH = do_DELETE = _respond  # noqa: N815 - the names that http.server looks for

    def log_message(self, *args):
        """What was asked is in the script."""


@contextmanager
def scripted_server():
    """A scripted server on a port of its own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as http:
        http.daemon_threads = True
        http.script = Scripted(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield http.script
        http.shutdown()
        thread.join()
