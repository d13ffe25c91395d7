"""Training data: tokenised once, batched by token count, the same on every process.

Sentences are tokenised once for the whole run, each distinct one a single time. A batch holds pairs (or sentences) of
similar token count, so that hardly anything is padding; which ones come together, and in which order, is a function of
seed and epoch alone, so a resumed run needs no more than its step.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anticollapse.data import PairSet
from anticollapse.encoding import Encoder
from anticollapse.encoding.batching import TokenisedSentences
from anticollapse.errors import DataError, TrainingError
from anticollapse.training.augmentations import TokenAugmentation
from anticollapse.training.batch import Batch, TokenRows
from anticollapse.training.terms import KNOWN_POSITIVE
from anticollapse.training.variant import Variant

MEGABATCHES = 50
"""Batches that are sorted by token count together: enough that hardly anything is padded, few enough that who meets
whom in a batch stays random."""

WIDTH_MULTIPLE = 8
"""Batches are padded to a multiple of this. oneDNN compiles and keeps a kernel for every shape it meets, so fewer
widths save memory (200 MiB over 100 steps of a small BERT) and cost no time; tensor cores want multiples of 8."""

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Tokenizer:
    """What the padding of an encoder's input needs to know.

    Attributes:
        pad_id: Id that fills unused places.
        special_ids: The tokenizer's own tokens.
        max_tokens: Most tokens the encoder reads, or None.
    """

    pad_id: int
    special_ids: tuple[int, ...]
    max_tokens: int | None

    @classmethod
    def of(cls, encoder: Encoder) -> Tokenizer:
        """Read it off an encoder.

        Raises:
            TrainingError: If the encoder has no transformer with a tokenizer.
        """
        tokenizer = None if encoder.transformer is None else encoder.transformer.tokenizer
        if tokenizer is None:
            raise TrainingError(
                "the backbone's first module is no transformer, so there is nothing that these variants train",
                where=encoder.name,
                remedy="Choose a BERT-like backbone",
            )
        if getattr(tokenizer, "padding_side", "right") != "right":
            raise TrainingError(
                "the backbone pads on the left, as decoders do",
                where=encoder.name,
                remedy="Choose a BERT-like backbone",
            )
        # An unknown word is a word: it may be moved, cut and repeated like any other.
        special = tuple(i for i in tokenizer.all_special_ids if i != tokenizer.unk_token_id)
        return cls(int(tokenizer.pad_token_id or 0), special, encoder.max_tokens)


@dataclass(frozen=True)
class TrainingData:
    """Items to train on: pairs of sentences, or single sentences.

    Attributes:
        tokens: The S distinct sentences.
        tokenizer: How to pad them.
        items: Sentences of each item, shape (N, 2) for pairs and (N, 1) for sentences.
        labels: Grades, shape (N,), or None.
        positives: Sorted codes ``a * S + b`` of the pairs graded as paraphrases, in both directions.
        notes: What was done with the data, in full sentences.
    """

    tokens: TokenisedSentences
    tokenizer: Tokenizer
    items: IntArray
    labels: NDArray[np.float32] | None
    positives: IntArray
    notes: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Number of items."""
        return len(self.items)

    @property
    def n_sentences(self) -> int:
        """Number of distinct sentences."""
        return len(self.tokens.lengths)

    @property
    def widths(self) -> IntArray:
        """Tokens of the longest sentence of each item, shape (N,)."""
        widths: IntArray = self.tokens.lengths[self.items].max(axis=1)
        return widths


def prepare(pairs: PairSet, variant: Variant, encoder: Encoder) -> TrainingData:
    """Check that the data fits the variant, and tokenise it.

    Args:
        pairs: The data.
        variant: What is to be trained.
        encoder: The backbone.

    Raises:
        DataError: If the data lacks what the variant needs.
        TrainingError: If the backbone cannot be trained.
    """
    tokenizer = Tokenizer.of(encoder)
    sentences, items, labels, notes = _items(pairs, variant)
    tokens = encoder.tokenise(sentences)
    cut = int(tokens.truncated.sum())
    if cut:
        notes.append(
            f"{cut:,} of {len(sentences):,} sentences are longer than {tokenizer.max_tokens} tokens and are cut."
        )
    return TrainingData(tokens, tokenizer, items, labels, positive_codes(pairs, len(sentences)), tuple(notes))


