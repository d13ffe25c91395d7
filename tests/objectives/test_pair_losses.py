"""The losses of graded pairs and triplets against double loops, cases that can be checked by hand, and their limits."""

from __future__ import annotations

import math

import pytest
import torch

from anticollapse.objectives import angle, angle_difference, cosent, cosine_mse, hardest_negatives, pairwise, triplet

DIMENSIONS = [2, 8, 64]
SIZES = [1, 2, 7]


def cosine(a, b):
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(x * x for x in b))


def pairs(n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, d, generator=generator, dtype=torch.float64)
    second = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return first, second, torch.randint(0, 6, (n,), generator=generator).double()


def naive_ranking(values, labels):
    total = 1.0
    for i in range(len(values)):
        for j in range(len(values)):
            if labels[i] > labels[j]:
                total += math.exp(values[j] - values[i])
    return math.log(total)


def naive_angle(a, b):
    half = len(a) // 2
    z = [complex(a[k], a[half + k]) for k in range(half)]
    w = [complex(b[k], b[half + k]) for k in range(half)]
    squared = sum(abs(x) ** 2 for x in w)
    length_z, length_w = math.sqrt(sum(abs(x) ** 2 for x in z)), math.sqrt(squared)
    total = 0.0
    for x, y in zip(z, w, strict=True):
        quotient = x * y.conjugate() / squared / (length_z / length_w)
        total += quotient.real + quotient.imag
    return abs(total)


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("n", SIZES)
def test_cosine_mse_equals_the_loop(n, d):
    first, second, labels = pairs(n, d)
    expected = (
        sum((cosine(a, b) - y / 5) ** 2 for a, b, y in zip(first.tolist(), second.tolist(), labels, strict=True)) / n
    )
    assert cosine_mse(first, second, labels).item() == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("scale", [1.0, 5.0, 20.0])
