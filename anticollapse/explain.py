"""Why an encoder collapses on a set, and why a pair has its cosine: for the command line and the Tokens page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anticollapse.data import PairSet
from anticollapse.encoding import (
    EmbeddingCache,
    Encoder,
    TokenCounts,
    TokenEmbeddings,
    count_tokens,
    exact_obstacle,
    token_parts,
)
from anticollapse.encoding.encoder import Cancelled, Progress
from anticollapse.encoding.parts import split_into_parts
from anticollapse.errors import CancelledError
from anticollapse.measures import (
    Measure,
    dimension_contributions,
    linked_groups,
    mean_unrelated_cosine,
    rogue_dimensions,
)
from anticollapse.measures.attribution import Attribution, attribute
from anticollapse.measures.removal import DEFAULT_KS, RemovalCurve, RemovalSweep
from anticollapse.measures.result import to_plain
from anticollapse.measures.tokens import TokenUse, TokenUseSweep

PAIRS_AT_ONCE = 1000
"""Pairs whose token vectors are in memory together: about 100 MB for 768 dimensions; a tenth of it for all layers."""

TOLERANCE = 1e-5
"""Largest difference between the sum of contributions and the encoder's cosine that rounding explains."""

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Anisotropy:
    """The common direction of the sentence vectors, which is not the same thing as the dominance of frequent tokens.

    Attributes:
        mean_cosine: Mean cosine of unrelated sentences.
        rogue: Share of the three dimensions that contribute most to it.
        contributions: ``(d,)`` contribution of each dimension to it; empty when it is undefined.
    """

    mean_cosine: Measure
    rogue: Measure
    contributions: NDArray[np.float64]


@dataclass(frozen=True)
class TokenReport:
    """Which tokens make the sentence vectors of one encoder on one set, and what leaving them out does.

    Attributes:
        encoder: Its name.
        digest: What identifies its vectors.
        pairs: Name of the set.
        counts: Frequencies that rank the tokens.
        use: Contributions by token type and frequency band; None where ``use_obstacle`` says why.
        curves: Removal curves, with special tokens in the mean and without; empty where ``curve_obstacle`` says why.
        layers: The curve (special tokens in) of each layer, 0 = the embeddings; empty when not asked for.
        anisotropy: The common direction.
        use_obstacle: Why contributions would not be exact for this encoder.
        curve_obstacle: Why tokens cannot be left out for this encoder.
        curve_note: Why the curves end early, as a sentence; empty where they do not.
    """

    encoder: str
    digest: str
    pairs: str
    counts: TokenCounts | None
    use: TokenUse | None
    curves: tuple[RemovalCurve, ...]
    layers: tuple[RemovalCurve, ...]
    anisotropy: Anisotropy
    use_obstacle: str = ""
    curve_obstacle: str = ""
    curve_note: str = ""

    def to_json(self, *, top: int = 50) -> dict[str, Any]:
        """Plain JSON types, with the ``top`` most dominant token types."""
        return {
            "encoder": self.encoder,
            "digest": self.digest,
            "pairs": self.pairs,
            "frequencies": None if self.counts is None else self.counts.source,
            "tokens": None if self.use is None else self.use.to_json(top=top),
            "tokens_undefined": self.use_obstacle,
            "removal": [curve.to_json() for curve in self.curves],
            "removal_undefined": self.curve_obstacle,
            "removal_note": self.curve_note,
            "removal_by_layer": [curve.to_json() for curve in self.layers],
            "anisotropy": {
                "mean_unrelated_cosine": self.anisotropy.mean_cosine.to_json(),
                "rogue_dimensions": self.anisotropy.rogue.to_json(),
                "contributions": to_plain(self.anisotropy.contributions),
            },
        }


