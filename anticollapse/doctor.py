"""Sentence pairs and an encoder in, the whole diagnosis out: what the command line and the Collapse page both show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from anticollapse.data import PairSet, mostly_chinese
from anticollapse.encoding import EmbeddingCache, Encoder, list_encoders
from anticollapse.encoding.encoder import Cancelled, Progress
from anticollapse.measures import Diagnosis, diagnose, sample_unrelated_cosines

UNKNOWN_SAMPLE = 5_000
"""Sentences that are tokenised again to see how much of them the vocabulary knows."""

COLLAPSED, PARTLY = 0.5, 0.2
"""Mean cosines of unrelated sentences from which on an encoder is called collapsed, or partly so.

No paper draws such lines, they are ours: raw-mini has 0.61 on the demo pairs, 0.58 on STS-B, and 0.02 at most once
centred.
"""

FEW = 10
"""Fewer sentences lie along few lines anyway."""

UNKNOWN_WORTH_SAYING = 0.05
"""Share of unknown tokens from which on readers should know of it."""
CHINESE = "raw-mini-zh"
"""The embedded encoder that reads Chinese."""

UNREADABLE = 0.25
"""Share of unknown tokens from which on alike vectors say more of the vocabulary than of a collapse."""

State = Literal["collapsed", "partly collapsed", "not collapsed", "unknown"]

UNRELATED_SAMPLE = 100_000
"""Random pairs of the histogram; the mean itself is exact over all pairs."""


@dataclass(frozen=True)
class Report:
    """What was found about one encoder on one set.

    Attributes:
        encoder: Its name.
        digest: What identifies its vectors.
        pairs: Name of the set.
        diagnosis: The measures, with the cosine of each pair.
        unrelated: Cosines of random pairs of different sentences, for a histogram.
        truncated: ``(n,)`` whether one of the row's sentences was longer than the encoder reads.
        max_tokens: Tokens the encoder reads, or None.
        unknown_share: Share of the tokens (special ones aside) that the vocabulary does not know; None where it cannot
            be told.
        seed: Seed of every resampling and sampling.
        dim: Length of a sentence vector; 0 where nobody said.
    """

    encoder: str
    digest: str
    pairs: str
    diagnosis: Diagnosis
    unrelated: NDArray[np.float64]
    truncated: NDArray[np.bool_]
    max_tokens: int | None
    unknown_share: float | None
    seed: int
    dim: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types: :meth:`anticollapse.measures.Diagnosis.to_json` and where the numbers come from."""
        return {
            "encoder": self.encoder,
            "digest": self.digest,
            "pairs": self.pairs,
            "truncated": int(self.truncated.sum()),
            "max_tokens": self.max_tokens,
            "dim": self.dim,
            "unknown_share": self.unknown_share,
            "seed": self.seed,
            **self.diagnosis.to_json(),
        }


