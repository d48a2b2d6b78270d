"""What `decide` gives: the records to append, and what to tell whoever asked."""

from __future__ import annotations

from msgspec import Struct

from taskservice.core.effects import AnswerValue, Effect
from taskservice.core.records import Record


class Decision(Struct, frozen=True):
    """Chosen, and not yet true. The answer leaves only when the records are durable, unless it is `near`."""

    records: tuple[Record, ...] = ()
    answer: AnswerValue | None = None
    dropped: tuple[str, ...] = ()
    """Keys of values that came with the event and that nothing will refer to."""
    effects: tuple[Effect, ...] = ()
    """What the world is to see again."""
    near: bool = False
    """The answer is for somebody in the same process, who lets nothing out of it before it is durable: it need not wait."""
