"""The same app under another name: another bundle."""

from __future__ import annotations

from sample import app

__all__ = ["app"]
