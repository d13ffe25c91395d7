"""The encoder that comes out: a plain sentence-transformers folder in half precision, with a card."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import BertForMaskedLM

from anticollapse.errors import TrainingError
from anticollapse.pretraining.options import MAX_TOKENS
from anticollapse.pretraining.vocabulary import SPECIAL
from anticollapse.training.export import no_progress_bar, swap_folders

MODEL, RECORD = "model", "pretraining.json"


def export(
    output: Path,
    write: Callable[[Path], None],
    record: Callable[[Path], Mapping[str, Any]],
) -> None:
    """Write the encoder; a reader sees the old folder or the new one, never a mixture.

    Args:
        output: The run's folder; the encoder goes to ``model`` in it.
        write: Writes the encoder into the empty folder that it is given.
        record: Asked for the facts of the card once the encoder lies in the folder that it is given.

    Raises:
        TrainingError: If it cannot be written; what was there before stays.
    """
    temporary = output / f".{MODEL}.{os.getpid()}.tmp"
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        write(temporary)
        facts = record(temporary)
        _write_json(temporary / RECORD, facts)
        (temporary / "README.md").write_text(card(facts), encoding="utf-8")
        swap_folders(temporary, output / MODEL)
    except (OSError, SafetensorError) as error:
        raise TrainingError(
            f"the encoder cannot be written ({error})",
            where=str(output),
            remedy="Make room on the disk and resume; the previous encoder is intact",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_new(folder: Path, model: BertForMaskedLM, tokenizer: str, dropout: float) -> None:
    """Write an encoder that started from nothing.

    Args:
        folder: An empty one.
        model: The network with its masked-language-model head, which stays in the file.
        tokenizer: As JSON.
        dropout: What the configuration says, for fine-tuning.
    """
    write_network(folder, model, dropout, dropout)
    _write_tokenizer(folder, tokenizer)
    _write_modules(folder, model.config.hidden_size)


def write_network(folder: Path, model: BertForMaskedLM, dropout: float, attention_dropout: float) -> None:
    """Write weights in half precision and the configuration, with these dropouts."""
    half = copy.deepcopy(model).cpu()
    half.half()  # type: ignore[no-untyped-call]
    half.config.hidden_dropout_prob, half.config.attention_probs_dropout_prob = dropout, attention_dropout
    with no_progress_bar():
        half.save_pretrained(folder)
    for file in folder.glob("*.safetensors"):
        file.chmod(0o644)  # the library makes them for the owner alone
    file = folder / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    config["dtype"] = "float32"  # stored in half precision, computed in float32
    _write_json(file, config)


def _write_tokenizer(folder: Path, tokenizer: str) -> None:
    content = json.loads(tokenizer)
    content["truncation"] = {"direction": "Right", "max_length": MAX_TOKENS, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": SPECIAL[0],
    }
    _write_json(folder / "tokenizer.json", content)
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True))
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": True,
            "strip_accents": None,
            "tokenize_chinese_chars": True,
            "model_max_length": MAX_TOKENS,
            "padding_side": "right",
            "truncation_side": "right",
            **names,
        },
    )


def _write_modules(folder: Path, width: int) -> None:
    package = "sentence_transformers.models"
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{package}.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{package}.Pooling"},
    ]
    _write_json(folder / "modules.json", modules)
    # Without the last word, loading would add a pooler with random weights.
    _write_json(
        folder / "sentence_bert_config.json",
        {"max_seq_length": MAX_TOKENS, "do_lower_case": False, "model_args": {"add_pooling_layer": False}},
    )
    _write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )
    (folder / "1_Pooling").mkdir(exist_ok=True)
    _write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": width,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )


def _write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def card(record: Mapping[str, Any]) -> str:
    """The card of a pre-trained encoder.

    Args:
        record: As in ``pretraining.json``.
    """
    data, shape, measures = record["data"], record["shape"], record["measures"]
    options, base = record["options"], record.get("from")
    unfinished = "" if record["status"] == "done" else f" **Unfinished: {100 * record['progress']:.0f} % of the run.**"
    lines = [
        "---",
        f"license: {(_cell(record['licence']) or 'other') if base is None else 'other'}",
        f"language: {data['language']}",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "tags: [sentence-transformers, anticollapse]",
        "---",
        f"# {_title(record)}",
        "",
        f"{_what(record)}{unfinished}",
        "",
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        f'encoder = SentenceTransformer("{MODEL}")  # this folder',
        "```",
        "",
        "Loading prints that the masked-language-model head is left aside (`UNEXPECTED`): sentence vectors do not need "
        "it.",
        "",
        "## Measured",
        "",
        *_measures(measures, record["dev"], record.get("before"), "raw" if base is None else "as it is"),
        "",
        "## Made from",
        "",
        "| | |",
        "|---|---|",
    ]
    facts = {
        "architecture": f"`BertForMaskedLM`, {shape['layers']} layers × {shape['width']}, {shape['heads']} heads, "
        f"{shape['parameters']:,} parameters; the masked-language-model head is kept in the file",
        "vocabulary": f"WordPiece, uncased, {shape['vocabulary']:,} entries; Chinese characters one by one"
        if base is None
        else f"that of {base['name']}, {shape['vocabulary']:,} entries",
        "longest input": f"{MAX_TOKENS if base is None else base['longest']} tokens",
        "text": f"{', '.join(data['files'])}: {data['lines']:,} lines, {data['tokens']:,} tokens (SHA-256 of the "
        f"tokens {data['digest'][:16]}…); {100 * data['unknown_share']:.2f} % unknown",
        "tokens seen": f"{record['tokens']:,} ({record['tokens'] / max(data['tokens'], 1):.1f} passes), "
        f"{record['steps']:,} steps of {record['batch_tokens']:,} places",
        "objective": f"masked-language model only: {100 * options['mask_rate']:.0f} % predicted, 80/10/10",
        "optimiser": f"AdamW, learning rate {options['learning_rate']:g}, warm-up and linear decay",
        "initial values": _start(options, record["word_start"])
        if base is None
        else f"{base['name']} (SHA-256 {base['digest'][:16]}…)"
        + ("" if base["head"] else "; its file has no head for masked tokens, which started at random"),
        "training loss at the end": _number(record["loss"], 3),
        "training time": f"{record['seconds'] / 60:.1f} minutes on {record['device']}, "
        f"{'bfloat16' if record['bfloat16'] else 'float32'}, {_speed(record)}",
        "seed": options["seed"],
        "weights": "stored in half precision, computed in float32 (`dtype` in `config.json`)",
        "versions": ", ".join(f"{name} {number}" for name, number in record["versions"].items()),
        "licence": _licence(record),
    }
    lines += [f"| {name} | {_cell(value)} |" for name, value in facts.items()]
    if record["command"]:
        lines += ["", "```", record["command"], "```"]
    if record["notes"]:
        lines += ["", *(f"- {note}" for note in record["notes"])]
    return "\n".join(lines) + "\n"


def _licence(record: Mapping[str, Any]) -> str:
    base, text = record.get("from"), record["licence"]
    if base is not None:
        return f"text {text or 'not stated'}; the weights are also under the terms of {base['name']}"
    return f"text {text}; the weights are shared under the same terms" if text else "that of the text, not stated"


def _title(record: Mapping[str, Any]) -> str:
    base, shape = record.get("from"), record["shape"]
    if base is None:
        return f"A raw BERT, {shape['layers']} layers × {shape['width']}"
    return f"{_cell(base['name'])}, pre-trained further"


def _what(record: Mapping[str, Any]) -> str:
    base, files = record.get("from"), ", ".join(record["data"]["files"])
    if base is None:
        return (
            "A small BERT with mean pooling, exactly as masked-language-model pre-training left it: no sentence pairs, "
            "no sentence objective, and nothing done to make it collapse."
        )
    return (
        f"{_cell(base['name'])} after more masked-language-model pre-training, on {_cell(files)} (Gururangan et al. "
        "2020, https://arxiv.org/abs/2004.10964). No grade of a pair was used for that."
    )


def _measures(
    measures: Mapping[str, Any], dev: Mapping[str, Any], before: Mapping[str, Any] | None, state: str
) -> list[str]:
    loss, accuracy = _number(measures["held_out_loss"], 3), _number(100 * measures["held_out_accuracy"], 1)
    if before is not None:
        loss = f"{_number(before['held_out_loss'], 3)} → {loss}"
        accuracy = f"{_number(100 * before['held_out_accuracy'], 1)} → {accuracy}"
    rows = [
        ("masked-token loss on held-out text, nats", loss),
        ("masked-token accuracy on held-out text, %", accuracy),
    ]
    if measures["dev_spearman"] is not None or measures["mean_unrelated_cosine"] is not None:
        rows += [
            (f"Spearman × 100 on {dev['name']} ({dev['n']:,} pairs), {state}", _number(measures["dev_spearman"], 1)),
            ("mean cosine of unrelated sentences there", _number(measures["mean_unrelated_cosine"], 2)),
            ("mean cosine of the pairs with score ≤ 1", _number(measures["mean_cosine_low"], 2)),
        ]
    n = f"{measures['held_out_predicted']:,} held-out tokens predicted. The graded pairs were never trained on."
    return ["| | |", "|---|--:|", *(f"| {name} | {value} |" for name, value in rows), "", n]


def _start(options: Mapping[str, Any], words: str) -> str:
    parts = []
    if words == "neighbours":
        parts.append("word vectors from the text's co-occurrences (positive PMI, singular vectors)")
    if options["frequency_bias"]:
        parts.append("output bias at the log frequencies")
    if options["sinusoids"]:
        parts.append(f"sinusoidal position table, {options['position_ratio']:g} × the word vectors")
        if options["offset_heads"]:
            parts.append("first-layer heads that start at the relative offsets −1, +1, −2, +2")
    return "; ".join(parts) or "normal"


def _speed(record: Mapping[str, Any]) -> str:
    if not record["seconds"]:
        return "no speed measured"
    text = f"{record['tokens'] / record['seconds']:,.0f} tokens/s"
    return f"{text}, {100 * record['mfu']:.1f} % of the peak" if record["mfu"] is not None else text


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _cell(value: object) -> str:
    """Text that cannot break out of a table cell."""
    return " ".join(str(value).split()).replace("|", "\\|")
