"""Batches by token count."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anticollapse.encoding.batching import batches


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 200), max_size=80), st.integers(1, 500))
def test_every_sentence_once_within_the_budget(lengths, budget):
    found = list(batches(np.array(lengths, np.int64), budget))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        widest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or widest * len(batch) <= budget


def test_longest_first():
    first = next(batches(np.array([1, 9, 3], np.int64), 9))
    assert first.tolist() == [1]
