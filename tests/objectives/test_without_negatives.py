"""BYOL, Barlow Twins, VICReg and SwAV against loops, by hand and at their limits."""

from __future__ import annotations

import math

import pytest
import torch

from anticollapse.objectives import (
    barlow_twins,
    byol,
    covariance_penalty,
    cross_correlation,
    sinkhorn_knopp,
    swav,
    variance_hinge,
    vicreg,
)


def views(n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return first, first + 0.5 * torch.randn(n, d, generator=generator, dtype=torch.float64)


def mean(values):
    return sum(values) / len(values)


def columns(x):
    return [list(c) for c in zip(*x.tolist(), strict=True)]


def naive_correlation(a, b):
    mean_a, mean_b = mean(a), mean(b)
    covariance = mean([(x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)])
    return covariance / math.sqrt(mean([(x - mean_a) ** 2 for x in a]) * mean([(y - mean_b) ** 2 for y in b]))


def naive_covariance(a, b):
    mean_a, mean_b = mean(a), mean(b)
    return sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)) / (len(a) - 1)


@pytest.mark.parametrize("d", [2, 5, 16])
@pytest.mark.parametrize("n", [2, 3, 20])
@pytest.mark.parametrize("weight", [0.0, 5e-3, 1.0])
def test_barlow_twins_equals_the_loop(n, d, weight):
    first, second = views(n, d)
    expected = 0.0
    for i, a in enumerate(columns(first)):
        for j, b in enumerate(columns(second)):
            c = naive_correlation(a, b)
            expected += (1 - c) ** 2 if i == j else weight * c**2
    assert barlow_twins(first, second, off_diagonal_weight=weight).item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("d", [2, 5, 16])
@pytest.mark.parametrize("n", [2, 3, 20])
def test_vicreg_equals_the_loop(n, d):
    first, second = views(n, d)
    distance = mean(
        [(x - y) ** 2 for a, b in zip(first.tolist(), second.tolist(), strict=True) for x, y in zip(a, b, strict=True)]
    )
    hinge, penalty = [], []
    for view in (columns(first), columns(second)):
        hinge.append(mean([max(0.0, 1 - math.sqrt(naive_covariance(c, c) + 1e-4)) for c in view]))
        off = [naive_covariance(a, b) ** 2 for i, a in enumerate(view) for j, b in enumerate(view) if i != j]
        penalty.append(sum(off) / d)
    expected = 3 * distance + 2 * mean(hinge) + 0.5 * sum(penalty)
    value = vicreg(first, second, invariance_weight=3, variance_weight=2, covariance_weight=0.5).item()
    assert value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("d", [2, 16])
@pytest.mark.parametrize("n", [1, 5])
def test_byol_equals_the_loop(n, d):
    first, second = views(n, d)
    expected = mean(
        [
            2 - 2 * sum(x * y for x, y in zip(a, b, strict=True)) / math.hypot(*a) / math.hypot(*b)
            for a, b in zip(first.tolist(), second.tolist(), strict=True)
        ]
    )
    assert byol(first, second).item() == pytest.approx(expected, abs=1e-12)


def naive_sinkhorn(scores, epsilon, iterations):
    n, k = len(scores), len(scores[0])
    q = [[math.exp(s / epsilon) for s in row] for row in scores]
    for _ in range(iterations):
        for j in range(k):
            total = sum(q[i][j] for i in range(n))
            for i in range(n):
                q[i][j] *= n / k / total
        for i in range(n):
            total = sum(q[i])
            q[i] = [x / total for x in q[i]]
    return q


