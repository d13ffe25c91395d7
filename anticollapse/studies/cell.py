"""One run of a study: train, measure on dev and test, write the result."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from anticollapse.cures import cure_encoder
from anticollapse.data import PairSet
from anticollapse.encoding import Encoder, device_name, load_encoder
from anticollapse.errors import RunError
from anticollapse.measures.result import to_plain
from anticollapse.runs.store import write_json
from anticollapse.studies.measuring import MEASURED, Scored, encoder_cosines, measure, save_arrays, scorer_cosines
from anticollapse.studies.plan import RUNS, Cell, Plan
from anticollapse.training import (
    Event,
    TrainingOptions,
    TrainingResult,
    Variant,
    get_variant,
    load_pair_scorer,
    train,
)
from anticollapse.training.export import versions

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]

RESULT, COSINES, TRAINING = "result.json", "cosines.npz", "training"
SCORES = "scores.npz"
SCHEMA = 1


COMMIT = "ANTICOLLAPSE_COMMIT"
"""Names the commit that the files are of, where git cannot know."""


def commit() -> str:
    """The commit of this checkout, with "-dirty" after it when files differ; empty outside of one.

    A machine that was sent the files alone may have no repository, or that of another commit: there the variable
    ``ANTICOLLAPSE_COMMIT`` says what the files are, and what git says stands behind it.
    """
    said, found = os.environ.get(COMMIT, ""), _commit_of_checkout()
    if not said or said == found:
        return found
    return f"{said} (said; git: {found or 'none'})"


def _commit_of_checkout() -> str:
    here = Path(__file__).resolve().parent
    given = ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        done = subprocess.run(given, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


@dataclass(kw_only=True)
class Bench:
    """What the runs of one process share.

    Attributes:
        plan: The study.
        splits: Train, dev and test.
        backbone: The encoder that all runs start from.
        folder: The study's folder.
        device: Where to compute, or None for what is there.
        threads: CPU threads; 0 for torch's default.
        keep_models: Whether trained encoders stay after they were measured.
        command: For the record.
        commit: Of the code, read when the process starts: it runs what was there then.
    """

    plan: Plan
    splits: Mapping[str, PairSet]
    backbone: Encoder
    folder: Path
    device: str | None = None
    threads: int = 0
    keep_models: bool = False
    command: str = ""
    commit: str = field(default_factory=commit)

    def keep_scores(self) -> None:
        """Put the grades of dev and test into the study's folder, so that its statistics need nothing else.

        Raises:
            OSError: If they cannot be written.
        """
        if not (self.folder / SCORES).exists():
            save_arrays(self.folder / SCORES, {split: self.splits[split].require_scores() for split in MEASURED})

    def folder_of(self, cell: Cell) -> Path:
        """A run's folder."""
        return self.folder / RUNS / cell.slug

    @cached_property
    def before(self) -> dict[str, dict[str, Any]]:
        """Measures of the backbone on dev and test; they are the same for all runs."""
        return {split: measure(encoder_cosines(self.backbone, self.splits[split])) for split in MEASURED}


def run_cell(
    bench: Bench,
    cell: Cell,
    *,
    stop: Callable[[], bool] = lambda: False,
    is_ours: Callable[[], bool] = lambda: True,
    hear: Callable[[Event], None] | None = None,
) -> dict[str, Any] | None:
    """Do one run; who calls holds its claim.

    Args:
        bench: What the runs share.
        cell: Which one.
        stop: Asked before each step.
        is_ours: Asked before the result is written.
        hear: Told how the training goes.

    Returns:
        The result as it was written, or None when it was stopped before its end.

    Raises:
        AntiCollapseError: If the training cannot be done, or had to stop.
    """
    began = time.perf_counter()
    folder = bench.folder_of(cell)
    trained: TrainingResult | None = None
    variant = get_variant(cell.row.variant).with_parameters(cell.row.parameters)
    if variant.trains:
        trained = _train(bench, cell, variant, stop, hear)
        if trained.status == "stopped":
            return None
    seconds = trained.seconds if trained is not None else 0.0
    measuring = time.perf_counter()
    scored = _scored(bench, cell, variant, trained)
    result = {
        **_identity(bench, cell),
        **{split: measure(found) for split, found in scored.items()},
        "before": bench.before,
        "seconds": {"training": seconds, "measuring": time.perf_counter() - measuring},
        **_training_facts(trained),
        **_machine(bench),
        "model": f"{TRAINING}/model" if trained is not None and bench.keep_models else None,
        "ended": time.time(),
    }
    if not is_ours():
        return None
    save_arrays(folder / COSINES, {split: found.cosines for split, found in scored.items()})
    write_json(folder / RESULT, to_plain(result))
    tidy(folder)
    logger.info("%s is done after %.0f s", cell.slug, time.perf_counter() - began)
    return result


