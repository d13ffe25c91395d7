"""Batches for the device, in an order that follows from the seed, built ahead of time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from anticollapse.pretraining.corpus import Corpus
from anticollapse.pretraining.engine import Batch
from anticollapse.pretraining.masking import mask_tokens
from anticollapse.pretraining.options import PretrainingOptions
from anticollapse.pretraining.packing import Block, Epoch


@dataclass(frozen=True)
class Place:
    """A place in the endless sequence of batches.

    Attributes:
        epoch: Pass over the text, from 0.
        block: Block of the epoch.
        batch: Batch of the block.
    """

    epoch: int = 0
    block: int = 0
    batch: int = 0


@dataclass(frozen=True)
class Item:
    """A batch.

    Attributes:
        batch: On the device.
        tokens: Tokens in it that are no padding.
        places: Places, padding included.
        after: Where the next batch is.
    """

    batch: Batch
    tokens: int
    places: int
    after: Place


class Loader:
    """Gives batches from a place on, for ever.

    Args:
        corpus: The text.
        options: Seed, masks, shares.
        batch_tokens: Places of a batch.
        device: Where the network is.
    """

    def __init__(self, corpus: Corpus, options: PretrainingOptions, batch_tokens: int, device: torch.device) -> None:
        self.corpus, self.options = corpus, options
        self.batch_tokens, self.device = batch_tokens, device
        self.vocabulary = corpus.vocabulary_size

    def items(self, start: Place) -> Iterator[Item]:
        """Batches.

        Args:
            start: Of the first one.
        """
        first = start.batch
        with ThreadPoolExecutor(1) as pool:
            blocks = self._blocks(start.epoch, start.block)
            ahead = pool.submit(next, blocks)
            while True:
                epoch, number, last, block = ahead.result()
                ahead = pool.submit(next, blocks)
                following = Place(epoch + 1) if last else Place(epoch, number + 1)
                yield from self._batches(block, first, epoch, number, following)
                first = 0

    def _blocks(self, epoch: int, first: int) -> Iterator[tuple[int, int, bool, Block]]:
        while True:
            plan = Epoch(
                self.corpus.ids,
                batch_tokens=self.batch_tokens,
                long_share=self.options.long_share,
                seed=self.options.seed,
                epoch=epoch,
            )
            for number in range(first, len(plan)):
                yield epoch, number, number == len(plan) - 1, plan.block(number)
            epoch, first = epoch + 1, 0

    def _batches(self, block: Block, first: int, epoch: int, number: int, following: Place) -> Iterator[Item]:
        batches = to_batches(
            block,
            rate=self.options.mask_rate,
            vocabulary=self.vocabulary,
            seed=(self.options.seed, 1, epoch, number),
            device=self.device,
        )
        for i in range(first, len(block)):
            after = Place(epoch, number, i + 1) if i + 1 < len(block) else following
            yield Item(batches[i], int(block.tokens[i]), block.ids[i].size, after)


def to_batches(
    block: Block, *, rate: float, vocabulary: int, seed: tuple[int, ...], device: torch.device
) -> list[Batch]:
    """Mask a block and put it on the device.

    Args:
        block: N batches.
        rate: Share of the tokens that is predicted.
        vocabulary: Entries of the vocabulary.
        seed: Of the masks.
        device: Where to.
    """
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64)
    generator = torch.Generator(device).manual_seed(int(state[0] >> np.uint64(1)))
    ids = torch.from_numpy(block.ids).to(device)
    masked = mask_tokens(ids.flatten(1), rate=rate, vocabulary=vocabulary, generator=generator)
    segments = torch.from_numpy(block.segments).to(device)
    positions = torch.from_numpy(block.positions).to(device).long()
    shown = masked.ids.view_as(ids)
    return [(shown[i], segments[i], positions[i], masked.places[i], masked.labels[i]) for i in range(len(block))]
