"""Conversations with the service without I/O, on a clock of our own."""

from __future__ import annotations

import json

from taskservice.client.conversation import Patience, Talk
from taskservice.client.steps import Emit, Pause, Reply, Send


class World:
    """A clock that goes on when somebody pauses or waits, and a service that answers by a function."""

    def __init__(self, answer, **patience):
        self.answer = answer
        self.now_s = 0.0
        self.sent = []
        self.pauses = []
        self.talk = Talk(Patience(clock_s=lambda: self.now_s, draw=lambda: 1.0, **patience))

    def stream(self, conversation):
        """What the conversation emits, and its result as the last."""
        heard = None
        while True:
            try:
                step = conversation.send(heard)
            except StopIteration as end:
                yield end.value
                return
            heard = None
            if isinstance(step, Emit):
                yield step.value
            elif isinstance(step, Pause):
                self.pauses.append(step.seconds)
                self.now_s += step.seconds
            else:
                assert isinstance(step, Send)
                self.sent.append(step)
                heard = self.answer(step.request)
                if isinstance(heard, Reply) and b"not_ended" in heard.body:
                    self.now_s += step.request.wait_s  # the service has waited

    def run(self, conversation):
        *_, result = self.stream(conversation)
        return result


def replies(*answers):
    """A service that gives these answers one after the other."""
    left = iter(answers)
    return lambda request: next(left)


def ok(value):
    return Reply(200, json.dumps(value).encode(), {"content-type": "application/json"})


def problem(status, code="some_code", headers=None, **more):
    body = json.dumps({"status": status, "code": code, "detail": "why", **more}).encode()
    return Reply(status, body, {"content-type": "application/problem+json", **(headers or {})})
