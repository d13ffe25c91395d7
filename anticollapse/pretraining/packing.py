"""Sequences of one epoch, packed into rows of equal length so that hardly a place is padding.

A line becomes one sequence, or several of about equal length when it is longer than a sequence may be. Several
sequences share a row; each attends to itself alone and counts its positions from 0 (see :mod:`.model`), so a packed
sequence is seen exactly as the encoder sees a sentence later. Everything follows from seed and epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anticollapse.pretraining.vocabulary import CLS, PAD, SEP

IntArray = NDArray[np.int64]

SHORT, LONG = 64, 256
"""Tokens of a sequence at most, [CLS] and [SEP] counted."""
SHORT_ROW, LONG_ROW = 128, 256
"""Places of a row."""
FRAME = 2
"""[CLS] and [SEP]."""
BLOCK = 16
"""Batches of one shape in a row: they are built and masked together."""


@dataclass(frozen=True)
class Block:
    """Consecutive batches of one shape; N batches of R rows of L places.

    Attributes:
        ids: Token numbers, shape (N, R, L), int64.
        segments: Which sequence of its row a token belongs to, from 1; 0 is padding. Same shape, uint8.
        positions: Place within the sequence, from 0. Same shape, uint8.
        tokens: Tokens that are no padding, of each batch, shape (N,).
    """

    ids: IntArray
    segments: NDArray[np.uint8]
    positions: NDArray[np.uint8]
    tokens: IntArray

    def __len__(self) -> int:
        """Batches."""
        return len(self.ids)


@dataclass(frozen=True)
class Rows:
    """Sequences and the rows they share.

    Attributes:
        starts: Where each sequence begins in the array of token numbers.
        lengths: Its tokens, without [CLS] and [SEP].
        members: Sequences, row by row.
        offsets: Where each row begins in ``members``; one more than there are rows.
        places: Length of a row.
    """

    starts: IntArray
    lengths: IntArray
    members: IntArray
    offsets: IntArray
    places: int

    def __len__(self) -> int:
        """Rows."""
        return len(self.offsets) - 1


def split_lines(
    ids: NDArray[np.uint16], *, long_share: float, random: np.random.Generator
) -> tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray]]:
    """Cut lines into sequences.

    Args:
        ids: Lines, each ended by [SEP].
        long_share: Share of the tokens that should be in long sequences; only lines that do not fit a short one can
            be.
        random: Which lines are.

    Returns:
        Starts and lengths of the short sequences, and of the long ones.
    """
    ends = np.flatnonzero(ids == SEP).astype(np.int64)
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64) if len(ends) else ends
    lengths = ends - starts
    starts, lengths = starts[lengths > 0], lengths[lengths > 0]
    fits = lengths <= SHORT - FRAME
    elsewhere = int(lengths[~fits].sum())
    chance = min(1.0, long_share * int(lengths.sum()) / elsewhere) if elsewhere else 0.0
    is_long = ~fits & (random.random(len(lengths)) < chance)
    return (
        _pieces(starts[~is_long], lengths[~is_long], SHORT - FRAME),
        _pieces(starts[is_long], lengths[is_long], LONG - FRAME),
    )


def _pieces(starts: IntArray, lengths: IntArray, most: int) -> tuple[IntArray, IntArray]:
    """Pieces of about equal length, none longer than ``most``."""
    counts = -(-lengths // most)
    which = np.repeat(np.arange(len(lengths)), counts)
    number = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    first = number * lengths[which] // counts[which]
    last = (number + 1) * lengths[which] // counts[which]
    return starts[which] + first, last - first


def pack(starts: IntArray, lengths: IntArray, places: int, random: np.random.Generator) -> Rows:
    """Put sequences into rows: the longest first, each followed by the longest that still fit.

    As only lengths matter, a filling is worked out once and used as often as there are sequences for it: a million
    sequences take well under a second.

    Args:
        starts: Where sequences begin.
        lengths: Their tokens, without the frame; none may exceed ``places - FRAME``.
        places: Length of a row.
        random: Which sequences meet, and the order of the rows.
    """
    order = random.permutation(len(lengths))
    order = order[np.argsort(lengths[order], kind="stable")]
    counts = np.bincount(lengths + FRAME, minlength=places + 1)
    taken = np.cumsum(counts) - counts  # where each length begins in `order`
    members, sizes = [], []
    for filling, times in _fillings(counts.copy(), places):
        columns = []
        for length in filling:
            columns.append(order[taken[length] : taken[length] + times])
            taken[length] += times
        members.append(np.stack(columns, axis=1).ravel())
        sizes.append(np.full(times, len(filling), np.int64))
    if not members:
        return Rows(starts, lengths, np.empty(0, np.int64), np.zeros(1, np.int64), places)
    flat, size = np.concatenate(members), np.concatenate(sizes)
    offsets = np.concatenate([[0], np.cumsum(size)])
    rows = random.permutation(len(size))
    index, _ = _ragged(offsets[rows], size[rows])
    return Rows(starts, lengths, flat[index], np.concatenate([[0], np.cumsum(size[rows])]), places)


def _fillings(counts: IntArray, places: int) -> Iterator[tuple[list[int], int]]:
    """Lengths that share a row, and how many such rows."""
    while (longest := int(np.flatnonzero(counts)[-1]) if counts.any() else 0) > 0:
        filling, room, length = [longest], places - longest, longest
        left = counts.copy()
        left[longest] -= 1
        while room > FRAME:
            length = min(length, room)
            while length > 0 and not left[length]:
                length -= 1
            if length == 0:
                break
            filling.append(length)
            left[length] -= 1
            room -= length
        used = np.bincount(filling, minlength=len(counts))
        times = int((counts[used > 0] // used[used > 0]).min())
        counts -= times * used
        yield filling, times


def _ragged(starts: IntArray, sizes: IntArray) -> tuple[IntArray, IntArray]:
    """Indices of all runs ``start … start + size``, and the place of each within its run."""
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.repeat(starts, sizes) + within, within


class Epoch:
    """The batches of one pass over the text.

    Args:
        ids: Lines, each ended by [SEP].
        batch_tokens: Places of a batch, at least one long row.
        long_share: As for :func:`split_lines`.
        seed: Of the run.
        epoch: Which pass, from 0.
    """

    def __init__(self, ids: NDArray[np.uint16], *, batch_tokens: int, long_share: float, seed: int, epoch: int) -> None:
        random = np.random.default_rng([seed, 0, epoch])
        short, long = split_lines(ids, long_share=long_share, random=random)
        self.ids = ids
        self.kinds = (pack(*short, SHORT_ROW, random), pack(*long, LONG_ROW, random))
        self.heights = tuple(max(1, batch_tokens // rows.places) for rows in self.kinds)
        blocks = [
            (kind, first)
            for kind, rows in enumerate(self.kinds)
            for first in range(0, len(rows), BLOCK * self.heights[kind])
        ]
        self.blocks = [blocks[i] for i in random.permutation(len(blocks))]

    def __len__(self) -> int:
        """Blocks."""
        return len(self.blocks)

    def block(self, number: int) -> Block:
        """Build one block.

        Args:
            number: Which, from 0.
        """
        kind, first = self.blocks[number]
        rows, height = self.kinds[kind], self.heights[kind]
        last = min(first + BLOCK * height, len(rows))
        batches = -(-(last - first) // height)
        return build_block(self.ids, rows, first, last, (batches, height))


def build_block(ids: NDArray[np.uint16], rows: Rows, first: int, last: int, shape: tuple[int, int]) -> Block:
    """Lay out the rows ``first … last``; places that are left over are padding.

    Args:
        ids: Lines.
        rows: How they are packed.
        first: First row.
        last: Row after the last one.
        shape: Batches and rows a batch.
    """
    size = np.diff(rows.offsets[first : last + 1])
    members = rows.members[rows.offsets[first] : rows.offsets[last]]
    lengths = rows.lengths[members]
    row = np.repeat(np.arange(last - first), size)
    number = np.arange(len(members)) - np.repeat(np.cumsum(size) - size, size)  # of the sequence in its row
    ahead = np.cumsum(lengths + FRAME) - (lengths + FRAME)
    ahead -= np.repeat(ahead[np.cumsum(size) - size], size) if len(size) else 0
    target = row * rows.places + ahead
    out = np.full(shape[0] * shape[1] * rows.places, PAD, np.int64)
    segments = np.zeros(len(out), np.uint8)
    positions = np.zeros(len(out), np.uint8)
    source, within = _ragged(rows.starts[members], lengths)
    out[np.repeat(target + 1, lengths) + within] = ids[source]
    out[target], out[target + lengths + 1] = CLS, SEP
    whole, place = _ragged(target, lengths + FRAME)
    segments[whole] = np.repeat(number + 1, lengths + FRAME)
    positions[whole] = place
    full = (*shape, rows.places)
    tokens = (segments.reshape(shape[0], -1) > 0).sum(axis=1)
    return Block(out.reshape(full), segments.reshape(full), positions.reshape(full), tokens)
