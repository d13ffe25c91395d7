"""What is measured during a training, on the dev pairs, with the measures that every other part of the package uses."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from anticollapse.data import PairSet
from anticollapse.encoding import Encoder
from anticollapse.encoding.batching import batches
from anticollapse.measures import effective_rank, mean_unrelated_cosine, pair_cosines, std_sqrt_d
from anticollapse.measures.correlation import correlation_of, why_undefined
from anticollapse.training.data import Collator, Tokenizer, TrainingData
from anticollapse.training.system import System
from anticollapse.training.variant import Variant

FloatArray = NDArray[np.float64]

MAX_SENTENCES = 4000
"""Sentences that isotropy is measured on at most; more would cost time and no digit changes."""

TOKEN_BUDGET = 2048
"""Tokens a batch. More is no faster on a CPU, and what an evaluation takes at once adds to the training's peak
memory."""

SCORE_DECIMALS = 6
"""float32 gives no more; without rounding, pairs of equal sentences would be ranked by noise."""

UNRELATED_PAIRS = 1000
"""Random pairs that a scorer of pairs is asked about, as it has no vectors to measure."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Measures at one moment.

    Attributes:
        dev_spearman: Spearman × 100 of grades and cosines on the dev pairs, or None.
        mean_unrelated_cosine: Mean cosine of unrelated sentences, or None.
        std_sqrt_d: Mean standard deviation of the unit vectors' dimensions × √d, or None.
        effective_rank: Effective rank of the vectors, or None.
        n_pairs: Dev pairs with a grade.
        n_sentences: Sentences that isotropy was measured on.
        undefined: Why a measure is None, by name.
        finite: Whether all vectors (or scores) were numbers.
    """

    dev_spearman: float | None
    mean_unrelated_cosine: float | None
    std_sqrt_d: float | None
    effective_rank: float | None
    n_pairs: int
    n_sentences: int
    undefined: dict[str, str]
    finite: bool = True

    def to_json(self) -> dict[str, object]:
        """Plain JSON types."""
        return asdict(self)


class Evaluator:
    """Measures a system on dev pairs (or, without any, on a sample of the training sentences).

    Args:
        pairs: The dev pairs, or None.
        encoder: The backbone, for tokenising once.
        variant: What is trained.
        training: The training data, for when there are no dev pairs.
        seed: Which sentences are sampled.
    """

    def __init__(
        self, pairs: PairSet | None, encoder: Encoder, variant: Variant, training: TrainingData, *, seed: int
    ) -> None:
        random = np.random.default_rng([seed, 1])
        self.gives = variant.gives
        self.index1: NDArray[np.int64] | None = None
        self.index2: NDArray[np.int64] | None = None
        self.scores: FloatArray | None = None
        if pairs is None:
            self.data = training
        else:
            tokens = encoder.tokenise(pairs.sentences)
            items = np.arange(len(pairs.sentences))[:, None]
            self.data = TrainingData(tokens, Tokenizer.of(encoder), items, None, np.empty(0, np.int64))
            if pairs.index2 is not None:
                self.index1, self.index2, self.scores = pairs.index1, pairs.index2, pairs.scores
        n = self.data.n_sentences
        self.sample = np.sort(random.permutation(n)[:MAX_SENTENCES])
        self.unrelated = random.integers(0, n, (2, UNRELATED_PAIRS))
        self.collator = Collator(self.data, variant)

    @torch.no_grad()
    def __call__(self, system: System, device: torch.device) -> Evaluation:
        """Measure.

        Args:
            system: Put into evaluation mode meanwhile; the random state stays as it is.
            device: Where it is.
        """
        was_training = system.training
        system.eval()
        try:
            return self._scored(system, device) if self.gives == "pair scores" else self._encoded(system, device)
        finally:
            system.train(was_training)

    def _encoded(self, system: System, device: torch.device) -> Evaluation:
        wanted = self.sample if self.scores is None else np.arange(self.data.n_sentences)
        lengths = self.data.tokens.lengths[wanted]
        vectors: NDArray[np.float32] | None = None
        for part in batches(lengths, TOKEN_BUDGET):
            rows = self.collator.rows(wanted[part]).to(device)
            out = system.vectors(rows).cpu().numpy()
            if vectors is None:
                vectors = np.empty((len(wanted), out.shape[1]), np.float32)
            vectors[part] = out
        if vectors is None or not np.isfinite(vectors).all():
            return self._nothing("the vectors are not finite")
        spearman, why = None, "there are no graded dev pairs"
        if self.scores is not None and self.index1 is not None and self.index2 is not None:
            spearman, why = _spearman(self.scores, pair_cosines(vectors, self.index1, self.index2))
        isotropy = vectors if self.scores is None else vectors[self.sample]
        measured = {m.key: m for m in (mean_unrelated_cosine(isotropy), std_sqrt_d(isotropy), effective_rank(isotropy))}
        undefined = {key: m.undefined for key, m in measured.items() if m.value is None}
        if spearman is None:
            undefined["dev_spearman"] = f"undefined because {why}"
        return Evaluation(
            dev_spearman=spearman,
            mean_unrelated_cosine=measured["mean_unrelated_cosine"].value,
            std_sqrt_d=measured["std_sqrt_d"].value,
            effective_rank=measured["effective_rank"].value,
            n_pairs=0 if self.scores is None else len(self.scores),
            n_sentences=len(isotropy),
            undefined=undefined,
        )

    def _scored(self, system: System, device: torch.device) -> Evaluation:
        no_vectors = "undefined because a scorer of pairs gives no vectors"
        undefined = {"std_sqrt_d": no_vectors, "effective_rank": no_vectors}
        different = self.unrelated[:, self.unrelated[0] != self.unrelated[1]]
        unrelated = self._pair_scores(system, different[0], different[1], device)
        if not np.isfinite(unrelated).all():
            return self._nothing("the scores are not finite")
        spearman, why = None, "there are no graded dev pairs"
        if self.scores is not None and self.index1 is not None and self.index2 is not None:
            scores = self._pair_scores(system, self.index1, self.index2, device)
            if not np.isfinite(scores).all():
                return self._nothing("the scores are not finite")
            spearman, why = _spearman(self.scores, scores)
        if spearman is None:
            undefined["dev_spearman"] = f"undefined because {why}"
        if not len(unrelated):
            undefined["mean_unrelated_cosine"] = "undefined because there are no two different sentences"
        return Evaluation(
            dev_spearman=spearman,
            mean_unrelated_cosine=float(unrelated.mean()) if len(unrelated) else None,
            std_sqrt_d=None,
            effective_rank=None,
            n_pairs=0 if self.scores is None else len(self.scores),
            n_sentences=len(unrelated),
            undefined=undefined,
        )

    def _pair_scores(
        self, system: System, first: NDArray[np.int64], second: NDArray[np.int64], device: torch.device
    ) -> FloatArray:
        lengths = self.data.tokens.lengths
        scores = np.empty(len(first))
        for part in batches(np.maximum(lengths[first], lengths[second]), TOKEN_BUDGET // 2):
            rows = self.collator.rows(np.concatenate([first[part], second[part]])).to(device)
            scores[part] = system.pair_scores(rows).cpu().numpy()
        return scores.round(SCORE_DECIMALS)

    def _nothing(self, reason: str) -> Evaluation:
        names = ("dev_spearman", "mean_unrelated_cosine", "std_sqrt_d", "effective_rank")
        return Evaluation(
            dev_spearman=None,
            mean_unrelated_cosine=None,
            std_sqrt_d=None,
            effective_rank=None,
            n_pairs=0 if self.scores is None else len(self.scores),
            n_sentences=0,
            undefined=dict.fromkeys(names, f"undefined because {reason}"),
            finite=False,
        )


def _spearman(scores: FloatArray, cosines: FloatArray) -> tuple[float | None, str]:
    why = why_undefined(scores, cosines)
    return (None, why) if why else (100 * correlation_of(scores, cosines, "spearman"), "")
