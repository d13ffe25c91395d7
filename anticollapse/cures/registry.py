"""The one list of training-free cures, and encoders called ``BASE+CURE``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from anticollapse.cures import layers, linear, tokens
from anticollapse.cures.cure import (
    SEPARATOR,
    Cure,
    LayerStep,
    Parameter,
    Prescription,
    SentenceStep,
    TokenStep,
    parse_prescription,
)
from anticollapse.cures.fitting import CuredEncoder, FitText, apply_cure
from anticollapse.encoding import EmbeddingCache, Encoder, Precision, TokenCounts, load_encoder
from anticollapse.encoding.encoder import Cancelled, Progress

CURES: dict[str, Cure] = {
    cure.name: cure
    for cure in (
        Cure(
            "centring",
            "centred",
            "Subtracts the mean sentence vector, which is the same in every sentence.",
            "Mu and Viswanath 2018",
            "https://arxiv.org/abs/1702.01417",
            (SentenceStep(linear.centring),),
        ),
        Cure(
            "standardising",
            "standardised",
            "Gives every dimension mean 0 and variance 1, so that no few dimensions decide every cosine.",
            "Timkey and van Schijndel 2021",
            "https://aclanthology.org/2021.emnlp-main.372",
            (SentenceStep(linear.standardising),),
        ),
        Cure(
            "whitening",
            "whitened",
            "Makes all directions vary alike and independently, and keeps the k that varied most.",
            "Su et al. 2021",
            "https://arxiv.org/abs/2103.15316",
            (SentenceStep(linear.whitening),),
            (Parameter("k", "Dimensions that are kept.", None, 1, automatic="half of the encoder's dimensions"),),
        ),
        Cure(
            "all-but-the-top",
            "without its top directions",
            "Subtracts the mean and the d directions in which sentences vary most.",
            "Mu and Viswanath 2018",
            "https://arxiv.org/abs/1702.01417",
            (SentenceStep(linear.all_but_the_top),),
            (Parameter("d", "Directions that are removed.", None, 0, automatic="one for every 100 dimensions"),),
        ),
        Cure(
            "sif",
            "SIF-weighted",
            "Weighs rare tokens more than frequent ones, then removes the direction that all sentences share.",
            "Arora et al. 2017",
            "https://openreview.net/forum?id=SyK00v5xx",
            (TokenStep(tokens.sif, weighs_specials=True), SentenceStep(linear.without_common_component)),
            (
                Parameter("a", "Smoothing: the smaller, the less frequent tokens count.", 1e-3, 1e-9, 1e3, whole=False),
                Parameter("components", "Shared directions that are removed.", 1, 0),
            ),
        ),
        Cure(
            "drop-frequent",
            "without frequent tokens",
            "Leaves the k most frequent tokens out of the mean.",
            "Yan et al. 2021",
            "https://aclanthology.org/2021.acl-long.393",
            (TokenStep(tokens.drop_frequent),),
            (
                Parameter("k", "Most frequent tokens that are left out.", 34, 0, 1e6),
                Parameter("specials", "1 leaves out [CLS], [SEP] and the like as well.", 0, 0, 1),
            ),
        ),
        Cure(
            "first-last",
            "first-last average",
            "Averages the first and the last layer instead of taking the last one alone.",
            "Su et al. 2021; Li et al. 2020",
            "https://arxiv.org/abs/2103.15316",
            (LayerStep(layers.first_last),),
            (Parameter("first", "1 is the first transformer layer, 0 the embeddings.", 1, 0, 1e3),),
        ),
    )
}


class CureName(NamedTuple):
    """``raw-mini+first-last+whitening:k=128`` in two parts; ``cure`` is empty for a plain encoder."""

    base: str
    cure: str


def split_name(name: str) -> CureName:
    """Split ``BASE+CURE``, where CURE may be several cures in the order in which they are applied.

    A ``+`` before the last ``/`` belongs to a folder's name.

    Raises:
        OptionError: There is no such cure, or it has no such parameter.
    """
    folder, slash, last = name.rpartition("/")
    base, *cures = last.split(SEPARATOR)
    return CureName(folder + slash + base, SEPARATOR.join(parse_prescription(part, CURES).text for part in cures))


def prescriptions(chain: str) -> tuple[Prescription, ...]:
    """The cures in ``first-last+whitening:k=128``; none in an empty text.

    Raises:
        OptionError: There is no such cure, or it has no such parameter.
    """
    return tuple(parse_prescription(part, CURES) for part in chain.split(SEPARATOR)) if chain else ()


def display_name(name: str) -> str:
    """An encoder's name for people: ``raw-mini, whitened (k = 128)``.

    Raises:
        OptionError: There is no such cure, or it has no such parameter.
    """
    base, chain = split_name(name)
    parts = [base]
    for prescription in prescriptions(chain):
        given = prescription.text.partition(":")[2].replace("=", " = ").replace(",", ", ")
        parts.append(f"{prescription.cure.title} ({given})" if given else prescription.cure.title)
    return ", ".join(parts)


def cure_encoder(
    base: Encoder,
    name: str,
    sentences: Sequence[str],
    *,
    source: str = "",
    counts: TokenCounts | None = None,
    cache: EmbeddingCache | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> CuredEncoder:
    """Fit one cure, or several one after the other.

    Args:
        base: The encoder to cure; it is not changed.
        name: ``whitening:k=128``, or several joined by ``+``: layers first, then tokens, then sentence vectors.
        sentences: Unlabelled text to fit on; never the pairs that the cure is judged on. Duplicates count once, order
            does not matter, and their vectors are not kept in memory.
        source: What the text is called, for the model card.
        counts: Token counts to use instead of the text's own (a reference count); where it holds no special tokens, SIF
            takes their frequency from the text.
        cache: Sentence vectors on disk.
        progress: Called with (sentences done, sentences), from 0 again for each step that reads vectors.
        cancelled: Asked between batches.

    Returns:
        An encoder with the base's modules and the fitted ones.

    Raises:
        OptionError: No such cure or parameter, a wrong order, or too little text.
        EncoderError: The cure does not fit this encoder.
        CancelledError: ``cancelled`` said so.
    """
    chain = prescriptions(name)
    if not chain:
        parse_prescription("", CURES)  # says which cures there are
    text = FitText.of(sentences, source)
    encoder = base
    for prescription in chain:
        encoder = apply_cure(
            encoder, prescription, text, counts=counts, cache=cache, progress=progress, cancelled=cancelled
        )
    assert isinstance(encoder, CuredEncoder)
    return encoder


def open_encoder(
    name: str,
    fit_text: Callable[[], Sequence[str]],
    *,
    root: Path | None = None,
    confined: bool = False,
    device: str | None = None,
    precision: Precision = "float32",
    source: str = "",
    cache: EmbeddingCache | None = None,
    progress: Progress | None = None,
) -> Encoder:
    """Open ``BASE`` or ``BASE+CURE``.

    Args:
        name: An encoder, optionally with cures that are fitted on demand.
        fit_text: Gives the unlabelled text; asked only when a cure is fitted on text.
        root: See :func:`~anticollapse.encoding.load_encoder`, as are the next three.
        confined: Accept no folder outside the root.
        device: Where to compute.
        precision: Number format.
        source: What the text is called, for :attr:`Fit.source`.
        cache: Sentence vectors on disk.
        progress: Called while the cure's text is encoded.

    Raises:
        EncoderError: The base cannot be loaded, or the cure does not fit it.
        OptionError: There is no such cure.
    """
    base, chain = split_name(name)
    encoder = load_encoder(base, root=root, confined=confined, device=device, precision=precision)
    if not chain:
        return encoder
    needs_text = any(prescription.cure.needs_text for prescription in prescriptions(chain))
    text = fit_text() if needs_text else ()
    return cure_encoder(encoder, chain, text, source=source, cache=cache, progress=progress)
