"""Run folders: what is in them, how it is written and read.

``ROOT/<32 hexadecimal digits>/``: ``run.json`` (request, state, process, heartbeat, progress), ``request.json`` (the
same as it was put into the queue; written once, to go on from when ``run.json`` is damaged), ``train.json`` and
``dev.json`` (the sentence pairs), ``metrics.jsonl``, ``log.txt``, ``checkpoint/`` and ``model/``.

Who writes ``run.json``: while a run is running, its worker alone; at any other time whoever holds :func:`locked`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import logging
import os
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from anticollapse.data import PairSet
from anticollapse.encoding import checkpoint_root
from anticollapse.errors import RunError
from anticollapse.runs.description import (
    DEV,
    ENDED,
    ID,
    LOG,
    MAX_NAME,
    METRICS,
    MODEL,
    RESUMABLE,
    RUN,
    STATES,
    STOP,
    TRAIN,
    Request,
    Run,
    State,
)

__all__ = [
    "DELETED",
    "DEV",
    "ENDED",
    "ID",
    "LOCK",
    "LOG",
    "MAX_NAME",
    "METRICS",
    "MODEL",
    "NEW",
    "REQUEST",
    "RESUMABLE",
    "RUN",
    "SPARE",
    "SPARE_BYTES",
    "STATES",
    "STOP",
    "TRAIN",
    "Listing",
    "Request",
    "Run",
    "State",
    "all_runs",
    "folder_of",
    "held",
    "locked",
    "log_tail",
    "new_id",
    "put_spare",
    "read",
    "read_metrics",
    "read_pairs_of",
    "save_pairs",
    "size_of",
    "sweep",
    "unreadable",
    "write",
    "write_json",
    "write_last",
    "writing",
]

logger = logging.getLogger(__name__)

SPARE = ".spare"
"""A block of disk that a run gives back to be able to say that the disk is full."""
SPARE_BYTES = 1 << 16
REQUEST = "request.json"
NEW, DELETED = ".new-", ".deleted-"
"""How folders begin that are no run yet, or none any more."""
LOCK = ".runs.lock"


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the one lock of a checkpoint root, across threads and processes; it is not reentrant.

    The kernel frees it when its holder dies.

    Raises:
        RunError: If the root cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        stream = (root / LOCK).open("ab")
    except OSError as error:
        raise RunError(f"the checkpoint folder cannot be written ({error.strerror})", where=str(root)) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextmanager
def writing(root: Path) -> Iterator[None]:
    """What is written within raises an error that a person can do something about.

    Raises:
        RunError: Instead of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise RunError(
            f"the runs cannot be written ({error.strerror or error})", where=str(root), remedy="Make room on the disk"
        ) from error


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder that is being made, so that :func:`sweep` leaves it alone; the kernel ends that with its holder.

    Raises:
        OSError: If somebody else holds it.
    """
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(number)


def sweep(root: Path) -> None:
    """Remove what killed processes left half-made or half-deleted; for who holds the lock.

    Args:
        root: The checkpoint root.
    """
    for folder in root.glob(f"{DELETED}*"):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in root.glob(f"{NEW}*"):
        with contextlib.suppress(OSError), held(folder):
            shutil.rmtree(folder, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Bytes in a folder; files that vanish meanwhile count as nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += Path(place, name).lstat().st_size
    return total


def new_id() -> str:
    """32 hexadecimal digits that nobody can guess."""
    return uuid.uuid4().hex


def folder_of(run_id: str, root: Path | None = None) -> Path:
    """The folder of a run.

    Raises:
        RunError: If the id is none, or there is no such run.
    """
    if not ID.fullmatch(run_id):
        raise RunError(f'"{run_id[:80]}" is no run', remedy="Run ids have 32 hexadecimal digits; see the list of runs")
    folder = (root or checkpoint_root()) / run_id
    if not _is_run(folder):
        raise RunError(f"there is no run {run_id}", remedy="It may have been deleted; see the list of runs")
    return folder


def _is_run(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (RUN, REQUEST))


def read(folder: Path) -> Run:
    """Read a run; of one whose description is damaged, what was asked for.

    Raises:
        RunError: If it cannot be read.
    """
    try:
        return _read(folder, RUN)
    except RunError as error:
        if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
            raise  # the file may be as it should be
        try:
            asked = _read(folder, REQUEST)
        except RunError:
            raise error from None
        reason = "Its description was damaged, as happens when a machine goes down. It can be resumed"
        # A second attempt goes on from the checkpoint where there is one, a first one does not expect any.
        return dataclasses.replace(
            asked, state="lost", reason=f"{reason} with what was asked for.", attempts=1, ended=_changed(folder)
        )


def _read(folder: Path, name: str) -> Run:
    try:
        plain = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"the run cannot be read ({error})", where=str(folder)) from error
    if not isinstance(plain, dict):
        raise RunError("the description of the run is no object", where=str(folder / name))
    return Run.from_json(plain, folder)


def unreadable(folder: Path, error: RunError) -> Run:
    """What stands in the list for a run that cannot be read: it can be seen, and deleted.

    Args:
        folder: Its folder.
        error: Why it cannot be read.
    """
    why = f"{error.what[0].upper()}{error.what[1:]}"
    return Run(
        id=folder.name,
        name=f"unreadable {folder.name[:8]}",
        folder=folder,
        state="failed",
        reason=f"{why}. All that can be done here is to delete it.",
        request=Request(variant="", parameters={}, options={}, backbone="", data={"name": "–", "n": 0}),
        ticket=0,
        created=_changed(folder),
    )


def _changed(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:
        return 0.0


def write(run: Run, *, durable: bool = True) -> None:
    """Write a run atomically; see the module's text for who may.

    Args:
        run: As it is to be.
        durable: Wait until it is on the disk; a heartbeat need not.

    Raises:
        OSError: If it cannot be written; what was there stays.
    """
    write_json(run.folder / RUN, run.to_json(), durable=durable)


def write_json(file: Path, value: object, *, durable: bool = True) -> None:
    """Write one JSON document atomically.

    Raises:
        OSError: If it cannot be written; what was there stays.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(value, stream, ensure_ascii=False, allow_nan=False)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def put_spare(folder: Path) -> None:
    """Reserve the block that :func:`write_last` can fall back on.

    Raises:
        OSError: If there is no room for it.
    """
    (folder / SPARE).write_bytes(os.urandom(SPARE_BYTES))


