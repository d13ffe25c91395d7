"""Runs: trainings that go on when the page, the app or the terminal is closed.

Example:
    >>> from anticollapse import runs
    >>> from anticollapse.data import load_pairs
    >>> run = runs.start("sbert", "raw-mini", load_pairs("demo", split="train"), dev=load_pairs("demo", split="dev"))
    >>> runs.wait_for(run.id).state
    'done'

``docs/runs.md`` explains the folders, the states, the queue and the limits.
"""

from __future__ import annotations

from anticollapse.runs.archive import gives_pair_scores, write_zip
from anticollapse.runs.control import (
    delete,
    dependants,
    duplicate,
    get,
    list_runs,
    needs,
    resume,
    start,
    stop,
    wait_for,
)
from anticollapse.runs.estimate import Speed, probe, steps_of
from anticollapse.runs.queue import held_up, judge, needs_pump, pump
from anticollapse.runs.settings import RunSettings
from anticollapse.runs.store import Listing, Request, Run, State, log_tail, read_metrics

__all__ = [
    "Listing",
    "Request",
    "Run",
    "RunSettings",
    "Speed",
    "State",
    "delete",
    "dependants",
    "duplicate",
    "get",
    "gives_pair_scores",
    "held_up",
    "judge",
    "list_runs",
    "log_tail",
    "needs",
    "needs_pump",
    "probe",
    "pump",
    "read_metrics",
    "resume",
    "start",
    "steps_of",
    "stop",
    "wait_for",
    "write_zip",
]
