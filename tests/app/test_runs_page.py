"""The Runs page and the strip above every page, without a browser."""

from __future__ import annotations

import dataclasses
import inspect
import io
import json
import re
import time
import zipfile
from pathlib import Path

import pytest

from anticollapse import runs
from anticollapse.runs import store
from anticollapse.training import variants
from pages.common.state import escape

ALARM = "The run is collapsing: unrelated sentences have a mean cosine of 0.93 (0.71 before training)."
HOSTILE = [
    "<script>alert(1)</script><b>x</b>",
    "🦊🔥 emoji",
    "x" * 300,
    "../../etc/passwd",
    "**y** [z](http://z) :red[r] $q$ `c` | ~s~",
    "=cmd|' /C calc'!A0",
]


@pytest.fixture
def app(open_app, root):
    return open_app("runs.py")


def plain(text):
    return text.replace("\\", "")


def texts(app):
    """Everything that is drawn as Markdown."""
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.warning, app.error, app.info)
    return [element.value for kind in kinds for element in kind] + bars(app)


def shows(app, text):
    return any(text in plain(one) for one in texts(app))


def bars(app):
    return [bar.proto.text for bar in app.get("progress")]


def keys(app):
    return [button.key for button in app.button]


def ids(root):
    return sorted(folder.name for folder in root.iterdir() if store.ID.fullmatch(folder.name))


def test_nothing_yet(app):
    app.run()
    assert not app.exception
    assert app.title[0].value == "Nothing was trained yet"
    assert "press Start" in app.info[0].value
    assert not app.main.dataframe


@pytest.mark.parametrize("page", ["runs.py", "collapse.py"])
def test_the_strip_of_a_running_training(open_app, put, page):
    run, waiting = put("running", "my first"), put("queued", "my second")
    app = open_app(page).run()
    assert not app.exception
    (line,) = bars(app)
    assert plain(line) == (
        "**my first** · step 20 of 40 · loss 0.12 · dev Spearman 61.5 (tiny 50.0) · unrelated sentences score 0.42 "
        "(0.71) · about 31 s left"
    )
    assert app.get("progress")[0].proto.value == 50
    assert shows(app, "1 is waiting for a turn: my second.")
    app.button(key=f"strip_stop_{run.id}").click().run()
    assert not app.exception
    assert store.read(run.folder).stop_asked
    assert not store.read(waiting.folder).stop_asked
    assert app.button(key=f"strip_stopping_{run.id}").disabled


def test_a_training_that_has_measured_nothing_yet(app, put):
    put("running", "fresh", progress={})
    app.run()
    assert not app.exception
    assert bars(app) == ["**fresh** · getting ready"]
    assert app.title[0].value == "1 run, not measured yet"
    put("queued", "later")
    app.run()
    assert app.title[0].value == "2 runs, none of them measured yet"


def test_a_training_that_is_silent_is_said_to_be(app, put):
    put("running", "mute", heartbeat=time.time() - 300)
    app.run()
    assert not app.exception
    (line,) = bars(app)
    assert line.endswith(" · no sign of life for 5 min")


def test_why_nothing_is_started_is_said(app, put, monkeypatch):
    put("queued", "waits")
    app.run()
    assert not shows(app, "Nothing is started")
    store.write(dataclasses.replace(put("queued", "first"), ticket=-1, limits={"keep_free_mb": 2**40}))
    app.run()
    assert not app.exception
    assert shows(app, "Nothing is started: the disk is nearly full:")


def test_a_full_disk_is_a_message_on_every_page(open_app, put, monkeypatch):
    alive, gone = put("running", "goes on"), put("running", "is gone")
    store.write(dataclasses.replace(gone, worker=dataclasses.replace(gone.worker, started="1")))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    for name in ("write_json", "write"):
        monkeypatch.setattr(store, name, full)
    monkeypatch.setattr(Path, "touch", full)
    for page in ("collapse.py", "runs.py"):
        app = open_app(page).run()
        assert not app.exception
        assert shows(app, "No space left on device")
        assert len(bars(app)) == 1  # and the dead one is not shown running
        app.button(key=f"strip_stop_{alive.id}").click().run()
        assert not app.exception
        assert shows(app, "No space left on device")
    assert shows(app, "The training process vanished")


