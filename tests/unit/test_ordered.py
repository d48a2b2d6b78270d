"""Keys in order, against a plain sorted list."""

from __future__ import annotations

from bisect import insort
from random import Random

import pytest

from taskservice.journal.store.ordered import SPARE_MAX, Ordered


@pytest.mark.parametrize("seed", range(20))
def test_it_is_as_a_sorted_list(seed):
    """Mostly added at the end and removed at the beginning, as tasks are; sometimes anywhere."""
    rng = Random(seed)
    ordered, plain = Ordered(), []
    for number in range(1_500):
        if plain and rng.random() < rng.choice([0.3, 0.7]):
            gone = plain[0] if rng.random() < 0.8 else rng.choice(plain)
            ordered.remove(gone)
            plain.remove(gone)
        else:
            key = (number, 0) if rng.random() < 0.8 else (rng.randrange(number + 1), number)
            ordered.add(key)
            insort(plain, key)
        assert ordered.first == (plain[0] if plain else None)
        if number % 10 == 0:
            low = rng.choice([None, (rng.randrange(number + 1), 0), *plain[:3]])
            high = rng.choice([None, (rng.randrange(number + 2),)])
            within = [key for key in plain if (low is None or key >= low) and (high is None or key < high)]
            assert ordered.within(low, high, 7) == within[:7]
            assert ordered.copy().within(None, None, len(plain) + 1) == plain


def test_what_is_gone_is_let_go():
    ordered = Ordered()
    for number in range(10_000):
        ordered.add((number,))
    for number in range(10_000):
        ordered.remove((number,))
    assert len(ordered._keys) <= 2 * SPARE_MAX