@dataclass(frozen=True)
class PairExplanation:
    """Why two sentences have their cosine under one encoder.

    Attributes:
        encoder: Its name.
        sentence1: First sentence.
        sentence2: Second sentence.
        cosine: The encoder's own cosine; None when a vector is zero.
        attribution: The exact sum over token pairs; None where ``obstacle`` says why.
        obstacle: Why there is none.
        truncated: Whether each sentence is longer than the encoder reads, so that its end has no tokens here.
    """

    encoder: str
    sentence1: str
    sentence2: str
    cosine: float | None
    attribution: Attribution | None
    obstacle: str = ""
    truncated: tuple[bool, bool] = (False, False)

    @property
    def cut_note(self) -> str:
        """Which sentences were cut, as a sentence; empty when none was."""
        which = [name for name, cut in zip(("first", "second"), self.truncated, strict=True) if cut]
        if not which:
            return ""
        noun, own = ("sentences are", "their ends were") if len(which) > 1 else ("sentence is", "its end was")
        return f"The {' and the '.join(which)} {noun} longer than {self.encoder} reads: {own} not read."

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        found = self.attribution
        matrix: dict[str, Any] = {}
        if found is not None:
            matrix = {
                "tokens1": list(found.tokens1),
                "tokens2": list(found.tokens2),
                "contributions": to_plain(found.matrix),
                "sum": found.cosine,
                "special_sum": found.special_sum,
            }
        return {
            "encoder": self.encoder,
            "sentence1": self.sentence1,
            "sentence2": self.sentence2,
            "cosine": self.cosine,
            "undefined": self.obstacle,
            "truncated": list(self.truncated),
            **matrix,
        }


def explain_pair(
    encoder: Encoder, sentence1: str, sentence2: str, *, cache: EmbeddingCache | None = None
) -> PairExplanation:
    """Explain the cosine of two sentences by their token pairs.

    Args:
        encoder: The encoder.
        sentence1: First sentence.
        sentence2: Second sentence.
        cache: Sentence vectors on disk.

    Returns:
        The explanation; without a matrix where it would not be exact (another pooling than a mean, a module that is not
        linear), or where the sum is not the encoder's cosine to within rounding.
    """
    pair = (sentence1, sentence2)
    encoded = encoder.encode(pair, cache=cache)
    vectors, cut = encoded.vectors.astype(np.float64), (bool(encoded.truncated[0]), bool(encoded.truncated[1]))
    norms = np.linalg.norm(vectors, axis=1)
    cosine = float(np.clip(vectors[0] @ vectors[1] / norms.prod(), -1, 1)) if norms.all() else None
    obstacle = exact_obstacle(encoder)
    if obstacle:
        return PairExplanation(encoder.name, *pair, cosine, None, obstacle, cut)
    attribution = attribute(token_parts(encoder, pair))
    if attribution.cosine is None or cosine is None:
        return PairExplanation(encoder.name, *pair, None, None, attribution.undefined, cut)
    off = abs(attribution.cosine - cosine)
    # Contributions are computed in float32 even where the encoder uses bfloat16: then theirs is the exact cosine.
    if off > TOLERANCE and encoder.precision == "float32":
        obstacle = (
            f"the contributions of {encoder.name} sum to {attribution.cosine:.5f}, not to its cosine {cosine:.5f}"
        )
        return PairExplanation(encoder.name, *pair, cosine, None, obstacle, cut)
    return PairExplanation(encoder.name, *pair, cosine, attribution, truncated=cut)