def examine(
    encoder: Encoder,
    pairs: PairSet,
    *,
    cache: EmbeddingCache | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Report:
    """Encode the sentences of a set and measure everything that the set allows.

    Args:
        encoder: The encoder.
        pairs: Pairs with or without labels, or single sentences.
        cache: Sentence vectors on disk.
        seed: Seed of every resampling and sampling.
        progress: Called with (sentences done, sentences).
        cancelled: Asked between batches.

    Raises:
        CancelledError: ``cancelled`` said so.
        EncoderError: The encoder gives vectors that are not finite.
    """
    encoded = encoder.encode(pairs.sentences, cache=cache, progress=progress, cancelled=cancelled)
    second = pairs.index2
    first = pairs.index1 if second is not None else None
    diagnosis = diagnose(encoded.vectors, first, second, pairs.scores, seed=seed)
    truncated = encoded.truncated[pairs.index1]
    if second is not None:
        truncated = truncated | encoded.truncated[second]
    return Report(
        encoder=encoder.name,
        digest=encoder.digest,
        pairs=pairs.name,
        diagnosis=diagnosis,
        unrelated=sample_unrelated_cosines(encoded.vectors, n_pairs=UNRELATED_SAMPLE, seed=seed),
        truncated=truncated,
        max_tokens=encoder.max_tokens,
        unknown_share=unknown_share(encoder, pairs.sentences[:UNKNOWN_SAMPLE]),
        seed=seed,
        dim=encoder.dim,
    )


@dataclass(frozen=True)
class Verdict:
    """Whether an encoder collapses.

    Attributes:
        state: In two words; "unknown" where it cannot be told.
        text: In full sentences, with the numbers.
    """

    state: State
    text: str

    def to_json(self) -> dict[str, str]:
        """Plain JSON types."""
        return {"state": self.state, "text": self.text}


def judge(report: Report) -> Verdict:
    """Whether an encoder collapses: all sentences in one direction, or along one line.

    Args:
        report: What :func:`examine` found.
    """
    mean, line = report.diagnosis["mean_unrelated_cosine"], report.diagnosis["first_component_share"]
    if mean.value is None:
        return Verdict(
            "unknown",
            f"Whether {report.encoder} collapses cannot be told, {mean.undefined.removeprefix('undefined ')}.",
        )
    if (report.unknown_share or 0) > UNREADABLE:
        why = f"{report.unknown_share:.0%} of the tokens are unknown to its vocabulary, and such sentences look alike"
        return Verdict("unknown", f"Whether {report.encoder} collapses cannot be told here: {why}.")
    shown = mean.describe().partition(", n = ")[0]
    found = f"unrelated sentences get a mean cosine of {shown} under {report.encoder} (0 is healthy)."
    if mean.value >= COLLAPSED:
        return Verdict("collapsed", f"Collapsed: {found}")
    if line.value is not None and line.value >= COLLAPSED and line.n >= FEW:
        text = f"Collapsed to one line: {line.value:.0%} of the sentence vectors of {report.encoder} lies along it."
        return Verdict("collapsed", text)
    if mean.value >= PARTLY:
        return Verdict("partly collapsed", f"Partly collapsed: {found}")
    rest = " There is nothing to cure."
    if report.diagnosis["spearman"].defined:
        rest += " Whether it orders the pairs as people do is another matter: Spearman, below, says so."
    return Verdict("not collapsed", f"Not collapsed: {found}{rest}")


def unknown_note(name: str, share: float | None, sentences: Sequence[str]) -> str:
    """What to say of a text that an encoder cannot read; empty where it can.

    Args:
        name: The encoder.
        share: Of :func:`unknown_share`.
        sentences: The text.
    """
    if (share or 0) <= UNKNOWN_WORTH_SAYING:
        return ""
    here = any(info.name == CHINESE for info in list_encoders())
    fits = here and mostly_chinese(sentences) and not name.startswith(CHINESE)
    return (
        f"{share:.0%} of the tokens of this text are unknown to {name}. Sentences of unknown tokens all look alike to "
        f"it; that is not the collapse. Choose an encoder of this language{f', such as {CHINESE}' if fits else ''}."
    )


def unknown_share(encoder: Encoder, sentences: Sequence[str]) -> float | None:
    """How much of a text the encoder cannot read.

    Different sentences of unknown tokens get the same vector, which looks like collapse and is none.

    Args:
        encoder: The encoder.
        sentences: The text.

    Returns:
        Share of the unknown token among all tokens that are not special; None without such a token, or without text.
    """
    tokenizer = None if encoder.transformer is None else encoder.transformer.tokenizer
    unknown = getattr(tokenizer, "unk_token_id", None)
    if tokenizer is None or unknown is None or not sentences:
        return None
    ids = encoder.tokenise(sentences).ids
    others = [token for token in tokenizer.all_special_ids if token != unknown]
    words = ids[~np.isin(ids, others)]
    return float((words == unknown).mean()) if len(words) else None
