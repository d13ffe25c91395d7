"""Loading: names, layouts, the checkpoint root, and what is refused."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError
from safetensors.torch import load_file, save_file

from anticollapse.encoding import list_encoders, load_encoder, resolve_encoder
from anticollapse.encoding.checkpoints import digest_folder
from anticollapse.errors import EncoderError


@pytest.fixture
def root(tmp_path, tiny_encoder):
    root = tmp_path / "root"
    shutil.copytree(tiny_encoder, root / "tiny")
    return root


def test_embedded_name_folder_and_plain_layout_give_the_same_vectors(root, tiny_encoder):
    by_name = load_encoder("tiny", root=root)
    by_folder = load_encoder(tiny_encoder)
    plain = load_encoder(tiny_encoder.parent / "plain")
    vectors = by_name.encode(["a dog", "the cat"]).vectors
    np.testing.assert_array_equal(vectors, by_folder.encode(["a dog", "the cat"]).vectors)
    np.testing.assert_allclose(vectors, plain.encode(["a dog", "the cat"]).vectors, atol=1e-6)
    assert by_name.digest == by_folder.digest
    assert (by_name.dim, by_name.max_tokens) == (32, 16)


def test_listing(root):
    (root / "notes").mkdir()
    shutil.copytree(root / "tiny", root / "run1" / "model")
    infos = {info.name: info for info in list_encoders(root)}
    assert set(infos) == {"tiny", "run1"}
    assert infos["run1"].kind == "trained"
    assert (infos["tiny"].dim, infos["tiny"].layers) == (32, 2)
    assert resolve_encoder("run1", root=root) == (root / "run1" / "model").resolve()


@pytest.mark.parametrize("name", ["../outside", "/etc", "tiny/../../outside", "", "a\0b", ".", "no such thing"])
def test_confined_names_stay_under_the_root(root, name):
    shutil.copytree(root / "tiny", root.parent / "outside")
    with pytest.raises(EncoderError):
        resolve_encoder(name, root=root, confined=True)


def test_confined_symbolic_link_out_of_the_root(root):
    shutil.copytree(root / "tiny", root.parent / "outside")
    (root / "link").symlink_to(root.parent / "outside")
    with pytest.raises(EncoderError):
        resolve_encoder("link", root=root, confined=True)


def test_unknown_name_says_what_there_is(root):
    with pytest.raises(EncoderError, match="tiny"):
        load_encoder("tinny", root=root)


def test_pickled_weights_are_refused(root):
    torch.save(load_file(root / "tiny" / "model.safetensors"), root / "tiny" / "pytorch_model.bin")
    (root / "tiny" / "model.safetensors").unlink()
    with pytest.raises(EncoderError, match="pickle"):
        load_encoder("tiny", root=root)


def test_pickled_weights_of_an_added_module_are_refused(root):
    modules = json.loads((root / "tiny" / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (root / "tiny" / "modules.json").write_text(json.dumps(modules))
    (root / "tiny" / "2_Dense").mkdir()
    torch.save({}, root / "tiny" / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="pickle"):
        load_encoder("tiny", root=root)


@pytest.mark.parametrize("layout", ["tiny", "plain"])
def test_code_of_a_checkpoint_never_runs(root, tiny_encoder, layout):
    if layout == "plain":
        shutil.copytree(tiny_encoder.parent / "plain", root / "plain")
    folder = root / layout
    (folder / "evil.py").write_text("raise SystemExit('code ran')")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "unheard-of", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match="code of its own"):
        load_encoder(layout, root=root, confined=True)


def test_other_files_of_any_shape_do_not_matter(root):
    # all-MiniLM-L6-v2 has a data_config.json that is a list.
    (root / "tiny" / "data_config.json").write_text("[]")
    assert load_encoder("tiny", root=root).dim == 32


def test_a_file_that_only_looks_like_weights_does_not_excuse_a_pickle(root):
    modules = json.loads((root / "tiny" / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (root / "tiny" / "modules.json").write_text(json.dumps(modules))
    (root / "tiny" / "2_Dense").mkdir()
    torch.save({}, root / "tiny" / "2_Dense" / "pytorch_model.bin")
    (root / "tiny" / "2_Dense" / "other.safetensors").write_text("x")
    with pytest.raises(EncoderError, match="pickle"):
        load_encoder("tiny", root=root)


@pytest.mark.parametrize("name", ["a" * 300, "~nosuchuser/x", "x/" * 3000])
def test_names_that_no_file_system_takes(root, name):
    for confined in (True, False):
        with pytest.raises(EncoderError):
            load_encoder(name, root=root, confined=confined)


def test_connection_that_breaks_is_offline(root, monkeypatch):
    class ReadTimeoutError(Exception):
        """As an HTTP library beneath raises it: neither OSError nor one of the Hub's."""

    def broken(*_, **__):
        raise ReadTimeoutError

    monkeypatch.setattr("huggingface_hub.snapshot_download", broken)
    with pytest.raises(EncoderError, match="offline"):
        load_encoder("someone/tiny-bert", root=root)


