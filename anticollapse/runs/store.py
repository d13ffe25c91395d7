"""Run folders: what is in them, how it is written and read.

``ROOT/<32 hexadecimal digits>/``: ``run.json`` (request, state, process, heartbeat, progress), ``train.json`` and
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
import re
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from anticollapse.data import PairSet
from anticollapse.encoding import checkpoint_root
from anticollapse.errors import RunError
from anticollapse.runs.process import Worker

logger = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "stopped", "failed", "lost"]
STATES: tuple[State, ...] = ("queued", "running", "done", "stopped", "failed", "lost")
ENDED: tuple[State, ...] = ("done", "stopped", "failed", "lost")
RESUMABLE: tuple[State, ...] = ("stopped", "failed", "lost")

ID = re.compile(r"[0-9a-f]{32}")
RUN, TRAIN, DEV, METRICS, LOG, STOP, MODEL = (
    "run.json", "train.json", "dev.json", "metrics.jsonl", "log.txt", "stop", "model",
)  # fmt: skip
SPARE = ".spare"
"""A block of disk that a run gives back to be able to say that the disk is full."""
SPARE_BYTES = 1 << 16
LOCK = ".runs.lock"
SCHEMA = 1
MAX_NAME = 80


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is to be trained, all plain JSON types.

    Attributes:
        variant: Id of the variant.
        parameters: Values of its parameters.
        options: Fields of :class:`~anticollapse.training.TrainingOptions` that differ from their defaults.
        backbone: Name or folder of the encoder to start from.
        data: Name, rows and digest of the training pairs.
        dev: The same of the dev pairs, or None.
        device: ``cpu``, ``cuda``, … or None for what is there.
    """

    variant: str
    parameters: Mapping[str, Any]
    options: Mapping[str, Any]
    backbone: str
    data: Mapping[str, Any]
    dev: Mapping[str, Any] | None = None
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run as its folder describes it.

    Attributes:
        id: 32 hexadecimal digits, the name of its folder.
        name: What people call it; never a path.
        folder: Where it is.
        state: Where it stands.
        reason: Why, a full sentence; empty when there is nothing to say.
        request: What is trained.
        ticket: Place in the queue; the smallest waiting one is next.
        created: Seconds since 1970.
        started: When it was last started, or None.
        ended: When it last ended, or None.
        worker: The process of the last start, or None.
        heartbeat: When the worker last wrote, seconds since 1970.
        progress: Step, measures, time left.
        attempts: Times it was started.
        threads: CPU threads of the last start.
    """

    id: str
    name: str
    folder: Path
    state: State
    request: Request
    ticket: int
    created: float
    reason: str = ""
    started: float | None = None
    ended: float | None = None
    worker: Worker | None = None
    heartbeat: float = 0.0
    progress: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 0
    threads: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.state in ENDED

    @property
    def has_model(self) -> bool:
        """Whether there is an encoder to use."""
        return (self.folder / MODEL / "modules.json").is_file()

    @property
    def stop_asked(self) -> bool:
        """Whether somebody asked it to stop."""
        return (self.folder / STOP).exists()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, as in ``run.json``."""
        plain = {"schema": SCHEMA, **dataclasses.asdict(self)}
        plain.pop("folder")
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], folder: Path) -> Run:
        """Back from ``run.json``.

        Raises:
            RunError: If it is not one of ours.
        """
        try:
            if plain["schema"] != SCHEMA or plain["state"] not in STATES or plain["id"] != folder.name:
                raise ValueError(plain["schema"])
            values = {f.name: plain[f.name] for f in dataclasses.fields(cls) if f.name in plain}
            values["request"] = Request(**plain["request"])
            values["worker"] = Worker(**plain["worker"]) if plain.get("worker") else None
            return cls(**values, folder=folder)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"the description of the run cannot be used ({type(error).__name__}: {error})",
                where=str(folder / RUN),
                remedy="Delete the folder if you do not need it",
            ) from error


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
    if not (folder / RUN).is_file():
        raise RunError(f"there is no run {run_id}", remedy="It may have been deleted; see the list of runs")
    return folder


def read(folder: Path) -> Run:
    """Read a run.

    Raises:
        RunError: If it cannot be read.
    """
    try:
        plain = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"the run cannot be read ({error})", where=str(folder)) from error
    if not isinstance(plain, dict):
        raise RunError("the description of the run is no object", where=str(folder / RUN))
    return Run.from_json(plain, folder)


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
    """Reserve the block that :func:`write_last` can fall back on; no room for it is no error here."""
    with contextlib.suppress(OSError):
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
        """All runs, the newest first; what cannot be read is left out and logged.

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
        for entry in entries:
            file = Path(entry.path) / RUN
            try:
                stat = file.stat()
                stamp = (stat.st_mtime_ns, stat.st_ino)  # each write makes a new file
                known = self._runs.get(entry.name)
                found[entry.name] = known if known and known[0] == stamp else (stamp, read(Path(entry.path)))
            except OSError:
                continue
            except RunError as error:
                logger.warning("%s", error)
        self._runs = found


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
