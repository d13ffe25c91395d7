"""A comparison as sentences and tables: what command, page, report and CSV files have in common."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from anticollapse.compare import SLICE_TITLES, Comparison, Disagreement, Slice
from anticollapse.measures.result import Measure, decimals_of, format_number
from anticollapse.measures.verdict import describe_difference, signed

_POINTS = {"points (×100)"}


def finding(comparison: Comparison) -> str:
    """What was found, in one sentence without a full stop, with its numbers.

    Args:
        comparison: The comparison.
    """
    reference = comparison.names[comparison.reference]
    if not comparison.others:
        return f"{reference} stands alone: a comparison needs a second encoder"
    judged = {
        i: comparison.encoders[i].verdicts["spearman"]
        for i in comparison.others
        if comparison.encoders[i].differences["spearman"].defined
    }
    if not judged:
        return f"Which encoder is better cannot be said: {_why_not(comparison)}"
    points = {i: comparison.encoders[i].differences["spearman"].value or 0.0 for i in judged}
    better = sorted((i for i, v in judged.items() if v.outcome == "better"), key=lambda i: -points[i])
    worse = sorted((i for i, v in judged.items() if v.outcome == "worse"), key=lambda i: points[i])
    if better:
        text = _by(comparison, better[0], "better")
        return text + _also(len(better) - 1, "better") + _also(len(worse), "worse")
    if len(judged) == 1 and not worse:
        (only,) = judged
        text = f"This data shows no difference between {comparison.names[only]} and {reference}"
        return f"{text}: {_points(comparison, only)}"
    if worse:
        text = _by(comparison, worse[0], "worse")
        rest = "; none is shown to be better" if len(judged) > 1 else ""
        return text + _also(len(worse) - 1, "worse") + rest
    largest = max(points, key=lambda i: abs(points[i]))
    return (
        f"This data shows no difference between {reference} and the {len(judged)} others; the largest seen is that of "
        f"{comparison.names[largest]}: {_points(comparison, largest)}"
    )


def correction(comparison: Comparison) -> str:
    """How the verdicts take the number of comparisons into account, in full sentences."""
    number = max((v.comparisons for e in comparison.encoders for v in e.verdicts.values()), default=0)
    if not number:
        return "There is no verdict, so there is nothing to correct."
    if number == 1:
        return "There is one comparison, so no correction for several is needed."
    return (
        f"Verdicts are corrected for {number} comparisons with one reference (Holm 1979), for Spearman, and for "
        "Pearson by itself, so that the chance that any verdict on one of them is false stays at 5 %. The intervals "
        "are those of single comparisons."
    )


def measure_rows(comparison: Comparison) -> list[dict[str, object]]:
    """One row for each encoder and measure, as plain values."""
    rows: list[dict[str, object]] = []
    reference = comparison.names[comparison.reference]
    for encoder in comparison.encoders:
        for key, measure in encoder.report.diagnosis.measures.items():
            difference = encoder.differences.get(key)
            verdict = encoder.verdicts.get(key)
            rows.append(
                {
                    "encoder": encoder.name,
                    "measure": measure.name,
                    "unit": measure.unit,
                    "better": measure.better,
                    "n": measure.n,
                    "counts": measure.counts,
                    **_numbers("", measure),
                    "reference": reference,
                    **_numbers("difference ", difference),
                    "p": None if verdict is None else verdict.p_value,
                    "p corrected (Holm)": None if verdict is None else verdict.p_corrected,
                    "verdict": "" if verdict is None else verdict.text,
                    "undefined": measure.undefined,
                }
            )
    return rows


def measure_frame(comparison: Comparison) -> pd.DataFrame:
    """:func:`measure_rows` as a table for a CSV file."""
    return pd.DataFrame(measure_rows(comparison))


def slice_frame(comparison: Comparison, found: dict[int, Sequence[Slice]]) -> pd.DataFrame:
    """One row for each encoder and slice.

    Args:
        comparison: The comparison.
        found: Slices of each encoder, by its position.
    """
    rows = []
    for i, slices in found.items():
        for one in slices:
            result = one.result
            rows.append(
                {
                    "encoder": comparison.names[i],
                    "reference": comparison.names[comparison.reference],
                    "cut by": SLICE_TITLES[one.by],
                    "slice": one.name,
                    "pairs": result.n,
                    **_numbers("part of the difference in Spearman ", result.contribution),
                    "pairs ranked closer to people %": 100 * result.won,
                    "pairs ranked farther %": 100 * result.lost,
                    "rank error %": result.error,
                    "rank error of the reference %": result.reference_error,
                }
            )
    return pd.DataFrame(rows)


def disagreement_frame(comparison: Comparison, encoder: int, found: Sequence[Disagreement]) -> pd.DataFrame:
    """One row for each pair that two encoders rank differently.

    Args:
        comparison: The comparison.
        encoder: Position of the encoder.
        found: Its disagreements with the reference.
    """
    pairs = comparison.pairs
    names = [comparison.names[i] for i in (comparison.reference, encoder)]
    rows = []
    for one in found:
        row: dict[str, object] = {"row": one.row}
        if pairs.scores is not None:
            row["label"] = float(pairs.scores[one.position])
        row["sentence 1"] = pairs.sentences1[one.position]
        row["sentence 2"] = "" if pairs.sentences2 is None else pairs.sentences2[one.position]
        if one.label_rank is not None:
            row["place by people"] = one.label_rank
        row[f"place by {names[0]}"] = one.reference_rank
        row[f"place by {names[1]}"] = one.rank
        if one.label_rank is not None:
            near, far = abs(one.rank - one.label_rank), abs(one.reference_rank - one.label_rank)
            row["closer to people"] = names[1] if near < far else names[0] if far < near else "both alike"
        rows.append(row)
    return pd.DataFrame(rows)


def difference_text(measure: Measure | None) -> str:
    """A difference with its sign and interval for a table; ``–`` where there is none."""
    if measure is None:
        return "–"
    if measure.value is None:
        return "undefined"
    if measure.unit in _POINTS:
        return describe_difference(measure)
    decimals = decimals_of(measure.value, measure.interval)
    text = signed(measure.value, decimals)
    if measure.interval is not None:
        low, high = (signed(bound, decimals) for bound in measure.interval)
        text += f" [{low}, {high}]"
    return text


def _why_not(comparison: Comparison) -> str:
    if not comparison.pairs.has_pairs:
        return "these are single sentences, not pairs"
    if not comparison.pairs.labelled:
        return "the pairs have no labels"
    first = comparison.encoders[comparison.others[0]].differences["spearman"]
    return first.undefined.removeprefix("undefined because ")


def _by(comparison: Comparison, encoder: int, how: str) -> str:
    reference = comparison.names[comparison.reference]
    return f"{comparison.names[encoder]} orders the pairs {how} than {reference} by {_points(comparison, encoder)}"


def _points(comparison: Comparison, encoder: int) -> str:
    return f"{describe_difference(comparison.encoders[encoder].differences['spearman'])} points of Spearman"


def _also(number: int, how: str) -> str:
    if not number:
        return ""
    return f"; {number} {'other is' if number == 1 else 'others are'} {how}"


def _numbers(prefix: str, measure: Measure | None) -> dict[str, object]:
    low, high = (None, None) if measure is None or measure.interval is None else measure.interval
    return {
        f"{prefix}value": None if measure is None else measure.value,
        f"{prefix}low (95 %)": low,
        f"{prefix}high (95 %)": high,
    }


def value_text(measure: Measure) -> str:
    """A value with its interval for a table."""
    if not measure.defined:
        return "undefined"
    return measure.describe().rpartition(", n = ")[0].partition(" (no interval")[0]


def share(value: float) -> str:
    """A share in %."""
    return f"{format_number(100 * value, 0)} %"
