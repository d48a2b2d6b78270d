"""What all tests stand on."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Processes that tests start can be interrupted. A shell's background job ignores SIGINT, and so do its children."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
