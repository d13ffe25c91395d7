"""The curves of a run."""

from __future__ import annotations

import pytest

from anticollapse.figures.runs import before, curves, evaluations

BEFORE = {"dev_spearman": 50.0, "mean_unrelated_cosine": 0.7, "effective_rank": 9.0}


def look(step, **values):
    whole = {"dev_spearman": 50.0 + step, "mean_unrelated_cosine": 0.7 - step / 100, "effective_rank": 9.0 + step}
    return {"event": "evaluation", "step": step, "loss": 1.0 / step, "terms": {}, **whole, **values}


def events(*looks, start=BEFORE):
    return [{"event": "start", "step": 0, "before": start}, {"event": "notice", "step": 0}, *looks, {"event": "end"}]


def named(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def titles(figure):
    return [annotation.text for annotation in figure.layout.annotations]


def test_every_measure_has_a_panel_with_the_backbone_at_step_zero():
    figure = curves(events(look(5), look(10, best=True)), backbone="raw")
    assert titles(figure) == ["Loss", "Agreement with people", "Unrelated sentences", "Directions in use"]
    (loss,) = named(figure, "whole loss")
    assert (list(loss.x), list(loss.y)) == ([5, 10], [0.2, 0.1])
    values = [(list(trace.x), list(trace.y)) for trace in named(figure, "this run")]
    assert values == [
        ([0, 5, 10], [50.0, 55.0, 60.0]),
        ([0, 5, 10], [0.7, 0.7 - 0.05, 0.7 - 0.1]),
        ([0, 5, 10], [9.0, 14.0, 19.0]),
    ]
    dashed = named(figure, "raw")
    assert [list(trace.y) for trace in dashed] == [[50.0] * 2, [0.7] * 2, [9.0] * 2]
    assert all(list(trace.x) == [0, 10] and trace.line.dash == "dash" for trace in dashed)
    assert sum(trace.showlegend is not False for trace in dashed) == 1


def test_every_axis_is_named_with_its_unit():
    figure = curves(events(look(5, queue_fill=0.5, filtered_share=0.1)))
    shown = [axis.title.text for axis in figure.select_yaxes() if axis.title.text]
    assert shown == [
        "loss (mean over steps)",
        "dev Spearman × 100",
        "mean cosine (−1 to 1)",
        "effective rank",
        "filled (share)",
        "share of the negatives",
    ]
    assert {axis.title.text for axis in figure.select_xaxes()} == {"step"}
    assert figure.layout.height >= 480


def test_the_kept_step_is_ringed_and_alarms_are_crossed():
    looks = [look(5, best=True), look(10, best=True), look(15, alarm="It collapses."), look(20, alarm="It collapses.")]
    figure = curves(events(*looks))
    assert [list(trace.x) for trace in named(figure, "kept")] == [[10]] * 3  # the best of all, not every best so far
    assert [list(trace.x) for trace in named(figure, "collapse alarm")] == [[15, 20]] * 3
    assert not named(curves(events(look(5))), "collapse alarm")


def test_terms_are_drawn_only_where_there_are_several():
    assert [t.name for t in curves(events(look(5, terms={"supervised": 1.0}))).data].count("loss on graded pairs") == 0
    figure = curves(events(look(5, terms={"supervised": 1.0, "contrast": 2.0}), look(10, terms={"supervised": 0.5})))
    (pairs,), (contrast,) = named(figure, "loss on graded pairs"), named(figure, "loss on contrast")
    assert list(pairs.y) == [1.0, 0.5]
    assert list(contrast.y) == [2.0, None]


@pytest.mark.parametrize(
    ("values", "title"),
    [({"queue_fill": 0.25}, "Queue of negatives"), ({"filtered_share": 0.0}, "Negatives left out by the filter")],
)
def test_parts_that_a_variant_has_get_a_panel(values, title):
    assert title in titles(curves(events(look(5, **values))))
    assert title not in titles(curves(events(look(5))))


def test_without_dev_pairs_there_is_no_panel_of_agreement():
    start = {**BEFORE, "dev_spearman": None}
    figure = curves(events(look(5, dev_spearman=None), start=start))
    assert titles(figure) == ["Loss", "Unrelated sentences", "Directions in use"]


def test_nothing_measured_yet():
    assert evaluations([]) == []
    assert before([]) == {}
    figure = curves([])
    assert titles(figure) == ["Loss"]
    assert curves(events()).layout.uirevision == "run"


def test_a_zoom_belongs_to_its_run():
    assert curves(events(look(5)), revision="a").layout.uirevision == "a"


def test_names_are_text():
    name = "<b>raw</b><br><a href='x'>y</a>"
    figure = curves(events(look(5, terms={"a<i>": 1.0, "swav": 2.0})), backbone=name)
    shown = [trace.name for trace in figure.data]
    assert "&lt;b&gt;raw&lt;/b&gt;&lt;br&gt;&lt;a href=&#x27;x&#x27;&gt;y&lt;/a&gt;" in shown
    assert "loss on a&lt;i&gt;" in shown
    assert not any("<" in one for one in shown)
