"""``anticollapse map ENCODER … --input … --output …``: the same sentences under several encoders, aligned."""

from __future__ import annotations

import argparse
import html
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anticollapse.commands.common import (
    add_encoder_arguments,
    add_pairs_arguments,
    cache_from,
    fit_lines,
    open_judged,
    pairs_from,
    progress_bar,
    seed_number,
    writable,
)
from anticollapse.commands.doctor import Subparsers
from anticollapse.encoding.cache import default_cache_folder
from anticollapse.errors import OptionError
from anticollapse.figures.map import Groups, MapPanel, MapPoints, Scale, map_figure, tooltips
from anticollapse.figures.style import CONFIG, Series, colours
from anticollapse.measures.array_cache import ArrayCache
from anticollapse.measures.clusters import clusters
from anticollapse.measures.projection import MOST_ENCODERS, MapSettings
from anticollapse.neighbourhoods import (
    LIMIT,
    MapReport,
    SentenceFacts,
    map_metadata,
    map_sentences,
    map_table,
    sample_sentences,
)
from anticollapse.wording import count

FORMATS = (".html", ".parquet")
COLOURS = ("encoder", "label", "source", "group", "kept", "moved")
CAPTION = (
    "Each point is a sentence. Nearness means something; how far apart distant groups are, how large and in which "
    "direction does not. A sentence that lies elsewhere under another encoder often has other neighbours there, but "
    "not always: “neighbours kept” tells. A map hardly shows collapse: measure that with “anticollapse doctor”. "
    "Trustworthiness and neighbours kept come from the sentence vectors themselves."
)


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "map",
        help="draw the sentences of a file under one or more encoders, aligned",
        description="Aligned UMAP of the same sentences under up to six encoders. An .html file shows it without any "
        "network; a .parquet file holds sentences, coordinates, and what became of each neighbourhood. What is "
        "kept and moved is told against the first encoder.",
    )
    add_encoder_arguments(parser)
    parser.add_argument("others", nargs="*", metavar="ENCODER", help="further encoders, to be compared with the first")
    add_pairs_arguments(parser, "--input", "sentences or pairs in any known format")
    parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="an .html or .parquet file")
    parser.add_argument(
        "--color",
        choices=COLOURS,
        default="encoder",
        help="what the colour says (html): the encoder (default), the human label, the source, the dense group under "
        "the first encoder, the share of neighbours kept, or how far a sentence moved",
    )
    parser.add_argument("--limit", type=int, default=LIMIT, help=f"most sentences drawn (default {LIMIT:,})")
    parser.add_argument("--neighbors", type=int, default=15, help="size of the neighbourhoods UMAP keeps (default 15)")
    parser.add_argument("--min-dist", type=float, default=0.1, help="how close points may lie (default 0.1)")
    parser.add_argument("--epochs", type=int, help="passes over the edges; default by the number of points, 200 to 500")
    parser.add_argument("--seed", type=seed_number, default=0, help="seed of the sample and the layout (default 0)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        AntiCollapseError: Whatever the user can mend.
    """
    output: Path = args.output
    names = list(dict.fromkeys([args.encoder, *args.others]))
    _check(output, names, args.pairs)
    settings = MapSettings(n_neighbors=args.neighbors, min_dist=args.min_dist, n_epochs=args.epochs, seed=args.seed)
    pairs = pairs_from(args)
    facts = SentenceFacts.of(pairs)
    if args.color in {"kept", "moved"} and len(names) == 1:
        raise OptionError(
            f'one encoder alone leaves nothing to compare, so "{args.color}" has no colours',
            remedy="Name a further encoder, or choose another --color",
        )
    if args.color == "label" and facts.labels is None:
        raise OptionError("there are no labels to colour by", where=args.pairs, remedy="Choose another --color")
    if args.color == "source" and facts.sources is None:
        raise OptionError("the file names no sources to colour by", where=args.pairs, remedy="Choose another --color")
    sample = sample_sentences(facts, args.limit, seed=args.seed)
    vectors, fits = [], []
    for name in names:
        encoder, fit = open_judged(args, pairs, name=name)
        fits.append(fit)
        with progress_bar(f"encoding with {name}") as progress:
            vectors.append(encoder.encode(facts.texts, cache=cache_from(args), progress=progress).vectors)
    cache = None if args.no_cache else ArrayCache(default_cache_folder() / "maps")
    with progress_bar("drawing", unit="steps") as progress:
        report = map_sentences(vectors, facts, sample, settings, cache=cache, progress=progress)
    notes = fit_lines(fits)
    if output.suffix.lower() == ".parquet":
        _write_parquet(output, names, facts, report, settings, notes)
    else:
        colour, said = _colour(args.color, names[0], vectors[0][sample.drawn], facts, report, args.seed)
        notes = [*notes, *said]
        with _atomic(output) as temporary:
            temporary.write_text(page(names, facts, report, colour, notes), encoding="utf-8", errors="replace")
    for line in (*pairs.notes, *describe(names, report, notes)):
        print(line, file=sys.stderr)
    done = f"{count(len(sample.drawn), 'sentence')} under {count(len(names), 'encoder')}"
    print(f"{output}: {done}", file=sys.stderr)
    return 0


def describe(names: list[str], report: MapReport, notes: Sequence[str] = ()) -> list[str]:
    """The notes, and for each encoder how true its map is and what it keeps of the first one's neighbourhoods.

    Args:
        names: The encoders.
        report: The map.
        notes: What else the reader must know, as sentences.
    """
    lines = [*notes, *report.notes]
    for m, name in enumerate(names):
        line = f"{name}: trustworthiness of the map {report.trust[m].describe()}"
        if m:
            kept = report.overlap_measure(0, m)
            line += f"; {count(report.k, 'nearest neighbour')} kept from {names[0]}: {kept.describe()}"
            together = report.moved_and_kept(0, m)
            if together is not None:
                said = f"{together:.2f}".replace("-", "−")
                line += f"; Spearman correlation of the distance moved and the neighbours kept: {said}"
        lines.append(line)
    return lines


def page(
    names: list[str],
    facts: SentenceFacts,
    report: MapReport,
    colour: Groups | Scale | None,
    notes: Sequence[str] = (),
) -> str:
    """A self-contained HTML page: it asks nobody for anything.

    Args:
        names: The encoders.
        facts: The sentences.
        report: The map.
        colour: What the colour of a point says.
        notes: What else the reader must know, as sentences.
    """
    shades = colours(names, ["+" not in name for name in names])
    drawn = report.sample.drawn
    panels = [
        MapPanel(
            Series(name, shades[name]),
            report.projection.coordinates[m],
            note=_note(report, m),
            nearest_point=report.nearest_point[m],
        )
        for m, name in enumerate(names)
    ]
    hover = tooltips(
        [facts.texts[i] for i in drawn],
        facts.rows[drawn],
        None if facts.labels is None else facts.labels[drawn],
        None if facts.sources is None else [facts.sources[i] for i in drawn],
    )
    figure = map_figure(panels, MapPoints(drawn, hover), colour)
    figure.update_layout(dragmode="pan")
    plot = figure.to_html(full_html=False, include_plotlyjs=True, config={**CONFIG, "scrollZoom": True})
    text = "".join(f"<p>{html.escape(line)}</p>" for line in (*describe(names, report, notes), CAPTION))
    style = "body{font:15px/1.5 system-ui,sans-serif;margin:24px auto;max-width:1500px;padding:0 16px;color:#1b2430}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Map of {len(drawn):,} sentences</title><style>{style}</style></head>"
        f"<body><h1>{len(drawn):,} sentences under {html.escape(', '.join(names))}</h1>{plot}{text}</body></html>\n"
    )


def _check(output: Path, names: list[str], pairs: str) -> None:
    if output.suffix.lower() not in FORMATS:
        raise OptionError(
            f'"{output.suffix}" is no known output format', where=str(output), remedy="Use .html or .parquet"
        )
    with writable(output):
        if not output.parent.is_dir():
            raise OptionError("the folder does not exist", where=str(output.parent), remedy="Make it first")
        if output.is_dir() or (output.exists() and Path(pairs).exists() and output.samefile(pairs)):
            raise OptionError("is a folder, or the input itself", where=str(output), remedy="Give another --output")
    if len(names) > MOST_ENCODERS:
        raise OptionError(f"{len(names)} encoders do not fit one map", remedy=f"Choose at most {MOST_ENCODERS}")


def _note(report: MapReport, encoder: int) -> str:
    value = report.trust[encoder].value
    return "trustworthiness undefined" if value is None else f"trustworthiness {value:.2f}"


def _colour(
    kind: str, first: str, vectors: np.ndarray, facts: SentenceFacts, report: MapReport, seed: int
) -> tuple[Groups | Scale | None, list[str]]:
    """What the colour of a point says, and what the reader must know about it."""
    drawn, panels = report.sample.drawn, len(report.trust)
    if kind == "label" and facts.labels is not None:
        return Scale("human label (0–5)", [facts.labels[drawn]] * panels, 0, 5), []
    if kind == "source" and facts.sources is not None:
        return Groups.by_name("source", [facts.sources[i] for i in drawn]), []
    if kind == "group":
        found = clusters(vectors, seed=seed)
        names = [f"group {i + 1}" for i in range(found.n)]
        groups = Groups(f"dense groups under {first}", found.labels, names, "in no dense group")
        return groups, [found.note] if found.note else []
    if kind == "kept":
        return Scale(f"neighbours kept from {first} (share)", report.overlaps(), 0, 1, reverse=True), []
    if kind == "moved":
        moved = report.movements()
        high = float(np.nanquantile(np.concatenate(moved), 0.98)) or 1.0
        return Scale(f"distance from the place under {first} (standard deviations of the map)", moved, 0, high), []
    return None, []


@contextmanager
def _atomic(output: Path) -> Iterator[Path]:
    """A temporary file that becomes the output when all went well, and leaves nothing behind otherwise."""
    temporary = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    with writable(output):
        try:
            yield temporary
            temporary.replace(output)
        finally:
            temporary.unlink(missing_ok=True)


def _write_parquet(
    output: Path,
    names: list[str],
    facts: SentenceFacts,
    report: MapReport,
    settings: MapSettings,
    notes: Sequence[str],
) -> None:
    table = pa.table(map_table(names, facts, report))
    table = table.replace_schema_metadata(map_metadata(names, report, settings, notes))
    with _atomic(output) as temporary:
        pq.write_table(table, temporary)
