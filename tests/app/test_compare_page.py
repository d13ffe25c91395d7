"""The logic of the Compare page, without a browser."""

from __future__ import annotations

import pytest

GOOD = "sentence1,sentence2,score\n" + "".join(
    f"A man plays the guitar {i},A {'man' if i % 2 else 'dog'} {'plays' if i % 3 else 'eats'} {i},{i % 6}\n"
    for i in range(24)
)
BOTH = ["raw-mini", "cured-mini"]


@pytest.fixture
def app(open_app):
    return open_app("compare.py")


def upload(app, name, content):
    app.query_params["data"] = "my file"
    if not app.file_uploader:
        app.run()
    app.file_uploader(key="upload").upload(name, content.encode())
    return app.run()


def texts(app):
    blocks = [*app.title, *app.caption, *app.markdown, *app.info]
    return " ".join(block.value.replace("\\", "") for block in blocks)


def clean(app):
    return not app.exception and not app.error


def disputed(app):
    """The table of the pairs that two encoders disagree on; a study's table may stand below it."""
    return next(one.value for one in app.dataframe if any("place by" in str(name) for name in one.value.columns))


def test_opens_on_a_finding_with_numbers(app):
    app.run()
    assert clean(app)
    title = app.title[0].value.replace("\\", "")
    assert "cured-mini" in title
    assert "points of Spearman" in title
    assert "no correction for several is needed" in texts(app)
    assert app.selectbox(key="against").value == "raw-mini"
    assert disputed(app)["closer to people"].isin([*BOTH, "both alike"]).all()


def test_another_reference_turns_the_finding_and_is_in_the_link(app):
    app.query_params["against"] = "cured-mini"
    app.run()
    assert clean(app)
    assert app.selectbox(key="against").value == "cured-mini"
    columns = [str(table.value.columns[0]).replace("\\", "") for table in app.table]
    assert any("cured-mini" in column for column in columns)


def test_three_encoders_are_corrected_and_each_can_be_looked_at(app):
    app.query_params["encoders"] = [*BOTH, "raw-mini+first-last"]
    app.run()
    assert clean(app)
    assert "corrected for 2 comparisons" in texts(app)
    app.segmented_control(key="rival").set_value("raw-mini+first-last").run()
    assert clean(app)
    assert "place by raw-mini+first-last" in disputed(app).columns


def test_how_often_pairs_were_drawn_is_that_of_the_comparison(app, monkeypatch):
    monkeypatch.setattr("anticollapse.measures.significance.default_resamples", lambda n: 640)
    app.query_params["encoders"] = BOTH
    upload(app, "drawn.csv", GOOD.replace("guitar", "drum"))
    assert clean(app)
    assert "drawn anew 640 times" in texts(app)
    assert "A line across 0 shows no difference; one clear of 0 shows one unless" in texts(app)


def test_one_encoder_invites_to_choose_another(app):
    app.query_params["encoders"] = ["raw-mini"]
    app.run()
    assert clean(app)
    assert "Choose another encoder" in texts(app)
    assert "stands alone" in texts(app)


def test_no_labels_says_what_is_missing(app):
    rows = [
        f"a {a} runs,the {b} sleeps on the {a}"
        for a in ("dog", "man", "stock")
        for b in ("cat", "food", "boat", "bank")
    ]
    upload(app, "pairs.csv", "\n".join(["sentence1,sentence2", *rows, "the man eats,the stock fell"]))
    assert clean(app)
    assert "the pairs have no labels" in texts(app)
    assert "people" not in str(disputed(app).columns)


def test_single_sentences(app):
    upload(app, "lines.txt", "a dog runs\nthe cat sleeps\nstocks fell today\n")
    assert clean(app)
    assert "single sentences" in texts(app)


@pytest.mark.parametrize("rows", ["a,b,3\n", "a,b,3\nc,d,3\ne,f,3\n", "a,a,5\na,a,5\n", "a,b,1\nc,d,3\ne,f,5\n"])
def test_tiny_and_constant_files(app, rows):
    upload(app, "tiny.csv", "sentence1,sentence2,score\n" + rows)
    assert clean(app)
    assert "nan" not in app.title[0].value.lower()


def test_a_failing_encoder_is_a_message_and_the_others_are_compared(app):
    app.query_params["encoders"] = [*BOTH, "no-such-encoder"]
    app.run()
    assert not app.exception
    assert len(app.error) == 1
    assert "points of Spearman" in app.title[0].value


def test_a_bad_file_is_one_message(app):
    upload(app, "bad.csv", "sentence1,sentence2,score\na,b,1\nc,d,oops\n")
    assert not app.exception
    assert len(app.error) == 1


def test_no_encoder(app):
    app.query_params["encoders"] = [""]
    app.run()
    app.multiselect(key="encoders").set_value([]).run()
    assert not app.exception
    assert "at least two encoders" in texts(app)


def test_hostile_names_are_text(app):
    upload(app, "<b>x</b> **y** [z](http://z).csv", GOOD)
    assert clean(app)
    assert not any("[z](http" in block.value for block in [*app.caption, *app.markdown])
