"""What all tests share: tiny encoders made in memory, the shared evaluation data where it is, one thread each."""

from __future__ import annotations

import os
from pathlib import Path

# Workers run side by side: more threads than cores would only make them wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest

ROOT = Path(__file__).resolve().parents[1]

WORDS = (
    "a an the man woman dog cat child is are not playing running sleeping eating rides guitar piano horse ball food on "
    "in of and to with market bank river stock fell rose red blue big small two three four ##s ##ing ##ed , . ! ?"
).split()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """All browser tests on one worker (and so with one server), every other test wherever there is room.

    xdist's own groups rename tests, and pytest 9.2 makes names that cannot be changed: every test of a group then went
    where there was room, and tests that share a fixture met an empty one.
    """
    from xdist.scheduler import LoadScopeScheduling

    class BrowserTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return "browser" if nodeid.startswith("tests/browser/") else nodeid

    return BrowserTogether(config, log)


def build_encoder(folder: Path, *, layers: int = 2, dim: int = 32, max_tokens: int = 16, pooling: str = "mean") -> Path:
    """Write a tiny random BERT with a word-level WordPiece tokenizer in the sentence-transformers layout."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    vocabulary = [*special, *dict.fromkeys([*WORDS, *letters, *(f"##{letter}" for letter in letters)])]
    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=max_tokens, pad_token="[PAD]", unk_token="[UNK]",
        cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]",
    )  # fmt: skip
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=dim, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=2 * dim, max_position_embeddings=max_tokens, initializer_range=0.3,
    )  # fmt: skip
    plain = folder / "plain"
    BertModel(config, add_pooling_layer=False).save_pretrained(plain)
    fast.save_pretrained(plain)
    transformer = Transformer(str(plain), max_seq_length=max_tokens, model_kwargs={"add_pooling_layer": False})
    model = SentenceTransformer(modules=[transformer, Pooling(dim, pooling)], device="cpu")
    model.save(str(folder / "tiny"), create_model_card=False)
    return folder / "tiny"


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random BERT, mean pooling, at most 16 tokens."""
    return build_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="session")
def raw_mini() -> Path:
    """The embedded encoder's folder."""
    return ROOT / "checkpoints" / "raw-mini"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the STS-B files (layouts in docs/data.md); tests that need it are skipped without it."""
    for place in (os.environ.get("ANTICOLLAPSE_DATA"), ROOT.parent / "shared" / "data"):
        if place and (Path(place) / "stsb_en").is_dir():
            return Path(place)
    pytest.skip("the STS-B files are not here: set ANTICOLLAPSE_DATA to their folder")


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache."""
    monkeypatch.setenv("ANTICOLLAPSE_CACHE", str(tmp_path / "cache"))
