"""A checkpoint root with a tiny encoder, a file of pairs with three splits, and processes forked for faults."""

from __future__ import annotations

import multiprocessing
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from anticollapse import studies
from anticollapse.encoding import load_encoder
from anticollapse.studies.plan import select

HERE = Path(__file__).parent
NOUNS = "man woman dog cat child horse ball guitar piano market".split()
VERBS = "playing running sleeping eating".split()


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def root(tmp_path, tiny_encoder, monkeypatch):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    shutil.copytree(tiny_encoder, folder / "tiny")
    monkeypatch.setenv("ANTICOLLAPSE_CHECKPOINTS", str(folder))
    return folder


@pytest.fixture
def file(tmp_path):
    """Pairs whose grade counts what they share."""
    return write_pairs(tmp_path / "pairs.tsv")


def write_pairs(file, seed=0):
    random = np.random.default_rng(seed)
    lines = ["split\tsentence1\tsentence2\tscore"]
    for split, n in (("train", 48), ("dev", 30), ("test", 30)):
        for _ in range(n):
            noun, verb, other, another = (int(i) for i in random.integers(0, 40, 4))
            same_noun, same_verb = random.integers(0, 2, 2)
            a = NOUNS[noun % 10], VERBS[verb % 4]
            b = a[0] if same_noun else NOUNS[other % 10], a[1] if same_verb else VERBS[another % 4]
            score = 2.5 * (a[0] == b[0]) + 2.5 * (a[1] == b[1])
            lines.append(f"{split}\tthe {a[0]} is {a[1]} {noun % 5}\ta {b[0]} is {b[1]} {other % 5}\t{score}")
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def make(root, file, tmp_path):
    """Gives a function that makes a bench and its cells."""

    def build(rows=None, *, folder=tmp_path / "study", seeds=2, steps=4, kind="ladder", **options):
        backbone = load_encoder("tiny", device="cpu")
        splits = studies.load_splits(str(file))
        rows = studies.ladder_rows(["sbert", "sbert-swav"]) if rows is None else rows
        wanted = studies.make_plan(
            kind, rows, backbone, splits, pairs=str(file), seeds=seeds, steps=steps, precision="float32"
        )
        plan = studies.join_plan(folder, wanted)
        bench = studies.Bench(
            plan=plan, splits=splits, backbone=backbone, folder=folder, device="cpu", threads=1, commit="c0ffee",
            command="the command", **options,
        )  # fmt: skip
        return bench, select(plan, [row.key for row in rows], wanted.seeds)

    return build


@pytest.fixture(scope="session")
def forks():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["anticollapse.studies", "sentence_transformers"])
    return context


@pytest.fixture
def fork(forks, root, file, tmp_path):
    """Gives a function that lets another process work on a study; see child.py."""
    made = []

    def start(**given):
        base = {"file": str(file), "folder": str(tmp_path / "study"), "env": {"ANTICOLLAPSE_CHECKPOINTS": str(root)}}
        given = {**base, "log": str(tmp_path / "log.txt"), **given}
        kwargs = {"init_globals": {"GIVEN": given}, "run_name": "__main__"}
        process = forks.Process(target=runpy.run_path, args=(str(HERE / "child.py"),), kwargs=kwargs, daemon=True)
        process.start()
        made.append(process)
        return process

    yield start
    for process in made:
        process.kill()
        process.join()
