from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from anticollapse.data import export_csv, read_pairs, safe_cell


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1"])
def test_formula_starts_are_quoted(text: str) -> None:
    assert safe_cell(text) == "'" + text


@pytest.mark.parametrize("text", ["", "a=b", " =1", "'=1", "5 - 3"])
def test_other_text_stays(text: str) -> None:
    assert safe_cell(text) == text


def test_frames_keep_numbers_and_quote_texts_and_headings() -> None:
    frame = pd.DataFrame({"=name": ["=1", "plain", None], "value": [-1.5, 2.0, np.nan], "mixed": ["-x", -2, 3]})
    text = export_csv(frame).decode("utf-8-sig")
    assert text.splitlines() == ["'=name,value,mixed", "'=1,-1.5,'-x", "plain,2.0,-2", ",,3"]


def test_repeated_headings_and_categories() -> None:
    frame = pd.DataFrame([["=1", "+2"]], columns=["a", "a"]).astype("category")
    assert export_csv(frame).decode("utf-8-sig").splitlines() == ["a,a", "'=1,'+2"]


def test_pairs_go_out_with_their_rows_and_come_back() -> None:
    pairs = read_pairs('sentence1,sentence2,score,genre\n猫が寝る。,"a, b",5,x\n"two\nlines",d,0.5,y\n'.encode())
    data = export_csv(pairs)
    frame = pd.read_csv(io.BytesIO(data))
    assert list(frame) == ["row", "sentence1", "sentence2", "score", "group"]
    assert frame["row"].tolist() == [2, 3]
    again = read_pairs(data)
    assert (again.sentences1, again.sentences2, again.groups) == (pairs.sentences1, pairs.sentences2, pairs.groups)
    assert again.digest == pairs.digest


def test_single_sentences_go_out() -> None:
    assert export_csv(read_pairs(b"one\ntwo\n")).decode("utf-8-sig").splitlines() == ["row,sentence1", "1,one", "2,two"]
