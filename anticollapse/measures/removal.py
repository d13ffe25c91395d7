"""What happens when the most frequent tokens leave the mean: Spearman and mean unrelated cosine as k tokens leave.

Token vectors are computed once. From one k to the next only the sentences that hold the newly removed tokens change, so
the whole curve costs about as much as one pass over the tokens, not one encoding for each k. Modules behind the mean
(a whitening, for example) stay as they were fitted. Yan et al. 2021 (ConSERT,
§2.1), https://aclanthology.org/2021.acl-long.393.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from anticollapse.encoding import SentencePath, TokenCounts, TokenEmbeddings
from anticollapse.encoding.path import segment_sums
from anticollapse.errors import EncoderError, OptionError
from anticollapse.measures.correlation import why_undefined
from anticollapse.measures.result import Measure, to_plain
from anticollapse.measures.significance import correlation_difference
from anticollapse.measures.vectors import check_index

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

DEFAULT_KS = (*range(51), *range(52, 101, 2), *range(105, 201, 5))
"""Every k to 50, where curves bend, then wider steps to 200."""


@dataclass(frozen=True)
class RemovalCurve:
    """The curve of one encoder, or of one of its layers.

    Attributes:
        ks: ``(K,)`` numbers of most frequent tokens left out.
        spearman: ``(K,)`` ×100; NaN where it is undefined.
        mean_cosine: ``(K,)`` mean cosine of unrelated sentences; NaN for fewer than two sentences.
        tokens_left: ``(K,)`` share of all tokens that is still in the means.
        emptied: ``(K,)`` sentences of which no token would be left: they keep their plain mean.
        without_specials: Whether special tokens were left out from the start (for every k).
        layer: The layer of the transformer, or None for what the encoder pools.
        n_pairs: Pairs that Spearman rests on.
        n_sentences: Distinct sentences.
        undefined: Why there is no Spearman, as "undefined because ...".
        labels: ``(P,)`` labels, for :meth:`gain`.
        cosines: ``(K, P)`` cosines of the pairs.
    """

    ks: IntArray
    spearman: FloatArray
    mean_cosine: FloatArray
    tokens_left: FloatArray
    emptied: IntArray
    without_specials: bool
    layer: int | None
    n_pairs: int
    n_sentences: int
    undefined: str = ""
    labels: FloatArray | None = field(default=None, repr=False)
    cosines: FloatArray = field(default_factory=lambda: np.empty((0, 0)), repr=False)

    @property
    def best_k(self) -> int | None:
        """The k of the highest Spearman, the smallest of equals; None without one.

        It is too good on the pairs it was chosen on: choose it on dev, report it on test.
        """
        return None if not np.isfinite(self.spearman).any() else int(self.ks[np.nanargmax(self.spearman)])

    def at(self, k: int) -> int:
        """The row of k.

        Raises:
            OptionError: The curve has no such k.
        """
        where = np.flatnonzero(self.ks == k)
        if not len(where):
            raise OptionError(f"the removal curve was not computed for k = {k}")
        return int(where[0])

    def gain(self, k: int, *, seed: int = 0) -> Measure:
        """Spearman at k minus Spearman at the smallest k, by paired bootstrap.

        Args:
            k: One of ``ks``. Where it was chosen on these very pairs, the gain is too good.
            seed: Seed of the resamples.
        """
        row = self.at(k)
        usable = np.isfinite(self.cosines[[0, row]]).all(axis=0)
        labels = None if self.labels is None else self.labels[usable]
        return correlation_difference(labels, self.cosines[row, usable], self.cosines[0, usable], seed=seed)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, without the cosines."""
        names = ("ks", "spearman", "mean_cosine", "tokens_left", "emptied", "without_specials", "layer")
        counts = ("n_pairs", "n_sentences", "undefined", "best_k")
        return {name: to_plain(getattr(self, name)) for name in (*names, *counts)}


