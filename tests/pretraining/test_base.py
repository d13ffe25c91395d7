"""Going on from an encoder: its vocabulary, its vectors, what comes out, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Dropout, Pooling, Transformer
from tokenizers import Tokenizer
from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizer, RobertaConfig, RobertaModel

from anticollapse.encoding import load_encoder
from anticollapse.errors import DataError, EncoderError, OptionError
from anticollapse.pretraining import (
    PretrainingOptions,
    adapting,
    load_corpus,
    open_base,
    prepare_corpus,
    pretrain,
    save_corpus,
)
from anticollapse.pretraining.corpus import tokenise
from anticollapse.pretraining.evaluation import held_out
from anticollapse.pretraining.model import MaskedLanguageModel
from anticollapse.pretraining.vocabulary import SEP

SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[MASK]", "[PAD]"]
SENTENCES = ["the cat eats a red apple", "My sister sells the blue boat.", "green"]
SMALL = {"batch_tokens": 512, "evaluations": 2, "precision": "float32", "warmup": 0.1, "checkpoint_minutes": 0}


def bert_folder(folder, toy, *, head=True, positions=256, cased=False):
    """A BERT whose special tokens stand at the end of its vocabulary, as no corpus of ours has them."""
    words = list(json.loads(toy.tokenizer)["model"]["vocab"])[5:]
    vocabulary = [words[0], *reversed(words[1:]), *SPECIAL]
    folder.mkdir(parents=True)
    # Rows without a token in the middle as well: [unused0] of the original BERT is there, others just leave them out.
    numbers = {token: i + 4 * (i > 50) for i, token in enumerate(vocabulary)}
    tokenizer = BertTokenizer(vocab=numbers, do_lower_case=not cased)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=len(vocabulary) + 7,  # some rows have no token, as where a table is padded to a round number
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=positions, pad_token_id=numbers["[PAD]"], hidden_dropout_prob=0.2,
        attention_probs_dropout_prob=0.05,
    )  # fmt: skip
    (BertForMaskedLM if head else BertModel)(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bert(toy, tmp_path_factory):
    return bert_folder(tmp_path_factory.mktemp("bert") / "plain", toy)


@pytest.fixture(scope="module")
def base(bert):
    return open_base(bert)


@pytest.fixture(scope="module")
def text(toy_file, base):
    return prepare_corpus([toy_file], language="en", tokenizer=base.tokenizer)


def test_the_corpus_has_the_tokens_of_the_encoder(base, bert, text):
    own = load_encoder(bert, device="cpu").transformer.tokenizer
    ids = tokenise(SENTENCES, Tokenizer.from_str(base.tokenizer))
    lines = [[int(base.order[i]) for i in line] for line in np.split(ids, np.flatnonzero(ids == SEP) + 1)[:-1]]
    sep = own.convert_tokens_to_ids("[SEP]")
    assert lines == [[*own(line, add_special_tokens=False)["input_ids"], sep] for line in SENTENCES]
    first = [own.convert_ids_to_tokens(int(base.order[i])) for i in range(5)]
    assert first == ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    assert sorted(base.order.tolist()) == list(range(len(base.order)))
    assert text.facts["unknown_share"] < 0.01


def test_the_network_in_our_order_is_the_network(base, bert):
    """Same logits at a masked place, entry for entry, as transformers gives with the encoder's own tokenizer."""
    model, head = base.network(0.0, seed=0)
    assert head
    own = load_encoder(bert, device="cpu").transformer.tokenizer
    ids = own("the cat eats [MASK] red apple", return_tensors="pt")["input_ids"]
    reference = BertForMaskedLM.from_pretrained(bert).eval()
    with torch.no_grad():
        expected = reference(ids).logits[0, 4]
        ours = torch.argsort(base.order)[ids]
        places = torch.tensor([4])
        positions = torch.arange(ids.shape[1])[None]
        logits = MaskedLanguageModel(model).eval().logits(ours, torch.ones_like(ids), positions, places)[0]
    torch.testing.assert_close(logits, expected[base.order])


