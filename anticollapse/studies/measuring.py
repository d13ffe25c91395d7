"""What a study measures of an encoder, or of a scorer of pairs, on one set; and the files of per-pair numbers."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anticollapse.data import PairSet
from anticollapse.encoding import Encoder
from anticollapse.errors import RunError
from anticollapse.measures import effective_rank, mean_unrelated_cosine, pair_cosines
from anticollapse.measures.correlation import correlation_of, why_undefined
from anticollapse.measures.profile import SAME_FROM, UNRELATED_TO
from anticollapse.measures.result import to_plain
from anticollapse.training import PairScorer

FloatArray = NDArray[np.float64]

MEASURED = ("dev", "test")
UNRELATED_PAIRS = 1000
"""Random pairs that a scorer of pairs is asked about, as it has no vectors."""


@dataclass(frozen=True)
class Scored:
    """What an encoder, or a scorer of pairs, gives for a set.

    Attributes:
        scores: Grades, (n,).
        cosines: One for each pair, (n,).
        unrelated: Mean cosine of unrelated sentences, or None.
        rank: Effective rank, or None for a scorer of pairs.
        n_sentences: Sentences (or random pairs) behind the last two.
        undefined: Why a measure is None.
    """

    scores: FloatArray
    cosines: FloatArray
    unrelated: float | None
    rank: float | None
    n_sentences: int
    undefined: Mapping[str, str]


def encoder_cosines(encoder: Encoder, pairs: PairSet) -> Scored:
    """Cosines of an encoder, computed in float32."""
    pairs.require_pairs()
    assert pairs.index2 is not None
    vectors = encoder.encode(pairs.sentences).vectors
    found = {m.key: m for m in (mean_unrelated_cosine(vectors), effective_rank(vectors))}
    return Scored(
        pairs.require_scores(),
        pair_cosines(vectors, pairs.index1, pairs.index2),
        found["mean_unrelated_cosine"].value,
        found["effective_rank"].value,
        len(vectors),
        {key: m.undefined for key, m in found.items() if m.value is None},
    )


def scorer_cosines(scorer: PairScorer, pairs: PairSet) -> Scored:
    """Scores of a scorer of pairs; its unrelated sentences are random pairs, always the same ones."""
    first, second = pairs.require_pairs()
    cosines = scorer.score(first, second)
    sentences = pairs.sentences
    drawn = np.random.default_rng(0).integers(0, len(sentences), (2, UNRELATED_PAIRS))
    drawn = drawn[:, drawn[0] != drawn[1]]
    random = scorer.score([sentences[i] for i in drawn[0]], [sentences[i] for i in drawn[1]])
    undefined = {"effective_rank": "undefined because a scorer of pairs gives no vectors"}
    mean = float(random.mean()) if len(random) else None
    return Scored(pairs.require_scores(), cosines, mean, None, len(random), undefined)


def measure(scored: Scored) -> dict[str, Any]:
    """All measures of one set, plain JSON types; Spearman and Pearson × 100."""
    y, c = scored.scores, scored.cosines
    why = why_undefined(y, c)
    undefined = dict(scored.undefined)
    if why:
        undefined |= dict.fromkeys(("spearman", "pearson"), f"undefined because {why}")
    same, unrelated = y >= SAME_FROM, y <= UNRELATED_TO
    spread = float(c[same].mean() - c[unrelated].mean()) if same.any() and unrelated.any() else None
    if spread is None:
        undefined["spread"] = "undefined because there are no pairs graded 4 and up, or none graded 1 and below"
    values = {
        "spearman": None if why else 100 * correlation_of(y, c, "spearman"),
        "pearson": None if why else 100 * correlation_of(y, c, "pearson"),
        "mean_unrelated_cosine": scored.unrelated,
        "effective_rank": scored.rank,
        "spread": spread,
        "n_pairs": len(y),
        "n_sentences": scored.n_sentences,
        "undefined": undefined,
    }
    return dict(to_plain(values))


def save_arrays(file: Path, arrays: Mapping[str, FloatArray]) -> None:
    """Write one array for each split atomically.

    Raises:
        OSError: If they cannot be written.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **dict(arrays))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def read_arrays(file: Path) -> dict[str, FloatArray]:
    """What :func:`save_arrays` wrote.

    Raises:
        RunError: If it cannot be read.
    """
    try:
        with np.load(file, allow_pickle=False) as found:
            return {split: np.asarray(found[split], dtype=np.float64) for split in MEASURED}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise RunError(
            f"the file cannot be read ({type(error).__name__}: {error})",
            where=str(file),
            remedy="Delete the run's folder and run the study again",
        ) from error
