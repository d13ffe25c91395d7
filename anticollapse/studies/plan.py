"""The frozen plan of a study: which runs there are, on what, for how long.

``study.json`` holds it. The backbone, the pairs (by digest), the steps and every row are part of it, so two processes
that work on one folder cannot mean different things; only seeds and rows may be added.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from anticollapse.data.pairs import Split
from anticollapse.errors import OptionError, RunError
from anticollapse.runs.store import locked, write_json

Kind = Literal["ladder", "queue"]
KINDS: tuple[Kind, ...] = ("ladder", "queue")
SPLITS: tuple[Split, ...] = ("train", "dev", "test")

STUDY = "study.json"
RUNS = "runs"
SCHEMA = 1
KEY = re.compile(r"[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a study's table: a system, to be run with every seed.

    Attributes:
        key: Its name in the study and in folder names.
        title: Its name for people.
        variant: Id of the variant; ``raw`` for a training-free cure.
        cure: The training-free cure, or nothing.
        parts: Classes of the variant's parts.
        parameters: Values of all its parameters.
        batch_size: Items a step; 0 where nothing is trained.
        learning_rate: Peak for a backbone 768 wide; narrower ones get more.
        deterministic: Whether nothing in it depends on a seed, so that one run is all.
        reference: Key of the row that its claim is compared with, or nothing.
        queue_size: Slots of its queue in batches, in a queue study.
    """

    key: str
    title: str
    variant: str
    cure: str = ""
    parts: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 0
    learning_rate: float = 0.0
    deterministic: bool = False
    reference: str = ""
    queue_size: float | None = None


@dataclass(frozen=True)
class Cell:
    """One run of a study.

    Attributes:
        row: What.
        seed: With which seed.
    """

    row: Row
    seed: int

    @property
    def slug(self) -> str:
        """The name of its folder."""
        return f"{self.row.key}-s{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A study.

    Attributes:
        kind: Which study.
        backbone: Its ``name`` and ``digest``.
        pairs: ``name`` of the set, and for each split its ``digest`` and ``n``.
        steps: Optimizer steps of every run that trains.
        options: Further fields of :class:`~anticollapse.training.TrainingOptions`, the same for all runs.
        rows: In the order of the table.
        seeds: Ascending.
    """

    kind: Kind
    backbone: Mapping[str, str]
    pairs: Mapping[str, Any]
    steps: int
    options: Mapping[str, Any]
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All runs: every row with the first seed, then with the next, so that a study that is stopped is even."""
        return tuple(self._cells())

    def _cells(self) -> Iterator[Cell]:
        for place, seed in enumerate(self.seeds):
            for row in self.rows:
                if not row.deterministic:
                    yield Cell(row, seed)
                elif place == 0:
                    yield Cell(row, 0)

    def row(self, key: str) -> Row:
        """The row with that key.

        Raises:
            KeyError: If there is none.
        """
        return {row.key: row for row in self.rows}[key]

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the rows."""
        return tuple(row.key for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"schema": SCHEMA, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], where: Path) -> Plan:
        """Back from ``study.json``.

        Raises:
            RunError: If it is not one of ours.
        """
        try:
            if plain["schema"] != SCHEMA or plain["kind"] not in KINDS:
                raise ValueError(plain["schema"])
            values = {f.name: plain[f.name] for f in dataclasses.fields(cls)}
            values["rows"] = tuple(Row(**row) for row in plain["rows"])
            values["seeds"] = tuple(int(seed) for seed in plain["seeds"])
            if not all(KEY.fullmatch(row.key) for row in values["rows"]):
                raise ValueError("a row's key is no name")
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"the plan of the study cannot be used ({type(error).__name__}: {error})",
                where=str(where),
                remedy="Choose another folder",
            ) from error


def read_plan(folder: Path) -> Plan:
    """The plan in a folder.

    Raises:
        RunError: If there is none, or it cannot be read.
    """
    file = folder / STUDY
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError("there is no study in this folder", where=str(folder), remedy="Start one first") from None
    except (OSError, ValueError) as error:
        raise RunError(f"the plan of the study cannot be read ({error})", where=str(file)) from error
    if not isinstance(plain, dict):
        raise RunError("the plan of the study is no object", where=str(file))
    return Plan.from_json(plain, file)


def join_plan(folder: Path, wanted: Plan) -> Plan:
    """Make a folder a study's, or add rows and seeds to the study that is there.

    Args:
        folder: The study's folder; it is created.
        wanted: What is asked for.

    Returns:
        The plan in the folder afterwards: what was there, and what is asked for.

    Raises:
        OptionError: If the folder holds a study with another plan; the message says what differs.
        RunError: If it cannot be read or written.
    """
    try:
        with locked(folder):
            if not (folder / STUDY).exists():
                write_json(folder / STUDY, wanted.to_json())
                return wanted
            joined = merge(read_plan(folder), wanted, folder)
            write_json(folder / STUDY, joined.to_json())
            return joined
    except OSError as error:
        raise RunError(f"the plan cannot be written ({error.strerror or error})", where=str(folder)) from error


def merge(old: Plan, new: Plan, where: Path) -> Plan:
    """The old plan with the rows and seeds of the new one added.

    Raises:
        OptionError: If anything else differs.
    """
    for what, before, now in _differences(old, new):
        raise OptionError(
            f"this folder holds a study with another {what} ({before}, now {now})",
            where=str(where),
            remedy="Give what it was started with, or choose another --output",
        )
    rows = [*old.rows, *(row for row in new.rows if row.key not in old.keys)]
    return dataclasses.replace(old, rows=tuple(rows), seeds=tuple(sorted({*old.seeds, *new.seeds})))


def select(plan: Plan, keys: Sequence[str], seeds: Sequence[int]) -> tuple[Cell, ...]:
    """The runs of a plan that were asked for.

    Args:
        plan: The whole plan.
        keys: Rows.
        seeds: Seeds.
    """
    asked = dataclasses.replace(plan, rows=tuple(r for r in plan.rows if r.key in keys), seeds=tuple(sorted(seeds)))
    return asked.cells


def _differences(old: Plan, new: Plan) -> Iterator[tuple[str, object, object]]:
    if old.kind != new.kind:
        yield "kind", old.kind, new.kind
    if old.backbone["digest"] != new.backbone["digest"]:
        yield "backbone", _named(old.backbone), _named(new.backbone)
    for split in SPLITS:
        if old.pairs[split]["digest"] != new.pairs[split]["digest"]:
            yield f"set of {split} pairs", _named(old.pairs, split), _named(new.pairs, split)
    if old.steps != new.steps:
        yield "number of steps", old.steps, new.steps
    yield from _changed("option", old.options, new.options)
    for row in new.rows:
        if row.key in old.keys:
            before, now = dataclasses.asdict(old.row(row.key)), dataclasses.asdict(row)
            for part in ("parameters", "parts"):
                yield from _changed(f"value in {row.key}:", before.pop(part), now.pop(part))
            yield from _changed(f"definition of {row.key}:", before, now)


def _changed(what: str, old: Mapping[str, object], new: Mapping[str, object]) -> Iterator[tuple[str, object, object]]:
    for name in {**old, **new}:
        if old.get(name) != new.get(name):
            yield f"{what} {name}", old.get(name), new.get(name)


def _named(facts: Mapping[str, Any], split: str = "") -> str:
    digest = facts[split]["digest"] if split else facts["digest"]
    return f"{facts['name']}, SHA-256 {digest[:12]}"
