"""The command line as a process: outputs, exit codes, one line for what the user can mend."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from anticollapse.cli import main
from anticollapse.commands.common import column_map
from anticollapse.data import ColumnMap

BAD_FILES = {
    "empty.csv": b"",
    "binary.csv": bytes(range(256)) * 40,
    "nan.csv": b"sentence1,sentence2,score\na,b,1\nc,d,NaN\n",
    "text_score.csv": b"sentence1,sentence2,score\na,b,1\nc,d,high\n",
    "out_of_range.csv": b"sentence1,sentence2,score\na,b,1\nc,d,1000\n",
    "fake.parquet": b"PAR1 but nothing else",
    "fake.xlsx": b"PK\x03\x04 but nothing else",
    "broken.jsonl": b'{"sentence1": "a", "sentence2": "b"}\n{"sentence1": \n',
}


def run(*arguments, env=None):
    command = [sys.executable, "-m", "anticollapse", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=120)


@pytest.mark.parametrize("name", sorted(BAD_FILES))
def test_bad_files_are_one_line_and_exit_code_2(name, tmp_path, tiny_encoder, capsys):
    (tmp_path / name).write_bytes(BAD_FILES[name])
    assert main(["doctor", str(tiny_encoder), "--pairs", str(tmp_path / name)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("anticollapse: ")
    assert captured.err.count("\n") == 1
    assert name in captured.err


def test_unknown_encoder_and_unknown_set_in_a_real_process(tmp_path, tiny_encoder):
    (tmp_path / "pairs.csv").write_text("sentence1,sentence2,score\na dog,a cat,3\n")
    for arguments in (
        ("doctor", "no-such-encoder", "--pairs", str(tmp_path / "pairs.csv")),
        ("doctor", str(tiny_encoder), "--pairs", "no-such-set"),
        ("doctor", f"{tiny_encoder}+no-such-cure", "--pairs", str(tmp_path / "pairs.csv")),
    ):
        done = run(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert done.stderr.count("\n") == 1


def test_stsb_without_folder_or_network(tiny_encoder):
    env = {"ANTICOLLAPSE_DATA": "", "HF_HUB_OFFLINE": "1"}
    done = run("doctor", str(tiny_encoder), "--pairs", "stsb:dev", env=env)
    assert done.returncode == 2
    assert "ANTICOLLAPSE_DATA" in done.stderr


def test_text_report(tiny_encoder, capsys):
    assert main(["doctor", str(tiny_encoder), "--pairs", "demo:dev", "--no-cache"]) == 0
    out = capsys.readouterr().out
    assert "Spearman" in out
    assert "Mean cosine of unrelated sentences" in out


def test_encode_npy_and_parquet(tmp_path, tiny_encoder):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text('sentence1,sentence2\na dog,"a\ncat"\na dog,一个男人\n', encoding="utf-8")
    for suffix in ("npy", "parquet"):
        assert (
            main(["encode", str(tiny_encoder), "--input", str(pairs), "--output", str(tmp_path / f"v.{suffix}")]) == 0
        )
    vectors = np.load(tmp_path / "v.npy", allow_pickle=False)
    table = pq.read_table(tmp_path / "v.parquet").to_pydict()
    assert vectors.shape == (3, 32)
    np.testing.assert_array_equal(np.array(table["vector"], np.float32), vectors)
    assert table["sentence"] == ["a dog", "a\ncat", "一个男人"]
    listed = [json.loads(line)["sentence"] for line in (tmp_path / "v.sentences.jsonl").read_text().splitlines()]
    assert listed == table["sentence"]
    assert not list(tmp_path.glob(".*.tmp"))


def test_encode_never_touches_its_input(tmp_path, tiny_encoder, capsys):
    notes = tmp_path / "notes.txt"
    notes.write_text("a dog\na dog\nthe cat\n")
    assert main(["encode", str(tiny_encoder), "--input", str(notes), "--output", str(tmp_path / "notes.npy")]) == 0
    assert notes.read_text() == "a dog\na dog\nthe cat\n"
    (tmp_path / "pairs.parquet").write_bytes(b"")
    assert (
        main(
            [
                "encode",
                str(tiny_encoder),
                "--input",
                str(tmp_path / "pairs.parquet"),
                "--output",
                str(tmp_path / "pairs.parquet"),
            ]
        )
        == 2
    )
    assert "the input itself" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "word"),
    [
        ("v.pickle", "format"),
        ("missing/v.npy", "folder"),
        ("taken.npy", "folder"),
        (f"{'x' * 300}.npy", "cannot be written"),
        (f"{'x' * 300}/v.npy", "cannot be written"),
        (f"{'x' * 245}.npy", "cannot be written"),
    ],
)
def test_encode_bad_output(output, word, tmp_path, tiny_encoder, capsys):
    (tmp_path / "taken.npy").mkdir()
    assert main(["encode", str(tiny_encoder), "--input", "demo:dev", "--output", str(tmp_path / output)]) == 2
    assert word in capsys.readouterr().err
    assert not list(tmp_path.glob(".*.tmp"))


def test_version_is_quick_and_help_lists_commands(capsys):
    assert main(["--version"]) == 0
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "doctor" in capsys.readouterr().out


def doctor(tiny_encoder, file, *options):
    return main(["doctor", str(tiny_encoder), "--pairs", str(file), "--no-cache", "--json", *options])


def test_bad_rows_are_skipped_when_asked(tmp_path, tiny_encoder, capsys):
    file = tmp_path / "pairs.csv"
    file.write_text("sentence1,sentence2,score\na dog,a cat,1\na man,,2\nthe ball,red food,4\n")
    assert doctor(tiny_encoder, file) == 2
    assert "--on-bad-row skip" in capsys.readouterr().err
    assert doctor(tiny_encoder, file, "--on-bad-row", "skip") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["n_pairs"], report["skipped_rows"]) == (2, 1)


def test_columns_and_scale_are_taken_as_stated(tmp_path, tiny_encoder, capsys):
    file = tmp_path / "pairs.csv"
    file.write_text(
        "id,Satz A,Satz B,points\n"
        + "".join(f"{i},a dog,{word} food,{20 * i}\n" for i, word in enumerate("the red cat man two ball".split()))
    )
    columns = ["--columns", "sentence1=Satz A,sentence2=3,score=points"]
    assert doctor(tiny_encoder, file, *columns) == 2
    assert "--scale" in capsys.readouterr().err
    assert doctor(tiny_encoder, file, *columns, "--scale", "0-100") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["n_pairs"], report["spearman"] is None) == (6, False)
    assert doctor(tiny_encoder, file, "--columns", "sentence1=2,sentence2=3,score=") == 0
    assert json.loads(capsys.readouterr().out)["spearman"] is None
    output = tmp_path / "v.npy"
    single = ["--columns", "sentence1=Satz B,sentence2=", "--output", str(output), "--no-cache"]
    assert main(["encode", str(tiny_encoder), "--input", str(file), *single]) == 0
    assert len(np.load(output)) == 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sentence1=a,sentence2=b", ColumnMap(sentence1="a", sentence2="b")),
        ("sentence1=Last, first name,score=", ColumnMap(sentence1="Last, first name", score="")),
        ("score = 3 , sentence1 = 01", ColumnMap(score=3, sentence1=1)),
    ],
)
def test_columns_are_parsed(text, expected):
    assert column_map(text) == expected


@pytest.mark.parametrize(
    "options",
    [
        ["--columns", "a,b"],
        ["--columns", ""],
        ["--columns", "sentence3=a"],
        ["--columns", "x,sentence1=a"],
        ["--columns", "score=1,score=2"],
        ["--seed", "-1"],
        ["--seed", "1.5"],
        ["--seed", "٣"],
        ["--scale", "0-7"],
        ["--on-bad-row", "ignore"],
    ],
)
@pytest.mark.parametrize("command", ["doctor", "tokens"])
def test_options_of_no_known_form_are_usage_errors(command, options, tiny_encoder, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, str(tiny_encoder), "--pairs", "demo:dev", *options])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert f"argument {options[0]}" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "given", [[], ["no"], ["doctor"], ["doctor", "raw-mini", "--no"], ["train", "sbert"], ["train", "no", "--lr"]]
)
def test_usage_errors_are_one_line(given, capsys):
    with pytest.raises(SystemExit) as stop:
        raise SystemExit(main(given))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("anticollapse")
    assert error.count("\n") == 1


@pytest.mark.parametrize("pairs", ["x" * 300, f"{'x' * 300}/pairs.csv", "~nosuch/pairs.csv", "demo:dev --scale 0-5"])
def test_pairs_that_no_file_can_be(pairs, tiny_encoder, capsys):
    assert main(["doctor", str(tiny_encoder), "--pairs", *pairs.split(" ")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("anticollapse: ")
    assert error.count("\n") == 1


def test_encode_says_how_the_file_was_read_and_what_the_cure_was_fitted_on(tmp_path, tiny_encoder, capsys):
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("sentence1,sentence2\na dog,a cat\na man,the food\n")
    cured, output = f"{tiny_encoder}+centring", ["--output", str(tmp_path / "v.npy")]
    assert main(["encode", cured, "--input", str(pairs), "--fit-on", str(pairs), *output]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "The sentences were read from" in captured.err
    assert f"{cured} was fitted on the 4 different sentences of {pairs}." in captured.err
    assert "fitted on 4 of the 4 different sentences it writes here, so judge it on others." in captured.err