@pytest.mark.parametrize("state", ["done", "stopped", "failed", "lost"])
@pytest.mark.parametrize("model", [True, False])
def test_the_strip_says_how_a_run_ended_until_it_is_put_away(open_app, put, state, model):
    run = put(state, "my first", reason="The disk is full.", model=model)
    app = open_app("collapse.py").run()
    assert not app.exception
    (line,) = [text for text in map(plain, texts(app)) if "The disk is full." in text]
    assert line.startswith("**my first** · ")
    assert f"[{state}]" in line
    assert line.endswith("Dev Spearman 50.0 → 61.5.")
    assert (f"strip_show_{run.id}" in keys(app)) == model
    assert (f"strip_details_{run.id}" in keys(app)) == (state != "done")
    app.button(key=f"strip_close_{run.id}").click().run()
    assert not shows(app, "The disk is full.")


def test_a_run_that_ended_long_ago_is_not_told_again(open_app, put):
    old = put("done", "old")
    store.write(dataclasses.replace(old, ended=old.ended - 100_000, heartbeat=old.ended - 100_000))
    app = open_app("collapse.py").run()
    assert not shows(app, "**old**")


def test_one_click_shows_a_run_against_its_backbone(open_app, put, monkeypatch):
    import streamlit as st

    asked = []
    monkeypatch.setattr(st, "switch_page", lambda page, *, query_params: asked.append((page, dict(query_params))))
    run = put("done")
    app = open_app("collapse.py")
    app.query_params["split"] = "test"
    app.run()
    app.button(key=f"strip_show_{run.id}").click().run()
    assert not app.exception
    assert asked == [("pages/collapse.py", {})]  # Streamlit refuses None and names of bound widgets
    assert app.multiselect(key="encoders").value == ["tiny", run.id]
    app.run()
    assert not app.exception
    assert not shows(app, "It is like this.")  # and the strip has been put away
    assert "tiny" in app.title[0].value


def test_details_of_a_failure_are_one_click_away(app, put, monkeypatch):
    import streamlit as st

    asked = []
    monkeypatch.setattr(st, "switch_page", lambda page, *, query_params: asked.append((page, dict(query_params))))
    failed, other = put("failed", "bad"), put("queued", "good")
    app.query_params["run"] = other.id
    app.run()
    assert app.main.subheader[-1].value == "good"
    app.button(key=f"strip_details_{failed.id}").click().run()
    assert asked == [("pages/runs.py", {})]
    app.run()
    assert app.main.subheader[-1].value == "bad"


def test_the_table_has_every_run_in_every_state(app, put):
    for state in ("done", "stopped", "failed", "lost", "running", "queued"):
        put(state, f"the {state} one")
    app.run()
    assert not app.exception
    table = app.main.dataframe[0].value
    assert table["state"].tolist() == ["queued", "running", "lost", "failed", "stopped", "done"]
    assert table["run"].tolist() == [f"the {state} one" for state in table["state"]]
    assert table["Spearman"].dropna().tolist() == [61.5] * 5
    assert table["gain"].dropna().tolist() == [11.5] * 5
    assert table["cosine"].dropna().tolist() == [0.42] * 5
    assert "+11.5 points of Spearman over tiny" in plain(app.title[0].value)
    assert app.main.subheader[-1].value == "the running one"  # the one that something happens to comes first


def test_a_loss_is_called_one(app, put):
    run = put("done", "worse")
    store.write(dataclasses.replace(run, progress={**run.progress, "dev_spearman_best": 47.5}))
    app.run()
    assert "−2.5 points" in app.title[0].value


