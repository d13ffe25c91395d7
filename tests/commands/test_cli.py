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
    ("output", "word"), [("v.pickle", "format"), ("missing/v.npy", "folder"), ("taken.npy", "folder")]
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
