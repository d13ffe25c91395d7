"""Batches: every item once, little padding, the same for one process and for several."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anticollapse.errors import DataError, TrainingError
from anticollapse.training import get_variant
from anticollapse.training.data import Collator, epoch_batches, positive_codes, prepare, shares, steps_per_epoch


@pytest.mark.parametrize("n", [1, 2, 31, 32, 33, 1000, 5749])
@pytest.mark.parametrize("batch", [1, 8, 32])
def test_an_epoch_has_every_item_once_in_batches_of_one_size(n, batch):
    widths = np.random.default_rng(0).integers(3, 60, n)
    batches = epoch_batches(widths, batch, seed=3, epoch=1)
    assert sorted(np.concatenate(batches)) == list(range(n))
    assert len(batches) == steps_per_epoch(n, batch)
    sizes = {len(b) for b in batches}
    assert max(sizes) <= batch
    assert max(sizes) - min(sizes) <= 1


def test_hardly_anything_is_padding():
    widths = np.random.default_rng(0).geometric(0.08, 5749) + 3
    used = widths.sum()

    def padded(batches):
        return sum(len(b) * widths[b].max() for b in batches)

    assert used / padded(epoch_batches(widths, 32, seed=0, epoch=0)) > 0.9
    random = np.array_split(np.random.default_rng(0).permutation(5749), 180)
    assert used / padded(random) < 0.45


def test_order_is_a_function_of_seed_and_epoch():
    widths = np.random.default_rng(0).integers(3, 60, 500)

    def order(seed, epoch):
        return np.concatenate(epoch_batches(widths, 16, seed, epoch)).tolist()

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_who_meets_whom_differs_between_epochs():
    widths = np.full(320, 7)
    partners = [{i: set(b) for b in epoch_batches(widths, 32, 0, e) for i in b} for e in range(2)]
    shared = np.mean([len(partners[0][i] & partners[1][i]) for i in range(320)])
    assert shared < 8  # by chance 1 + 31 / 10


@pytest.mark.parametrize("n", [1, 5, 32])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_without_loss(n, processes):
    parts = shares(n, processes)
    assert [i for part in parts for i in range(n)[part]] == list(range(n))
    assert max(p.stop - p.start for p in parts) - min(p.stop - p.start for p in parts) <= 1


def test_a_batch_is_padded_once_for_towers_and_views(tiny_encoder, pairs):
    variant = get_variant("sbert-simcse")
    data = prepare(pairs, variant, tiny_encoder)
    items = np.array([3, 50, 7])
    batch = Collator(data, variant)(items)
    assert batch.rows.ids.shape[0] == 3 * 2 * 2  # items, towers, views
    assert batch.rows.ids.shape[1] == -(-data.widths[items].max() // 8) * 8
    assert (batch.rows.ids[~batch.rows.mask] == 0).all()
    texts = [pairs.sentences1[i] for i in items] + [pairs.sentences2[i] for i in items]
    tokenizer = tiny_encoder.model.tokenizer
    for row, text in enumerate(texts * 2):
        ids = batch.rows.ids[row][batch.rows.mask[row]].tolist()
        assert ids == tokenizer(text)["input_ids"]
        assert batch.rows.special[row].tolist() == [i in {0, 2, 3} for i in batch.rows.ids[row].tolist()]
    assert batch.labels.tolist() == pytest.approx(pairs.scores[items].tolist())
    assert [pairs.sentences[i] for i in batch.ids] == texts
    assert batch.original is None


def test_the_parts_of_two_processes_make_the_whole(tiny_encoder, pairs):
    variant = get_variant("sbert")
    data = prepare(pairs, variant, tiny_encoder)
    items = np.arange(9)
    whole = Collator(data, variant)(items)
    first, second = (Collator(data, variant, rank=r, processes=2)(items) for r in range(2))
    assert first.counts == second.counts == (4, 5)
    assert torch.equal(first.ids, whole.ids)
    assert torch.equal(second.labels, whole.labels)

    def tower(batch, k):
        n = batch.n_rows // 2
        rows = slice(k * n, (k + 1) * n)
        return [i[m].tolist() for i, m in zip(batch.rows.ids[rows], batch.rows.mask[rows], strict=True)]

    for k in range(2):
        assert tower(first, k) + tower(second, k) == tower(whole, k)


def test_the_momentum_encoder_reads_the_unchanged_sentence(tiny_encoder, pairs):
    esimcse = get_variant("esimcse").with_parameters({"word_repetition_view": 1})
    data = prepare(pairs, esimcse, tiny_encoder)
    batch = Collator(data, esimcse)(np.arange(16))
    tokenizer = tiny_encoder.model.tokenizer
    for row, i in enumerate(batch.ids):
        ids = batch.original.ids[row][batch.original.mask[row]].tolist()
        assert ids == tokenizer(pairs.sentences[i])["input_ids"]
    assert batch.rows.mask[:16].sum() > batch.original.mask.sum()
    assert torch.equal(batch.rows.mask[16:].sum(dim=1), batch.original.mask.sum(dim=1))


def test_unsupervised_variants_take_each_sentence_once(tiny_encoder, pairs):
    data = prepare(pairs, get_variant("simcse"), tiny_encoder)
    assert data.n == len(pairs.sentences)
    assert data.labels is None
    assert "taken one by one" in data.notes[0]


def test_positive_codes_equal_a_loop(pairs):
    n = len(pairs.sentences)
    expected = set()
    for a, b, score in zip(pairs.sentences1, pairs.sentences2, pairs.scores, strict=True):
        if score >= 4:
            i, j = pairs.sentences.index(a), pairs.sentences.index(b)
            expected |= {i * n + j, j * n + i}
    assert positive_codes(pairs, n).tolist() == sorted(expected)


def test_data_that_does_not_fit_says_what_to_do(tiny_encoder, pair_maker):
    single = pair_maker(paired=False)
    unlabelled = pair_maker(labelled=False)
    with pytest.raises(DataError, match=r"single sentences.*simcse"):
        prepare(single, get_variant("sbert"), tiny_encoder)
    with pytest.raises(DataError, match=r"carry no scores.*triplet"):
        prepare(unlabelled, get_variant("cosent"), tiny_encoder)
    data = prepare(unlabelled, get_variant("triplet"), tiny_encoder)
    assert "all of them count as paraphrases" in data.notes[0]
    assert set(data.labels) == {5.0}
    prepare(single, get_variant("simcse"), tiny_encoder)
    flat = pair_maker()
    object.__setattr__(flat, "scores", np.full(flat.n, 2.0))
    with pytest.raises(DataError, match="all scores are 2"):
        prepare(flat, get_variant("sbert"), tiny_encoder)
    with pytest.raises(DataError, match="no pair is graded 4 or more"):
        prepare(flat, get_variant("triplet"), tiny_encoder)


def test_long_sentences_are_counted(tiny_encoder, pair_maker):
    import dataclasses

    pairs = pair_maker(n=4)
    long = dataclasses.replace(pairs, sentences1=("the cat " * 40, *pairs.sentences1[1:]))
    data = prepare(long, get_variant("sbert"), tiny_encoder)
    assert any("longer than 32 tokens and are cut" in note for note in data.notes)
    assert data.widths.max() == 32


def test_an_encoder_without_transformer_is_refused(pairs):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models

    from anticollapse.encoding import Encoder

    static = StaticEmbedding(Tokenizer(models.WordLevel({"[UNK]": 0, "cat": 1}, unk_token="[UNK]")), embedding_dim=8)
    encoder = Encoder(SentenceTransformer(modules=[static], device="cpu"), name="static", digest="0" * 64)
    with pytest.raises(TrainingError, match="no transformer"):
        prepare(pairs, get_variant("sbert"), encoder)
