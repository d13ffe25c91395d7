"""Seconds to read and check generated sentence pairs from memory, in each format, on one thread.

Run: ``OMP_NUM_THREADS=1 python benchmarks/read.py --rows 1000000`` (XLSX: ``--rows 200000 --formats xlsx``).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import platform
import random
import time

import openpyxl
import pandas as pd

from anticollapse.data import Limits, read_pairs

WORDS = (
    "alpha",
    "beta",
    "gamma",
    "delta",
    "river",
    "train",
    "people",
    "walking",
    "through",
    "yellow",
    "market",
    "quietly",
)
HEADER = ["sentence1", "sentence2", "score"]
Row = tuple[str, str, float]


def make_rows(n: int) -> list[Row]:
    rng = random.Random(0)

    def sentence() -> str:
        return " ".join(rng.choices(WORDS, k=9))

    return [(f"{sentence()} {i}", sentence(), rng.randrange(501) / 100) for i in range(n)]


def encode(rows: list[Row], kind: str) -> bytes:
    if kind == "jsonl":
        return "\n".join(json.dumps(dict(zip(HEADER, row, strict=True))) for row in rows).encode()
    if kind in {"csv", "csv-quoted", "tsv"}:
        text = io.StringIO(newline="")
        quoting = csv.QUOTE_ALL if kind == "csv-quoted" else csv.QUOTE_MINIMAL
        csv.writer(text, delimiter="\t" if kind == "tsv" else ",", quoting=quoting).writerows([HEADER, *rows])
        return text.getvalue().encode()
    buffer = io.BytesIO()
    if kind == "parquet":
        pd.DataFrame(rows, columns=HEADER).to_parquet(buffer)
    else:
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet()
        for row in [HEADER, *rows]:
            sheet.append(list(row))
        book.save(buffer)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--formats", nargs="+", default=["csv", "csv-quoted", "tsv", "jsonl", "parquet"])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    rows = make_rows(args.rows)
    print(f"{args.rows:,} pairs, {os.cpu_count()} cores, Python {platform.python_version()}")
    print("| format | MB | fastest, s | median, s |\n|---|---|---|---|")
    for kind in args.formats:
        data = encode(rows, kind)
        seconds = []
        for _ in range(args.repeats):
            start = time.perf_counter()
            pairs = read_pairs(data, name=f"pairs.{kind.removesuffix('-quoted')}", limits=Limits(max_rows=args.rows))
            seconds.append(time.perf_counter() - start)
        if (pairs.n, pairs.sentences1[-1], pairs.require_scores()[-1]) != (args.rows, rows[-1][0], rows[-1][2]):
            msg = f"{kind}: what was read is not what was written"
            raise SystemExit(msg)
        print(
            f"| {kind} | {len(data) / 1e6:.0f} | {min(seconds):.2f} | {sorted(seconds)[len(seconds) // 2]:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
