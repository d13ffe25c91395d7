"""The logic of the sidebar and the Collapse page, without a browser."""

from __future__ import annotations

import json
import shutil

import pytest

from anticollapse.data import load_pairs

GOOD = "sentence1,sentence2,score\n" + "".join(
    f"A man plays the guitar {i},A {'man' if i % 2 else 'dog'} {'plays' if i % 3 else 'eats'} {i},{i % 6}\n"
    for i in range(24)
)


@pytest.fixture
def app(open_app):
    return open_app("collapse.py")


def upload(app, name, content):
    app.query_params["data"] = "my file"
    if not app.file_uploader:
        app.run()
    app.file_uploader(key="upload").upload(name, content if isinstance(content, bytes) else content.encode())
    return app.run()


def messages(app):
    return [error.value for error in app.error]


def test_opens_on_the_answer(app):
    app.run()
    assert not app.exception
    assert not app.error
    assert "Unrelated sentences score 0.6" in app.title[0].value
    assert "and 0.2" in app.title[0].value
    assert "under cured\\-mini" in app.title[0].value


def test_good_upload_shows_its_own_numbers(app):
    upload(app, "mine.csv", GOOD)
    assert not app.exception
    assert not app.error
    assert any("24 pairs" in caption.value for caption in app.caption)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.csv", b""),
        ("one_column_of_numbers.csv", b"score\n1\n2\n"),
        ("nan.csv", b"sentence1,sentence2,score\na,b,1\nc,d,NaN\n"),
        ("binary.csv", bytes(range(256)) * 40),
        ("latin.csv", "sentence1,sentence2,score\nça,été,9999\n".encode("latin-1")),
        ("broken.xlsx", b"PK\x03\x04junk"),
        ("broken.parquet", b"PAR1junk"),
        ("../../etc/passwd.csv", b"\x00\x01"),
    ],
)
def test_bad_upload_is_one_message_and_the_page_lives(app, name, content):
    upload(app, name, content)
    assert not app.exception
    assert len(messages(app)) == 1
    app.file_uploader(key="upload").upload("mine.csv", GOOD.encode())
    app.run()
    assert not app.exception
    assert not messages(app)
    assert "Unrelated sentences score" in app.title[0].value


def test_html_and_markdown_in_columns_and_names_are_text(app):
    hostile = "<b>x</b> **y** [z](http://z) :red[r] $q$"
    rows = "".join(f"dog {i},cat {i},{i % 6},1\n" for i in range(8))
    upload(app, "evil.csv", f"sentence1,sentence2,score,{hostile}\n" + rows)
    assert not app.exception
    app.multiselect(key="encoders").set_value([hostile]).run()
    assert not app.exception
    shown = [*messages(app), *(block.value for block in app.markdown), *(caption.value for caption in app.caption)]
    mentioned = [text for text in shown if "y" in text and "z" in text and "http" in text]
    assert mentioned
    for text in mentioned:
        assert "**y**" not in text
        assert "[z](" not in text
        assert ":red[" not in text


def test_two_cured_encoders_of_different_bases(app, monkeypatch, tmp_path, raw_mini):
    shutil.copytree(raw_mini, tmp_path / "root" / "a")
    shutil.copytree(raw_mini, tmp_path / "root" / "b")
    monkeypatch.setenv("ANTICOLLAPSE_CHECKPOINTS", str(tmp_path / "root"))
    monkeypatch.setattr("pages.common.work.SHOW_AFTER", 0)
    app.query_params["encoders"] = ["a+standardising", "b+standardising"]
    app.run()
    assert not app.exception
    assert not messages(app)


def test_a_hub_name_in_a_link_asks_before_it_downloads(app, monkeypatch):
    monkeypatch.setattr("pages.common.work.load_encoder", lambda *_, **__: pytest.fail("downloaded without asking"))
    app.query_params["encoders"] = ["organisation/model"]
    app.run()
    assert not app.exception
    assert any("Download organisation/model" in button.label for button in app.button)


def test_cures_fitted_on_the_shown_pairs_are_called_so(app):
    app.query_params["split"] = "train"
    app.query_params["encoders"] = ["raw-mini", "raw-mini+centring"]
    app.run()
    assert not app.exception
    assert any("cures look better than they are" in block.value for block in app.markdown)


