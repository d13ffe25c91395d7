"""What runs may use: how many at once, how long the queue, how much time, disk and threads."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anticollapse.errors import OptionError

PREFIX = "ANTICOLLAPSE_RUNS_"
LIMITS = ("max_hours", "keep_free_mb", "threads", "niceness", "grace_seconds")
"""What belongs to a run and stays with it from the queue to its end; the others belong to the queue."""
MOST_NICE = 19


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Limits of runs; each is read from the environment variable ``ANTICOLLAPSE_RUNS_`` + its name in capitals.

    Attributes:
        at_once: Trainings that run at the same time.
        max_queued: Runs that wait at most.
        max_hours: Wall-clock time of one run in hours; then it stops with the best checkpoint kept.
        keep_free_mb: Space on the disk, in MiB, that is left free; below it no run starts and a running one stops.
        threads: CPU threads of a training; 0 leaves one core to the interface and shares the others among the trainings
            that run at the same time (cores − 1, divided by ``at_once``, at least 1).
        niceness: What a training's process yields to others (0 = nothing, 19 = all it can): 10 lets the interface go
            first where both want the same core; a machine that does nothing else can take 0.
        grace_seconds: Time a run has to stop by itself before it is told by a signal, and again before it is ended.

    Raises:
        OptionError: If a value makes no sense.
    """

    at_once: int = 1
    max_queued: int = 20
    max_hours: float = 12.0
    keep_free_mb: int = 512
    threads: int = 0
    niceness: int = 10
    grace_seconds: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        for name, least in (
            ("at_once", 1),
            ("max_queued", 1),
            ("keep_free_mb", 0),
            ("threads", 0),
            ("niceness", 0),
        ):
            if getattr(self, name) < least:
                raise OptionError(f"{PREFIX}{name.upper()} is below {least}", remedy="Give a larger number")
        if self.niceness > MOST_NICE:
            raise OptionError(f"{PREFIX}NICENESS is above {MOST_NICE}", remedy="Give a smaller number")
        for name in ("max_hours", "grace_seconds"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{PREFIX}{name.upper()} is not above 0", remedy="Give a larger number")

    @classmethod
    def from_environment(cls) -> RunSettings:
        """The settings of this process.

        Raises:
            OptionError: If a variable holds no number, or one that makes no sense.
        """
        values: dict[str, int | float] = {}
        for field in dataclasses.fields(cls):
            text = os.environ.get(PREFIX + field.name.upper(), "").strip()
            if text:
                kind = float if field.type == "float" else int
                try:
                    values[field.name] = kind(text)
                except ValueError:
                    raise OptionError(
                        f'{PREFIX}{field.name.upper()} is "{text[:40]}", which is no number', remedy="Give a number"
                    ) from None
        return cls(**values)  # type: ignore[arg-type]  # each field got its own kind

    @property
    def thread_count(self) -> int:
        """CPU threads of a training, the default worked out."""
        return self.threads or max(1, (cores() - 1) // self.at_once)

    @property
    def limits(self) -> dict[str, Any]:
        """What belongs to a run."""
        return {name: getattr(self, name) for name in LIMITS}

    def with_limits(self, limits: Mapping[str, Any]) -> RunSettings:
        """These settings with the limits that a run has of its own.

        Args:
            limits: As :attr:`limits` gave them; what is missing stays as it is.
        """
        return dataclasses.replace(self, **{name: limits[name] for name in LIMITS if name in limits})

    def to_environment(self) -> dict[str, str]:
        """Variables from which :meth:`from_environment` makes the same settings."""
        return {PREFIX + field.name.upper(): str(getattr(self, field.name)) for field in dataclasses.fields(self)}


def cores() -> int:
    """CPU cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1
