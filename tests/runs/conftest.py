"""A checkpoint root with a tiny encoder, pairs, and workers forked from a process that has imported torch already.

A worker that starts from nothing needs seconds for its imports; a forked one is a process just the same, with a pid, a
session and a start time of its own, and can be killed at any moment.
"""

from __future__ import annotations

import json
import multiprocessing
import runpy
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from anticollapse.data import PairSet
from anticollapse.runs import RunSettings, queue
from anticollapse.training import TrainingOptions

HERE = Path(__file__).parent
SETTINGS = RunSettings(keep_free_mb=0, threads=1, niceness=0, grace_seconds=1.0)
OPTIONS = TrainingOptions(steps=6, batch_size=8, precision="float32", evaluate_every=2, patience=0, learning_rate=1e-3)


@pytest.fixture
def root(tmp_path, tiny_encoder, monkeypatch):
    """An empty checkpoint root with the encoder "tiny"."""
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    shutil.copytree(tiny_encoder, folder / "tiny")
    monkeypatch.setenv("ANTICOLLAPSE_CHECKPOINTS", str(folder))
    monkeypatch.setenv("ANTICOLLAPSE_RUNS_KEEP_FREE_MB", "0")
    monkeypatch.setenv("ANTICOLLAPSE_RUNS_NICENESS", "0")  # a busy machine starves the others
    return folder


def make_pairs(n=40, *, name="mine.csv", scores=True, second=True):
    random = np.random.default_rng(0)
    words = "man woman dog cat child guitar piano horse ball food market bank river stock".split()
    first = tuple(f"a {words[i % len(words)]} is playing {i}" for i in range(n))
    other = tuple(f"the {words[(i + i % 3) % len(words)]} is eating {i}" for i in range(n))
    return PairSet(
        name=name,
        sentences1=first,
        sentences2=other if second else None,
        scores=random.uniform(0, 5, n) if scores and second else None,
        rows=np.arange(2, n + 2),
    )


@pytest.fixture
def pairs():
    return make_pairs()


@pytest.fixture
def pair_maker():
    return make_pairs


@pytest.fixture(scope="session")
def forks():
    """The fork server's context."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["anticollapse.training", "anticollapse.runs.worker", "sentence_transformers"])
    return context


@pytest.fixture
def forked(forks, monkeypatch):
    """Workers are forked; gives a namespace whose ``breaks`` says what is broken in the next one."""
    made = types.SimpleNamespace(breaks="", processes=[])

    def spawn(run, environment):
        given = {
            "task": "worker",
            "folder": str(run.folder),
            "log": str(run.folder / "log.txt"),
            "breaks": made.breaks,
            "env": environment,
        }
        process = fork(forks, given)
        made.processes.append(process)
        return types.SimpleNamespace(pid=process.pid, wait=process.join)

    monkeypatch.setattr(queue, "_spawn", spawn)
    yield made
    for process in made.processes:
        process.kill()
        process.join()


def fork(context, given):
    kwargs = {"init_globals": {"GIVEN": given}, "run_name": "__main__"}
    process = context.Process(target=runpy.run_path, args=(str(HERE / "child.py"),), kwargs=kwargs, daemon=True)
    process.start()
    return process


@pytest.fixture
def forker(forks):
    """Gives a function that forks a process for a task of child.py."""
    return lambda given: fork(forks, given)


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """Workers are replaced by ones that only say when they ran; gives a function that reads what they said."""
    record = tmp_path / "record.jsonl"

    def spawn(run, environment):
        command = [sys.executable, "-I", str(HERE / "fake_worker.py"), str(run.folder), str(record)]
        return subprocess.Popen(command, start_new_session=True)

    monkeypatch.setattr(queue, "_spawn", spawn)

    def read():
        return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []

    read.file = record
    return read


@pytest.fixture
def settings():
    return SETTINGS


@pytest.fixture
def options():
    return OPTIONS
