"""One step: one forward pass, the right losses on the right vectors, who is whose negative."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from anticollapse import objectives
from anticollapse.training import Adversarial, InfoNCE, Variant, get_variant
from anticollapse.training.contrast import Contrast
from anticollapse.training.data import Collator, prepare
from anticollapse.training.negatives import known_positives
from anticollapse.training.system import System


def build(variant, encoder, pairs, batch_size=8):
    data = prepare(pairs, variant, encoder)
    torch.manual_seed(0)
    system = System(variant, encoder, data, batch_size=batch_size, use_bfloat16=False)
    return system, data, Collator(data, variant)


def without_dropout(system):
    for module in system.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "dropout_rate"):
            module.dropout_rate = 0.0


def encode(encoder, texts):
    return torch.from_numpy(encoder.encode(texts).vectors)


@pytest.mark.parametrize("name", ["sbert", "sbert-simcse", "consert", "cross-attention"])
def test_towers_and_views_share_one_forward_pass(name, tiny_encoder, pairs):
    system, _, collator = build(get_variant(name), tiny_encoder, pairs)
    calls = []
    system.transformer.embeddings.register_forward_hook(lambda *_: calls.append(1))
    system.train()
    system(collator(np.arange(8)))["loss"].backward()
    assert len(calls) == 1


def test_sbert_loss_is_the_objective_on_the_encoders_vectors(tiny_encoder, pairs):
    system, _, collator = build(get_variant("sbert"), tiny_encoder, pairs)
    without_dropout(system)
    items = np.array([5, 0, 17, 40])
    first, second = (encode(tiny_encoder, [side[i] for i in items]) for side in (pairs.sentences1, pairs.sentences2))
    expected = objectives.cosine_mse(first, second, torch.from_numpy(pairs.scores[items]))
    out = system(collator(items))
    assert out["loss"].item() == pytest.approx(expected.item(), abs=1e-6)
    assert out["term/supervised"] == out["loss"]


@pytest.mark.parametrize("name", ["triplet", "pairwise", "cosent", "angle"])
def test_other_supervised_losses_too(name, tiny_encoder, pairs):
    variant = get_variant(name)
    system, _, collator = build(variant, tiny_encoder, pairs)
    without_dropout(system)
    items = np.arange(12)
    first, second = (encode(tiny_encoder, [side[i] for i in items]) for side in (pairs.sentences1, pairs.sentences2))
    mined = {"related": system._related(collator(items).ids)} if variant.supervised.mines else {}
    expected = variant.supervised.loss(first, second, torch.from_numpy(pairs.scores[items]), **mined)
    assert system(collator(items))["loss"].item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)


def test_triplet_takes_the_hardest_other_sentence(tiny_encoder, pairs):
    term = get_variant("triplet").supervised
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(6, 5, generator=generator), torch.randn(6, 5, generator=generator)
    labels = torch.tensor([5.0, 1.0, 4.0, 3.9, 0.0, 4.5])
    rows = F.normalize(torch.cat([first, second]), dim=1)
    losses = []
    for i in range(12):
        if labels[i % 6] < 4:
            continue
        hardest = max((rows[i] @ rows[j]).item() for j in range(12) if j % 6 != i % 6)
        losses.append(max(0.0, hardest - (rows[i] @ rows[(i + 6) % 12]).item() + 0.2))
    assert term.loss(first, second, labels).item() == pytest.approx(sum(losses) / len(losses), abs=1e-6)


def test_triplet_mines_neither_the_same_sentence_nor_another_paraphrase(tiny_encoder, pairs):
    """Pairs (A, B), (A, C), (D, E), the first two paraphrases: D and E are all the negatives that A, B and C have."""
    sentences = list(dict.fromkeys(pairs.sentences1 + pairs.sentences2))[:5]
    a, b, c, d, e = sentences
    several = dataclasses.replace(
        pairs,
        sentences1=(a, a, d),
        sentences2=(b, c, e),
        scores=np.array([5.0, 5.0, 0.0]),
        rows=np.arange(1, 4),
    )
    system, _, collator = build(get_variant("triplet"), tiny_encoder, several)
    without_dropout(system)
    rows = F.normalize(encode(tiny_encoder, [a, a, b, c, d, e]), dim=1)
    near = {(0, 2), (1, 3), (2, 0), (3, 1)}
    losses = [
        max(0.0, max((rows[i] @ rows[j]).item() for j in (4, 5)) - (rows[i] @ rows[k]).item() + 0.2) for i, k in near
    ]
    found = system(collator(np.arange(3)))["loss"].item()
    assert found == pytest.approx(sum(losses) / len(losses), abs=1e-5)


def test_the_projector_is_between_encoder_and_loss_only(tiny_encoder, pairs):
    system, _, collator = build(get_variant("projector"), tiny_encoder, pairs)
    without_dropout(system)
    items = np.arange(4)
    batch = collator(items)
    first, second = (encode(tiny_encoder, [side[i] for i in items]) for side in (pairs.sentences1, pairs.sentences2))
    labels = torch.from_numpy(pairs.scores[items])
    expected = objectives.cosine_mse(system.head(first), system.head(second), labels)
    assert system(batch)["loss"].item() == pytest.approx(expected.item(), abs=1e-6)
    assert torch.allclose(system.vectors(batch.rows)[:4], first, atol=1e-6)


def test_cross_attention_scores_with_the_head_and_embeds_without_it(tiny_encoder, pairs):
    system, _, collator = build(get_variant("cross-attention-scored"), tiny_encoder, pairs)
    system.eval()
    torch.nn.init.normal_(system.head.output.weight, std=0.5)
    items = np.arange(4)
    batch = collator(items)
    scores = system.pair_scores(batch.rows)
    plain = system.vectors(batch.rows)
    assert not torch.allclose(scores, F.cosine_similarity(plain[:4], plain[4:]), atol=1e-3)
    expected = F.mse_loss(scores, torch.from_numpy(pairs.scores[items]).float() / 5)
    assert system(batch)["loss"].item() == pytest.approx(expected.item(), abs=1e-6)


def test_joint_loss_is_the_weighted_sum(tiny_encoder, pairs):
    variant = get_variant("sbert-swav").with_parameters({"supervised_weight": 2.0, "contrast_weight": 0.3})
    system, _, collator = build(variant, tiny_encoder, pairs)
    system.train()
    out = system(collator(np.arange(8)))
    terms = [out[k] for k in ("term/supervised", "term/contrast", "term/swav")]
    assert out["loss"].item() == pytest.approx(sum(t.item() for t in terms), rel=1e-6)


def test_views_differ_by_dropout(tiny_encoder, pairs):
    system, _, collator = build(get_variant("sbert-simcse"), tiny_encoder, pairs)
    system.train()
    batch = collator(np.arange(8))
    first, second = system._run(system.modules_of_encoder, batch.rows)["sentence_embedding"].chunk(2)
    assert not torch.allclose(first, second, atol=1e-4)
    rate = get_variant("sbert-simcse").with_parameters({"dropout_rate": 0.0})
    still, _, collator = build(rate, tiny_encoder, pairs)
    still.train()
    first, second = still._run(still.modules_of_encoder, batch.rows)["sentence_embedding"].chunk(2)
    assert torch.allclose(first, second, atol=1e-5)


def test_keys_come_from_the_momentum_encoder_and_enter_after_the_loss(tiny_encoder, pairs):
    system, _, collator = build(get_variant("sbert-queue"), tiny_encoder, pairs, batch_size=4)
    assert system.contrast.queue.size == 20  # 2.5 × 8 sentences of a batch of 4 pairs
    batch = collator(np.arange(4))
    expected = encode(tiny_encoder, [pairs.sentences[i] for i in batch.ids])
    system.train()
    out = system(batch)
    assert system.contrast.queue.count == 0
    assert out["stat/queue_fill"] == 0
    system.after_loss(out)
    keys, ids = system.contrast.queue.in_order()
    assert torch.allclose(keys, expected, atol=1e-5)
    assert torch.equal(ids, batch.ids)
    with torch.no_grad():
        for weight in system.trained.parameters():
            weight += 0.1 * torch.randn_like(weight)
    again = system(batch)["keys"]
    assert torch.allclose(again, expected, atol=1e-5)  # the momentum copy has not moved yet
    system.after_step()
    assert not torch.equal(system(batch)["keys"], again)


def contrast_of(variant, dim=6, size=6, positives=()):
    return Contrast(
        variant, dim, keys_per_step=size, n_sentences=100, positives=torch.tensor(positives, dtype=torch.long)
    )


def test_partner_and_same_sentence_are_no_negatives():
    variant = dataclasses.replace(get_variant("sbert-queue"), swav=None)
    contrast = contrast_of(variant)
    torch.manual_seed(0)
    vectors = torch.randn(6, 6)
    ids = torch.tensor([10, 11, 12, 20, 11, 22])  # pairs (10, 20), (11, 11), (12, 22)
    contrast.queue.enqueue(torch.randn(3, 6), torch.tensor([10, 50, 51]))
    exclude, exclude_queue, _ = contrast._exclusions(vectors, vectors, ids, 2)
    for i in range(6):
        for j in range(6):
            assert exclude[i, j].item() == (ids[i] == ids[j] or j == (i + 3) % 6)
        held = contrast.queue.ids.tolist()
        assert exclude_queue[i].tolist() == [held[k] in {-1, ids[i].item()} for k in range(contrast.queue.size)]


def test_filter_takes_out_exactly_the_same_cluster_and_says_how_much():
    variant = get_variant("sbert-swav").with_parameters({"swav_prototypes": 3})
    torch.manual_seed(0)
    contrast = contrast_of(variant, positives=[1 * 100 + 4, 4 * 100 + 1])
    vectors, keys = torch.randn(6, 6), torch.randn(9, 6)
    ids, key_ids = torch.arange(6), torch.arange(20, 29)
    contrast.queue.enqueue(keys, key_ids)
    before = torch.cat(contrast._certain(ids, 1), dim=1)
    exclude, exclude_queue, stats = contrast._exclusions(vectors, vectors, ids, 1)
    after = torch.cat([exclude, exclude_queue], dim=1)
    clusters, queue_clusters = contrast.clusterer.clusters(vectors, contrast.queue.keys, contrast.queue.filled)
    everyone = torch.cat([clusters, queue_clusters])
    filtered = candidates = known = left = hard = 0
    others = torch.cat([F.normalize(vectors, dim=1), F.normalize(contrast.queue.keys, dim=1)])
    for i in range(6):
        for j in range(len(everyone)):
            same = clusters[i] == everyone[j]
            assert after[i, j].item() == (before[i, j] or same)
            candidates += not before[i, j]
            filtered += bool(same and not before[i, j])
            if not after[i, j]:
                left += 1
                hard += bool(others[i] @ others[j] >= 0.5)
                known += (i, j) in {(1, 4), (4, 1)}
    assert filtered
    assert known
    assert stats["filtered_share"].item() == pytest.approx(filtered / candidates)
    assert stats["false_negative_share"].item() == pytest.approx(known / left)
    assert stats["negatives_above_half"].item() == pytest.approx(hard / left)
    assert stats["queue_fill"].item() == pytest.approx(9 / 15)


def test_numbers_of_negatives_against_a_loop():
    paraphrases = {(0, 4), (2, 6), (1, 25), (3, 26)}
    codes = sorted(code for a, b in paraphrases for code in (a * 100 + b, b * 100 + a))
    contrast = contrast_of(get_variant("sbert-swav").with_parameters({"swav_prototypes": 3}), positives=codes)
    torch.manual_seed(3)
    first, second, keys = torch.randn(8, 6), torch.randn(8, 6), torch.randn(9, 6)  # rows i and i + 4 are a pair
    ids = torch.arange(8)
    contrast.queue.enqueue(keys, torch.arange(20, 29))
    stats = contrast._exclusions(first, second, ids, 2)[2]
    clusters, queue_clusters = contrast.clusterer.clusters(first, contrast.queue.keys, contrast.queue.filled)
    clusters, everyone = clusters.tolist(), torch.cat([clusters, queue_clusters]).tolist()
    names = [*range(8), *range(20, 29)]
    others = torch.cat([first, keys])
    expected = dict.fromkeys((k.removeprefix("count/") for k in stats if k.startswith("count/")), 0)
    for i in range(8):
        positive = F.cosine_similarity(first[i], second[i], dim=0)
        for j, name in enumerate(names):
            if name in {i, (i + 4) % 8}:
                continue
            known = (i, name) in paraphrases or (name, i) in paraphrases
            expected["candidates"] += 1
            if clusters[i] == everyone[j]:
                expected["filtered"] += 1
                expected["filtered_false_negatives"] += known
            else:
                expected["negatives"] += 1
                expected["false_negatives"] += known
                expected["hard_negatives"] += bool(F.cosine_similarity(first[i], others[j], dim=0) >= positive)
    for i in range(4):
        same, paraphrase = clusters[i] == clusters[i + 4], (i, i + 4) in paraphrases
        expected["pairs"] += 1
        expected["paraphrases"] += paraphrase
        expected["same_cluster"] += same
        expected["same_cluster_paraphrases"] += same and paraphrase
    assert {k.removeprefix("count/"): int(v) for k, v in stats.items() if k.startswith("count/")} == expected
    assert expected["paraphrases"] == 2
    assert min(expected["filtered"], expected["hard_negatives"], expected["false_negatives"]) > 0


def test_queue_negatives_raise_the_loss_and_empty_slots_do_not():
    variant = dataclasses.replace(get_variant("sbert-queue"), swav=None)
    torch.manual_seed(0)
    first = torch.randn(6, 6)
    second, ids = first + 0.1 * torch.randn(6, 6), torch.arange(6)
    contrast = contrast_of(variant)
    empty = contrast(first, second, None, ids, 1)[0]["contrast"]
    expected = variant.contrast.weight * objectives.nt_xent(first, second)
    assert empty.item() == pytest.approx(expected.item(), rel=1e-4)
    keys = torch.randn(4, 6)
    contrast.queue.enqueue(keys, torch.arange(50, 54))
    filled = contrast(first, second, None, ids, 1)[0]["contrast"]
    expected = variant.contrast.weight * objectives.nt_xent(first, second, negatives=keys)
    assert filled.item() == pytest.approx(expected.item(), rel=1e-4)
    assert filled > empty


def test_queue_of_size_zero_is_no_queue(tiny_encoder, pairs):
    variant = get_variant("sbert-queue").with_parameters({"queue_size_ratio": 0})
    system, _, collator = build(variant, tiny_encoder, pairs)
    out = system(collator(np.arange(4)))
    assert system.contrast.queue is None
    assert "keys" not in out


def test_feature_cutoff_acts_on_its_view_only(tiny_encoder, pairs):
    base = get_variant("consert").with_parameters({"token_shuffle_share": 0, "dropout_rate": 0})
    cut = base.with_parameters({"feature_cutoff_rate": 0.5})
    none = base.with_parameters({"feature_cutoff_rate": 0})
    system, _, collator = build(cut, tiny_encoder, pairs)
    batch = collator(np.arange(6))
    seen = []
    system.contrast.term = type(system.contrast.term)()
    system.contrast.register_forward_pre_hook(lambda _, given: seen.append(given[:2]))
    system.train()
    system(batch)
    plain, _, _ = build(none, tiny_encoder, pairs)
    vectors = plain.vectors(batch.rows)[:6]
    assert torch.allclose(seen[0][0], vectors, atol=1e-5)
    assert not torch.allclose(seen[0][1], vectors, atol=1e-3)


def test_an_attack_makes_the_contrast_harder(tiny_encoder, pairs):
    variant = Variant(
        id="attacked", title="A", summary="", contrast=InfoNCE(), augmentations=(Adversarial(epsilon=0.1),)
    )
    system, _, collator = build(variant, tiny_encoder, pairs)
    without_dropout(system)
    batch = collator(np.arange(16))
    attacked = system(batch)["loss"]
    calm, _, _ = build(dataclasses.replace(variant, augmentations=()), tiny_encoder, pairs)
    without_dropout(calm)
    assert attacked > calm(batch)["loss"]
    attacked.backward()
    assert system.hook.change is None  # the encoder is left as it was


def test_known_positives_include_graded_pairs(tiny_encoder, pairs):
    system, data, collator = build(get_variant("sbert-simcse"), tiny_encoder, pairs)
    batch = collator(np.arange(pairs.n))
    known = known_positives(batch.ids, batch.ids, system.contrast.positives, data.n_sentences)
    partner = torch.arange(pairs.n)
    graded = torch.from_numpy(pairs.scores >= 4)
    assert known[partner, partner + pairs.n][graded].all()


def test_bfloat16_keeps_weights_pooling_and_losses_in_float32(tiny_encoder, pairs):
    system, _, collator = build(get_variant("sbert"), tiny_encoder, pairs)
    without_dropout(system)
    exact = system(collator(np.arange(8)))["loss"]
    system.use_bfloat16 = True
    out = system(collator(np.arange(8)))
    out["loss"].backward()
    assert out["loss"].dtype == torch.float32
    assert all(
        p.dtype == torch.float32 and (p.grad is None or p.grad.dtype == torch.float32) for p in system.parameters()
    )
    assert out["loss"].item() == pytest.approx(exact.item(), abs=0.01)
    assert out["loss"].item() != exact.item()
