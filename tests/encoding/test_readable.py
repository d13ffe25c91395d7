"""Tokens for people, for every way in which tokenizers mark words."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from anticollapse.encoding import load_encoder, readable, token_style
from anticollapse.encoding.readable import readable_sentence, readable_types, style_of


@pytest.mark.parametrize(
    ("token", "style", "shown"),
    [
        ("the", "wordpiece", "the"),
        ("##ing", "wordpiece", "…ing"),
        ("##", "wordpiece", "##"),
        ("##的", "wordpiece", "的"),
        ("的", "wordpiece", "的"),
        ("##!", "wordpiece", "!"),
        ("▁the", "sentencepiece", "the"),
        ("ing", "sentencepiece", "…ing"),
        ("▁", "sentencepiece", "␣"),
        ("中国", "sentencepiece", "中国"),
        ("ひら", "sentencepiece", "ひら"),
        (",", "sentencepiece", ","),
        ("<0xE4>", "sentencepiece", "‹E4›"),
        ("привет", "sentencepiece", "…привет"),
        ("Ġthe", "byte-level", "the"),
        ("ing", "byte-level", "…ing"),
        ("Ġ", "byte-level", "␣"),
        ("Ċ", "byte-level", "↵"),
        ("ä¸Ń", "byte-level", "中"),
        ("Ġä¸ŃåĽ½", "byte-level", "中国"),
        ("ä¸", "byte-level", "‹E4 B8›"),
        ("Ã©t", "byte-level", "…ét"),
        (",", "byte-level", ","),
        ("<mask>", "byte-level", "<mask>"),
        ("low</w>", "plain", "low"),
        ("low", "plain", "low"),
        ("a\u200bb", "plain", "a‹U+200B›b"),
        ("", "plain", "‹›"),
    ],
)
def test_readable(token, style, shown):
    assert readable(token, style) == shown


def test_the_first_piece_of_a_sentence_continues_nothing():
    tokens, special = ["<s>", "The", "Ġdog", "s", "</s>"], [True, False, False, False, True]
    assert readable_sentence(tokens, special, "byte-level") == ["<s>", "The", "dog", "…s", "</s>"]
    assert readable_sentence(["▁The", "s"], [False, False], "sentencepiece") == ["The", "…s"]


def test_types_that_only_start_sentences_continue_nothing_and_twins_differ():
    assert readable_types(["The", "Ġdog", "s"], [False, True, True], "byte-level") == ["The", "dog", "…s"]
    assert readable_types(["The", "ĠThe"], [False, True], "byte-level") == ["The", "␣The"]
    assert readable_types(["▁中", "中", "▁the"], [True, True, True], "sentencepiece") == ["␣中", "中", "the"]
    assert readable_types(["的", "##的"], [True, True], "wordpiece") == ["的", "…的"]
    assert readable_types([], [], "plain") == []


def test_style_of_a_vocabulary():
    assert style_of(["the", "##s", "▁"]) == "wordpiece"
    assert style_of(["▁the", "s", "##"]) == "sentencepiece"
    assert style_of(["Ġthe", "s", "##x", "Ġa"]) == "byte-level"
    assert style_of(["the", "dog"]) == "plain"
    assert style_of([]) == "plain"


@pytest.mark.parametrize("style", ["byte-level", "sentencepiece"])
def test_style_of_trained_tokenizers_and_their_text_comes_back(style):
    tokenizer = Tokenizer(models.BPE())
    if style == "byte-level":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        alphabet = []
        tokenizer.decoder = decoders.Metaspace()
    text = ["the dog plays the guitar", "两个人在弹吉他", "été naïve"]
    tokenizer.train_from_iterator(text * 3, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    assert token_style(fast) == style
    assert style_of(list(fast.get_vocab())) == style
    for sentence in text:
        tokens = fast.tokenize(sentence)
        shown = readable_sentence(tokens, [False] * len(tokens), style)
        assert "".join(shown).replace("…", "").replace("␣", "") == sentence.replace(" ", "")


def test_style_of_the_embedded_encoder(raw_mini):
    assert token_style(load_encoder(raw_mini, device="cpu").transformer.tokenizer) == "wordpiece"
