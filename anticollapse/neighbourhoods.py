"""Sentence vectors of one or more encoders in, everything a map needs out: for the command line and the Map page."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from anticollapse.data import PairSet
from anticollapse.errors import OptionError
from anticollapse.measures import Measure, linked_groups
from anticollapse.measures.array_cache import ArrayCache, content_key
from anticollapse.measures.correlation import correlation_of
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
    ALL_EQUAL,
    DEFAULTS,
    TRUSTWORTHINESS,
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

VERSION = 2
"""Raised when the way a map is made changes, so that cached ones are made again."""


NUMBER = "sentence number"
KEPT = "neighbours kept, {}"
MOVED = "moved, {}"
"""Columns of files; kept is a share from 0 to 1, moved in standard deviations of the map."""


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

    @property
    def k(self) -> int:
        """How many neighbours are compared; fewer than asked for where there are not so many other sentences."""
        return max((int((one.indices >= 0).sum(axis=1).max(initial=0)) for one in self.neighbours), default=0)

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
        both = (self.neighbours[one], self.neighbours[other])
        why = f"under one of the two encoders {ALL_EQUAL}" if any(near.constant for near in both) else ""
        more = {"undefined": why.replace(" its ", " ")} if why else {}
        return mean_overlap(overlap(*both), k=self.k, groups=self.links, **more)

    def moved_and_kept(self, one: int, other: int) -> float | None:
        """Spearman correlation of distance moved and neighbours kept; None where either is the same for all.

        −1 if just the sentences that lose neighbours moved; near 0 if where a sentence moved says nothing about that.
        """
        moved = self.projection.movement(one, other)
        kept = overlap(self.neighbours[one], self.neighbours[other])
        good = np.isfinite(moved) & np.isfinite(kept)
        moved, kept = moved[good], kept[good]
        if len(moved) < 3 or np.ptp(moved) == 0 or np.ptp(kept) == 0:
            return None
        return correlation_of(moved, kept, "spearman")


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
    links = facts.links[sample.drawn]
    key = content_key([*vectors, sample.drawn, links], {**asdict(settings), "k": k, "version": VERSION})
    stored = cache.read(key) if cache is not None else None
    if stored is None:
        stored = _compute(vectors, sample, links, settings, k, progress, cancelled)
        if cache is not None:
            cache.write(key, stored)
    projection = Projection(
        "umap" if bool(stored["umap"]) else "pca",
        np.asarray(stored["coordinates"], np.float32),
        tuple(str(note) for note in stored["notes"]),
    )
    exact = bool(stored["exact"])
    neighbours = tuple(
        Neighbours(np.asarray(indices, np.int64), np.asarray(cosines, np.float64), exact, bool(constant))
        for indices, cosines, constant in zip(stored["indices"], stored["cosines"], stored["constant"], strict=True)
    )
    trust = tuple(_trust_from(str(text)) for text in stored["trust"])
    return MapReport(sample, projection, trust, neighbours, np.asarray(stored["nearest"], np.int64), links)


def map_table(names: Sequence[str], facts: SentenceFacts, report: MapReport, reference: int = 0) -> dict[str, object]:
    """Columns of the drawn sentences: row, text, number, label, source, for each encoder place, kept and moved.

    The number of a sentence, from 0 in the order of the set, is the one in links and in other tables of the map.

    Args:
        names: The encoders.
        facts: The sentences.
        report: The map.
        reference: The encoder that kept and moved are told against.
    """
    drawn = report.sample.drawn
    columns: dict[str, object] = {"row": facts.rows[drawn], "sentence": [facts.texts[i] for i in drawn]}
    columns[NUMBER] = drawn
    if facts.labels is not None:
        columns["label"] = facts.labels[drawn]
    if facts.sources is not None:
        columns["source"] = [facts.sources[i] for i in drawn]
    kept, moved = report.overlaps(reference), report.movements(reference)
    for m, name in enumerate(names):
        columns[f"x, {name}"] = report.projection.coordinates[m, :, 0]
        columns[f"y, {name}"] = report.projection.coordinates[m, :, 1]
        if m != reference:
            columns[KEPT.format(name)] = kept[m]
            columns[MOVED.format(name)] = moved[m]
    return columns


def map_metadata(
    names: Sequence[str], report: MapReport, settings: MapSettings, notes: Sequence[str] = (), reference: int = 0
) -> dict[bytes, bytes]:
    """What a Parquet file of a map says about itself: encoders, settings, notes, as JSON under ``anticollapse``.

    Args:
        names: The encoders.
        report: The map.
        settings: Its parameters.
        notes: What else the reader must know, as sentences.
        reference: The encoder that kept and moved are told against.
    """
    about: Mapping[str, object] = {
        "encoders": list(names),
        "compared_with": names[reference],
        "neighbours_compared": report.k,
        "method": report.projection.method,
        "settings": asdict(settings),
        "notes": [*notes, *report.notes],
    }
    return {b"anticollapse": json.dumps(about, ensure_ascii=False).encode("utf-8", "replace")}


def _quota(counts: IntArray, limit: int, rng: np.random.Generator) -> IntArray:
    """Places of each stratum: its share rounded down or up, up with the probability of what was cut off.

    The cut-off parts lie end to end in a random order, and every whole step from a random start gives a place
    (systematic sampling). Places for the largest parts would never go to the smallest strata.
    """
    exact = counts * limit / counts.sum()
    quota: IntArray = np.floor(exact).astype(np.int64)
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
    links: IntArray,
    settings: MapSettings,
    k: int,
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> dict[str, NDArray[np.generic]]:
    each = 200  # steps for the neighbours and the shading of one encoder
    last = 0

    def layout_progress(done: int, total: int) -> None:
        nonlocal last
        last = total
        if progress is not None:
            progress(done, total + each * len(vectors))

    def searched(m: int, half: int, done: int, total: int) -> None:
        if progress is not None:
            steps = each * m + each // 2 * half + each // 2 * done // max(total, 1)
            progress(last + steps, last + each * len(vectors))

    spaces = [CentredDirections.of(one[sample.drawn]) for one in vectors]
    projection = project_umap(spaces, settings, progress=layout_progress, cancelled=cancelled)
    trust, found, nearest = [], [], np.full((len(vectors), len(sample.rest)), -1, np.int64)
    for m, one in enumerate(vectors):
        trust.append(trustworthiness(spaces[m], projection.coordinates[m], groups=links))
        space = CentredDirections.of(one) if len(sample.rest) else spaces[m]
        if len(vectors) > 1:
            found.append(
                nearest_neighbours(
                    space,
                    k,
                    queries=sample.drawn,
                    seed=settings.seed,
                    progress=partial(searched, m, 0),
                    cancelled=cancelled,
                )
            )
        if len(sample.rest):
            nearest[m] = nearest_drawn(
                space, sample.drawn, sample.rest, progress=partial(searched, m, 1), cancelled=cancelled
            )
        searched(m, 1, 1, 1)
    return {
        "umap": np.array(projection.method == "umap"),
        "coordinates": projection.coordinates,
        "notes": np.array(projection.notes, dtype=np.str_),
        "trust": np.array([_trust_to(one) for one in trust], dtype=np.str_),
        "exact": np.array(all(one.exact for one in found)),
        "constant": np.array([one.constant for one in found], dtype=np.bool_),
        "indices": np.stack([one.indices for one in found]) if found else np.empty((0, 0, k), np.int64),
        "cosines": np.stack([one.cosines for one in found]) if found else np.empty((0, 0, k)),
        "nearest": nearest,
    }


def _trust_to(measure: Measure) -> str:
    kept = measure.to_json()
    return json.dumps({name: kept[name] for name in ("value", "interval", "n", "undefined", "details")})


def _trust_from(text: str) -> Measure:
    kept = json.loads(text)
    if kept["value"] is None:
        return TRUSTWORTHINESS.undefined(kept["undefined"].removeprefix("undefined because "), kept["n"])
    interval = None if kept["interval"] is None else (float(kept["interval"][0]), float(kept["interval"][1]))
    return TRUSTWORTHINESS.measured(kept["value"], interval, kept["n"], kept["details"])


def _against(reference: int, values: list[FloatArray]) -> list[FloatArray]:
    others = [one for m, one in enumerate(values) if m != reference]
    if others:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a sentence without a value anywhere has no mean
            values[reference] = np.nanmean(others, axis=0)
    return values
