"""The command that compares shapes: what it runs, and that failures are failures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from anticollapse.pretraining import save_corpus

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "shapes.py"


def run(*arguments, cwd):
    environment = {k: v for k, v in os.environ.items() if k != "ANTICOLLAPSE_DATA"} | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=280, check=False)


def test_candidates_are_trained_measured_and_tabulated(toy, tmp_path):
    save_corpus(toy, tmp_path / "toy.tokens")
    (tmp_path / "held.txt").write_text("".join(f"the {a} cat saw a {b} dog\n" for a in "abcde" for b in "fghij"))
    common = ("--minutes", 0.02, "--output", "out", "--pairs", "demo", "--epochs", 0, "--held-out", "held.txt")
    candidates = ("1x64=toy.tokens,batch-tokens=512", "1x64=toy.tokens,batch-tokens=512,learning-rate=2e-3")
    done = run(*candidates, *common, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out" / "shapes.json").read_text())
    assert [row["candidate"] for row in rows] == list(candidates)
    for row in rows:
        assert row["tokens"] > 0
        assert row["bits_per_character"] > 0
        assert -100 <= row["raw_dev_spearman"] <= 100
    assert rows[0]["held_out_loss"] != rows[1]["held_out_loss"]
    again = run(*candidates, *common, cwd=tmp_path)
    assert again.returncode == 2
    assert "was trained in out before" in again.stderr


def test_a_candidate_that_fails_is_named_and_is_no_row(tmp_path):
    done = run("1x64=missing.tokens", "--minutes", 0.01, "--output", "out", cwd=tmp_path)
    assert done.returncode == 1
    assert "failed: 1x64=missing.tokens" in done.stderr
    assert json.loads((tmp_path / "out" / "shapes.json").read_text()) == []