def _items(pairs: PairSet, variant: Variant) -> tuple[Sequence[str], IntArray, NDArray[np.float32] | None, list[str]]:
    notes: list[str] = []
    if pairs.n == 0:
        raise DataError("there is nothing to train on", where=pairs.name)
    if variant.supervised is None:
        n = len(pairs.sentences)
        if pairs.has_pairs:
            notes.append(f"{variant.title} needs no pairs: the {n:,} different sentences are taken one by one.")
        return pairs.sentences, np.arange(n)[:, None], None, notes
    if pairs.index2 is None:
        raise DataError(
            f"{variant.title} trains on pairs, and this file has single sentences",
            where=pairs.name,
            remedy="Give a file with two columns of sentences, or choose a variant that needs none, such as simcse",
        )
    items = np.stack([pairs.index1, pairs.index2], axis=1)
    return pairs.sentences, items, _labels(pairs, variant, notes), notes


def _labels(pairs: PairSet, variant: Variant, notes: list[str]) -> NDArray[np.float32]:
    if pairs.scores is None:
        if variant.needs == "labels":
            raise DataError(
                f"{variant.title} trains on graded pairs, and these carry no scores",
                where=pairs.name,
                remedy="State their column (--columns score=NAME) if there is one, or choose triplet (pairs without "
                "scores) or simcse (no pairs)",
            )
        notes.append("The pairs carry no scores: all of them count as paraphrases.")
        return np.full(pairs.n, 5.0, np.float32)
    labels = pairs.scores.astype(np.float32)
    if np.ptp(labels) == 0 and variant.needs == "labels" and pairs.n > 1:
        raise DataError(
            f"all scores are {labels[0]:g}, so there is nothing to learn from them",
            where=pairs.name,
            remedy="Give scores that differ, or choose triplet (needs paraphrases only) or simcse (no pairs)",
        )
    threshold = getattr(variant.supervised, "positive_from", None)
    if threshold is not None and not (labels >= threshold).any():
        raise DataError(
            f"no pair is graded {threshold:g} or more, so there is no paraphrase to learn from",
            where=pairs.name,
            remedy="Lower --supervised-positive-from",
        )
    return labels


def positive_codes(pairs: PairSet, n_sentences: int) -> IntArray:
    """Sorted codes of the pairs graded as paraphrases, in both directions; empty without grades.

    Args:
        pairs: The pairs.
        n_sentences: Number S of distinct sentences; the code of (a, b) is a × S + b.
    """
    if pairs.scores is None or pairs.index2 is None:
        return np.empty(0, np.int64)
    same = pairs.scores >= KNOWN_POSITIVE
    first, second = pairs.index1[same], pairs.index2[same]
    codes: IntArray = np.unique(np.concatenate([first * n_sentences + second, second * n_sentences + first]))
    return codes


