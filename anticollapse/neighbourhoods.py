"""Sentence vectors of one or more encoders in, everything a map needs out: for the command line and the Map page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from anticollapse.data import PairSet
from anticollapse.errors import OptionError
from anticollapse.measures import Measure, linked_groups
from anticollapse.measures.array_cache import ArrayCache, content_key
from anticollapse.measures.neighbours import (
    N_NEIGHBOURS,
    Cancelled,
    CentredDirections,
    Neighbours,
    Progress,
    mean_overlap,
    nearest_drawn,
    nearest_neighbours,
    overlap,
)
from anticollapse.measures.projection import (
    DEFAULTS,
    MapSettings,
    Projection,
    project_pca,
    project_umap,
    trustworthiness,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LIMIT = 10_000
"""Sentences that are drawn as points unless more are asked for."""

VERSION = 1
"""Raised when the way a map is made changes, so that cached ones are made again."""


@dataclass(frozen=True)
class SentenceFacts:
    """What is known about each distinct sentence of a set.

    Attributes:
        texts: N sentences.
        rows: ``(N,)`` row of the file in which each stands first.
        labels: ``(N,)`` mean human label of the pairs it stands in; None without labels.
        sources: Where each comes from (its first row); None when the file does not say.
        links: ``(N,)`` group of each: sentences that are linked by pairs are not independent.
    """

    texts: tuple[str, ...]
    rows: IntArray
    labels: FloatArray | None
    sources: tuple[str, ...] | None
    links: IntArray

    @classmethod
    def of(cls, pairs: PairSet) -> SentenceFacts:
        """The facts of a set."""
        n = len(pairs.sentences)
        where = pairs.index1 if pairs.index2 is None else np.concatenate([pairs.index1, pairs.index2])
        sides = 1 if pairs.index2 is None else 2
        # Backwards, so that the first row of a sentence is written last.
        first = np.zeros(n, np.int64)
        order = np.argsort(np.tile(np.arange(pairs.n), sides), kind="stable")[::-1]
        first[where[order]] = np.tile(np.arange(pairs.n), sides)[order]
        labels = None
        if pairs.scores is not None:
            times = np.bincount(where, minlength=n)
            labels = np.bincount(where, np.tile(pairs.scores, sides), minlength=n) / np.maximum(times, 1)
        sources = None if pairs.groups is None else tuple(pairs.groups[i] for i in first)
        links = np.arange(n) if pairs.index2 is None else linked_groups(n, pairs.index1, pairs.index2)
        return cls(pairs.sentences, pairs.rows[first], labels, sources, links)

    @cached_property
    def strata(self) -> IntArray:
        """``(N,)`` source and rounded label of each, numbered: what a sample keeps the proportions of."""
        parts = [np.zeros(len(self.texts), np.int64)]
        if self.sources is not None:
            parts.append(np.unique(self.sources, return_inverse=True)[1])
        if self.labels is not None:
            parts.append(np.rint(self.labels).astype(np.int64))
        return np.unique(np.stack(parts), axis=1, return_inverse=True)[1].ravel()


@dataclass(frozen=True)
class Sample:
    """Which sentences are drawn.

    Attributes:
        drawn: ``(n,)`` positions among all N sentences, ascending.
        rest: ``(N - n,)`` the others.
        note: What the reader has to know; empty when all are drawn.
    """

    drawn: IntArray
    rest: IntArray
    note: str = ""


def sample_sentences(facts: SentenceFacts, limit: int = LIMIT, *, seed: int = 0) -> Sample:
    """Draw at most ``limit`` sentences, from each source and label in proportion.

    Each sentence has the same chance. Where a source and label would have a part of a place, chance decides; with more
    of them than places not each is drawn, and the note says so.

    Args:
        facts: The sentences.
        limit: Most sentences.
        seed: Seed.

    Raises:
        OptionError: ``limit`` is not positive.
    """
    if limit < 1:
        raise OptionError(f"{limit} sentences were to be drawn", remedy="Draw at least 1")
    n = len(facts.texts)
    if n <= limit:
        return Sample(np.arange(n), np.empty(0, np.int64))
    rng = np.random.default_rng(seed)
    counts = np.bincount(facts.strata)
    quota = _quota(counts, limit, rng)
    shuffled = rng.permutation(n)
    shuffled = shuffled[np.argsort(facts.strata[shuffled], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(counts)])
    drawn = np.sort(np.concatenate([shuffled[s : s + q] for s, q in zip(starts[:-1], quota, strict=True)]))
    rest = np.setdiff1d(np.arange(n), drawn)
    kinds = [kind for kind, known in (("source", facts.sources), ("label", facts.labels)) if known is not None]
    by = f", from each {' and '.join(kinds)} in proportion" if kinds else ""
    if len(counts) > limit:
        by = (
            f", at random: they come from {len(counts):,} combinations of {' and '.join(kinds)}, more than there are "
            "points, so not each of them can be drawn"
            if len(kinds) > 1
            else f", at random: they come from {len(counts):,} {kinds[0]}s, more than there are points, so not each of "
            "them can be drawn"
        )
    note = (
        f"{limit:,} of {n:,} sentences are drawn as points{by}; the other {len(rest):,} are shading: each is counted "
        "where its nearest drawn sentence lies."
    )
    return Sample(drawn, rest, note)


@dataclass(frozen=True)
class MapReport:
    """A map of sentences under M encoders, with what says how far it can be trusted.

    Attributes:
        sample: Which of the N sentences are drawn.
        projection: Where they lie.
        trust: Trustworthiness of each encoder's map.
        neighbours: ``(n, k)`` for each encoder: neighbours of the drawn sentences among all N, in the original space;
            none for one encoder alone, where there is nothing to compare.
        nearest_point: ``(M, N - n)`` for the sentences that are not drawn: which drawn one is nearest; -1 for none.
        links: ``(n,)`` group of each drawn sentence, for intervals.
    """

    sample: Sample
    projection: Projection
    trust: tuple[Measure, ...]
    neighbours: tuple[Neighbours, ...]
    nearest_point: IntArray
    links: IntArray

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader has to know, in full sentences."""
        sampling = (self.sample.note,) if self.sample.note else ()
        inexact = (
            () if all(n.exact for n in self.neighbours) else ("Neighbours come from an index: nearly all are true.",)
        )
        return (*sampling, *self.projection.notes, *inexact)

    def overlaps(self, reference: int = 0) -> list[FloatArray]:
        """``(n,)`` for each encoder: share of the neighbours kept relative to a reference encoder.

        For the reference itself it is the mean over the others, so that its panel shows where the others differ.
        """
        if not self.neighbours:
            return [np.full(len(self.sample.drawn), np.nan)]
        base = self.neighbours[reference]
        return _against(reference, [overlap(base, one) for one in self.neighbours])

    def movements(self, reference: int = 0) -> list[FloatArray]:
        """``(n,)`` for each encoder: distance from the place under the reference, in standard deviations of the map."""
        return _against(
            reference, [self.projection.movement(reference, m) for m in range(len(self.projection.coordinates))]
        )

    def overlap_measure(self, one: int, other: int) -> Measure:
        """Mean share of neighbours that two encoders have in common."""
        shares = overlap(self.neighbours[one], self.neighbours[other])
        return mean_overlap(shares, k=self.neighbours[one].indices.shape[1], groups=self.links)