def examine_tokens(
    encoder: Encoder,
    pairs: PairSet,
    *,
    counts: TokenCounts | None = None,
    ks: Sequence[int] | None = None,
    by_layer: bool = False,
    cache: EmbeddingCache | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> TokenReport:
    """Find out which tokens make the sentence vectors, and what leaving the frequent ones out does.

    Token vectors are computed once, for some pairs at a time, and serve all of it.

    Args:
        encoder: The encoder.
        pairs: Pairs with or without labels, or single sentences (then there is no Spearman).
        counts: Frequencies that rank the tokens; default: those of the sentences of ``pairs``.
        ks: Numbers of tokens left out; default: up to 200, or as many as there are.
        by_layer: Also compute the curve of every layer.
        cache: Sentence vectors on disk.
        seed: Seed of every resampling.
        progress: Called with (sentences done, sentences).
        cancelled: Asked between batches.

    Raises:
        CancelledError: ``cancelled`` said so.
        EncoderError: The encoder gives vectors that are not finite.
    """
    sentences = pairs.sentences
    vectors = encoder.encode(sentences, cache=cache, cancelled=cancelled).vectors
    first, second = _index(pairs)
    groups = linked_groups(len(sentences), first, second) if len(first) else None
    anisotropy = _anisotropy(vectors, groups)
    use_obstacle = exact_obstacle(encoder)
    has_tokens = encoder.transformer is not None and encoder.transformer.tokenizer is not None
    curve_obstacle = encoder.path.obstacle if has_tokens else use_obstacle
    if curve_obstacle:
        return TokenReport(
            encoder.name, encoder.digest, pairs.name, None, None, (), (), anisotropy, use_obstacle, curve_obstacle
        )
    if counts is None:
        counts = count_tokens(encoder, sentences, source=pairs.name, cancelled=cancelled)
    ks, note = _ks(ks, len(counts.ranking), counts.source)
    use = None if use_obstacle else TokenUseSweep(counts)
    sweeps = [RemovalSweep(encoder.path, counts, ks=ks, without_specials=own) for own in (False, True)]
    n_layers = int(encoder.transformer.config.num_hidden_layers) if by_layer and encoder.transformer else -1
    layers = [RemovalSweep(encoder.path, counts, ks=ks, layer=layer) for layer in range(n_layers + 1)]
    order: list[int] = []
    at_once = PAIRS_AT_ONCE // 5 if by_layer else PAIRS_AT_ONCE
    for numbers, new, rows in _chunks(first, second, len(sentences), at_once):
        if cancelled is not None and cancelled():
            raise CancelledError("the token analysis was stopped")
        texts = [sentences[i] for i in numbers]
        tokens = encoder.encode_tokens(texts, cancelled=cancelled)
        if use is not None:
            use.add(split_into_parts(encoder, tokens.select(np.flatnonzero(new))))
        order += numbers[new].tolist()
        local = np.searchsorted(numbers, first[rows]), np.searchsorted(numbers, second[rows])
        for sweep in sweeps:
            sweep.add(tokens, *local, new=new)
        if layers:
            _add_layers(encoder, texts, layers, local, new, cancelled)
        if progress is not None:
            progress(len(order), len(sentences))
    found = None if use is None else use.finish(None if groups is None else groups[order], seed=seed)
    return TokenReport(
        encoder=encoder.name,
        digest=encoder.digest,
        pairs=pairs.name,
        counts=counts,
        use=found,
        curves=tuple(sweep.finish(pairs.scores) for sweep in sweeps),
        layers=tuple(sweep.finish(pairs.scores) for sweep in layers),
        anisotropy=anisotropy,
        use_obstacle=use_obstacle,
        curve_note=note,
    )


def _ks(asked: Sequence[int] | None, types: int, source: str) -> tuple[Sequence[int], str]:
    """The k of the curves, by default none above the number of token types, and what to say where that ends them."""
    if asked is not None or types >= DEFAULT_KS[-1]:
        return DEFAULT_KS if asked is None else asked, ""
    note = f"The curves end at k = {types}: {source} holds no more different tokens, special ones aside."
    return (*(k for k in DEFAULT_KS if k < types), types), note


def _add_layers(
    encoder: Encoder,
    texts: list[str],
    sweeps: list[RemovalSweep],
    local: tuple[IntArray, IntArray],
    new: NDArray[np.bool_],
    cancelled: Cancelled | None,
) -> None:
    tokens: TokenEmbeddings = encoder.encode_tokens(texts, layers=range(len(sweeps)), cancelled=cancelled)
    for sweep in sweeps:
        sweep.add(tokens, *local, new=new)


def _chunks(
    first: IntArray, second: IntArray, n: int, at_once: int
) -> Iterator[tuple[IntArray, NDArray[np.bool_], slice]]:
    """Some pairs at a time: their sentences (ascending), which of them are new, and the pairs."""
    seen = np.zeros(n, bool)
    for start in range(0, len(first), at_once):
        rows = slice(start, start + at_once)
        numbers = np.unique(np.concatenate([first[rows], second[rows]]))
        new = ~seen[numbers]
        seen[numbers] = True
        yield numbers, new, rows
    rest = np.flatnonzero(~seen)  # single sentences, and sentences of no pair
    for start in range(0, len(rest), 2 * at_once):
        numbers = rest[start : start + 2 * at_once]
        yield numbers, np.ones(len(numbers), bool), slice(0, 0)


def _index(pairs: PairSet) -> tuple[IntArray, IntArray]:
    if pairs.index2 is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.asarray(pairs.index1, np.int64), np.asarray(pairs.index2, np.int64)


def _anisotropy(vectors: NDArray[np.float32], groups: IntArray | None) -> Anisotropy:
    mean = mean_unrelated_cosine(vectors, groups=groups)
    contributions = dimension_contributions(vectors) if mean.defined else np.empty(0)
    return Anisotropy(mean, rogue_dimensions(vectors, groups=groups), contributions)
