"""The encoder: sentences in, sentence or token vectors out, fast and without surprises."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Transformer
from torch import nn

from anticollapse.encoding import precision as formats
from anticollapse.encoding.batching import (
    CUDA_TOKEN_BUDGET,
    TOKEN_BUDGET,
    TokenisedSentences,
    batches,
    padded,
    tokenise,
)
from anticollapse.encoding.cache import EmbeddingCache
from anticollapse.encoding.path import read_path
from anticollapse.encoding.tokens import TokenEmbeddings, special_ids
from anticollapse.errors import CancelledError, EncoderError

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Cancelled = Callable[[], bool]
Features = dict[str, torch.Tensor]

CHUNK = 20_000
"""Sentences between two writes to the cache, and tokenised at once: bounds memory for long lists."""


@dataclass(frozen=True)
class Embeddings:
    """Sentence vectors.

    Attributes:
        vectors: ``(N, d)`` float32, not normalised.
        n_tokens: ``(N,)`` tokens the encoder read, special ones included.
        truncated: ``(N,)`` whether the sentence was longer than the encoder reads.
    """

    vectors: NDArray[np.float32]
    n_tokens: NDArray[np.int32]
    truncated: NDArray[np.bool_]


class _Part:
    """Sentences on their way to vectors."""

    def __init__(self, sentences: list[str], dim: int) -> None:
        self.sentences = sentences
        self.vectors = np.zeros((len(sentences), dim), np.float32)
        self.n_tokens = np.zeros(len(sentences), np.int32)
        self.truncated = np.zeros(len(sentences), bool)
        self.finished = np.zeros(len(sentences), bool)

    def check(self, name: str) -> None:
        """Refuse vectors that are not finite."""
        bad = np.flatnonzero(~np.isfinite(self.vectors).all(axis=1))
        if len(bad):
            raise EncoderError(
                f"{name} gives a vector that is not finite for {self.sentences[bad[0]][:80]!r}",
                remedy="Its weights are damaged, or its training diverged",
            )


class Encoder:
    """A sentence-transformers model with batching by tokens, a cache, progress and cancellation.

    Safe to share between threads; the model is never changed.

    Args:
        model: The modules; its first one should be a ``Transformer``, others fall back to the model's own ``encode``.
        name: What the user calls it.
        digest: Identifies what it computes; two encoders with the same digest give the same vectors.
        folder: Where it was loaded from, when it was.
        precision: See :func:`~anticollapse.encoding.load_encoder`.
        base: An encoder of which ``model`` has all modules plus some that map sentence vectors to sentence vectors
            (a training-free cure): then only the added ones are computed, on the base's cached vectors.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        *,
        name: str,
        digest: str,
        folder: Path | None = None,
        precision: formats.Precision = "float32",
        base: Encoder | None = None,
    ) -> None:
        self.model = model
        self.name = name
        self.digest = digest
        self.folder = folder
        self.base = base
        self._modules = list(model)
        self.path = read_path(self._modules, name)
        self._lock = threading.RLock()
        self._fast: nn.Module | None = None
        self._wants_fast = precision != "float32" and formats.bfloat16_supported(self.device)
        if precision == "bfloat16" and not self._wants_fast:
            logger.warning("this device has no bfloat16 arithmetic: %s computes in float32", name)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return torch.device(self.model.device)

    @property
    def dim(self) -> int:
        """Length of a sentence vector."""
        return int(self.model.get_embedding_dimension() or 0)

    @property
    def max_tokens(self) -> int | None:
        """Tokens the encoder reads of a sentence, special ones included; None when unlimited."""
        length = self.model.max_seq_length
        return int(length) if isinstance(length, int) else None

    @property
    def precision(self) -> formats.Precision:
        """The number format of the forward pass as it stands now (the check may still turn bfloat16 down)."""
        return "bfloat16" if self._wants_fast else "float32"

    @property
    def transformer(self) -> Transformer | None:
        """The first module where it is a Hugging Face transformer, else None."""
        first = self._modules[0]
        return first if isinstance(first, Transformer) else None

    def encode(
        self,
        sentences: Sequence[str],
        *,
        cache: EmbeddingCache | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
        token_budget: int | None = None,
    ) -> Embeddings:
        """Sentence vectors.

        Each distinct sentence is computed once, in batches of similar token count.

        Args:
            sentences: N sentences; duplicates cost nothing.
            cache: Vectors on disk from earlier calls.
            progress: Called with (sentences done, distinct sentences) now and then.
            cancelled: Asked between batches; True stops the work.
            token_budget: Tokens a batch, padding included.

        Returns:
            The vectors in the order given.

        Raises:
            CancelledError: ``cancelled`` said so; what was finished is in the cache.
            EncoderError: The encoder gives vectors that are not finite.
        """
        if self.base is not None:
            return self._encode_on_base(self.base, sentences, cache, progress, cancelled, token_budget)
        distinct = list(dict.fromkeys(sentences))
        result = Embeddings(
            np.empty((len(distinct), self.dim), np.float32),
            np.zeros(len(distinct), np.int32),
            np.zeros(len(distinct), bool),
        )
        for start in range(0, len(distinct), CHUNK):
            part = slice(start, start + CHUNK)

            def report(done: int, start: int = start) -> None:
                if cancelled is not None and cancelled():
                    raise CancelledError("encoding was stopped")
                if progress is not None:
                    progress(start + done, len(distinct))

            done = self._encode_chunk(distinct[part], cache, report, token_budget)
            result.vectors[part], result.n_tokens[part] = done.vectors, done.n_tokens
            result.truncated[part] = done.truncated
        if len(distinct) == len(sentences):
            return result
        where = {sentence: i for i, sentence in enumerate(distinct)}
        index = np.fromiter((where[sentence] for sentence in sentences), np.int64, len(sentences))
        return Embeddings(result.vectors[index], result.n_tokens[index], result.truncated[index])

    def encode_tokens(
        self,
        sentences: Sequence[str],
        *,
        layers: Sequence[int] | None = None,
        progress: Progress | None = None,
        cancelled: Cancelled | None = None,
        token_budget: int | None = None,
    ) -> TokenEmbeddings:
        """Token vectors in float32: what the pooling averages, before any word weights.

        Args:
            sentences: N sentences; duplicates are computed again (their tokens are wanted once each anyway).
            layers: Layers of the transformer wanted, 0 = the embedding layer; None = what enters the pooling, which is
                the last layer unless a module such as ``WeightedLayerPooling`` mixes several.
            progress: Called with (sentences done, N).
            cancelled: Asked between batches; True stops the work.
            token_budget: Tokens a batch, padding included.

        Returns:
            Flat arrays over all tokens, padding left out.

        Raises:
            CancelledError: ``cancelled`` said so.
            EncoderError: The encoder has no transformer to ask for token vectors.
        """
        transformer = self.transformer
        if transformer is None or transformer.tokenizer is None:
            raise EncoderError(f"{self.name} has no token vectors: its first module is no transformer")
        tokens = self._tokenise(sentences)
        wanted = tuple(layers) if layers is not None else ()
        width = int(transformer.get_embedding_dimension())
        out = np.empty((max(len(wanted), 1), len(tokens.ids), width), np.float32)
        done = 0
        for batch in batches(tokens.lengths, token_budget or self._budget()):
            if cancelled is not None and cancelled():
                raise CancelledError("encoding was stopped")
            features = self._features(tokens, batch)
            hidden = self._hidden(transformer, features, wanted)  # (L, B, W, d)
            mask = features["attention_mask"].bool().cpu().numpy()
            rows = np.concatenate([np.arange(tokens.offsets[i], tokens.offsets[i + 1]) for i in batch])
            out[:, rows] = hidden[:, mask]
            done += len(batch)
            if progress is not None:
                progress(done, len(sentences))
        ids = np.unique(tokens.ids)
        special = np.isin(tokens.ids, np.array(special_ids(transformer.tokenizer), np.int32))
        texts = transformer.tokenizer.convert_ids_to_tokens([int(i) for i in ids])
        vocabulary = {int(i): str(text) for i, text in zip(ids, texts, strict=True)}
        return TokenEmbeddings(
            vectors=out if layers is not None else out[0],
            offsets=tokens.offsets,
            ids=tokens.ids,
            special=special,
            truncated=tokens.truncated,
            layers=wanted,
            vocabulary=vocabulary,
            prompt_length=tokens.prompt_length,
        )

    def tokenise(self, sentences: Sequence[str]) -> TokenisedSentences:
        """Token ids alone, without a forward pass, exactly as :meth:`encode` reads them.

        Args:
            sentences: N sentences.

        Raises:
            EncoderError: The encoder has no transformer with a tokenizer.
        """
        if self.transformer is None or self.transformer.tokenizer is None:
            raise EncoderError(f"{self.name} has no tokens: its first module is no transformer")
        return self._tokenise(sentences)

    def word_pieces(self, words: Sequence[str]) -> list[NDArray[np.int64]]:
        """Token ids of words alone: without the encoder's prompt and special tokens, and not cut off.

        Args:
            words: W words; a leading space is kept, because byte-level tokenizers split differently without it.

        Raises:
            EncoderError: The encoder has no transformer with a tokenizer.
        """
        if self.transformer is None or self.transformer.tokenizer is None:
            raise EncoderError(f"{self.name} has no tokens: its first module is no transformer")
        if not words:
            return []
        with self._lock:
            found = self.transformer.tokenizer(
                list(words), add_special_tokens=False, truncation=False, padding=False, verbose=False
            )["input_ids"]
        return [np.asarray(ids, np.int64) for ids in found]

    def _encode_on_base(
        self,
        base: Encoder,
        sentences: Sequence[str],
        cache: EmbeddingCache | None,
        progress: Progress | None,
        cancelled: Cancelled | None,
        token_budget: int | None,
    ) -> Embeddings:
        given = base.encode(sentences, cache=cache, progress=progress, cancelled=cancelled, token_budget=token_budget)
        added = self._modules[len(base._modules) :]
        out = np.empty((len(sentences), self.dim), np.float32)
        with torch.inference_mode():
            for start in range(0, len(sentences), CHUNK):
                part = slice(start, start + CHUNK)
                features = {"sentence_embedding": torch.from_numpy(given.vectors[part]).to(self.device)}
                for module in added:
                    features = module(features)
                out[part] = features["sentence_embedding"].float().cpu().numpy()
        return Embeddings(out, given.n_tokens, given.truncated)

    def _encode_chunk(
        self,
        sentences: list[str],
        cache: EmbeddingCache | None,
        report: Callable[[int], None],
        token_budget: int | None,
    ) -> Embeddings:
        n = len(sentences)
        found, vectors = np.zeros(n, bool), np.empty((n, self.dim), np.float32)
        counts, truncated = np.zeros(n, np.int32), np.zeros(n, bool)
        key = self._cache_key()
        if cache is not None:
            found, vectors, counts, truncated = cache.read(key, self.dim, sentences)
        missing = np.flatnonzero(~found)
        before = int(found.sum())
        report(before)
        if len(missing):
            new = _Part([sentences[i] for i in missing], self.dim)
            try:
                if self.transformer is None or self.transformer.tokenizer is None:
                    self._encode_generic(new, lambda done: report(before + done))
                else:
                    self._encode_transformer(new, lambda done: report(before + done), token_budget)
            finally:
                # Also when the work is stopped in the middle: what was finished is not computed again.
                self._keep(new, cache, key)
            new.check(self.name)
            vectors[missing], counts[missing], truncated[missing] = new.vectors, new.n_tokens, new.truncated
        return Embeddings(vectors, counts, truncated)

    def _keep(self, part: _Part, cache: EmbeddingCache | None, key: str) -> None:
        done = np.flatnonzero(part.finished & np.isfinite(part.vectors).all(axis=1))
        # The check on the first batch may have turned bfloat16 down: then the vectors belong under another key.
        if cache is not None and len(done) and self._cache_key() == key:
            texts = [part.sentences[i] for i in done]
            cache.write(key, texts, part.vectors[done], part.n_tokens[done], part.truncated[done])

    def _encode_transformer(self, part: _Part, report: Callable[[int], None], token_budget: int | None) -> None:
        tokens = self._tokenise(part.sentences)
        part.n_tokens[:], part.truncated[:] = tokens.lengths, tokens.truncated
        for batch in batches(tokens.lengths, token_budget or self._budget()):
            part.vectors[batch] = self._forward(self._features(tokens, batch), tokens.prompt_length)
            part.finished[batch] = True
            report(int(part.finished.sum()))

    def _encode_generic(self, part: _Part, report: Callable[[int], None]) -> None:
        """First modules that are no transformer (static embeddings, bags of words) bring their own batching."""
        for start in range(0, len(part.sentences), 1024):
            rows = slice(start, start + 1024)
            with self._lock:
                part.vectors[rows] = self.model.encode(
                    part.sentences[rows], show_progress_bar=False, convert_to_numpy=True
                )
            part.finished[rows] = True
            report(int(part.finished.sum()))

    def _tokenise(self, sentences: Sequence[str]) -> TokenisedSentences:
        transformer = cast("Transformer", self.transformer)
        tokenizer = transformer.tokenizer
        if tokenizer is None:
            raise EncoderError(f"{self.name} has no tokenizer")
        prompt = self.model.prompts.get(self.model.default_prompt_name or "") or None

        def preprocess(texts: list[str]) -> Features:
            return cast("Features", transformer.preprocess(texts, prompt=prompt))

        def full_lengths(texts: list[str]) -> list[int]:
            long = [(prompt or "") + text for text in texts]
            return [len(ids) for ids in tokenizer(long, truncation=False, verbose=False)["input_ids"]]

        # A fast tokenizer keeps its truncation setting inside and may not be called by two threads at once.
        with self._lock:
            return tokenise(sentences, preprocess, full_lengths, self.max_tokens)

    def _features(self, tokens: TokenisedSentences, batch: NDArray[np.int64]) -> Features:
        tokenizer = cast("Transformer", self.transformer).tokenizer
        pad = getattr(tokenizer, "pad_token_id", None) or 0
        left = getattr(tokenizer, "padding_side", "right") == "left"
        return padded(tokens, batch, int(pad), left=left, device=self.device)

    def _forward(self, features: Features, prompt_length: int | None) -> NDArray[np.float32]:
        """Sentence vectors of one batch; the first one decides whether bfloat16 is good enough."""
        if self._wants_fast and self._fast is None:
            with self._lock:
                if self._wants_fast and self._fast is None:
                    fast = formats.half_copy(self._modules[0])
                    exact = self._run(self._modules[0], dict(features), prompt_length)
                    if formats.agrees(self._run(fast, dict(features), prompt_length), exact):
                        self._fast = fast
                    else:
                        self._wants_fast = False
                        return exact
        return self._run(self._fast or self._modules[0], features, prompt_length)

    def _run(self, first: nn.Module, features: Features, prompt_length: int | None) -> NDArray[np.float32]:
        with torch.inference_mode():
            given = dict(features)
            if prompt_length is not None:
                cast("dict[str, object]", given)["prompt_length"] = prompt_length
            given = first(given)
            given["token_embeddings"] = given["token_embeddings"].float()  # pooling in bfloat16 would lose digits
            for module in self._modules[1:]:
                given = module(given)
            vectors: NDArray[np.float32] = given["sentence_embedding"].float().cpu().numpy()
        return vectors

    def _hidden(self, transformer: Transformer, features: Features, layers: tuple[int, ...]) -> NDArray[np.float32]:
        with torch.inference_mode():
            if not layers:
                given = transformer(dict(features))
                for module in self.path.before:
                    given = module(given)
                hidden = given["token_embeddings"].unsqueeze(0)
            else:
                states = transformer.model(**features, output_hidden_states=True).hidden_states
                try:
                    hidden = torch.stack([states[layer] for layer in layers])
                except IndexError:
                    raise EncoderError(
                        f"{self.name} has the layers 0 to {len(states) - 1}, not {max(layers)}"
                    ) from None
            array: NDArray[np.float32] = hidden.float().cpu().numpy()
        return array

    def _budget(self) -> int:
        return CUDA_TOKEN_BUDGET if self.device.type == "cuda" else TOKEN_BUDGET

    def _cache_key(self) -> str:
        # The cache holds one kind of vectors a file: another precision is another key.
        return hashlib.sha256(f"{self.digest}/{self.precision}".encode()).hexdigest()[:40]
