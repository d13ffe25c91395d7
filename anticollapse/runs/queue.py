"""The queue: first come, first served, so many at once, whoever looks at it moves it on.

There is no service that has to stay alive. The worker that ends starts the next run; so does the app and every command
when they look. One lock makes sure that two of them never start the same run, or one too many.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from anticollapse.encoding import checkpoint_root
from anticollapse.runs import store
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
    """
    root = root or checkpoint_root()
    with store.locked(root):
        return pump_locked(root, settings or RunSettings.from_environment())


def pump_locked(root: Path, settings: RunSettings) -> list[Run]:
    """The same for who holds the lock."""
    runs = [settle(run) for run in store.all_runs(root)]
    room = settings.at_once - sum(run.state == "running" for run in runs)
    waiting = sorted((run for run in runs if run.state == "queued"), key=lambda run: run.ticket)
    started: list[Run] = []
    for run in waiting:
        if room <= 0:
            break
        begun = _start(run, root, settings)
        if begun.state == "running":
            started.append(begun)
            room -= 1
    return started


def needs_pump(runs: list[Run], settings: RunSettings) -> bool:
    """Whether :func:`pump` would change anything; cheap enough for every second."""
    running = [run for run in runs if run.state == "running"]
    if any(run.worker is None or not is_alive(run.worker, run.heartbeat) for run in running):
        return True
    return len(running) < settings.at_once and any(run.state == "queued" for run in runs)


def settle(run: Run) -> Run:
    """A run whose process is gone is lost (or stopped, if that was asked for); for who holds the lock."""
    if run.state != "running" or (run.worker is not None and is_alive(run.worker, run.heartbeat)):
        return run
    asked = run.stop_asked
    left = _left_behind(run)
    if asked:
        reason = f"Stopped: it did not answer in time and was ended. {left}"
    else:
        reason = f"The training process vanished: it was killed, or the machine went down. {left}"
    ended = max(run.heartbeat, run.started or 0.0)
    lost = dataclasses.replace(run, state="stopped" if asked else "lost", reason=reason, ended=ended)
    store.write(lost)
    _clear(lost)
    return lost


def _left_behind(run: Run) -> str:
    if (run.folder / "checkpoint" / "last.safetensors").exists():
        return "It can be resumed from its last checkpoint."
    return "There is no checkpoint yet: resuming starts it anew."


def _clear(run: Run) -> None:
    """Remove what a killed worker leaves half-written."""
    (run.folder / store.STOP).unlink(missing_ok=True)
    (run.folder / store.SPARE).unlink(missing_ok=True)
    for file in (*run.folder.glob(".*.tmp"), *run.folder.glob("*/.*.tmp")):
        if file.is_dir():
            shutil.rmtree(file, ignore_errors=True)
        else:
            file.unlink(missing_ok=True)


def _start(run: Run, root: Path, settings: RunSettings) -> Run:
    (run.folder / store.STOP).unlink(missing_ok=True)
    store.put_spare(run.folder)
    threads = int(run.request.options.get("threads") or settings.thread_count)
    now = time.time()
    try:
        process = _spawn(run, root, threads)
    except OSError as error:
        failed = dataclasses.replace(
            run, state="failed", reason=f"The training process could not be started ({error.strerror}).", ended=now
        )
        store.write_last(failed)
        return failed
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
    # The worker waits for the lock, so it reads this and not what stood there before.
    store.write(begun)
    threading.Thread(target=process.wait, name=f"wait-{process.pid}", daemon=True).start()  # leave no zombie
    return begun


def _spawn(run: Run, root: Path, threads: int) -> subprocess.Popen[bytes]:
    package = Path(__file__).resolve().parents[2]
    paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "ANTICOLLAPSE_CHECKPOINTS": str(root),
        "PYTHONPATH": os.pathsep.join(paths),
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
        "TQDM_DISABLE": "1",
        **dict.fromkeys(THREAD_VARIABLES, str(threads)),
    }
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
