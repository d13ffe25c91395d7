from __future__ import annotations

import numpy as np
import pytest

from anticollapse.data import ColumnMap, Limits, PairSet, concatenate, normalise
from anticollapse.errors import DataError, OptionError


def make(first: list[str], second: list[str] | None, scores: list[float] | None = None) -> PairSet:
    return PairSet(
        name="made",
        sentences1=tuple(first),
        sentences2=None if second is None else tuple(second),
        scores=None if scores is None else np.array(scores),
        rows=np.arange(1, len(first) + 1),
    )


def test_distinct_sentences_come_row_by_row_in_order_of_first_appearance() -> None:
    pairs = make(["a", "c", "a"], ["b", "a", "b"])
    assert pairs.sentences == ("a", "b", "c")
    assert pairs.index1.tolist() == [0, 2, 0]
    assert pairs.index2 is not None
    assert pairs.index2.tolist() == [1, 0, 1]
    assert tuple(pairs.sentences[i] for i in pairs.index1) == pairs.sentences1


def test_single_sentences_have_no_second_side() -> None:
    pairs = make(["a", "b", "a"], None)
    assert (pairs.sentences, pairs.index2, pairs.has_pairs, pairs.labelled) == (("a", "b"), None, False, False)
    with pytest.raises(DataError, match="made: there is one sentence a row"):
        pairs.require_pairs()
    with pytest.raises(DataError, match="carry no scores"):
        pairs.require_scores()


def test_digest_is_of_the_content_alone() -> None:
    pairs = make(["ab", "c"], ["x", "y"], [1, 2])
    other = PairSet(
        name="another",
        sentences1=("ab", "c"),
        sentences2=("x", "y"),
        scores=np.array([1.0, 2.0]),
        rows=np.array([7, 9]),
    )
    assert pairs.digest == other.digest
    assert len({pairs.digest, make(["a", "bc"], ["x", "y"], [1, 2]).digest, make(["ab", "c"], ["x", "y"]).digest}) == 3
    assert make(["ab", "c"], ["x", "y"], [1, 3]).digest != pairs.digest
    assert make(["a", "b"], None).digest != make(["a"], ["b"]).digest


@pytest.mark.parametrize("indices", [[2, 0], np.array([2, 0]), [-1, 0], np.array([-1, 0])])
def test_subset_by_positions(indices: object) -> None:
    pairs = make(["a", "b", "c"], ["x", "y", "z"], [0, 1, 2]).subset(indices)
    assert (pairs.sentences1, pairs.sentences2, pairs.rows.tolist()) == (("c", "a"), ("z", "x"), [3, 1])
    assert pairs.require_scores().tolist() == [2, 0]


def test_subset_by_mask_and_of_nothing() -> None:
    pairs = make(["a", "b", "c"], ["x", "y", "z"], [0, 1, 2])
    assert pairs.subset(np.array([True, False, True])).sentences1 == ("a", "c")
    assert pairs.subset([]).n == 0
    assert pairs.subset([]).sentences == ()
    with pytest.raises(IndexError):
        pairs.subset([3])
    with pytest.raises(IndexError):
        pairs.subset(np.array([True, False]))


def test_repeats_compare_normalised_and_in_either_order() -> None:
    pairs = make(["caf\u00e9 au lait", "x", "CAF\u00c9 AU LAIT"], ["x", "cafe\u0301  au lait ", "x"])
    assert pairs.repeats.tolist() == [False, True, False]


def test_normalise_folds_canonical_forms_and_whitespace_only() -> None:
    assert normalise(" e\u0301\t\u3000x\n") == "\u00e9 x"
    assert normalise("x\u00b2") == "x\u00b2"  # compatibility forms are different text
    assert normalise("US") != normalise("us")


def test_arrays_cannot_be_written() -> None:
    pairs = make(["a"], ["b"], [1])
    with pytest.raises(ValueError, match="read-only"):
        pairs.require_scores()[0] = 2


def test_parts_of_different_length_are_a_bug() -> None:
    with pytest.raises(ValueError, match="different lengths"):
        make(["a", "b"], ["x"])


def test_concatenate_keeps_order_and_refuses_a_mix() -> None:
    both = concatenate("all", [make(["a"], ["b"], [1]), make(["c"], ["d"], [2])])
    assert (both.name, both.sentences1, both.sentences2, both.rows.tolist()) == ("all", ("a", "c"), ("b", "d"), [1, 1])
    assert both.require_scores().tolist() == [1, 2]
    with pytest.raises(DataError, match="differ"):
        concatenate("all", [make(["a"], ["b"], [1]), make(["c"], ["d"])])


def test_limits_must_be_positive() -> None:
    with pytest.raises(OptionError, match="max_rows is 0"):
        Limits(max_rows=0)
    assert ColumnMap() == ColumnMap(sentence1=None)