@pytest.mark.parametrize(
    "kind",
    [
        "os.system",
        "evil.Module",
        7,
        "sentence_transformers.models.Router",
        "sentence_transformers.base.modules.module.torch",
    ],
)
def test_modules_with_code_of_their_own_are_refused(root, kind):
    modules = json.loads((root / "tiny" / "modules.json").read_text())
    modules[1]["type"] = kind
    (root / "tiny" / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(EncoderError, match="type"):
        load_encoder("tiny", root=root)


@pytest.mark.parametrize("damage", ["truncate", "not json", "empty json", "no tokenizer"])
def test_damaged_folders_are_one_message(root, damage):
    folder = root / "tiny"
    if damage == "truncate":
        weights = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    elif damage == "not json":
        (folder / "modules.json").write_text("{")
    elif damage == "empty json":
        (folder / "config.json").write_text("{}")
    else:
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer_config.json").unlink()
    with pytest.raises(EncoderError) as error:
        load_encoder("tiny", root=root)
    assert "\n" not in str(error.value)


def test_half_precision_weights_are_computed_in_float32(root):
    file = root / "tiny" / "model.safetensors"
    save_file({k: v.half() for k, v in load_file(file).items()}, file, metadata={"format": "pt"})
    config = json.loads((root / "tiny" / "config.json").read_text())
    (root / "tiny" / "config.json").write_text(json.dumps(config | {"dtype": "float16"}))
    encoder = load_encoder("tiny", root=root)
    assert {p.dtype for p in encoder.model.parameters()} == {torch.float32}


def test_digest_follows_the_content_not_the_place(root, tiny_encoder):
    before = digest_folder(root / "tiny")
    assert before == digest_folder(tiny_encoder)
    (root / "tiny" / "README.md").write_text("a card changes no vector")
    assert digest_folder(root / "tiny") == before
    config = root / "tiny" / "config.json"
    config.write_text(config.read_text().replace('"num_attention_heads": 4', '"num_attention_heads": 2'))
    assert digest_folder(root / "tiny") != before


def test_hub_name_downloads_and_loads(root, tiny_encoder, monkeypatch):
    asked = {}

    def snapshot(name, *, allow_patterns):
        asked.update(name=name, patterns=allow_patterns)
        return str(tiny_encoder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    encoder = load_encoder("someone/tiny-bert", root=root)
    assert asked["name"] == "someone/tiny-bert"
    assert not any(pattern.endswith((".bin", ".py", "*")) for pattern in asked["patterns"])
    assert encoder.encode(["a dog"]).vectors.shape == (1, 32)


def test_hub_offline(root, monkeypatch):
    def offline(*_, **__):
        raise OfflineModeIsEnabled

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(EncoderError, match=r"offline: .* Use an embedded or local encoder"):
        load_encoder("someone/tiny-bert", root=root)


def test_hub_really_offline(root):
    with pytest.raises(EncoderError, match="offline"):
        load_encoder("someone/tiny-bert", root=root)


def test_hub_unknown(root, monkeypatch):
    def unknown(*_, **__):
        raise RepositoryNotFoundError.__new__(RepositoryNotFoundError)

    monkeypatch.setattr("huggingface_hub.snapshot_download", unknown)
    with pytest.raises(EncoderError, match="neither this machine nor the Hub"):
        load_encoder("someone/tiny-bert", root=root)


def test_unknown_device(tiny_encoder):
    with pytest.raises(EncoderError, match="device"):
        load_encoder(tiny_encoder, device="quantum")


def put_run(root, run_id, name, *, model=True):
    folder = root / run_id
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"id": run_id, "name": name}))
    if model:
        shutil.copytree(root / "tiny", folder / "model")
    return folder


