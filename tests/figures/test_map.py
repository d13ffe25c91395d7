"""The map figure: ids, colours, highlights, density, escaping, one figure for all encoders."""

from __future__ import annotations

import numpy as np
import pytest

from anticollapse.figures.collapse import selected_positions
from anticollapse.figures.map import GREY, GROUP_COLOURS, Groups, MapPanel, MapPoints, Scale, map_figure, tooltips
from anticollapse.figures.style import Series


def panels(count=2, n=30, **more):
    rng = np.random.default_rng(0)
    return [
        MapPanel(Series(f"encoder {m}", "#2F6FDE"), rng.normal(size=(n, 2)).astype(np.float32), **more)
        for m in range(count)
    ]


def named(figure, name):
    return [trace for trace in figure.data if trace.name == name]


@pytest.mark.parametrize(("count", "rows", "columns"), [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 2), (6, 2, 3)])
def test_one_figure_with_a_panel_for_each_encoder(count, rows, columns):
    figure = map_figure(panels(count), MapPoints(np.arange(30)))
    assert len(figure.data) == count
    assert all(trace.type == "scattergl" for trace in figure.data)
    grid = figure._grid_ref
    assert (len(grid), len(grid[0])) == (rows, columns)
    assert figure.layout.height >= 480
    matched = [figure.layout[name].matches for name in figure.to_dict()["layout"] if name.startswith("xaxis")]
    assert matched.count(None) == 1  # all others follow the first


def test_points_carry_their_ids_and_a_selection_gives_them_back():
    ids = np.array([40, 7, 99, 3])
    figure = map_figure(panels(1, 4), MapPoints(ids))
    data = figure.data[0].customdata
    event = [{"customdata": [int(data[i][0])]} for i in (2, 0)] + [{"customdata": {"0": 7}}]
    assert selected_positions(event) == [7, 40, 99]


def test_user_text_is_escaped_and_whole():
    text = "<img src=x onerror=alert(1)> " + "word " * 150 + "end"
    (tip,) = tooltips([text], np.array([5]), np.array([3.5]), ["<b>news</b>"])
    assert "<img" not in tip
    assert "&lt;img" in tip
    assert "end<br>" in tip
    assert "row 5 · label 3.5 · &lt;b&gt;news" in tip
    figure = map_figure(
        [MapPanel(Series("<script>", "#2F6FDE"), np.zeros((1, 2), np.float32))], MapPoints(np.arange(1))
    )
    assert "<script>" not in figure.layout.annotations[0].text


def test_missing_labels_and_sources_are_not_mentioned():
    assert tooltips(["a", "b"], np.array([1, 2]), np.array([np.nan, 0.0]), None) == [
        "a<br><i>row 1</i>",
        "b<br><i>row 2 · label 0</i>",
    ]


def test_selection_is_dimmed_around_in_every_panel_and_hits_are_ringed():
    figure = map_figure(panels(3), MapPoints(np.arange(30), selected=[4, 9], hits=[1]))
    chosen = named(figure, "selected")
    assert len(chosen) == 3
    for panel, trace in zip(panels(3), chosen, strict=True):
        np.testing.assert_allclose(np.asarray(trace.x), panel.coordinates[[4, 9], 0])
    plain = map_figure(panels(3), MapPoints(np.arange(30)))
    assert figure.data[0].marker.opacity < plain.data[0].marker.opacity
    assert len(named(figure, "found")) == 3


def test_focus_draws_a_line_to_each_neighbour_of_that_encoder():
    first, second = panels(2)
    first = MapPanel(first.series, first.coordinates, neighbours=[1, 2])
    second = MapPanel(second.series, second.coordinates, neighbours=[5])
    figure = map_figure([first, second], MapPoints(np.arange(30), focus=0))
    lines = named(figure, "neighbour lines")
    assert [sum(x is None for x in line.x) for line in lines] == [2, 1]
    assert lines[1].x[1] == pytest.approx(float(second.coordinates[5, 0]))


def test_groups_have_a_legend_with_counts_and_the_smallest_are_grey():
    names = [f"g{i}" for i in range(10) for _ in range(20 - i)] + [""] * 3
    groups = Groups.by_name("source", names)
    assert groups.names[0] == "g0"
    figure = map_figure(panels(1, len(names)), MapPoints(np.arange(len(names))), groups)
    legend = [(trace.name, trace.marker.color) for trace in figure.data if trace.type == "scatter"]
    assert legend[0] == ("g0 (20)", GROUP_COLOURS[0])
    assert legend[-2:] == [("3 smaller ones (36)", GREY), ("none (3)", GREY)]
    codes = np.asarray(figure.data[0].marker.color)
    assert (codes[-3:] == -1).all()
    assert set(codes.tolist()) == {-1, *range(7)}
    steps = figure.data[0].marker.colorscale
    for code, colour in [(-1, GREY), (0, GROUP_COLOURS[0]), (6, GROUP_COLOURS[6])]:
        place = (code + 1.5) / 8
        assert (
            next(c for (low, c), (high, _) in zip(steps[::2], steps[1::2], strict=True) if low <= place < high)
            == colour
        )


def test_group_names_are_escaped_in_the_legend():
    figure = map_figure(panels(1, 2), MapPoints(np.arange(2)), Groups.by_name("source", ["<b>x", "<b>x"]))
    assert "<b>" not in figure.data[1].name


def test_scale_has_one_colour_bar_for_all_panels():
    values = [np.full(30, 0.2), np.linspace(0, 1, 30)]
    figure = map_figure(panels(2), MapPoints(np.arange(30), selected=[3]), Scale("share", values, 0, 1))
    assert figure.data[0].marker.coloraxis == "coloraxis"
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)
    np.testing.assert_allclose(np.asarray(named(figure, "encoder 1")[0].marker.color), values[1], atol=1e-6)
    assert np.asarray(named(figure, "selected")[1].marker.color) == pytest.approx([values[1][3]])


def test_what_is_not_drawn_is_shading():
    nearest = np.array([0, 0, 0, 5, -1])
    figure = map_figure(panels(1, nearest_point=nearest), MapPoints(np.arange(30)))
    density = named(figure, "not drawn")[0]
    assert density.type == "heatmap"
    counts = np.round(10 ** np.asarray(density.z, float)[np.isfinite(np.asarray(density.z, float))])
    assert sorted(counts.tolist()) == [1, 3]
    assert figure.data[0] is density  # under the points


def test_sentences_without_a_place_and_none_at_all():
    places = np.array([[0, 0], [np.nan, np.nan], [1, 2]], np.float32)
    figure = map_figure([MapPanel(Series("e", "#2F6FDE"), places)], MapPoints(np.arange(3)))
    assert np.isfinite(figure.layout.xaxis.range).all()
    map_figure([MapPanel(Series("e", "#2F6FDE"), np.empty((0, 2), np.float32))], MapPoints(np.empty(0, np.int64)))


def test_zoom_is_kept_while_the_revision_stays():
    assert map_figure(panels(1), MapPoints(np.arange(30)), revision="a").layout.uirevision == "a"