def write_last(run: Run) -> None:
    """Write a run's end, even on a full disk: then the reserved block makes room.

    Raises:
        OSError: If even that does not help.
    """
    try:
        write(run)
    except OSError:
        (run.folder / SPARE).unlink(missing_ok=True)
        write(run)
    (run.folder / SPARE).unlink(missing_ok=True)


def save_pairs(file: Path, pairs: PairSet) -> None:
    """Store pairs exactly, so that their digest stays the same.

    Raises:
        OSError: If they cannot be written.
    """
    plain = {
        "name": pairs.name,
        "sentences1": pairs.sentences1,
        "sentences2": pairs.sentences2,
        "scores": None if pairs.scores is None else pairs.scores.tolist(),
        "rows": pairs.rows.tolist(),
        "scale": pairs.scale,
        "notes": pairs.notes,
    }
    write_json(file, plain)


def read_pairs_of(file: Path) -> PairSet:
    """Read what :func:`save_pairs` wrote.

    Raises:
        RunError: If it cannot be read.
    """
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
        second, scores = plain["sentences2"], plain["scores"]
        return PairSet(
            name=plain["name"],
            sentences1=tuple(plain["sentences1"]),
            sentences2=None if second is None else tuple(second),
            scores=None if scores is None else np.array(scores, np.float64),
            rows=np.array(plain["rows"], np.int64),
            scale=plain["scale"],
            notes=tuple(plain["notes"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"the run's sentence pairs cannot be read ({error})", where=str(file)) from error


class Listing:
    """The runs of a root; only what changed is read again, and the disk is looked at once a second at most.

    Args:
        root: The checkpoint root.
        every: Seconds for which the last look counts.
    """

    def __init__(self, root: Path, every: float = 1.0) -> None:
        self.root, self.every = root, every
        self._runs: dict[str, tuple[tuple[int, int], Run]] = {}
        self._looked = -float("inf")
        self._lock = threading.Lock()

    def runs(self, *, fresh: bool = False) -> list[Run]:
        """All runs, the newest first; one that cannot be read says why.

        Args:
            fresh: Look at the disk in any case.
        """
        with self._lock:
            if fresh or time.monotonic() - self._looked >= self.every:
                self._look()
                self._looked = time.monotonic()
            return sorted((run for _, run in self._runs.values()), key=lambda run: -run.ticket)

    def _look(self) -> None:
        found: dict[str, tuple[tuple[int, int], Run]] = {}
        try:
            entries = [entry for entry in os.scandir(self.root) if ID.fullmatch(entry.name)]
        except OSError:
            entries = []
        for folder in (Path(entry.path) for entry in entries):
            if (stamp := _stamp(folder)) is None:
                continue
            known = self._runs.get(folder.name)
            if known and known[0] == stamp:
                found[folder.name] = known
                continue
            try:
                found[folder.name] = (stamp, read(folder))
            except RunError as error:
                if _is_run(folder):  # else it was deleted just now
                    logger.warning("%s", error)
                    found[folder.name] = (stamp, unreadable(folder, error))
        self._runs = found


def _stamp(folder: Path) -> tuple[int, int] | None:
    """Changes with each write, as that makes a new file; None where there is no run."""
    for name in (RUN, REQUEST):
        with contextlib.suppress(OSError):
            stat = (folder / name).stat()
            return stat.st_mtime_ns, stat.st_ino
    return None


def all_runs(root: Path | None = None) -> list[Run]:
    """All runs under a root as they are on the disk, the newest first.

    Args:
        root: The checkpoint root; default :func:`~anticollapse.encoding.checkpoint_root`.
    """
    return Listing(root or checkpoint_root()).runs()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The events in ``metrics.jsonl``; a line that is being written is left out.

    Args:
        folder: The run's folder.
    """
    try:
        text = (folder / METRICS).read_text(encoding="utf-8")
    except OSError:
        return []
    events = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict):
                events.append(event)
    return events


def log_tail(folder: Path, lines: int = 200) -> str:
    """The end of ``log.txt``.

    Args:
        folder: The run's folder.
        lines: How many lines at most.
    """
    try:
        with (folder / LOG).open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 200 * lines))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
