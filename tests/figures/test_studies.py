"""Figures of studies: claims beside measurements, and the queue."""

from __future__ import annotations

import pytest

from anticollapse.figures.studies import ClaimPoint, QueuePoint, claims_figure, queue_figure, queue_lines


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
        QueuePoint("q", 2.5, -1.0, (-1.75, -0.5), 0.01, 0.0002),
        QueuePoint("q", 0, 0.0, None, None),
        QueuePoint("s", 1, None, None, 0.0),
    ]
    figure = queue_figure(points)
    assert len(figure.data) == 6
    assert list(figure.data[0].x) == [0, 2.5]
    assert list(figure.data[0].y) == [0.0, -1.0]
    assert list(figure.data[0].error_y.array) == [0.0, 0.5]
    assert list(figure.data[0].error_y.arrayminus) == [0.0, 0.75]
    assert list(figure.data[3].y) == [None]
    assert list(figure.data[1].y) == [None, 1.0]
    assert list(figure.data[2].y) == [None, pytest.approx(0.02)]
    assert ":.2r" in figure.data[1].hovertemplate  # 0.0045 % is not 0.00 %
    assert figure.layout.xaxis.title.text
    assert figure.layout.yaxis2.title.text.startswith("false negatives (%")
    assert figure.layout.yaxis3.title.text.startswith("hard negatives (%")
    assert not queue_figure([]).data


def test_each_batch_size_is_a_line():
    points = [QueuePoint("q", size, 0.1 * batch, None, 0.1, batch=batch) for size in (0, 1) for batch in (16, 32)]
    assert {name: [p.difference for p in some] for name, some in queue_lines(points).items()} == {
        "q, batch 16": [1.6, 1.6], "q, batch 32": [3.2, 3.2],
    }  # fmt: skip
    figure = queue_figure(points)
    assert [trace.name for trace in figure.data[::3]] == ["q, batch 16", "q, batch 32"]
    assert all(list(trace.x) == [0, 1] for trace in figure.data)


def test_no_system_is_left_out_for_want_of_colours():
    figure = queue_figure([QueuePoint(f"v{i}", 0, 0.0, None, 0.1) for i in range(20)])
    assert len(figure.data) == 60
    assert len({(trace.line.color, trace.line.dash) for trace in figure.data}) == 20
