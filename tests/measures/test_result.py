from __future__ import annotations

import json

import numpy as np
import pytest

from anticollapse.measures.result import Definition, format_number, to_plain

ROW = Definition("k", "K", "unit", "It means this.", "0 is healthy", "pairs", "lower")


def test_describe_gives_value_interval_and_n():
    assert ROW.measured(0.6234, (0.6119, 0.6349), 1379).describe() == "0.62 [0.61, 0.63], n = 1,379"
    assert ROW.measured(44.53, (40.12, 48.81), 1379).describe() == "44.5 [40.1, 48.8], n = 1,379"
    assert ROW.measured(-0.5, None, 2).describe() == "−0.50, n = 2"


def test_describe_shows_the_decimals_that_a_narrow_interval_needs():
    assert ROW.measured(0.9193, (0.9192, 0.9194), 100_000).describe() == "0.9193 [0.9192, 0.9194], n = 100,000"
    assert ROW.measured(0.0131, None, 5).describe() == "0.013, n = 5"


def test_undefined_says_why_and_has_no_value():
    measure = ROW.undefined("all labels are equal", 7)
    assert measure.describe() == "undefined because all labels are equal"
    assert measure.value is None
    assert not measure.defined


def test_json_is_plain_whatever_the_details_hold():
    details = {"array": np.arange(2), "scalar": np.float32(0.5), "nan": float("nan"), "nested": {"t": (np.int64(1),)}}
    text = json.dumps(ROW.measured(np.float64(1.5), (1.0, np.float64(2.0)), 3, details).to_json(), allow_nan=False)
    back = json.loads(text)
    assert back["interval"] == [1.0, 2.0]
    assert back["details"] == {"array": [0, 1], "scalar": 0.5, "nan": None, "nested": {"t": [1]}}
    assert back["better"] == "lower"


def test_a_measure_cannot_be_changed():
    measure = ROW.measured(1.0, None, 1, {"a": 1})
    with pytest.raises(AttributeError):
        measure.value = 2.0
    with pytest.raises(TypeError):
        measure.details["a"] = 2


def test_format_number_has_no_negative_zero():
    assert format_number(-0.001, 2) == "0.00"
    assert format_number(-1234.5, 1) == "−1,234.5"


def test_to_plain_keeps_text_and_none():
    assert to_plain({"a": "x", "b": None, "c": np.inf}) == {"a": "x", "b": None, "c": None}
