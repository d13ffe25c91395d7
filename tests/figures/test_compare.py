"""Figures of the Compare page: what is drawn for whom, and that names and verdicts are text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest

from anticollapse.compare import Slice, compare, slices
from anticollapse.data.pairs import PairSet
from anticollapse.doctor import Report
from anticollapse.figures import compare as figures
from anticollapse.figures.style import CURED, FURTHER, RAW, Series
from anticollapse.measures import diagnose
from anticollapse.measures.slices import CONTRIBUTION

SERIES = [Series("raw", RAW), Series("<b>cured</b>+whitening+centring+standardising", CURED), Series("b", FURTHER[0])]


@pytest.fixture(scope="module")
def made():
    n = 48
    words = [f"word{i} " * (1 + i % 9) for i in range(n)]
    pairs = PairSet(
        name="made",
        sentences1=tuple(f"{w} one" for w in words),
        sentences2=tuple(f"{w} two {'three' * (i % 2)}" for i, w in enumerate(words)),
        scores=np.arange(n) % 6.0,
        rows=np.arange(2, n + 2),
    )
    rng = np.random.default_rng(0)
    reports = []
    for k, noise in enumerate((0.8, 0.1, 0.8)):
        angle = np.pi / 2 * (1 - pairs.scores / 5) + noise * rng.normal(size=n)
        vectors = np.tile([1.0, 0.0], (len(pairs.sentences), 1))
        vectors[pairs.index2] = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        diagnosis = diagnose(vectors, pairs.index1, pairs.index2, pairs.scores, n_resamples=100)
        empty = np.zeros(n, bool)
        reports.append(Report(f"e{k}", f"e{k}", "made", diagnosis, np.zeros(3), empty, None, None, 0))
    return compare(reports, pairs, names=[s.name for s in SERIES])


def test_forest_has_a_row_for_each_but_the_reference(made):
    figure = figures.forest_figure(made, SERIES)
    drawn = [trace for trace in figure.data if trace.x[0] is not None]
    assert len(drawn) == 4  # two encoders, two correlations
    spearman = [trace for trace in drawn if trace.marker.symbol == "circle"]
    assert [trace.marker.color for trace in spearman] == [CURED, FURTHER[0]]
    for trace, i in zip(spearman, made.others, strict=True):
        measure = made.encoders[i].differences["spearman"]
        assert trace.x[0] == pytest.approx(measure.value)
        assert trace.x[0] + trace.error_x.array[0] == pytest.approx(measure.interval[1])
        assert trace.x[0] - trace.error_x.arrayminus[0] == pytest.approx(measure.interval[0])
    assert "points" in figure.layout.xaxis.title.text
    assert figure.layout.yaxis.title.text == "encoder"


def test_user_text_is_escaped_everywhere(made):
    for figure in (figures.forest_figure(made, SERIES), figures.slices_figure({1: slices(made, 1)}, SERIES, 0)):
        assert "&lt;b&gt;" in str(figure)
        assert all("<b>cured" not in str(trace) for trace in figure.data)
    assert "<br>" in figures.forest_figure(made, SERIES).layout.yaxis.ticktext[0]


def test_slices_show_every_part_of_every_encoder(made):
    found = {i: slices(made, i) for i in made.others}
    figure = figures.slices_figure(found, SERIES, made.reference)
    bars = [trace for trace in figure.data if isinstance(trace, go.Bar)]
    assert len(bars) == 6  # two encoders, three ways to cut
    for i in made.others:
        mine = [bar for bar in bars if bar.marker.color == SERIES[i].colour]
        for bar in mine:
            assert sum(bar.y) == pytest.approx(made.encoders[i].differences["spearman"].value)
    titles = [figure.layout[axis].title.text for axis in ("xaxis", "xaxis2", "xaxis3")]
    assert titles[0].startswith("human label")
    assert all(titles)
    assert "points" in figure.layout.yaxis.title.text


def test_a_slice_without_pairs_has_no_bar(made):
    found = slices(made, 1)
    empty = [Slice(found[0].by, "none", replace(found[0].result, n=0, contribution=CONTRIBUTION.undefined("none", 0)))]
    bar = figures.slices_figure({1: [*empty, *found]}, SERIES, made.reference).data[0]
    assert bar.y[0] is None
    assert bar.error_y.array[0] == bar.error_y.arrayminus[0] == 0
    assert bar.y[1] == pytest.approx(found[0].result.contribution.value)
    low, high = found[0].result.contribution.interval
    assert (bar.y[1] - bar.error_y.arrayminus[1], bar.y[1] + bar.error_y.array[1]) == pytest.approx((low, high))


def test_alt_texts_say_the_numbers(made):
    alt = figures.forest_alt(made, SERIES)
    value = made.encoders[1].differences["spearman"].value
    assert f"+{value:.1f} [" in alt
    assert "raw" in figures.slices_alt({1: []}, SERIES, 0)


def test_nothing_to_draw_is_an_empty_figure(made):
    alone = compare([made.encoders[0].report], made.pairs, names=["raw"])
    assert not [t for t in figures.forest_figure(alone, SERIES[:1]).data if t.x[0] is not None]
    assert figures.slices_figure({}, SERIES, 0).to_json()
    assert "interval" in figures.forest_alt(alone, SERIES[:1])
