"""Who works on a cell: claimed once, across processes and machines that share the folder.

Claims are numbered files. The first is ``claim.0.json``; a claim whose owner is dead or has given it up is taken over
by creating the next number. Creating a file that must not exist (``O_EXCL``) succeeds for exactly one process, so no
lock is needed, and no claim is ever deleted while somebody could be reading it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from anticollapse.runs.process import Worker, identify, this_place
from anticollapse.runs.store import write_json

logger = logging.getLogger(__name__)

NAME = re.compile(r"claim\.(\d+)\.json")
BEAT_SECONDS = 10.0
STALE_SECONDS = 300.0
"""Age of the heartbeat of another machine's process from which it counts as dead. It is long: a machine whose disk or
network stalls for a minute is not dead, and a cell that waits five minutes costs less than one that is run twice."""


@dataclass(frozen=True)
class Owner:
    """Who holds a claim.

    Attributes:
        worker: The process.
        host: The machine's name, for people.
        released: Whether it gave the claim up.
        heartbeat: When it last said that it lives, seconds since 1970.
    """

    worker: Worker
    host: str
    released: bool
    heartbeat: float

    @property
    def holds(self) -> bool:
        """Whether the cell is taken."""
        if self.released:
            return False
        if self.worker.place == this_place():
            return identify(self.worker.pid) == self.worker
        return abs(time.time() - self.heartbeat) < STALE_SECONDS


class Claim:
    """A claim that this process holds; a thread of it keeps the heartbeat fresh.

    Args:
        file: The claim's file.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="claim", daemon=True)
        self._thread.start()

    def check(self) -> bool:
        """Whether the claim is still ours; somebody may have taken this process for dead."""
        number, _ = _latest(self.file.parent)
        self.lost = self.lost or number != _number(self.file)
        return not self.lost

    def release(self) -> None:
        """Give it up, so that anybody may take the cell at once."""
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError, ValueError):
            write_json(self.file, {**json.loads(self.file.read_text(encoding="utf-8")), "released": True})

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                os.utime(self.file)
            except OSError as error:
                logger.warning("the heartbeat of %s cannot be written: %s", self.file, error)
            if not self.check():
                return


def claim(folder: Path) -> Claim | None:
    """Claim a cell for this process.

    Args:
        folder: The cell's folder; it is created.

    Returns:
        The claim, or None when somebody else works on it.

    Raises:
        OSError: If the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    number, owner = _latest(folder)
    if owner is not None and owner.holds:
        return None
    own = identify(os.getpid())
    text = json.dumps({"worker": None if own is None else asdict(own), "host": socket.gethostname(), "released": False})
    file = folder / f"claim.{number + 1}.json"
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError:
        return None
    return Claim(file)


def owner_of(folder: Path) -> Owner | None:
    """Who holds, or last held, a cell; None when nobody ever did."""
    return _latest(folder)[1]


def _latest(folder: Path) -> tuple[int, Owner | None]:
    """Number of the newest claim, −1 without any, and its owner."""
    try:
        numbers = [int(found[1]) for file in folder.iterdir() if (found := NAME.fullmatch(file.name))]
    except FileNotFoundError:
        numbers = []
    if not numbers:
        return -1, None
    return max(numbers), _read(folder / f"claim.{max(numbers)}.json")


def _read(file: Path) -> Owner | None:
    try:
        heartbeat = file.stat().st_mtime
        plain: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return Owner(Worker(**plain["worker"]), str(plain["host"]), bool(plain["released"]), heartbeat)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        # Between its creation and its first byte a claim is empty, and its owner may have died there.
        nobody = Worker(0, "", "unreadable")
        return Owner(nobody, "", released=False, heartbeat=heartbeat)


def _number(file: Path) -> int:
    found = NAME.fullmatch(file.name)
    return int(found[1]) if found else -1
