"""The form in the sidebar that starts a training, without a browser."""

from __future__ import annotations

import shutil
import time

import pytest

from anticollapse import runs
from anticollapse.errors import RunError
from anticollapse.runs import Speed, store
from anticollapse.runs import estimate as estimating
from anticollapse.training import get_variant, variants
from pages.common import fields, finetune, training

SCORED = "sentence1,sentence2,score\n" + "".join(f"a dog runs {i},a cat eats {i},{i % 6}\n" for i in range(100))
UNSCORED = "sentence1,sentence2\n" + "".join(f"a dog runs {i},a cat eats {i}\n" for i in range(30))
SINGLE = "".join(f"a dog runs {i}\n" for i in range(30))


@pytest.fixture
def app(open_app, root):
    return open_app("runs.py")


def upload(app, name, content):
    app.query_params["data"] = "my file"
    app.run()
    app.file_uploader(key="upload").upload(name, content.encode())
    return app.run()


def captions(app):
    return [caption.value.replace("\\", "") for caption in app.sidebar.caption]


def errors(app):
    return [error.value.replace("\\", "") for error in app.sidebar.error]


def widget(app, key):
    """The widget with this key in the sidebar, whatever its kind."""
    for kind in (app.sidebar.number_input, app.sidebar.selectbox, app.sidebar.checkbox, app.sidebar.text_input):
        for one in kind:
            if one.key == key:
                return one
    raise KeyError(key)


@pytest.mark.parametrize("name", [name for name, variant in variants().items() if variant.trains])
def test_the_form_is_made_from_the_definition_of_the_variant(app, name):
    app.run()
    app.selectbox(key="ft_variant").select(name).run()
    assert not app.exception
    shown = {*get_variant(name).parameters, *training.options()}
    for parameter in shown:
        if parameter.name in {"steps", "epochs", "batch_size"}:
            continue
        field = widget(app, f"ft_{name}_{parameter.name}")
        assert field.label == fields.title(parameter)
        assert field.value == parameter.default
        assert parameter.help[1:] in field.help
        assert parameter.bounds in field.help
        if parameter.unit:
            assert f"({parameter.unit})" in field.label
        if parameter.choices:
            assert field.options == [str(choice) for choice in parameter.choices]
        elif parameter.kind in {int, float}:
            assert parameter.minimum is None or field.min == parameter.minimum
            assert parameter.maximum is None or field.max == parameter.maximum
    assert widget(app, f"ft_{name}_batch_size").value == get_variant(name).defaults.batch_size


def test_a_value_out_of_bounds_is_not_taken(app, root):
    app.run()
    app.number_input(key="ft_sbert_warmup").set_value(7.0).run()  # a browser does not let it come to that
    assert not app.exception
    assert app.number_input(key="ft_sbert_warmup").value == 0.1
    app.button(key="ft_start").click().run()
    assert "warmup" not in store.all_runs(root)[0].request.options


@pytest.mark.parametrize(
    ("name", "content", "first", "missing"),
    [
        ("lines.txt", SINGLE, "simcse", "It needs pairs of sentences, and this data has single ones"),
        ("pairs.csv", UNSCORED, "simcse", "It needs pairs with scores, and these have none"),
    ],
)
def test_variants_that_the_data_does_not_allow_say_what_they_need(app, name, content, first, missing):
    upload(app, name, content)
    assert not app.exception
    box = app.selectbox(key="ft_variant")
    assert box.value == first
    assert "sbert" not in box.options
    (said,) = [text for text in captions(app) if text.startswith("Not with this data:") and missing in text]
    assert "sbert" in said
    for allowed in box.options:
        assert f" {allowed}," not in said


def test_without_data_it_says_what_to_do_first(app):
    app.query_params["data"] = "my file"
    app.run()
    assert not app.exception
    assert "Choose sentence pairs above first." in captions(app)
    assert [button.key for button in app.sidebar.button if button.key == "ft_start"] == []


def test_start_puts_just_what_was_chosen_into_the_queue(app, root):
    upload(app, "mine.csv", SCORED)
    assert "Trains on 80 pairs of mine.csv. The best step is chosen on 20 other pairs." in captions(app)
    steps = next(field for field in app.sidebar.number_input if field.label == "Steps")
    steps.set_value(12)
    app.number_input(key="ft_sbert_seed").set_value(5)
    app.number_input(key="ft_sbert_batch_size").set_value(9)
    app.number_input(key="ft_sbert_supervised_weight").set_value(2.0)
    app.text_input(key="ft_name").set_value("my first").run()
    app.button(key="ft_start").click().run()
    assert not app.exception
    assert not errors(app)
    (run,) = store.all_runs(root)
    assert (run.name, run.state, run.request.backbone, run.request.variant) == ("my first", "queued", "tiny", "sbert")
    assert run.request.options == {"steps": 12, "batch_size": 9, "seed": 5}
    assert run.request.parameters["supervised_weight"] == 2.0
    kept = store.read_pairs_of(run.folder / store.TRAIN), store.read_pairs_of(run.folder / store.DEV)
    assert (kept[0].n, kept[1].n) == (80, 20)
    assert app.session_state["_run_shown"] == run.id
    assert [heading.value for heading in app.main.subheader if heading.value == "my first"]


