"""Which encoder is better on these pairs, by how much, where, and is it real? For command, page and report."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from anticollapse.data import PairSet, normalise
from anticollapse.doctor import Report, unknown_note
from anticollapse.errors import OptionError
from anticollapse.measures.alignment import ALIGNMENT
from anticollapse.measures.correlation import MIN_PAIRS, Kind
from anticollapse.measures.profile import BIN_EDGES, SAME_FROM, SPREAD, UNRELATED_TO
from anticollapse.measures.resampling import bootstrap_note, bootstrap_ratio, default_resamples, percentile_interval
from anticollapse.measures.result import Definition, Measure, to_plain
from anticollapse.measures.significance import correlation_difference
from anticollapse.measures.slices import SliceResult, slice_results
from anticollapse.measures.verdict import Verdict, verdicts

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

KINDS: tuple[Kind, ...] = ("spearman", "pearson")
SliceBy = Literal["label", "length", "overlap"]
Cut = tuple[SliceBy, str, NDArray[np.bool_]]
SLICE_TITLES: dict[SliceBy, str] = {
    "label": "human label",
    "length": "words in a pair's longer sentence",
    "overlap": "words in common (%)",
}
QUARTERS = (0.25, 0.5, 0.75)

# A run of letters and digits is a word; scripts without blanks have one for each character.
_WORDS = re.compile(r"[぀-ヿ㐀-鿿豈-﫿]|[^\W_぀-ヿ㐀-鿿豈-﫿]+")
_NO_INTERVAL = "it is a difference of two diagnoses; the interval of each stands beside it"


@dataclass(frozen=True)
class Compared:
    """One encoder against the reference.

    Attributes:
        name: The encoder.
        report: Its diagnosis.
        differences: By the key of the measure: value − value of the reference, on the same pairs. Empty for the
            reference itself.
        verdicts: For "spearman" and "pearson": whether that is a difference at all, corrected for the number of
            encoders that are compared.
    """

    name: str
    report: Report
    differences: Mapping[str, Measure]
    verdicts: Mapping[str, Verdict]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "encoder": self.name,
            "measures": {key: measure.to_json() for key, measure in self.report.diagnosis.measures.items()},
            "differences": {key: measure.to_json() for key, measure in self.differences.items()},
            "verdicts": {key: verdict.to_json() for key, verdict in self.verdicts.items()},
            "digest": self.report.digest,
        }


@dataclass(frozen=True)
class Slice:
    """A part of the pairs.

    Attributes:
        by: What it was cut by.
        name: ``0.5–1.5``, ``4–6 words``.
        result: How encoder and reference do on it.
    """

    by: SliceBy
    name: str
    result: SliceResult

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"by": self.by, "name": self.name, **self.result.to_json()}


@dataclass(frozen=True)
class Comparison:
    """Encoders on one set of pairs, against one of them.

    Attributes:
        pairs: The pairs.
        encoders: In the order given.
        reference: Position of the reference among them.
        used: (u,) positions of the pairs on which differences rest: with a cosine under every encoder and, where the
            set has labels, a label.
        seed: Seed of every resampling.
        notes: Full sentences on what was left out.
    """

    pairs: PairSet
    encoders: tuple[Compared, ...]
    reference: int
    used: IntArray
    seed: int
    notes: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Names of the encoders."""
        return [encoder.name for encoder in self.encoders]

    @property
    def others(self) -> list[int]:
        """Positions of all but the reference."""
        return [i for i in range(len(self.encoders)) if i != self.reference]

    @property
    def labels(self) -> FloatArray | None:
        """(u,) labels of the pairs that were used."""
        return None if self.pairs.scores is None else self.pairs.scores[self.used]

    def cosines(self, encoder: int) -> FloatArray:
        """(u,) cosines of the pairs that were used."""
        found = self.encoders[encoder].report.diagnosis.cosines
        return np.empty(0) if found is None else found[self.used]

    def best(self) -> int | None:
        """Position of the encoder with the highest Spearman; None where it is undefined for all."""
        values = {i: m.value for i, m in enumerate(self._spearman()) if m is not None and m.value is not None}
        return max(values, key=lambda i: (values[i], -i)) if values else None

    def _spearman(self) -> list[Measure | None]:
        return [encoder.report.diagnosis.measures.get("spearman") for encoder in self.encoders]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, without slices: :func:`slices` gives those."""
        return dict(
            to_plain(
                {
                    "pairs": self.pairs.name,
                    "pairs_digest": self.pairs.digest,
                    "rows": self.pairs.n,
                    "pairs_used": len(self.used),
                    "labelled": self.pairs.labelled,
                    "reference": self.names[self.reference],
                    "seed": self.seed,
                    "notes": list(self.notes),
                    "encoders": [encoder.to_json() for encoder in self.encoders],
                }
            )
        )


def compare(
    reports: Sequence[Report], pairs: PairSet, *, names: Sequence[str] | None = None, reference: int = 0, seed: int = 0
) -> Comparison:
    """Compare encoders on the same pairs.

    Args:
        reports: What :func:`anticollapse.doctor.examine` found for each encoder on ``pairs``.
        pairs: The pairs.
        names: What the encoders are called; default the reports' names.
        reference: Position of the encoder that the others are measured against.
        seed: Seed of every resampling.

    Returns:
        The comparison; what labels or pairs it lacks, the differences say.

    Raises:
        OptionError: No encoder, an unknown reference, or a report on other pairs.
    """
    if not reports or not 0 <= reference < len(reports):
        raise OptionError("There must be at least one encoder, and the reference must be one of them")
    called = [report.encoder for report in reports] if names is None else list(names)
    if any(len(report.truncated) != pairs.n for report in reports):
        raise OptionError("A report is of other pairs", where=pairs.name)
    used, notes = _used(reports, pairs)
    labels = None if pairs.scores is None else pairs.scores[used]
    cosines = [None if r.diagnosis.cosines is None else r.diagnosis.cosines[used] for r in reports]
    others = [i for i in range(len(reports)) if i != reference]
    base = cosines[reference]
    found: dict[int, dict[str, Measure]] = {i: _diagnoses(reports[i], reports[reference]) for i in others}
    judged: dict[int, dict[str, Verdict]] = {i: {} for i in others}
    if base is not None:
        for kind in KINDS:
            for i in others:
                found[i][kind] = correlation_difference(labels, _present(cosines[i]), base, kind=kind, seed=seed)
            for i, one in zip(others, verdicts([found[i][kind] for i in others]), strict=True):
                judged[i][kind] = one
        if labels is not None and others:
            for i, measures in _mean_differences(labels, cosines, others, reference, seed).items():
                found[i] |= measures
    encoders = [
        Compared(name, report, _ordered(report, found.get(i, {})), judged.get(i, {}))
        for i, (name, report) in enumerate(zip(called, reports, strict=True))
    ]
    unread = (unknown_note(name, r.unknown_share, pairs.sentences) for name, r in zip(called, reports, strict=True))
    return Comparison(pairs, tuple(encoders), reference, used, seed, (*filter(None, unread), *notes))


def slices(comparison: Comparison, encoder: int) -> list[Slice]:
    """Where an encoder wins against the reference: by label, by length and by overlap of words.

    Args:
        comparison: The comparison.
        encoder: Position of the encoder.

    Returns:
        The slices, each kind summing to the difference in Spearman; none where that is undefined.
    """
    labels = comparison.labels
    difference = comparison.encoders[encoder].differences.get("spearman")
    if labels is None or difference is None or not difference.defined:
        return []
    cuts = [*_label_cuts(labels), *_text_cuts(comparison)]
    results = slice_results(
        labels,
        comparison.cosines(encoder),
        comparison.cosines(comparison.reference),
        [mask for _, _, mask in cuts],
        seed=comparison.seed,
    )
    return [Slice(by, name, result) for (by, name, _), result in zip(cuts, results, strict=True)]


@dataclass(frozen=True)
class Disagreement:
    """A pair that two encoders rank differently.

    Attributes:
        position: Among all pairs of the set.
        row: Its row in the file.
        rank: Its place among all pairs under the encoder in %, 100 being the most similar.
        reference_rank: The same under the reference.
        label_rank: The same by people; None without labels.
    """

    position: int
    row: int
    rank: float
    reference_rank: float
    label_rank: float | None


def disagreements(comparison: Comparison, encoder: int, *, top: int = 20) -> list[Disagreement]:
    """The pairs whose place in the order differs most between an encoder and the reference.

    Places and not cosines are compared: under a collapsed encoder all cosines are high.

    Args:
        comparison: The comparison.
        encoder: Position of the encoder.
        top: How many.
    """
    if len(comparison.used) < 2:
        return []
    rank, reference = (percent_ranks(comparison.cosines(i)) for i in (encoder, comparison.reference))
    labels = comparison.labels
    people = None if labels is None else percent_ranks(labels)
    order = np.argsort(-np.abs(rank - reference), kind="stable")[:top]
    return [
        Disagreement(
            position=int(comparison.used[i]),
            row=int(comparison.pairs.rows[comparison.used[i]]),
            rank=float(rank[i]),
            reference_rank=float(reference[i]),
            label_rank=None if people is None else float(people[i]),
        )
        for i in order
        if rank[i] != reference[i]
    ]


def percent_ranks(values: FloatArray) -> FloatArray:
    """Average ranks (n,) scaled so that the lowest possible is 0 and the highest 100."""
    return np.asarray(100 * (stats.rankdata(values) - 1) / max(len(values) - 1, 1))


def words(text: str) -> list[str]:
    """The words of a sentence in lower case; of Chinese and Japanese, each character."""
    return _WORDS.findall(normalise(text).casefold())


def _used(reports: Sequence[Report], pairs: PairSet) -> tuple[IntArray, tuple[str, ...]]:
    """Positions of the pairs that every encoder and the labels can be compared on."""
    if not pairs.has_pairs:
        return np.empty(0, np.int64), ("These are single sentences, so there are no pairs to compare the encoders on.",)
    notes = []
    usable = np.ones(pairs.n, dtype=np.bool_)
    for report in reports:
        if report.diagnosis.cosines is not None:
            usable &= np.isfinite(report.diagnosis.cosines)
    if not usable.all():
        notes.append(f"{(~usable).sum():,} pairs have no cosine under one of the encoders and are left out for all.")
    if pairs.scores is None:
        notes.append("The pairs have no labels, so nobody can say which encoder is better: only how they differ.")
    elif not np.isfinite(pairs.scores).all():
        notes.append(f"{(~np.isfinite(pairs.scores)).sum():,} pairs have no label and are left out.")
        usable &= np.isfinite(pairs.scores)
    return np.flatnonzero(usable).astype(np.int64), tuple(notes)


def _diagnoses(report: Report, reference: Report) -> dict[str, Measure]:
    """Differences of everything, without intervals; what has one is put in their place."""
    found = {}
    for key, measure in report.diagnosis.measures.items():
        other = reference.diagnosis.measures[key]
        definition = _difference_of(measure)
        if measure.value is None or other.value is None:
            reason = (measure.undefined or other.undefined).removeprefix("undefined because ")
            found[key] = definition.undefined(reason, measure.n)
        else:
            found[key] = definition.measured(
                measure.value - other.value, None, measure.n, {"no_interval": _NO_INTERVAL}
            )
    return found


def _difference_of(measure: Measure | Definition) -> Definition:
    return Definition(
        key=f"{measure.key}_difference",
        name=f"Difference in {measure.name}",
        unit=measure.unit,
        meaning=f"By how much the encoder differs from the reference. {measure.meaning}",
        reads_as="0 is no difference",
        counts=measure.counts,
        better=measure.better,
    )


def _mean_differences(
    labels: FloatArray, cosines: Sequence[FloatArray | None], others: Sequence[int], reference: int, seed: int
) -> dict[int, dict[str, Measure]]:
    """Paired differences of spread and alignment, from one set of resamples."""
    same, unrelated = labels >= SAME_FROM, labels <= UNRELATED_TO
    if not len(labels):
        return {}
    columns = np.stack([same, unrelated], axis=1).astype(np.float64)
    everyone = [reference, *others]
    numerators = np.concatenate([columns * _present(cosines[i])[:, None] for i in everyone], axis=1)
    denominators = np.tile(columns, (1, len(everyone)))
    resamples = default_resamples(len(labels))
    # Column 2 i holds the mean of the same, column 2 i + 1 that of the unrelated, under encoder i of everyone.
    samples = bootstrap_ratio(numerators, denominators, n_resamples=resamples, seed=seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = numerators.sum(axis=0) / denominators.sum(axis=0)
    found: dict[int, dict[str, Measure]] = {i: {} for i in others}
    n_same, n_both = int(same.sum()), int(same.sum() + unrelated.sum())
    for k, i in enumerate(others, start=1):
        for definition, n, of in ((ALIGNMENT, n_same, _alignment_difference), (SPREAD, n_both, _spread_difference)):
            value = float(of(means, k))
            if np.isfinite(value):
                interval = percentile_interval(of(samples, k))
                note = bootstrap_note(interval, f"paired, {resamples:,} resamples of pairs")
                found[i][definition.key] = _difference_of(definition).measured(value, interval, n, note)
    return found


def _alignment_difference(means: FloatArray, k: int) -> FloatArray:
    """Alignment is 2 − 2 × the mean cosine of pairs that mean the same."""
    return np.asarray(-2 * (means[..., 2 * k] - means[..., 0]))


def _spread_difference(means: FloatArray, k: int) -> FloatArray:
    return np.asarray((means[..., 2 * k] - means[..., 2 * k + 1]) - (means[..., 0] - means[..., 1]))


def _ordered(report: Report, differences: Mapping[str, Measure]) -> dict[str, Measure]:
    return {key: differences[key] for key in report.diagnosis.measures if key in differences}


def _present(cosines: FloatArray | None) -> FloatArray:
    if cosines is None:
        raise OptionError("One encoder has cosines and another has none")
    return cosines


def _label_cuts(labels: FloatArray) -> list[Cut]:
    """Bins around the whole labels, as in the label profile."""
    bounds = np.asarray(BIN_EDGES)
    numbers = np.clip(np.searchsorted(bounds, labels, side="right") - 1, 0, len(bounds) - 2)
    return [("label", f"{number}", numbers == number) for number in range(len(bounds) - 1)]


def _text_cuts(comparison: Comparison) -> list[Cut]:
    """Quarters by length and by overlap."""
    pairs = comparison.pairs
    if pairs.sentences2 is None or len(comparison.used) < MIN_PAIRS:
        return []
    both = [(words(pairs.sentences1[i]), words(pairs.sentences2[i])) for i in comparison.used]
    lengths = np.array([max(len(a), len(b)) for a, b in both], np.float64)
    shares = np.array([len({*a} & {*b}) / max(len({*a} | {*b}), 1) for a, b in both])
    return [*_quarters("length", lengths, _length_name), *_quarters("overlap", 100 * shares, _overlap_name)]


def _quarters(by: SliceBy, values: FloatArray, name: Callable[[float, float], str]) -> list[Cut]:
    """Up to four parts with about as many pairs in each; equal values stay together."""
    edges = np.unique(np.quantile(values, QUARTERS, method="inverted_cdf"))
    numbers = np.searchsorted(edges, values, side="left")
    cuts: list[Cut] = []
    for number in np.unique(numbers):
        mask = numbers == number
        cuts.append((by, name(values[mask].min(), values[mask].max()), mask))
    return cuts


def _length_name(low: float, high: float) -> str:
    return f"{low:.0f}" if low == high else f"{low:.0f}–{high:.0f}"


def _overlap_name(low: float, high: float) -> str:
    first, last = round(low), round(high)
    return f"{first}" if first == last else f"{first}–{last}"
