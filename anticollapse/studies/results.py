"""What a study found: rows, differences, claims; as objects, as Parquet and JSON, and as a Markdown table."""

from __future__ import annotations

import dataclasses
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from anticollapse.measures.result import to_plain
from anticollapse.runs.store import write_json
from anticollapse.studies import tables
from anticollapse.studies.cell import COSINES, SCORES, read_result
from anticollapse.studies.claims import CLAIMS, Claim, reading
from anticollapse.studies.designs import BASELINE, RAW
from anticollapse.studies.measuring import MEASURED, read_arrays
from anticollapse.studies.plan import RUNS, Cell, Plan, Row, read_plan
from anticollapse.studies.rates import added_by_queue, per_step, rates
from anticollapse.studies.statistics import Estimate, Runs, corrected, difference, mean_over_seeds, resample

FloatArray = NDArray[np.float64]
Column = Literal["baseline", "reference"]

PARQUET, TABLE, SUMMARY = "results.parquet", "table.md", "summary.json"
FORMULA = 3
"""Of the statistics in a summary; what another formula has computed is computed anew."""

MEASURES = ("spearman", "pearson", "mean_unrelated_cosine", "effective_rank", "spread")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much better one row is than another on one split.

    Attributes:
        row: Key of the row.
        reference: Key of the row it is compared with.
        split: ``dev`` or ``test``.
        estimate: The difference in Spearman × 100, corrected where it was computed with others.
        column: What it was corrected with: the differences to the baseline, or those to the row that each row's claim
            is about (in a queue study: of each row with the filter to the one without it, with the same queue).
    """

    row: str
    reference: str
    split: str
    estimate: Estimate
    column: Column = "baseline"


@dataclass(frozen=True, kw_only=True)
class ClaimFound:
    """A claim beside what was measured.

    Attributes:
        claim: The claim.
        row: Key of the row that stands for it.
        reference: Key of the row it is compared with.
        estimate: The measured difference on test.
        reading: What it says about the claim, in plain words.
    """

    claim: Claim
    row: str
    reference: str
    estimate: Estimate
    reading: str


@dataclass(frozen=True, kw_only=True)
class RowFound:
    """What was found for one row.

    Attributes:
        row: The row.
        seeds: Seeds of its finished runs.
        spearman: Mean over seeds with interval, by split; without an entry before the first run is finished.
        std: Standard deviation of Spearman over seeds by split, None for fewer than two.
        means: Mean over seeds of every measure, by split, with ``…_before`` for the backbone's; None where undefined.
        stds: The same for the standard deviations.
        rates: Hard- and false-negative rate and so on, mean over seeds; empty without negatives.
        rate_stds: Their standard deviations over seeds.
        per_step: Numbers of negatives and so on in a mean step, mean over seeds; empty without negatives.
        added: The false-negative rate among the negatives that the queue adds, mean over seeds; empty without a queue
            or with a filter, and where the run without a queue is missing.
        seconds: Mean time of a run.
        commits: Of the code that its runs were computed with, in the order of the seeds, each once.
    """

    row: Row
    seeds: tuple[int, ...]
    spearman: Mapping[str, Estimate]
    std: Mapping[str, float | None]
    means: Mapping[str, Mapping[str, float | None]]
    stds: Mapping[str, Mapping[str, float | None]]
    rates: Mapping[str, float | None]
    rate_stds: Mapping[str, float | None]
    per_step: Mapping[str, float | None]
    added: Mapping[str, float | None]
    seconds: float | None
    commits: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study as its folder holds it, finished or not. What costs time is computed when it is first asked for.

    Attributes:
        folder: Where it is.
        plan: What was to be done.
        results: Results of the finished runs by name of their folder, in the order of the plan.
        seed: Seed of the resamples.
        n_resamples: How many; None for the default.
    """

    folder: Path
    plan: Plan
    results: Mapping[str, Mapping[str, Any]]
    seed: int = 0
    n_resamples: int | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Runs of the plan that have no result yet."""
        return tuple(cell.slug for cell in self.plan.cells if cell.slug not in self.results)

    @cached_property
    def scores(self) -> dict[str, FloatArray]:
        """Grades of the pairs by split.

        Raises:
            RunError: If they cannot be read.
        """
        return read_arrays(self.folder / SCORES)

    def cosines(self, slug: str) -> dict[str, FloatArray]:
        """Cosine of each pair by split, of one finished run.

        Args:
            slug: The run.

        Raises:
            RunError: If they cannot be read.
        """
        return read_arrays(self.folder / RUNS / slug / COSINES)

    def cells(self, row: Row) -> list[Cell]:
        """The finished runs of a row, ascending by seed."""
        return [cell for cell in self.plan.cells if cell.row.key == row.key and cell.slug in self.results]

    @cached_property
    def runs(self) -> dict[str, dict[str, Runs]]:
        """Spearman of all runs on shared resamples: by split and key of the row."""
        return {split: self._runs(split) for split in MEASURED}

    def _runs(self, split: str) -> dict[str, Runs]:
        slugs = list(self.results)
        if not slugs:
            return {}
        values, samples, reasons = resample(
            self.scores[split],
            [self.cosines(slug)[split] for slug in slugs],
            seed=self.seed,
            n_resamples=self.n_resamples,
        )
        found: dict[str, Runs] = {}
        for row in self.plan.rows:
            cells = self.cells(row)
            if not cells:
                continue
            places = [slugs.index(cell.slug) for cell in cells]
            bad = [f"with seed {cell.seed} {reasons[i]}" for cell, i in zip(cells, places, strict=True) if reasons[i]]
            found[row.key] = Runs(
                tuple(cell.seed for cell in cells),
                values[places],
                samples[:, places],
                len(self.scores[split]),
                deterministic=row.deterministic,
                undefined=f"undefined because {bad[0]}" if bad else "",
            )
        return found

    @cached_property
    def rows(self) -> tuple[RowFound, ...]:
        """All rows, in the order of the plan."""
        return tuple(self._row(row) for row in self.plan.rows)

    def _row(self, row: Row) -> RowFound:
        results = [self.results[cell.slug] for cell in self.cells(row)]
        columns = {split: _columns(results, split) for split in MEASURED}
        by_rate = _by_name([rates(result.get("negatives")) for result in results])
        by_step = _by_name([per_step(result.get("negatives"), result["steps"]) for result in results])
        added = _by_name([self._added(cell) for cell in self.cells(row)])
        return RowFound(
            row=row,
            seeds=tuple(int(result["seed"]) for result in results),
            spearman={s: mean_over_seeds(self.runs[s][row.key], seed=self.seed) for s in MEASURED if results},
            std={split: _std(columns[split].get("spearman", [])) for split in MEASURED},
            means={split: {k: _mean(v) for k, v in columns[split].items()} for split in MEASURED},
            stds={split: {k: _std(v) for k, v in columns[split].items()} for split in MEASURED},
            rates={name: _mean(values) for name, values in by_rate.items()},
            rate_stds={name: _std(values) for name, values in by_rate.items()},
            per_step={name: _mean(values) for name, values in by_step.items()},
            added={name: _mean(values) for name, values in added.items()},
            seconds=_mean([sum(result["seconds"].values()) for result in results]) if results else None,
            commits=tuple(dict.fromkeys(result["commit"] or "unknown" for result in results)),
        )

    def _added(self, cell: Cell) -> dict[str, float | None]:
        """What :func:`~.rates.added_by_queue` says of a run, beside the run without a queue with the same seed."""
        row = cell.row
        if not row.queue_size or "swav" in row.parts:
            return {}
        alike = (row.variant, row.batch_size, 0)
        base = [one for one in self.plan.rows if (one.variant, one.batch_size, one.queue_size) == alike]
        without = self.results.get(Cell(base[0], cell.seed).slug, {}) if base else {}
        return added_by_queue(self.results[cell.slug].get("negatives"), without.get("negatives"))

    def difference(self, row: str, reference: str, split: str = "test") -> Difference | None:
        """How much better one row is than another, by itself; None before both have a finished run.

        Args:
            row: Key of the row.
            reference: Key of the other one.
            split: ``dev`` or ``test``.
        """
        runs = self.runs[split]
        if row not in runs or reference not in runs:
            return None
        found = difference(runs[row], runs[reference], seed=self.seed)
        return Difference(row=row, reference=reference, split=split, estimate=found)

    @property
    def baseline(self) -> str:
        """Key of the row that the others are compared with; in a queue study with several batch sizes the first one."""
        return self.baseline_of(self.plan.rows[0])

    def baseline_of(self, row: Row) -> str:
        """Key of the row that a row is compared with: in a queue study the one with the shortest queue, same batch.

        Args:
            row: The row.
        """
        if self.plan.kind == "ladder":
            return BASELINE if BASELINE in self.plan.keys else RAW
        alike = [one for one in self.plan.rows if one.batch_size == row.batch_size]
        return min(alike, key=lambda one: (bool(one.reference), one.queue_size or 0)).key

    @cached_property
    def differences(self) -> tuple[Difference, ...]:
        """On test and dev, of every row to its baseline, and of every row to the one that its claim is about.

        Each of these columns is corrected for itself, for all its comparisons. In a queue study the second one is the
        filter's: each row with it and the row without it that has the same queue, no queue among them.
        """
        rows = self.plan.rows
        to_baseline = [(row.key, self.baseline_of(row)) for row in rows]
        further = [(row.key, row.reference) for row in rows if row.reference]
        if self.plan.kind == "queue":
            filtered = {row.key for row in rows if "swav" in row.parts}
            further = [pair for pair in further if pair[0] in filtered]
        else:
            further = [pair for pair in further if pair not in to_baseline]
        found: list[Difference] = []
        for split in reversed(MEASURED):
            found += self._corrected(to_baseline, split)
            found += [dataclasses.replace(one, column="reference") for one in self._corrected(further, split)]
        return tuple(found)

    def column(self, split: str = "test", of: Column = "baseline") -> dict[str, Difference]:
        """The differences of one column, corrected for their number, by key of the row.

        Args:
            split: ``dev`` or ``test``.
            of: The column; see :class:`Difference`.
        """
        return {one.row: one for one in self.differences if (one.split, one.column) == (split, of)}

    def _corrected(self, pairs: Iterable[tuple[str, str]], split: str) -> list[Difference]:
        """The differences of rows to others on a split that can be computed, corrected for one another."""
        made = [self.difference(row, other, split) for row, other in pairs if row != other]
        known = [one for one in made if one is not None]
        estimates = corrected([one.estimate for one in known])
        return [dataclasses.replace(one, estimate=e) for one, e in zip(known, estimates, strict=True)]

    @cached_property
    def claims(self) -> tuple[ClaimFound, ...]:
        """The claims that this study can say something about, corrected for their number."""
        pairs = {claim: (self._stands_for(claim.variant), self._stands_for(claim.reference)) for claim in CLAIMS}
        made = self._corrected([pair for pair in pairs.values() if all(pair)], "test")
        found = {(one.row, one.reference): one.estimate for one in made}
        return tuple(
            ClaimFound(
                claim=claim, row=pair[0], reference=pair[1], estimate=found[pair], reading=reading(claim, found[pair])
            )
            for claim, pair in pairs.items()
            if pair in found
        )

    def _stands_for(self, variant: str) -> str:
        """Key of the row that is a claim's variant: in a queue study a queue of 2.5, and none for SimCSE alone."""
        key = variant
        if self.plan.kind == "queue":
            key = {"sbert-simcse": "sbert-queue-q0"}.get(variant, f"{variant}-q2.5")
        return key if key in self.plan.keys else ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types: everything but the cosines of single pairs."""
        plain = {
            "formula": FORMULA,
            "plan": self.plan.to_json(),
            "finished": len(self.results),
            "missing": list(self.missing),
            "baselines": {row.key: self.baseline_of(row) for row in self.plan.rows},
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "differences": [dataclasses.asdict(one) for one in self.differences],
            "claims": [dataclasses.asdict(one) for one in self.claims],
            "resamples": {"seed": self.seed, "n": self.n_resamples},
        }
        return dict(to_plain(plain))

    def markdown(self) -> str:
        """The tables, with what they rest on below them."""
        return tables.markdown(self)

    def frame(self) -> pa.Table:
        """One line a finished run, flat columns."""
        lines = [_flat(slug, result) for slug, result in self.results.items()]
        names = dict.fromkeys(name for line in lines for name in line)
        return pa.table({name: [line.get(name) for line in lines] for name in names})

    def write(self) -> tuple[Path, ...]:
        """Write ``table.md``, ``results.parquet`` and ``summary.json`` into the folder, each atomically.

        Returns:
            The files.

        Raises:
            OSError: If they cannot be written.
        """
        table, parquet, summary = (self.folder / name for name in (TABLE, PARQUET, SUMMARY))
        _replace(table, (self.markdown() + "\n").encode())
        if self.results:
            sink = pa.BufferOutputStream()
            pq.write_table(self.frame(), sink)
            _replace(parquet, sink.getvalue().to_pybytes())
        write_json(summary, self.to_json())
        return (table, *([parquet] if self.results else []), summary)


def load_study(folder: str | Path, *, seed: int = 0, n_resamples: int | None = None) -> Study:
    """Read a study from its folder; one that is not finished gives what is there.

    Args:
        folder: The folder.
        seed: Seed of the resamples.
        n_resamples: How many; by default 2,000, fewer above 30,000 pairs.

    Raises:
        RunError: If there is no study, or it cannot be read.
    """
    place = Path(folder)
    plan = read_plan(place)
    found = {cell.slug: read_result(place / RUNS / cell.slug) for cell in plan.cells}
    results = {slug: result for slug, result in found.items() if result is not None}
    return Study(folder=place, plan=plan, results=results, seed=seed, n_resamples=n_resamples)


def _columns(results: Sequence[Mapping[str, Any]], split: str) -> dict[str, list[float | None]]:
    columns: dict[str, list[float | None]] = {}
    for name in MEASURES if results else ():
        columns[name] = [result[split][name] for result in results]
        columns[f"{name}_before"] = [result["before"][split][name] for result in results]
    return columns


def _by_name(found: Sequence[Mapping[str, float | None]]) -> dict[str, list[float | None]]:
    """Values of all runs by name, where all have one of that name."""
    names = [name for name in (found[0] if found else {}) if all(name in one for one in found)]
    return {name: [one[name] for one in found] for name in names}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known and len(known) == len(values) else None


def _std(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.stdev(known) if len(known) > 1 and len(known) == len(values) else None


def _flat(slug: str, result: Mapping[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = {"run": slug}
    line |= {k: result[k] for k in ("row", "variant", "cure", "seed", "steps", "best_step", "device", "commit")}
    line |= {f"parameter_{k}": str(v) for k, v in result["parameters"].items()}
    for split in MEASURED:
        line |= {f"{split}_{name}": result[split][name] for name in MEASURES}
        line |= {f"{split}_{name}_before": result["before"][split][name] for name in MEASURES}
    line |= rates(result.get("negatives"))
    line |= {f"{name}_a_step": v for name, v in per_step(result.get("negatives"), result["steps"]).items()}
    line |= {f"seconds_{k}": v for k, v in result["seconds"].items()}
    return line | {"backbone": result["backbone"]["name"], "pairs": result["pairs"]["name"], "ended": result["ended"]}


def _replace(file: Path, content: bytes) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(file)
