"""The logic of the Tokens page, without a browser."""

from __future__ import annotations

import re

import pytest


@pytest.fixture
def app(open_app):
    return open_app("tokens.py")


def captions(app):
    return [caption.value.replace("\\", "") for caption in app.caption]


def test_opens_on_the_answer_and_the_cells_sum_to_the_cosine(app):
    app.run()
    assert not app.exception
    assert not app.error
    assert re.search(
        r"make \d+% of the sentence vectors under raw\\-mini; they are \d+% of the tokens", app.title[0].value
    )
    sums = [re.search(r"cells sum to (-?[\d.]+), the encoder's cosine is (-?[\d.]+)", text) for text in captions(app)]
    found = [(float(m[1]), float(m[2])) for m in sums if m]
    assert len(found) == 2
    for total, cosine in found:
        assert total == pytest.approx(cosine, abs=2e-4)


def test_typed_sentences_with_html_and_emoji(app):
    app.run()
    app.toggle(key="typed").set_value(True).run()
    app.text_input(key="s1").set_value("<b>dogs</b> 🐕 *run*").run()
    app.text_input(key="s2").set_value("一个男人").run()
    assert not app.exception
    assert not app.error
    app.text_input(key="s2").set_value("   ").run()
    assert not app.exception
    assert any("need some text" in info.value for info in app.info)


def test_single_sentences_show_tokens_and_no_pair(app):
    app.query_params["data"] = "my file"
    app.run()
    app.file_uploader(key="upload").upload("lines.txt", b"a dog runs\nthe cat sleeps\nstocks fell today\n")
    app.run()
    assert not app.exception
    assert not app.error
    assert any("no pairs" in text or "single" in text or "no labels" in text for text in captions(app)), captions(app)


def test_an_encoder_that_does_not_average_says_so(app, tmp_path, monkeypatch):
    from tests.conftest import build_encoder

    folder = build_encoder(tmp_path, pooling="cls")
    (tmp_path / "root").mkdir()
    folder.rename(tmp_path / "root" / "cls-encoder")
    monkeypatch.setenv("ANTICOLLAPSE_CHECKPOINTS", str(tmp_path / "root"))
    app.query_params["encoders"] = ["cls-encoder"]
    app.run()
    assert not app.exception
    assert any("cls" in info.value.lower() for info in app.info)


def test_every_layer(app):
    app.query_params["encoders"] = ["raw-mini"]
    app.run()
    app.toggle(key="layers").set_value(True).run()
    assert not app.exception
    assert any("mean of each layer" in text for text in captions(app))
