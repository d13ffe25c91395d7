"""Work on a study: claim runs one after the other and do them, alone or beside other processes and machines."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from anticollapse.errors import AntiCollapseError
from anticollapse.studies.cell import Bench, read_result, run_cell, tidy
from anticollapse.studies.claim import Claim, claim, owner_of
from anticollapse.studies.plan import RUNS, Cell, Plan
from anticollapse.training import Event

logger = logging.getLogger(__name__)

FAILED = "failed.txt"
POLL_SECONDS = 1.0

Report = Callable[["State"], None]


class _TakenOver(BaseException):
    """Our claim is lost: another process works in the run's folder.

    Not an Exception, as an interruption is none: a training that ends in one writes that down, and one that is stopped
    saves its checkpoint, both into the folder that is no longer ours.
    """


@dataclass(frozen=True, kw_only=True)
class State:
    """How far a study is.

    Attributes:
        cells: Runs that were asked for.
        done: How many of them are finished, by whomever.
        share: Share of the run that this process is at.
        cell: Which run that is, or None.
        finished: The result that was just written, or None.
    """

    cells: int
    done: int
    share: float = 0.0
    cell: Cell | None = None
    finished: dict[str, Any] | None = None


@dataclass(kw_only=True)
class Outcome:
    """What a process did.

    Attributes:
        done: Runs that it finished.
        failed: Runs that could not be done, and why.
        elsewhere: Runs that another process holds.
        stopped: Whether it was asked to stop.
    """

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)
    stopped: bool = False


def missing(folder: Path, cells: Sequence[Cell]) -> list[Cell]:
    """Runs that have no result yet.

    Args:
        folder: The study's folder.
        cells: Runs.
    """
    return [cell for cell in cells if read_result(folder / RUNS / cell.slug) is None]


def work(
    bench: Bench,
    cells: Sequence[Cell],
    *,
    stop: Callable[[], bool] = lambda: False,
    report: Report = lambda _: None,
) -> Outcome:
    """Do all runs that are neither finished nor claimed by others.

    Args:
        bench: What the runs share.
        cells: The runs that were asked for.
        stop: Asked before each step; a run that was begun goes on from its checkpoint later.
        report: Told how it goes.

    Returns:
        What was done.

    Raises:
        OSError: If the folder cannot be written.
    """
    outcome = Outcome()
    bench.keep_scores()
    if bench.threads:
        torch.set_num_threads(bench.threads)
    for cell in cells:
        if stop():
            outcome.stopped = True
            break
        folder = bench.folder_of(cell)
        if read_result(folder) is not None:
            _tidy_after_others(folder)
            continue
        held = claim(folder)
        if held is None:
            outcome.elsewhere.append(cell.slug)
            continue
        try:
            # Between the look above and the claim another process may have finished it.
            if read_result(folder) is None:
                outcome.stopped = not _one(bench, cells, cell, held, stop, report, outcome)
        finally:
            held.release()
        if outcome.stopped:
            break
    return outcome


def _one(
    bench: Bench,
    cells: Sequence[Cell],
    cell: Cell,
    held: Claim,
    stop: Callable[[], bool],
    report: Report,
    outcome: Outcome,
) -> bool:
    """Do one claimed run; whether to go on with the next."""
    folder = bench.folder_of(cell)
    done = len(cells) - len(missing(bench.folder, cells))

    def asked_to_stop() -> bool:
        _require(held)
        return stop()

    def hear(event: Event) -> None:
        # Between the look before a step and what is written after it lie minutes, where the dev pairs are measured.
        _require(held)
        if event.kind == "progress":
            share = event.step / max(event.steps, 1)
            report(State(cells=len(cells), done=done, share=share, cell=cell))

    report(State(cells=len(cells), done=done, cell=cell))
    try:
        result = run_cell(bench, cell, stop=asked_to_stop, is_ours=held.check, hear=hear)
    except _TakenOver:
        logger.warning("%s was taken over by another process", cell.slug)
        return not stop()
    except AntiCollapseError as error:
        if not held.check():
            logger.warning("%s was taken over by another process; here it had failed: %s", cell.slug, error)
            return not stop()
        logger.warning("%s: %s", cell.slug, error)
        outcome.failed[cell.slug] = str(error)
        (folder / FAILED).write_text(f"{error}\n", encoding="utf-8")
        return True
    if result is None:
        if held.lost:
            logger.warning("%s was taken over by another process", cell.slug)
        return not stop()
    (folder / FAILED).unlink(missing_ok=True)
    outcome.done.append(cell.slug)
    report(State(cells=len(cells), done=done + 1, finished=result))
    return True


def _require(held: Claim) -> None:
    """Go no further with a claim that is lost.

    The file system is asked each time: after a suspension the thread that looks may not have run yet.
    """
    if not held.check():
        raise _TakenOver


def _tidy_after_others(folder: Path) -> None:
    """What a process that was killed right after its result has left."""
    owner = owner_of(folder)
    if owner is None or not owner.holds:
        tidy(folder)


def work_in_processes(
    command: Sequence[str],
    jobs: int,
    folder: Path,
    cells: Sequence[Cell],
    *,
    environment: dict[str, str],
    stop: Callable[[], bool] = lambda: False,
    report: Report = lambda _: None,
) -> list[int]:
    """Let several processes work on one study, and wait for them.

    Args:
        command: What each of them runs.
        jobs: How many.
        folder: The study's folder.
        cells: The runs that were asked for.
        environment: Of the processes.
        stop: Asked now and then; they are told to stop, and finish their step and checkpoint.
        report: Told how it goes.

    Returns:
        Their exit statuses.
    """
    # In groups of their own, so that Ctrl-C reaches them once, through us.
    processes = [subprocess.Popen(command, env=environment, start_new_session=True) for _ in range(jobs)]
    told = False
    try:
        for result in _results(folder, cells, processes):
            report(State(cells=len(cells), done=result[0], finished=result[1]))
            if stop() and not told:
                told = True
                _tell(processes, signal.SIGTERM)
    finally:
        _tell(processes, signal.SIGTERM)
        statuses = [process.wait() for process in processes]
    return statuses


def _results(
    folder: Path, cells: Sequence[Cell], processes: Sequence[subprocess.Popen[bytes]]
) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Number of finished runs and what was just finished, again and again until all processes have ended."""
    waiting = missing(folder, cells)
    while True:
        running = any(process.poll() is None for process in processes)
        found = {cell.slug: read_result(folder / RUNS / cell.slug) for cell in waiting}
        waiting = [cell for cell in waiting if found[cell.slug] is None]
        done = len(cells) - len(waiting)
        for result in filter(None, found.values()):
            yield done, result
        yield done, None
        if not running:
            return
        time.sleep(POLL_SECONDS)


def _tell(processes: Sequence[subprocess.Popen[bytes]], number: signal.Signals) -> None:
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def interpreter() -> list[str]:
    """This Python, running the package."""
    return [sys.executable, "-m", "anticollapse"]


def describe_plan(plan: Plan, cells: Sequence[Cell], left: Sequence[Cell]) -> str:
    """What will be done, in one line."""
    trained = sum(cell.row.batch_size > 0 for cell in left)
    return (
        f"{plan.kind} on {plan.pairs['name']} from {plan.backbone['name']}: {len(cells)} runs, "
        f"{len(cells) - len(left)} finished, {len(left)} to do ({trained} trainings of {plan.steps:,} steps)"
    )
