"""What a run is: what was asked for, where it stands, and both as plain JSON."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from anticollapse.errors import RunError
from anticollapse.runs.process import Worker

State = Literal["queued", "running", "done", "stopped", "failed", "lost"]
STATES: tuple[State, ...] = ("queued", "running", "done", "stopped", "failed", "lost")
ENDED: tuple[State, ...] = ("done", "stopped", "failed", "lost")
RESUMABLE: tuple[State, ...] = ("stopped", "failed", "lost")

ID = re.compile(r"[0-9a-f]{32}")
RUN, TRAIN, DEV, METRICS, LOG, STOP, MODEL = (
    "run.json", "train.json", "dev.json", "metrics.jsonl", "log.txt", "stop", "model",
)  # fmt: skip
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
        limits: Settings that belong to the run; see :attr:`~anticollapse.runs.settings.RunSettings.limits`.
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
    limits: Mapping[str, Any] = field(default_factory=dict)

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

    @property
    def is_readable(self) -> bool:
        """Whether anything is known of it but its id; see :func:`unreadable`."""
        return bool(self.request.variant)

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
