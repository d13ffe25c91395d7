"""The panel of studies on the Compare page: claims beside measurements, unfinished and broken studies."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from anticollapse import studies
from anticollapse.studies.measuring import save_arrays

SPLITS = {"dev": 50, "test": 60}
LADDER = ["raw", "sbert", "sbert-simcse", "sbert-queue", "sbert-swav"]
result_of = runpy.run_path(str(Path(__file__).parents[1] / "studies" / "test_results.py"))["result_of"]


@pytest.fixture
def root(tmp_path, monkeypatch, raw_mini):
    """A checkpoint root with the embedded encoder only."""
    folder = tmp_path / "checkpoints"
    shutil.copytree(raw_mini, folder / "raw-mini")
    monkeypatch.setenv("ANTICOLLAPSE_CHECKPOINTS", str(folder))
    return folder


def write_study(folder, rows, kind, *, without=()):
    pairs = {"name": "demo", **{split: {"digest": split, "n": 9} for split in ("train", "dev", "test")}}
    plan = studies.Plan(
        kind=kind, backbone={"name": "*tiny*", "digest": "b" * 64}, pairs=pairs, steps=7,
        options={"precision": "auto", "patience": 0}, rows=rows, seeds=(0, 1),
    )  # fmt: skip
    folder.mkdir(parents=True)
    studies.join_plan(folder, plan)
    rng = np.random.default_rng(0)
    scores = {split: rng.uniform(0, 5, n) for split, n in SPLITS.items()}
    save_arrays(folder / "scores.npz", scores)
    for cell in plan.cells:
        if cell.slug in without:
            continue
        quality = 0.2 * plan.keys.index(cell.row.key)
        cosines = {split: np.tanh(quality * s + rng.normal(size=len(s))) for split, s in scores.items()}
        (folder / "runs" / cell.slug).mkdir(parents=True)
        save_arrays(folder / "runs" / cell.slug / "cosines.npz", cosines)
        (folder / "runs" / cell.slug / "result.json").write_text(json.dumps(result_of(cell, scores, cosines)))
    return studies.load_study(folder, n_resamples=100)


@pytest.fixture
def app(open_app):
    return open_app("compare.py")


def texts(app):
    return " ".join(block.value.replace("\\", "") for block in [*app.caption, *app.markdown])


def test_no_study_says_how_to_make_one(root, app):
    app.run()
    assert not app.exception
    assert "anticollapse study ladder" in texts(app)


def test_claims_stand_beside_measurements(root, app):
    study = write_study(root / "studies" / "my ladder", studies.ladder_rows(LADDER), "ladder")
    study.write()
    app.run()
    assert not app.exception
    assert not app.error
    table = next(table.value for table in app.table if "claimed" in table.value.columns)
    assert "+0.2" in [cell.replace("\\", "") for cell in table["claimed"]]
    found = next(one for one in study.claims if one.row == "sbert-queue")
    shown = table.loc[[str(name).replace("\\", "") == "sbert-queue" for name in table.index], "measured, test"].iloc[0]
    assert f"{found.estimate.value:.2f}" in shown.replace("\\", "").replace("−", "-")
    systems = app.dataframe[-1].value
    assert systems["system"].tolist() == LADDER
    assert "from *tiny*:" in texts(app)
    assert "\\*tiny\\*" in " ".join(caption.value for caption in app.caption)


def test_an_unfinished_study_is_computed_when_asked(root, app):
    slugs = ["sbert-swav-s1"]
    write_study(root / "half", studies.ladder_rows(LADDER), "ladder", without=slugs)
    app.run()
    assert not app.exception
    assert "8 runs are finished" in texts(app)
    app.button(key="study_compute").click().run()
    assert not app.exception
    assert "one run is still missing" in texts(app)
    assert any("claimed" in table.value.columns for table in app.table)


def test_the_queue_study_and_another_beside_it(root, app):
    write_study(root / "studies" / "a", studies.ladder_rows(LADDER), "ladder").write()
    write_study(root / "studies" / "q", studies.queue_rows(sizes=[0, 1, 2.5]), "queue").write()
    app.query_params["study"] = "q"
    app.run()
    assert not app.exception
    assert not app.error
    assert "A longer queue" in texts(app)
    assert "false negative rate" in app.dataframe[-1].value.columns


@pytest.mark.parametrize("content", ["[]", "{}", "no json", '{"finished": 9, "plan": {}}'])
def test_a_broken_summary_is_one_message(root, app, content):
    write_study(root / "studies" / "x", studies.ladder_rows(["raw", "sbert"]), "ladder")
    (root / "studies" / "x" / "summary.json").write_text(content)
    app.run()
    assert not app.exception
    assert len(app.error) == 1
    assert "points of Spearman" in app.title[0].value
