"""How long a study will take: one measured probe, scaled to the other rows, or the runs that are finished already."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from anticollapse.data import PairSet
from anticollapse.runs.estimate import probe
from anticollapse.runs.settings import RunSettings
from anticollapse.studies.cell import read_result
from anticollapse.studies.plan import RUNS, Cell, Plan, Row
from anticollapse.training import TrainingOptions, Variant, get_variant

if TYPE_CHECKING:
    from pathlib import Path

BACKWARD = 2.0
"""Cost of a backward pass in forward passes."""


@dataclass(frozen=True)
class Estimate:
    """Time of the runs that are left.

    Attributes:
        seconds: With one process.
        basis: What it rests on, in words.
    """

    seconds: float
    basis: str


def sentences_per_step(row: Row) -> float:
    """Sentence passes of a step, forward and backward together as one: what the time of a step grows with.

    Args:
        row: A row that trains.
    """
    variant = variant_of(row)
    towers = 1 if variant.supervised is None else 2
    views = 1.0 if variant.contrast is None else 2.0
    if variant.momentum is not None:
        views += 1 / (1 + BACKWARD)  # forward only
    return row.batch_size * towers * views


def variant_of(row: Row) -> Variant:
    """The variant of a row with its parameters."""
    return get_variant(row.variant).with_parameters(row.parameters)


def estimate(
    plan: Plan,
    folder: Path,
    left: Sequence[Cell],
    train: PairSet,
    dev: PairSet,
    *,
    threads: int = 0,
    backbone: str | None = None,
) -> Estimate:
    """Time of the runs that are left, from finished runs of this study or from a probe that trains some steps.

    Args:
        plan: The study.
        folder: Its folder.
        left: What is to be done.
        train: Training pairs, a part of which the probe uses.
        dev: The same for dev.
        threads: CPU threads of a run; 0 for the default.
        backbone: Where the probe finds the backbone; default: by the plan's name.

    Raises:
        RunError: If the probe fails.
    """
    trained = [cell for cell in left if cell.row.batch_size]
    if not trained:
        return Estimate(0.0, "nothing is trained")
    known = _rates(plan, folder)
    if known:
        seconds = sum(statistics.median(known) * sentences_per_step(cell.row) for cell in trained)
        return Estimate(seconds, f"{len(known)} finished runs of this study")
    row = min((cell.row for cell in trained), key=sentences_per_step)
    settings = RunSettings.from_environment()
    options = TrainingOptions(**plan.options, batch_size=row.batch_size, threads=threads or settings.thread_count)
    speed = probe(variant_of(row), backbone or plan.backbone["name"], train, dev=dev, options=options)
    looks = 10  # evaluations of a run, a tenth of its steps apart
    steps = sum(speed.step * plan.steps * sentences_per_step(cell.row) for cell in trained) / sentences_per_step(row)
    fixed = len(trained) * speed.seconds(0, looks)
    return Estimate(steps + fixed, f"a probe of {row.key} on this machine, scaled to the other rows")


def _rates(plan: Plan, folder: Path) -> list[float]:
    """Seconds a run and sentence pass a step, of the finished runs."""
    rates = []
    for cell in plan.cells:
        result = read_result(folder / RUNS / cell.slug) if cell.row.batch_size else None
        if result is not None:
            rates.append(sum(result["seconds"].values()) / sentences_per_step(cell.row))
    return rates
