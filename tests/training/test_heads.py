"""Cross-attention against torch's, with the other side's mask, and the projector."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from anticollapse.errors import OptionError
from anticollapse.training.heads import CrossAttention, CrossAttentionBlock, Projector


def tokens(pairs=3, length=7, dim=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(2 * pairs, length, dim, generator=generator)
    lengths = torch.randint(2, length + 1, (2 * pairs,), generator=generator)
    return states, torch.arange(length)[None, :] < lengths[:, None]


def reference(block, own, other, other_mask):
    """nn.MultiheadAttention with the same weights, then residual and LayerNorm."""
    attention = nn.MultiheadAttention(own.shape[2], block.heads, batch_first=True)
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([block.query.weight, block.key.weight, block.value.weight]))
        attention.in_proj_bias.copy_(torch.cat([block.query.bias, block.key.bias, block.value.bias]))
        attention.out_proj.weight.copy_(block.output.weight)
        attention.out_proj.bias.copy_(block.output.bias)
    mixed, _ = attention(own, other, other, key_padding_mask=~other_mask)
    return block.norm(own + mixed)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_multihead_attention_with_the_other_mask(heads, seed):
    block = CrossAttentionBlock(16, heads, 0.0)
    for layer in (block.query, block.key, block.value, block.output):
        nn.init.normal_(layer.weight, std=0.3)
        nn.init.normal_(layer.bias, std=0.3)
    own, own_mask = tokens(seed=seed)
    other, other_mask = own.roll(3, dims=0), own_mask.roll(3, dims=0)
    expected = reference(block, own, other, other_mask)
    assert torch.allclose(block(own, other, other_mask), expected, atol=1e-6)
    # With its own mask instead it would be something else, so the mask is seen to matter.
    assert not torch.allclose(reference(block, own, other, own_mask), expected, atol=1e-3)


def test_pairs_are_pooled_with_their_own_mask():
    block = CrossAttentionBlock(16, 4, 0.0)
    states, mask = tokens()
    first, second = block.pair_vectors(states, mask)
    for i in range(3):
        for out, own, other in ((first, i, i + 3), (second, i + 3, i)):
            mixed = block(states[own : own + 1], states[other : other + 1], mask[other : other + 1])[0]
            assert torch.allclose(out[i], mixed[mask[own]].mean(dim=0), atol=1e-6)


def test_padding_of_either_sentence_changes_nothing():
    block = CrossAttentionBlock(16, 4, 0.0).eval()
    states, mask = tokens()
    noisy = torch.where(mask[:, :, None], states, 1e3 * torch.randn_like(states))
    for before, after in zip(block.pair_vectors(states, mask), block.pair_vectors(noisy, mask), strict=True):
        assert torch.equal(before, after)
    real = states.clone()
    real[3, 0] += 1  # a real token of the second sentence of pair 0 changes the first sentence's vector
    assert not torch.allclose(block.pair_vectors(real, mask)[0][0], block.pair_vectors(states, mask)[0][0])


def test_directions_share_their_weights():
    block = CrossAttentionBlock(16, 4, 0.0)
    states, mask = tokens()
    swapped = block.pair_vectors(states.roll(3, dims=0), mask.roll(3, dims=0))
    assert torch.equal(torch.cat(swapped[::-1]), torch.cat(block.pair_vectors(states, mask)))


def test_dropout_is_on_in_training_only():
    block = CrossAttentionBlock(16, 4, 0.5)
    states, mask = tokens()
    assert not torch.equal(block.pair_vectors(states, mask)[0], block.pair_vectors(states, mask)[0])
    block.eval()
    assert torch.equal(block.pair_vectors(states, mask)[0], block.pair_vectors(states, mask)[0])


def test_heads_follow_the_backbone():
    assert CrossAttention().build(32, 4, 0.1).heads == 4
    assert CrossAttention(attention_heads=8).build(32, 4, 0.1).heads == 8
    with pytest.raises(OptionError, match="5 attention heads do not divide the backbone's 32 dimensions"):
        CrossAttention(attention_heads=5).build(32, 4, 0.1)


def test_projector():
    kinds = [type(m).__name__ for m in Projector().build(8, 1, 0.1)]
    assert kinds == ["Linear", "ReLU", "Linear"]
    simcse = Projector(layers=1, activation="tanh", activate_output=True).build(8, 1, 0.1)
    assert [type(m).__name__ for m in simcse] == ["Linear", "Tanh"]
    barlow = Projector(layers=3, hidden_ratio=4.0, output_ratio=2.0, batch_norm=True).build(8, 1, 0.1)
    assert [type(m).__name__ for m in barlow] == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]
    assert barlow(torch.randn(5, 8)).shape == (5, 16)
    barlow.eval()  # still over the batch: the head keeps no running statistics
    a, b = torch.randn(4, 8), torch.randn(4, 8)
    assert not torch.allclose(barlow(torch.cat([a, b]))[:4], barlow(a), atol=1e-4)
