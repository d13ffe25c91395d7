"""Where the word table and the output's bias start."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from anticollapse.errors import OptionError
from anticollapse.pretraining import PretrainingOptions, cooccurrence, prepare_corpus, run
from anticollapse.pretraining.cooccurrence import count_neighbours, positive_pmi, start_bias, start_words, word_vectors
from anticollapse.pretraining.corpus import Corpus
from anticollapse.pretraining.model import build_model
from anticollapse.pretraining.vocabulary import SEP, SPECIAL, UNK

FIRST = len(SPECIAL)
OPTIONS = PretrainingOptions(tokens=1, size="1x64")


def naive_counts(ids, vocabulary, window):
    counts = np.zeros((vocabulary, vocabulary))
    line = []
    for token in [*ids, SEP]:
        if token != SEP:
            line.append(token)
            continue
        for i, a in enumerate(line):
            for j, b in enumerate(line):
                if i != j and abs(i - j) <= window and a >= FIRST and b >= FIRST:
                    counts[a, b] += 1 / abs(i - j)
        line = []
    return counts


def corpus_of(ids, tokenizer):
    return Corpus(np.array(ids, np.uint16), np.array([FIRST, SEP], np.uint16), tokenizer, {"language": "en"})


@pytest.mark.parametrize("window", [1, 2, 5])
def test_counts_are_those_of_a_plain_loop(window):
    random = np.random.default_rng(window)
    ids = random.choice([SEP, UNK, *range(FIRST, 12)], size=400, p=[0.1, 0.06, *[0.12] * 7]).astype(np.uint16)
    assert count_neighbours(ids, 12, window) == pytest.approx(naive_counts(ids, 12, window), rel=1e-5)


def test_a_pair_across_lines_is_none():
    a, b = FIRST, FIRST + 1
    assert not count_neighbours(np.array([a, SEP, b, SEP], np.uint16), 8).any()
    assert not count_neighbours(np.array([a], np.uint16), 8).any()
    together = count_neighbours(np.array([a, b, SEP], np.uint16), 8)
    assert together[a, b] == together[b, a] == 1


def test_information_as_by_hand():
    # Two words that stand together, two others that do: each is surprised by its partner by a factor of 2.
    counts = np.zeros((4, 4), np.float32)
    counts[0, 1] = counts[1, 0] = counts[2, 3] = counts[3, 2] = 5
    found = positive_pmi(counts, smoothing=1.0)
    assert found[0, 1] == pytest.approx(np.log(4))  # p = 1/4, p(a) p(b) = 1/16
    assert found[0, 2] == 0
    assert not positive_pmi(np.zeros((3, 3), np.float32)).any()


def test_smoothing_lowers_the_weight_of_rare_neighbours():
    counts = np.array([[0, 100, 1], [100, 0, 0], [1, 0, 0]], np.float32)
    plain, smooth = positive_pmi(counts, 1.0), positive_pmi(counts, 0.75)
    assert smooth[0, 2] < plain[0, 2]


def test_words_of_one_kind_start_alike(toy):
    vectors, known = word_vectors(toy, 32, seed=0)
    names = {name: i for i, name in enumerate(vocabulary(toy))}
    assert not known[:FIRST].any()
    assert np.linalg.norm(vectors[known], axis=1) == pytest.approx(1, abs=1e-5)
    assert np.abs(vectors[known].mean(axis=0)).max() < 0.2
    verbs = [i for name in ("eats", "sees", "likes", "draws", "sells", "paints") if (i := names.get(name)) is not None]
    others = [i for name in ("cat", "dog", "red", "blue", "train") if (i := names.get(name)) is not None]
    assert len(verbs) >= 3
    assert len(others) >= 2
    among = [vectors[a] @ vectors[b] for a in verbs for b in verbs if a < b]
    between = [vectors[a] @ vectors[b] for a in verbs for b in others]
    assert np.mean(among) > np.mean(between) + 0.3


def vocabulary(corpus):
    from tokenizers import Tokenizer

    found = Tokenizer.from_str(corpus.tokenizer).get_vocab()
    return sorted(found, key=found.get)


def test_the_table_keeps_its_lengths_and_the_other_rows(toy):
    before, model = (build_model(OPTIONS, toy.vocabulary_size) for _ in range(2))
    start_words(model, toy, seed=0)
    old, new = (m.bert.embeddings.word_embeddings.weight.detach() for m in (before, model))
    changed = (old != new).any(1)
    assert not changed[:FIRST].any()
    assert changed.any()
    assert new[changed].norm(dim=1).numpy() == pytest.approx(0.1 * 8, rel=1e-4)  # std × √width
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    again = build_model(OPTIONS, toy.vocabulary_size)
    start_words(again, toy, seed=0)
    assert torch.equal(new, again.bert.embeddings.word_embeddings.weight)
    # Turned as a whole: angles are those of the vectors that were counted.
    vectors, known = word_vectors(toy, 64, seed=0)
    unit = F.normalize(new[known], dim=1).numpy()
    assert unit @ unit.T == pytest.approx(vectors[known] @ vectors[known].T, abs=1e-4)


def test_the_first_loss_is_the_entropy_of_single_tokens(toy):
    model = build_model(dataclasses.replace(OPTIONS, initial_std=1e-4), toy.vocabulary_size)
    start_bias(model, toy)
    tokens = torch.from_numpy(toy.ids.astype(np.int64))
    tokens = tokens[tokens >= FIRST]
    with torch.no_grad():
        logits = model(input_ids=tokens[None, :64]).logits[0, 0]
    loss = F.cross_entropy(logits.expand(len(tokens), -1), tokens)
    shares = torch.bincount(tokens).double() / len(tokens)
    entropy = -(shares[shares > 0] * shares[shares > 0].log()).sum()
    assert loss.item() == pytest.approx(entropy.item(), abs=0.03)


def test_a_vocabulary_that_is_too_large_says_so(toy, monkeypatch):
    monkeypatch.setattr(cooccurrence, "MOST_ENTRIES", 100)
    with pytest.raises(OptionError, match="at most 100 entries"):
        word_vectors(toy, 16, seed=0)


def test_a_text_of_one_word_lines_leaves_the_table(tmp_path):
    file = tmp_path / "words.txt"
    file.write_text("\n".join(f"{'ab'[i % 2] * (1 + i % 7)}" for i in range(500)), encoding="utf-8")
    corpus = prepare_corpus([file], language="en", vocabulary=64)
    single = corpus_of([*corpus.ids[corpus.ids >= FIRST][:1], SEP], corpus.tokenizer)
    model = build_model(OPTIONS, corpus.vocabulary_size)
    before = model.bert.embeddings.word_embeddings.weight.detach().clone()
    start_words(model, single, seed=0)
    assert torch.equal(before, model.bert.embeddings.word_embeddings.weight)


def test_auto_starts_from_neighbours_where_the_vocabulary_allows_it(toy, tmp_path, monkeypatch):
    tiny = PretrainingOptions(tokens=1_000, size="1x32", batch_tokens=512, evaluations=1, precision="float32")
    starts = {}
    for name, limit, option in (("few", 20_000, "auto"), ("many", 100, "auto"), ("random", 20_000, "random")):
        monkeypatch.setattr(run, "MOST_ENTRIES", limit)
        options = dataclasses.replace(tiny, word_start=option)
        made = run.Run(toy, tmp_path / name, options, None, None, torch.device("cpu"), None, None, "", "")
        starts[name] = made.model.bert.bert.embeddings.word_embeddings.weight.detach()
        assert made.word_start == ("neighbours" if name == "few" else "random")
    assert torch.equal(starts["many"], starts["random"])
    assert not torch.equal(starts["few"], starts["random"])
    result = run.pretrain(toy, output=tmp_path / "whole", options=tiny, device="cpu")
    card = (result.model / "README.md").read_text()
    assert "word vectors from the text's co-occurrences" in card
    assert "output bias at the log frequencies" in card
    assert result.record["word_start"] == "neighbours"
