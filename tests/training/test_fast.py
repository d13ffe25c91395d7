"""The faster dropout and attention do what the plain ones do."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from anticollapse.training.fast import ATTENTION, FastDropout, attention, fast_dropout, faster


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_the_share_and_the_expectation(rate, dtype):
    torch.manual_seed(0)
    out = fast_dropout(torch.ones(401, 1003, dtype=dtype), rate)
    assert out.dtype == dtype
    dropped = (out == 0).float().mean().item()
    assert dropped == pytest.approx(rate, abs=0.005)
    kept = out[out != 0].float()
    assert torch.allclose(kept, torch.full_like(kept, 1 / (1 - rate)), rtol=0.01 if dtype == torch.bfloat16 else 1e-4)
    rows = (out == 0).float().mean(dim=1)
    assert rows.std().item() == pytest.approx((rate * (1 - rate) / 1003) ** 0.5, rel=0.15)


def test_neighbours_are_independent():
    torch.manual_seed(0)
    zero = (fast_dropout(torch.ones(2_000_000), 0.3) == 0).float() - 0.3
    for lag in (1, 2, 3, 4, 5, 8):
        assert abs((zero[:-lag] * zero[lag:]).mean().item()) / 0.21 < 0.004


def test_gradient_passes_where_the_value_did():
    x = torch.randn(7, 33, requires_grad=True)
    out = fast_dropout(x, 0.4)
    out.sum().backward()
    assert torch.equal(x.grad == 0, out == 0)
    assert torch.allclose(x.grad[out != 0], (out / x.detach())[out != 0])


def test_dropout_is_seeded_and_can_be_off():
    x = torch.randn(5, 9)
    outs = []
    for _ in range(2):
        torch.manual_seed(3)
        outs.append(fast_dropout(x, 0.5))
    assert torch.equal(*outs)
    assert torch.equal(fast_dropout(x, 0.0), x)
    module = FastDropout(0.5)
    assert torch.equal(module.eval()(x), x)
    assert not torch.equal(module.train()(x), x)


def test_strided_input():
    x = torch.randn(6, 8).T
    torch.manual_seed(0)
    out = fast_dropout(x, 0.5)
    assert torch.equal(out[out != 0], (x * 2)[out != 0])


def test_attention_equals_torch():
    torch.manual_seed(0)
    query, key, value = (torch.randn(3, 4, n, 8) for n in (5, 6, 6))
    mask = torch.zeros(3, 1, 5, 6).masked_fill(torch.rand(3, 1, 1, 6) < 0.3, -1e9)
    expected = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2)
    out, weights = attention(nn.Identity(), query, key, value, mask)
    assert torch.allclose(out, expected, atol=1e-6)
    assert weights is None


def test_model_gives_the_same_and_is_restored(tiny_encoder):
    model = tiny_encoder.model.eval()
    bert = model[0].auto_model
    features = model.preprocess(["the cat sees the dog .", "the old river"])
    before = model(dict(features))["sentence_embedding"]
    dropouts = [m for m in bert.modules() if isinstance(m, nn.Dropout)]
    with faster(bert):
        assert bert.config._attn_implementation == ATTENTION
        assert all(type(m) is FastDropout for m in bert.modules() if isinstance(m, nn.Dropout))
        assert torch.allclose(model(dict(features))["sentence_embedding"], before, atol=1e-6)
        bert.train()
        one, two = (model(dict(features))["sentence_embedding"] for _ in range(2))
        assert not torch.equal(one, two)
        bert.eval()
    assert bert.config._attn_implementation != ATTENTION
    assert [m for m in bert.modules() if isinstance(m, nn.Dropout)] == dropouts
    assert torch.equal(model(dict(features))["sentence_embedding"], before)


def test_dropout_of_a_whole_model_has_the_plain_ones_spread(tiny_encoder):
    """Mean and spread of a sentence vector over many dropout masks, fast against plain."""
    model = tiny_encoder.model
    bert = model[0].auto_model
    features = {
        k: v.repeat(2000, 1) for k, v in model.preprocess(["the cat sees the dog ."]).items() if torch.is_tensor(v)
    }
    model.train()
    torch.manual_seed(0)
    with torch.no_grad():
        plain = model(dict(features))["sentence_embedding"]
        with faster(bert):
            fast = model(dict(features))["sentence_embedding"]
    assert torch.allclose(plain.mean(dim=0), fast.mean(dim=0), atol=6 * plain.std(dim=0).max().item() / 2000**0.5)
    assert fast.std(dim=0).mean().item() == pytest.approx(plain.std(dim=0).mean().item(), rel=0.05)
