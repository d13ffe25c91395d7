"""The tables of a queue study: what queue and filter do to Spearman, and what they do to the negatives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anticollapse.studies.wording import NONE, cell, marks, percent, spearman, table

if TYPE_CHECKING:
    from anticollapse.studies.results import RowFound, Study

WITHOUT = "sbert-queue without a queue is sbert-simcse of the ladder."
NEGATIVES = (
    "How to read negatives: each sentence of a batch (the anchor) is drawn to a second copy of itself that other "
    "dropout made (the positive), and pushed away from negatives: all other sentences of the batch and all keys that "
    "are in the queue, except the same sentence (so also its own earlier keys) and, in its own row, its partner in the "
    "graded pair. They are counted once for each sentence, for its first copy. A negative is hard where its cosine "
    "with the anchor is at least the positive's, and false where the two sentences are graded 4 and up. Two such "
    "sentences meet as negatives only where one of them stands in several pairs of the data, or where the queue still "
    "holds a partner's key of the pass before; of most pairs that meet nobody knows the grade. So the share of false "
    "negatives is a lower bound, and says how it changes better than how large it is."
)
ADDED = (
    "Those that the queue adds are the negatives beyond those of the same run without a queue: a longer queue has more "
    "negatives, so a share of all of them can fall while their number rises. Which sentences meet follows from the "
    "order of the data, not from the encoder; with the filter, which are left follows from the encoder, and nothing is "
    "said of them here."
)
FILTER = (
    "The filter puts batch and queue into clusters of equal size; sentences of one cluster are not each other's "
    "negatives. Of K clusters each holds 1/K of the sentences, so about that share is taken out whatever the filter "
    "knows, and one that knows nothing takes out the same share of the known paraphrases (pairs graded 4 and up). "
    "Beside the known paraphrases among what is taken out stand those among all that could be. Precision and recall on "
    "graded pairs are of the partners in a batch, which are not each other's negatives in their own row: of those that "
    "the filter puts into one cluster the share graded 4 and up, and of those graded 4 and up the share that it puts "
    "into one. The variant with the filter is also trained with the loss that forms the clusters, so its difference to "
    "the one without is that of both together."
)


def sentences_a_step(row: Mapping[str, Any]) -> int:
    """Sentences of a step of a row: two of a pair where it learns from pairs.

    Args:
        row: Fields of :class:`~anticollapse.studies.plan.Row`.
    """
    return int(row["batch_size"]) * (2 if "supervised" in row["parts"] else 1)


def keys(row: Mapping[str, Any]) -> int:
    """Keys that a row's queue holds.

    Args:
        row: Fields of :class:`~anticollapse.studies.plan.Row`.
    """
    return round((row["queue_size"] or 0) * sentences_a_step(row))


def chance(share: float) -> str:
    """What the precision on graded pairs is compared with.

    Args:
        share: Share of the graded pairs that is graded 4 and up.
    """
    return (
        f"Of all graded pairs {100 * share:.1f} % are graded 4 and up: that is the precision of a filter that knows "
        "nothing."
    )


def baseline_name(baselines: Iterable[str], sizes: Mapping[str, float | None]) -> str:
    """What the rows of a study are compared with, in words; a single row by its key.

    Args:
        baselines: Keys of the rows that others are compared with.
        sizes: Size of the queue of each row, by key.
    """
    found = sorted(set(baselines))
    if len(found) == 1:
        return found[0]
    some = "no queue" if not any(sizes[key] for key in found) else "the shortest queue"
    return f"{some}, same batch"


def ordered(rows: Sequence[RowFound]) -> list[RowFound]:
    """Rows by variant, batch and queue; variants in the order of the study."""
    variants = list(dict.fromkeys(one.row.variant for one in rows))
    return sorted(rows, key=lambda one: (variants.index(one.row.variant), one.row.batch_size, one.row.queue_size or 0))


def queue_tables(study: Study) -> list[str]:
    """Paragraphs and tables of a queue study.

    Args:
        study: The study.
    """
    return [_scores(study), *_negatives(study)]


def _place(one: RowFound) -> list[str]:
    row = {"queue_size": one.row.queue_size, "batch_size": one.row.batch_size, "parts": one.row.parts}
    return [f"`{one.row.variant}`", f"{one.row.queue_size or 0:g}", f"{keys(row):,}", str(one.row.batch_size)]


PLACE = ["variant", "queue, × batch", "keys", "pairs a step"]


def _scores(study: Study) -> str:
    to = baseline_name(
        (study.baseline_of(row) for row in study.plan.rows), {row.key: row.queue_size for row in study.plan.rows}
    )
    to = f"`{to}`" if to in study.plan.keys else to
    column, of_filter = study.column(), study.column(of="reference")
    header = [*PLACE, "seeds", "dev Spearman", "test Spearman", f"difference to {to}, test"]
    if of_filter:
        header.append("difference to the same queue without the filter, test")
    lines = []
    for row in ordered(study.rows):
        line = [*_place(row), str(len(row.seeds)), spearman(row, "dev"), spearman(row, "test"), cell(column, row)]
        lines.append([*line, cell(of_filter, row)] if of_filter else line)
    notes = marks([one.estimate for one in column.values()])
    other = marks([one.estimate for one in of_filter.values()])
    if other and other != notes:
        notes += f"\n\nThe column of the filter: {other.strip()}"
    without = f"\n\n{WITHOUT}" if "sbert-queue-q0" in study.plan.keys else ""
    return table(header, lines) + notes + without


def _negatives(study: Study) -> list[str]:
    filtering = any("swav" in one.row.parts for one in study.rows)
    header = [*PLACE, "hard", "false", "false, of those that the queue adds"]
    if filtering:
        header += [
            "filtered, of all", "filtered, of the known paraphrases", "known paraphrases among the filtered",
            "precision on graded pairs", "recall on graded pairs",
        ]  # fmt: skip
    lines = []
    for row in ordered(study.rows):
        if not row.rates:
            continue
        shares = [_rate(row, "hard_negative_rate"), _rate(row, "false_negative_rate")]
        shares.append(percent(row.added.get("added_false_negative_rate")))
        lines.append([*_place(row), *shares, *(_of_filter(row) if filtering else [])])
    if not lines:
        return []
    known = [row.rates.get("paraphrases_among_graded_pairs") for row in study.rows if "swav" in row.row.parts]
    share = next((value for value in known if value is not None), None)
    texts = [NEGATIVES, ADDED, *([FILTER] if filtering else []), *([chance(share)] if share is not None else [])]
    return ["Shares of the negatives of a training:", table(header, lines), *texts]


def _rate(row: RowFound, name: str) -> str:
    return percent(row.rates.get(name), row.rate_stds.get(name))


def _of_filter(row: RowFound) -> list[str]:
    names = (
        "filtered_share", "paraphrases_filtered", "paraphrases_among_filtered", "precision_on_graded_pairs",
        "recall_on_graded_pairs",
    )  # fmt: skip
    if "swav" not in row.row.parts:
        return [NONE] * len(names)
    shares = {name: _rate(row, name) for name in names}
    base = row.rates.get("paraphrases_among_candidates")
    if base is not None:
        shares["paraphrases_among_filtered"] += f" (of all {percent(base)})"
    return list(shares.values())
