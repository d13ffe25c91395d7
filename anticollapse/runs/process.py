"""Is the process of a run still the one that was started? Pid, start time and heartbeat together say so.

A pid alone is given to another process sooner or later, and a wall clock can be set. The kernel's own count of ticks
since boot, with the name of that boot, is neither.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

STALE_SECONDS = 60.0
"""Age of a heartbeat from another machine (or from before a reboot) after which its run counts as dead."""


@dataclass(frozen=True)
class Worker:
    """A process, told apart from every other.

    Attributes:
        pid: Its number.
        started: When it started: ticks since boot.
        place: Boot of which machine, and which namespace of pids.
    """

    pid: int
    started: str
    place: str


def identify(pid: int) -> Worker | None:
    """The process with this pid now, or None when there is none (or only its zombie).

    Args:
        pid: Its number.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return Worker(pid, _start(process), this_place())
    except (psutil.Error, OSError):
        return None


def is_alive(worker: Worker, heartbeat: float) -> bool:
    """Whether it still runs.

    Args:
        worker: As :func:`identify` gave it when it started.
        heartbeat: When it last wrote, in seconds since 1970. It decides only for a process of another place: a clock
            that jumps kills nobody here.
    """
    if worker.place != this_place():
        return abs(time.time() - heartbeat) < STALE_SECONDS
    return identify(worker.pid) == worker


def send(worker: Worker, number: signal.Signals) -> None:
    """Send a signal to its process group; a process that is gone is no error.

    Args:
        worker: Of this place.
        number: Which signal.
    """
    if identify(worker.pid) == worker:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, number)


def since_boot() -> float:
    """Seconds since this machine was started: the same clock for all processes, and nobody can set it."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()  # counts from boot too where there is no other


def age(worker: Worker) -> float | None:
    """Seconds since a process of this place was started; None where it does not say that in ticks.

    Args:
        worker: As :func:`identify` gave it.
    """
    if not worker.started.isdigit():
        return None
    return since_boot() - int(worker.started) / os.sysconf("SC_CLK_TCK")


def this_place() -> str:
    """Name of this boot of this machine and of its namespace of pids."""
    boot = _read("/proc/sys/kernel/random/boot_id") or f"{os.uname().nodename}"
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return f"{boot} {space}".strip()


def _start(process: psutil.Process) -> str:
    text = _read(f"/proc/{process.pid}/stat")
    if text:
        return text.rpartition(")")[2].split()[19]  # the name in brackets may hold anything
    return f"{process.create_time():.2f}"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
