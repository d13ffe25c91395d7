"""Saved cures: complete or absent, a card that says what was done, and the same vectors without this package."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from anticollapse.cures import CURES, cure_encoder, save_cured
from anticollapse.cures.card import cure_command, model_card
from anticollapse.encoding import load_encoder
from anticollapse.errors import OptionError

TEXT = [
    f"{a} {b} is {c}" for a in ("a", "the") for b in ("man", "dog", "cat", "bank") for c in ("red", "big", "eating")
]
NEW = ["a child rides a horse", "the stock market fell", "is the", "the dog is not sleeping"]

PLAIN_PROCESS = """
import json, sys
sys.modules["anticollapse"] = None  # importing it now fails
from sentence_transformers import SentenceTransformer
texts = json.loads(sys.argv[1])
print(json.dumps([SentenceTransformer(f, device="cpu").encode(texts).tolist() for f in sys.argv[2:]]))
"""


@pytest.fixture(scope="module")
def tiny(tiny_encoder):
    return load_encoder(tiny_encoder, device="cpu")


def test_every_cure_reloads_without_this_package(tiny, tmp_path):
    chains = [*CURES, "first-last+sif+whitening:k=6"]
    expected, folders = [], []
    for i, chain in enumerate(chains):
        cured = cure_encoder(tiny, chain, TEXT)
        folders.append(str(save_cured(cured, tmp_path / f"cured{i}")))
        expected.append(cured.encode(NEW).vectors)
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_PROCESS, json.dumps(NEW), *folders], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for chain, vectors, found in zip(chains, expected, json.loads(done.stdout.splitlines()[-1]), strict=True):
        np.testing.assert_allclose(found, vectors, atol=2e-5 * max(1, np.abs(vectors).max()), err_msg=chain)
    for folder, vectors in zip(folders, expected, strict=True):
        np.testing.assert_allclose(load_encoder(folder).encode(NEW).vectors, vectors, atol=2e-5 * np.abs(vectors).max())


def test_card(tiny, tmp_path):
    cured = cure_encoder(tiny, "first-last+whitening:k=4", TEXT, source="pairs|`x`.csv")
    card = (save_cured(cured, tmp_path / "out") / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    assert f"fitted on | `pairs/'x'.csv`, {len(TEXT)} different sentences, without labels" in card
    assert "| k | 4:" in card
    assert "https://arxiv.org/abs/2103.15316" in card
    assert "loads without the `anticollapse` package" in card
    assert cured.fits[1].text_digest in card
    assert tiny.digest in card
    assert cure_command(cured, tmp_path / "out") in card
    assert "with 2 training-free cures" in card
    assert "python -m anticollapse cure first-last+whitening:k=4" in card


def test_card_of_defaults_and_counts(tiny, tmp_path):
    cured = cure_encoder(tiny, "sif+whitening", TEXT)
    card = model_card(cured, tmp_path / "out")
    assert "with 2 training-free cures" in card  # sif has two steps and is one cure
    assert f"tokens counted in | the {len(TEXT)} sentences given" in card
    assert "automatic (half of the encoder's dimensions)" in card
    assert "--text TEXT" in card
    assert "needs no text" in model_card(cure_encoder(tiny, "first-last", []), tmp_path / "out")


def test_refuses_what_it_would_overwrite(tiny, tmp_path):
    cured = cure_encoder(tiny, "centring", TEXT)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for name in ("file", "full"):
        with pytest.raises(OptionError, match="something already"):
            save_cured(cured, tmp_path / name)
    assert (tmp_path / "full" / "mine").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    save_cured(cured, tmp_path / "empty")
    assert (tmp_path / "empty" / "modules.json").exists()
    with pytest.raises(OptionError, match="has no cure"):
        save_cured(tiny, tmp_path / "plain")


def test_nothing_is_left_when_saving_fails(tiny, tmp_path, monkeypatch):
    cured = cure_encoder(tiny, "centring", TEXT)

    def full_disk(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("anticollapse.cures.card.model_card", full_disk)
    with pytest.raises(OptionError, match="No space left"):
        save_cured(cured, tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []
    assert list(tmp_path.glob(".*out*")) == []


def test_a_changed_dimension_and_a_missing_pooler_are_on_record(tiny_encoder, tmp_path):
    base = shutil.copytree(tiny_encoder, tmp_path / "base")
    config = json.loads((base / "sentence_bert_config.json").read_text())
    (base / "sentence_bert_config.json").write_text(json.dumps({**config, "model_args": {"add_pooling_layer": False}}))
    cured = cure_encoder(load_encoder(base), "whitening", TEXT)
    folder = save_cured(cured, tmp_path / "cured")
    assert "| sentence vector | 32 → 16 dimensions |" in (folder / "README.md").read_text()
    config = json.loads((folder / "sentence_bert_config.json").read_text())
    assert config["model_args"]["add_pooling_layer"] is False
    load = "from sentence_transformers import SentenceTransformer; import sys; "
    load += "print(SentenceTransformer(sys.argv[1], device='cpu')[0].auto_model.pooler)"
    done = subprocess.run(
        [sys.executable, "-c", load, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "None\n"
    assert "MISSING" not in done.stderr
    assert "pooler" not in done.stderr
    same = save_cured(cure_encoder(load_encoder(tiny_encoder), "centring", TEXT), tmp_path / "same")
    assert "| sentence vector | 32 dimensions |" in (same / "README.md").read_text()
