"""A run that is to end: who asked and when, and what is done about one that does not listen.

The request is a file in the run's folder, so that nobody has to stay alive for it: whoever moves the queue on reads how
long ago it was and sends what is due, SIGTERM after the grace and SIGKILL to the process group after twice the grace.
Ages are counted since boot, as a wall clock can be set.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from dataclasses import dataclass

from anticollapse.runs import process, store
from anticollapse.runs.settings import RunSettings
from anticollapse.runs.store import Run

logger = logging.getLogger(__name__)

BY_YOU = "You stopped it."


@dataclass(frozen=True)
class Request:
    """Somebody wants a run to end.

    Attributes:
        seconds: How long ago that was.
        grace: Seconds it has to end by itself, and again after SIGTERM.
        why: A full sentence.
    """

    seconds: float
    grace: float
    why: str = BY_YOU

    @property
    def due(self) -> signal.Signals | None:
        """What is to be sent by now."""
        if self.seconds >= 2 * self.grace:
            return signal.SIGKILL
        return signal.SIGTERM if self.seconds >= self.grace else None


def ask(run: Run, grace: float, why: str = BY_YOU) -> None:
    """Ask a run to stop; where that was done before, the first request counts.

    Args:
        run: A running one.
        grace: Seconds it has to end by itself, and again after SIGTERM.
        why: A full sentence.

    Raises:
        OSError: If not even an empty file can be made.
    """
    file = run.folder / store.STOP
    if file.exists():
        return
    try:
        plain = {"asked": time.time(), "since_boot": process.since_boot(), "grace": grace, "why": why}
        store.write_json(file, plain)
    except OSError:
        file.touch()  # a full disk often has room for a name


def asked(run: Run, settings: RunSettings) -> Request | None:
    """What was asked of a run, or None.

    Args:
        run: Which one.
        settings: For the grace where the file does not say it.
    """
    file = run.folder / store.STOP
    try:
        made = file.stat().st_mtime
    except OSError:
        return None
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
        seconds = process.since_boot() - float(plain["since_boot"])
        if seconds >= 0:
            return Request(seconds, float(plain["grace"]), str(plain["why"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # it was made on a full disk
    return Request(time.time() - made, settings.grace_seconds)


def wants(run: Run, settings: RunSettings) -> bool:
    """Whether :func:`escalate` would do something; cheap enough for every second.

    Args:
        run: Which one.
        settings: For a run that does not say what its own were.
    """
    if not _reachable(run):
        return False
    request = asked(run, settings.with_limits(run.limits))
    return _over_time(run, settings) if request is None else request.due is not None


def escalate(run: Run, settings: RunSettings) -> None:
    """Send a run what is due; ask one that is over its time. For who holds the lock.

    Args:
        run: Which one.
        settings: For a run that does not say what its own were.
    """
    if run.worker is None or not _reachable(run):
        return
    own = settings.with_limits(run.limits)
    request = asked(run, own)
    if request is None and _over_time(run, settings):
        try:
            ask(run, own.grace_seconds, time_is_up(own))
        except OSError as error:
            logger.warning("the run %s cannot be told that its time is up: %s", run.id, error)
    elif request is not None and request.due is not None:
        process.send(run.worker, request.due)


def time_is_up(settings: RunSettings) -> str:
    """Why a run stops that has reached its limit."""
    return f"It reached the time limit of {settings.max_hours:g} hours."


def end_own_group() -> None:
    """End this process with all that it started; only for a process that leads its group."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def _reachable(run: Run) -> bool:
    """Whether its process is one that can be sent a signal from here."""
    return run.state == "running" and run.worker is not None and run.worker.place == process.this_place()


def _over_time(run: Run, settings: RunSettings) -> bool:
    age = None if run.worker is None else process.age(run.worker)
    return age is not None and age > settings.with_limits(run.limits).max_hours * 3600
