"""Fit cures on text and put their modules into an encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer, WeightedLayerPooling, WordWeights
from torch import nn

from anticollapse.cures import layers, tokens
from anticollapse.cures.cure import SEPARATOR, Prescription, SentenceStep, Step, TokenStep, Values
from anticollapse.cures.moments import Moments
from anticollapse.encoding import EmbeddingCache, Encoder, Precision, TokenCounts, count_tokens
from anticollapse.encoding.encoder import CHUNK, Cancelled, Progress
from anticollapse.errors import EncoderError, OptionError


@dataclass(frozen=True)
class FitText:
    """Unlabelled text that cures are fitted on.

    Attributes:
        sentences: Distinct sentences in a fixed order, so that the order in which they came changes nothing.
        source: What the text is called.
        digest: SHA-256 of the sentences.
    """

    sentences: tuple[str, ...]
    source: str
    digest: str

    @classmethod
    def of(cls, sentences: Sequence[str], source: str = "") -> FitText:
        """From sentences in any order, with duplicates."""
        distinct = tuple(sorted(set(sentences)))
        digest = hashlib.sha256()
        for sentence in distinct:
            digest.update(sentence.encode("utf-8", "surrogatepass") + b"\0")
        return cls(distinct, source, digest.hexdigest())


@dataclass(frozen=True)
class Fit:
    """What a cure was fitted on.

    Attributes:
        prescription: The cure and its parameter values.
        n_sentences: Distinct sentences it was fitted on; 0 when it needs none.
        source: What they are called.
        text_digest: SHA-256 of them.
        counts: Where the token counts come from; empty when none were needed.
        counts_digest: SHA-256 of the reference count's file; empty when there was none.
    """

    prescription: Prescription
    n_sentences: int
    source: str
    text_digest: str
    counts: str = ""
    counts_digest: str = ""


class CuredEncoder(Encoder):
    """An encoder with cures, which remembers what they were fitted on.

    Args:
        model: All modules.
        name: ``BASE+CURE``.
        digest: Of base, cure and text.
        origin: The encoder before any cure.
        fits: The cures in order.
        precision: As :class:`~anticollapse.encoding.Encoder` takes it.
        base: As :class:`~anticollapse.encoding.Encoder` takes it; None when a cure changed the token vectors.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        name: str,
        digest: str,
        origin: Encoder,
        fits: tuple[Fit, ...],
        precision: Precision = "float32",
        base: Encoder | None = None,
    ) -> None:
        super().__init__(model, name=name, digest=digest, precision=precision, base=base)
        self.origin = origin
        self.fits = fits


