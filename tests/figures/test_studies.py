"""Figures of studies: claims beside measurements, and the queue."""

from __future__ import annotations

import pytest

from anticollapse.figures.studies import ClaimPoint, QueuePoint, claims_figure, queue_figure


def test_claims_and_measurements_share_their_rows():
    points = [ClaimPoint("a to b", None, 1.0, (0.5, 1.7)), ClaimPoint("<b>c</b> to a", -0.02, 0.3, None)]
    figure = claims_figure(points)
    measured, claimed = figure.data
    assert list(measured.x) == [1.0, 0.3]
    assert list(measured.error_x.array) == pytest.approx([0.7, 0.0])
    assert list(measured.error_x.arrayminus) == pytest.approx([0.5, 0.0])
    assert list(claimed.x) == [-0.02]
    assert list(claimed.y) == [1]
    assert "<b>c</b>" not in str(figure.layout.yaxis.ticktext)
    assert "points" in figure.layout.xaxis.title.text


def test_one_line_a_system_ordered_by_queue():
    points = [
        QueuePoint("q", 2.5, 61.0, 0.3, 0.01),
        QueuePoint("q", 0, 60.0, None, None),
        QueuePoint("s", 1, 59.0, 0.1, 0.0),
    ]
    figure = queue_figure(points)
    assert len(figure.data) == 4
    assert list(figure.data[0].x) == [0, 2.5]
    assert list(figure.data[0].error_y.array) == [0.0, 0.3]
    assert list(figure.data[1].y) == [None, 1.0]
    assert figure.layout.xaxis.title.text
    assert figure.layout.yaxis2.title.text == "false negatives (%)"
    assert not queue_figure([]).data
