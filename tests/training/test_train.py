"""The loop: order within a step, the best kept, stopping, failing, what is written."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from anticollapse.errors import DataError, EncoderError, OptionError, TrainingError
from anticollapse.training import TrainingOptions, get_variant, load_pair_scorer, train, variants
from anticollapse.training import loop as loop_module
from anticollapse.training.checkpoint import load as load_checkpoint
from anticollapse.training.evaluation import Evaluation
from anticollapse.training.loop import LAST, Run
from anticollapse.training.negatives import KeyQueue, MomentumCopy
from anticollapse.training.telemetry import collapse_alarm

SHORT = TrainingOptions(steps=3, batch_size=16, learning_rate=1e-3, precision="float32")


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def weights(folder):
    import safetensors.torch

    return safetensors.torch.load_file(folder / "model" / "model.safetensors")


@pytest.mark.parametrize("name", list(variants()))
def test_every_variant_trains_and_loads_in_plain_sentence_transformers(name, tiny_folder, pairs, dev, tmp_path):
    events = []
    result = train(
        get_variant(name), tiny_folder, pairs, dev=dev, output=tmp_path / "run", options=SHORT, callback=events.append
    )
    assert result.status == "done"
    encoder = SentenceTransformer(str(result.model), device="cpu")
    vectors = encoder.encode(list(dev.sentences[:5]))
    assert np.isfinite(vectors).all()
    kinds = [e.kind for e in events]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    moved = {k: v for k, v in weights(tmp_path / "run").items() if "encoder" in k or "embeddings" in k}
    backbone = SentenceTransformer(str(tiny_folder), device="cpu")[0].auto_model.state_dict()
    changed = [k for k, v in moved.items() if not torch.equal(v, backbone[k])]
    if name == "raw":
        assert not changed
        return
    assert len(changed) > len(moved) / 2
    evaluations = [e for e in events if e.kind == "evaluation"]
    assert [e.step for e in evaluations] == [1, 2, 3]
    variant = get_variant(name)
    for values in (e.values for e in evaluations):
        assert set(values["terms"]) == {
            s for s in ("supervised", "contrast", "swav") if getattr(variant, s) is not None
        }
        assert values["loss"] == pytest.approx(sum(values["terms"].values()), rel=1e-5)
        assert math.isfinite(values["dev_spearman"])
        assert math.isfinite(values["mean_unrelated_cosine"])
        assert values["items_per_second"] > 0
        assert ("queue_fill" in values) == (variant.queue is not None)
        assert ("filtered_share" in values) == (variant.swav is not None)
        if variant.gives == "vectors":
            assert math.isfinite(values["std_sqrt_d"])
            assert math.isfinite(values["effective_rank"])
        else:
            assert values["undefined"]["effective_rank"] == "undefined because a scorer of pairs gives no vectors"
    assert (tmp_path / "run" / "heads").exists() == (variant.head is not None or variant.swav is not None)


def test_order_within_a_step(tiny_folder, pairs, tmp_path, monkeypatch):
    seen = []

    def watch(owner, name, label):
        original = getattr(owner, name)

        def wrapped(self, *args, **kwargs):
            seen.append(label)
            return original(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, wrapped)

    watch(KeyQueue, "enqueue", "enqueue")
    watch(MomentumCopy, "update", "momentum")
    watch(torch.optim.AdamW, "step", "optimizer")
    backward = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda *a, **k: (seen.append("loss"), backward(*a, **k))[1])
    options = dataclasses.replace(SHORT, accumulation=2, evaluate_every=100)
    train(get_variant("sbert-queue"), tiny_folder, pairs, output=tmp_path / "run", options=options)
    probe, *rest = seen  # the first backward pass finds unused weights, before the first step
    assert probe == "loss"
    assert rest == ["loss", "enqueue", "loss", "enqueue", "optimizer", "momentum"] * 3


def test_accumulation_equals_the_larger_batch(tiny_folder, pairs, tmp_path):
    """Two batches of 16 in one step give the gradients of their 32 pairs (cosine-MSE is a mean over pairs)."""
    still = dataclasses.replace(get_variant("sbert"))
    folder = tmp_path / "still"
    model = SentenceTransformer(str(tiny_folder), device="cpu")
    model[0].auto_model.config.hidden_dropout_prob = model[0].auto_model.config.attention_probs_dropout_prob = 0.0
    model.save(str(folder), create_model_card=False)
    common = {"learning_rate": 1e-3, "precision": "float32", "epochs": 1.0, "warmup": 0.0}
    train(still, folder, pairs, output=tmp_path / "a", options=TrainingOptions(batch_size=96, **common))
    train(still, folder, pairs, output=tmp_path / "b", options=TrainingOptions(batch_size=16, accumulation=6, **common))
    for (name, a), b in zip(weights(tmp_path / "a").items(), weights(tmp_path / "b").values(), strict=True):
        assert torch.allclose(a, b, atol=3e-5), name


def test_training_learns(tiny_folder, pair_maker, dev, tmp_path):
    pairs = pair_maker(n=400)
    options = TrainingOptions(steps=120, batch_size=32, learning_rate=3e-3, precision="float32")
    result = train(get_variant("sbert"), tiny_folder, pairs, dev=dev, output=tmp_path / "run", options=options)
    assert result.after.dev_spearman > result.before.dev_spearman + 5


def test_the_best_on_dev_is_kept(tiny_folder, pairs, dev, tmp_path, monkeypatch):
    scores = iter([0.0, 10.0, 30.0, 20.0, 25.0, 5.0, 1.0])

    def pretend(_self, _system, _device):
        nothing = {"mean_unrelated_cosine": 0.1, "std_sqrt_d": 0.9, "effective_rank": 9.0, "undefined": {}}
        return Evaluation(dev_spearman=next(scores), n_pairs=40, n_sentences=80, **nothing)

    monkeypatch.setattr("anticollapse.training.evaluation.Evaluator.__call__", pretend)
    options = TrainingOptions(steps=6, batch_size=16, learning_rate=1e-2, patience=3, precision="float32")
    kept = {}
    original = loop_module.export.export

    def remember(output, model, system, step, record):
        kept[step] = {k: v.clone() for k, v in model[0].auto_model.state_dict().items()}
        original(output, model, system, step, record)

    monkeypatch.setattr(loop_module.export, "export", remember)
    result = train(get_variant("sbert"), tiny_folder, pairs, dev=dev, output=tmp_path / "run", options=options)
    assert result.status == "early-stopped"
    assert (result.step, result.best_step) == (5, 2)  # 30 at step 2, then three evaluations without a better one
    assert sorted(kept) == [1, 2]
    for name, value in weights(tmp_path / "run").items():
        assert torch.equal(value, kept[2][name])
    record = json.loads((tmp_path / "run" / "model" / "training.json").read_text())
    assert record["step"] == 2
    assert record["after"]["dev_spearman"] == 30.0
    assert record["status"] == "early-stopped"


def test_without_dev_the_latest_is_kept_and_said_so(tiny_folder, pairs, tmp_path):
    events = []
    result = train(
        get_variant("sbert"), tiny_folder, pairs, output=tmp_path / "run", options=SHORT, callback=events.append
    )
    assert result.best_step == 3
    assert any("latest checkpoint is kept" in e.values["text"] for e in events if e.kind == "notice")
    assert result.after.undefined["dev_spearman"] == "undefined because there are no graded dev pairs"
    assert result.after.mean_unrelated_cosine is not None


def test_a_stop_leaves_a_checkpoint_and_an_encoder(tiny_folder, pairs, dev, tmp_path):
    steps = []
    options = dataclasses.replace(SHORT, steps=50, evaluate_every=50)
    result = train(
        get_variant("sbert"),
        tiny_folder,
        pairs,
        dev=dev,
        output=tmp_path / "run",
        options=options,
        stop=lambda: steps.append(1) or len(steps) > 4,
    )
    assert (result.status, result.step) == ("stopped", 4)
    SentenceTransformer(str(result.model), device="cpu")
    assert load_checkpoint(tmp_path / "run" / LAST).state["position"]["step"] == 4
    assert lines(tmp_path / "run")[-1]["status"] == "stopped"


def test_nan_stops_and_keeps_the_last_good_encoder(tiny_folder, pairs, dev, tmp_path, monkeypatch):
    original = Run._step
    count = []

    def spoil(self, batches):
        count.append(1)
        if len(count) == 6:
            with torch.no_grad():
                next(self.shop.system.parameters()).fill_(float("nan"))
        original(self, batches)

    monkeypatch.setattr(Run, "_step", spoil)
    options = dataclasses.replace(SHORT, steps=10, evaluate_every=2)
    with pytest.raises(TrainingError, match=r"no longer a number at step 6.*step \d.*Lower the learning rate"):
        train(get_variant("sbert"), tiny_folder, pairs, dev=dev, output=tmp_path / "run", options=options)
    assert all(v.isfinite().all() for v in weights(tmp_path / "run").values())
    saved = load_checkpoint(tmp_path / "run" / LAST)
    assert saved.state["position"]["step"] == 4
    assert all(v.isfinite().all() for k, v in saved.tensors.items() if k.startswith("system."))
    end = lines(tmp_path / "run")[-1]
    assert end["status"] == "failed"
    assert "no longer a number" in end["reason"]


def test_memory_errors_say_what_to_do(tiny_folder, pairs, tmp_path, monkeypatch):
    def burst(self, batches):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Run, "_step", burst)
    with pytest.raises(TrainingError, match=r"memory ran out. Start anew in another folder with a lower --batch"):
        train(get_variant("sbert"), tiny_folder, pairs, output=tmp_path / "run", options=SHORT)
    end = lines(tmp_path / "run")[-1]
    assert (end["event"], end["status"]) == ("end", "failed")
    assert "memory ran out" in end["reason"]


def test_a_full_disk_leaves_what_was_there(tiny_folder, pairs, dev, tmp_path, monkeypatch):
    import safetensors.torch

    original = safetensors.torch.save_file
    count = []

    def full(tensors, file, *args):
        count.append(1)
        if len(count) > 2:
            raise OSError(28, "No space left on device")
        return original(tensors, file, *args)

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    options = dataclasses.replace(SHORT, steps=8, evaluate_every=2)
    with pytest.raises(TrainingError, match=r"No space left on device.*Make room"):
        train(get_variant("sbert"), tiny_folder, pairs, dev=dev, output=tmp_path / "run", options=options)
    assert load_checkpoint(tmp_path / "run" / LAST).state["position"]["step"] == 4
    SentenceTransformer(str(tmp_path / "run" / "model"), device="cpu")
    assert not [p for p in (tmp_path / "run").rglob("*") if ".tmp" in p.name]


def test_fewer_pairs_than_a_batch_is_announced(tiny_folder, pair_maker, tmp_path):
    events = []
    small = pair_maker(n=5)
    train(get_variant("sbert"), tiny_folder, small, output=tmp_path / "run", options=SHORT, callback=events.append)
    texts = [e.values["text"] for e in events if e.kind == "notice"]
    assert "There are only 5 pairs, fewer than a batch of 16: the batch is 5." in texts
    with pytest.raises(TrainingError, match="there are 1 pairs, and Sentence-BERT needs at least 2"):
        train(get_variant("sbert"), tiny_folder, pair_maker(n=1), output=tmp_path / "one", options=SHORT)


def test_wrong_data_leaves_no_folder(tiny_folder, pair_maker, tmp_path):
    with pytest.raises(DataError, match="carry no scores"):
        train(get_variant("sbert"), tiny_folder, pair_maker(labelled=False), output=tmp_path / "run", options=SHORT)
    assert not (tmp_path / "run").exists()


def test_an_occupied_folder_is_not_overwritten(tiny_folder, pairs, tmp_path):
    train(get_variant("raw"), tiny_folder, pairs, output=tmp_path / "run")
    with pytest.raises(OptionError, match="holds a run already"):
        train(get_variant("raw"), tiny_folder, pairs, output=tmp_path / "run")
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OptionError, match="a file, not a folder"):
        train(get_variant("raw"), tiny_folder, pairs, output=file)


def test_an_encoder_in_memory_is_not_changed(tiny_encoder, pairs, tmp_path):
    before = {k: v.clone() for k, v in tiny_encoder.model.state_dict().items()}
    state = torch.get_rng_state()
    train(get_variant("sbert"), tiny_encoder, pairs, output=tmp_path / "run", options=SHORT)
    assert all(torch.equal(v, before[k]) for k, v in tiny_encoder.model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_no_device_of_that_name(tiny_folder, pairs, tmp_path):
    with pytest.raises(EncoderError, match='no device "cuda:99"'):
        train(get_variant("sbert"), tiny_folder, pairs, output=tmp_path / "run", device="cuda:99")


def test_card_and_record_say_how_it_was_made(tiny_folder, pairs, dev, tmp_path):
    variant = get_variant("sbert-queue").with_parameters({"queue_size_ratio": 1.5})
    train(
        variant, tiny_folder, pairs, dev=dev, output=tmp_path / "run", options=SHORT, command="anticollapse train x|y"
    )
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    for text in (
        "Sentence-BERT + SimCSE + queue",
        pairs.digest[:16],
        "queue size ratio | 1.5",
        "anticollapse train x|y",
    ):
        assert text in card
    assert "dev Spearman × 100" in card
    record = json.loads((tmp_path / "run" / "model" / "training.json").read_text())
    assert record["options"]["learning_rate"] == 1e-3
    assert record["before"]["dev_spearman"] is not None
    assert set(record["versions"]) >= {"torch", "transformers", "sentence-transformers", "anticollapse"}


def test_pair_scorer_gives_what_was_measured(tiny_folder, pairs, dev, tmp_path):
    from anticollapse.measures.correlation import correlation_of

    result = train(
        get_variant("cross-attention-scored"), tiny_folder, pairs, dev=dev, output=tmp_path / "run", options=SHORT
    )
    scorer = load_pair_scorer(tmp_path / "run", device="cpu")
    scores = scorer.score(dev.sentences1, dev.sentences2)
    assert 100 * correlation_of(dev.scores, scores, "spearman") == pytest.approx(result.after.dev_spearman, abs=1e-6)
    assert np.allclose(
        load_pair_scorer(result.model).score(dev.sentences1[:3], dev.sentences2[:3]), scores[:3], atol=1e-6
    )
    with pytest.raises(ValueError, match="2 first and 1 second"):
        scorer.score(["a", "b"], ["c"])
    train(get_variant("sbert"), tiny_folder, pairs, output=tmp_path / "plain", options=SHORT)
    with pytest.raises(EncoderError, match="no scorer of pairs"):
        load_pair_scorer(tmp_path / "plain")
    assert "A scorer of pairs" in (result.model / "README.md").read_text()


def evaluation(**values):
    full = {"dev_spearman": 50.0, "mean_unrelated_cosine": 0.5, "std_sqrt_d": 0.7, "effective_rank": 40.0}
    return Evaluation(**(full | values), n_pairs=1, n_sentences=1, undefined={})


@pytest.mark.parametrize(
    ("start", "now", "alarm"),
    [
        ({}, {}, ""),
        ({}, {"mean_unrelated_cosine": 0.89}, ""),
        ({}, {"mean_unrelated_cosine": 0.93}, "mean cosine of 0.93 .0.50 before"),
        ({"mean_unrelated_cosine": 0.95}, {"mean_unrelated_cosine": 0.93}, ""),
        ({"mean_unrelated_cosine": 0.92}, {"mean_unrelated_cosine": 0.996}, "mean cosine of 0.996 .0.92 before"),
        ({"mean_unrelated_cosine": 0.985}, {"mean_unrelated_cosine": 0.986}, ""),
        ({"mean_unrelated_cosine": 0.985}, {"mean_unrelated_cosine": 0.996}, "mean cosine of 0.996 .0.985 before"),
        ({"mean_unrelated_cosine": 0.99}, {"mean_unrelated_cosine": 0.99998}, "mean cosine of 0.99998 .0.990 before"),
        ({}, {"mean_unrelated_cosine": 1.0}, "mean cosine of 1.00 .0.50 before"),
        ({}, {"effective_rank": 3.9}, "effective rank fell from 40.0 to 3.9"),
        ({}, {"effective_rank": None, "mean_unrelated_cosine": None}, ""),
    ],
)
def test_collapse_alarm(start, now, alarm):
    import re

    said = collapse_alarm(evaluation(**now), evaluation(**start))
    assert bool(said) == bool(alarm)
    assert re.search(alarm, said)


def test_a_collapsing_run_rings(tiny_folder, pair_maker, dev, tmp_path):
    """All pairs graded 5: cosine-MSE pulls everything together, and the run says so while it happens."""
    pairs = pair_maker(n=200)
    scores = np.full(pairs.n, 5.0)
    scores[0] = 4.9
    same = dataclasses.replace(pairs, scores=scores)
    events = []
    options = TrainingOptions(steps=80, batch_size=32, learning_rate=3e-3, precision="float32", patience=0)
    train(
        get_variant("sbert"),
        tiny_folder,
        same,
        dev=dev,
        output=tmp_path / "run",
        options=options,
        callback=events.append,
    )
    alarms = [e for e in events if e.kind == "alarm"]
    assert alarms
    assert "is collapsing" in alarms[-1].values["text"]
    assert any(e["event"] == "alarm" for e in lines(tmp_path / "run"))