def _train(
    bench: Bench,
    cell: Cell,
    variant: Variant,
    stop: Callable[[], bool],
    hear: Callable[[Event], None] | None,
) -> TrainingResult:
    options = TrainingOptions(
        **bench.plan.options,
        steps=bench.plan.steps,
        batch_size=cell.row.batch_size,
        seed=cell.seed,
        threads=bench.threads,
    )
    folder = bench.folder_of(cell) / TRAINING
    return train(
        variant,
        bench.backbone,
        bench.splits["train"],
        dev=bench.splits["dev"],
        output=folder,
        options=options,
        device=bench.device,
        resume=folder.exists(),
        callback=hear,
        stop=stop,
        command=bench.command,
    )


def _scored(bench: Bench, cell: Cell, variant: Variant, trained: TrainingResult | None) -> dict[str, Scored]:
    if trained is not None and variant.gives == "pair scores":
        scorer = load_pair_scorer(trained.model, device=bench.device)
        return {split: scorer_cosines(scorer, bench.splits[split]) for split in MEASURED}
    encoder = bench.backbone
    if trained is not None:
        encoder = load_encoder(trained.model.resolve(), device=bench.device, precision="float32")
    elif cell.row.cure:
        text = bench.splits["train"]
        encoder = cure_encoder(
            bench.backbone, cell.row.cure, text.sentences, source=f"{bench.plan.pairs['name']}:train"
        )
    return {split: encoder_cosines(encoder, bench.splits[split]) for split in MEASURED}


def read_result(folder: Path) -> dict[str, Any] | None:
    """The result of a run, or None when it has none yet.

    Raises:
        RunError: If there is one that cannot be read or used; it is never taken for a missing one, since a finished
            run would be done again and its result overwritten.
    """
    file = folder / RESULT
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RunError(f"the result of the run cannot be read ({error.strerror or error})", where=str(file)) from error
    except ValueError as error:
        raise RunError(
            f"the result of the run is damaged ({error})",
            where=str(file),
            remedy="Delete the file to do the run again",
        ) from error
    if not isinstance(found, dict) or found.get("schema") != SCHEMA:
        raise RunError(
            "the result of the run is of another version",
            where=str(file),
            remedy="Use the version that wrote it, or delete the file to do the run again",
        )
    return found


def tidy(folder: Path) -> None:
    """Delete what a finished run no longer needs: its checkpoint, and its encoder unless that is kept."""
    result = read_result(folder)
    if result is None:
        return
    names = ["checkpoint"] if result["model"] else ["checkpoint", "model", "heads"]
    for name in names:
        shutil.rmtree(folder / TRAINING / name, ignore_errors=True)


def negatives_of(metrics: Path) -> dict[str, float] | None:
    """Numbers of (anchor, negative) pairs over a whole run; None where the training has no negatives.

    The journal holds means a step for each stretch between two evaluations; what they count is said in
    :meth:`anticollapse.training.contrast.Contrast.counts`.

    Args:
        metrics: ``metrics.jsonl`` of the training.
    """
    totals: dict[str, float] = {}
    step = 0
    for entry in _events(metrics):
        if entry.get("event") == "evaluation":
            steps, step = entry["step"] - step, entry["step"]
            for name, mean in (entry.get("counts") or {}).items():
                totals[name] = totals.get(name, 0.0) + mean * steps
    return {name: round(total, 3) for name, total in totals.items()} or None


def _events(file: Path) -> Iterable[dict[str, Any]]:
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            found = json.loads(line)
            if isinstance(found, dict):
                yield found


def _identity(bench: Bench, cell: Cell) -> dict[str, Any]:
    row = cell.row
    return {
        "schema": SCHEMA,
        "row": row.key,
        "seed": cell.seed,
        "variant": row.variant,
        "cure": row.cure,
        "parameters": dict(row.parameters),
        "backbone": dict(bench.plan.backbone),
        "pairs": dict(bench.plan.pairs),
    }


def _training_facts(trained: TrainingResult | None) -> dict[str, Any]:
    if trained is None:
        return {"steps": 0, "best_step": 0, "notes": [], "negatives": None, "training": None}
    start: dict[str, Any] = {}
    for event in _events(trained.output / "metrics.jsonl"):
        if event.get("event") == "start":
            start = event
    return {
        "steps": trained.step,
        "best_step": trained.best_step,
        "notes": list(trained.notes),
        "negatives": negatives_of(trained.output / "metrics.jsonl"),
        "training": {
            "options": start.get("options"),
            "device": start.get("device"),
            "precision": "bfloat16" if start.get("bfloat16") else "float32",
            "dev_spearman": trained.after.dev_spearman,
        },
    }


def _machine(bench: Bench) -> dict[str, Any]:
    device = bench.backbone.device
    return {
        "device": str(device),
        "device_name": device_name(device),
        "measured_in": bench.backbone.precision,
        "threads": bench.threads or torch.get_num_threads(),
        "versions": versions(),
        "commit": bench.commit,
        "command": bench.command,
    }
