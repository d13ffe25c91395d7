"""The studies that there are: the ladder of systems, and the size of the negative queue."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from anticollapse.cures import CURES, display_name
from anticollapse.data import PairSet, load_pairs
from anticollapse.data.sources import SOURCES
from anticollapse.encoding import Encoder
from anticollapse.errors import DataError, OptionError
from anticollapse.runs.estimate import steps_of
from anticollapse.studies.plan import SPLITS, Kind, Plan, Row
from anticollapse.training import TrainingOptions, Variant, get_variant, variants

BASELINE, RAW = "sbert", "raw"
QUEUE, FILTERED = "sbert-queue", "sbert-swav"
QUEUE_SIZES = (0.0, 1.0, 2.5, 5.0, 10.0)
SIZE = "queue_size_ratio"

REFERENCES: Mapping[str, str] = {
    "cross-attention-scored": BASELINE,
    "cross-attention": "cross-attention-scored",
    "projector": BASELINE,
    "sbert-simcse": BASELINE,
    "sbert-queue": "sbert-simcse",
    "sbert-swav": "sbert-queue",
    "triplet": BASELINE,
    "pairwise": BASELINE,
    "cosent": BASELINE,
    "angle": BASELINE,
    "sbert": RAW,
}
"""What the difference in a variant's claim is to: the row above it, or the row it adds a part to. All other variants
are compared with the raw encoder, which is what they start from without labels."""

CURE_CHAINS = (*CURES, "first-last+whitening")
"""Training-free cures in a ladder, with their default parameters: nothing about them is chosen on the pairs."""


def load_splits(name: str) -> dict[str, PairSet]:
    """Train, dev and test of a named set, or of a file with a split column.

    Args:
        name: The set or file.

    Raises:
        DataError: If a split is missing or has no graded pairs.
    """
    if name.partition(":")[0] in SOURCES and ":" in name:
        raise DataError("a study needs all three splits", where=name, remedy=f"Write --pairs {name.partition(':')[0]}")
    splits: dict[str, PairSet] = {split: load_pairs(name, split=split) for split in SPLITS}
    for pairs in splits.values():
        if not (pairs.labelled and pairs.has_pairs) or not pairs.n:
            lacks = "rows" if not pairs.n else "second sentences" if not pairs.has_pairs else "scores"
            raise DataError(
                f"a study needs graded pairs in every split, and here are no {lacks}",
                where=pairs.name,
                remedy="Choose other data" if lacks == "rows" else "Name their columns sentence1, sentence2 and score",
            )
    return splits


def row_of(variant: Variant, **changes: Any) -> Row:  # noqa: ANN401  fields of Row
    """A variant, as it is in the registry, as a row.

    Args:
        variant: The variant with its parameters.
        changes: Fields of the row that differ.
    """
    trains = variant.trains
    row = Row(
        key=variant.id,
        title=variant.title,
        variant=variant.id,
        parts=dict(variant.to_json()["parts"]),
        parameters=dict(variant.values),
        batch_size=variant.defaults.batch_size if trains else 0,
        learning_rate=variant.defaults.learning_rate if trains else 0.0,
        deterministic=not trains,
        reference=REFERENCES.get(variant.id, RAW if trains else ""),
    )
    return dataclasses.replace(row, **changes)


def ladder_rows(names: Sequence[str] = (), *, with_cures: bool = False) -> tuple[Row, ...]:
    """The rows of the ladder, the raw encoder always among them.

    Args:
        names: Variants; all when there are none.
        with_cures: Whether the training-free cures are rows too.

    Raises:
        OptionError: If a name is unknown.
    """
    chosen = [get_variant(name) for name in dict.fromkeys([RAW, *(names or variants())])]
    rows = [row_of(variant) for variant in chosen]
    if with_cures:
        rows += [
            Row(
                key=f"{RAW}+{chain}", title=display_name(f"{RAW}+{chain}"), variant=RAW, cure=chain,
                deterministic=True, reference=RAW,
            )
            for chain in CURE_CHAINS
        ]  # fmt: skip
    return tuple(rows)


def queue_rows(
    names: Sequence[str] = (), *, sizes: Sequence[float] = QUEUE_SIZES, batch_sizes: Sequence[int] = ()
) -> tuple[Row, ...]:
    """Queue size × filter (× batch size). Without a queue, ``sbert-queue`` is ``sbert-simcse``.

    Args:
        names: Variants with a queue; without the filter and with it when there are none.
        sizes: Sizes of the queue in batches.
        batch_sizes: Pairs a step; the variant's default when there are none.

    Raises:
        OptionError: If a variant has no queue, or a size is out of bounds.
    """
    rows = []
    for name in names or (QUEUE, FILTERED):
        variant = get_variant(name)
        if SIZE not in variant.values:
            raise OptionError(f"{name} has no queue", remedy=f"Choose {QUEUE}, {FILTERED} or one of your own with one")
        for batch in batch_sizes or (variant.defaults.batch_size,):
            for size in sizes:
                sized = variant.with_parameters({SIZE: float(size)})
                tail = "" if batch == variant.defaults.batch_size else f"-b{batch}"
                reference = f"{QUEUE}-q{size:g}{tail}" if name != QUEUE else f"{QUEUE}-q0{tail}"
                key = f"{name}-q{size:g}{tail}"
                rows.append(
                    row_of(
                        sized, key=key, title=f"{variant.title}, queue of {size:g} × {batch}", batch_size=batch,
                        reference="" if key == reference else reference, queue_size=float(size),
                    )
                )  # fmt: skip
    return tuple(rows)


def make_plan(
    kind: Kind,
    rows: Sequence[Row],
    encoder: Encoder,
    splits: Mapping[str, PairSet],
    *,
    pairs: str,
    seeds: int,
    steps: int = 0,
    precision: str = "auto",
) -> Plan:
    """The plan of a study.

    Args:
        kind: Which study.
        rows: Its rows.
        encoder: The backbone.
        splits: Train, dev and test.
        pairs: What they are called.
        seeds: How many seeds, from 0.
        steps: Optimizer steps of every run; 0 for what Sentence-BERT takes for its default epochs.
        precision: As in :class:`~anticollapse.training.TrainingOptions`.

    Raises:
        OptionError: If a number is out of bounds.
    """
    if seeds < 1:
        raise OptionError(f"--seeds {seeds} is below 1", remedy="Give 3 or more to see the spread over seeds")
    if steps < 0:
        raise OptionError(f"--steps {steps} is below 0", remedy="Give 0 for the default")
    return Plan(
        kind=kind,
        backbone={"name": encoder.name, "digest": encoder.digest},
        pairs={"name": pairs, **{split: {"digest": p.digest, "n": p.n} for split, p in splits.items()}},
        steps=steps or steps_of(get_variant(BASELINE), TrainingOptions(), splits["train"])[0],
        # All runs get all steps: the best checkpoint is chosen on dev, none ends early.
        options={"precision": precision, "patience": 0},
        rows=tuple(rows),
        seeds=tuple(range(seeds)),
    )