@pytest.mark.parametrize("cased", [False, True])
def test_what_was_not_trained_is_written_as_it_was(cased, toy, tmp_path):
    bert = bert_folder(tmp_path / "bert", toy, cased=cased)
    base = open_base(bert)
    model, _ = base.network(0.0, seed=0)
    base.write(tmp_path / "same", model)
    before, after = (load_encoder(folder, device="cpu") for folder in (bert, tmp_path / "same"))
    # Weights are stored in half precision.
    np.testing.assert_allclose(after.encode(SENTENCES).vectors, before.encode(SENTENCES).vectors, atol=5e-3)
    assert after.transformer.tokenizer.get_vocab() == before.transformer.tokenizer.get_vocab()
    tokens = [[one.transformer.tokenizer.tokenize(line) for line in SENTENCES] for one in (before, after)]
    assert tokens[0] == tokens[1]
    assert ("[UNK]" in tokens[0][1]) == cased  # "My": the words of the toy text are in small letters
    config = json.loads((tmp_path / "same" / "config.json").read_text())
    assert (config["hidden_dropout_prob"], config["attention_probs_dropout_prob"]) == (0.2, 0.05)
    # No pooler with random weights is added on loading.
    assert SentenceTransformer(str(tmp_path / "same"))[0].auto_model.pooler is None


def test_going_on_lowers_the_loss_and_leaves_an_encoder(base, text, tmp_path):
    options = adapting(base, passes=2.0, learning_rate=3e-3, dropout=0.0, **SMALL)
    start = MaskedLanguageModel(base.network(0.0, seed=0)[0])
    before = held_out(start, text, options, torch.device("cpu"), bfloat16=False)
    result = pretrain(text, output=tmp_path / "run", options=options, base=base, device="cpu")
    record = result.record
    assert record["before"] == before.to_json()
    assert record["measures"]["held_out_loss"] < before.held_out_loss - 0.3
    assert record["loss"] < before.held_out_loss  # a mean of the last steps, not of the first
    assert record["tokens"] == pytest.approx(2 * text.facts["tokens"], rel=0.1)
    assert record["from"]["digest"] == base.encoder.digest
    assert record["shape"]["width"] == 32
    card = (result.model / "README.md").read_text()
    assert "pre-trained further" in card
    assert base.encoder.digest[:16] in card
    again = open_base(result.model)  # it can be gone on from, and trained, as any other
    assert torch.equal(again.order, base.order)
    assert again.network(0.0, seed=0)[1]


def test_stopped_and_resumed_is_the_same_and_wants_the_same_encoder(base, text, toy, tmp_path):
    options = adapting(base, tokens=8_000, **SMALL)
    assert options.dropout == 0.2
    pretrain(text, output=tmp_path / "whole", options=options, base=base, device="cpu")
    calls = []

    def stop():
        calls.append(1)
        return len(calls) > 7

    first = pretrain(text, output=tmp_path / "run", options=options, base=base, device="cpu", stop=stop)
    assert first.status == "stopped"
    other = open_base(bert_folder(tmp_path / "other", toy, head=False))
    with pytest.raises(OptionError, match="another encoder to go on from"):
        pretrain(None, output=tmp_path / "run", options=options, base=other, device="cpu", resume=True)
    with pytest.raises(OptionError, match="prepared with an encoder's vocabulary"):
        pretrain(None, output=tmp_path / "run", options=options, device="cpu", resume=True)
    pretrain(None, output=tmp_path / "run", options=options, base=base, device="cpu", resume=True)
    weights = [(tmp_path / run / "model" / "model.safetensors").read_bytes() for run in ("whole", "run")]
    assert weights[0] == weights[1]


def test_a_file_without_a_head_starts_one_and_says_so(toy, text, tmp_path):
    base = open_base(bert_folder(tmp_path / "bare", toy, head=False))
    options = adapting(base, tokens=1_000, **{**SMALL, "evaluations": 1})
    result = pretrain(text, output=tmp_path / "run", options=options, base=base, device="cpu")
    assert not result.record["from"]["head"]
    assert "has no head for masked tokens" in (result.model / "README.md").read_text()
    assert torch.equal(*(base.network(0.0, seed=5)[0].cls.predictions.transform.dense.weight for _ in range(2)))


def test_rates_fall_with_the_width_and_new_weights_options_are_refused(base, monkeypatch):
    assert (adapting(base, tokens=1).learning_rate, adapting(base, tokens=1).batch_tokens) == (3e-4, 1024)
    assert adapting(base, tokens=1, batch_tokens=512).batch_tokens == 512
    with pytest.raises(OptionError, match="--word-start is for new weights"):
        adapting(base, tokens=1, word_start="random")
    monkeypatch.setattr(base.encoder.transformer.auto_model.config, "hidden_size", 768)
    assert adapting(base, tokens=1).learning_rate == pytest.approx(1e-4)