def test_the_detail_has_curves_parameters_and_log(app, put):
    put("failed", "bad")
    app.run()
    assert not app.exception
    (chart,) = app.get("plotly_chart")
    names = {trace.get("name") for trace in json.loads(chart.proto.spec)["data"]}
    assert {"whole loss", "this run", "tiny", "kept"} <= names
    asked = next(frame.value for frame in app.main.dataframe if "what" in frame.value.columns)
    values = dict(zip(asked["what"], asked["value"], strict=True))
    assert values["batch size"] == "8"
    assert values["training data"] == "mine.csv, 40 rows"
    assert values["backbone"] == "tiny"
    assert any(block.value == "what the training said" for block in app.code)
    assert [tab.label for tab in app.tabs] == ["What was asked for", "Log"]


def test_a_run_without_curves_says_when_they_come(app, put):
    put("queued", "waits")
    app.run()
    assert not app.exception
    assert shows(app, "There are no curves yet")
    assert shows(app, "Waiting for its turn")
    assert not app.get("plotly_chart")


def test_the_collapse_alarm_is_seen_everywhere(open_app, put):
    put("running", "falls", alarm=ALARM)
    app = open_app("collapse.py").run()
    assert [plain(warning.value) for warning in app.warning] == [ALARM]
    app = open_app("runs.py").run()
    assert [plain(warning.value) for warning in app.warning] == [ALARM, f"Step 20: {ALARM}"]  # strip and detail
    (chart,) = app.get("plotly_chart")
    assert "collapse alarm" in {trace.get("name") for trace in json.loads(chart.proto.spec)["data"]}


def test_the_alarm_of_a_run_that_has_ended_is_in_its_detail(app, put):
    fell = put("done", "fell", alarm=ALARM)
    app.run()
    assert [plain(warning.value) for warning in app.warning] == [f"Step 20: {ALARM}"]
    # It got over it: the alarm holds no longer.
    with (fell.folder / store.METRICS).open("a") as stream:
        stream.write(json.dumps({"event": "evaluation", "step": 40, "loss": 0.1, "terms": {}, "alarm": ""}) + "\n")
    app.run()
    assert not app.warning


def test_the_best_is_one_of_those_measured_on_the_same_pairs(app, put):
    def measured(name, best, digest):
        run = put("done", name)
        dev = {**run.request.dev, "digest": digest, "name": f"{digest}.csv"}
        store.write(
            dataclasses.replace(
                run,
                request=dataclasses.replace(run.request, dev=dev),
                progress={**run.progress, "dev_spearman_best": best},
            )
        )

    measured("elsewhere", 90.0, "other")
    measured("better", 70.0, "same")
    measured("newest", 60.0, "same")
    app.run()
    assert plain(app.title[0].value) == "Best so far: better, +20.0 points of Spearman over tiny"
    assert shows(app, "on the pairs that the best step was chosen on (same.csv)")
    assert shows(app, "Runs measured on other pairs (1) cannot be compared with it.")


def test_a_better_step_that_the_detail_sees_first_is_in_the_title_too(app, put, monkeypatch):
    from pages.common import training

    run = put("running", "live")
    better = dataclasses.replace(run, progress={**run.progress, "dev_spearman_best": 77.0})
    seen = []

    def all_runs(*, fresh=False):
        if inspect.stack()[1].function == "_draw_detail":  # what is looked at every two seconds
            seen.append(better)
        return [better if seen else run]

    monkeypatch.setattr(training, "all_runs", all_runs)
    app.run()
    before = float(run.progress["dev_spearman_before"])
    assert plain(app.title[0].value).startswith(f"Best so far: live, +{77.0 - before:.1f} points")
    assert len(seen) == 2  # and it is drawn anew once


def test_a_variant_that_is_not_known_here(app, put):
    run = put("done", "from tomorrow")
    store.write(dataclasses.replace(run, request=dataclasses.replace(run.request, variant="tomorrow")))
    app.run()
    assert not app.exception
    assert shows(app, "This version knows no variant called tomorrow.")
    asked = next(frame.value for frame in app.main.dataframe if "what" in frame.value.columns)
    assert dict(zip(asked["what"], asked["value"], strict=True))["variant"] == "tomorrow"


