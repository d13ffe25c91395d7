"""The process of one run: ``python -m anticollapse.runs.worker RUN_DIR``.

It runs in its own session, so it outlives the app. A thread of it writes the heartbeat and the progress, and looks for
the stop file and at the limits; the training itself only asks whether to stop.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import logging
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anticollapse.errors import AntiCollapseError, RunError
from anticollapse.runs import stopping, store
from anticollapse.runs.process import since_boot
from anticollapse.runs.queue import left_behind, pump_locked
from anticollapse.runs.settings import RunSettings
from anticollapse.runs.store import Run, State

if TYPE_CHECKING:
    from anticollapse.training import Event, TrainingResult

logger = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
BY_SYSTEM = "The system asked it to end."
MEASURES = ("dev_spearman", "mean_unrelated_cosine", "effective_rank", "std_sqrt_d")


class Reporter:
    """Keeps ``run.json`` up to date while the training runs, and knows when to stop.

    Args:
        run: The run as it was claimed.
        settings: Limits.
    """

    def __init__(self, run: Run, settings: RunSettings) -> None:
        self.run, self.settings = run, settings
        self.progress: dict[str, Any] = dict(run.progress)
        self.why_stop = ""
        self._began = since_boot()
        self._asked = 0.0
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop_wanted(self) -> bool:
        """Whether the training is to stop."""
        return bool(self.why_stop)

    def ask_to_stop(self, why: str) -> None:
        """Let the training stop after its present step; the first reason counts."""
        if not self.why_stop:
            self.why_stop, self._asked = why, since_boot()

    def hear_signal(self, *_: object) -> None:
        """SIGTERM: somebody's who asked it to stop before, or the system's, which goes down or needs the room."""
        request = stopping.asked(self.run, self.settings)
        self.ask_to_stop(BY_SYSTEM if request is None else request.why)

    def hear(self, event: Event) -> None:
        """Take over what the training says."""
        values = event.values
        with self._lock:
            progress = self.progress
            progress.update(step=event.step, steps=event.steps)
            if event.kind == "start":
                progress.update({f"{name}_before": values["before"][name] for name in MEASURES})
            elif event.kind == "progress":
                progress.update({key: values[key] for key in ("seconds", "seconds_left", "best_dev_spearman")})
            elif event.kind == "evaluation":
                progress.update({name: values[name] for name in MEASURES})
                progress.update(loss=values["loss"], alarm=values["alarm"], items_per_second=values["items_per_second"])
            elif event.kind == "end" and "after" in values:
                progress.update({f"{name}_best": values["after"][name] for name in MEASURES})
                progress.update(best_step=values["best_step"], seconds=values["seconds"], seconds_left=0.0)

    def hush(self) -> None:
        """Beat no more. Before the lock is taken: the heartbeat may be waiting for it to end this process."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def end(self, state: State, reason: str) -> None:
        """Write how it ended; nothing is written after that.

        Raises:
            OSError: If it cannot be written.
        """
        self.hush()
        store.write_last(self._snapshot(state=state, reason=reason, ended=time.time()))

    def _snapshot(self, **changes: Any) -> Run:  # noqa: ANN401
        with self._lock:
            progress = {key: value for key, value in self.progress.items() if _plain(value)}
        return dataclasses.replace(self.run, progress=progress, heartbeat=time.time(), **changes)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            if self._check_limits():
                self._end_by_force()
            try:
                store.write(self._snapshot(), durable=False)
            except OSError as error:
                # The training itself will meet the same disk; whether that ends it is decided there.
                logger.warning("the heartbeat cannot be written: %s", error)

    def _check_limits(self) -> bool:
        """Ask the training to stop where it has to; gives whether it had its time for that and does not listen."""
        request = stopping.asked(self.run, self.settings)
        if request is not None:
            self.ask_to_stop(request.why)
        if since_boot() - self._began > self.settings.max_hours * 3600:
            self.ask_to_stop(stopping.time_is_up(self.settings))
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self.run.folder).free >> 20
            if free < self.settings.keep_free_mb:
                self.ask_to_stop(
                    f"The disk is nearly full: {free:,} MiB are free, and {self.settings.keep_free_mb:,} are kept free."
                )
        grace = self.settings.grace_seconds if request is None else request.grace
        return bool(self.why_stop) and since_boot() - self._asked >= 2 * grace

    def _end_by_force(self) -> None:
        """Say that the training did not stop, let the next run begin, and end this process with all it started."""
        folder = self.run.folder
        with contextlib.suppress(RunError, OSError), store.locked(folder.parent):
            if self._ended.is_set():
                return  # it has listened after all
            reason = f"{self.why_stop} It did not answer in time and was ended. {left_behind(self.run)}"
            store.write_last(self._snapshot(state="stopped", reason=reason, ended=time.time()))
            (folder / store.STOP).unlink(missing_ok=True)
            if self.why_stop != BY_SYSTEM:
                pump_locked(folder.parent, self.settings)
        stopping.end_own_group()


