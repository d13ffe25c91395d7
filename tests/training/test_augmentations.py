"""Augmentations change what they should, and nothing else."""

from __future__ import annotations

import pytest
import torch

from anticollapse.training.augmentations import (
    Adversarial,
    FeatureCutoff,
    TokenCutoff,
    TokenShuffle,
    WordRepetition,
)
from anticollapse.training.batch import TokenRows

CLS, SEP, PAD = 1, 2, 0


def rows(lengths=(3, 10, 6, 2, 25), limit=None, types=False):
    n, width = len(lengths), max(lengths)
    ids = torch.zeros(n, width, dtype=torch.long)
    mask = torch.arange(width)[None, :] < torch.tensor(lengths)[:, None]
    for i, length in enumerate(lengths):
        ids[i, :length] = torch.tensor([CLS, *range(10, 8 + length), SEP])
    special = (ids <= SEP) | ~mask
    return TokenRows(ids, mask, special, (ids * 3) * mask if types else None, limit)


def words(changed):
    return [row[m].tolist() for row, m in zip(changed.ids, changed.mask, strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_shuffle_permutes_what_is_not_special(seed):
    before = rows(types=True)
    after = TokenShuffle().apply(before, torch.Generator().manual_seed(seed))
    for old, new in zip(words(before), words(after), strict=True):
        assert new[0] == CLS
        assert new[-1] == SEP
        assert sorted(new) == sorted(old)
    assert words(after)[4] != words(before)[4]
    assert torch.equal(after.mask, before.mask)
    assert torch.equal(after.special, before.special)
    assert torch.equal(after.types, after.ids * 3 * after.mask)  # types go with their tokens


def test_shuffle_is_uniform_and_can_be_left_out():
    before = rows(lengths=(5,) * 6000)
    after = TokenShuffle().apply(before, torch.Generator().manual_seed(0))
    orders = {}
    for row in after.ids[:, 1:4].tolist():
        orders[tuple(row)] = orders.get(tuple(row), 0) + 1
    assert len(orders) == 6
    assert all(850 < count < 1150 for count in orders.values())
    none = TokenShuffle(share=0.0).apply(before)
    assert torch.equal(none.ids, before.ids)


@pytest.mark.parametrize("rate", [0.1, 0.32, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_repetition_doubles_some_words_in_place(rate, seed):
    before = rows(types=True)
    after = WordRepetition(rate=rate).apply(before, torch.Generator().manual_seed(seed))
    for old, new in zip(words(before), words(after), strict=True):
        most = min(len(old) - 2, max(2, int(rate * (len(old) - 2))))
        assert 0 <= len(new) - len(old) <= most
        assert list(dict.fromkeys(new)) == old  # once the doubles are taken out it is the old sentence, in order
        assert all(new.count(word) <= 2 for word in new)
        assert new.count(CLS) == new.count(SEP) == 1
    assert torch.equal(after.special, (after.ids <= SEP) | ~after.mask)
    assert torch.equal(after.types, after.ids * 3 * after.mask)


def test_repetition_draws_every_count_and_keeps_the_limit():
    before = rows(lengths=(12,) * 4000, limit=14)
    generator = torch.Generator().manual_seed(0)
    free = WordRepetition(rate=0.5).apply(TokenRows(before.ids, before.mask, before.special), generator)
    counts = torch.bincount(free.mask.sum(dim=1) - 12)
    assert len(counts) == 6  # 0 to 5 of 10 words
    assert all(550 < count < 800 for count in counts.tolist())
    kept = WordRepetition(rate=0.5).apply(before, generator)
    assert kept.mask.sum(dim=1).max() == 14
    full = WordRepetition().apply(rows(lengths=(14, 14), limit=14), generator)
    assert full.ids.shape == (2, 14)
    assert WordRepetition(rate=0.0).apply(before) is before


def test_cutoffs_cut_the_share_asked_for():
    special = rows(lengths=(100,) * 200).special
    torch.manual_seed(0)
    tokens = TokenCutoff(rate=0.3).mask(special, 8)
    assert tokens.shape == (200, 100, 1)
    assert tokens[special].all()
    assert 1 - tokens[~special].mean().item() == pytest.approx(0.3, abs=0.02)
    features = FeatureCutoff(rate=0.2).mask(special, 64)
    assert features.shape == (200, 1, 64)
    assert 1 - features.mean().item() == pytest.approx(0.2, abs=0.02)


def test_views():
    assert [TokenShuffle(view=1).changes(v) for v in (1, 2)] == [True, False]
    assert [FeatureCutoff().changes(v) for v in (1, 2)] == [False, True]
    assert [TokenCutoff(view=0).changes(v) for v in (1, 2)] == [True, True]


def test_adversarial_step_has_the_length_asked_for():
    torch.manual_seed(0)
    embeddings, gradient = torch.randn(3, 5, 8), torch.randn(3, 5, 8)
    gradient[2] = 0
    step = Adversarial(epsilon=0.5).step(gradient, embeddings)
    expected = 0.5 * embeddings.norm(dim=2).mean(dim=1)
    assert torch.allclose(step.flatten(1).norm(dim=1)[:2], expected[:2])
    assert torch.equal(step[2], torch.zeros(5, 8))
    assert torch.nn.functional.cosine_similarity(step[0].flatten(), gradient[0].flatten(), dim=0) > 0.999
