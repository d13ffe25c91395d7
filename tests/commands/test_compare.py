"""``anticollapse compare``: table, JSON, the report; what is refused before any work."""

from __future__ import annotations

import argparse
import json
import re
from html.parser import HTMLParser

import pytest

from anticollapse.commands import compare as command
from anticollapse.errors import AntiCollapseError, OptionError

HOSTILE = "</script><script>window.hacked=1</script><b>x</b>"


def run(*arguments):
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["compare", *map(str, arguments)])
    return args.run(args)


@pytest.fixture
def pairs(tmp_path):
    words = ["dog", "cat", "man", "woman", "child", "horse"]
    verbs = ["runs", "eats", "is sleeping", "rides", "with food"]
    lines = [
        f"the {a} {v} with the ball,a {b} {v} {HOSTILE},{(i * 7) % 6}"
        for i, (a, b, v) in enumerate((a, b, v) for a in words for b in words[:2] for v in verbs)
    ]
    file = tmp_path / "pairs.csv"
    file.write_text("sentence1,sentence2,score\n" + "\n".join(lines) + "\n")
    return file


class Outline(HTMLParser):
    """Tags that are not closed, and text of headings."""

    def __init__(self, text):
        super().__init__()
        self.open, self.headings = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in {"h1", "h2"}:
            self.headings.append(data)


def test_table_names_everything(tiny_encoder, pairs, capsys):
    cured = f"{tiny_encoder}+centring"
    assert run(tiny_encoder, cured, "--pairs", pairs, "--fit-on", pairs) == 0
    out = capsys.readouterr().out
    assert "points of Spearman" in out.splitlines()[0]
    assert "Mean cosine of unrelated sentences" in out
    assert "no correction for several is needed" in out
    assert "human label" in out
    assert "disagree most" in out


def test_json_is_one_document_with_the_same_numbers_for_the_same_seed(tiny_encoder, pairs, capsys):
    arguments = (
        tiny_encoder,
        f"{tiny_encoder}+standardising",
        "--pairs",
        pairs,
        "--fit-on",
        pairs,
        "--json",
        "--no-cache",
    )
    made = []
    for seed in (3, 3, 4):
        assert run(*arguments, "--seed", seed) == 0
        made.append(json.loads(capsys.readouterr().out))
    assert made[0] == made[1]
    assert made[0] != made[2]
    assert made[0]["seed"] == 3
    assert made[0]["reference"] == str(tiny_encoder)
    (parts,) = made[0]["slices"].values()
    total = made[0]["encoders"][1]["differences"]["spearman"]["value"]
    labels = [part["contribution"]["value"] or 0 for part in parts if part["by"] == "label"]
    assert sum(labels) == pytest.approx(total)


def test_report_is_one_page_that_asks_nobody(tiny_encoder, pairs, tmp_path, capsys):
    out = tmp_path / "report.html"
    others = [f"{tiny_encoder}+centring", f"{tiny_encoder}+first-last"]
    arguments = [tiny_encoder, *others, "--pairs", pairs, "--fit-on", pairs, "--report", out]
    assert run(*arguments, "--reference", others[0]) == 0
    text = out.read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", text)
    assert text.count("plotly.js v") == 1
    assert text.count('"showSendToCloud": false') == 2
    assert HOSTILE not in text
    assert "&lt;/script&gt;" in text
    assert "prefers-color-scheme: dark" in text
    for fact in ("sentence-transformers", "seed of all resamples", "SHA-256", "command"):
        assert fact in text
    outline = Outline(text)
    assert outline.open == []
    assert "All measures" in outline.headings
    assert list(tmp_path.glob(".*tmp")) == []
    assert "written" in capsys.readouterr().err


