r"""Shapes, vocabularies and rates of an encoder at equal wall clock: pre-trained side by side, then fine-tuned alike.

python benchmarks/shapes.py --minutes 1.25 --output build/shapes \\
    4x256=en-8192.tokens 3x256=en-12288.tokens 4x256=en-8192.tokens,learning-rate=2e-3

Each candidate is SIZE=FILE with a text that `anticollapse pretrain --prepare` made (the vocabulary is that of the file)
and, after commas, options of `anticollapse pretrain` and their values. All of them train at the same time on the same
device and share it. Compilation is counted by nobody, but takes longer for some: who begins later has less company at
its end, which the tokens seen tell.
What they are measured by is `benchmarks/encoders.py`: bits a character of held-out lines (`--held-out`, comparable
between vocabularies), raw STS-B dev, and STS-B dev after the variant `sbert`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from anticollapse.runs.queue import THREAD_VARIABLES
from anticollapse.studies.wording import NONE, table

ENCODERS = Path(__file__).resolve().parent / "encoders.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("candidates", nargs="+", metavar="SIZE=FILE[,option=value…]")
    parser.add_argument("--minutes", type=float, required=True, help="of training steps, each")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--held-out", type=Path, help="held-out lines (`encoders.py --write-held-out`)")
    parser.add_argument("--pairs", default="stsb", help="stsb (default) or stsb-zh")
    parser.add_argument("--epochs", type=float, default=2.0, help="of fine-tuning; 0 = none (default 2)")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    folders = {candidate: args.output / name_of(candidate) for candidate in args.candidates}
    if len(set(folders.values())) < len(folders) or any(folder.exists() for folder in folders.values()):
        parser.error(f"a candidate stands twice, or was trained in {args.output} before; give another --output")
    done = side_by_side({c: pretraining(c, folders[c], args) for c in folders}, folders, "pretrain")
    measured = side_by_side({c: measuring(folders[c], args) for c in done}, folders, "measure")
    rows = [row(c, folders[c]) for c in done]
    (args.output / "shapes.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    print(as_table(rows))
    failed = [c for c in folders if c not in measured]
    if failed:
        sys.exit(f"failed: {', '.join(failed)} (see {args.output}/*.log)")


def name_of(candidate: str) -> str:
    return "".join(c if c.isalnum() or c in "-." else "_" for c in candidate.replace(".tokens", ""))


def pretraining(candidate: str, folder: Path, args: argparse.Namespace) -> list[str]:
    shape, *options = candidate.split(",")
    size, _, text = shape.partition("=")
    given = [part for option in options for part in (f"--{option.partition('=')[0]}", option.partition("=")[2])]
    command = ["-m", "anticollapse", "pretrain", "--text", text, "--size", size, "--output", str(folder)]
    length = ["--minutes", str(args.minutes), "--evaluations", "2", "--device", args.device]
    return [sys.executable, *command, *length, *given]


def measuring(folder: Path, args: argparse.Namespace) -> list[str]:
    command = [sys.executable, str(ENCODERS), str(folder / "model"), "--json", "--pairs", args.pairs]
    held = ["--held-out", str(args.held_out)] if args.held_out else []
    return [*command, *held, "--epochs", str(args.epochs), "--device", args.device]


def side_by_side(commands: dict[str, list[str]], folders: dict[str, Path], what: str) -> list[str]:
    """Run all commands at once, each with its share of the processors, output and errors into files; who succeeded."""
    threads = max(1, (os.cpu_count() or 1) // max(1, len(commands)))
    environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(threads)) | {"TQDM_DISABLE": "1"}
    running = {}
    for candidate, command in commands.items():
        log, out = (beside(folders[candidate], f"{what}.{ending}") for ending in ("log", "out"))
        with log.open("w") as errors, out.open("w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        running[candidate] = (process, time.perf_counter())
    codes = {}
    for candidate, (process, began) in running.items():
        codes[candidate] = process.wait()
        took = time.perf_counter() - began
        print(f"{what} {candidate}: exit {codes[candidate]} after {took:.0f} s", file=sys.stderr, flush=True)
    return [candidate for candidate, code in codes.items() if code == 0]


def beside(folder: Path, ending: str) -> Path:
    """A file beside the folder of a candidate: a training that begins must find its own folder empty."""
    return folder.parent / f"{folder.name}.{ending}"


def row(candidate: str, folder: Path) -> dict[str, Any]:
    record = json.loads((folder / "model" / "pretraining.json").read_text(encoding="utf-8"))
    out: dict[str, Any] = {
        "candidate": candidate,
        "parameters": record["shape"]["parameters"],
        "device": record["device"],
        "engine": record["engine"],
        "minutes": record["seconds"] / 60,
        "steps": record["steps"],
        "tokens": record["tokens"],
        "tokens_per_second": record["tokens_per_second"],
        "mfu": record["mfu"],
        "held_out_loss": record["measures"]["held_out_loss"],
    }
    text = beside(folder, "measure.out").read_text(encoding="utf-8").strip()
    measures = next(iter(json.loads(text).values())) if text else {}
    return out | measures


def as_table(rows: list[dict[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return table([c.replace("_", " ") for c in columns], [[shown(found.get(c)) for c in columns] for found in rows])


def shown(value: object) -> str:
    if value is None:
        return NONE
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