def test_an_encoder_that_others_need_cannot_be_deleted(app, put, root):
    run, other = put("done", "needed"), put("stopped", "needs it")
    store.write(dataclasses.replace(other, request=dataclasses.replace(other.request, backbone=run.id)))
    app.query_params["run"] = run.id
    app.run()
    assert not app.exception
    assert shows(app, "It cannot be deleted while others start from its encoder and are not done: needs it.")
    assert "run_delete" not in keys(app)


def test_deleting_asks_first(app, put, root):
    run, other = put("done", "away"), put("stopped", "stays")
    app.query_params["run"] = run.id
    app.run()
    assert ids(root) == sorted([run.id, other.id])
    assert shows(app, "This deletes **away** with its encoder, curves and log")
    assert shows(app, "There is no way back.")
    assert app.button(key="run_delete").label == "Delete for good"
    app.multiselect(key="encoders").set_value(["tiny", run.id]).run()
    app.button(key="run_delete").click().run()
    assert not app.exception
    assert ids(root) == [other.id]
    assert app.main.subheader[-1].value == "stays"
    assert app.multiselect(key="encoders").value == ["tiny"]


def test_a_running_one_cannot_be_deleted_only_stopped(app, put):
    run = put("running")
    app.run()
    assert "run_delete" not in keys(app)
    app.button(key="run_stop").click().run()
    assert not app.exception
    assert store.read(run.folder).stop_asked
    assert app.button(key="run_stop").disabled


def test_a_waiting_one_can_be_taken_out_of_the_queue(app, put):
    run = put("queued")
    app.run()
    assert app.button(key="run_stop").label == "Take out of the queue"
    app.button(key="run_stop").click().run()
    assert not app.exception
    assert store.read(run.folder).state == "stopped"
    assert shows(app, "Taken out of the queue by you.")


@pytest.mark.parametrize("state", ["stopped", "failed", "lost"])
def test_resume_puts_it_back_into_the_queue(app, put, state):
    run = put(state)
    app.run()
    app.button(key="run_resume").click().run()
    assert not app.exception
    assert store.read(run.folder).state == "queued"


def test_what_is_done_cannot_be_resumed_and_what_goes_wrong_is_a_message(app, put, monkeypatch):
    run = put("done")
    app.run()
    assert "run_resume" not in keys(app)
    store.write(dataclasses.replace(run, state="lost"))
    app.run()
    monkeypatch.setenv("ANTICOLLAPSE_RUNS_KEEP_FREE_MB", str(2**40))
    app.button(key="run_resume").click().run()
    assert not app.exception
    assert any("the disk is nearly full" in plain(error.value) for error in app.error)


def test_duplicate_with_changes(app, put, root):
    run = put("done", "first")
    app.run()
    app.number_input(key=f"dup_{run.id}_seed").set_value(7)
    app.number_input(key=f"dup_{run.id}_supervised_weight").set_value(3.0)
    next(button for button in app.main.button if button.label == "Start").click().run()
    assert not app.exception
    new = store.all_runs(root)[0]
    assert new.id != run.id
    assert new.name == "first (2)"
    assert new.request.options == {**run.request.options, "seed": 7}
    assert new.request.parameters == {**run.request.parameters, "supervised_weight": 3.0}
    assert new.request.data == run.request.data
    assert app.main.subheader[-1].value == "first \\(2\\)"


def test_duplicate_with_values_that_contradict_each_other_is_a_message(app, put, root):
    run = put("done", "first")
    app.run()
    app.number_input(key=f"dup_{run.id}_epochs").set_value(2.0)  # it has steps already
    next(button for button in app.main.button if button.label == "Start").click().run()
    assert not app.exception
    assert len(ids(root)) == 1
    assert any("both steps and epochs are given" in plain(error.value) for error in app.error)