def test_a_full_queue_is_said_and_the_page_lives(app, root, monkeypatch):
    monkeypatch.setenv("ANTICOLLAPSE_RUNS_MAX_QUEUED", "1")
    app.run()
    app.button(key="ft_start").click().run()
    app.button(key="ft_start").click().run()
    assert not app.exception
    assert len(store.all_runs(root)) == 1
    assert any("the queue is full: 1 runs are waiting" in text for text in errors(app))
    runs.delete(store.all_runs(root)[0].id, root=root)
    app.run()
    app.button(key="ft_start").click().run()
    assert not errors(app)


@pytest.mark.parametrize("backbone", ["../../etc", "/etc", "no-such-encoder", "a real one"])
def test_a_backbone_outside_the_root_is_refused(app, root, backbone, monkeypatch):
    if backbone == "a real one":
        backbone = str(shutil.copytree(root / "tiny", root.parent / "elsewhere"))
    monkeypatch.setattr(finetune, "_choose_backbone", lambda: backbone)  # a name may be typed
    monkeypatch.setattr(estimating, "_run", lambda *_: pytest.fail("a probe was started"))
    app.run()
    app.button(key="ft_start").click().run()
    assert not app.exception
    assert errors(app)
    assert store.all_runs(root) == []
    estimate(app)
    assert not app.exception
    assert any(text.startswith("No estimate: there is no encoder called") for text in captions(app)), captions(app)


def estimate(app):
    app.run()
    app.button(key="ft_estimate").click().run()
    deadline = time.monotonic() + 30
    while not all(future.done() for future in training._probes().values()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return app.run()


def test_the_estimate_is_that_of_the_probe(app, monkeypatch):
    speed = Speed(setup=10.0, step=0.5, look=2.0, write=1.0, dev_share=0.1, threads=3)
    monkeypatch.setattr(runs, "probe", lambda *_, **__: speed)
    estimate(app)
    assert not app.exception
    steps = next(field for field in app.sidebar.number_input if field.label == "Steps").value
    minutes = round((10 + steps * 0.5 + 10 * 1.0 + 11 * 2.0 / 0.1) / 60)
    wanted = f"About **{minutes} min** for {steps:,} steps: 0.50 s a step was measured with 3 threads."
    assert any(text.startswith(wanted) for text in captions(app)), captions(app)
    # It belongs to what was measured: other values, another estimate.
    app.number_input(key="ft_sbert_batch_size").set_value(7).run()
    assert not any("was measured" in text for text in captions(app))


def test_a_failed_probe_says_why_and_does_not_hinder_the_start(app, root, monkeypatch):
    def fail(*_, **__):
        raise RunError("the speed cannot be measured (no <b>room</b>)")

    monkeypatch.setattr(runs, "probe", fail)
    estimate(app)
    assert any("No estimate: the speed cannot be measured (no <b>room</b>)" in text for text in captions(app))
    # What failed can be tried again: there may be room now.
    speed = Speed(setup=10.0, step=0.5, look=2.0, dev_share=0.5, threads=3)
    monkeypatch.setattr(runs, "probe", lambda *_, **__: speed)
    estimate(app)
    assert any("was measured with 3 threads" in text for text in captions(app))
    assert not any("No estimate" in text for text in captions(app))
    app.button(key="ft_start").click().run()
    assert len(store.all_runs(root)) == 1


def test_a_pass_over_the_data_is_told_for_the_chosen_batch_size(app):
    upload(app, "mine.csv", SCORED)  # 80 of its pairs are trained on
    app.number_input(key="ft_sbert_batch_size").set_value(9).run()
    steps = next(field for field in app.sidebar.number_input if field.label == "Steps")
    assert "With this batch size, 9 are one pass over the data." in steps.help
    steps.set_value(12).run()
    app.number_input(key="ft_sbert_batch_size").set_value(40).run()
    steps = next(field for field in app.sidebar.number_input if field.label == "Steps")
    assert "With this batch size, 2 are one pass over the data." in steps.help
    assert steps.value == 12  # what was typed stays


def test_the_backbone_is_an_untrained_encoder_at_first(app, root):
    shutil.copytree(root / "tiny", root / "a-cured-one")
    (root / "a-cured-one" / "training.json").write_text("{}")
    app.run()
    assert not app.exception
    assert app.selectbox(key="ft_backbone").options == ["tiny", "a-cured-one"]
    assert app.selectbox(key="ft_backbone").value == "tiny"


def test_a_backbone_may_be_a_run_that_has_ended_but_not_one_that_goes_on(app, put):
    done, going = put("done", "ended"), put("running", "goes on")
    app.run()
    assert not app.exception
    options = app.selectbox(key="ft_backbone").options
    assert "ended" in options
    assert "goes on" not in options
    app.selectbox(key="ft_backbone").select(done.id).run()
    assert app.text_input(key="ft_name").placeholder == "sbert from ended"
    assert going.id not in app.multiselect(key="encoders").options
