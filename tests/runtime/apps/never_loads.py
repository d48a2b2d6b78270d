"""An app whose import does not end."""

from __future__ import annotations

import threading

threading.Event().wait()