def main(arguments: list[str] | None = None) -> int:
    """Run the run in a folder to its end, then start the next one.

    Args:
        arguments: The folder.

    Returns:
        0 when it is done or stopped, 1 otherwise.
    """
    given = sys.argv[1:] if arguments is None else arguments
    folder = Path(given[0]).resolve()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for noisy in ("sentence_transformers", "httpx", "filelock"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    settings = RunSettings.from_environment()
    _yield_to_others(settings.niceness)
    run = _claim(folder)
    if run is None:
        return 1  # and nothing is started either: whoever did not write this run down could not write the next one
    reporter = Reporter(run, settings)
    signal.signal(signal.SIGTERM, reporter.hear_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reporter.start()
    state, reason = _train(run, reporter)
    logger.info("%s: %s", state, reason)
    reporter.hush()
    with store.locked(folder.parent):
        reporter.end(state, reason)
        (folder / store.STOP).unlink(missing_ok=True)
        # A system that goes down ends one training after the other: none is to begin then.
        if reporter.why_stop != BY_SYSTEM:
            pump_locked(folder.parent, settings)
    return 0 if state in {"done", "stopped"} else 1


def _yield_to_others(niceness: int) -> None:
    """Take a niceness; what this process inherited from the run that started it counts, as os.nice() adds to it."""
    with contextlib.suppress(OSError):
        os.nice(max(0, niceness - os.getpriority(os.PRIO_PROCESS, 0)))


def _claim(folder: Path) -> Run | None:
    """The run, if it is this process that was started for it."""
    with store.locked(folder.parent):
        run = store.read(folder)
    if run.state != "running" or run.worker is None or run.worker.pid != os.getpid():
        logger.error("this run was not started by the queue; nothing is done")
        return None
    return run


def _train(run: Run, reporter: Reporter) -> tuple[State, str]:
    """Train, and say how it ended."""
    try:
        result = _call_train(run, reporter)
    except AntiCollapseError as error:
        return "failed", _full_disk(error) or str(error)
    except OSError as error:
        logger.exception("the run failed")
        return "failed", _full_disk(error) or f"A file could not be read or written: {error}."
    except Exception as error:  # whatever it is, a person must be able to read that it happened
        logger.exception("the run failed")
        return "failed", f"An unexpected error ended it ({type(error).__name__}: {error}). The log says where."
    if result.status == "stopped":
        kept = f"The encoder of step {result.best_step:,} is kept"
        return "stopped", f"{reporter.why_stop} {kept}, and the run can be resumed at step {result.step:,}."
    if result.status == "early-stopped":
        early = f"Ended early at step {result.step:,}, as dev Spearman did not get better any more"
        return "done", f"{early}; the encoder of step {result.best_step:,} is kept."
    return "done", f"All {result.step:,} steps are done; the encoder of step {result.best_step:,} is kept."


def _call_train(run: Run, reporter: Reporter) -> TrainingResult:
    # Imported here: a process that only has to say why it ends should not wait for torch.
    from anticollapse.training import TrainingOptions, get_variant, train

    request = run.request
    options = TrainingOptions(**{**_known(request.options), "threads": run.threads})
    dev = None if request.dev is None else store.read_pairs_of(run.folder / store.DEV)
    return train(
        get_variant(request.variant).with_parameters(request.parameters),
        request.backbone,
        store.read_pairs_of(run.folder / store.TRAIN),
        dev=dev,
        output=run.folder,
        options=options,
        device=request.device,
        resume=run.attempts > 1,
        callback=reporter.hear,
        stop=reporter.stop_wanted,
        command=f"python -m anticollapse runs show {run.id}",
    )


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "threads"}


def _full_disk(error: BaseException) -> str:
    """What to say when the disk is full; empty when it is something else."""
    seen: BaseException | None = error
    while seen is not None:
        number = getattr(seen, "errno", None)
        if number in {errno.ENOSPC, errno.EDQUOT} or "No space left" in str(seen) or "os error 28" in str(seen):
            return "The disk is full. What was kept before is intact: make room and resume."
        seen = seen.__cause__ or seen.__context__
    return ""


def _plain(value: object) -> bool:
    """Whether it can stand in JSON; NaN cannot."""
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


if __name__ == "__main__":
    sys.exit(main())
