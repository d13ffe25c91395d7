"""The logic of the Tokens page, without a browser."""

from __future__ import annotations

import re
import shutil

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


def put_encoder(tmp_path, monkeypatch, name, **options):
    """The only encoder there is, under a name that says nothing of how it pools."""
    from tests.conftest import build_encoder

    (tmp_path / "root").mkdir(exist_ok=True)
    folder = build_encoder(tmp_path / name, **options)
    folder.rename(tmp_path / "root" / name)
    monkeypatch.setenv("ANTICOLLAPSE_CHECKPOINTS", str(tmp_path / "root"))
    return tmp_path / "root" / name


def charts(app):
    return {chart.proto.id.rpartition("-")[2] for chart in app.get("plotly_chart")}


def test_an_encoder_that_does_not_average_says_so(app, tmp_path, monkeypatch):
    put_encoder(tmp_path, monkeypatch, "mine", pooling="cls")
    app.query_params["encoders"] = ["mine"]
    app.run()
    assert not app.exception
    said = [info.value for info in app.info]
    assert sum("takes the first token alone as the sentence vector" in text for text in said) == 3  # shares, curve, map
    assert app.title[0].value == "No average of tokens here"
    assert charts(app) == {"dimensions"}
    assert not any("cells sum to" in text for text in captions(app))


def test_a_mean_with_a_curved_layer_behind_it_is_not_said_to_be_no_mean(app, tmp_path, monkeypatch):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense

    folder = put_encoder(tmp_path, monkeypatch, "mine")
    model = SentenceTransformer(str(folder), device="cpu")
    SentenceTransformer(modules=[*model, Dense(32, 8)], device="cpu").save(str(tmp_path / "root" / "bent"))
    app.query_params["encoders"] = ["bent"]
    app.run()
    assert not app.exception
    assert "do not average" not in app.title[0].value
    assert "not linear" in app.title[0].value
    assert charts(app) == {"dimensions", "removal"}


def test_the_common_direction_is_described_as_it_was_found(app):
    app.query_params["encoders"] = ["raw-mini", "raw-mini+centring"]
    app.run()
    raw = next(text for text in captions(app) if "most frequent tokens it is" in text)
    assert re.search(r"raw-mini: unrelated sentences have a mean cosine of 0\.\d+; without the 200 most frequent", raw)
    cured = [text for text in captions(app) if "hardly a common direction to remove" in text]
    assert len(cured) == 1
    assert "centred" in cured[0] or "centring" in cured[0]


def test_notes_of_the_shares_are_shown(app):
    app.run()
    assert any("Tokens are ranked by their frequency in" in text for text in captions(app))


def test_a_sentence_that_was_cut_is_said(app):
    app.run()
    app.toggle(key="typed").set_value(True).run()
    assert not app.warning
    app.text_input(key="s2").set_value("the dog runs " * 100).run()
    assert not app.exception
    assert len(app.warning) == 2
    assert all("The second sentence is longer than" in warning.value for warning in app.warning)


def test_frequencies_from_a_file(app):
    app.query_params["encoders"] = ["raw-mini", "raw-mini+centring"]
    app.run()
    app.file_uploader(key="counts_file").upload("counts.txt", b"the 60\na 50\nis 40\nman 30\nplaying 20\n")
    app.run()
    assert not app.exception
    assert not app.error
    assert any("frequency in counts.txt" in text for text in captions(app))
    table = next(frame.value for frame in app.dataframe if "frequency rank" in frame.value)
    assert table["frequency rank"].tolist() == ["special", "1–10", "not in the reference"]
    assert 1 <= table["different tokens"].tolist()[1] <= 5


def test_a_file_of_frequencies_that_cannot_be_read_is_one_message(app):
    app.query_params["encoders"] = ["raw-mini", "raw-mini+centring"]
    app.run()
    app.file_uploader(key="counts_file").upload("counts.txt", b"the 60\nno count\n")
    app.run()
    assert not app.exception
    assert len(app.error) == 1
    assert "row 2" in app.error[0].value.replace("\\", "")
    assert charts(app) >= {"shares", "removal"}


def test_bands_of_two_tokenizers_stand_in_their_own_columns(app, tmp_path, monkeypatch):
    from tests.conftest import ROOT

    put_encoder(tmp_path, monkeypatch, "mine")
    shutil.copytree(ROOT / "checkpoints" / "raw-mini", tmp_path / "root" / "raw-mini")
    app.query_params["encoders"] = ["raw-mini", "mine"]  # the second has too few tokens for the third band
    app.run()
    assert not app.exception
    table = next(frame.value for frame in app.dataframe if "frequency rank" in frame.value)
    names = table["frequency rank"].tolist()
    assert names == [name for name in ("special", "1–10", "11–100", "101–1,000", "1,001–10,000") if name in names]
    assert len(names) >= 4
    for name in ("raw-mini", "mine"):
        assert table[f"% of tokens, {name}"].sum() == pytest.approx(100)
        assert table[f"% of vectors, {name}"].sum() == pytest.approx(100)
    assert table["different tokens, mine"].tolist()[-1] == 0


def test_every_layer(app):
    app.query_params["encoders"] = ["raw-mini"]
    app.run()
    app.toggle(key="layers").set_value(True).run()
    assert not app.exception
    assert any("mean of each layer" in text for text in captions(app))
