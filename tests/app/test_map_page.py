"""The logic of the Map page, without a browser."""

from __future__ import annotations

import io
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
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
        r"Of its 10 nearest neighbours under raw-mini, a sentence keeps \d\d% under cured-mini",
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


def test_a_search_lists_all_it_finds_and_rings_the_first(small, monkeypatch):
    from pages.common import maplists

    ringed, files = [], {}
    ring = maplists.ringed
    monkeypatch.setattr(maplists, "MOST_HITS", 3)
    monkeypatch.setattr(maplists, "LISTED", 5)
    monkeypatch.setattr(maplists, "ringed", lambda *given: ringed.append(ring(*given)) or ringed[-1])
    monkeypatch.setattr(
        "streamlit.download_button", lambda label, data, name, *_, **__: files.__setitem__(name, data) or False
    )
    upload(small, "pairs.csv", PAIRS)
    small.text_input(key="search").set_value("GUITAR 1").run()
    fine(small)
    assert "11 sentences found" in plain(small.subheader)
    assert "11 sentences contain “guitar 1”; the first 3 that are drawn are ringed." in plain(small.caption)
    assert "The first 5 of 11 rows are listed; the files below have all." in plain(small.caption)
    assert len(sentences_table(small)) == 5
    assert len(ringed[-1]) == 3
    exported = pq.read_table(io.BytesIO(files["sentences.parquet"]()))
    assert exported.num_rows == 11


def test_only_sentences_that_are_drawn_are_ringed(monkeypatch):
    from pages.common import maplists

    monkeypatch.setattr(maplists, "MOST_HITS", 2)
    drawn = SimpleNamespace(sample=SimpleNamespace(drawn=np.array([5, 6, 8, 9])))
    assert maplists.ringed(drawn, [1, 2, 5, 7, 8, 9]) == [5, 8]


def test_files_of_the_page_say_how_they_were_made_and_can_be_joined(small, monkeypatch, tiny_encoder):
    from anticollapse.encoding import load_encoder

    files = {}
    monkeypatch.setattr(
        "streamlit.download_button", lambda label, data, name, *_, **__: files.__setitem__(name, data) or False
    )
    small.query_params["neighbors"] = "9"
    upload(small, "pairs.csv", PAIRS)
    fine(small)
    listed, places = (pq.read_table(io.BytesIO(files[f"{name}.parquet"]())) for name in ("sentences", "map"))
    for table in (listed, places):
        about = json.loads(table.schema.metadata[b"anticollapse"])
        assert about["encoders"] == ["tiny", "tiny+centring"]
        assert about["settings"]["n_neighbors"] == 9
    lists, map_ = listed.to_pandas().set_index("sentence number"), places.to_pandas().set_index("sentence number")
    for column in ("neighbours kept, tiny+centring", "moved, tiny+centring", "sentence"):
        assert (lists[column] == map_.loc[lists.index, column]).all()
    first, second = lists["sentence"].iloc[0], lists["other sentence of the pair"].iloc[0]
    one, other = load_encoder(tiny_encoder).encode([first, second]).vectors.astype(float)
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert lists["cosine, tiny"].iloc[0] == pytest.approx(cosine, abs=1e-5)
    assert lists["cosine, tiny+centring"].iloc[0] != pytest.approx(cosine, abs=1e-3)
    header = files["sentences.csv"]().decode("utf-8-sig").splitlines()[0]
    assert "neighbours kept, tiny+centring" in header
    shares = lists["neighbours kept, tiny+centring"]
    assert sentences_table(small)["kept"].tolist() == pytest.approx((100 * shares).tolist())  # shown in %


def test_clicks_do_not_push_a_map_out_of_memory(small, monkeypatch):
    from pages.common import maps, work

    upload(small, "pairs.csv", PAIRS)
    fine(small)
    results = work.results()
    before = list(results._items)
    lists = maps._lists()
    for sentence in range(5):
        small.query_params["sentence"] = str(sentence)
        fine(small.run())
    assert {key[-2] for key in lists._items} >= {0, 1, 2, 3, 4}
    assert [key for key in results._items if key not in before] == []


def test_sources_and_row_numbers_identify_a_map_too():
    from anticollapse.data import PairSet
    from anticollapse.measures.projection import DEFAULTS
    from anticollapse.neighbourhoods import Sample
    from pages.common import maps

    given = {"name": "t", "sentences1": ("a", "b"), "sentences2": None, "scores": None}
    rows, sample = np.array([1, 2]), Sample(np.arange(2), np.arange(0))
    sets = [
        PairSet(**given, rows=rows),
        PairSet(**given, rows=rows, groups=("x", "y")),
        PairSet(**given, rows=rows, groups=("x", "z")),
        PairSet(**given, rows=rows + 1, groups=("x", "z")),
    ]
    assert len({pairs.digest for pairs in sets}) == 1
    encoder = SimpleNamespace(digest="d", precision="float32")
    half = SimpleNamespace(digest="d", precision="bfloat16")
    assert len({maps.identify(pairs, [encoder], sample, DEFAULTS) for pairs in sets}) == 4
    assert maps.identify(sets[0], [encoder], sample, DEFAULTS) != maps.identify(sets[0], [half], sample, DEFAULTS)


def test_a_store_is_bounded_by_bytes_and_keeps_the_newest():
    from pages.common.work import Store

    store = Store(10, max_bytes=100)
    for name in "abc":
        store.put(name, name, 40)
    assert [store.get(name) for name in "abc"] == [None, "b", "c"]
    store.put("large", "large", 500)
    assert store.get("large") == "large"
    assert store.get("c") is None


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
        {"sentence": "7" * 5_000},
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
