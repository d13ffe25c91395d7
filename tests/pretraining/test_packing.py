"""Packing and masking, against what they must keep."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anticollapse.pretraining.loading import Loader, Place
from anticollapse.pretraining.masking import IGNORED, mask_tokens
from anticollapse.pretraining.options import PretrainingOptions
from anticollapse.pretraining.packing import FRAME, LONG, SHORT, SHORT_ROW, Epoch, pack
from anticollapse.pretraining.vocabulary import CLS, MASK, PAD, SEP, SPECIAL


def lines_of(lengths):
    """Lines of these lengths; every token of all of them has a number of its own."""
    ids, number = [], len(SPECIAL)
    for length in lengths:
        ids += [*range(number, number + length), SEP]
        number += length
    return np.array(ids, np.uint16)


def sequences(plan):
    """All sequences of an epoch, read back from the blocks."""
    for number in range(len(plan)):
        block = plan.block(number)
        assert block.tokens.tolist() == (block.segments > 0).reshape(len(block), -1).sum(1).tolist()
        rows = (a.reshape(-1, a.shape[-1]) for a in (block.ids, block.segments, block.positions))
        for ids, segments, positions in zip(*rows, strict=True):
            assert (ids[segments == 0] == PAD).all()
            for segment in range(1, int(segments.max()) + 1):
                here = np.flatnonzero(segments == segment)
                assert here.tolist() == list(range(here[0], here[-1] + 1))
                assert positions[here].tolist() == list(range(len(here)))
                yield ids[here]


@pytest.mark.parametrize("long_share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    "lengths",
    [
        [1], [62], [63], [254], [255], [1000], [0, 3, 0], [62] * 5, [126, 127, 1, 2],
        np.random.default_rng(0).integers(1, 700, 150).tolist(),
        np.random.default_rng(1).integers(1, 62, 900).tolist(),
    ],
)  # fmt: skip
def test_packing_loses_no_token_and_doubles_none(lengths, long_share):
    plan = Epoch(lines_of(lengths), batch_tokens=1024, long_share=long_share, seed=3, epoch=0)
    found = list(sequences(plan))
    for sequence in found:
        assert (sequence[0], sequence[-1]) == (CLS, SEP)
        inner = sequence[1:-1]
        assert len(inner) > 0
        assert (np.diff(inner) == 1).all()  # a run of the text, in order
        assert len(sequence) <= (SHORT if long_share == 0 else LONG)
    tokens = np.sort(np.concatenate([s[1:-1] for s in found]))
    assert tokens.tolist() == list(range(len(SPECIAL), len(SPECIAL) + sum(lengths)))


def test_lines_that_fit_stay_whole_and_long_ones_are_cut_evenly():
    plan = Epoch(lines_of([40, 62, 63, 130]), batch_tokens=1024, long_share=0, seed=0, epoch=0)
    assert sorted(len(s) - FRAME for s in sequences(plan)) == [31, 32, 40, 43, 43, 44, 62]


def test_hardly_a_place_is_padding():
    lengths = np.random.default_rng(0).integers(3, 60, 5000)
    rows = pack(np.cumsum(lengths) - lengths, lengths, SHORT_ROW, np.random.default_rng(0))
    assert sorted(rows.members.tolist()) == list(range(5000))
    filled = (lengths + FRAME)[rows.members]
    per_row = np.add.reduceat(filled, rows.offsets[:-1])
    assert per_row.max() <= SHORT_ROW
    assert filled.sum() / (len(rows) * SHORT_ROW) > 0.97


def test_long_sequences_have_about_their_share():
    lengths = np.random.default_rng(0).integers(100, 600, 2000)
    ids = np.concatenate([[*([9] * n), SEP] for n in lengths]).astype(np.uint16)
    plan = Epoch(ids, batch_tokens=4096, long_share=0.25, seed=0, epoch=0)
    sizes = np.array([len(s) for s in sequences(plan)])
    assert 0.2 < sizes[sizes > SHORT].sum() / sizes.sum() < 0.3


def test_order_follows_seed_and_epoch():
    ids = lines_of(np.random.default_rng(0).integers(5, 90, 200).tolist())

    def blocks(seed, epoch):
        plan = Epoch(ids, batch_tokens=512, long_share=0.2, seed=seed, epoch=epoch)
        return np.concatenate([plan.block(i).ids.ravel() for i in range(len(plan))])

    assert np.array_equal(blocks(1, 0), blocks(1, 0))
    assert not np.array_equal(blocks(1, 0), blocks(1, 1))
    assert not np.array_equal(blocks(1, 0), blocks(2, 0))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_masks_have_the_stated_rates():
    n, t, vocabulary = 8, 20_000, 1000
    ids = torch.randint(len(SPECIAL), vocabulary, (n, t), generator=generator(1))
    ids[:, ::10] = torch.tensor([PAD, SEP, CLS, PAD]).repeat(t // 40)
    ids[0, : t // 2] = PAD  # a batch that is half padding
    masked = mask_tokens(ids, rate=0.3, vocabulary=vocabulary, generator=generator())
    used = masked.labels != IGNORED
    maskable = (ids >= len(SPECIAL)).sum(1)
    assert used.sum(1).tolist() == [round(0.3 * int(m)) for m in maskable]
    original = ids.gather(1, masked.places)
    assert (original[used] == masked.labels[used]).all()
    assert (original[used] >= len(SPECIAL)).all()
    assert all(len(set(row.tolist())) == len(row) for row in masked.places)
    seen = masked.ids.gather(1, masked.places)[used]
    labels = masked.labels[used]
    assert (seen == MASK).float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert (seen == labels).float().mean().item() == pytest.approx(0.1, abs=0.01)
    other = seen[(seen != MASK) & (seen != labels)]
    assert len(other) / len(labels) == pytest.approx(0.1, abs=0.01)
    assert other.min() >= len(SPECIAL)
    assert other.max() < vocabulary
    changed = torch.ones_like(ids, dtype=torch.bool).scatter(1, masked.places, ~used)
    assert (masked.ids[changed] == ids[changed]).all()  # nothing else is touched


def test_masks_differ_each_time_and_follow_the_generator():
    ids = torch.randint(len(SPECIAL), 100, (2, 500), generator=generator(1))
    first, same, other = (mask_tokens(ids, rate=0.15, vocabulary=100, generator=generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.ids, same.ids)
    assert torch.equal(first.labels, same.labels)
    assert not torch.equal(first.places, other.places)


def test_nothing_to_mask_is_no_error():
    masked = mask_tokens(torch.full((2, 50), PAD), rate=0.3, vocabulary=100, generator=generator())
    assert (masked.labels == IGNORED).all()
    assert (masked.ids == PAD).all()


def test_the_loader_goes_on_from_any_place(toy):
    loader = Loader(toy, PretrainingOptions(tokens=1, seed=4), 2048, torch.device("cpu"))

    def take(start, n):
        items = loader.items(start)
        out = [next(items) for _ in range(n)]
        items.close()
        return out

    whole = take(Place(), 60)
    assert whole[-1].after.epoch > 0  # over the end of an epoch
    for cut in (1, 7, 16, 17, 45):
        for a, b in zip(whole[cut:], take(whole[cut - 1].after, 60 - cut), strict=True):
            assert (a.after, a.tokens) == (b.after, b.tokens)
            assert all(torch.equal(x, y) for x, y in zip(a.batch, b.batch, strict=True))