def test_an_encoder_trained_on_the_shown_pairs_is_called_so(app, monkeypatch, tmp_path, raw_mini):
    folder = tmp_path / "root" / "mine"
    shutil.copytree(raw_mini, folder)
    monkeypatch.setenv("ANTICOLLAPSE_CHECKPOINTS", str(tmp_path / "root"))
    record = {"data": {"digest": load_pairs("demo:dev").digest, "dev_digest": ""}}
    (folder / "training.json").write_text(json.dumps(record))
    app.query_params["encoders"] = ["mine", "mine+centring"]
    app.run()
    assert not app.exception
    said = [caption.value for caption in app.sidebar.caption if "trained on these very pairs" in caption.value]
    assert len(said) == 1
    assert said[0].startswith("mine was")
    app.segmented_control(key="split").set_value("test").run()
    assert not any("these very pairs" in caption.value for caption in app.caption)


def test_unlabelled_and_single_sentences(app):
    upload(app, "pairs.csv", "sentence1,sentence2\na dog runs,a cat sleeps\nthe man eats,the stock fell\n")
    assert not app.exception
    assert not app.error
    upload(app, "lines.txt", "a dog runs\nthe cat sleeps\nstocks fell today\n")
    assert not app.exception
    assert not app.error
    assert any("3 sentences" in caption.value for caption in app.caption)


@pytest.mark.parametrize("rows", ["a,b,3\n", "a,b,3\nc,d,3\ne,f,3\n", "a,a,5\na,a,5\n"])
def test_tiny_and_constant_files(app, rows):
    upload(app, "tiny.csv", "sentence1,sentence2,score\n" + rows)
    assert not app.exception
    assert not app.error


def test_columns_can_be_reassigned(app):
    content = "left text,right text,other text,points\n" + "".join(
        f"dog {i},cat {i},man {i},{i % 6}\n" for i in range(12)
    )
    upload(app, "wide.csv", content)
    assert not app.exception
    box = next(box for box in app.selectbox if box.label == "Second sentence")
    box.select(3).run()
    assert not app.exception
    frame = app.dataframe[-1].value
    assert frame["sentence 2"].str.startswith("man").all()


def test_columns_scale_and_header_can_be_stated_when_reading_failed(app):
    rows = "".join(f"dog {i},cat {i},{i % 7 + 1}\n" for i in range(30))
    upload(app, "likert.csv", "one,two,three\n" + rows)
    assert not app.exception
    box = next(box for box in app.selectbox if box.label == "Score")
    box.select(3).run()
    assert len(messages(app)) == 1  # scores to 7 fit no scale
    next(box for box in app.selectbox if box.label == "Scale of the scores").select("0-100").run()
    assert not app.exception
    assert not messages(app)
    frame = app.dataframe[-1].value
    assert frame["label"].max() <= 0.35 + 1e-9


def test_unknown_encoder_is_a_message_and_the_others_go_on(app):
    app.query_params["encoders"] = ["raw-mini", "no-such-encoder"]
    app.run()
    assert not app.exception
    assert any("no\\-such\\-encoder" in message for message in messages(app))
    assert "under raw\\-mini" in app.title[0].value


@pytest.mark.parametrize("name", ["../../etc", "/etc", "raw-mini+nothing", "organisation/model", "<b>x</b>"])
def test_hostile_encoder_names(app, name):
    app.query_params["encoders"] = [name]
    app.run()
    assert not app.exception
    assert len(messages(app)) == 1


def test_no_encoder(app):
    app.query_params["encoders"] = [""]
    app.run()
    app.multiselect(key="encoders").set_value([]).run()
    assert not app.exception
    assert any("Choose at least one encoder" in info.value for info in app.info)


def test_named_set_that_is_not_here_says_how_to_get_it(app):
    app.query_params["data"] = "stsb"
    app.run()
    assert not app.exception
    assert len(messages(app)) == 1
    assert "ANTICOLLAPSE" in messages(app)[0].replace("\\", "")


def test_link_restores_the_state(app):
    app.query_params["data"] = "demo"
    app.query_params["split"] = "test"
    app.query_params["encoders"] = ["raw-mini+standardising"]
    app.run()
    assert not app.exception
    assert "standardising" in app.title[0].value
    assert app.segmented_control(key="split").value == "test"