class RemovalSweep:
    """Collects removal curves, some sentences at a time, so that token vectors of a long list need not be kept.

    Args:
        path: The encoder's way from token to sentence vectors; only a mean has tokens that can be left out.
        counts: Frequencies that rank the tokens.
        ks: Numbers of tokens left out, in any order.
        without_specials: Leave out special tokens from the start.
        layer: Take this layer's token vectors (and no head, which was fitted on another layer); None: what is pooled.

    Raises:
        EncoderError: The pooling is no mean.
        OptionError: No k, or a negative one.
    """

    def __init__(
        self,
        path: SentencePath,
        counts: TokenCounts,
        *,
        ks: Sequence[int] = DEFAULT_KS,
        without_specials: bool = False,
        layer: int | None = None,
    ) -> None:
        if path.obstacle:
            raise EncoderError(path.obstacle, remedy="Tokens can be left out of a mean only")
        if not ks or min(ks) < 0:
            raise OptionError("the removal curve needs numbers of tokens that are 0 or more")
        self._path = path
        self._counts = counts
        self._ks = np.unique(np.asarray(ks, np.int64))
        self._without_specials = without_specials
        self._layer = layer
        self._cosines: list[FloatArray] = []
        self._unit_sums: FloatArray | None = None
        self._directed = np.zeros(len(self._ks), np.int64)
        self._left = np.zeros(len(self._ks))
        self._emptied = np.zeros(len(self._ks), np.int64)
        self._tokens = 0
        self._sentences = 0

    def add(
        self, tokens: TokenEmbeddings, index1: IntArray, index2: IntArray, *, new: NDArray[np.bool_] | None = None
    ) -> None:
        """Take in some sentences and the pairs among them.

        Args:
            tokens: Token vectors of n sentences.
            index1: ``(p,)`` number of each pair's first sentence among them.
            index2: ``(p,)`` of its second one.
            new: ``(n,)`` whether a sentence was in no earlier call: only those count in the mean unrelated cosine.

        Raises:
            OptionError: The indices do not fit, or the layer is not among the tokens'.
        """
        first, second = check_index(index1, index2, tokens.n_sentences)
        fresh = np.ones(tokens.n_sentences, bool) if new is None else np.asarray(new, bool)
        state = _Sentences(tokens, self._vectors(tokens), self._path, head=self._layer is None)
        ranks = self._removal_ranks(tokens)
        order = np.argsort(ranks, kind="stable")
        ordered = ranks[order]
        cosines = np.empty((len(self._ks), len(first)))
        current = np.empty(len(first))
        unit_sum = np.zeros(0)
        start = 0
        for row, k in enumerate(self._ks):
            stop = int(np.searchsorted(ordered, k, side="right"))
            # Everything is computed for the first k, then only what changes.
            changed = state.remove(order[start:stop], everything=row == 0)
            start = stop
            touched = np.flatnonzero(changed.mask[first] | changed.mask[second])
            current[touched] = np.einsum("pd,pd->p", state.units[first[touched]], state.units[second[touched]])
            missing = ~(state.directed[first[touched]] & state.directed[second[touched]])
            current[touched[missing]] = np.nan
            cosines[row] = current
            counted = fresh[changed.rows]
            difference = changed.new[counted].sum(axis=0) - changed.old[counted].sum(axis=0)
            unit_sum = difference if row == 0 else unit_sum + difference
            if self._unit_sums is None:
                self._unit_sums = np.zeros((len(self._ks), len(unit_sum)))
            self._unit_sums[row] += unit_sum
            self._directed[row] += int((state.directed & fresh).sum())
            self._left[row] += int(state.n_left[fresh].sum())
            self._emptied[row] += int((state.empty & fresh).sum())
        self._cosines.append(np.clip(cosines, -1.0, 1.0))
        self._tokens += int(state.n_tokens[fresh].sum())
        self._sentences += int(fresh.sum())

    def finish(self, scores: ArrayLike | None = None) -> RemovalCurve:
        """The curve over all pairs taken in.

        Args:
            scores: ``(P,)`` labels in the order in which the pairs were given, or None.

        Raises:
            OptionError: Scores and pairs differ in number.
        """
        cosines = np.concatenate(self._cosines, axis=1) if self._cosines else np.empty((len(self._ks), 0))
        labels = None if scores is None else np.asarray(scores, np.float64)
        if labels is not None and labels.shape != (cosines.shape[1],):
            raise OptionError(f"{len(labels):,} scores do not match {cosines.shape[1]:,} pairs")
        spearman, reason = spearman_rows(labels, cosines)
        n = self._directed
        sums = np.zeros((len(self._ks), 1)) if self._unit_sums is None else self._unit_sums
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = (np.einsum("kd,kd->k", sums, sums) - n) / (n * (n - 1.0))
        return RemovalCurve(
            ks=self._ks,
            spearman=spearman,
            mean_cosine=np.where(n >= 2, np.clip(mean, -1.0, 1.0), np.nan),
            tokens_left=self._left / max(self._tokens, 1),
            emptied=self._emptied,
            without_specials=self._without_specials,
            layer=self._layer,
            n_pairs=cosines.shape[1],
            n_sentences=self._sentences,
            undefined=reason,
            labels=labels,
            cosines=cosines,
        )

    def _vectors(self, tokens: TokenEmbeddings) -> NDArray[np.float32]:
        if self._layer is None:
            if tokens.vectors.ndim != 2:
                raise OptionError("these token vectors are of several layers, so a layer must be chosen")
            return tokens.vectors
        if self._layer not in tokens.layers:
            raise OptionError(f"these token vectors are not of layer {self._layer}")
        chosen: NDArray[np.float32] = tokens.vectors[tokens.layers.index(self._layer)]
        return chosen

    def _removal_ranks(self, tokens: TokenEmbeddings) -> IntArray:
        """``(T,)`` the k from which on a token is left out."""
        ranks = self._counts.ranks[tokens.ids]
        never = np.iinfo(np.int64).max
        ranks = np.where(self._counts.counts[tokens.ids] > 0, ranks, never)
        return np.where(tokens.special, 0 if self._without_specials else never, ranks)


