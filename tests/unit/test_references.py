"""References to large values: told from JSON by the first byte, compared by what they refer to."""

from __future__ import annotations

import hashlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskservice.core.values import MARK, ValueRef, digest, is_value_key, keys_of, ref_of, referring, same

KEY = f"value/dt=2026-02-03/{'0a' * 16}"
OTHER = f"value/dt=2026-02-04/{'0b' * 16}"


def reference(text: bytes, key: str = KEY) -> bytes:
    return referring(ValueRef(key, len(text), hashlib.sha256(text).digest()))


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)


@given(JSON)
def test_no_json_text_is_a_reference(value):
    text = msgspec.json.encode(value)
    assert ref_of(text) is None
    assert keys_of(text, None) == ()


def test_a_reference_comes_back_as_it_was():
    assert ref_of(reference(b"{}")) == ValueRef(KEY, 2, hashlib.sha256(b"{}").digest())
    assert keys_of(b"{}", reference(b"{}"), None, reference(b"[]", OTHER)) == (KEY, OTHER)


def test_values_are_the_same_wherever_they_are():
    assert same(b"{}", b"{}")
    assert not same(b"{}", b"[]")
    assert same(reference(b"{}"), reference(b"{}", OTHER))
    assert same(reference(b"{}"), b"{}"), "the limit may have been another one"
    assert same(b"{}", reference(b"{}"))
    assert not same(reference(b"[]"), b"{}")
    assert not same(reference(b"[]"), reference(b"{}"))
    assert digest(b"{}") == digest(reference(b"{}"))


@pytest.mark.parametrize(
    "key",
    [
        "",
        "value/",
        "log/00000001/0000000001",
        "manifest/000000000001",
        f"value/dt=2026-02-03/../{'0a' * 16}",
        f"value/dt=2026-02-03/{'0A' * 16}",
        f"value/dt=2026-02-03/{'0a' * 16}/x",
        f"value/dt=2026-02-03/{'0a' * 16}\n",
        f"value/dt=٢٠٢٦-02-03/{'0a' * 16}",
        f"x/{KEY}",
    ],
)
def test_nothing_but_a_values_key_is_ever_referred_to(key):
    assert not is_value_key(key)
    with pytest.raises(ValueError, match="no value's key"):
        ref_of(reference(b"{}", key))


@pytest.mark.parametrize("rest", [b"", b"garbage", b"\x90", msgspec.msgpack.encode([KEY]), b"\x01"])
def test_what_is_neither_json_nor_a_reference_is_an_error(rest):
    with pytest.raises(ValueError, match="no reference"):
        ref_of(MARK + rest)
