"""The one list of training-free cures, and encoders called ``BASE+CURE``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from torch import nn

from anticollapse.cures import linear
from anticollapse.encoding import EmbeddingCache, Encoder, Precision, load_encoder
from anticollapse.encoding.encoder import Cancelled, Progress
from anticollapse.errors import OptionError

SEPARATOR = "+"


@dataclass(frozen=True)
class Cure:
    """A training-free cure.

    Attributes:
        name: What the user writes: ``raw-mini+centring``.
        title: What the interface shows after the encoder's name.
        summary: One plain sentence.
        paper: Where it comes from.
        fit: Sentence vectors ``(N, d)`` of unlabelled text to a module behind the encoder.
    """

    name: str
    title: str
    summary: str
    paper: str
    fit: Callable[[NDArray[np.float32]], nn.Module]


CURES: dict[str, Cure] = {
    cure.name: cure
    for cure in (
        Cure(
            "centring",
            "centred",
            "Subtracts the mean sentence vector, which is the same in every sentence.",
            "Arora et al. 2017; Mu and Viswanath 2018",
            linear.centring,
        ),
    )
}


class CureName(NamedTuple):
    """``raw-mini+centring`` in two parts; ``cure`` is empty for a plain encoder."""

    base: str
    cure: str


def split_name(name: str) -> CureName:
    """Split ``BASE+CURE``.

    Raises:
        OptionError: There is no such cure.
    """
    base, separator, cure = name.rpartition(SEPARATOR)
    if not separator:
        return CureName(name, "")
    if cure not in CURES:
        raise OptionError(f'there is no cure called "{cure[:80]}"', remedy=f"Cures are: {', '.join(CURES)}")
    return CureName(base, cure)


def cure_encoder(
    base: Encoder,
    name: str,
    sentences: Sequence[str],
    *,
    cache: EmbeddingCache | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Encoder:
    """Fit a cure.

    Args:
        base: The encoder to cure; it is not changed.
        name: A key of :data:`CURES`.
        sentences: Unlabelled text to fit on; never the pairs that the cure is judged on. Duplicates count once.
        cache: Sentence vectors on disk.
        progress: Called with (sentences done, sentences).
        cancelled: Asked between batches.

    Returns:
        An encoder with the base's modules and the fitted one.

    Raises:
        OptionError: No such cure, or too little text.
    """
    cure = CURES[split_name(f"{base.name}{SEPARATOR}{name}").cure]
    distinct = sorted(set(sentences))  # the order of the text must not change the digest
    vectors = base.encode(distinct, cache=cache, progress=progress, cancelled=cancelled).vectors
    module = cure.fit(vectors)
    model = SentenceTransformer(modules=[*base.model, module], device=str(base.device))
    model.eval()
    text = hashlib.sha256("\0".join(distinct).encode("utf-8", "surrogatepass")).hexdigest()
    digest = hashlib.sha256(f"{base.digest}/{name}/{text}".encode()).hexdigest()
    return Encoder(model, name=f"{base.name}{SEPARATOR}{name}", digest=digest, precision=base.precision, base=base)


def open_encoder(
    name: str,
    fit_text: Callable[[], Sequence[str]],
    *,
    root: Path | None = None,
    confined: bool = False,
    device: str | None = None,
    precision: Precision = "float32",
    cache: EmbeddingCache | None = None,
    progress: Progress | None = None,
) -> Encoder:
    """Open ``BASE`` or ``BASE+CURE``.

    Args:
        name: An encoder, optionally with a cure that is fitted on demand.
        fit_text: Gives the unlabelled text; asked only when there is a cure.
        root: See :func:`~anticollapse.encoding.load_encoder`, as are the next three.
        confined: Accept no folder outside the root.
        device: Where to compute.
        precision: Number format.
        cache: Sentence vectors on disk.
        progress: Called while the cure's text is encoded.

    Raises:
        EncoderError: The base cannot be loaded.
        OptionError: There is no such cure.
    """
    base, cure = split_name(name)
    encoder = load_encoder(base, root=root, confined=confined, device=device, precision=precision)
    return cure_encoder(encoder, cure, fit_text(), cache=cache, progress=progress) if cure else encoder
