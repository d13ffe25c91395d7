"""InfoNCE and NT-Xent against double loops over dimensions, temperatures and queue sizes."""

from __future__ import annotations

import math

import pytest
import torch

from anticollapse.objectives import info_nce, nt_xent


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(x * x for x in b))


def views(n, d, q, seed=0):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, d, generator=generator, dtype=torch.float64)
    second = first + 0.5 * torch.randn(n, d, generator=generator, dtype=torch.float64)
    negatives = torch.randn(q, d, generator=generator, dtype=torch.float64)
    exclude = torch.rand(n, n, generator=generator) < 0.3
    return first, second, negatives, exclude | exclude.T, torch.rand(n, q, generator=generator) < 0.3


def naive_info_nce(queries, keys, temperature, negatives, exclude, exclude_negatives):
    total = 0.0
    for i in range(len(queries)):
        own = math.exp(cosine(queries[i], keys[i]) / temperature)
        denominator = own
        for j in range(len(keys)):
            if j != i and not exclude[i][j]:
                denominator += math.exp(cosine(queries[i], keys[j]) / temperature)
        for m in range(len(negatives)):
            if not exclude_negatives[i][m]:
                denominator += math.exp(cosine(queries[i], negatives[m]) / temperature)
        total -= math.log(own / denominator)
    return total / len(queries)


def naive_nt_xent(first, second, temperature, negatives, exclude, exclude_negatives):
    n, rows, total = len(first), first + second, 0.0
    for i in range(2 * n):
        own = math.exp(cosine(rows[i], rows[(i + n) % (2 * n)]) / temperature)
        denominator = own
        for j in range(2 * n):
            if i % n != j % n and not exclude[i % n][j % n]:
                denominator += math.exp(cosine(rows[i], rows[j]) / temperature)
        for m in range(len(negatives)):
            if not exclude_negatives[i % n][m]:
                denominator += math.exp(cosine(rows[i], negatives[m]) / temperature)
        total -= math.log(own / denominator)
    return total / (2 * n)


@pytest.mark.parametrize(("loss", "naive"), [(info_nce, naive_info_nce), (nt_xent, naive_nt_xent)])
@pytest.mark.parametrize("d", [2, 16])
@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0])
@pytest.mark.parametrize("queue", [0, 1, 10])
@pytest.mark.parametrize("n", [1, 2, 6])
@pytest.mark.parametrize("masked", [False, True])
def test_equals_the_double_loop(loss, naive, d, temperature, queue, n, masked):
    first, second, negatives, exclude, exclude_negatives = views(n, d, queue)
    masks = {"exclude": exclude, "exclude_negatives": exclude_negatives} if masked else {}
    value = loss(first, second, temperature=temperature, negatives=negatives, **masks).item()
    keep = (
        (exclude if masked else torch.zeros(n, n)).tolist(),
        (exclude_negatives if masked else torch.zeros(n, queue)).tolist(),
    )
    expected = naive(first.tolist(), second.tolist(), temperature, negatives.tolist(), *keep)
    assert value == pytest.approx(expected, abs=1e-9)


def test_angles_by_hand():
    degrees = torch.tensor([0.0, 90.0], dtype=torch.float64).deg2rad()
    x = torch.stack([degrees.cos(), degrees.sin()], dim=1)
    turned = (degrees + math.radians(60)).unsqueeze(1)
    y = torch.cat([turned.cos(), turned.sin()], dim=1)
    # Anchor at 0°: own key at 60° (cosine 1/2), the other at 150° (-sqrt(3)/2).
    # Anchor at 90°: own key at 150° (1/2), the other at 60° (sqrt(3)/2).
    root = math.sqrt(3) / 2
    expected = (math.log1p(math.exp(-root - 0.5)) + math.log1p(math.exp(root - 0.5))) / 2
    assert info_nce(x, y, temperature=1.0).item() == pytest.approx(expected)


@pytest.mark.parametrize("loss", [info_nce, nt_xent])
def test_limits(loss):
    one = torch.randn(1, 4)
    assert loss(one, one).item() == pytest.approx(0.0, abs=1e-6)  # nothing to be told apart from
    constant = torch.ones(8, 4)
    candidates = 8 if loss is info_nce else 15
    assert loss(constant, constant).item() == pytest.approx(math.log(candidates), rel=1e-5)  # collapsed: pure chance
    apart = torch.eye(4)
    assert loss(apart, apart, temperature=0.05).item() < 1e-6
    everything = torch.ones(8, 8, dtype=torch.bool)
    assert loss(constant, constant, exclude=everything).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("loss", [info_nce, nt_xent])
def test_an_excluded_key_gets_no_gradient(loss):
    first, second, negatives, _, _ = views(3, 4, 2)
    negatives.requires_grad_()
    mask = torch.zeros(3, 2, dtype=torch.bool)
    mask[:, 1] = True
    (gradient,) = torch.autograd.grad(loss(first, second, negatives=negatives, exclude_negatives=mask), negatives)
    assert gradient[0].abs().sum() > 0
    assert gradient[1].abs().sum() == 0


@pytest.mark.parametrize("loss", [info_nce, nt_xent])
@pytest.mark.parametrize("queue", [0, 3])
def test_gradients(loss, queue):
    first, second, negatives, exclude, exclude_negatives = views(4, 5, queue)
    assert torch.autograd.gradcheck(
        lambda a, b: loss(
            a, b, temperature=0.5, negatives=negatives, exclude=exclude, exclude_negatives=exclude_negatives
        ),
        (first.requires_grad_(), second.requires_grad_()),
    )


@pytest.mark.parametrize("loss", [info_nce, nt_xent])
def test_bfloat16_is_widened(loss):
    first, second, negatives, _, _ = (x.bfloat16() if x.is_floating_point() else x for x in views(32, 16, 10))
    value = loss(first, second, negatives=negatives)
    assert value.dtype == torch.float32
    assert value.item() == loss(first.float(), second.float(), negatives=negatives.float()).item()


@pytest.mark.parametrize("loss", [info_nce, nt_xent])
def test_errors_name_the_bad_value(loss):
    x = torch.randn(3, 4)
    with pytest.raises(ValueError, match=r"temperature must be above 0, got 0"):
        loss(x, x, temperature=0)
    with pytest.raises(ValueError, match=r"one shape, got \(3, 4\) and \(2, 4\)"):
        loss(x, x[:2])
    with pytest.raises(ValueError, match="4 dimensions like the queries, got 5"):
        loss(x, x, negatives=torch.randn(2, 5))
    with pytest.raises(ValueError, match=r"exclude must have shape \(3, 3\), got \(3, 2\)"):
        loss(x, x, exclude=torch.zeros(3, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"N >= 1"):
        loss(x[:0], x[:0])
