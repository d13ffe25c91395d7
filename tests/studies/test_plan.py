"""The plan: what it holds, what may be added to it, and what is refused with what differs."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from anticollapse import studies
from anticollapse.data import PairSet
from anticollapse.errors import DataError, OptionError, RunError
from anticollapse.studies.designs import QUEUE_SIZES
from anticollapse.studies.estimate import sentences_per_step
from anticollapse.studies.plan import merge, select
from anticollapse.training import CosineMSE, Variant, get_variant, register, variants

SPLITS = {split: {"digest": split * 3, "n": 10} for split in ("train", "dev", "test")}


def plan(**changes):
    values = {
        "kind": "ladder",
        "backbone": {"name": "tiny", "digest": "b" * 64},
        "pairs": {"name": "demo", **SPLITS},
        "steps": 7,
        "options": {"precision": "auto", "patience": 0},
        "rows": studies.ladder_rows(["sbert", "sbert-queue"]),
        "seeds": (0, 1),
    }
    return studies.Plan(**{**values, **changes})


def test_cells_are_even_over_seeds_and_what_has_no_chance_is_run_once():
    cells = plan(seeds=(0, 1, 2)).cells
    assert [cell.slug for cell in cells] == [
        "raw-s0", "sbert-s0", "sbert-queue-s0", "sbert-s1", "sbert-queue-s1", "sbert-s2", "sbert-queue-s2",
    ]  # fmt: skip
    assert [c.slug for c in select(plan(), ["sbert"], [1])] == ["sbert-s1"]


def test_written_and_read_again(tmp_path):
    assert studies.join_plan(tmp_path / "study", plan()) == plan()
    assert studies.read_plan(tmp_path / "study") == plan()


def test_rows_and_seeds_may_be_added_and_none_is_lost(tmp_path):
    studies.join_plan(tmp_path, plan())
    more = plan(rows=studies.ladder_rows(["sbert", "cosent"]), seeds=(0, 1, 2))
    joined = studies.join_plan(tmp_path, more)
    assert joined.keys == ("raw", "sbert", "sbert-queue", "cosent")
    assert joined.seeds == (0, 1, 2)
    fewer = studies.join_plan(tmp_path, plan(rows=studies.ladder_rows(["sbert"]), seeds=(0,)))
    assert fewer == joined == studies.read_plan(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "queue"}, r"another kind \(ladder, now queue\)"),
        ({"steps": 8}, r"another number of steps \(7, now 8\)"),
        ({"backbone": {"name": "other", "digest": "c" * 64}}, r"another backbone \(tiny, SHA-256 bbb.*now other"),
        ({"pairs": {"name": "demo", **SPLITS, "test": {"digest": "x", "n": 1}}}, "another set of test pairs"),
        ({"options": {"precision": "float32", "patience": 0}}, r"another option precision \(auto, now float32\)"),
    ],
)
def test_another_plan_is_refused_and_says_what_differs(tmp_path, changes, message):
    studies.join_plan(tmp_path, plan())
    with pytest.raises(OptionError, match=message):
        studies.join_plan(tmp_path, plan(**changes))
    assert studies.read_plan(tmp_path) == plan()


def test_a_name_of_the_same_encoder_may_differ():
    same = {"name": "/elsewhere/tiny", "digest": "b" * 64}
    assert merge(plan(), plan(backbone=same), "here").backbone["name"] == "tiny"


def test_another_definition_of_a_row_is_refused():
    changed = get_variant("sbert-queue").with_parameters({"queue_size_ratio": 5.0})
    rows = (*studies.ladder_rows(["sbert"]), studies.row_of(changed))
    with pytest.raises(OptionError, match=r"value in sbert-queue: queue_size_ratio \(2.5, now 5.0\)"):
        merge(plan(), plan(rows=rows), "here")
    batch = tuple(dataclasses.replace(row, batch_size=7) if row.key == "sbert" else row for row in plan().rows)
    with pytest.raises(OptionError, match=r"definition of sbert: batch_size \(32, now 7\)"):
        merge(plan(), plan(rows=batch), "here")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 99}', None, "a row named ../../x"], ids=lambda text: str(text)[:12]
)
def test_a_plan_that_cannot_be_read(tmp_path, text):
    if text == "a row named ../../x":
        plain = plan().to_json()
        plain["rows"][0]["key"] = "../../x"
        text = json.dumps(plain)
    if text is not None:
        (tmp_path / "study.json").write_text(text)
    with pytest.raises(RunError):
        studies.read_plan(tmp_path)


def test_ladder_rows():
    assert [row.key for row in studies.ladder_rows()] == list(variants())
    rows = studies.ladder_rows(["sbert"], with_cures=True)
    assert rows[0].key == "raw"
    assert {row.cure for row in rows if row.cure} >= {"whitening", "centring", "first-last+whitening"}
    assert all(row.deterministic and row.batch_size == 0 for row in rows if row.key != "sbert")
    sbert = rows[1]
    assert (sbert.batch_size, sbert.learning_rate, sbert.reference) == (32, 3e-5, "raw")
    with pytest.raises(OptionError, match="no variant called"):
        studies.ladder_rows(["sbrt"])


def test_queue_rows():
    rows = studies.queue_rows()
    assert [row.queue_size for row in rows] == [*QUEUE_SIZES, *QUEUE_SIZES]
    assert [row.parameters["queue_size_ratio"] for row in rows] == [row.queue_size for row in rows]
    assert rows[2].key == "sbert-queue-q2.5"
    assert (rows[0].reference, rows[2].reference) == ("", "sbert-queue-q0")
    assert rows[7].reference == "sbert-queue-q2.5"  # the filter is compared with the same queue without it
    both = studies.queue_rows(["sbert-queue"], sizes=(0, 1), batch_sizes=(32, 64))
    assert [row.key for row in both] == ["sbert-queue-q0", "sbert-queue-q1", "sbert-queue-q0-b64", "sbert-queue-q1-b64"]
    assert both[3].batch_size == 64
    assert both[3].reference == "sbert-queue-q0-b64"
    with pytest.raises(OptionError, match="sbert has no queue"):
        studies.queue_rows(["sbert"])
    with pytest.raises(OptionError, match="queue-size-ratio"):
        studies.queue_rows(sizes=(-1,))


def test_a_registered_variant_is_a_row(monkeypatch):
    monkeypatch.setattr("anticollapse.training.registry._REGISTRY", dict(variants()))
    register(Variant(id="mine", title="Mine", summary="Mine.", supervised=CosineMSE(weight=2.0)))
    row = studies.ladder_rows(["mine"])[1]
    assert (row.key, row.title, row.parameters, row.reference) == ("mine", "Mine", {"supervised_weight": 2.0}, "raw")
    assert "mine" in [row.key for row in studies.ladder_rows()]


def test_steps_are_what_sbert_takes_unless_given(make):
    bench, _ = make(steps=0)
    assert bench.plan.steps == 8  # 48 pairs are 2 batches of 32 at most, 4 epochs
    splits, rows = bench.splits, bench.plan.rows
    for wrong in ({"seeds": 0}, {"seeds": 1, "steps": -1}):
        with pytest.raises(OptionError, match="is below"):
            studies.make_plan("ladder", rows, bench.backbone, splits, pairs="p", **wrong)


def test_pairs_need_grades_and_three_splits(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="all three splits"):
        studies.load_splits("demo:train")
    bare = PairSet(name="p", sentences1=("a",), sentences2=None, scores=None, rows=np.array([1]))
    monkeypatch.setattr("anticollapse.studies.designs.load_pairs", lambda *_, **__: bare)
    with pytest.raises(DataError, match="graded pairs in every split"):
        studies.load_splits("demo")


def test_cost_of_a_step_grows_with_towers_views_and_the_momentum_encoder():
    cost = {row.key: sentences_per_step(row) for row in studies.ladder_rows() if row.batch_size}
    assert cost["sbert"] == 64
    assert cost["sbert-simcse"] == 128
    assert cost["sbert-queue"] == pytest.approx(128 + 64 / 3)
    assert cost["simcse"] == 128
    assert cost["consert"] == 192
