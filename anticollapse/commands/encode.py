"""``anticollapse encode ENCODER --input … --output …``: sentence vectors into a file."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anticollapse.commands.common import (
    add_encoder_arguments,
    add_pairs_arguments,
    cache_from,
    open_judged,
    pairs_from,
    progress_bar,
    same_file,
    writable,
)
from anticollapse.commands.doctor import Subparsers
from anticollapse.encoding import Embeddings
from anticollapse.errors import OptionError
from anticollapse.wording import count

FORMATS = (".npy", ".parquet")


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "encode",
        help="write the sentence vectors of a file",
        description="Write the vectors of all different sentences of a file, in order of first appearance: "
        ".npy holds the (N, d) float32 array, with NAME.sentences.jsonl beside it; .parquet holds both.",
    )
    add_encoder_arguments(parser)
    add_pairs_arguments(parser, "--input", "sentences or pairs in any known format")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="a .npy or .parquet file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        AntiCollapseError: Whatever the user can mend.
    """
    output: Path = args.output
    if output.suffix.lower() not in FORMATS:
        raise OptionError(
            f'"{output.suffix}" is no known output format', where=str(output), remedy="Use .npy or .parquet"
        )
    with writable(output):
        if not output.parent.is_dir():
            raise OptionError("the folder does not exist", where=str(output.parent), remedy="Make it first")
        taken = [path for path in (output, _listing(output)) if path.is_dir() or same_file(path, args.pairs)]
    if taken:
        raise OptionError("is a folder, or the input itself", where=str(taken[0]), remedy="Give another --output")
    pairs = pairs_from(args)
    sentences = pairs.sentences
    encoder, fit = open_judged(args, pairs, use="writes here, so judge it on others")
    with progress_bar("encoding") as progress:
        encoded = encoder.encode(sentences, cache=cache_from(args), progress=progress)
    write = _write_npy if output.suffix.lower() == ".npy" else _write_parquet
    write(output, sentences, encoded)
    cut = int(encoded.truncated.sum())
    note = f"; {cut:,} {'was' if cut == 1 else 'were'} longer than {encoder.max_tokens} tokens and cut" if cut else ""
    for line in (*pairs.notes, *fit.lines):
        print(f"  {line}", file=sys.stderr)
    print(f"{output}: {count(len(sentences), 'sentence')} × {encoder.dim}{note}", file=sys.stderr)
    return 0


def _write_npy(output: Path, sentences: tuple[str, ...], encoded: Embeddings) -> None:
    with _atomic(output) as temporary, temporary.open("wb") as stream:
        np.save(stream, encoded.vectors)
    # JSON Lines: a sentence may hold line breaks, and a text file of that name could be somebody's input.
    with _atomic(_listing(output)) as temporary:
        lines = "".join(json.dumps({"sentence": sentence}) + "\n" for sentence in sentences)
        temporary.write_text(lines, encoding="utf-8")


def _write_parquet(output: Path, sentences: tuple[str, ...], encoded: Embeddings) -> None:
    width = encoded.vectors.shape[1]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(encoded.vectors.ravel()), width)
    columns = {
        "sentence": pa.array(list(sentences)),
        "vector": vectors,
        "tokens": pa.array(encoded.n_tokens),
        "truncated": pa.array(encoded.truncated),
    }
    with _atomic(output) as temporary:
        pq.write_table(pa.table(columns), temporary)


def _listing(output: Path) -> Path:
    return output.with_suffix(".sentences.jsonl")


@contextmanager
def _atomic(target: Path) -> Iterator[Path]:
    """A temporary file beside the target that takes its place when all went well."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with writable(target):
        try:
            yield temporary
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