def test_prepared_tokens_know_that_they_are_an_encoders(base, text, tmp_path):
    """Rows without a token do not make their file unreadable, and they are not taken for a vocabulary of our own."""
    save_corpus(text, tmp_path / "base.tokens")
    read = load_corpus(tmp_path / "base.tokens")
    assert read.digest == text.digest
    assert read.vocabulary_size == len(load_encoder(base.encoder.folder).transformer.tokenizer.get_vocab())
    with pytest.raises(OptionError, match="prepared with an encoder's vocabulary"):
        pretrain(read, output=tmp_path / "run", options=PretrainingOptions(tokens=1_000, size="1x32"), device="cpu")
    options = adapting(base, tokens=1_000, **{**SMALL, "evaluations": 1})
    assert pretrain(read, output=tmp_path / "run", options=options, base=base, device="cpu").status == "done"


def test_a_batch_of_nothing_but_unknown_tokens_is_no_end(base):
    model = MaskedLanguageModel(base.network(0.0, seed=0)[0])
    ids = torch.tensor([[2, 1, 1, 3]])
    loss = model(ids, torch.ones_like(ids), torch.arange(4)[None], torch.tensor([1, 2]), torch.tensor([-100, -100]))
    assert float(loss.detach()) == 0.0


def test_a_text_that_the_encoder_cannot_read_is_refused(base, tmp_path):
    corpus = prepare_corpus([], language="zh", tokenizer=base.tokenizer, sentences=["天" * (i + 1) for i in range(200)])
    with pytest.raises(DataError, match="no token of the text is known"):
        pretrain(corpus, output=tmp_path / "run", options=adapting(base, tokens=1_000), base=base, device="cpu")


def test_tokens_of_another_vocabulary_are_refused(base, toy, tmp_path):
    with pytest.raises(OptionError, match="not prepared with the vocabulary"):
        pretrain(toy, output=tmp_path / "run", options=adapting(base, tokens=1_000), base=base, device="cpu")


def test_what_cannot_be_gone_on_from_says_why(bert, toy, tmp_path):
    transformer = Transformer(str(bert))
    pooled = [transformer, Pooling(32)]
    SentenceTransformer(modules=[*pooled, Dense(32, 16)], device="cpu").save(str(tmp_path / "dense"))
    with pytest.raises(EncoderError, match="fitted to its vectors"):
        open_base(tmp_path / "dense")
    SentenceTransformer(modules=[*pooled, Dropout(0.1)], device="cpu").save(str(tmp_path / "dropout"))
    assert torch.equal(open_base(tmp_path / "dropout").order, open_base(bert).order)  # that fits nothing
    with pytest.raises(EncoderError, match="64 positions, fewer than 256"):
        open_base(bert_folder(tmp_path / "short", toy, positions=64))
    shutil.copytree(bert, tmp_path / "roberta")
    config = RobertaConfig(
        vocab_size=160, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
    )
    RobertaModel(config).save_pretrained(tmp_path / "roberta")
    with pytest.raises(EncoderError, match="is no BERT"):
        open_base(tmp_path / "roberta")


def test_the_embedded_encoder_goes_on_through_the_container(raw_mini, tmp_path):
    """The layout with modules.json: pooling, longest input and the missing pooler stay as they are."""
    base = open_base(raw_mini)
    corpus = prepare_corpus(
        [], language="en", tokenizer=base.tokenizer, sentences=[f"a man is number {i}" for i in range(300)]
    )
    options = PretrainingOptions(tokens=500, batch_tokens=256, evaluations=1, precision="float32", learning_rate=1e-9)
    result = pretrain(corpus, output=tmp_path / "run", options=options, base=base, device="cpu")
    before, after = load_encoder(raw_mini, device="cpu"), load_encoder(result.model, device="cpu")
    assert after.max_tokens == before.max_tokens == 256
    np.testing.assert_allclose(after.encode(SENTENCES).vectors, before.encode(SENTENCES).vectors, atol=2e-3)
    assert (result.model / "tokenizer.json").is_file()