@pytest.mark.parametrize("n", [1, 2, 12])
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("epsilon", [0.05, 0.5])
@pytest.mark.parametrize("iterations", [1, 3])
def test_sinkhorn_equals_the_loop(n, k, epsilon, iterations):
    scores = torch.rand(n, k, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 - 1
    codes = sinkhorn_knopp(scores, epsilon=epsilon, iterations=iterations)
    assert torch.allclose(
        codes, torch.tensor(naive_sinkhorn(scores.tolist(), epsilon, iterations), dtype=torch.float64)
    )


def test_sinkhorn_fills_clusters_evenly_and_cannot_overflow():
    scores = torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
    scores[:, 0] += 1.0  # everybody prefers cluster 0
    codes = sinkhorn_knopp(scores, epsilon=0.05, iterations=200)
    assert torch.allclose(codes.sum(dim=1), torch.ones(40), atol=1e-5)
    assert torch.allclose(codes.sum(dim=0), torch.full((4,), 10.0), atol=0.01)
    assert sinkhorn_knopp(scores * 1e4, epsilon=1e-3).isfinite().all()
    assert torch.allclose(sinkhorn_knopp(torch.zeros(6, 3)), torch.full((6, 3), 1 / 3))


def test_sinkhorn_rows_without_weight_take_no_room():
    scores = torch.rand(12, 3, generator=torch.Generator().manual_seed(0))
    weights = (torch.arange(12) < 7).float()
    codes = sinkhorn_knopp(scores, weights=weights)
    assert torch.allclose(codes[:7], sinkhorn_knopp(scores[:7]), atol=1e-6)
    assert torch.allclose(codes.sum(dim=1), torch.ones(12), atol=1e-6)
    with pytest.raises(ValueError, match=r"weights must have shape \(12,\), got \(3,\)"):
        sinkhorn_knopp(scores, weights=weights[:3])


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("k", [2, 5])
def test_swav_equals_the_loop(temperature, k):
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(6, k, generator=generator, dtype=torch.float64)
    second = torch.rand(6, k, generator=generator, dtype=torch.float64)
    expected = 0.0
    for scores, other in ((first.tolist(), second.tolist()), (second.tolist(), first.tolist())):
        codes = naive_sinkhorn(other, 0.05, 3)
        for row, code in zip(scores, codes, strict=True):
            log_total = math.log(sum(math.exp(s / temperature) for s in row))
            expected -= sum(q * (s / temperature - log_total) for q, s in zip(code, row, strict=True)) / 12
    assert swav(first, second, temperature=temperature).item() == pytest.approx(expected)


def test_by_hand():
    x = torch.tensor([[1.0, 0.0]])
    assert byol(x, -x).item() == pytest.approx(4.0)
    assert byol(x, 5 * x).item() == pytest.approx(0.0)
    square = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert torch.allclose(cross_correlation(square, square), torch.eye(2))
    swapped = square[:, [1, 0]]
    assert barlow_twins(square, swapped, off_diagonal_weight=0.5).item() == pytest.approx(2 + 0.5 * 2)
    line = torch.tensor([[1.0, 1.0], [-1.0, -1.0]])  # variance 2 in each dimension, covariance 2
    assert covariance_penalty(line).item() == pytest.approx(4.0)
    assert variance_hinge(0.25 * line).item() == pytest.approx(1 - math.sqrt(2 / 16 + 1e-4))


def test_collapse_costs():
    constant = torch.ones(8, 4)
    assert barlow_twins(constant, constant).item() == pytest.approx(4.0)  # no diagonal left
    assert vicreg(constant, constant).item() == pytest.approx(25 * (1 - math.sqrt(1e-4)))
    assert byol(constant, constant).item() == pytest.approx(0.0, abs=1e-6)  # BYOL's loss itself does not see it


def test_byol_target_is_a_constant():
    prediction, target = (x.requires_grad_() for x in views(3, 4))
    byol(prediction, target).backward()
    assert prediction.grad is not None
    assert target.grad is None


@pytest.mark.parametrize("loss", [barlow_twins, vicreg])
def test_gradients(loss):
    inputs = tuple(x.requires_grad_() for x in views(5, 3))
    assert torch.autograd.gradcheck(loss, inputs)


def test_gradient_of_byol_and_swav():
    prediction, target = views(5, 3)
    assert torch.autograd.gradcheck(lambda p: byol(p, target), (prediction.requires_grad_(),))
    # SwAV's codes are constants: the numeric gradient must hold them still, so the prediction alone is checked.
    scores, other = (x.detach() for x in views(5, 3))
    codes = sinkhorn_knopp(other)
    leaf = scores.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(swav(leaf, other), leaf)
    by_hand = (torch.softmax(scores / 0.1, dim=1) - codes) / 0.1 / 5 / 2
    assert torch.allclose(gradient, by_hand)


@pytest.mark.parametrize("loss", [byol, barlow_twins, vicreg, swav])
def test_bfloat16_is_widened(loss):
    first, second = (x.bfloat16() for x in views(32, 16))
    value = loss(first, second)
    assert value.dtype == torch.float32
    assert value.item() == loss(first.float(), second.float()).item()


def test_errors_name_the_bad_value():
    x = torch.randn(3, 4)
    for loss in (byol, barlow_twins, vicreg, swav):
        with pytest.raises(ValueError, match=r"one shape, got \(3, 4\) and \(2, 4\)"):
            loss(x, x[:2])
    for loss in (barlow_twins, vicreg):
        with pytest.raises(ValueError, match="at least 2 rows, got 1"):
            loss(x[:1], x[:1])
    with pytest.raises(ValueError, match="epsilon must be above 0, got 0"):
        sinkhorn_knopp(x, epsilon=0)
    with pytest.raises(ValueError, match="iterations must be above 0, got 0"):
        sinkhorn_knopp(x, iterations=0)
    with pytest.raises(ValueError, match="off_diagonal_weight must not be below 0, got -1"):
        barlow_twins(x, x, off_diagonal_weight=-1)
    with pytest.raises(ValueError, match="variance_weight must not be below 0, got -1"):
        vicreg(x, x, variance_weight=-1)