def apply_cure(
    base: Encoder,
    prescription: Prescription,
    text: FitText,
    *,
    counts: TokenCounts | None = None,
    cache: EmbeddingCache | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> CuredEncoder:
    """Fit one cure and add its modules.

    Args:
        base: The encoder; it is not changed, and the result shares its weights.
        prescription: The cure and its values.
        text: What to fit on.
        counts: Token counts to use instead of the text's own (a reference count).
        cache: Sentence vectors on disk.
        progress: Called with (sentences done, sentences).
        cancelled: Asked between batches.

    Raises:
        OptionError: Too little text, or cures in an order that does not work.
        EncoderError: The cure does not fit this encoder.
        CancelledError: ``cancelled`` said so.
    """
    cure, values = prescription
    name = f"{base.name}{SEPARATOR}{prescription.text}"
    _check_order(base, prescription)
    origin = base.origin if isinstance(base, CuredEncoder) else base
    known = _frequencies(base, cure.steps, text, counts, cancelled)
    reads_text = cure.reads_text(counted=counts is not None)
    used = (text.digest if reads_text else "") + (counts.source if counts is not None else "")
    encoder = base
    for step in cure.steps:
        modules = _modules(encoder, step, values, text, known, cache=cache, progress=progress, cancelled=cancelled)
        if modules is None:
            continue
        fit = Fit(
            prescription,
            n_sentences=len(text.sentences) if reads_text else 0,
            source=text.source if reads_text else "",
            text_digest=text.digest if reads_text else "",
            counts=known.source if known is not None else "",
            counts_digest=known.digest if known is not None else "",
        )
        given = _amounts(known)
        stage = f"{base.digest}/{cure.name}{dict(values)}/{used}/{given}/{len(modules)}"
        encoder = CuredEncoder(
            _model(base.model, modules),
            name=name,
            digest=hashlib.sha256(stage.encode()).hexdigest(),
            origin=origin,
            fits=(*(base.fits if isinstance(base, CuredEncoder) else ()), fit),
            precision=base.precision,
            # What only maps sentence vectors is computed on the ones that are there already.
            base=encoder if isinstance(step, SentenceStep) else None,
        )
    return cast("CuredEncoder", encoder)


def _frequencies(
    base: Encoder, steps: Sequence[Step], text: FitText, counts: TokenCounts | None, cancelled: Cancelled | None
) -> TokenCounts | None:
    """The counts that weigh tokens; None where no step does."""
    weighing = [step for step in steps if isinstance(step, TokenStep)]
    if not weighing:
        return None
    if counts is None:
        return count_tokens(base, text.sentences, source=text.source, cancelled=cancelled)
    if not (any(step.weighs_specials for step in weighing) and counts.lacks_specials):
        return counts
    if not text.sentences:
        raise OptionError(
            "the reference count has no special tokens, which this cure weighs by their frequency",
            remedy="Give unlabelled text too: their frequency is taken from it",
        )
    return counts.with_special_share(count_tokens(base, text.sentences, source=text.source, cancelled=cancelled))


def _modules(
    encoder: Encoder,
    step: Step,
    values: Values,
    text: FitText,
    counts: TokenCounts | None,
    *,
    cache: EmbeddingCache | None,
    progress: Progress | None,
    cancelled: Cancelled | None,
) -> list[nn.Module] | None:
    """All modules of the encoder after one more step; None when the step has nothing to add."""
    modules = list(encoder.model)
    if isinstance(step, SentenceStep):
        moments = fit_moments(encoder, text.sentences, cache=cache, progress=progress, cancelled=cancelled)
        layer = step.fit(moments, values)
        return None if layer is None else [*modules, layer]
    where = _pooling_place(encoder)
    if isinstance(step, TokenStep):
        if counts is None or not counts.total:
            raise OptionError("a cure that weighs tokens needs text to count them in", remedy="Give unlabelled text")
        return [
            *modules[:where],
            tokens.word_weights(counts.vocabulary, step.weights(counts, values)),
            *modules[where:],
        ]
    transformer = cast("Transformer", encoder.transformer)
    n_layers = getattr(transformer.config, "num_hidden_layers", None)
    if not isinstance(n_layers, int):
        raise EncoderError(f"{encoder.name} does not say how many layers it has, so they cannot be mixed")
    mix = layers.layer_mix(int(transformer.get_embedding_dimension()), step.weights(n_layers + 1, values))
    return [layers.with_all_layers(transformer), mix, *modules[1:]]


def fit_moments(
    encoder: Encoder,
    sentences: Sequence[str],
    *,
    cache: EmbeddingCache | None = None,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Moments:
    """Mean and covariance of sentence vectors, with no more than a chunk of vectors in memory.

    Args:
        encoder: Gives the vectors.
        sentences: N distinct sentences.
        cache: Sentence vectors on disk.
        progress: Called with (sentences done, N).
        cancelled: Asked between batches.

    Raises:
        CancelledError: ``cancelled`` said so.
    """
    moments = Moments(encoder.dim)
    for start in range(0, len(sentences), CHUNK):

        def report(done: int, _: int, start: int = start) -> None:
            if progress is not None:
                progress(start + done, len(sentences))

        part = sentences[start : start + CHUNK]
        moments.add(encoder.encode(part, cache=cache, progress=report, cancelled=cancelled).vectors)
    return moments


def _model(base: SentenceTransformer, modules: list[nn.Module]) -> SentenceTransformer:
    """A model of these modules that reads prompts as the base does."""
    model = SentenceTransformer(
        modules=modules,
        device=str(base.device),
        prompts=cast("dict[str, str]", dict(base.prompts)),
        default_prompt_name=base.default_prompt_name,
        similarity_fn_name=base.similarity_fn_name,
    )
    model.eval()
    return model


def _pooling_place(encoder: Encoder) -> int:
    """Where the pooling stands among the modules, for cures that act before it."""
    if encoder.transformer is None or encoder.transformer.tokenizer is None:
        raise EncoderError(f"{encoder.name} has no token vectors: its first module is no transformer")
    if encoder.path.obstacle:
        raise EncoderError(encoder.path.obstacle, remedy="This cure changes a mean over tokens")
    return next(i for i, module in enumerate(encoder.model) if isinstance(module, Pooling))


def _check_order(base: Encoder, prescription: Prescription) -> None:
    """Refuse what would undo or silently change a cure that was fitted before."""
    level, name = prescription.cure.level, prescription.cure.name
    if level == "sentence":
        return
    kinds: tuple[type[nn.Module], ...] = (WordWeights,) if level == "token" else (WeightedLayerPooling, WordWeights)
    present = next((module for module in base.model if isinstance(module, kinds)), None)
    if present is not None:
        raise OptionError(
            f"{base.name} already has a {type(present).__name__} module, so {name} cannot be added",
            remedy="Put layer cures before token cures, and choose one of each",
        )
    fitted = [fit.prescription for fit in base.fits] if isinstance(base, CuredEncoder) else []
    if any(isinstance(step, SentenceStep) for earlier in fitted for step in earlier.cure.steps):
        raise OptionError(
            f"{name} changes the vectors that {fitted[-1].text} was fitted on",
            remedy=f"Write it first: {base.name.split(SEPARATOR)[0]}{SEPARATOR}{prescription.text}{SEPARATOR}…",
        )


def _amounts(counts: TokenCounts | None) -> str:
    return "" if counts is None else hashlib.sha256(counts.counts.tobytes()).hexdigest()
