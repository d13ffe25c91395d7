"""The queue: first come, first served, so many at once, whoever looks at it moves it on.

There is no service that has to stay alive. The worker that ends starts the next run; so does the app and every command
when they look. One lock makes sure that two of them never start the same run, or one too many.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from anticollapse.encoding import checkpoint_root
from anticollapse.runs import stopping, store
from anticollapse.runs.process import identify, is_alive
from anticollapse.runs.settings import RunSettings
from anticollapse.runs.store import Run

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


def pump(root: Path | None = None, settings: RunSettings | None = None) -> list[Run]:
    """Mark dead runs as lost, and start waiting ones where there is room.

    Args:
        root: The checkpoint root.
        settings: Limits; default: those of the environment.

    Returns:
        The runs that were started.

    Raises:
        RunError: If the root cannot be written.
    """
    root = root or checkpoint_root()
    with store.writing(root), store.locked(root):
        return pump_locked(root, settings or RunSettings.from_environment())


def pump_locked(root: Path, settings: RunSettings) -> list[Run]:
    """The same for who holds the lock.

    Raises:
        OSError: If something cannot be written.
    """
    store.sweep(root)
    runs = [settle(run) for run in store.all_runs(root)]
    for run in runs:
        stopping.escalate(run, settings)
    room = settings.at_once - sum(run.state == "running" for run in runs)
    started: list[Run] = []
    for run in _waiting(runs):
        if room <= 0 or no_room(root, settings.with_limits(run.limits)):
            break
        begun = _start(run, root, settings)
        if begun.state == "running":
            started.append(begun)
            room -= 1
    return started


def needs_pump(runs: list[Run], settings: RunSettings) -> bool:
    """Whether :func:`pump` would change anything; cheap enough for every second."""
    running = [run for run in runs if run.state == "running"]
    if any(judge(run) is not run or stopping.wants(run, settings) for run in running):
        return True
    return len(running) < settings.at_once and bool(_waiting(runs)) and not held_up(runs, settings)


def held_up(runs: list[Run], settings: RunSettings) -> str:
    """Why the next waiting run does not start although it is its turn; empty when nothing is in its way.

    Args:
        runs: All runs of a root.
        settings: Limits.
    """
    waiting = _waiting(runs)
    if not waiting or sum(run.state == "running" for run in runs) >= settings.at_once:
        return ""
    try:
        return no_room(waiting[0].folder.parent, settings.with_limits(waiting[0].limits))
    except OSError as error:
        return f"the checkpoint folder cannot be read ({error.strerror})"


def no_room(root: Path, settings: RunSettings) -> str:
    """What is wrong with the disk, without a full stop; empty when a training may start.

    Raises:
        OSError: If the root cannot be looked at.
    """
    free = shutil.disk_usage(root).free
    if free < settings.keep_free_mb << 20:
        return f"the disk is nearly full: {free >> 20:,} MiB are free, and {settings.keep_free_mb:,} are to stay free"
    return "the disk is full" if free < 2 * store.SPARE_BYTES else ""


def _waiting(runs: list[Run]) -> list[Run]:
    return sorted((run for run in runs if run.state == "queued"), key=lambda run: run.ticket)


def judge(run: Run) -> Run:
    """The run as it is: one whose process is gone is lost (or stopped, if that was asked for). Nothing is written."""
    if run.state != "running" or (run.worker is not None and is_alive(run.worker, run.heartbeat)):
        return run
    request = stopping.asked(run, RunSettings())
    if request is not None:
        reason = f"{request.why} It did not answer in time and was ended. {left_behind(run)}"
    else:
        reason = f"The training process vanished: it was killed, or the machine went down. {left_behind(run)}"
    ended = max(run.heartbeat, run.started or 0.0)
    return dataclasses.replace(run, state="lost" if request is None else "stopped", reason=reason, ended=ended)


def settle(run: Run) -> Run:
    """Write what :func:`judge` found; for who holds the lock.

    Raises:
        OSError: If it cannot be written.
    """
    ended = judge(run)
    if ended is not run:
        _clear(run)  # first: that may be what fills the disk
        store.write_last(ended)
        (run.folder / store.STOP).unlink(missing_ok=True)
    return ended


def left_behind(run: Run) -> str:
    """What can be done with a run that was ended by force, a sentence."""
    if (run.folder / "checkpoint" / "last.safetensors").exists():
        return "It can be resumed from its last checkpoint."
    return "There is no checkpoint yet: resuming starts it anew."


def _clear(run: Run) -> None:
    """Remove what a killed worker leaves half-written."""
    for file in (*run.folder.glob(".*.tmp"), *run.folder.glob("*/.*.tmp")):
        if file.is_dir():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)


def _start(run: Run, root: Path, settings: RunSettings) -> Run:
    own = settings.with_limits(run.limits)
    (run.folder / store.STOP).unlink(missing_ok=True)
    store.put_spare(run.folder)  # without room for that nothing is started
    threads = int(run.request.options.get("threads") or own.thread_count)
    now = time.time()
    try:
        process = _spawn(run, _environment(root, threads, own))
    except OSError as error:
        return _not_started(run, f"The training process could not be started ({error.strerror}).")
    begun = dataclasses.replace(
        run,
        state="running",
        reason="",
        started=now,
        ended=None,
        heartbeat=now,
        worker=identify(process.pid),
        attempts=run.attempts + 1,
        threads=threads,
    )
    try:
        # The worker waits for the lock, so it reads this and not what stood there before.
        store.write(begun)
    except OSError as error:
        _take_back(process)
        return _not_started(run, f"Its start could not be written ({error.strerror}). Make room and resume.")
    threading.Thread(target=process.wait, name=f"wait-{process.pid}", daemon=True).start()  # leave no zombie
    return begun


def _not_started(run: Run, reason: str) -> Run:
    failed = dataclasses.replace(run, state="failed", reason=reason, ended=time.time())
    store.write_last(failed)
    return failed


def _take_back(process: subprocess.Popen[bytes]) -> None:
    """End a worker that waits for a description that will never come."""
    for kill in (os.killpg, os.kill):  # it may not lead its group yet
        with suppress(ProcessLookupError):
            kill(process.pid, signal.SIGKILL)
    process.wait()


def _environment(root: Path, threads: int, settings: RunSettings) -> dict[str, str]:
    package = Path(__file__).resolve().parents[2]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        **settings.to_environment(),
        "ANTICOLLAPSE_CHECKPOINTS": str(root),
        "PYTHONPATH": os.pathsep.join(paths),
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
        "TQDM_DISABLE": "1",
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
    }


def _spawn(run: Run, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with (run.folder / store.LOG).open("ab") as log:
        # -P: nothing that lies in the run's folder is ever imported.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "anticollapse.runs.worker", str(run.folder)],
            cwd=run.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