def steps_per_epoch(n: int, batch_size: int) -> int:
    """Batches of one pass over n items."""
    return -(-n // batch_size)


def epoch_batches(widths: IntArray, batch_size: int, seed: int, epoch: int) -> list[IntArray]:
    """The batches of one epoch: every item once, batches of nearly equal size, similar widths together.

    The items are shuffled, cut into stretches of some batches, sorted by width within each stretch, cut into batches,
    and the batches are shuffled. Sizes differ by at most one, so that there is no small last batch whose contrast or
    batch statistics would mean something else.

    Args:
        widths: Tokens of each item, shape (N,).
        batch_size: Most items a batch, over all processes.
        seed: Seed of the run.
        epoch: Number of the pass, from 0.
    """
    n = len(widths)
    count = steps_per_epoch(n, batch_size)
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(n)
    bounds = np.linspace(0, n, count + 1).round().astype(np.int64)
    for start in range(0, count, MEGABATCHES):
        stretch = slice(bounds[start], bounds[min(start + MEGABATCHES, count)])
        part = order[stretch]
        order[stretch] = part[np.argsort(widths[part], kind="stable")]
    batches = [order[bounds[i] : bounds[i + 1]] for i in range(count)]
    return [batches[i] for i in random.permutation(count)]


def shares(n: int, processes: int) -> list[slice]:
    """Cut n items into contiguous parts for the processes, sizes differing by at most one."""
    bounds = [n * i // processes for i in range(processes + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(bounds)]


class Collator:
    """Makes batches of one process.

    Args:
        data: The data.
        variant: What is trained.
        rank: Number of this process.
        processes: How many there are.
    """

    def __init__(self, data: TrainingData, variant: Variant, *, rank: int = 0, processes: int = 1) -> None:
        self.data = data
        self.rank, self.processes = rank, processes
        self.views = 1 if variant.contrast is None else 2
        changes = [a for a in variant.augmentations if isinstance(a, TokenAugmentation)]
        self.changes = {view: [a for a in changes if a.changes(view)] for view in (1, 2)}
        self.needs_original = variant.momentum is not None and bool(self.changes[1])
        own = [i for i in data.tokenizer.special_ids if i >= 0]
        self.special = torch.zeros(
            1 + max([int(data.tokens.ids.max(initial=0)), data.tokenizer.pad_id, *own]), dtype=torch.bool
        )
        self.special[own] = True

    def __call__(self, batch: IntArray) -> Batch:
        """The part of a batch that this process computes.

        Args:
            batch: Items of the batch of all processes, shape (B,).
        """
        data = self.data
        parts = shares(len(batch), self.processes)
        own = data.items[batch[parts[self.rank]]].T.ravel()  # all first sentences, then all second ones
        original = self.rows(own)
        views = [original]
        if self.views == 2:
            views = [self._changed(original, 1), self._changed(original, 2)]
        return Batch(
            rows=stack(views, data.tokenizer.pad_id),
            original=original if self.needs_original else None,
            views=self.views,
            towers=data.items.shape[1],
            counts=tuple(part.stop - part.start for part in parts),
            labels=None if data.labels is None else torch.from_numpy(data.labels[batch]),
            ids=torch.from_numpy(data.items[batch].T.ravel()),
        )

    def rows(self, sentences: IntArray) -> TokenRows:
        """Padded sentences.

        Args:
            sentences: Numbers of the sentences, shape (R,).
        """
        tokens = self.data.tokens
        lengths = tokens.lengths[sentences]
        width = -(-int(lengths.max()) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE
        if self.data.tokenizer.max_tokens is not None:
            width = max(min(width, self.data.tokenizer.max_tokens), int(lengths.max()))
        place = np.arange(width)[None, :]
        mask = place < lengths[:, None]  # (R, L)
        source = (tokens.offsets[sentences][:, None] + place)[mask]
        ids = np.full(mask.shape, self.data.tokenizer.pad_id, np.int64)
        ids[mask] = tokens.ids[source]
        types = None
        if tokens.types is not None:
            filled = np.zeros(mask.shape, np.int64)
            filled[mask] = tokens.types[source]
            types = torch.from_numpy(filled)
        id_rows, mask_rows = torch.from_numpy(ids), torch.from_numpy(mask)
        return TokenRows(id_rows, mask_rows, self.special[id_rows] | ~mask_rows, types, self.data.tokenizer.max_tokens)

    def _changed(self, rows: TokenRows, view: int) -> TokenRows:
        for augmentation in self.changes[view]:
            rows = augmentation.apply(rows)
        return rows


def stack(views: Sequence[TokenRows], pad_id: int) -> TokenRows:
    """One matrix of all views, as wide as the widest.

    Args:
        views: Padded sentences.
        pad_id: Id that fills new places.
    """
    width = max(view.ids.shape[1] for view in views)

    def wide(x: Tensor, fill: int) -> Tensor:
        return torch.nn.functional.pad(x, (0, width - x.shape[1]), value=fill)

    types = [view.types for view in views if view.types is not None]
    return TokenRows(
        torch.cat([wide(view.ids, pad_id) for view in views]),
        torch.cat([wide(view.mask, 0) for view in views]),
        torch.cat([wide(view.special, 1) for view in views]),
        torch.cat([wide(t, 0) for t in types]) if types else None,
        views[0].limit,
    )