def removal_curve(
    tokens: TokenEmbeddings,
    path: SentencePath,
    counts: TokenCounts,
    index1: IntArray,
    index2: IntArray,
    scores: ArrayLike | None = None,
    *,
    ks: Sequence[int] = DEFAULT_KS,
    without_specials: bool = False,
    layer: int | None = None,
) -> RemovalCurve:
    """The removal curve from token vectors that are all there; arguments as :class:`RemovalSweep` takes them.

    Args:
        tokens: Token vectors of N distinct sentences.
        path: The encoder's ``path``.
        counts: Frequencies that rank the tokens.
        index1: ``(P,)`` sentence number of each pair's first sentence.
        index2: ``(P,)`` of its second one.
        scores: ``(P,)`` labels, or None.
        ks: Numbers of tokens left out.
        without_specials: Leave out special tokens from the start.
        layer: One of ``tokens.layers``; None: what the encoder pools.

    Raises:
        EncoderError: The pooling is no mean.
        OptionError: Arguments that do not fit each other.
    """
    sweep = RemovalSweep(path, counts, ks=ks, without_specials=without_specials, layer=layer)
    sweep.add(tokens, index1, index2)
    return sweep.finish(scores)


def spearman_rows(labels: FloatArray | None, cosines: FloatArray) -> tuple[FloatArray, str]:
    """Spearman's correlation ×100 of the labels with each row of cosines.

    Args:
        labels: ``(P,)``, or None.
        cosines: ``(K, P)``; NaN for a pair without a cosine, which is left out of its row.

    Returns:
        ``(K,)``, NaN where it is undefined, and why it is undefined in the first row (empty when it is not).
    """
    out = np.full(len(cosines), np.nan)
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(cosines))
    reason = why_undefined(None if labels is None else labels[usable[0]], cosines[0][usable[0]])
    reason = f"undefined because {reason}" if reason else ""
    if labels is None:
        return out, reason
    whole = np.asarray(usable.all(axis=1))
    ranks = stats.rankdata(labels)
    centred = (ranks - ranks.mean()) / (np.linalg.norm(ranks - ranks.mean()) or 1.0)
    for row, values in enumerate(cosines):
        y = labels[usable[row]]
        if why_undefined(y, values[usable[row]]):
            continue
        if whole[row]:
            x = stats.rankdata(values)
            x -= x.mean()
            out[row] = 100 * float(centred @ x / np.linalg.norm(x))
        else:
            out[row] = 100 * float(stats.spearmanr(y, values[usable[row]]).statistic)
    return out, reason


