"""The logic of the Map page, without a browser."""

from __future__ import annotations

import re
import shutil

import pytest

from anticollapse.errors import EncoderError

PAIRS = "sentence1,sentence2,score,source\n" + "".join(
    f"A man plays the guitar {i},A {'man' if i % 2 else 'dog'} {'plays' if i % 3 else 'eats'} {i},{i % 6},"
    f"{'news' if i % 4 else 'web'}\n"
    for i in range(24)
)


@pytest.fixture
def app(open_app):
    page = open_app("map.py")
    page.default_timeout = 280  # a first map waits for compilers
    return page


@pytest.fixture
def small(app, monkeypatch, tmp_path, tiny_encoder):
    """The page with two tiny encoders of other names, for sets whose content is what matters."""
    root = tmp_path / "root"
    root.mkdir()
    shutil.copytree(tiny_encoder, root / "tiny")
    monkeypatch.setenv("ANTICOLLAPSE_CHECKPOINTS", str(root))
    app.query_params["encoders"] = ["tiny", "tiny+centring"]
    return app


def upload(app, name, content):
    app.query_params["data"] = "my file"
    if not app.file_uploader:
        app.run()
    app.file_uploader(key="upload").upload(name, content if isinstance(content, bytes) else content.encode())
    return app.run()


def plain(blocks):
    return [block.value.replace("\\", "") for block in blocks]


def sentences_table(app):
    return next(frame.value for frame in app.dataframe if "sentence" in frame.value.columns)


def neighbour_tables(app):
    return [table.value for table in app.table if "neighbour" in table.value.columns]


def fine(app):
    assert not app.exception
    assert not app.error
    return app


def test_opens_on_the_answer(app):
    fine(app.run())
    assert re.fullmatch(
        r"Of its 10 nearest neighbours under raw-mini, a sentence keeps \d\d% under raw-mini\+centring",
        plain(app.title)[-1],
    )
    assert "Sentences that changed their company most" in plain(app.subheader)
    frame = sentences_table(app)
    assert frame["kept"].is_monotonic_increasing
    assert len(neighbour_tables(app)) == 2
    shared = [frame[frame.index.str.endswith("✓")]["neighbour"].tolist() for frame in neighbour_tables(app)]
    assert set(shared[0]) == set(shared[1])
    assert any(f"{len(shared[0])} of 10 are neighbours under every encoder" in text for text in plain(app.caption))


def test_neighbours_are_those_of_the_vectors(app, raw_mini):
    from anticollapse.data import load_pairs
    from anticollapse.encoding import load_encoder
    from anticollapse.measures.neighbours import nearest_neighbours

    app.query_params["encoders"] = ["raw-mini"]
    app.query_params["sentence"] = "17"
    fine(app.run())
    texts = load_pairs("demo:dev").sentences
    near = nearest_neighbours(load_encoder(raw_mini).encode(texts).vectors, 10)
    shown = neighbour_tables(app)[0]
    assert shown["neighbour"].str.replace("\\", "").tolist() == [texts[i] for i in near.indices[17]]
    assert shown.index.astype(float).tolist() == pytest.approx(near.cosines[17].tolist(), abs=6e-4)
    assert any(texts[17] in text for text in plain(app.markdown))


def test_second_visit_computes_nothing(app, monkeypatch):
    fine(app.run())
    monkeypatch.setattr("pages.common.maps.map_sentences", lambda *_, **__: pytest.fail("it was known"))
    fine(app.run())


@pytest.mark.parametrize("colour", ["label", "source", "group", "kept", "moved"])
def test_colours(small, colour):
    upload(small, "pairs.csv", PAIRS)
    fine(small)
    small.segmented_control(key="color").set_value(colour).run()
    fine(small)


def test_colours_are_offered_where_there_is_something_to_colour_by(small):
    upload(small, "lines.txt", "a dog runs\nthe cat sleeps\nstocks fell today\na man eats\n")
    fine(small)
    assert list(small.segmented_control(key="color").options) == ["encoder", "group", "kept", "moved"]
    small.multiselect(key="encoders").set_value(["tiny"]).run()
    fine(small)
    assert list(small.segmented_control(key="color").options) == ["encoder", "group"]


