"""How far a pre-training is, and how it ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from anticollapse.pretraining.loading import Place

Status = Literal["done", "stopped"]


@dataclass
class Position:
    """How far a run is; all of it is in the checkpoint.

    Attributes:
        step: Optimizer steps done.
        tokens: Tokens seen, padding not counted.
        places: Places computed, padding counted.
        seconds: Time of the steps, over all parts; evaluations, checkpoints and compilation are not counted.
        evaluations: Done so far.
        loss: Running mean of the loss.
        looks: How often the loss was looked at.
        place: Of the next batch.
    """

    step: int = 0
    tokens: int = 0
    places: int = 0
    seconds: float = 0.0
    evaluations: int = 0
    loss: float = 0.0
    looks: int = 0
    place: Place = dataclasses.field(default_factory=Place)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Position:
        """What :meth:`to_json` gave."""
        return Position(**{**value, "place": Place(**value["place"])})


@dataclass(frozen=True, kw_only=True)
class PretrainingResult:
    """How a pre-training ended.

    Attributes:
        output: The run's folder.
        model: The encoder's folder.
        status: ``done``, or ``stopped`` when there is more to do.
        record: What the encoder's ``pretraining.json`` says.
    """

    output: Path
    model: Path
    status: Status
    record: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"output": str(self.output), "model": str(self.model), **self.record}
