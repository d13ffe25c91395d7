"""Make a trained encoder one of the embedded ones: half precision on disk, measured as it lies there, with a card.

    ANTICOLLAPSE_DATA=DIR python benchmarks/embed.py build/cured --name cured-mini --backbone raw-mini --pairs stsb

Takes the folder of a training (`anticollapse train … --output`), stores its weights in half precision (when loaded they
are float32 again), leaves the training-only parts out, and writes `checkpoints/NAME` as a whole. The card states what
the encoder and its backbone measure on dev, test and the demo pairs, and the command that trained it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from anticollapse.data import load_pairs
from anticollapse.doctor import Report, examine
from anticollapse.encoding import checkpoint_root, load_encoder, resolve_encoder
from anticollapse.training.export import RECORD, swap_folders

MEASURES = {
    "Spearman × 100": "spearman",
    "mean cosine of unrelated sentences": "mean_unrelated_cosine",
    "spread: mean cosine of labels ≥ 4 less that of labels ≤ 1": "spread",
    "effective rank": "effective_rank",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of a training")
    parser.add_argument("--name", required=True, help="of the embedded encoder")
    parser.add_argument("--backbone", default="raw-mini", help="what it is measured beside (default raw-mini)")
    parser.add_argument("--pairs", default="stsb", help="the set it was trained on, with dev and test (default stsb)")
    parser.add_argument("--licence", default="cc-by-sa-4.0", help="of the weights (default cc-by-sa-4.0)")
    parser.add_argument(
        "--test-use",
        default="the test split and the demo pairs took part in no choice",
        help="what the card says of how the test split was used",
    )
    parser.add_argument("--note", default="", help="a sentence for the card, such as why this variant was taken")
    args = parser.parse_args()
    source = resolve_encoder(args.run)
    if not isinstance(source, Path):
        parser.error(f"{args.run} is no folder of a training")
    root = checkpoint_root()
    temporary = root / f".{args.name}.{os.getpid()}.tmp"
    try:
        halve(source, temporary)
        record = json.loads((temporary / RECORD).read_text(encoding="utf-8"))
        record["heads"] = ""  # they stay behind
        (temporary / RECORD).write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        splits = [f"{args.pairs}:dev", f"{args.pairs}:test", "demo:dev"]
        reports = [(name, measure(args.backbone, name), measure(temporary, name)) for name in splits]
        text = card(args, record, reports)
        (temporary / "README.md").write_text(text, encoding="utf-8")
        swap_folders(temporary, root / args.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    print(text)


def halve(source: Path, target: Path) -> None:
    """Copy an encoder's folder with its floating-point weights in half precision."""
    shutil.copytree(source, target)
    for file in target.rglob("*.safetensors"):
        weights = {k: v.half() if v.dtype == torch.float32 else v for k, v in load_file(file).items()}
        save_file(weights, file, metadata={"format": "pt"})
        file.chmod(0o644)


def measure(encoder: str | Path, pairs: str) -> Report:
    return examine(load_encoder(encoder), load_pairs(pairs))


def card(args: argparse.Namespace, record: dict[str, Any], reports: list[tuple[str, Report, Report]]) -> str:
    variant, data, options = record["variant"], record["data"], record["options"]
    backbone = record["backbone"]
    further = backbone.get("further")
    start = f"{further['name']}, pre-trained further on {further['on']}," if further else backbone["name"]
    lines = [
        "---",
        f"license: {args.licence}",
        "language: en",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "---",
        f"# {args.name}: {start} after {variant['title']}",
        "",
        f"An embedded encoder of `anticollapse`, beside the raw one it was trained from. {args.note}".strip(),
        "",
        f"| | {args.backbone} | {args.name} |",
        "|---|--:|--:|",
    ]
    for name, before, after in reports:
        for title, key in MEASURES.items():
            values = (before.diagnosis[key].describe(), after.diagnosis[key].describe())
            lines.append(f"| {name}: {title} | {values[0]} | {values[1]} |")
    lines += [
        "",
        "95 % intervals over pairs or sentences; measured in float32 with the weights as they lie here, in half "
        f"precision. The checkpoint was chosen on {data['dev']}; {args.test_use}.",
        "",
        "| | |",
        "|---|---|",
        f"| training data | {data['name']}, {data['n']:,} pairs |",
        f"| steps | {record['step']:,} of {record['steps']:,}, batch {options['batch_size']}, "
        f"learning rate {options['learning_rate']:g}, seed {options['seed']} |",
        f"| device | {record['device']}, {'bfloat16' if record['bfloat16'] else 'float32'}, "
        f"{record['seconds'] / 60:.0f} minutes |",
        f"| backbone | {start.rstrip(',')} (SHA-256 {backbone['digest'][:16]}…) |",
        f"| versions | {', '.join(f'{name} {number}' for name, number in record['versions'].items())} |",
        "| licence | the backbone's text is CC BY-SA, and the weights are shared under the same terms; the graded "
        "pairs of the STS Benchmark come from several sources, each with terms of its own; none of them is in this "
        "folder |",
        "",
        "```",
        *([further["command"]] if further else []),
        record["command"],
        f"python benchmarks/embed.py {args.run} --name {args.name} --backbone {args.backbone} --pairs {args.pairs}",
        "```",
        "",
        f"Limits: uncased English, at most {reports[0][2].max_tokens} tokens. Do not judge it on {data['name']}, "
        f"which it was trained on, or {data['dev']}, which chose it; one seed.",
        "",
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        f'encoder = SentenceTransformer("checkpoints/{args.name}")',
        "```",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