def first_picture(vectors: Sequence[NDArray[np.floating]], sample: Sample) -> Projection:
    """The PCA picture of the drawn sentences: at once.

    Args:
        vectors: ``(N, d_m)`` sentence vectors of each encoder.
        sample: Which are drawn.

    Raises:
        AntiCollapseError: As :func:`~anticollapse.measures.projection.project_pca`.
    """
    return project_pca([one[sample.drawn] for one in vectors])


def map_sentences(
    vectors: Sequence[NDArray[np.floating]],
    facts: SentenceFacts,
    sample: Sample,
    settings: MapSettings = DEFAULTS,
    *,
    k: int = N_NEIGHBOURS,
    cache: ArrayCache | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> MapReport:
    """The aligned UMAP of the drawn sentences and their neighbours among all sentences.

    Args:
        vectors: ``(N, d_m)`` sentence vectors of each encoder.
        facts: The N sentences.
        sample: Which are drawn.
        settings: Parameters of the map.
        k: Neighbours compared between encoders.
        cache: Earlier results on disk.
        progress: Called with (steps done, steps).
        cancelled: Asked now and then.

    Raises:
        CancelledError: ``cancelled`` said so.
        AntiCollapseError: As :func:`~anticollapse.measures.projection.project_umap`.
    """
    key = content_key([*vectors, sample.drawn], {**asdict(settings), "k": k, "version": VERSION})
    stored = cache.read(key) if cache is not None else None
    if stored is None:
        stored = _compute(vectors, sample, settings, k, progress, cancelled)
        if cache is not None:
            cache.write(key, stored)
    projection = Projection(
        "umap" if bool(stored["umap"]) else "pca",
        np.asarray(stored["coordinates"], np.float32),
        tuple(str(note) for note in stored["notes"]),
    )
    links = facts.links[sample.drawn]
    trust = tuple(
        trustworthiness(one[sample.drawn], places, groups=links)
        for one, places in zip(vectors, projection.coordinates, strict=True)
    )
    exact = bool(stored["exact"])
    neighbours = tuple(
        Neighbours(np.asarray(indices, np.int64), np.asarray(cosines, np.float64), exact)
        for indices, cosines in zip(stored["indices"], stored["cosines"], strict=True)
    )
    return MapReport(sample, projection, trust, neighbours, np.asarray(stored["nearest"], np.int64), links)


def map_table(names: Sequence[str], facts: SentenceFacts, report: MapReport, reference: int = 0) -> dict[str, object]:
    """Columns of the drawn sentences: text, row, label, source, and for each encoder place, kept and moved.

    Args:
        names: The encoders.
        facts: The sentences.
        report: The map.
        reference: The encoder that kept and moved are told against.
    """
    drawn = report.sample.drawn
    columns: dict[str, object] = {"row": facts.rows[drawn], "sentence": [facts.texts[i] for i in drawn]}
    if facts.labels is not None:
        columns["label"] = facts.labels[drawn]
    if facts.sources is not None:
        columns["source"] = [facts.sources[i] for i in drawn]
    kept, moved = report.overlaps(reference), report.movements(reference)
    for m, name in enumerate(names):
        columns[f"x, {name}"] = report.projection.coordinates[m, :, 0]
        columns[f"y, {name}"] = report.projection.coordinates[m, :, 1]
        if m != reference:
            columns[f"neighbours kept, {name}"] = kept[m]
            columns[f"moved, {name}"] = moved[m]
    return columns


def _quota(counts: IntArray, limit: int, rng: np.random.Generator) -> IntArray:
    """Places of each stratum: its share rounded down or up, up with the probability of what was cut off.

    The cut-off parts lie end to end in a random order, and every whole step from a random start gives a place
    (systematic sampling). Places for the largest parts would never go to the smallest strata.
    """
    exact = counts * limit / counts.sum()
    quota = np.floor(exact).astype(np.int64)
    left = limit - int(quota.sum())
    if left:
        order = rng.permutation(len(counts))
        ends = np.cumsum((exact - quota)[order])
        steps = (rng.random() + np.arange(left)) * ends[-1] / left
        quota[order[np.minimum(np.searchsorted(ends, steps, side="right"), len(order) - 1)]] += 1
    return quota


def _compute(
    vectors: Sequence[NDArray[np.floating]],
    sample: Sample,
    settings: MapSettings,
    k: int,
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> dict[str, NDArray[np.generic]]:
    last = 0

    def layout_progress(done: int, total: int) -> None:
        nonlocal last
        last = total
        if progress is not None:
            progress(done, total + 100 * len(vectors))

    projection = project_umap(
        [one[sample.drawn] for one in vectors], settings, progress=layout_progress, cancelled=cancelled
    )
    found, nearest = [], np.full((len(vectors), len(sample.rest)), -1, np.int64)
    for m, one in enumerate(vectors):
        space = CentredDirections.of(one)
        if len(vectors) > 1:
            found.append(nearest_neighbours(space, k, queries=sample.drawn, seed=settings.seed, cancelled=cancelled))
        if len(sample.rest):
            nearest[m] = nearest_drawn(space, sample.drawn, sample.rest, cancelled=cancelled)
        if progress is not None:
            progress(last + 100 * (m + 1), last + 100 * len(vectors))
    return {
        "umap": np.array(projection.method == "umap"),
        "coordinates": projection.coordinates,
        "notes": np.array(projection.notes, dtype=np.str_),
        "exact": np.array(all(one.exact for one in found)),
        "indices": np.stack([one.indices for one in found]) if found else np.empty((0, 0, k), np.int64),
        "cosines": np.stack([one.cosines for one in found]) if found else np.empty((0, 0, k)),
        "nearest": nearest,
    }


def _against(reference: int, values: list[FloatArray]) -> list[FloatArray]:
    others = [one for m, one in enumerate(values) if m != reference]
    if others:
        values[reference] = np.mean(others, axis=0)
    return values
