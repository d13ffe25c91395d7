"""A tiny random BERT with a WordPiece vocabulary made in memory, and pairs whose grades can be learned."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from anticollapse.data import PairSet
from anticollapse.encoding import load_encoder

NOUNS = ["cat", "dog", "bird", "tree", "car", "boat", "house", "river", "child", "stone"]
VERBS = ["sees", "likes", "follows", "hits", "finds", "leaves", "draws", "hears"]
PLACES = ["park", "street", "garden", "city", "field", "school"]
EXTRA = ["the", "a", "in", "old", "new", "red", "very", "un", "##able", "##s", "##ing", "."]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_tokenizer(max_tokens=32):
    words = [*SPECIAL, *NOUNS, *VERBS, *PLACES, *EXTRA]
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=max_tokens, **{f"{k}_token": v for k, v in names.items()}
    )


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A backbone on disk: 2 layers × 32, random weights from a fixed seed."""
    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = make_tokenizer()
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
    )
    with torch.random.fork_rng():
        torch.manual_seed(7)
        model = BertModel(config)
    plain = folder / "plain"
    model.save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    transformer = Transformer(str(plain))
    whole = SentenceTransformer(modules=[transformer, Pooling(32, "mean")], device="cpu")
    whole.save(str(folder / "encoder"), create_model_card=False)
    return folder / "encoder"


@pytest.fixture
def tiny_encoder(tiny_folder):
    return load_encoder(tiny_folder, device="cpu")


def sentence(noun, verb, place):
    words = f"the {noun} {verb} the {NOUNS[(NOUNS.index(noun) + 3) % len(NOUNS)]}"
    return f"{words} in the old {place} ." if place else f"{words} ."


def make_pairs(n=96, seed=0, name="pairs", labelled=True, paired=True):
    """Pairs that share noun, verb and place or not; the grade counts what they share."""
    random = np.random.default_rng(seed)
    choices = list(itertools.product(NOUNS, VERBS, [*PLACES, ""]))
    first, second, scores = [], [], []
    for _ in range(n):
        a, b = (choices[i] for i in random.integers(0, len(choices), 2))
        shared = random.integers(0, 4)
        b = tuple(x if k < shared else y for k, (x, y) in enumerate(zip(a, b, strict=True)))
        first.append(sentence(*a))
        second.append(sentence(*b))
        scores.append(5 * sum(x == y for x, y in zip(a, b, strict=True)) / 3)
    return PairSet(
        name=name,
        sentences1=tuple(first),
        sentences2=tuple(second) if paired else None,
        scores=np.array(scores) if labelled and paired else None,
        rows=np.arange(1, n + 1),
    )


@pytest.fixture
def pairs():
    return make_pairs()


@pytest.fixture
def dev():
    return make_pairs(n=40, seed=1, name="dev")


@pytest.fixture
def pair_maker():
    return make_pairs