def test_cosent_equals_the_loop(n, d, scale):
    first, second, labels = pairs(n, d)
    values = [scale * cosine(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    assert cosent(first, second, labels, scale=scale).item() == pytest.approx(naive_ranking(values, labels), abs=1e-10)


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_angle_equals_the_loop_in_complex_numbers(n, d, scale):
    first, second, labels = pairs(n, d)
    values = [scale * naive_angle(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    assert angle(first, second, labels, scale=scale).item() == pytest.approx(naive_ranking(values, labels), abs=1e-10)


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("margin", [0.0, 0.1, 0.5])
def test_pairwise_equals_the_loop(n, d, margin):
    first, second, labels = pairs(n, d)
    values = [cosine(a, b) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    terms = [max(0.0, values[j] - values[i] + margin) for i in range(n) for j in range(n) if labels[i] > labels[j]]
    expected = sum(terms) / len(terms) if terms else 0.0
    assert pairwise(first, second, labels, margin=margin).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("d", DIMENSIONS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("margin", [0.0, 0.2, 1.0])
def test_triplet_equals_the_loop(n, d, margin):
    anchor, positive, _ = pairs(n, d)
    negative, _, _ = pairs(n, d, seed=1)
    rows = list(zip(anchor.tolist(), positive.tolist(), negative.tolist(), strict=True))
    terms = [max(0.0, cosine(a, x) - cosine(a, p) + margin) for a, p, x in rows]
    assert triplet(anchor, positive, negative, margin=margin).item() == pytest.approx(sum(terms) / n, abs=1e-12)
    weights = torch.tensor([float(i % 2 == 0) for i in range(n)])
    kept = [t for i, t in enumerate(terms) if i % 2 == 0]
    value = triplet(anchor, positive, negative, margin=margin, weights=weights).item()
    assert value == pytest.approx(sum(kept) / len(kept), abs=1e-12)


def test_hardest_negative_is_the_nearest_allowed():
    anchor = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    candidates = torch.tensor([[1.0, 0.1], [0.5, 0.5], [-1.0, 0.0]])
    allowed = torch.tensor([[False, True, True], [False, False, False]])
    rows, any_allowed = hardest_negatives(anchor, candidates, allowed)
    assert rows[0] == 1
    assert any_allowed.tolist() == [True, False]


def test_by_hand():
    x, y = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    diagonal = torch.tensor([[1.0, 1.0]])
    assert cosine_mse(x, diagonal, torch.tensor([0.0])).item() == pytest.approx(0.5)
    assert cosine_mse(x, x, torch.tensor([5.0])).item() == pytest.approx(0.0, abs=1e-7)
    assert cosine_mse(x, y, torch.tensor([1.0]), label_range=1.0).item() == pytest.approx(1.0)
    # The unit vectors 1 and i in complex space: 1 / i = -i, so the parts sum to -1 and the absolute value is 1.
    assert angle_difference(x, y).item() == pytest.approx(1.0)
    assert angle_difference(x, x).item() == pytest.approx(1.0)
    # 1 / exp(i 135°) = exp(-i 135°): the parts sum to -sqrt(2).
    assert angle_difference(x, torch.tensor([[-1.0, 1.0]])).item() == pytest.approx(math.sqrt(2))
    first = torch.cat([x, x])
    second = torch.cat([diagonal, y])  # cosines 0.707 and 0
    assert cosent(first, second, torch.tensor([5.0, 0.0]), scale=1.0).item() == pytest.approx(
        math.log(1 + math.exp(-math.sqrt(0.5))), abs=1e-6
    )
    assert pairwise(first, second, torch.tensor([0.0, 5.0]), margin=0.0).item() == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("loss", [cosent, angle, pairwise])
def test_equal_labels_teach_nothing(loss):
    first, second, _ = pairs(4, 6)
    first.requires_grad_()
    value = loss(first, second, torch.full((4,), 3.0))
    value.backward()
    assert value.item() == 0
    assert torch.equal(first.grad, torch.zeros_like(first))


@pytest.mark.parametrize("loss", [cosent, pairwise])
def test_scale_of_the_vectors_does_not_count(loss):
    first, second, labels = pairs(5, 6)
    assert loss(first * 1e3, second * 1e-3, labels).item() == pytest.approx(
        loss(first, second, labels).item(), rel=1e-9
    )


@pytest.mark.parametrize("loss", [cosine_mse, cosent, angle, pairwise])
def test_gradients(loss):
    first, second, labels = pairs(4, 6)
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, labels), (first.requires_grad_(), second.requires_grad_()))


def test_triplet_gradient():
    anchor, positive, _ = pairs(4, 6)
    negative, _, _ = pairs(4, 6, seed=1)
    inputs = tuple(x.requires_grad_() for x in (anchor, positive, negative))
    assert torch.autograd.gradcheck(lambda a, p, n: triplet(a, p, n, margin=1.0), inputs)


@pytest.mark.parametrize("loss", [cosine_mse, cosent, angle, pairwise])
def test_bfloat16_is_widened_before_any_sum(loss):
    first, second, labels = (x.bfloat16() for x in pairs(64, 32))
    half = loss(first, second, labels)
    assert half.dtype == torch.float32
    assert half.item() == loss(first.float(), second.float(), labels.float()).item()


@pytest.mark.parametrize("loss", [cosine_mse, cosent, angle, pairwise])
@pytest.mark.parametrize("spoil", ["shape", "labels", "vector", "integers"])
def test_bad_shapes_are_named(loss, spoil):
    first, second, labels = pairs(3, 4)
    if spoil == "shape":
        second = second[:2]
    elif spoil == "labels":
        labels = labels[:, None]
    elif spoil == "vector":
        first = first[0]
    else:
        first = first.long()
    with pytest.raises(ValueError, match=r"\(.*\)"):
        loss(first, second, labels)


@pytest.mark.parametrize(
    ("loss", "option"),
    [(cosine_mse, "label_range"), (cosent, "scale"), (angle, "scale"), (pairwise, "margin")],
)
def test_bad_parameters_are_named(loss, option):
    with pytest.raises(ValueError, match=rf"{option} must .* got -1"):
        loss(*pairs(3, 4), **{option: -1.0})


def test_angle_needs_even_dimensions():
    with pytest.raises(ValueError, match="even number of dimensions"):
        angle(*pairs(3, 5))


def test_zero_vectors_stay_finite():
    first, second, labels = pairs(3, 4)
    first = torch.zeros_like(first).requires_grad_()
    for loss in (cosine_mse, cosent, angle, pairwise):
        value = loss(first, second, labels)
        (gradient,) = torch.autograd.grad(value, first)
        assert value.isfinite()
        assert gradient.isfinite().all()
