"""Which tokens make the sentence vectors: contributions, dominance, and norm against frequency.

The contribution of token t to its sentence vector s = Σ pₜ is aₜ = ⟨pₜ, s⟩ / ‖s‖²; in each sentence they sum to 1.
Sums over sentences weigh each sentence by its number of tokens, so that tokens that all contribute alike (aₜ = 1/n)
make up exactly as much of the vectors as of the token count: their dominance, the ratio of the two shares, is 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from anticollapse.encoding import TokenCounts, TokenParts
from anticollapse.encoding.readable import TokenStyle, readable_types
from anticollapse.measures.correlation import bootstrap_correlations
from anticollapse.measures.resampling import (
    bootstrap_note,
    default_resamples,
    jackknife_interval,
    percentile_interval,
    why_no_interval,
)
from anticollapse.measures.result import Definition, Measure, to_plain
from anticollapse.wording import count

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

BAND_EDGES = (10, 100, 1_000, 10_000)
"""Last frequency rank of each band; special tokens are a band of their own, before the first."""

UNSEEN = "not in the reference"
"""Name of the band of tokens whose frequency is unknown, after all others."""

BAND_NAMES = (
    "special",
    *(f"{low + 1:,}–{high:,}" for low, high in zip((0, *BAND_EDGES), BAND_EDGES, strict=False)),
    f"{BAND_EDGES[-1] + 1:,} and rarer",
    UNSEEN,
)
N_BANDS = len(BAND_NAMES)

MIN_OCCURRENCES = 3
"""Token types that occur less often are left out of the correlation of norm and frequency: their mean norm is noise."""

VECTOR_SHARE = Definition(
    key="vector_share",
    name="Share of the sentence vectors",
    unit="share",
    meaning="How much of the sentence vectors these tokens make up.",
    reads_as="compare it with their share of the tokens",
    counts="sentences",
)
DOMINANCE = Definition(
    key="dominance",
    name="Dominance",
    unit="ratio",
    meaning="How many times as much these tokens make up of the sentence vectors as of the token count.",
    reads_as="1: as much as any other token; above 1 they dominate the mean",
    counts="sentences",
)
FREQUENT_DOMINANCE = Definition(
    key="frequent_dominance",
    name="Dominance of the 100 most frequent tokens",
    unit="ratio",
    meaning="How many times as much they make up of the sentence vectors as of the token count.",
    reads_as="1: as much as any other token; above 1 they dominate the mean",
    counts="sentences",
)
SPECIAL_DOMINANCE = Definition(
    key="special_dominance",
    name="Dominance of special tokens",
    unit="ratio",
    meaning="How many times as much [CLS], [SEP] and the like make up of the sentence vectors as of the token count.",
    reads_as="1: as much as any other token; above 1 they dominate the mean",
    counts="sentences",
)
NORM_FREQUENCY = Definition(
    key="norm_frequency",
    name="Norm against frequency",
    unit="Spearman ×100",
    meaning="Whether tokens that occur more often have longer vectors, over token types.",
    reads_as="0 is no relation; above 0 frequent tokens are longer and weigh more in the mean",
    counts="token types",
)


@dataclass(frozen=True)
class TypeUse:
    """Token types that occur, most frequent first in the sentences analysed.

    Attributes:
        ids: ``(V,)`` token ids.
        labels: V tokens as people read them.
        special: ``(V,)`` whether it is one of the tokenizer's own.
        counts: ``(V,)`` occurrences in the sentences analysed.
        frequency: ``(V,)`` occurrences in the text (or reference) that ranks tokens.
        rank: ``(V,)`` rank by that, from 1; 0 for special tokens.
        token_share: ``(V,)`` share of all tokens; sums to 1.
        vector_share: ``(V,)`` share of the sentence vectors; sums to 1.
        norm: ``(V,)`` mean length of its vectors as they enter the pooling.
    """

    ids: IntArray
    labels: tuple[str, ...]
    special: NDArray[np.bool_]
    counts: IntArray
    frequency: IntArray
    rank: IntArray
    token_share: FloatArray
    vector_share: FloatArray
    norm: FloatArray

    @property
    def dominance(self) -> FloatArray:
        """``(V,)`` share of the vectors divided by share of the tokens."""
        return np.asarray(self.vector_share / self.token_share)

    @property
    def comparable(self) -> NDArray[np.bool_]:
        """``(V,)`` ordinary types of known frequency that occur often enough for their mean norm to be no noise."""
        return np.asarray(~self.special & (self.counts >= MIN_OCCURRENCES) & (self.frequency > 0))

    def most_dominant(self, count: int = 20, *, least: int = MIN_OCCURRENCES) -> IntArray:
        """Rows of the types that make up most of the vectors beyond their share of the tokens.

        Args:
            count: How many.
            least: Occurrences a type needs.
        """
        excess = np.where(self.counts >= least, self.vector_share - self.token_share, -np.inf)
        order = np.argsort(-excess, kind="stable")[:count]
        return order[np.isfinite(excess[order])]


@dataclass(frozen=True)
class Band:
    """Token types of neighbouring frequency ranks.

    Attributes:
        name: ``special``, ``1–10``, ``11–100``, … or ``not in the reference``.
        low: First rank; 0 for special tokens.
        high: Last rank; None for the band of every rarer token, and for tokens that were never counted.
        n_types: Types of this band that occur.
        n_tokens: Their occurrences.
        token_share: Their share of all tokens.
        vector_share: Their share of the sentence vectors.
        dominance: The ratio of the two.
    """

    name: str
    low: int
    high: int | None
    n_types: int
    n_tokens: int
    token_share: float
    vector_share: Measure
    dominance: Measure


@dataclass(frozen=True)
class TokenUse:
    """Which tokens make the sentence vectors of one encoder.

    Attributes:
        types: By token type.
        bands: By frequency band.
        measures: Headline numbers by key.
        n_sentences: Sentences analysed.
        n_tokens: Tokens in them.
        notes: Full sentences on what was left out.
        reference: What the attached count is called; empty where frequencies come from the user's own text.
    """

    types: TypeUse
    bands: tuple[Band, ...]
    measures: Mapping[str, Measure]
    n_sentences: int
    n_tokens: int
    notes: tuple[str, ...] = ()
    reference: str = ""

    def to_json(self, *, top: int = 50) -> dict[str, Any]:
        """Plain JSON types, with the ``top`` most dominant token types."""
        types = self.types
        rows = [
            {
                "token": types.labels[i],
                "id": int(types.ids[i]),
                "special": bool(types.special[i]),
                "rank": int(types.rank[i]) if types.frequency[i] else None,
                "frequency": int(types.frequency[i]),
                "occurrences": int(types.counts[i]),
                "token_share": float(types.token_share[i]),
                "vector_share": float(types.vector_share[i]),
                "dominance": float(types.dominance[i]),
                "norm": float(types.norm[i]),
            }
            for i in types.most_dominant(top)
        ]
        bands = [
            {"name": b.name, "types": b.n_types, "tokens": b.n_tokens, "token_share": b.token_share}
            | {m.key: to_plain(m.value) for m in (b.vector_share, b.dominance)}
            | {f"{m.key}_ci": to_plain(m.interval) for m in (b.vector_share, b.dominance)}
            for b in self.bands
        ]
        return {
            "n_sentences": self.n_sentences,
            "n_tokens": self.n_tokens,
            "measures": {key: measure.to_json() for key, measure in self.measures.items()},
            "bands": bands,
            "dominant_tokens": rows,
            "notes": list(self.notes),
        }


def contributions(parts: TokenParts) -> FloatArray:
    """Contribution of each token to its sentence vector: aₜ = ⟨pₜ, s⟩ / ‖s‖².

    Args:
        parts: Token parts.

    Returns:
        ``(T,)``; they sum to 1 in each sentence, and are NaN in one with the zero vector.
    """
    vectors = parts.vectors
    squares = np.einsum("nd,nd->n", vectors, vectors)
    sentence = np.repeat(np.arange(parts.n_sentences), parts.lengths)
    dots = np.einsum("td,td->t", parts.parts, vectors[sentence])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(squares[sentence] > 0, dots / squares[sentence], np.nan)


def token_use(
    chunks: Iterable[TokenParts], counts: TokenCounts, *, groups: IntArray | None = None, seed: int = 0
) -> TokenUse:
    """Aggregate contributions by token type and by frequency band, some sentences at a time.

    Args:
        chunks: Token parts of distinct sentences, as :func:`~anticollapse.encoding.iter_token_parts` gives them.
        counts: Frequencies that rank the tokens: of the user's own text, or a reference count.
        groups: ``(N,)`` groups of sentences that are not independent
            (:func:`~anticollapse.measures.resampling.linked_groups`).
        seed: Seed of the bootstrap.
    """
    totals = TokenUseSweep(counts)
    for parts in chunks:
        totals.add(parts)
    return totals.finish(groups, seed=seed)


class TokenUseSweep:
    """Collects :class:`TokenUse`, some sentences at a time.

    Args:
        counts: Frequencies that rank the tokens.
    """

    def __init__(self, counts: TokenCounts) -> None:
        size = len(counts.counts)
        self.reference = counts
        self.occurrences = np.zeros(size)
        self.weighted = np.zeros(size)  # Σ n aₜ by type
        self.norms = np.zeros(size)
        self.inner = np.zeros(size, bool)  # types seen behind another token of the sentence
        self.texts: dict[int, str] = {}
        self.style: TokenStyle = "plain"
        # Band 0 holds special tokens (rank 0), then the ranks up to each edge, then all rarer ones, then those that the
        # reference does not know: in a short one their shared last rank would be among the first.
        ranked = np.digitize(counts.ranks, [1, *(edge + 1 for edge in BAND_EDGES)])
        self.band = np.where(counts.unseen, N_BANDS - 1, ranked)
        self.band_weighted: list[FloatArray] = []
        self.band_tokens: list[FloatArray] = []
        self.n_zero = 0
        self.n_cut = 0

    def add(self, parts: TokenParts) -> None:
        """Take in token parts of sentences that were in no earlier call."""
        shares = contributions(parts)
        sentence = np.repeat(np.arange(parts.n_sentences), parts.lengths)
        directed = np.isfinite(shares)
        self.n_zero += parts.n_sentences - len(np.unique(sentence[directed]))
        # A prompt that is not pooled is no part of the mean, so it is none of its tokens either.
        place = np.arange(len(sentence)) - np.repeat(parts.offsets[:-1], parts.lengths)
        usable = directed & (place >= parts.unpooled)
        lengths = np.bincount(sentence[usable], minlength=parts.n_sentences)
        self.n_cut += int(parts.truncated.sum())
        ids, size = parts.ids[usable], len(self.occurrences)
        weighted = shares[usable] * lengths[sentence[usable]]
        self.occurrences += np.bincount(ids, minlength=size)
        self.weighted += np.bincount(ids, weighted, minlength=size)
        self.norms += np.bincount(ids, parts.norms[usable], minlength=size)
        self.texts |= parts.vocabulary
        self.style = parts.style
        ordinary = np.flatnonzero(~parts.special)
        self.inner[parts.ids[ordinary[1:][np.diff(sentence[ordinary]) == 0]]] = True
        cell = sentence[usable] * N_BANDS + self.band[ids]
        shape = (parts.n_sentences, N_BANDS)
        size = parts.n_sentences * N_BANDS
        self.band_weighted.append(np.bincount(cell, weighted, minlength=size).reshape(shape).astype(np.float64))
        self.band_tokens.append(np.bincount(cell, minlength=size).reshape(shape).astype(np.float64))

    def finish(self, groups: IntArray | None = None, *, seed: int = 0) -> TokenUse:
        """The result; arguments as :func:`token_use` takes them, groups in the order in which sentences were added."""
        weighted = np.concatenate(self.band_weighted) if self.band_weighted else np.zeros((0, N_BANDS))
        tokens = np.concatenate(self.band_tokens) if self.band_tokens else np.zeros((0, N_BANDS))
        types = self._types()
        bands = tuple(self._bands(types, weighted, tokens, groups))
        frequent = slice(1, 3)  # ranks 1 to 100
        measures = (
            _dominance(FREQUENT_DOMINANCE, weighted, tokens, frequent, groups),
            _dominance(SPECIAL_DOMINANCE, weighted, tokens, slice(0, 1), groups),
            norm_against_frequency(types, seed=seed),
        )
        return TokenUse(
            types=types,
            bands=bands,
            measures=MappingProxyType({m.key: m for m in measures}),
            n_sentences=len(tokens),
            n_tokens=int(tokens.sum()),
            notes=tuple(self._notes()),
            reference="" if self.reference.n_sentences else self.reference.source,
        )

    def _types(self) -> TypeUse:
        seen = np.flatnonzero(self.occurrences)
        seen = seen[np.lexsort((seen, -self.occurrences[seen]))]
        total = max(self.occurrences.sum(), 1.0)
        names = {int(i): self.texts[int(i)] for i in seen}
        ordinary = [i for i in names if not self.reference.special[i]]
        shown = readable_types([names[i] for i in ordinary], [bool(self.inner[i]) for i in ordinary], self.style)
        names.update(zip(ordinary, shown, strict=True))
        return TypeUse(
            ids=seen,
            labels=tuple(names.values()),
            special=self.reference.special[seen],
            counts=self.occurrences[seen].astype(np.int64),
            frequency=self.reference.counts[seen],
            rank=self.reference.ranks[seen],
            token_share=self.occurrences[seen] / total,
            vector_share=self.weighted[seen] / total,
            norm=self.norms[seen] / self.occurrences[seen],
        )

    def _bands(
        self, types: TypeUse, weighted: FloatArray, tokens: FloatArray, groups: IntArray | None
    ) -> Iterator[Band]:
        of_type = self.band[types.ids]
        total = max(float(tokens.sum()), 1.0)
        lows = [0, 1, *(edge + 1 for edge in BAND_EDGES), len(self.reference.ranking) + 1]
        highs = [0, *BAND_EDGES, None, None]
        for b, (name, low, high) in enumerate(zip(BAND_NAMES, lows, highs, strict=True)):
            n_types = int((of_type == b).sum())
            if not n_types:
                continue
            yield Band(
                name=name,
                low=low,
                high=high,
                n_types=n_types,
                n_tokens=int(tokens[:, b].sum()),
                token_share=float(tokens[:, b].sum()) / total,
                vector_share=_ratio(VECTOR_SHARE, weighted[:, b], tokens.sum(axis=1), groups),
                dominance=_ratio(DOMINANCE, weighted[:, b], tokens[:, b], groups),
            )

    def _notes(self) -> Iterator[str]:
        yield f"Tokens are ranked by their frequency in {self.reference.source}."
        unseen = int((self.reference.unseen & (self.occurrences > 0)).sum())
        if unseen:
            yield f"{unseen:,} different tokens do not occur there, so their frequency is unknown."
        if self.reference.unmatched:
            yield f"{self.reference.unmatched:,} lines of the reference count gave no token of this encoder."
        if self.n_zero:
            yield f"Left out: {count(self.n_zero, 'sentence')} with the zero vector, in which no token has a share."
        if self.n_cut:
            cut = count(self.n_cut, "sentence")
            yield f"The encoder does not read the end of {cut}; tokens there are not counted."


def norm_against_frequency(types: TypeUse, *, seed: int = 0) -> Measure:
    """Spearman's correlation ×100 of mean norm and frequency over token types, special ones left out.

    The frequency is that of the text or reference count that ranks the tokens; types it does not hold are left out.

    Args:
        types: Token types.
        seed: Seed of the bootstrap over types.
    """
    chosen = types.comparable
    n = int(chosen.sum())
    frequency, norm = types.frequency[chosen].astype(np.float64), types.norm[chosen]
    if n < 3:
        return NORM_FREQUENCY.undefined(
            f"fewer than 3 token types of known frequency occur at least {MIN_OCCURRENCES} times", n
        )
    if np.ptp(frequency) == 0 or np.ptp(norm) <= 1e-9 * np.abs(norm).max():
        return NORM_FREQUENCY.undefined("all token types are equally frequent, or their vectors equally long", n)
    samples = bootstrap_correlations(frequency, norm[None], kind="spearman", seed=seed)[:, 0]
    value = 100 * float(stats.spearmanr(frequency, norm).statistic)
    interval = percentile_interval(100 * samples)
    note = bootstrap_note(interval, f"{default_resamples(n):,} resamples of token types")
    return NORM_FREQUENCY.measured(value, interval, n, note)


def _dominance(
    definition: Definition, weighted: FloatArray, tokens: FloatArray, bands: slice, groups: IntArray | None
) -> Measure:
    """The dominance of some bands together, with the two shares beside their ratio."""
    total = max(float(tokens.sum()), 1.0)
    above, below = weighted[:, bands].sum(axis=1), tokens[:, bands].sum(axis=1)
    shares = {"token_share": float(below.sum()) / total, "vector_share": float(above.sum()) / total}
    return _ratio(definition, above, below, groups, shares)


def _ratio(
    definition: Definition,
    above: FloatArray,
    below: FloatArray,
    groups: IntArray | None,
    details: Mapping[str, object] = MappingProxyType({}),
) -> Measure:
    """Σ above / Σ below over sentences, with a jackknife interval."""
    n, total = len(below), float(below.sum())
    if total == 0:
        return definition.undefined("no such token occurs", n)
    value = float(above.sum()) / total
    interval = jackknife_interval(value, (above - value * below) / total, groups)
    note = {"interval": "jackknife over sentences" if groups is None else "jackknife over sentences linked by pairs"}
    if interval is None:
        note = {"no_interval": why_no_interval(n, groups)}
    return definition.measured(value, interval, n, {**details, **note})
