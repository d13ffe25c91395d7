"""Which text a training-free cure is fitted on, and whether sentences it is judged on are among it."""

from __future__ import annotations

from collections.abc import Sequence

from anticollapse.cures.fitting import CuredEncoder, Fit
from anticollapse.data import CHINESE_SET, SOURCES, PairSet, at_hand, load_pairs, mostly_chinese
from anticollapse.encoding import Encoder
from anticollapse.wording import count


def fit_source(pairs: str, sentences: Sequence[str] = ()) -> str:
    """The name of the training text that belongs to a set.

    A mean that is right for one language is wrong for another, so a Chinese file gets Chinese text: that of the named
    set where it is at hand, else its own sentences.

    Args:
        pairs: A named set, with or without a split, or a file.
        sentences: Of the file, where they are known.

    Returns:
        ``NAME:train`` for a named set, also for ``NAME:train`` itself (:func:`fit_overlap` tells); ``demo:train`` for a
        file, whose own rows are what the cure is judged on, or what is said above.
    """
    name = pairs.partition(":")[0]
    if name in SOURCES:
        return f"{name}:train"
    if not mostly_chinese(sentences):
        return "demo:train"
    # Nothing is downloaded for a default that nobody asked for.
    return f"{CHINESE_SET}:train" if at_hand(CHINESE_SET, "train") else pairs


def fit_pairs(pairs: str) -> PairSet:
    """The training text of :func:`fit_source`, read.

    Raises:
        DataError: It is not to be had here.
    """
    return load_pairs(fit_source(pairs))


def fit_overlap(fitted: Sequence[str], judged: Sequence[str]) -> int:
    """How many different sentences that a cure is judged on are among those it was fitted on.

    Args:
        fitted: Text of the fit.
        judged: Sentences of the measures.
    """
    return len(set(fitted) & set(judged))


def overlap_note(overlap: int, judged: int, *, use: str = "is judged on here, so it looks better than it is") -> str:
    """The overlap as a sentence; empty when there is none.

    Args:
        overlap: Of :func:`fit_overlap`.
        judged: Different sentences that are judged.
        use: What is done with them, to complete "the different sentences it …".
    """
    if not overlap:
        return ""
    return f"The cure was fitted on {overlap:,} of the {judged:,} different sentences it {use}."


def fit_sentence(encoder: Encoder) -> str:
    """What an encoder's cures were fitted on, as a sentence; empty for one without cures.

    Args:
        encoder: Of :func:`~anticollapse.cures.open_encoder`.
    """
    if not isinstance(encoder, CuredEncoder):
        return ""
    fit = text_fit(encoder)
    if fit is None:
        return f"{encoder.name} was fitted on nothing: it needs no text."
    source = f" of {fit.source}" if fit.source else ""
    return f"{encoder.name} was fitted on the {count(fit.n_sentences, 'different sentence')}{source}."


def text_fit(encoder: Encoder) -> Fit | None:
    """The first fit on text of an encoder's cures, which all have the same text; None where none read any."""
    fits = encoder.fits if isinstance(encoder, CuredEncoder) else ()
    return next((fit for fit in fits if fit.n_sentences), None)
