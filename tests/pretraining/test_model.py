"""The network: packed rows are what single sentences are, starting values, size."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from anticollapse.errors import OptionError
from anticollapse.pretraining.engine import make_optimizer, peak_flops
from anticollapse.pretraining.model import (
    OFFSETS,
    MaskedLanguageModel,
    build_model,
    flops_per_token,
)
from anticollapse.pretraining.options import PretrainingOptions, parse_size, rate_at

TINY = PretrainingOptions(tokens=1, size="2x64")


def packed(lengths, places, random):
    """One row that holds sequences of these lengths, and each of them alone."""
    ids, segments, positions = (torch.zeros(1, places, dtype=torch.long) for _ in range(3))
    alone, start = [], 0
    for number, length in enumerate(lengths, start=1):
        one = torch.randint(5, 90, (length,), generator=random)
        where = slice(start, start + length)
        ids[0, where], segments[0, where], positions[0, where] = one, number, torch.arange(length)
        alone.append((start, one))
        start += length
    return ids, segments.to(torch.uint8), positions, alone


def test_a_packed_sequence_is_seen_as_if_it_were_alone():
    model = MaskedLanguageModel(build_model(TINY, 100)).eval()
    ids, segments, positions, alone = packed([5, 9, 3], 24, torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = model.logits(ids, segments, positions, torch.arange(24))
        for start, one in alone:
            plain = model.bert(input_ids=one[None], attention_mask=torch.ones(1, len(one))).logits[0]
            torch.testing.assert_close(together[start : start + len(one)], plain, atol=1e-5, rtol=1e-4)
    assert together.isfinite().all()  # padding too


def test_only_masked_places_count():
    model = MaskedLanguageModel(build_model(TINY, 100)).eval()
    ids, segments, positions, _ = packed([6, 6], 12, torch.Generator().manual_seed(0))
    places, labels = torch.tensor([2, 8, 3]), torch.tensor([17, 40, -100])
    with torch.no_grad():
        loss = model(ids, segments, positions, places, labels)
        logits = model.logits(ids, segments, positions, torch.arange(12)).log_softmax(-1)
    assert loss.item() == pytest.approx(-(logits[2, 17] + logits[8, 40]).item() / 2, abs=1e-5)


@pytest.mark.parametrize(("number", "offset"), enumerate(OFFSETS))
def test_first_layer_heads_look_at_their_offset(number, offset):
    model = build_model(PretrainingOptions(tokens=1, size="1x256"), 100)
    with torch.no_grad():
        hidden = model.bert.embeddings(torch.randint(5, 100, (1, 40), generator=torch.Generator().manual_seed(0)))
        attention = model.bert.encoder.layer[0].attention.self
        query, key = (part(hidden)[0].view(40, 4, 64)[:, number] for part in (attention.query, attention.key))
        weights = (query @ key.T / 8).softmax(-1)
    inner = torch.arange(3, 37)
    # The words' random part stays in the product, so a place may lose here and there.
    assert (weights[3:37].argmax(-1) == inner + offset).float().mean() > 0.6
    assert weights[inner, inner + offset].mean() > 0.3


def test_positions_differ_and_have_the_stated_length():
    model = build_model(PretrainingOptions(tokens=1), 100)
    table = model.bert.embeddings.position_embeddings.weight.detach()
    words = model.bert.embeddings.word_embeddings.weight.detach()
    assert table.shape == (256, 256)
    assert (table.norm(dim=1).mean() / words.norm(dim=1).mean()).item() == pytest.approx(1.7, rel=0.05)
    nearest = torch.cdist(table, table).fill_diagonal_(math.inf).min()
    assert nearest > 0.1 * table.norm(dim=1).mean()


def test_the_tricks_can_be_left_out():
    plain = dataclasses.replace(TINY, sinusoids=False)
    half = dataclasses.replace(TINY, offset_heads=False)
    weights = [build_model(options, 100).state_dict() for options in (plain, half, TINY)]
    table, query = "bert.embeddings.position_embeddings.weight", "bert.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(weights[0][table], weights[1][table])
    assert torch.equal(weights[0][query], weights[1][query])
    assert not torch.equal(weights[1][query], weights[2][query])


def test_starting_values_follow_the_seed_and_leave_the_random_state():
    state = torch.get_rng_state()
    first, same, other = (build_model(dataclasses.replace(TINY, seed=seed), 100) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    name = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(first.state_dict()[name], same.state_dict()[name])
    assert not torch.equal(first.state_dict()[name], other.state_dict()[name])
    assert first.state_dict()[name][5:].std().item() == pytest.approx(0.1, rel=0.05)  # 0.05 at width 256


def test_the_default_size_fits_12_megabytes_in_half_precision():
    model = build_model(PretrainingOptions(tokens=1), 8192)
    assert 2 * sum(p.numel() for p in model.parameters()) < 12e6


def test_operations_are_counted_as_by_hand():
    config = build_model(TINY, 100).config
    linear = 2 * (4 * 64 * 64 + 2 * 64 * 256)
    attention = 2 * 2 * 128 * 64  # scores and weighted values over a row of 128
    head = 2 * (64 * 64 + 64 * 100)
    assert flops_per_token(config, 128, 0.3) == pytest.approx(3 * (2 * (linear + attention) + 0.3 * head))
    assert peak_flops(torch.device("cpu")) is None


def test_matrices_decay_and_the_rest_does_not():
    model = MaskedLanguageModel(build_model(TINY, 100))
    groups = make_optimizer(model, weight_decay=0.01, device=torch.device("cpu")).param_groups
    assert [g["weight_decay"] for g in groups] == [0.01, 0.0]
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    assert all(p.ndim > 1 for p in groups[0]["params"])
    assert model.bert.bert.embeddings.position_embeddings.weight in set(groups[1]["params"])


@pytest.mark.parametrize(
    ("text", "shape"), [("mini", (4, 256, 4)), ("4x256", (4, 256, 4)), ("6x384", (6, 384, 6)), ("2x32", (2, 32, 1))]
)
def test_sizes(text, shape):
    size = parse_size(text)
    assert (size.layers, size.width, size.heads) == shape


@pytest.mark.parametrize("text", ["huge", "4x250", "0x64", "4x0000", "99x64", "x", "4x256x3", "2x4096"])
def test_sizes_that_are_none(text):
    with pytest.raises(OptionError, match="--size"):
        PretrainingOptions(tokens=1, size=text)


@pytest.mark.parametrize("length", [{}, {"tokens": 5, "minutes": 1.0}, {"tokens": 5, "passes": 1.0}])
def test_one_length_is_stated(length):
    with pytest.raises(OptionError, match="--minutes, --tokens and --passes"):
        PretrainingOptions(**length)


def test_the_rate_rises_and_falls():
    rates = [rate_at(p, 2.0, 0.1) for p in (0.0, 0.05, 0.1, 0.55, 1.0)]
    assert rates == pytest.approx([0.02, 1.0, 2.0, 1.0, 0.0])
    assert rate_at(0.5, 2.0, 0.0) == pytest.approx(1.0)
    assert rate_at(1.0, 2.0, 1.0) == pytest.approx(0.0)
