"""Pages without a browser.

AppTest loses what app.py draws on the second run of an app with st.navigation, so a page is run here the way app.py
does it, without the navigation itself; that is left to the browser tests.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def open_app(monkeypatch):
    """Gives a function from the name of a page to an app that has not run yet."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("ANTICOLLAPSE_DATA", raising=False)

    def open_it(page: str) -> AppTest:
        script = f"""
            import runpy, sys
            sys.path.insert(0, {str(ROOT)!r})
            from pages.common import sidebar, strip
            sidebar.draw()
            strip.draw()
            runpy.run_path({str(ROOT / "pages" / page)!r})
        """
        lines = [line.strip() for line in script.strip().splitlines()]
        return AppTest.from_string("\n".join(lines), default_timeout=120)

    return open_it


@pytest.fixture
def root(tmp_path, tiny_encoder, monkeypatch):
    """A checkpoint root with the encoder "tiny", where no training is ever started and every look is a fresh one."""
    from anticollapse.runs import queue
    from pages.common import training

    folder = tmp_path / "checkpoints"
    folder.mkdir()
    shutil.copytree(tiny_encoder, folder / "tiny")
    monkeypatch.setenv("ANTICOLLAPSE_CHECKPOINTS", str(folder))
    monkeypatch.setenv("ANTICOLLAPSE_RUNS_KEEP_FREE_MB", "0")
    monkeypatch.setattr(queue, "_start", lambda run, *_: run)
    monkeypatch.setattr(training, "EVERY", 0.0)
    training._probes().clear()
    return folder


@pytest.fixture
def put(root):
    """Gives a function that writes a run as its worker would have left it in some state."""
    from anticollapse import runs
    from anticollapse.data import PairSet
    from anticollapse.runs import process, store
    from anticollapse.training import TrainingOptions

    words = "man woman dog cat child guitar piano horse ball food".split()
    pairs = PairSet(
        name="mine.csv",
        sentences1=tuple(f"a {words[i % 10]} runs {i}" for i in range(40)),
        sentences2=tuple(f"the {words[i % 7]} eats {i}" for i in range(40)),
        scores=np.linspace(0, 5, 40),
        rows=np.arange(2, 42),
    )
    measures = {"dev_spearman": 61.5, "mean_unrelated_cosine": 0.42, "effective_rank": 18.0, "std_sqrt_d": 0.9}
    before = {"dev_spearman": 50.0, "mean_unrelated_cosine": 0.71, "effective_rank": 9.0, "std_sqrt_d": 0.5}

    def write(state, name="", *, reason="It is like this.", alarm="", model=True, **changes):
        options = TrainingOptions(steps=40, batch_size=8)
        run = runs.start("sbert", "tiny", pairs, dev=pairs, options=options, name=name, root=root)
        if state == "queued":
            return run
        progress = {"step": 20, "steps": 40, "loss": 0.12, "seconds": 30.0, "seconds_left": 31.0, **measures}
        progress["best_dev_spearman"] = measures["dev_spearman"]
        progress |= {f"{key}_before": value for key, value in before.items()}
        progress |= {f"{key}_best": value for key, value in measures.items()} if state != "running" else {}
        events = [{"event": "start", "step": 0, "steps": 40, "time": 1.0, "before": before}]
        events.append({"event": "evaluation", "step": 20, "steps": 40, "time": 2.0, "loss": 0.12, "terms": {},
                       "best": True, "alarm": alarm, **measures})  # fmt: skip
        if alarm:
            progress["alarm"] = alarm
            events.append({"event": "alarm", "step": 20, "steps": 40, "time": 2.0, "text": alarm})
        (run.folder / store.METRICS).write_text("".join(json.dumps(event) + "\n" for event in events))
        (run.folder / store.LOG).write_text("what the training said\n")
        if model:
            shutil.copytree(root / "tiny", run.folder / store.MODEL)
        now = time.time()
        run = dataclasses.replace(
            run,
            state=state,
            reason="" if state == "running" else reason,
            progress=progress,
            started=now - 30,
            heartbeat=now,
            ended=None if state == "running" else now,
            worker=process.identify(os.getpid()),  # alive as long as this test
            attempts=1,
            threads=1,
        )
        run = dataclasses.replace(run, **changes)
        store.write(run)
        return run

    return write