def test_bad_rows_can_be_left_out_and_are_listed(app):
    upload(app, "some_bad.csv", GOOD + "c,d,oops\n,e,2\n")
    assert len(messages(app)) == 1
    app.toggle(key="skip_bad_rows").set_value(True).run()
    assert not app.exception
    assert not messages(app)
    assert any("2 bad rows left out" in caption.value for caption in app.caption)
    assert app.sidebar.dataframe[0].value["row"].tolist() == [26, 27]


HAN = "男人 女人 狗 猫 孩子 吉他 钢琴 马 球 食物".split()


@pytest.fixture
def chinese(monkeypatch):
    """Chinese pairs in the place of every set of pairs by name but the demo."""
    import numpy as np

    from anticollapse.data import PairSet

    pairs = PairSet(
        name="stsb-zh:dev",
        sentences1=tuple(f"一个{HAN[i % 10]}在跑步。" for i in range(20)),
        sentences2=tuple(f"一个{HAN[i % 7]}在吃{HAN[i % 3]}。" for i in range(20)),
        scores=np.linspace(0, 5, 20),
        rows=np.arange(1, 21),
    )
    named = lambda data, split: load_pairs(f"demo:{split}") if data == "demo" else pairs  # noqa: E731
    monkeypatch.setattr("pages.common.sidebar._named", named)


def test_chinese_data_opens_with_the_chinese_encoder(app, chinese):
    app.run()
    assert app.multiselect(key="encoders").value == ["raw-mini", "cured-mini"]
    app.selectbox(key="data").set_value("stsb-zh").run()
    assert not app.exception
    assert app.multiselect(key="encoders").value == ["raw-mini-zh", "raw-mini-zh+whitening"]
    assert "under raw\\-mini\\-zh" in app.title[0].value
    assert app.selectbox(key="ft_backbone").value == "raw-mini-zh"
    app.selectbox(key="data").set_value("demo").run()
    assert app.multiselect(key="encoders").value == ["raw-mini", "cured-mini"]


def test_what_was_chosen_stays_when_the_data_change_and_the_page_says_what_would_suit(app, chinese):
    app.run()
    app.multiselect(key="encoders").set_value(["raw-mini"]).run()
    app.selectbox(key="data").set_value("stsb-zh").run()
    assert app.multiselect(key="encoders").value == ["raw-mini"]
    assert any(
        "Choose an encoder of this language, such as raw-mini-zh." in one.value.replace("\\", "") for one in app.warning
    )


def test_a_choice_that_equals_the_default_stays_too(app, chinese):
    app.query_params["encoders"] = ["raw-mini", "cured-mini"]
    app.run()
    app.selectbox(key="ft_backbone").set_value("cured-mini").run()
    app.selectbox(key="data").set_value("stsb-zh").run()
    assert app.multiselect(key="encoders").value == ["raw-mini", "cured-mini"]
    assert app.selectbox(key="ft_backbone").value == "cured-mini"


@pytest.mark.parametrize(
    ("name", "text"), [("raw-mini-zh", "🜁🜂🜃 龘靐齉"), ("raw-mini", "これは犬です、猫ではありません")]
)
def test_no_chinese_encoder_is_proposed_instead_of_itself_or_for_japanese(app, name, text):
    app.query_params["encoders"] = [name]
    rows = "".join(f"{text} {i},{text} {i + 1},{i % 6}\n" for i in range(20))
    upload(app, "a.csv", "sentence1,sentence2,score\n" + rows)
    assert not app.exception
    assert any("unknown to" in one.value for one in app.warning)
    assert not any("such as" in one.value for one in app.warning)


def test_a_chinese_file_opens_with_the_chinese_encoder_and_cures_are_fitted_on_chinese(app):
    rows = "".join(f"一个{HAN[i % 10]}在跑步,一个{HAN[i % 7]}在吃{HAN[i % 3]},{i % 6}\n" for i in range(40))
    upload(app, "zh.csv", "sentence1,sentence2,score\n" + rows)
    assert not app.exception
    assert app.multiselect(key="encoders").value == ["raw-mini-zh", "raw-mini-zh+whitening"]
    shown = " ".join(block.value for block in app.markdown)
    assert "fitted on the sentences of the file itself, as no other Chinese text is at hand" in shown
    assert not app.warning
