"""What trainings count about their negatives, as rates and as numbers a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

RATES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "hard_negative_rate": (("hard_negatives",), ("negatives",)),
    "false_negative_rate": (("false_negatives",), ("negatives",)),
    "filtered_share": (("filtered",), ("candidates",)),
    "paraphrases_among_filtered": (("filtered_false_negatives",), ("filtered",)),
    "paraphrases_among_candidates": (("false_negatives", "filtered_false_negatives"), ("candidates",)),
    "paraphrases_filtered": (("filtered_false_negatives",), ("false_negatives", "filtered_false_negatives")),
    "precision_on_graded_pairs": (("same_cluster_paraphrases",), ("same_cluster",)),
    "recall_on_graded_pairs": (("same_cluster_paraphrases",), ("paraphrases",)),
    "paraphrases_among_graded_pairs": (("paraphrases",), ("pairs",)),
}
"""Each rate with the counts whose sum it is, and those whose sum it is a share of."""

A_STEP = ("negatives", "hard_negatives", "false_negatives", "filtered")


def rates(counts: Mapping[str, float] | None) -> dict[str, float | None]:
    """Rates of negatives from their numbers over a run.

    ``hard_negative_rate`` is the share of the negatives whose cosine with the anchor is at least the positive's
    (Schroff et al. 2015, https://arxiv.org/abs/1503.03832, section 3.2); ``false_negative_rate`` the share of them that
    is graded 4 and up; ``filtered_share`` the share of the candidates that the filter took out.

    The filter is judged twice. On what it filters: ``paraphrases_among_filtered`` is the share of the filtered that is
    graded 4 and up, ``paraphrases_among_candidates`` the same of all candidates, which a filter that knows nothing
    reaches; the grade of most of them is unknown, so both are lower bounds. ``paraphrases_filtered`` is the share of
    the candidates graded 4 and up that it takes out; one that knows nothing takes out ``filtered_share`` of them. And
    on the graded pairs of each batch, which are partners and in their own row never candidates:
    ``precision_on_graded_pairs`` is the share of those it would take out that is graded 4 and up,
    ``recall_on_graded_pairs`` the share of the pairs graded 4 and up that it would take out, and
    ``paraphrases_among_graded_pairs`` the precision of a filter that knows nothing.

    Args:
        counts: As :func:`~anticollapse.studies.cell.negatives_of` gives them, or None.

    Returns:
        By name, from 0 to 1; None where nothing was counted.
    """
    if not counts:
        return {}
    return {
        name: _ratio(_sum(counts, above), _sum(counts, below))
        for name, (above, below) in RATES.items()
        if all(key in counts for key in (*above, *below))
    }


def added_by_queue(counts: Mapping[str, float] | None, without: Mapping[str, float] | None) -> dict[str, float | None]:
    """The false-negative rate among the negatives that a queue adds to those of the batch.

    ``added_false_negative_rate`` is the share of false ones among the run's negatives beyond those of the run without a
    queue, of the same variant, batches and seed. Which sentences meet follows from the order of the data alone, so that
    is exact. With a filter, which negatives are left depends on the encoder, and so does everywhere which are hard: of
    these there is no such share, as the two runs do not have the same ones in their batches.

    Args:
        counts: Of a run with a queue and without a filter.
        without: Of the run without a queue.
    """
    needed = ("negatives", "false_negatives")
    if not counts or not without or not all(key in one for key in needed for one in (counts, without)):
        return {}
    negatives, false = (counts[key] - without[key] for key in needed)
    return {"added_false_negative_rate": false / negatives} if negatives > 0 and false >= 0 else {}


def per_step(counts: Mapping[str, float] | None, steps: int) -> dict[str, float | None]:
    """Numbers of (anchor, negative) pairs in a mean step.

    Args:
        counts: As :func:`~anticollapse.studies.cell.negatives_of` gives them, or None.
        steps: Steps of the run.
    """
    if not counts or not steps:
        return {}
    return {name: counts[name] / steps for name in A_STEP if name in counts}


def _sum(counts: Mapping[str, float], names: Sequence[str]) -> float:
    return sum(counts[name] for name in names)


def _ratio(above: float, below: float) -> float | None:
    return above / below if below else None
