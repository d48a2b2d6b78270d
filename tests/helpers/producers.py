"""Producers that speak plain HTTP, keep all that they are told, and try again under the same id until it is accepted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx

from helpers.live import Live, asking


class Refusal(NamedTuple):
    """An answer that was no 2xx, or none at all."""

    status: int
    """0 if the connection broke."""
    retry_after: str | None
    seconds: float
    """From the question to the answer."""
    text: str


class Producers:
    """Several threads that submit tasks of a function. `acknowledged` grows while they do."""

    def __init__(self, live: Live, function: str = "work.noop") -> None:
        self._live = live
        self._function = function
        self._lock = threading.Lock()
        self._pause = threading.Event()
        self.acknowledged: set[str] = set()
        self.refusals: list[Refusal] = []
        self.slowest_s = 0.0
        """Of all answers, good and bad."""

    def submit(self, shares: Sequence[Sequence[Sequence[str]]]) -> None:
        """Every id was acknowledged: each thread submits its share, request after request. One id goes by itself."""
        with ThreadPoolExecutor(len(shares)) as threads:
            for _ in threads.map(self._submit_share, shares):
                pass

    def _submit_share(self, share: Sequence[Sequence[str]]) -> None:
        with asking(self._live) as http:
            for ids in share:
                while not self._was_accepted(http, ids):
                    self._pause.wait(0.2)

    def _was_accepted(self, http: httpx.Client, ids: Sequence[str]) -> bool:
        tasks = [{"id": id, "function": self._function, "payload": {"i": 1}} for id in ids]
        post: Callable[[], httpx.Response] = (
            (lambda: http.post("/v1/tasks", json=tasks[0]))
            if len(ids) == 1
            else (lambda: http.post("/v1/tasks/batch", json={"tasks": tasks}))
        )
        began_s = time.monotonic()
        try:
            answer = post()
        except httpx.TransportError as error:
            return self._note(began_s, 0, None, repr(error))
        if not answer.is_success:
            return self._note(began_s, answer.status_code, answer.headers.get("retry-after"), answer.text)
        items = answer.json()["results"] if len(ids) > 1 else [{"id": ids[0], "status": "accepted"}]
        assert [item["id"] for item in items] == list(ids)
        assert {item["status"] for item in items} <= {"accepted", "duplicate"}, answer.text[:500]
        with self._lock:
            self.acknowledged.update(ids)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
        return True

    def _note(self, began_s: float, status: int, retry_after: str | None, text: str) -> bool:
        seconds = time.monotonic() - began_s
        with self._lock:
            self.refusals.append(Refusal(status, retry_after, seconds, text))
            self.slowest_s = max(self.slowest_s, seconds)
        return False
