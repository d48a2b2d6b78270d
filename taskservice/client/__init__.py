"""The service from Python: `Client` and `AsyncClient`.

Both are thin shells around the same conversations:

    requests       what can be asked: paths, parameters, bodies            schedules: the same for schedules
    conversation   asking until it helps or cannot; waiting for results; batches; pages      mapping: `map`
    transfers      files: importing (with rows, checking, refusals), exporting (with export_columns), progress, flights
    logs           reading logs, and following them
    answers        values and errors from what comes back
    steps, wire    what a conversation consists of, and how its steps are taken over httpx
    client, aio    the shells        handle: what both kinds of task handle know        discovery: where, with which key
"""

from __future__ import annotations

from taskservice.client.aio import AsyncClient, AsyncTaskHandle
from taskservice.client.answers import BatchAnswer, ItemResult
from taskservice.client.client import Client, TaskHandle
from taskservice.client.exporting import ExportSummary
from taskservice.client.importing import ImportSummary
from taskservice.client.logs import LogLine
from taskservice.client.progress import TransferProgress
from taskservice.client.refusals import Refusal

__all__ = [
    "AsyncClient", "AsyncTaskHandle", "BatchAnswer", "Client", "ExportSummary", "ImportSummary", "ItemResult", "LogLine",
    "Refusal", "TaskHandle", "TransferProgress",
]  # fmt: skip
