"""The panel of studies on the Compare page: claims beside measurements, unfinished and broken studies."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from anticollapse import studies
from anticollapse.figures.studies import ClaimPoint
from anticollapse.studies.measuring import save_arrays
from anticollapse.studies.results import FORMULA

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


def write_study(folder, rows, kind, *, without=(), seeds=(0, 1), changed=None, data="demo", backbone="*tiny*"):
    pairs = {"name": data, **{split: {"digest": split, "n": 9} for split in ("train", "dev", "test")}}
    plan = studies.Plan(
        kind=kind, backbone={"name": backbone, "digest": "b" * 64}, pairs=pairs, steps=7,
        options={"precision": "auto", "patience": 0}, rows=rows, seeds=seeds,
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
        result = {**result_of(cell, scores, cosines), **(changed or {}).get(cell.slug, {})}
        (folder / "runs" / cell.slug / "result.json").write_text(json.dumps(result))
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


def negatives(number, share):
    counts = {"candidates": 0, "filtered": 0, "filtered_false_negatives": 0, "hard_negatives": 0}
    return {"negatives": {**counts, "negatives": number / share, "false_negatives": number}, "steps": 10}


@pytest.mark.parametrize(
    ("short", "long", "said"),
    [
        # 162 of 1,421,053 and 230 of 5,111,111: the queue adds 68 of 3,690,058.
        ((162, 0.000114), (230, 0.000045), ("0.011 % to 0.0045 %", "from 16.2 to 23.0", "adds 0.0018 % are false")),
        # The longer queue has fewer negatives, as no real one has: nothing is said of what it adds.
        ((5, 0.0002), (4, 0.003), ("0.020 % to 0.30 %", "from 0.50 to 0.40.")),
    ],
)
def test_the_queue_study_and_another_beside_it(root, app, short, long, said):
    write_study(root / "studies" / "a", studies.ladder_rows(["raw", "sbert"]), "ladder").write()
    changed = {f"sbert-queue-q{q}-s{s}": negatives(*n) for q, n in ((0, short), (2.5, long)) for s in (0, 1)}
    study = write_study(root / "studies" / "q", studies.queue_rows(sizes=[0, 1, 2.5]), "queue", changed=changed)
    study.write()
    app.query_params["study"] = "q"
    app.run()
    assert not app.exception
    assert not app.error
    line = next(
        text for text in texts(app).split("sbert-queue, ") if text.startswith("from a queue of 0 to one of 2.5")
    )
    assert "(160 keys)" in line
    for numbers in said:
        assert numbers in line
    shown = next(table.value for table in app.table if "queue" in table.value.columns)
    cells = [[str(cell).replace("\\", "") for cell in row] for row in shown.itertuples()]
    assert [row[:2] for row in cells] == [
        [f"sbert-{kind}", f"{size:g} × 64 sentences"] for kind in ("queue", "swav") for size in (0, 1, 2.5)
    ]
    of_filter = study.column(of="reference")["sbert-swav-q0"].estimate
    assert cells[3][-1].startswith(f"{of_filter.value:+.2f} [".replace("-", "−"))
    assert cells[0][-1] == cells[0][-2] == "–"
    assert "less that of sbert-queue-q0" in texts(app)
    assert "sbert-queue without a queue is sbert-simcse" in texts(app)
    assert "In the last column the correction is for 3 comparisons." in texts(app)
    frame = app.dataframe[-1].value.set_index("system")
    shares = frame["false negatives"]
    assert short[1] * 100 == pytest.approx(float(shares["sbert-queue-q0"].removesuffix(" %")), rel=0.05)
    assert frame.loc["sbert-queue-q1", "known paraphrases among the filtered"] == "–"
    assert frame.loc["sbert-swav-q1", "filtered, of the known paraphrases"] == "20.0 %"
    assert "in its own row, its partner" in texts(app)
    assert "clusters of equal size" in texts(app)


def test_the_study_of_what_is_shown_comes_first(root, app):
    """Of the shown data before of the shown encoder, both before the first by name; what was chosen or linked stays."""
    rows = studies.ladder_rows(["raw", "sbert"])
    write_study(root / "a-other", rows, "ladder", data="stsb").write()
    write_study(root / "b-encoder", rows, "ladder", data="stsb", backbone="raw-mini").write()
    app.run()
    assert app.selectbox(key="study").value == "b-encoder"
    assert "study" not in app.query_params
    write_study(root / "c-data", rows, "ladder").write()
    app.run()
    assert app.selectbox(key="study").value == "c-data"
    assert "Ladder on demo" in texts(app)
    app.selectbox(key="study").set_value("a-other").run()
    assert app.query_params["study"] == "a-other"
    assert "Ladder on stsb from *tiny*" in texts(app)
    write_study(root / "d-more", rows, "ladder").write()
    app.run()
    assert app.selectbox(key="study").value == "a-other"


def test_a_link_to_a_study_that_is_gone_shows_another(root, app):
    for name in ("a", "b"):
        write_study(root / name, studies.ladder_rows(["raw", "sbert"]), "ladder").write()
    app.query_params["study"] = "gone"
    app.run()
    assert not app.exception
    assert app.selectbox(key="study").value == "a"


def test_a_study_without_the_filter_says_nothing_of_it(root, app):
    write_study(root / "q", studies.queue_rows(["sbert-queue"], sizes=[0, 1]), "queue").write()
    app.run()
    assert not app.exception
    assert not app.error
    assert "A negative is hard where" in texts(app)
    assert "clusters" not in texts(app)
    assert not any("filtered" in column for column in app.dataframe[-1].value.columns)


def test_the_first_run_of_a_queue_study_is_shown(root, app):
    """What the others are compared with is missing still."""
    rows = studies.queue_rows(sizes=[0, 1])
    slugs = [f"{row.key}-s{seed}" for row in rows for seed in (0, 1)]
    slugs.remove("sbert-swav-q1-s0")
    write_study(root / "q", rows, "queue", without=slugs).write()
    app.run()
    assert not app.exception
    assert not app.error
    assert any("queue" in table.value.columns for table in app.table)


def test_one_seed_and_several_commits_are_said(root, app):
    changed = {"sbert-queue-s0": {"commit": "beef"}}
    write_study(root / "one", studies.ladder_rows(LADDER), "ladder", seeds=(0,), changed=changed).write()
    app.run()
    assert not app.exception
    table = next(table.value for table in app.table if "claimed" in table.value.columns)
    assert {cell.replace("\\", "") for cell in table["reading"]} == {"cannot be said: one seed"}
    assert all("†" in cell for cell in table["measured, test"])
    assert "† There is one seed only of a trained system" in texts(app)
    assert "Intervals are over pairs alone." in texts(app)
    assert "sbert-queue computed by commit beef" in texts(app)


def test_an_alternative_text_says_where_nothing_was_claimed():
    from pages.common.studying import _alt

    assert _alt(ClaimPoint("a to b", None, -1.0, None)) == "a to b: no number claimed, measured −1.00"
    assert _alt(ClaimPoint("a to b", 0.2, 0.1, None)) == "a to b: claimed +0.20, measured +0.10"


def test_two_studies_of_one_name_are_both_there(root):
    from pages.common.studying import found

    for folder in (root / "x", root / "studies" / "x", root / "studies" / "y"):
        write_study(folder, studies.ladder_rows(["raw"]), "ladder")
    expected = {"x": root / "x", "studies/x": root / "studies/x", "y": root / "studies/y"}
    assert found() == expected


def test_a_summary_of_another_formula_is_computed_anew(root, app):
    write_study(root / "old", studies.ladder_rows(["raw", "sbert"]), "ladder").write()
    file = root / "old" / "summary.json"
    plain = json.loads(file.read_text())
    del plain["formula"]
    file.write_text(json.dumps(plain))
    app.run()
    assert not app.exception
    assert not app.error
    assert "their intervals are not computed yet" in texts(app)


@pytest.mark.parametrize("content", ["[]", "{}", "no json", f'{{"finished": 9, "plan": {{}}, "formula": {FORMULA}}}'])
def test_a_broken_summary_is_one_message(root, app, content):
    write_study(root / "studies" / "x", studies.ladder_rows(["raw", "sbert"]), "ladder")
    (root / "studies" / "x" / "summary.json").write_text(content)
    app.run()
    assert not app.exception
    assert len(app.error) == 1
    assert "points of Spearman" in app.title[0].value
