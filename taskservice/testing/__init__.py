"""For tests of handlers: one attempt alone, and a whole service in memory with a clock that the test moves.

    attempt = run(app, thumbnail, {"url": "http://example.com/a.png", "sizes": [64]}, attempt=2)
    assert attempt.result == ...

    with Service(app) as service:
        task = service.client.submit("media.thumbnail", {...}, delay="5m")
        service.advance("5m")
        assert task.result() == ...

Handlers run in the test's own process and thread, so debuggers, `monkeypatch` and coverage reach them. No Ray, disk or network.
`alone`: one attempt; `memory_service`: what tests use; `desk`: the core behind the gateway; `machine`: makes the attempts of leases;
`wire`: the way from a client to the gateway.
"""

from __future__ import annotations

from taskservice.testing.alone import Attempt, run
from taskservice.testing.memory_service import Service

__all__ = ["Attempt", "Service", "run"]
