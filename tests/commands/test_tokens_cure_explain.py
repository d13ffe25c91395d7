"""The commands tokens, cure and explain: what they print, what they write, what they refuse."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from anticollapse.commands import cure, doctor, explain, tokens
from anticollapse.data import load_pairs
from anticollapse.encoding import load_encoder
from anticollapse.errors import AntiCollapseError, DataError, OptionError
from anticollapse.measures.attribution import Attribution

PAIRS = "sentence1,sentence2,score\n" + "".join(
    f"{a} {b} is {c},the {b} is not {c},{i % 6}\n"
    for i, (a, b, c) in enumerate(
        (a, b, c) for a in ("a", "two") for b in ("man", "dog", "cats") for c in ("red", "big")
    )
)


def run(*arguments):
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    for command in (tokens, cure, explain, doctor):
        command.add_parser(commands)
    args = parser.parse_args([str(argument) for argument in arguments])
    return args.run(args)


@pytest.fixture
def pairs(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text(PAIRS)
    return file


def test_tokens_as_text_and_json(tiny_encoder, pairs, capsys):
    assert run("tokens", tiny_encoder, "--pairs", pairs, "--by-layer") == 0
    text = capsys.readouterr().out
    for part in (
        "frequency rank",
        "special",
        "dominance",
        "special tokens left out too",
        "By layer",
        "Best k on these",
    ):
        assert part in text
    assert run("tokens", tiny_encoder, "--pairs", pairs, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert sum(band["vector_share"] for band in document["tokens"]["bands"]) == pytest.approx(1)
    assert [curve["without_specials"] for curve in document["removal"]] == [False, True]
    assert document["anisotropy"]["mean_unrelated_cosine"]["value"] is not None


def test_tokens_of_unlabelled_sentences_and_a_reference_count(tiny_encoder, tmp_path, capsys):
    (tmp_path / "lines.txt").write_text("the dog is big\na cat\ntwo men\n")
    (tmp_path / "counts.txt").write_text("dog 5\ncat 3\n")
    assert run("tokens", tiny_encoder, "--pairs", tmp_path / "lines.txt", "--counts", tmp_path / "counts.txt") == 0
    text = capsys.readouterr().out
    assert "No Spearman: undefined because" in text
    assert "frequency in counts.txt" in text
    (tmp_path / "bad.txt").write_text("dog 5\nno count\n")
    with pytest.raises(DataError, match="row 2"):
        run("tokens", tiny_encoder, "--pairs", tmp_path / "lines.txt", "--counts", tmp_path / "bad.txt")


def test_cure_writes_an_encoder(tiny_encoder, pairs, tmp_path, capsys):
    out = tmp_path / "cured"
    assert run("cure", "first-last+whitening:k=6", tiny_encoder, "--text", pairs, "--output", out) == 0
    assert "6 dimensions" in capsys.readouterr().err
    found = SentenceTransformer(str(out), device="cpu").encode(["the dog"], show_progress_bar=False)
    np.testing.assert_allclose(load_encoder(out).encode(["the dog"]).vectors, found, atol=1e-5)
    assert f"--text {pairs}" in (out / "README.md").read_text()


def test_cure_reads_the_columns_that_are_stated(tiny_encoder, tmp_path, capsys):
    file = tmp_path / "odd.csv"
    file.write_text("id,x,y\n1,the dog,a cat\n2,the man,a horse\n3,,two balls\n")
    options = ["--columns", "sentence1=x,sentence2=y", "--on-bad-row", "skip"]
    assert run("cure", "centring", tiny_encoder, "--text", file, "--output", tmp_path / "out", *options) == 0
    assert "fitted on 4 sentences" in capsys.readouterr().err


def test_cure_on_a_cured_encoder_and_without_text(tiny_encoder, pairs, tmp_path):
    run("cure", "centring", f"{tiny_encoder}+first-last", "--text", pairs, "--output", tmp_path / "one")
    run("cure", "first-last:first=0", tiny_encoder, "--output", tmp_path / "two")
    assert (tmp_path / "one" / "3_Dense").is_dir()
    assert (tmp_path / "two" / "1_WeightedLayerPooling").is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["centring"], "is fitted on text"),
        (["nope", "--text", "demo"], "no cure called"),
        (["whitening:k=0", "--text", "demo"], "whole number"),
    ],
)
def test_cure_refuses(tiny_encoder, tmp_path, arguments, message):
    with pytest.raises(OptionError, match=message):
        run("cure", arguments[0], tiny_encoder, *arguments[1:], "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_cure_refuses_to_overwrite_before_any_work(tiny_encoder, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(cure, "load_encoder", lambda *_, **__: pytest.fail("work was done first"))
    with pytest.raises(AntiCollapseError, match="something already"):
        run("cure", "centring", tiny_encoder, "--text", pairs, "--output", tmp_path)


def test_explain_prints_a_table_that_fits_and_sums(tiny_encoder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    assert (
        run("explain", tiny_encoder, "the big dog is eating the food", "两 dogs running in the market , not a horse")
        == 0
    )
    text = capsys.readouterr().out
    matrix = text.partition("Strongest")[0].splitlines()[2:]
    assert max(len(line) for line in matrix if "Contributions" not in line) <= 60
    assert "cosine" in text
    assert "[CLS]" in text
    assert run("explain", tiny_encoder, "a dog", "a cat", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert np.sum(document["contributions"]) == pytest.approx(document["cosine"], abs=1e-5)
    assert document["tokens1"] == ["[CLS]", "a", "dog", "[SEP]"]


def test_the_card_holds_a_command_that_makes_the_same_encoder(tiny_encoder, tmp_path):
    (tmp_path / "odd.csv").write_text("id,x,y\n1,the dog,a cat\n2,the man,a horse\n3,,two balls\n")
    (tmp_path / "counts.txt").write_text("the 10\ndog 5\n")
    reading = ["--columns", "sentence1=x,sentence2=y,score=", "--on-bad-row", "skip"]
    given = ["sif:components=0", tiny_encoder, "--text", tmp_path / "odd.csv", "--counts", tmp_path / "counts.txt"]
    run("cure", *given, *reading, "--precision", "auto", "--output", tmp_path / "one")
    card = (tmp_path / "one" / "README.md").read_text()
    words = shlex.split(card.partition("```sh\n")[2].partition("\n```")[0])
    assert words[:3] == ["python", "-m", "anticollapse"]
    assert words[words.index("--columns") + 1] == "sentence1=x,sentence2=y,score="
    assert words[words.index("--precision") + 1] == "auto"
    words[-1] = str(tmp_path / "two")
    assert run(*words[3:]) == 0
    one, two = (load_encoder(tmp_path / name).encode(["the dog is big"]).vectors for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)


def test_a_cure_by_a_count_alone_is_fitted_on_no_text(tiny_encoder, tmp_path, capsys):
    (tmp_path / "counts.txt").write_text("the 10\ndog 5\n")
    run("cure", "drop-frequent:k=1", tiny_encoder, "--counts", tmp_path / "counts.txt", "--output", tmp_path / "out")
    assert "fitted on" not in capsys.readouterr().err
    card = (tmp_path / "out" / "README.md").read_text()
    assert "fitted on | the token counts alone" in card
    assert "tokens counted in | counts.txt" in card
    assert "SHA-256 of the count | `" in card
    assert f"--counts {tmp_path / 'counts.txt'}" in card
    assert "--text" not in card


@pytest.mark.parametrize("command", ["tokens", "doctor"])
def test_judging_on_the_text_of_the_fit_is_said(tiny_encoder, pairs, tmp_path, capsys, command):
    cured = f"{tiny_encoder}+centring"
    note = r"fitted on 18 of the 18 different sentences it is judged on here"
    run(command, cured, "--pairs", pairs, "--fit-on", pairs)
    assert note in capsys.readouterr().out
    run(command, cured, "--pairs", pairs, "--fit-on", pairs, "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["fit_overlap"] == 18
    assert note in document["fit_note"]
    (tmp_path / "other.txt").write_text("one child sleeps\na horse runs\nstocks fell\n")
    run(command, cured, "--pairs", pairs, "--fit-on", tmp_path / "other.txt", "--json")
    document = json.loads(capsys.readouterr().out)
    assert (document["fit_overlap"], document["fit_note"]) == (0, "")
    run(command, tiny_encoder, "--pairs", pairs, "--json")
    assert json.loads(capsys.readouterr().out)["fit_overlap"] == 0


@pytest.mark.parametrize("command", ["tokens", "doctor"])
def test_judging_on_the_training_pairs_is_said(tiny_encoder, pairs, tmp_path, capsys, command):
    folder = tmp_path / "trained"
    shutil.copytree(tiny_encoder, folder)
    record = {"data": {"digest": load_pairs(pairs).digest, "dev_digest": "0"}}
    (folder / "training.json").write_text(json.dumps(record))
    note = f"{folder} was trained on these very pairs, so it looks better here than it is."
    run(command, folder, "--pairs", pairs)
    assert note in " ".join(capsys.readouterr().out.split())
    run(command, f"{folder}+first-last", "--pairs", pairs, "--json")
    assert json.loads(capsys.readouterr().out)["training_note"] == note


def test_json_lists_as_many_tokens_as_asked_for(tiny_encoder, pairs, capsys):
    run("tokens", tiny_encoder, "--pairs", pairs, "--json", "--top", "2")
    assert len(json.loads(capsys.readouterr().out)["tokens"]["dominant_tokens"]) == 2


def test_explain_says_that_a_sentence_was_cut(tiny_encoder, capsys):
    long = "the dog is red and " * 6
    run("explain", tiny_encoder, "a dog", long)
    assert "The second sentence is longer than" in capsys.readouterr().out
    run("explain", tiny_encoder, long, "a dog", "--json")
    assert json.loads(capsys.readouterr().out)["truncated"] == [True, False]
    run("explain", tiny_encoder, "a dog", "a cat")
    assert "longer than" not in capsys.readouterr().out


@pytest.mark.parametrize(("cosine", "shown"), [(0.5, True), (0.04, False), (0.0, False), (-0.5, False)])
def test_percentages_of_a_cosine_only_where_they_mean_something(cosine, shown):
    plain = np.zeros(1, bool)
    found = Attribution(np.array([[0.3, cosine - 0.3]]), ("a",), ("b", "c"), plain, np.zeros(2, bool))
    text = explain.describe(explain.PairExplanation("e", "a", "b c", cosine, found))
    assert ("of the cosine" in text) == shown
    assert ("%" in text) == shown


@pytest.mark.parametrize("command", ["tokens", "doctor"])
def test_what_a_cure_was_fitted_on_is_said(tiny_encoder, pairs, tmp_path, capsys, command):
    (tmp_path / "other.txt").write_text("one child sleeps\na horse runs\nstocks fell\nstocks fell\n")
    cured = f"{tiny_encoder}+centring"
    given = [command, cured, "--pairs", pairs, "--fit-on", tmp_path / "other.txt"]
    run(*given)
    said = f"{cured} was fitted on the 3 different sentences of {tmp_path / 'other.txt'}."
    assert said in " ".join(capsys.readouterr().out.split())
    run(*given, "--json")
    assert json.loads(capsys.readouterr().out)["fitted_on"] == {"text": str(tmp_path / "other.txt"), "sentences": 3}
    run(command, cured, "--pairs", pairs)
    assert "different sentences of demo:train." in " ".join(capsys.readouterr().out.split())
    run(command, tiny_encoder, "--pairs", pairs, "--json")
    assert json.loads(capsys.readouterr().out)["fitted_on"] is None


def test_bad_rows_of_the_text_of_a_fit_follow_the_same_options(tiny_encoder, pairs, tmp_path, capsys):
    bad = tmp_path / "bad.csv"
    bad.write_text("sentence1,sentence2\na child,two children\n,the horse\nthe bank,a river\n")
    given = ["doctor", f"{tiny_encoder}+centring", "--pairs", pairs, "--fit-on", bad, "--json"]
    with pytest.raises(DataError, match=r"bad\.csv, row 3"):
        run(*given)
    run(*given, "--on-bad-row", "skip")
    assert json.loads(capsys.readouterr().out)["fitted_on"]["sentences"] == 4
    big = tmp_path / "big.txt"
    big.write_text("".join(f"the dog {i}\n" for i in range(13)))
    with pytest.raises(DataError, match="more than 12 rows"):  # the pairs have just 12
        run(*given[:-2], big, "--max-rows", "12")


def test_columns_and_scale_are_those_of_the_pairs_and_of_the_text_only_if_it_is_they(tiny_encoder, tmp_path, capsys):
    odd, plain = tmp_path / "odd.csv", tmp_path / "plain.csv"
    rows = [f"{i},the dog {word},a cat {word},{20 * i}" for i, word in enumerate("is are red big two four".split())]
    odd.write_text("id,x,y,z\n" + "\n".join(rows) + "\n")
    plain.write_text("sentence1,sentence2\na man,a woman\ntwo horses,the river\n")
    stated = ["--columns", "sentence1=x,sentence2=y,score=z", "--scale", "0-100", "--json"]
    for text, sentences in ((plain, 4), (odd, 12)):
        run("doctor", f"{tiny_encoder}+centring", "--pairs", odd, "--fit-on", text, *stated)
        assert json.loads(capsys.readouterr().out)["fitted_on"]["sentences"] == sentences
    run("doctor", f"{tiny_encoder}+centring", "--pairs", odd, *stated)  # demo:train, whose columns are known
    assert json.loads(capsys.readouterr().out)["fitted_on"]["text"] == "demo:train"


def test_explain_says_what_a_cure_was_fitted_on(tiny_encoder, tmp_path, capsys):
    (tmp_path / "odd.csv").write_text("id,x,y\n1,the dog,a cat\n2,the man,a horse\n3,,two balls\n")
    reading = ["--fit-on", tmp_path / "odd.csv", "--columns", "sentence1=x,sentence2=y", "--on-bad-row", "skip"]
    given = ["explain", f"{tiny_encoder}+centring", "a dog", "a cat", *reading]
    run(*given)
    out = capsys.readouterr().out
    assert "was fitted on the 4 different sentences of" in out
    assert "1 bad row of it was skipped." in out
    run(*given, "--json")
    assert json.loads(capsys.readouterr().out)["fitted_on"]["sentences"] == 4


@pytest.mark.parametrize(("first", "second", "which"), [("", "a cat", "first"), ("a dog", " \n", "second")])
def test_an_empty_sentence_is_not_explained(tiny_encoder, first, second, which):
    with pytest.raises(OptionError, match=f"the {which} sentence is empty"):
        run("explain", tiny_encoder, first, second)


def test_curves_of_a_small_file_end_where_its_tokens_do(tiny_encoder, pairs, capsys):
    run("tokens", tiny_encoder, "--pairs", pairs)
    out = capsys.readouterr().out
    (note,) = [line for line in out.splitlines() if line.startswith("The curves end at k = ")]
    last = int(note.split("k = ")[1].split(":")[0])
    table = out.split("special tokens left out too\n")[1].splitlines()
    ks = [int(line.split()[0]) for line in table[2:] if line.split() and line.split()[0].isdecimal()]
    assert max(ks) == last < 20
    assert f"the {last} most frequent tokens" in out


def test_a_gain_has_signs_on_both_bounds(tiny_encoder, capsys):
    run("tokens", tiny_encoder, "--pairs", "demo:dev")
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("Best k") and "[" in x][:1]
    bounds = line.split("[")[1].split("]")[0].split(", ")
    assert all(bound[0] in "+−" or float(bound) == 0 for bound in bounds)


def test_a_cure_that_shortens_vectors_says_so(tiny_encoder, pairs, tmp_path, capsys):
    run("cure", "whitening", tiny_encoder, "--text", pairs, "--output", tmp_path / "half")
    err = capsys.readouterr().err
    assert "32 → 16 dimensions, fitted on 18 sentences of" in err
    assert "The sentences were read from" in err
    run("cure", "first-last", tiny_encoder, "--output", tmp_path / "same")
    assert "32 dimensions" in capsys.readouterr().err


def test_one_row_is_no_rows(tiny_encoder, tmp_path, capsys):
    (tmp_path / "one.csv").write_text("sentence1,sentence2,score\na dog,a cat,3\n")
    for command in ("tokens", "doctor"):
        run(command, tiny_encoder, "--pairs", tmp_path / "one.csv")
        assert "on one.csv: 1 row, 2 different sentences\n" in capsys.readouterr().out
