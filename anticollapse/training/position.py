"""Where a run is, and what came of it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from anticollapse.training.checkpoint import MEANS, Checkpoint
from anticollapse.training.evaluation import Evaluation
from anticollapse.training.telemetry import Means

Status = Literal["done", "stopped", "early-stopped"]


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training gave.

    Attributes:
        output: The run's folder.
        model: The encoder in it, a plain sentence-transformers folder: the best one on dev.
        status: How it ended.
        step: Steps done.
        best_step: After which step the encoder in ``model`` was written.
        before: Measures of the backbone.
        after: Measures of the encoder in ``model``.
        seconds: Time it took, over all sessions of a resumed run.
        notes: Fall-backs and facts, in full sentences.
    """

    output: Path
    model: Path
    status: Status
    step: int
    best_step: int
    before: Evaluation
    after: Evaluation
    seconds: float
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        paths = {"output": str(self.output), "model": str(self.model)}
        return {**dataclasses.asdict(self), **paths, "notes": list(self.notes)}


@dataclass(kw_only=True)
class Position:
    """Where a run is; all of it is in the checkpoint.

    Attributes:
        step: Optimizer steps done.
        best_step: Step of the best evaluation.
        best: The best evaluation, or None before the first.
        start: The backbone's.
        seconds: Time spent, over all sessions.
        early_stopped: Whether patience ran out.
        means: Running means since the last evaluation.
    """

    step: int = 0
    best_step: int = 0
    best: Evaluation | None = None
    start: Evaluation | None = None
    seconds: float = 0.0
    early_stopped: bool = False
    means: Means = field(default_factory=Means)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; the running means are tensors and go elsewhere."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "means"}
        for name in ("best", "start"):
            plain[name] = None if plain[name] is None else plain[name].to_json()
        return {**plain, "means": self.means.count}

    @classmethod
    def from_checkpoint(cls, saved: Checkpoint) -> Position:
        """Where the run was when the checkpoint was written."""
        state = dict(saved.state["position"])
        means = Means()
        means.count, means.sums = state.pop("means"), saved.part(MEANS)
        for name in ("best", "start"):
            state[name] = None if state[name] is None else Evaluation(**state[name])
        return cls(**state, means=means)


class Stopwatch:
    """Time of the run in all, and time spent in steps alone.

    Args:
        before: Seconds of earlier sessions.
    """

    def __init__(self, before: float = 0.0) -> None:
        self.before = before
        self.began = self.since = time.perf_counter()
        self.in_steps, self.items = 0.0, 0
        self.steps_now = 0

    @property
    def seconds(self) -> float:
        """Time of the run in all."""
        return self.before + time.perf_counter() - self.began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time in the block is no time in steps."""
        self.in_steps += time.perf_counter() - self.since
        try:
            yield
        finally:
            self.since = time.perf_counter()

    def read_rate(self) -> float | None:
        """Items a second since the last reading; to be asked within :meth:`paused`."""
        rate = self.items / self.in_steps if self.in_steps > 0 else None
        self.in_steps, self.items = 0.0, 0
        return rate

    def seconds_left(self, steps_left: int) -> float | None:
        """Estimate from this session's steps, evaluations included."""
        if self.steps_now == 0:
            return None
        return (time.perf_counter() - self.began) / self.steps_now * steps_left
