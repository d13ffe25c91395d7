"""Queue, momentum copy and filter."""

from __future__ import annotations

from collections import deque

import pytest
import torch
from torch import nn

from anticollapse.training.negatives import (
    Clusterer,
    ClusterFilter,
    KeyQueue,
    MomentumCopy,
    known_positives,
    same_cluster,
)


@pytest.mark.parametrize(("batch", "size"), [(64, 160), (3, 7), (5, 5), (4, 1), (10, 6)])
def test_no_key_is_lost_at_the_wrap(batch, size):
    """Against a deque, over 1,000 steps, with batches of changing size."""
    queue, expected = KeyQueue(size, 2), deque(maxlen=size)
    number = 0
    for step in range(1000):
        n = batch - (step % 3 == 0 and batch > 1)
        ids = torch.arange(number, number + n)
        queue.enqueue(torch.stack([ids, -ids], dim=1).float(), ids)
        expected.extend(ids.tolist())
        number += n
        keys, held = queue.in_order()
        assert held.tolist() == list(expected)
        assert keys[:, 0].tolist() == [float(i) for i in expected]
    assert queue.count == number


def test_every_key_is_seen_for_as_long_as_the_queue_is():
    queue, seen = KeyQueue(160, 1), {}
    for step in range(30):
        ids = torch.arange(step * 64, step * 64 + 64)
        for i in queue.ids[queue.filled].tolist():
            seen[i] = seen.get(i, 0) + 1
        queue.enqueue(ids[:, None].float(), ids)
    # Two and a half batches: every key takes part in two or three later steps; a ring that dropped its overflow lost
    # 17 %.
    counts = [seen.get(i, 0) for i in range(64 * 25)]
    assert set(counts) == {2, 3}
    assert sum(counts) / len(counts) == pytest.approx(2.5)


def test_it_starts_empty():
    queue = KeyQueue(5, 3)
    assert not queue.filled.any()
    assert queue.fill == 0
    queue.enqueue(torch.ones(2, 3), torch.tensor([7, 8]))
    assert queue.filled.tolist() == [True, True, False, False, False]
    assert queue.fill.item() == pytest.approx(0.4)
    with pytest.raises(ValueError, match="at least 1 slot, got 0"):
        KeyQueue(0, 3)


def test_its_state_is_in_the_state_dict():
    queue = KeyQueue(5, 3)
    queue.enqueue(torch.randn(7, 3), torch.arange(7))
    copy = KeyQueue(5, 3)
    copy.load_state_dict(queue.state_dict())
    for one in (queue, copy):
        one.enqueue(torch.ones(1, 3), torch.tensor([9]))
    assert torch.equal(queue.keys, copy.keys)
    assert queue.in_order()[1].tolist() == copy.in_order()[1].tolist() == [3, 4, 5, 6, 9]
    assert set(queue.state_dict()) == {"keys", "ids", "count"}


def network(seed):
    torch.manual_seed(seed)
    return nn.ModuleDict({"encoder": nn.ModuleList([nn.Linear(4, 4), nn.Dropout(0.5)]), "head": nn.Linear(4, 2)})


def test_momentum_copy_follows_exactly():
    online = network(0)
    copy = MomentumCopy(online)
    expected = {k: v.clone() for k, v in online.state_dict().items()}
    for step in range(5):
        with torch.no_grad():
            for weight in online.parameters():
                weight.add_(torch.randn_like(weight, memory_format=torch.contiguous_format))
        copy.update(online, 0.9)
        for name, weight in online.state_dict().items():
            expected[name] = 0.9 * expected[name] + 0.1 * weight
        for name, value in copy.copies.state_dict().items():
            assert torch.allclose(value, expected[name], atol=1e-6), (step, name)


def test_momentum_copy_is_all_buffers_and_never_trains():
    online = network(0)
    copy = MomentumCopy(online)
    assert list(copy.parameters()) == []
    assert set(copy.copies.state_dict()) == set(online.state_dict())
    copy.train()
    x = torch.randn(3, 4)
    out = copy.copies["encoder"][1](copy.copies["encoder"][0](x))
    assert torch.equal(out, online["encoder"][0](x))  # dropout is off, and the weights are the online ones
    assert not out.requires_grad
    with torch.no_grad():
        online["head"].weight.zero_()
    assert copy.copies["head"].weight.abs().sum() > 0  # no shared memory
    for decay, expected in ((1.0, False), (0.0, True)):
        copy.update(online, decay)
        assert torch.equal(copy.copies["head"].weight, online["head"].weight) == expected


def test_clusters_of_two_clear_groups():
    torch.manual_seed(0)
    clusterer = Clusterer(ClusterFilter(prototypes=2), 4)
    with torch.no_grad():
        clusterer.prototypes.copy_(torch.eye(4)[:2])
    batch = torch.eye(4)[[0, 1, 0, 1]]
    queue = torch.eye(4)[[1, 0, 3]]
    filled = torch.tensor([True, True, False])
    clusters, queue_clusters = clusterer.clusters(batch, queue, filled)
    assert clusters.tolist() == [0, 1, 0, 1]
    assert queue_clusters.tolist() == [1, 0, -1]
    assert same_cluster(clusters, queue_clusters).tolist() == [
        [False, True, False],
        [True, False, False],
        [False, True, False],
        [True, False, False],
    ]
    alone, none = clusterer.clusters(batch, None, None)
    assert alone.tolist() == [0, 1, 0, 1]
    assert none is None


def test_known_positives_equal_a_loop():
    generator = torch.Generator().manual_seed(0)
    n = 20
    pairs = torch.randint(0, n, (15, 2), generator=generator)
    both = torch.cat([pairs, pairs.flip(1)])
    codes = torch.unique(both[:, 0] * n + both[:, 1])
    ids = torch.randint(0, n, (8,), generator=generator)
    others = torch.cat([torch.randint(0, n, (9,), generator=generator), torch.tensor([-1])])
    found = known_positives(ids, others, codes, n)
    graded = {tuple(p) for p in both.tolist()}
    for i, a in enumerate(ids.tolist()):
        for j, b in enumerate(others.tolist()):
            assert found[i, j].item() == (b >= 0 and (a == b or (a, b) in graded))
    assert known_positives(ids, ids, codes[:0], n).equal(ids[:, None] == ids[None, :])
