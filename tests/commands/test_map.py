"""``anticollapse map``: both formats, no network in the page, what is refused."""

from __future__ import annotations

import argparse
import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from anticollapse.commands import map as command
from anticollapse.errors import AntiCollapseError, DataError, OptionError


def run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["map", *map(str, arguments)])
    return args.run(args)


@pytest.fixture
def pairs(tmp_path):
    words = ["dog", "cat", "man", "woman", "child", "horse"]
    verbs = ["runs", "eats", "is sleeping", "rides"]
    lines = [
        f"the {a} {v} with the ball,a {b} <i>{v}</i>,{(i * 7) % 6},{'news' if i % 2 else 'web'}"
        for i, (a, b, v) in enumerate((a, b, v) for a in words for b in words[:3] for v in verbs)
    ]
    file = tmp_path / "pairs.csv"
    file.write_text("sentence1,sentence2,score,source\n" + "\n".join(lines) + "\n")
    return file


def test_parquet_holds_sentences_places_and_what_became_of_them(tiny_encoder, pairs, tmp_path, capsys):
    out = tmp_path / "map.parquet"
    assert run(tiny_encoder, f"{tiny_encoder}+first-last", "--input", pairs, "--output", out, "--epochs", 10) == 0
    table = pq.read_table(out)
    one, two = str(tiny_encoder), f"{tiny_encoder}+first-last"
    assert table.column_names[:4] == ["row", "sentence", "sentence number", "label"]
    places = np.column_stack([table[f"x, {two}"].to_numpy(), table[f"y, {two}"].to_numpy()])
    assert np.isfinite(places).all()
    assert places.std() > 0
    kept = table[f"neighbours kept, {two}"].to_numpy()
    assert ((kept >= 0) & (kept <= 1)).all()
    assert f"neighbours kept, {one}" not in table.column_names
    about = json.loads(table.schema.metadata[b"anticollapse"])
    assert about["encoders"] == [one, two]
    assert about["settings"]["n_epochs"] == 10
    assert about["compared_with"] == one
    assert about["neighbours_compared"] == 10
    assert sorted(table["sentence number"].to_pylist()) == list(range(table.num_rows))
    err = capsys.readouterr().err
    assert "trustworthiness of the map 0." in err
    assert "10 nearest neighbours kept from" in err


def test_same_seed_same_map(raw_mini, tmp_path):
    for name, more in (("a", ()), ("b", ("--no-cache",)), ("c", ("--seed", 1, "--no-cache"))):
        run(raw_mini, "--input", "demo:dev", "--output", tmp_path / f"{name}.parquet", "--epochs", 10, *more)
    a, b, c = (pq.read_table(tmp_path / f"{name}.parquet") for name in "abc")
    assert a.column_names == b.column_names
    assert a["sentence"].equals(b["sentence"])
    places = [np.column_stack([t[f"x, {raw_mini}"].to_numpy(), t[f"y, {raw_mini}"].to_numpy()]) for t in (a, b, c)]
    # The last bits of a sentence vector may differ between the first call of a process and later ones.
    assert np.abs(places[0] - places[1]).max() < 0.05
    assert np.abs(places[0] - places[2]).max() > 0.5


@pytest.mark.parametrize("colour", command.COLOURS)
def test_html_is_self_contained_and_escaped(tiny_encoder, pairs, tmp_path, colour):
    out = tmp_path / "map.html"
    encoders = [tiny_encoder, f"{tiny_encoder}+first-last"]
    assert run(*encoders, "--input", pairs, "--output", out, "--epochs", 5, "--color", colour) == 0
    text = out.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", text)
    assert '"showSendToCloud": false' in text
    assert "<i>runs</i>" not in text
    assert "doctor" in text
    assert ("of their variance" in text) == (colour == "group")
    assert "Spearman correlation of the distance moved and the neighbours kept" in text
    assert not list(tmp_path.glob(".*tmp"))


def test_a_sample_is_announced(tiny_encoder, pairs, tmp_path, capsys):
    out = tmp_path / "map.parquet"
    assert run(tiny_encoder, "--input", pairs, "--output", out, "--epochs", 5, "--limit", 20) == 0
    assert pq.read_table(out).num_rows == 20
    assert "20 of" in capsys.readouterr().err


def test_single_sentences(tiny_encoder, tmp_path):
    (tmp_path / "lines.txt").write_text("a dog\nthe cat\na man\n")
    assert run(tiny_encoder, "--input", tmp_path / "lines.txt", "--output", tmp_path / "map.parquet") == 0
    assert pq.read_table(tmp_path / "map.parquet").num_rows == 3


def test_of_few_sentences_as_many_neighbours_are_named_as_there_are(tiny_encoder, tmp_path, capsys):
    (tmp_path / "lines.txt").write_text("a dog\nthe cat\na man\n")
    given = ["--input", tmp_path / "lines.txt", "--output", tmp_path / "map.parquet"]
    assert run(tiny_encoder, f"{tiny_encoder}+first-last", *given) == 0
    err = capsys.readouterr().err
    assert "2 nearest neighbours kept from" in err
    assert "10 nearest" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "map.png"], "no known output format"),
        (["--output", "no/such/folder/map.html"], "does not exist"),
        (["--output", "map.html", "--limit", "0"], "0 sentences"),
        (["--output", "map.html", "--neighbors", "1"], "n_neighbors is 1"),
        (["--output", "map.html", "--color", "label"], "no labels"),
        (["--output", "map.html", "--color", "source"], "no sources"),
        (["--output", "map.html", "--color", "kept"], 'nothing to compare, so "kept" has no colours'),
        (["--output", "map.html", "--color", "moved"], 'nothing to compare, so "moved" has no colours'),
        (["a", "b", "c", "d", "e", "f", "g", "--output", "map.html"], "8 encoders do not fit"),
    ],
)
def test_refusals_come_before_any_work(tiny_encoder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "open_judged", lambda *_, **__: pytest.fail("work was done first"))
    (tmp_path / "lines.txt").write_text("a dog\nthe cat\na man\n")
    with pytest.raises(OptionError, match=message):
        run(tiny_encoder, *arguments, "--input", "lines.txt")


def test_unknown_input_and_encoder(tiny_encoder, tmp_path):
    with pytest.raises(DataError):
        run(tiny_encoder, "--input", tmp_path / "none.csv", "--output", tmp_path / "map.html")
    with pytest.raises(AntiCollapseError, match="no encoder"):
        run("no-such-encoder", "--input", "demo:dev", "--output", tmp_path / "map.html")


def test_what_cures_were_fitted_on_is_said_in_the_file_too(tiny_encoder, pairs, tmp_path, capsys):
    cured = f"{tiny_encoder}+centring"
    given = [cured, "--input", pairs, "--fit-on", pairs, "--epochs", 5]
    for suffix in ("html", "parquet"):
        assert run(*given, "--output", tmp_path / f"map.{suffix}") == 0
        err = capsys.readouterr().err
        assert f"{cured} was fitted on the " in err
        assert "different sentences it is judged on here" in err
        assert "under 1 encoder\n" in err
        assert "The sentences were read from" in err
    about = json.loads(pq.read_table(tmp_path / "map.parquet").schema.metadata[b"anticollapse"])
    assert next(note for note in about["notes"] if "was fitted on" in note).startswith(cured)
    assert "was fitted on the" in (tmp_path / "map.html").read_text(encoding="utf-8")