@pytest.mark.parametrize("name", HOSTILE, ids=["html", "emoji", "long", "path", "markdown", "formula"])
@pytest.mark.parametrize("state", ["running", "failed"])
def test_hostile_names_are_text(app, put, root, name, state):
    run = put(state, name, alarm=ALARM)
    waiting = put("queued", name)
    app.run()
    assert not app.exception
    assert len(run.name) <= store.MAX_NAME
    assert ids(root) == sorted([run.id, waiting.id])
    assert escape(run.name) in app.title[0].value
    shown = [text for text in texts(app) if run.name[:6] in plain(text) and "waiting" not in text]
    assert len(shown) >= 3  # title, strip, detail
    for text in shown:
        for raw in ("<script>", "<b>", "**y**", "[z](", ":red[r]", "$q$", "`c`"):
            assert raw not in text


@pytest.mark.parametrize("wanted", ["../../etc", "f" * 32, "<b>x</b>", ""])
def test_a_link_to_no_run_shows_another(app, put, wanted):
    put("done", "mine")
    app.query_params["run"] = wanted
    app.run()
    assert not app.exception
    assert app.main.subheader[-1].value == "mine"


def test_a_link_shows_its_run(app, put):
    first, _ = put("done", "first"), put("done", "second")
    app.query_params["run"] = first.id
    app.run()
    assert app.main.subheader[-1].value == "first"
    assert app.query_params["run"] in (first.id, [first.id])


def test_a_run_that_cannot_be_read_says_why_and_can_be_deleted(app, put, root):
    put("done", "mine")
    bad = root / ("e" * 32)
    bad.mkdir()
    (bad / store.RUN).write_text("{")
    app.query_params["run"] = bad.name
    app.run()
    assert not app.exception
    assert len(app.main.dataframe[0].value) == 2
    assert shows(app, "All that can be done here is to delete it.")
    assert "run_resume" not in keys(app)
    app.button(key="run_delete").click().run()
    assert not app.exception
    assert not bad.exists()


def test_a_vanished_worker_is_lost_as_soon_as_somebody_looks(app, put):
    run = put("running", "gone")
    store.write(dataclasses.replace(run, worker=dataclasses.replace(run.worker, started="1")))
    app.run()
    assert not app.exception
    assert store.read(run.folder).state == "lost"
    assert shows(app, "The training process vanished")
    assert "run_resume" in keys(app)


def test_what_a_download_is_for_is_said_truly(app, put):
    run = put("done", "vectors")
    assert archive_help(app, run) == "A zip of one folder that SentenceTransformer(…) loads."
    scorer = next(name for name, variant in variants().items() if variant.gives == "pair scores" and variant.trains)
    store.write(dataclasses.replace(run, request=dataclasses.replace(run.request, variant=scorer)))
    assert "load_pair_scorer(…)" in archive_help(app, run)


def test_the_downloaded_file_is_read_from_the_disk(app, put, monkeypatch):
    import streamlit as st

    made = []
    monkeypatch.setattr(st, "download_button", lambda _, data, *__, **___: made.append(data))
    run = put("done", "mine")
    app.run()
    assert not app.exception
    with made[-1]() as stream:
        assert isinstance(stream, io.BufferedReader)  # what Streamlit takes, and nothing is in memory yet
        names = zipfile.ZipFile(stream).namelist()
    assert f"sbert-{run.id[:8]}/modules.json" in names


def archive_help(app, run):
    app.run()
    assert not app.exception
    (button,) = [one for one in app.get("download_button") if "run_download" in one.proto.id]
    return button.proto.help


def test_the_download_is_the_encoder(put):
    run = put("done")
    stream = io.BytesIO()
    runs.write_zip(run, stream)
    names = zipfile.ZipFile(stream).namelist()
    assert len({name.partition("/")[0] for name in names}) == 1
    assert any(re.fullmatch(r"[^/]+/modules\.json", name) for name in names)


def test_a_trained_encoder_is_offered_by_its_name_in_every_session(open_app, put):
    run = put("done", "my first")
    app = open_app("collapse.py").run()
    assert "my first" in app.multiselect(key="encoders").options
    app.query_params["encoders"] = [run.id]
    again = open_app("collapse.py")
    again.query_params["encoders"] = [run.id]
    again.run()
    assert not again.exception
    assert "under my first" in plain(again.title[0].value)
