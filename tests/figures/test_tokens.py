"""Figures of the Tokens page: what is drawn for two encoders, what tooltips hold, and the edges."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import plotly.graph_objects as go
import pytest

from anticollapse.cures import cure_encoder
from anticollapse.data import PairSet
from anticollapse.encoding import load_encoder
from anticollapse.explain import examine_tokens, explain_pair
from anticollapse.figures import tokens as figures
from anticollapse.figures.attribution import attribution_figure
from anticollapse.figures.style import CURED, RAW, Series
from anticollapse.measures.attribution import Attribution

TEXT = [
    f"{a} {b} is {c}{d}"
    for a in ("a", "the", "two")
    for b in ("man", "dog", "cats")
    for c in ("red", "big")
    for d in (".", " , not")
]
SERIES = [Series("raw & plain", RAW), Series("cured", CURED)]


@pytest.fixture(scope="module")
def encoders(tiny_encoder):
    raw = load_encoder(tiny_encoder, device="cpu")
    return raw, cure_encoder(raw, "whitening:k=5", TEXT)


@pytest.fixture(scope="module")
def reports(encoders):
    n = len(TEXT) // 2
    pairs = PairSet(
        name="here",
        sentences1=tuple(TEXT[:n]),
        sentences2=tuple(TEXT[n:]),
        scores=np.random.default_rng(0).integers(0, 6, n).astype(float),
        rows=np.arange(1, n + 1),
    )
    return [examine_tokens(encoder, pairs, by_layer=True, ks=(0, 1, 2, 5, 40)) for encoder in encoders]


def valid(figure):
    """A figure that can be sent to a browser: JSON without NaN, axis titles, 480 pixels or more."""
    text = figure.to_json()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in the figure"))
    assert figure.layout.height >= 480
    assert figure.layout.xaxis.title.text or figure.layout.xaxis2.title.text
    assert figure.layout.yaxis.title.text
    return text


def test_shares(reports):
    uses = [report.use for report in reports]
    figure = figures.share_figure(SERIES, uses)
    valid(figure)
    grey, raw, _, cured = figure.data
    np.testing.assert_allclose(grey.y, [100 * band.token_share for band in uses[0].bands])
    np.testing.assert_allclose(cured.y, [100 * band.vector_share.value for band in uses[1].bands])
    assert (raw.marker.color, cured.marker.color) == (RAW, CURED)
    np.testing.assert_allclose(
        np.array(raw.y) + raw.error_y.array, [100 * band.vector_share.interval[1] for band in uses[0].bands]
    )


def test_bands_that_one_encoder_lacks_keep_their_place(reports):
    use = reports[0].use
    first = replace(use, bands=(replace(use.bands[0], name="special"), replace(use.bands[1], name="101–1,000")))
    second = replace(use, bands=(replace(use.bands[1], name="1–10"), replace(use.bands[1], name="11–100")))
    figure = figures.share_figure(SERIES, [first, second])
    expected = ("special", "1–10", "11–100", "101–1,000")
    assert figure.layout.xaxis.categoryorder == "array"
    assert figure.layout.xaxis.categoryarray == figure.layout.xaxis2.categoryarray == expected


def test_norms_stand_over_the_reference(reports):
    use = reports[0].use
    known = np.where(use.types.special, 0, 1000 * use.types.counts)
    figure = figures.norm_figure(SERIES[:1], [replace(use, types=replace(use.types, frequency=known), reference="x")])
    valid(figure)
    drawn = [x for trace in figure.data if isinstance(trace, go.Scattergl) for x in trace.x]
    assert min(drawn) >= 3000
    assert "attached file" in figure.layout.xaxis.title.text


def test_dominant_tokens(reports):
    uses = [report.use for report in reports]
    figure = figures.dominant_figure(SERIES, uses, top=4)
    valid(figure)
    types, rows = uses[0].types, uses[0].types.most_dominant(4)
    np.testing.assert_allclose(figure.data[0].x[::-1], 100 * (types.vector_share - types.token_share)[rows])
    assert figure.layout.yaxis.ticktext[-1] == types.labels[rows[0]]


def test_norms(reports):
    figure = figures.norm_figure(SERIES, [report.use for report in reports])
    valid(figure)
    drawn = sum(len(trace.x) for trace in figure.data if trace.xaxis == "x" and isinstance(trace, go.Scattergl))
    assert drawn == (reports[0].use.types.counts >= 3).sum()


def test_removal_and_layers(reports):
    figure = figures.removal_figure(SERIES, [report.curves for report in reports])
    valid(figure)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert [line.line.dash for line in lines] == ["solid", "solid", "dash", "dash"] * 2
    np.testing.assert_allclose(lines[0].y, reports[0].curves[0].spearman)
    layers = figures.layer_figure(SERIES, [report.layers for report in reports])
    valid(layers)
    assert list(layers.data[0].x) == [0, 1, 2]
    # whitening changes no layer: one line for both
    assert {trace.name for trace in layers.data} == {"raw & plain = cured", "raw & plain = cured, best k"}


def test_curves_without_labels_have_gaps_and_no_best(encoders):
    pairs = PairSet(name="here", sentences1=tuple(TEXT[:5]), sentences2=None, scores=None, rows=np.arange(1, 6))
    report = examine_tokens(encoders[0], pairs, by_layer=True, ks=(0, 3))
    figure = figures.removal_figure(SERIES[:1], [report.curves])
    valid(figure)
    assert all(value is None for value in figure.data[0].y)
    assert not any(trace.mode == "markers" for trace in figure.data)
    valid(figures.layer_figure(SERIES[:1], [report.layers]))


def test_dimensions_sum_to_the_mean_cosine(reports):
    found = [report.anisotropy for report in reports]
    figure = figures.dimension_figure(SERIES, found, top=3)
    valid(figure)
    assert sum(figure.data[0].y) == pytest.approx(found[0].mean_cosine.value)
    assert figure.data[0].x[-1] == "other 29"


def test_attribution_side_by_side_on_one_scale(encoders):
    found = [explain_pair(encoder, "the man is red", "two dogs").attribution for encoder in encoders]
    figure = attribution_figure(SERIES, found)
    valid(figure)
    raw, cured = figure.data
    np.testing.assert_allclose(raw.z, found[0].matrix)
    assert (raw.zmin, raw.zmax) == (cured.zmin, cured.zmax)
    sizes = np.abs(np.concatenate([a.matrix.ravel() for a in found]))
    assert 0.95 < np.mean(sizes <= raw.zmax) < 1  # a few large ones must not bleach the others
    assert raw.hovertext[1][1].startswith(f"the · two<br>adds {found[0].matrix[1, 1]:+.6f} to the cosine")
    titles = [annotation.text for annotation in figure.layout.annotations]
    assert "raw &amp; plain" in titles[0]
    assert f"sum = cosine<br>= {found[0].cosine:.4f}" in titles[0]
    assert list(figure.layout.xaxis.ticktext) == list(found[0].tokens2)


@pytest.mark.parametrize(("last", "shown"), [(0.3, True), (-0.26, False), (-0.3, False), (-0.9, False)])
def test_no_percentage_of_a_cosine_near_or_below_0(last, shown):
    found = Attribution(np.array([[0.3, last]]), ("a",), ("b", "c"), np.zeros(1, bool), np.zeros(2, bool))
    figure = attribution_figure(SERIES[:1], [found])
    assert ("of it" in figure.data[0].hovertext[0][0]) == shown


def test_user_text_is_escaped_everywhere():
    bad = "<img src=x onerror=alert(1)>"
    attribution = Attribution(np.ones((1, 1)), (bad,), (bad,), np.array([False]), np.array([False]))
    text = valid(attribution_figure([Series(bad, RAW)], [attribution]))
    assert "<img" not in text.replace("\\u003c", "<")
    undefined = Attribution(
        np.zeros((1, 1)), ("a",), ("b",), np.zeros(1, bool), np.zeros(1, bool), "undefined because x"
    )
    assert "undefined because x" in valid(attribution_figure([Series("e", RAW)], [undefined]))
