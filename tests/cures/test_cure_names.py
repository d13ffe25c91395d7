"""Names such as BASE+CURE:parameter=value: read, written, refused."""

from __future__ import annotations

import pytest

from anticollapse.cures import CURES, display_name, prescriptions, split_name
from anticollapse.cures.cure import parse_prescription
from anticollapse.errors import OptionError


@pytest.mark.parametrize(
    ("name", "base", "cure"),
    [
        ("raw-mini", "raw-mini", ""),
        ("raw-mini+centring", "raw-mini", "centring"),
        ("raw-mini+whitening:k=128", "raw-mini", "whitening:k=128"),
        ("org/model+first-last+whitening:k=8", "org/model", "first-last+whitening:k=8"),
        ("./a+b/c+centring", "./a+b/c", "centring"),
        ("raw-mini+sif:a=0.001,components=1", "raw-mini", "sif"),  # defaults are not written
        ("raw-mini+sif:components=0,a=1e-4", "raw-mini", "sif:a=0.0001,components=0"),  # one meaning, one spelling
        ("raw-mini+drop-frequent:k=1000000", "raw-mini", "drop-frequent:k=1000000"),  # no 1e+06: + joins cures
    ],
)
def test_split(name, base, cure):
    assert split_name(name) == (base, cure)
    assert split_name(f"{base}+{cure}" if cure else base) == (base, cure)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("raw-mini+nope", 'no cure called "nope"'),
        ("raw-mini+", 'no cure called ""'),
        ("raw-mini+nope+whitening", 'no cure called "nope"'),
        ("raw-mini+whitening:k", 'whitening has k = ""'),
        ("raw-mini+whitening:k=0", "whole number of 1 or more"),
        ("raw-mini+whitening:k=1.5", "whole number"),
        ("raw-mini+whitening:k=nan", "whole number"),
        ("raw-mini+whitening:k=inf", "whole number"),
        ("raw-mini+whitening:k=8,k=9", "no parameter of whitening"),
        ("raw-mini+whitening:d=8", "Its parameters are: k"),
        ("raw-mini+centring:k=8", "Its parameters are: none"),
        ("raw-mini+sif:a=0", "a number from 1e-09 to 1000"),
    ],
)
def test_refused(name, message):
    with pytest.raises(OptionError) as error:
        split_name(name)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_parameters_left_out_have_their_defaults():
    assert dict(parse_prescription("sif", CURES).values) == {"a": 1e-3, "components": 1}
    assert dict(parse_prescription("whitening", CURES).values) == {}  # half of the dimensions, known at fitting
    assert [p.text for p in prescriptions("first-last:first=0+whitening:k=4")] == [
        "first-last:first=0",
        "whitening:k=4",
    ]
    assert prescriptions("") == ()


def test_display_name():
    assert display_name("raw-mini") == "raw-mini"
    assert display_name("raw-mini+first-last+whitening:k=4") == "raw-mini, first-last average, whitened (k = 4)"


def test_every_cure_says_what_it_is():
    for name, cure in CURES.items():
        assert name == cure.name
        assert cure.summary.endswith(".")
        assert cure.url.startswith("https://")
        assert cure.steps
