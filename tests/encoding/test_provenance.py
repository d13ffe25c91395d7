"""Whether a trained encoder is judged on what it was trained on."""

from __future__ import annotations

import json

import numpy as np
import pytest

from anticollapse.data import PairSet, load_pairs
from anticollapse.encoding import checkpoint_root, is_trained, origin, training_note
from anticollapse.encoding.provenance import further


def pairs_of(words, name="mine"):
    n = len(words)
    return PairSet(
        name=name, sentences1=tuple(words), sentences2=tuple(f"{w} too" for w in words), scores=np.linspace(0, 5, n),
        rows=np.arange(2, n + 2),
    )  # fmt: skip


@pytest.fixture
def trained(tmp_path):
    train, dev = pairs_of(["a", "b"]), pairs_of(["c", "d"])
    record = {"data": {"digest": train.digest, "dev_digest": dev.digest}}
    (tmp_path / "training.json").write_text(json.dumps(record))
    return tmp_path, train, dev


def test_what_it_was_trained_on_and_chosen_by_is_said(trained):
    folder, train, dev = trained
    assert is_trained(folder)
    assert "mine was trained on these very pairs" in training_note("mine", folder, train)
    assert "best on these very pairs" in training_note("mine", folder, dev)
    copy = pairs_of(["a", "b"], name="a copy under another name")
    assert "trained on these very pairs" in training_note("mine", folder, copy)
    assert training_note("mine", folder, pairs_of(["e"])) == ""
    assert training_note("mine", folder, None) == ""


@pytest.mark.parametrize("content", ["[]", "no json", "{}", '{"data": 3}', '{"data": {"digest": null}}'])
def test_a_record_of_another_form_says_nothing(trained, content):
    folder, train, _ = trained
    (folder / "training.json").write_text(content)
    assert training_note("mine", folder, train) == ""


def test_where_it_comes_from(trained):
    folder, _, _ = trained
    record = {"variant": {"title": "Own *system*" + "x" * 200}, "backbone": {"name": "b"}, "data": {"name": "my.csv"}}
    (folder / "training.json").write_text(json.dumps(record))
    assert origin("mine", folder).startswith("mine is b after Own *system*xxx")
    assert origin("mine", folder).endswith(", trained on my.csv.")
    assert len(origin("mine", folder)) < 200
    (folder / "training.json").write_text('{"variant": 1, "data": {}, "backbone": {}}')
    assert origin("mine", folder) == ""
    embedded = origin("cured-mini", checkpoint_root() / "cured-mini")
    assert embedded == (
        "cured-mini is raw-mini, pre-trained further on stsb:train, then trained as Sentence-BERT on stsb:train."
    )


def test_what_was_pre_trained_further_is_said(trained, tmp_path):
    """Of such an encoder itself, and of one that was trained from it."""
    start = {"from": {"name": "raw", "digest": "d" * 64}, "data": {"files": ["a.csv", "b.txt"]}, "command": "do it"}
    start |= {"options": {"passes": 3.0, "tokens": 0, "size": "mini", "batch_tokens": 0}, "batch_tokens": 1024}
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "pretraining.json").write_text(json.dumps(start))
    found = further(tmp_path / "more")
    assert found == {
        "name": "raw", "digest": "d" * 64, "on": "a.csv, b.txt", "command": "do it",
        "settings": {"passes": 3.0, "batch_tokens": 1024},
    }  # fmt: skip
    assert origin("more", tmp_path / "more") == "more is raw, pre-trained further on a.csv, b.txt."
    record = {"variant": {"title": "T"}, "backbone": {"name": "x/model", "further": found}, "data": {"name": "my.csv"}}
    (trained[0] / "training.json").write_text(json.dumps(record))
    expected = "mine is raw, pre-trained further on a.csv, b.txt, then trained as T on my.csv."
    assert origin("mine", trained[0]) == expected
    assert further(checkpoint_root() / "raw-mini") == {}
    assert further("organisation/model") == {}


def test_without_a_record_nothing_is_said(tmp_path, trained):
    _, train, _ = trained
    assert not is_trained(tmp_path / "elsewhere")
    assert training_note("raw-mini", tmp_path / "elsewhere", train) == ""
    assert not is_trained("organisation/model")
    assert training_note("organisation/model", "organisation/model", train) == ""


@pytest.mark.shared
def test_the_embedded_cure_says_what_it_was_trained_on(shared_data, monkeypatch):
    monkeypatch.setenv("ANTICOLLAPSE_DATA", str(shared_data))
    folder = checkpoint_root() / "cured-mini"
    assert "trained on these very pairs" in training_note("cured-mini", folder, load_pairs("stsb:train"))
    assert "best on these very pairs" in training_note("cured-mini", folder, load_pairs("stsb", split="dev"))
    assert training_note("cured-mini", folder, load_pairs("stsb:test")) == ""
