"""`python -m taskservice` is `taskservice`."""

from __future__ import annotations

from taskservice.cli.main import main

main()
