"""``pretrain`` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from anticollapse.cli import main
from anticollapse.commands import pretrain
from anticollapse.data import load_pairs
from anticollapse.errors import DataError

SMALL = ["--size", "1x32", "--vocabulary", "120", "--batch-tokens", "512", "--evaluations", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    file = tmp_path_factory.mktemp("text") / "toy.txt"
    words = "cat dog man sees eats likes red blue small boat apple stone".split()
    lines = [" ".join(words[(i * k + k) % 12] for k in range(2, 12)) + f" {i}." for i in range(300)]
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def test_from_text_to_encoder_and_on(text, tmp_path, capsys):
    command = ["pretrain", "--output", str(tmp_path / "run"), "--tokens", "6000", "--dev", "demo:dev", *SMALL]
    assert main([*command, "--text", str(text), "--json", "--seed", "3"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["status"], result["options"]["seed"]) == ("done", 3)
    assert result["measures"]["dev_spearman"] is not None
    assert result["command"].startswith("anticollapse ")
    assert (tmp_path / "run" / "model" / "modules.json").is_file()
    # A finished run stays as it is, and the text is in the run.
    assert main([*command, "--resume", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("done: ")
    assert "The encoder is in" in out


def test_prepared_text_gives_the_same_encoder(text, tmp_path, capsys):
    tokens = tmp_path / "toy.tokens"
    assert main(["pretrain", "--prepare", str(tokens), "--text", str(text), "--vocabulary", "120", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bytes"] == tokens.stat().st_size
    for name, given in (("text", text), ("tokens", tokens)):
        options = ["--tokens", "3000", "--dev", "none", "--precision", "float32", *SMALL]
        assert main(["pretrain", "--text", str(given), "--output", str(tmp_path / name), *options]) == 0
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("text", "tokens")]
    assert weights[0] == weights[1]


def test_prepared_text_knows_its_language(text, tmp_path, capsys, monkeypatch):
    asked = []

    def load(name, **options):
        asked.append((name, options))
        raise DataError("not here")

    monkeypatch.setattr(pretrain, "load_pairs", load)
    tokens = tmp_path / "toy.tokens"
    assert (
        main(["pretrain", "--prepare", str(tokens), "--text", str(text), "--vocabulary", "120", "--language", "zh"])
        == 0
    )
    assert main(["pretrain", "--text", str(tokens), "--output", str(tmp_path / "run"), "--tokens", "1000", *SMALL]) == 0
    assert asked == [("stsb-zh", {"split": "dev"})]
    assert "Measured on held-out text only" in capsys.readouterr().err  # and the run goes on
    assert "language: zh" in (tmp_path / "run" / "model" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--vocabulary", "130"], "--vocabulary 130 is not for prepared tokens, which have 120"),
        (["--language", "zh"], "--language zh is not for prepared tokens, which have en"),
        (["--share", "0.5"], "--share 0.5 is not for prepared tokens, which keep all their lines"),
        (["--share", "nan"], "--share nan is not for prepared tokens"),
    ],
)
def test_what_prepared_text_is_not_is_refused(asked, message, text, tmp_path, capsys):
    tokens = tmp_path / "toy.tokens"
    assert main(["pretrain", "--prepare", str(tokens), "--text", str(text), "--vocabulary", "120"]) == 0
    capsys.readouterr()
    command = ["pretrain", "--text", str(tokens), "--output", str(tmp_path / "run"), "--tokens", "500", "--dev", "none"]
    assert main([*command, *asked]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "model").exists()
    assert main([*command, "--language", "en", *SMALL]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tokens", "9"], "--output or --prepare"),
        (["--output", "{new}", "--prepare", "{new}"], "--output or --prepare"),
        (["--output", "{new}", "--tokens", "9"], "there is no text"),
        (["--output", "{new}", "--text", "{missing}", "--tokens", "9"], "there is no such file"),
        (["--output", "{new}", "--text", "{text}"], "--minutes, --tokens and --passes"),
        (
            ["--output", "{new}", "--text", "{text}", "--tokens", "9", "--minutes", "1"],
            "--minutes, --tokens and --passes",
        ),
        (["--output", "{new}", "--text", "{text}", "--tokens", "9", "--size", "big"], "--size"),
        (["--output", "{new}", "--text", "{text}", "--tokens", "9", "--mask-rate", "2"], "above 0.9"),
        (["--output", "{new}", "--text", "{text}", "--tokens", "9", "--vocabulary", "1"], "out of bounds"),
        (["--output", "{new}", "--text", "{text}", "--tokens", "9", "--vocabulary", "0"], "out of bounds"),
        (["--output", "{new}", "--text", "{text}", "--tokens", "9", "--batch-tokens", "10"], "--batch-tokens"),
        (["--output", "{new}", "--text", "{text}", "--tokens", "9", "--dev", "{missing}"], "missing"),
        (["--output", "{new}", "--text", "{text}", "--tokens", "9", "--device", "cuda:77"], "no device"),
        (["--output", "{new}", "--text", "{text}", "--tokens", "9", "--device", "foo"], 'no device "foo"'),
        (["--output", "{new}", "--resume", "--tokens", "9"], "no checkpoint to resume from"),
        (["--output", "{text}", "--text", "{text}", "--tokens", "9"], "cannot be written"),
        (["--prepare", "{text}/x", "--text", "{text}"], "cannot be written"),
        (["--prepare", "{new}", "--text", "{text}", "--share", "0"], "share"),
    ],
)
def test_errors_are_one_line_and_exit_2(arguments, message, text, tmp_path, capsys):
    places = {"new": tmp_path / "new", "text": text, "missing": tmp_path / "missing.txt"}
    shared = [] if "--dev" in arguments else ["--dev", "none"]
    given = ["pretrain", *(a.format(**places) for a in arguments), *shared]
    assert main(given) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1
    assert not places["new"].exists()


@pytest.mark.parametrize("arguments", [["--language", "xx"], ["--tokens", "many"], ["--engine", "steam"]])
def test_usage_errors_exit_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["pretrain", *arguments])
    assert ended.value.code == 2


def test_it_needs_neither_figures_nor_workbooks(text, tmp_path):
    blocked = dict.fromkeys(["plotly", "streamlit", "umap", "pynndescent", "openpyxl"])
    script = (
        f"import sys; sys.modules.update({blocked!r}); from anticollapse.cli import main; "
        "sys.exit(main(['pretrain', *sys.argv[1:]]))"
    )
    command = [sys.executable, "-c", script, "--text", str(text), "--output", str(tmp_path / "run")]
    done = subprocess.run([*command, "--tokens", "500", "--dev", "none", *SMALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("done: ")


def test_preparing_says_what_it_is_at(text, tmp_path, capsys):
    """With real text each part takes minutes; what is read by a program stays silent."""
    asked = ["pretrain", "--prepare", str(tmp_path / "toy.tokens"), "--text", str(text), "--vocabulary", "120"]
    assert main(asked) == 0
    begun = [line.split()[0] for line in capsys.readouterr().err.splitlines()]
    assert begun == ["reading", "training", "tokenising", "compressing"]
    assert main([*asked, "--json"]) == 0
    assert not capsys.readouterr().err


def test_going_on_from_an_encoder_on_the_sentences_of_a_table(raw_mini, tmp_path, capsys):
    """Its sentences, both columns; the command on the card works again with --resume."""
    table = tmp_path / "mine.csv"
    rows = [f"a man plays song {i},the woman sings line {i},{i % 6}" for i in range(120)]
    table.write_text("sentence1,sentence2,score\n" + "\n".join(rows) + "\n", encoding="utf-8")
    place = tmp_path / "run"
    command = ["pretrain", "--from", "raw-mini", "--output", str(place), "--passes", "1", "--dev", "none"]
    small = ["--batch-tokens", "512", "--evaluations", "1", "--device", "cpu"]
    assert main([*command, *small, "--text", str(table), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["from"]["name"] == "raw-mini"
    assert (record["data"]["files"], record["data"]["lines_in_files"]) == ([str(table)], 240)
    assert (record["options"]["learning_rate"], record["options"]["dropout"]) == (3e-4, 0.1)
    assert main([*command, *small, "--resume"]) == 0
    assert main(["doctor", str(place / "model"), "--pairs", "demo:dev"]) == 0


def test_what_the_encoder_cannot_read_and_lacks_is_said(tmp_path, capsys):
    """Chinese text under an English encoder whose file has no head for masked tokens."""
    text = tmp_path / "zh.txt"
    text.write_text("\n".join(f"今天天气很好我们去公园散步看见第{i}只鸟" for i in range(150)), encoding="utf-8")
    command = [
        "pretrain",
        "--from",
        "cured-mini",
        "--text",
        str(text),
        "--output",
        str(tmp_path / "run"),
        "--dev",
        "none",
    ]
    assert main([*command, "--tokens", "500", "--evaluations", "1", "--batch-tokens", "512", "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert "has no head for masked tokens" in said.err
    assert "% of the tokens are unknown to the vocabulary" in said.err
    assert " → " in said.out
    record = json.loads((tmp_path / "run" / "model" / "pretraining.json").read_text())
    assert record["data"]["language"] == "zh"
    assert len(record["notes"]) == 2


def test_of_a_named_set_the_training_part_is_read(capsys, tmp_path):
    """Never dev or test, on which encoders are judged."""
    tokens = tmp_path / "demo.tokens"
    assert main(["pretrain", "--from", "raw-mini", "--prepare", str(tokens), "--text", "demo", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    train = load_pairs("demo:train").sentences
    assert (facts["files"], facts["lines_in_files"]) == (["demo:train"], len(train))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "nothing-here"], "there is no encoder called"),
        (["--from", "raw-mini+whitening:k=9"], "Go on from raw-mini, and fit the cure again afterwards"),
        (["--from", "raw-mini", "--size", "mini"], "--size is for new weights"),
        (["--from", "raw-mini", "--vocabulary", "500"], "raw-mini has a vocabulary"),
        (["--from", "raw-mini", "--text", "stsb:nope"], "stsb"),
        (["--from", "raw-mini", "--text", "{table}"], "column"),
    ],
)
def test_what_cannot_be_gone_on_with_is_one_line(arguments, message, text, tmp_path, capsys):
    table = tmp_path / "numbers.csv"
    table.write_text("1,2\n3,4\n", encoding="utf-8")
    given = [argument.format(table=table) for argument in arguments]
    where = [] if "--text" in given else ["--text", str(text)]
    assert main(["pretrain", *given, *where, "--output", str(tmp_path / "run"), "--passes", "1", "--dev", "none"]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert len(said.splitlines()) == 1
