"""Canonical JSON and times, for any input."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskservice.gateway.canonical import canonical
from taskservice.gateway.problems import Problem
from taskservice.gateway.times import iso, parse_time_ms

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8) | st.sampled_from(
    ["a", ":", '":', "\\u003a", "\\"]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.booleans(), st.sampled_from([None, 1]))
def test_however_a_value_is_written_its_canonical_text_is_the_same(
    value: object, ascii_only: bool, indent: int | None
) -> None:
    """And it is still the same value."""
    written = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    value_read, text = canonical(written, 64)
    assert value_read == value
    assert json.loads(text) == value
    assert canonical(text, 64).text == text


@given(st.lists(st.tuples(TEXT, JSON), max_size=5), st.booleans(), st.booleans())
def test_a_key_is_refused_exactly_if_it_is_there_twice(
    pairs: list[tuple[str, object]], ascii_only: bool, deep: bool
) -> None:
    """Whatever the keys and values look like, colons and escapes included."""
    members = ",".join(f"{json.dumps(key, ensure_ascii=ascii_only)} : {json.dumps(value)}" for key, value in pairs)
    text = ('[{"x":{%s}}]' if deep else "{%s}") % members
    twice = len({key for key, _ in pairs}) < len(pairs)
    if twice:
        with pytest.raises(Problem) as refused:
            canonical(text.encode(), 64)
        assert refused.value.document.code == "duplicate_json_key"
    else:
        canonical(text.encode(), 64)


def test_a_key_that_is_there_twice_in_a_long_text_is_refused_as_well() -> None:
    """It is only not named."""
    with pytest.raises(Problem):
        canonical(b'{"a":"' + b"x" * 70_000 + b'","a":1}', 64)


@given(st.integers(0, 253_402_300_799_999))
def test_times_come_back_as_they_were_written(ms: int) -> None:
    """To the millisecond, over the whole calendar."""
    assert parse_time_ms(iso(ms)) == ms
    assert parse_time_ms(f"{ms // 1000}.{ms % 1000:03}") == ms
