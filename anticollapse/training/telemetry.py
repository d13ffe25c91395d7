"""What a training says about itself: running means of loss terms, events, the collapse alarm, ``metrics.jsonl``."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from anticollapse.measures.result import to_plain
from anticollapse.training.evaluation import Evaluation

EventKind = Literal["start", "notice", "progress", "evaluation", "alarm", "checkpoint", "end"]

COLLAPSED_COSINE = 0.9
"""Mean cosine of unrelated sentences from which a run that came from below counts as collapsed."""
ROOM_LEFT = 0.8
"""A backbone may start near 1; what counts then is how much of its distance to 1 is left."""
COLLAPSED_RANK_SHARE = 0.1
"""The same for the effective rank, as a share of the backbone's."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a run.

    Attributes:
        kind: What.
        step: Optimizer steps done.
        steps: Optimizer steps planned.
        values: What belongs to it, plain JSON types.
        time: Seconds since 1970.
    """

    kind: EventKind
    step: int
    steps: int
    values: Mapping[str, Any] = field(default_factory=dict)
    time: float = field(default_factory=time.time)

    def to_json(self) -> dict[str, Any]:
        """One flat object."""
        head = {"event": self.kind, "step": self.step, "steps": self.steps, "time": round(self.time, 3)}
        return {**head, **to_plain(dict(self.values))}


Callback = Callable[[Event], None]


class Journal:
    """Sends events to a callback and, all but progress, to a file.

    Args:
        file: ``metrics.jsonl``, or None on processes that write nothing.
        callback: Whoever wants to know, or None.
        steps: Optimizer steps planned.
    """

    def __init__(self, file: Path | None, callback: Callback | None, steps: int) -> None:
        self.file, self.callback, self.steps = file, callback, steps

    def say(self, kind: EventKind, step: int, **values: object) -> None:
        """Send one event; a callback that raises keeps it out of the file."""
        event = Event(kind=kind, step=step, steps=self.steps, values=values)
        if self.callback is not None:
            self.callback(event)
        if self.file is not None and kind != "progress":
            line = json.dumps(event.to_json(), ensure_ascii=False, allow_nan=False)
            with self.file.open("a", encoding="utf-8") as stream:
                stream.write(line + "\n")

    def rewind(self, step: int) -> None:
        """Forget what was said after ``step``: a resumed run will say it again."""
        if self.file is None or not self.file.exists():
            return
        kept = []
        for line in self.file.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the last line of a killed run
            if entry.get("step", 0) <= step and entry.get("event") != "end":
                kept.append(line)
        temporary = self.file.with_name(f".{self.file.name}.{os.getpid()}.tmp")
        temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        temporary.replace(self.file)


class Means:
    """Running means of scalars that stay on the device until they are asked for."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one step's scalars."""
        for name, value in values.items():
            wide = value.detach().double()
            self.sums[name] = self.sums[name] + wide if name in self.sums else wide
        self.count += 1

    def read(self) -> dict[str, float]:
        """The means, and begin anew; this waits for the device."""
        names = list(self.sums)
        means = (torch.stack([self.sums[name] for name in names]) / self.count).tolist() if names else []
        self.sums, self.count = {}, 0
        return dict(zip(names, means, strict=True))


def collapse_alarm(now: Evaluation, start: Evaluation) -> str:
    """What is collapsing, as a sentence; empty when nothing is.

    Args:
        now: The latest evaluation.
        start: The backbone's.
    """
    cosine, before = now.mean_unrelated_cosine, start.mean_unrelated_cosine
    if cosine is not None and cosine >= COLLAPSED_COSINE and (before is None or 1 - cosine <= ROOM_LEFT * (1 - before)):
        was = "" if before is None else f" ({_near_one(before)} before training)"
        return f"The run is collapsing: unrelated sentences have a mean cosine of {_near_one(cosine)}{was}."
    rank, rank_before = now.effective_rank, start.effective_rank
    if rank is not None and rank_before and rank <= COLLAPSED_RANK_SHARE * rank_before:
        return f"The run is collapsing: the effective rank fell from {rank_before:.1f} to {rank:.1f}."
    return ""


def _near_one(cosine: float) -> str:
    """A cosine with enough digits to tell it from 1."""
    room = 1 - cosine
    digits = min(max(2, math.ceil(-math.log10(room / 2))), 6) if room > 0 else 2
    return f"{cosine:.{digits}f}"
