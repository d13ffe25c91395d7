from __future__ import annotations

import numpy as np
import pytest

from anticollapse.data.scale import recognise_scale, to_five


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([0.0, 0.25, 1.0], "0-1"),
        ([0, 1, 1], "0-1"),
        ([0.0], "0-1"),
        ([0, 2.5, 5], "0-5"),
        ([1, 3, 5], "0-5"),  # too few to say that there is no 0
        ([1, 2, 3, 4, 5] * 20, "1-5"),
        ([1, 2, 3, 4.5] * 30, "0-5"),  # the largest is not 5
        (list(range(0, 101, 10)), "0-100"),
    ],
)
def test_scales_are_recognised(values: list[float], scale: str) -> None:
    finding = recognise_scale(np.array(values, dtype=np.float64))
    assert finding.scale == scale
    assert not finding.outside.any()
    assert finding.note.endswith(".")


@pytest.mark.parametrize(
    ("values", "scale", "outside"),
    [
        ([0.1, 0.9] * 15 + [7], "0-1", [30]),
        ([0.1, 0.9] * 15 + [3], "0-1", [30]),  # one wrong score does not make a 0-5 scale
        ([0, 3.5, 5] * 10 + [45], "0-5", [30]),
        ([-0.5] + [0, 3.5, 5] * 10, "0-5", [0]),
    ],
)
def test_a_few_wrong_scores_do_not_change_the_scale(values: list[float], scale: str, outside: list[int]) -> None:
    finding = recognise_scale(np.array(values, dtype=np.float64))
    assert finding.scale == scale
    assert np.flatnonzero(finding.outside).tolist() == outside


@pytest.mark.parametrize("values", [[0, 3, 45], [7.0], [80, 20, 95], [-1, 0.5, 1], list(range(11)), [-50, 50] * 10])
def test_what_fits_no_scale_is_not_guessed(values: list[float]) -> None:
    finding = recognise_scale(np.array(values, dtype=np.float64))
    assert finding.scale is None
    assert finding.outside.any()


def test_a_stated_scale_wins() -> None:
    finding = recognise_scale(np.array([0.0, 1.0]), given="0-5")
    assert (finding.scale, finding.outside.tolist()) == ("0-5", [False, False])
    assert recognise_scale(np.array([0.0, 3.0]), given="1-5").outside.tolist() == [True, False]


def test_binary_labels_are_said_to_be_binary() -> None:
    assert "binary" in recognise_scale(np.array([0.0, 1.0])).note
    assert "binary" not in recognise_scale(np.array([0.0, 0.5])).note


def test_conversion_by_hand() -> None:
    assert to_five(np.array([0, 0.6, 1]), "0-1").tolist() == [0, 3, 5]
    assert to_five(np.array([1, 3, 5]), "1-5").tolist() == [0, 2.5, 5]
    assert to_five(np.array([0, 20, 100]), "0-100").tolist() == [0, 1, 5]
    assert to_five(np.array([0.123456789012]), "0-5").tolist() == [0.123456789012]


def test_one_score_above_a_hundred_is_what_is_wrong() -> None:
    values = np.array([i * 100 / 31 for i in range(32)])
    values[17] = 140
    finding = recognise_scale(values)
    assert (finding.scale, np.flatnonzero(finding.outside).tolist()) == ("0-100", [17])


@pytest.mark.parametrize(
    ("values", "nearest", "outside"),
    [
        ([10, 20, 95, 140, 50, 60, 70, 80, 90, 30, 40], "0-100", [3]),  # too few to call it a scale
        ([0.5, 1, -1], "0-1", [2]),
        ([0, 3, 45], "0-5", [2]),
        ([80, 20, 95], "0-5", [0, 1, 2]),  # nothing of it is outside 0-100
        ([-50, 50] * 10, "0-5", list(range(20))),
    ],
)
def test_where_no_scale_fits_the_scores_outside_the_nearest_are_named(
    values: list[float], nearest: str, outside: list[int]
) -> None:
    finding = recognise_scale(np.array(values, dtype=np.float64))
    assert (finding.scale, finding.nearest) == (None, nearest)
    assert np.flatnonzero(finding.outside).tolist() == outside