def test_search_finds_without_regard_to_case_and_lists(small):
    upload(small, "pairs.csv", PAIRS)
    small.text_input(key="search").set_value("GUITAR 1").run()
    fine(small)
    assert "11 sentences found" in plain(small.subheader)
    assert any("11 sentences contain “guitar 1”; ringed on the map." in text for text in plain(small.caption))
    assert sentences_table(small)["sentence"].str.contains("guitar 1").all()
    small.text_input(key="search").set_value("<b>*[x](http://y) $z$ (").run()
    fine(small)
    assert any("0 sentences contain" in text for text in plain(small.caption))
    shown = " ".join(caption.value for caption in small.caption)
    assert "[x](" not in shown
    assert "<b>" not in shown


def test_a_selection_is_listed_with_its_pairs_and_can_be_cleared(small):
    upload(small, "pairs.csv", PAIRS)
    small.session_state["_map_picked"] = [0, 1, 10_000]
    small.run()
    fine(small)
    assert "2 selected sentences" in plain(small.subheader)
    frame = sentences_table(small)
    assert sorted(set(frame["row"])) == [2]
    assert frame["label"].tolist() == [0.0] * len(frame)
    assert frame["other sentence of the pair"].tolist() == frame["sentence"].tolist()[::-1]
    next(button for button in small.button if button.label == "Clear the selection").click().run()
    fine(small)
    assert "Sentences that changed their company most" in plain(small.subheader)


def test_the_list_of_a_large_selection_is_cut_and_says_so(small, monkeypatch):
    monkeypatch.setattr("pages.common.maplists.LISTED", 3)
    upload(small, "lines.txt", "a dog runs\nthe cat sleeps\nstocks fell today\na man eats\n")
    small.session_state["_map_picked"] = [0, 1, 2, 3]
    small.run()
    fine(small)
    assert "4 selected sentences" in plain(small.subheader)
    assert sentences_table(small)["sentence"].tolist() == ["a dog runs", "the cat sleeps", "stocks fell today"]
    assert "The first 3 of 4 rows are listed; the files below have all." in plain(small.caption)


def test_a_selection_of_another_set_is_dropped(small):
    upload(small, "pairs.csv", PAIRS)
    small.session_state["_map_picked"] = [0, 1]
    upload(small, "lines.txt", "a dog runs\nthe cat sleeps\nstocks fell today\n")
    fine(small)
    assert not any("selected" in text for text in plain(small.subheader))


@pytest.mark.parametrize(
    "link",
    [
        {"sentence": "-1", "color": "no-such", "against": "no-such"},
        {"sentence": "99999999999999999999", "limit": "7", "neighbors": "100000"},
        {"sentence": "²", "limit": "x", "min_dist": "nan", "map_seed": "-3", "search": "<script>"},
    ],
)
def test_a_bad_link_is_the_page_as_it_is(small, link):
    for name, value in link.items():
        small.query_params[name] = value
    upload(small, "pairs.csv", PAIRS)
    fine(small)
    assert small.title


def test_compared_with_another_encoder(small):
    upload(small, "pairs.csv", PAIRS)
    small.selectbox(key="against").set_value("tiny+centring").run()
    fine(small)
    assert plain(small.title)[-1].startswith("Of its 10 nearest neighbours under tiny+centring, a sentence keeps")
    small.multiselect(key="encoders").set_value(["tiny", "tiny+standardising"]).run()
    fine(small)
    assert "under tiny," in plain(small.title)[-1]