def test_one_encoder_and_pairs_without_labels(tiny_encoder, tmp_path, capsys):
    (tmp_path / "bare.csv").write_text("sentence1,sentence2\na dog,the cat\na man,a woman\nthe ball,a dog\n")
    assert run(tiny_encoder, "--pairs", tmp_path / "bare.csv", "--report", tmp_path / "r.html") == 0
    assert "stands alone" in capsys.readouterr().out
    assert run(tiny_encoder, f"{tiny_encoder}+first-last", "--pairs", tmp_path / "bare.csv") == 0
    out = capsys.readouterr().out
    assert "the pairs have no labels" in out
    assert "There is no verdict" in out
    assert "3 rows" in out
    (tmp_path / "lines.txt").write_text("a dog\nthe cat\na man\n")
    arguments = ["--pairs", tmp_path / "lines.txt", "--report", tmp_path / "l.html"]
    assert run(tiny_encoder, f"{tiny_encoder}+first-last", *arguments) == 0
    assert "single sentences" in (tmp_path / "l.html").read_text(encoding="utf-8")


def test_disputed_pairs_need_no_labels(tiny_encoder, pairs, tmp_path, capsys):
    lines = [line.rpartition(",")[0] for line in pairs.read_text().splitlines()]
    (tmp_path / "bare.csv").write_text("\n".join(lines) + "\n")
    other = f"{tiny_encoder}+first-last"
    assert run(tiny_encoder, other, "--pairs", tmp_path / "bare.csv") == 0
    out = capsys.readouterr().out
    assert "the pairs have no labels" in out
    table = out.partition(f"Pairs on which {other} and {tiny_encoder} disagree most")[2]
    assert len(table.strip().splitlines()) >= 1 + command.SHOWN_PAIRS
    assert "Where " not in out
    (tmp_path / "few.csv").write_text("\n".join([lines[0], "a dog,a dog", "a man,the ball"]) + "\n")
    assert run(tiny_encoder, f"{tiny_encoder}+centring", "--pairs", tmp_path / "few.csv", "--fit-on", pairs) == 0
    assert "put all pairs in the same order" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reference", "other"], "none of the encoders"),
        (["--report", "report.pdf"], "HTML page"),
        (["--report", "no/such/folder/r.html"], "does not exist"),
        (["a", "b", "c", "d", "e", "f", "g", "h"], "9 encoders are too many"),
    ],
)
def test_refusals_come_before_any_work(tiny_encoder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "open_judged", lambda *_, **__: pytest.fail("work was done first"))
    (tmp_path / "lines.txt").write_text("a dog\nthe cat\n")
    with pytest.raises(OptionError, match=message):
        run(tiny_encoder, *arguments, "--pairs", "lines.txt")


def test_unknown_encoder(tiny_encoder):
    with pytest.raises(AntiCollapseError, match="no encoder"):
        run(tiny_encoder, "no-such-encoder", "--pairs", "demo:dev")


def test_what_cures_were_fitted_on_is_said_and_that_it_should_not_be(tiny_encoder, pairs, tmp_path, capsys):
    names = [f"{tiny_encoder}+{cure}" for cure in ("centring", "first-last", "standardising")]
    (tmp_path / "other.txt").write_text("a dog\nthe cat\na man\n")
    report = tmp_path / "r.html"
    arguments = [tiny_encoder, *names, "--pairs", pairs, "--fit-on"]
    assert run(*arguments, tmp_path / "other.txt", "--report", report) == 0
    out = capsys.readouterr().out
    for i in (0, 2):
        assert f"  {names[i]} was fitted on the 3 different sentences of {tmp_path / 'other.txt'}.\n" in out
        assert f"{names[i]} was fitted on the 3 different sentences" in report.read_text(encoding="utf-8")
    assert f"  {names[1]} was fitted on nothing: it needs no text.\n" in out
    assert "it is judged on here" not in out
    assert run(*arguments, pairs, "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert [one["fitted_on"] is None for one in made["encoders"]] == [True, False, True, False]
    assert made["encoders"][1]["fitted_on"] == {"text": str(pairs), "sentences": made["encoders"][1]["fit_overlap"]}
    assert [one["fit_overlap"] > 0 for one in made["encoders"]] == [False, True, False, True]
    assert sum("so it looks better than it is" in note for note in made["notes"]) == 1
    assert made["reader_notes"]