@dataclass(frozen=True)
class _Change:
    """Sentences that a removal changed: their numbers, a mask over all, and their unit vectors before and after."""

    rows: IntArray
    mask: NDArray[np.bool_]
    old: FloatArray
    new: FloatArray


class _Sentences:
    """Sums of token vectors from which tokens are taken out."""

    def __init__(
        self, tokens: TokenEmbeddings, vectors: NDArray[np.float32], path: SentencePath, *, head: bool
    ) -> None:
        n = tokens.n_sentences
        self._vectors = vectors
        self._path = path
        self._head = head
        self.sentence = np.repeat(np.arange(n), tokens.lengths)
        self._above, self._below = path.token_factors(tokens.ids, tokens.offsets, tokens.prompt_length)
        plain = bool((self._above == 1).all())  # spares a copy of all token vectors
        self._sums = segment_sums(vectors if plain else self._above[:, None] * vectors, tokens.offsets)
        self._divisors = segment_sums(self._below, tokens.offsets)
        self._plain = (self._sums.copy(), self._divisors.copy())
        self.n_left = np.bincount(self.sentence, self._above > 0, minlength=n).astype(np.int64)
        self.n_tokens = self.n_left.copy()
        self.units = np.zeros((n, 0))
        self.directed = np.zeros(n, bool)

    @property
    def empty(self) -> NDArray[np.bool_]:
        """``(n,)`` sentences of which no token is left."""
        return np.asarray(self.n_left == 0)

    def remove(self, gone: IntArray, *, everything: bool) -> _Change:
        """Take tokens out, and compute the unit vectors of their sentences (or of all) anew."""
        rows = np.unique(self.sentence[gone])
        if len(gone):
            order = gone[np.argsort(self.sentence[gone], kind="stable")]
            starts = np.flatnonzero(np.diff(self.sentence[order], prepend=-1))
            above = self._above[order]
            self._sums[rows] -= np.add.reduceat(above[:, None] * self._vectors[order], starts, axis=0)
            self._divisors[rows] -= np.add.reduceat(self._below[order], starts)
            self.n_left[rows] -= np.add.reduceat((above > 0).astype(np.int64), starts)
        if everything:
            rows = np.arange(len(self.n_left))
        mask = np.zeros(len(self.n_left), bool)
        mask[rows] = True
        new = self._units_of(rows)
        old = np.zeros_like(new) if everything else self.units[rows]
        if everything:
            self.units = np.zeros((len(self.n_left), new.shape[1]))
        self.units[rows] = new
        self.directed[rows] = new.any(axis=1)
        return _Change(rows, mask, old, new)

    def _units_of(self, rows: IntArray) -> FloatArray:
        # A sentence without tokens has no mean; it keeps the plain one, as it does in the drop-frequent cure.
        empty = self.empty[rows][:, None]
        sums = np.where(empty, self._plain[0][rows], self._sums[rows])
        divisors = np.where(empty[:, 0], self._plain[1][rows], self._divisors[rows])
        vectors = self._path.pool(sums, divisors)
        if self._head:
            vectors = self._path.apply_head(vectors)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0))