LONG = "a dog runs in the park and " * 400
HOSTILE = [
    "<b>bold</b> *star* [x](http://y) $z$ :red[r]",
    "<script>alert(1)</script>",
    "🐕‍🦺 runs 👩‍👩‍👧",
    "一个男人在弹吉他。",
    "\u202eright to left\u202c مرحبا",
    "=1+1",
    "-",
    "\u200b\u0301 zero width",
    LONG[:10_000],
]
HOSTILE_PAIRS = "sentence1,sentence2,score\n" + "".join(f'"{s}","{s} again",{i % 6}\n' for i, s in enumerate(HOSTILE))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("one_pair.csv", "sentence1,sentence2,score\na dog runs,a cat sleeps,3\n"),
        ("one_pair_of_equals.csv", "sentence1,sentence2,score\na dog,a dog,5\n"),
        ("one_line.txt", "a dog runs\n"),
        ("lines.txt", "a dog runs\nthe cat sleeps\nstocks fell today\n"),
        ("unlabelled.csv", "sentence1,sentence2\na dog runs,a cat sleeps\nthe man eats,the stock fell\n"),
        ("equal_labels.csv", re.sub(r",\d,(news|web)\n", r",3,\1\n", PAIRS)),
        ("equal_sentences.csv", "sentence1,sentence2,score\n" + "a dog,a dog,5\n" * 20),
        ("hostile.csv", HOSTILE_PAIRS),
        ("unknown_words.txt", "".join(f"{c}\n" for c in "零一二三四五六七八九十百千万")),
    ],
)  # fmt: skip
def test_sets_a_person_may_have(small, name, content):
    upload(small, name, content)
    fine(small)
    assert small.title
    for colour in small.segmented_control(key="color").options:
        small.segmented_control(key="color").set_value(colour).run()
        fine(small)
    small.query_params["sentence"] = "0"
    fine(small.run())


def test_hostile_sentences_are_text(small):
    small.query_params["sentence"] = "0"
    upload(small, "hostile.csv", HOSTILE_PAIRS)
    fine(small)
    cells = [cell for table in neighbour_tables(small) for cell in table["neighbour"]]
    shown = [block.value for block in (*small.markdown, *small.caption) if "bold" in block.value] + cells
    assert shown
    for text in shown:
        assert "<b>" not in text
        assert "[x](" not in text
        assert ":red[" not in text


def test_one_encoder(small):
    small.query_params["encoders"] = ["tiny"]
    upload(small, "pairs.csv", PAIRS)
    fine(small)
    assert re.fullmatch(r"The neighbourhoods of \d+ sentences under tiny", plain(small.title)[-1])
    frame = sentences_table(small)
    assert "kept" not in frame.columns
    assert not neighbour_tables(small)[0].index.str.endswith("✓").any()


def test_more_encoders_than_a_map_shows(small):
    cures = ["centring", "standardising", "whitening", "all-but-the-top", "sif", "drop-frequent"]
    small.query_params["encoders"] = ["tiny", *(f"tiny+{cure}" for cure in cures)]
    upload(small, "pairs.csv", PAIRS)
    fine(small)
    assert any("A map shows 6 encoders" in text for text in plain(small.info))
    assert len(neighbour_tables(small)) == 6


def test_an_unknown_encoder_is_a_message_and_the_others_go_on(small):
    small.query_params["encoders"] = ["no-such-encoder", "tiny"]
    upload(small, "pairs.csv", PAIRS)
    assert not small.exception
    assert len(small.error) == 1
    assert "under tiny" in plain(small.title)[-1]


def test_an_encoder_that_fails_on_the_sentences_is_a_message_and_the_others_go_on(small, monkeypatch):
    from anticollapse.encoding import Encoder

    encode = Encoder.encode

    def fail(self, *args, **kwargs):
        if "centring" in self.name:
            raise EncoderError("its weights are *not* numbers", where=self.name)
        return encode(self, *args, **kwargs)

    monkeypatch.setattr(Encoder, "encode", fail)
    upload(small, "pairs.csv", PAIRS + "one more,and another,3,web\n")
    assert not small.exception
    assert any("not* numbers" in text for text in plain(small.error))
    assert "under tiny" in plain(small.title)[-1]


def test_all_encoders_fail(small):
    small.query_params["encoders"] = ["no-such-encoder"]
    upload(small, "pairs.csv", PAIRS)
    assert not small.exception
    assert len(small.error) == 1


def test_a_sample_is_announced(small):
    upload(small, "lines.txt", "".join(f"a man eats {i} of the {i % 7} fish\n" for i in range(1_100)))
    fine(small)
    small.select_slider(key="limit").set_value(1_000).run()
    fine(small)
    assert any("1,000 of 1,100 sentences are drawn" in text for text in plain(small.caption))


def test_no_pairs_and_no_encoders(app):
    app.query_params["data"] = "my file"
    app.run()
    assert not app.exception
    assert any("Choose sentences" in text for text in plain(app.info))
    upload(app, "bad.csv", "sentence1,sentence2,score\na,b,1\nc,d,NaN\n")
    assert not app.exception
    assert len(app.error) == 1
