"""One call for the whole diagnosis of an encoder on a set of sentences and, where there are some, pairs and labels."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from anticollapse.errors import OptionError
from anticollapse.measures.alignment import ALIGNMENT, alignment, uniformity
from anticollapse.measures.correlation import PEARSON, SPEARMAN, pearson, spearman
from anticollapse.measures.isotropy import mean_unrelated_cosine, rogue_dimensions, std_sqrt_d
from anticollapse.measures.profile import SPREAD, LabelProfile, label_profile, spread
from anticollapse.measures.resampling import linked_groups
from anticollapse.measures.result import Measure, to_plain
from anticollapse.measures.spectrum import Spectrum, effective_rank, first_component_share, isoscore, spectrum
from anticollapse.measures.vectors import SentenceVectors, VectorsLike, as_vectors, check_index, pair_cosines

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_NO_PAIRS = "these are single sentences, not pairs"
_ONE_THREAD_BELOW = 2e10  # N d², which one core does in about 5 s
_THREADS_LOCK = threading.Lock()  # the limit is the process's: two that overlap would restore each other's


@dataclass(frozen=True)
class Diagnosis:
    """All measures of one encoder on one set.

    Attributes:
        measures: By key, in the order of a table: the outcome first, then the diagnosis.
        label_profile: Cosine by label.
        spectrum: Singular values.
        cosines: (P,) cosine of each pair in the given order; NaN for a pair with a zero vector, None without pairs.
        n_pairs: Number of pairs given.
        n_sentences: Number of distinct sentences given.
        notes: Full sentences on what was left out.
    """

    measures: Mapping[str, Measure]
    label_profile: LabelProfile
    spectrum: Spectrum
    cosines: FloatArray | None
    n_pairs: int
    n_sentences: int
    notes: tuple[str, ...] = ()

    def __getitem__(self, key: str) -> Measure:
        """The measure with that key."""
        return self.measures[key]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types: values under their key, intervals under ``<key>_ci``, all facts in ``measures``."""
        flat: dict[str, Any] = {"n_pairs": self.n_pairs, "n_sentences": self.n_sentences}
        for key, measure in self.measures.items():
            flat[key] = to_plain(measure.value)
            flat[f"{key}_ci"] = to_plain(measure.interval)
        return flat | {
            "label_profile": self.label_profile.to_json(),
            "notes": list(self.notes),
            "measures": {key: measure.to_json() for key, measure in self.measures.items()},
        }


def diagnose(
    vectors: VectorsLike,
    index1: IntArray | None = None,
    index2: IntArray | None = None,
    scores: ArrayLike | None = None,
    *,
    seed: int = 0,
    n_resamples: int | None = None,
) -> Diagnosis:
    """Measure everything that the data allows; what it does not allow says why.

    Args:
        vectors: (N, d) vectors of the distinct sentences, not normalised.
        index1: (P,) row of each pair's first sentence, or None for single sentences.
        index2: (P,) row of its second one.
        scores: (P,) labels on 0–5, or None; NaN for a pair without one. Not used without pairs.
        seed: Seed of every resampling and sampling.
        n_resamples: Number of bootstrap resamples; by default 2,000, fewer above 30,000 pairs.

    Returns:
        The diagnosis.

    Raises:
        EncoderError: If a vector contains NaN or infinity.
        OptionError: If shapes do not fit.
    """
    checked = as_vectors(vectors)
    notes = _zero_note(checked)
    groups: IntArray | None = None
    cosines: FloatArray | None = None
    if index1 is not None and index2 is not None:
        first, second = check_index(index1, index2, len(checked.values))
        groups = linked_groups(len(checked.values), first, second)
        cosines = pair_cosines(checked, first, second)
    elif index1 is not None or index2 is not None:
        raise OptionError("Pairs need both sentences of each pair")
    with _few_threads(checked):
        outcome, profile, pair_notes = _pair_measures(cosines, scores, seed, n_resamples)
        inner = _sentence_measures(checked, groups, seed)
    # Alignment is read together with uniformity: side by side in the table.
    *correlations, aligned = outcome
    ordered = (*correlations, inner[0], aligned, *inner[1:])
    return Diagnosis(
        measures={measure.key: measure for measure in ordered},
        label_profile=profile,
        spectrum=spectrum(checked),
        cosines=cosines,
        n_pairs=0 if cosines is None else len(cosines),
        n_sentences=len(checked.values),
        notes=(*notes, *pair_notes),
    )


def _sentence_measures(vectors: SentenceVectors, groups: IntArray | None, seed: int) -> tuple[Measure, ...]:
    """The mean cosine, then everything that is read beside it."""
    return (
        mean_unrelated_cosine(vectors, groups=groups),
        uniformity(vectors, seed=seed, groups=groups),
        effective_rank(vectors, groups=groups),
        effective_rank(vectors, centred=True, groups=groups),
        first_component_share(vectors, groups=groups),
        isoscore(vectors, groups=groups),
        rogue_dimensions(vectors, groups=groups),
        std_sqrt_d(vectors, groups=groups),
    )


@contextmanager
def _few_threads(vectors: SentenceVectors) -> Iterator[None]:
    """One BLAS thread for all but large sets.

    BLAS threads wait for each other by spinning: where the encoder, a server or a browser keep the cores busy, the many
    small eigenvalue problems of 2,500 × 256 vectors took 4 to 20 s with two threads and 0.4 s with one.
    """
    if vectors.n * vectors.dim**2 > _ONE_THREAD_BELOW:
        yield
        return
    with _THREADS_LOCK, threadpool_limits(limits=1, user_api="blas"):
        yield


def _pair_measures(
    cosines: FloatArray | None, scores: ArrayLike | None, seed: int, n_resamples: int | None
) -> tuple[tuple[Measure, ...], LabelProfile, tuple[str, ...]]:
    """Spearman, Pearson, spread and alignment, the label profile, and notes on pairs that were left out."""
    if cosines is None:
        undefined = tuple(definition.undefined(_NO_PAIRS, 0) for definition in (SPEARMAN, PEARSON, SPREAD, ALIGNMENT))
        return undefined, LabelProfile((), 0, f"undefined because {_NO_PAIRS}"), ()
    labels = None if scores is None else np.asarray(scores, dtype=np.float64)
    if labels is not None and labels.shape != cosines.shape:
        raise OptionError(f"{len(labels):,} scores do not match {len(cosines):,} pairs")
    usable = np.isfinite(cosines)
    notes: list[str] = []
    if not usable.all():
        notes.append(f"{np.sum(~usable):,} pairs with a zero vector have no cosine and are left out.")
    if labels is not None and not np.isfinite(labels).all():
        notes.append(f"{np.sum(~np.isfinite(labels)):,} pairs have no label and are left out.")
        usable &= np.isfinite(labels)
    c = cosines[usable]
    y = None if labels is None else labels[usable]
    measures = tuple(
        measure(y, c, seed=seed, n_resamples=n_resamples) for measure in (spearman, pearson, spread, alignment)
    )
    return measures, label_profile(y, c), tuple(notes)


def _zero_note(vectors: SentenceVectors) -> tuple[str, ...]:
    if not vectors.n_zero:
        return ()
    share = f"{vectors.n_zero:,} of {len(vectors.values):,} sentence vectors"
    return (f"{share} are zero; they have no direction and are left out.",)
