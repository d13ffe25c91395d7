"""Runs as the pages see them: read once a second for all sessions, the queue moved on, names for people."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import streamlit as st

from anticollapse import encoding, runs
from anticollapse.data import PairSet
from anticollapse.encoding import checkpoint_root
from anticollapse.errors import AntiCollapseError
from anticollapse.runs import Listing, Run, RunSettings, Speed
from anticollapse.runs.process import STALE_SECONDS
from anticollapse.runs.store import ID
from anticollapse.training import Parameter, TrainingOptions
from anticollapse.training.parameters import parameters_of

EVERY = 1.0
"""Seconds between two looks at the disk, whatever the number of sessions."""


@st.cache_resource(max_entries=4)
def _listing(root: str) -> Listing:
    return Listing(Path(root), EVERY)


def all_runs(*, fresh: bool = False) -> list[Run]:
    """All runs, the newest first; whoever looks moves the queue on."""
    listing = _listing(str(checkpoint_root()))
    found = listing.runs(fresh=fresh)
    try:
        settings = RunSettings.from_environment()
        if runs.needs_pump(found, settings):
            runs.pump(listing.root, settings)
            found = listing.runs(fresh=True)
    except AntiCollapseError as error:
        st.session_state["_queue_error"] = str(error)
        found = [runs.judge(run) for run in found]  # what cannot be written is shown all the same
    return found


def held_up(found: list[Run]) -> str:
    """Why nothing starts although runs are waiting and there is a place for one; empty when all is well."""
    try:
        return runs.held_up(found, RunSettings.from_environment())
    except AntiCollapseError:
        return ""  # said where the queue is moved on


def silence(run: Run) -> float:
    """Seconds since a training was last heard of, where that is too long for one that lives; else 0."""
    seconds = time.time() - run.heartbeat
    return seconds if run.state == "running" and seconds > STALE_SECONDS else 0.0


def signature(found: list[Run]) -> tuple[tuple[str, str], ...]:
    """Changes when a run comes, goes, starts or ends."""
    return tuple((run.id, run.state) for run in found)


def options() -> list[Parameter]:
    """What a form asks for besides the variant's own parameters."""
    found = [described for _, described in parameters_of(TrainingOptions())]
    own = "CPU threads (0 = as set for all runs, else every core but one)"
    return [dataclasses.replace(one, help=own) if one.name == "threads" else one for one in found]


def show(run_id: str) -> None:
    """Let the Runs page show this run, whatever was chosen there before."""
    st.session_state["_run_shown"] = run_id
    st.session_state["_runs_table"] = st.session_state.get("_runs_table", 0) + 1
    st.query_params.pop("run", None)


def label(name: str) -> str:
    """What people call an encoder: a run's name instead of its id, with the cure behind it."""
    base, plus, cure = name.partition("+")
    if not ID.fullmatch(base):
        return name
    for run in all_runs():
        if run.id == base:
            return f"{run.name}{plus}{cure}"
    return name


def is_trained(name: str) -> bool:
    """Whether an encoder was trained by anticollapse: a run, or a folder that says so."""
    base = name.partition("+")[0]
    if ID.fullmatch(base):
        return True
    try:
        folder = encoding.resolve_encoder(base, confined=True)
    except AntiCollapseError:
        return False
    return encoding.is_trained(folder)


def notes(names: Sequence[str], pairs: PairSet | None) -> list[str]:
    """Where trained encoders come from, and which were trained on these pairs or chosen by them, as sentences.

    Args:
        names: Encoders, with or without cures.
        pairs: What is shown, or None.
    """
    found: list[str] = []
    for base in dict.fromkeys(name.partition("+")[0] for name in names):
        try:
            folder = encoding.resolve_encoder(base, confined=True)
        except AntiCollapseError:
            continue  # said where it is loaded
        name = label(base)
        found += [encoding.origin(name, folder), encoding.training_note(name, folder, pairs)]
    return [note for note in found if note]


def stop(run_id: str) -> None:
    """Ask a run to stop without making the page wait; whoever looks at the runs sees to it that it does."""
    runs.stop(run_id)
    all_runs(fresh=True)


def attempt(action: Callable[[str], object], run_id: str) -> None:
    """Do something to a run; what goes wrong is a message in the strip."""
    try:
        action(run_id)
    except AntiCollapseError as error:
        st.session_state["_queue_error"] = str(error)


@st.cache_resource
def _probes() -> dict[object, Future[Speed]]:
    return {}


@st.cache_resource
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="probe")


def measured(key: object) -> Future[Speed] | None:
    """The probe with this key, or None when nobody asked for it."""
    return _probes().get(key)


def measure(key: object, *arguments: object, **named: object) -> None:
    """Measure the speed of a training in the background; see :func:`anticollapse.runs.probe`."""
    probes = _probes()
    if len(probes) >= 64:
        probes.pop(next(iter(probes)))
    probes[key] = _pool().submit(runs.probe, *arguments, **named)  # type: ignore[arg-type]
