"""Figures of the Collapse page: what is drawn, what tooltips hold, what a selection gives back."""

from __future__ import annotations

import json

import numpy as np
import plotly.graph_objects as go
import pytest

from anticollapse.figures import collapse
from anticollapse.figures.style import (
    CURED,
    RAW,
    Series,
    axis_title,
    colours,
    hover_text,
    panel_titles,
    title_room,
)


def panel(n, name="raw", colour=RAW, seed=0):
    rng = np.random.default_rng(seed)
    bins = np.arange(6.0)
    return collapse.LabelPanel(
        Series(name, colour), rng.uniform(0.2, 1, n), bins, bins / 5, bins / 5 - 0.1, bins / 5 + 0.1, np.full(6, n)
    )


def texts(n, first="a <b>bold</b> & 'quoted' text", selected=()):
    return collapse.PairTexts(np.arange(2, n + 2), [first] * n, ["二 😀"] * n, selected)


@pytest.mark.parametrize("n", [30, collapse.FEW + 1])
def test_one_panel_an_encoder_with_shared_axes(n):
    scores = np.arange(n) % 6.0
    figure = collapse.label_figure([panel(n), panel(n, "cured", CURED, 1)], scores, texts(n))
    points = [trace for trace in figure.data if trace.customdata is not None and trace.mode == "markers"]
    assert {type(trace) for trace in points} == {go.Scatter if n < collapse.FEW else go.Scattergl}
    assert [trace.marker.color for trace in points] == [RAW, CURED]
    assert points[0].xaxis != points[1].xaxis
    assert figure.layout.yaxis2.matches == "y"
    # jitter never moves a point towards another label
    assert np.abs(np.array(points[0].x) - scores).max() < 0.5
    np.testing.assert_array_equal(np.array(points[0].customdata)[:, 0], np.arange(n))


def test_tooltips_hold_the_whole_sentence_escaped():
    figure = collapse.label_figure([panel(3)], np.array([0.0, 2.5, 5]), texts(3))
    shown = figure.data[0].text[0]
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; &#x27;quoted&#x27; text" in shown
    assert "<script" not in collapse.label_figure([panel(1)], np.zeros(1), texts(1, "<script>x</script>")).to_json()
    assert "二 😀" in shown


def test_graded_labels_are_not_moved():
    scores = np.linspace(0, 5, 40)
    figure = collapse.label_figure([panel(40)], scores, texts(40))
    np.testing.assert_allclose(np.array(figure.data[0].x), scores)


def test_many_points_become_a_density_that_counts_each_pair_once():
    n = collapse.DENSE_ABOVE + 1
    scores = np.random.default_rng(0).uniform(0, 5, n)
    figure = collapse.label_figure([panel(n)], scores, texts(n))
    (heat,) = [trace for trace in figure.data if isinstance(trace, go.Heatmap)]
    assert int(np.array(heat.customdata).sum()) == n
    assert not any(getattr(trace, "mode", "") == "markers" for trace in figure.data)
    assert len(figure.to_json()) < 500_000


def test_selected_points_are_ringed():
    figure = collapse.label_figure([panel(10)], np.arange(10) % 6.0, texts(10, selected=(7, 2)))
    ring = next(trace for trace in figure.data if trace.name == "chosen")
    np.testing.assert_allclose(ring.y, np.array(figure.data[0].y)[[2, 7]])


def test_missing_cosines_do_not_break_the_figure():
    one = panel(4)
    one.cosines[:] = np.nan
    json.loads(collapse.label_figure([one], np.arange(4.0), texts(4)).to_json())


@pytest.mark.parametrize(
    "points",
    [[{"customdata": [3]}, {"customdata": [1]}, {"customdata": [3]}], [{"customdata": {"0": 3}}, {"customdata": [1]}]],
)
def test_selection(points):
    assert collapse.selected_positions([*points, {"x": 1}, "no point"]) == [1, 3]


def test_histogram_shares_add_up_and_empty_is_fine():
    series = [Series("raw", RAW), Series("none", CURED)]
    figure = collapse.unrelated_histogram(series, [np.array([0.5, 0.6, np.nan, 1.0]), np.array([])])
    assert sum(figure.data[0].y) == pytest.approx(100)
    assert "mean 0.70" in figure.data[0].name


def test_spectrum_of_constant_vectors_shows_one_direction():
    values = np.array([3.0, 0, 0])
    figure = collapse.spectrum_figure([collapse.SpectrumCurve(Series("raw", RAW), values, np.zeros(3))])
    assert len(figure.data) == 1
    assert list(figure.data[0].y) == [100.0]


def test_colours_raw_is_blue_and_the_first_cure_green():
    names = ["b", "a", "a+x", "a+y", "c"]
    found = colours(names, [True, True, False, False, True])
    assert (found["b"], found["a+x"]) == (RAW, CURED)
    assert len(set(found.values())) == 5


def test_panel_titles_fit_and_keep_the_whole_name_where_there_is_room():
    assert [plain(one) for one in panel_titles(["raw-mini", "a<b>"], 2)] == [["raw-mini"], ["a&lt;b&gt;"]]
    long = "raw-mini+first-last+whitening:k=224"
    assert plain(panel_titles([long], 1)[0]) == [long]
    lines = plain(panel_titles([long], 3)[0])
    assert "".join(lines) == long
    assert lines == ["raw-mini", "+first-last", "+whitening:k=224"]
    lines = plain(panel_titles(["x" * 100], 2)[0])
    assert (len(lines), lines[-1][-1]) == (3, "…")
    assert title_room(panel_titles([long, "raw"], 3)) == 17 * 2
    assert axis_title("dimension, largest contribution first", 2).split("<br>") == [
        "dimension, largest",
        "contribution first",
    ]


def plain(title):
    return title.partition(">")[2].removesuffix("</span>").split("<br>")


def test_hover_text_wraps_and_ends():
    text = hover_text("word " * 500)
    assert text.count("<br>") == 7
    assert text.endswith("…")


def test_pairs_without_labels_show_their_cosines():
    figure = collapse.pair_strip([panel(5), panel(5, "cured", CURED)])
    assert [trace.line.color for trace in figure.data] == [RAW, CURED]
    assert sum(figure.data[0].y) == pytest.approx(100)
    million = np.random.default_rng(0).uniform(0, 1, 1_000_000)
    large = collapse.LabelPanel(Series("raw", RAW), million, *[np.zeros(6)] * 5)
    assert len(collapse.pair_strip([large]).to_json()) < 100_000


def test_many_panels_become_a_density_sooner():
    assert not collapse.is_dense(20_000, 2)
    assert collapse.is_dense(20_000, 3)
    assert collapse.is_dense(20_001, 1)