ONE, TWO = "0a1b2c" + "0" * 26, "0a1b2c" + "1" * 26


def test_the_folder_of_a_training_is_its_encoder(root, tmp_path):
    shutil.copytree(root / "tiny", tmp_path / "elsewhere" / "model")
    assert resolve_encoder(tmp_path / "elsewhere", root=root) == (tmp_path / "elsewhere" / "model").resolve()
    encoder = load_encoder(tmp_path / "elsewhere", root=root)
    assert encoder.name == str(tmp_path / "elsewhere")
    assert encoder.digest == load_encoder("tiny", root=root).digest
    with pytest.raises(EncoderError):
        resolve_encoder(tmp_path / "elsewhere", root=root, confined=True)


@pytest.mark.parametrize("name", [ONE, "0a1b2c", "0A1B2C00", "sbert from tiny", "my/own 🦊"])
def test_a_run_is_named_by_its_id_its_first_digits_or_its_name(root, name):
    folder = put_run(root, ONE, name if " " in name else "other")
    assert resolve_encoder(name, root=root) == (folder / "model").resolve()


def test_what_may_be_several_runs_lists_them(root):
    put_run(root, ONE, "twin")
    put_run(root, TWO, "twin")
    for name in ("0a1b2c", "twin"):
        with pytest.raises(EncoderError, match=r'2 runs: 0a1b2c000000 \("twin"\), 0a1b2c111111 \("twin"\)'):
            resolve_encoder(name, root=root)
    assert resolve_encoder(ONE[:7], root=root) == (root / ONE / "model").resolve()


def test_too_few_digits_and_a_damaged_description_name_no_run(root):
    put_run(root, ONE, "mine")
    (root / ONE / "run.json").write_text("{")
    for name in ("0a1b2", "mine"):
        with pytest.raises(EncoderError, match="no encoder called"):
            resolve_encoder(name, root=root)
    assert resolve_encoder("0a1b2c", root=root).name == "model"


def test_a_run_without_an_encoder_says_so(root):
    put_run(root, ONE, "waiting", model=False)
    for name in (ONE, "waiting", "0a1b2c"):
        with pytest.raises(EncoderError, match=r'0a1b2c000000 \("waiting"\) has no encoder yet'):
            resolve_encoder(name, root=root)


def test_a_folder_comes_before_a_run_of_that_name(root, tmp_path, monkeypatch):
    put_run(root, ONE, "mine")
    shutil.copytree(root / "tiny", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert resolve_encoder("mine", root=root) == (tmp_path / "mine").resolve()
    assert resolve_encoder("tiny", root=root) == (root / "tiny").resolve()


def test_names_from_the_app_are_ids_and_a_linked_encoder_stays_outside(root):
    put_run(root, ONE, "mine")
    assert resolve_encoder(ONE, root=root, confined=True) == (root / ONE / "model").resolve()
    for name in ("mine", "0a1b2c"):
        with pytest.raises(EncoderError):
            resolve_encoder(name, root=root, confined=True)
    shutil.copytree(root / "tiny", root.parent / "outside")
    (root / TWO).mkdir()
    (root / TWO / "model").symlink_to(root.parent / "outside")
    with pytest.raises(EncoderError):
        resolve_encoder(TWO, root=root, confined=True)


def test_an_unknown_name_lists_runs_as_people_know_them(root):
    put_run(root, ONE, "mine")
    with pytest.raises(EncoderError, match=r'0a1b2c00 \("mine"\)'):
        resolve_encoder("nobody", root=root)


def test_offline_claims_nothing_about_the_hub(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EncoderError, match="offline") as raised:
        load_encoder("nobody/no-such-encoder")
    assert "is on the Hub" not in str(raised.value)
