"""A comparison as one HTML file that opens from disk, asks nobody for anything, and says how its numbers were made."""

from __future__ import annotations

import html
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from anticollapse import __version__
from anticollapse.compare import SLICE_TITLES, Comparison, Slice, disagreements, slices
from anticollapse.compare_tables import correction, difference_text, disagreement_frame, finding, share, value_text
from anticollapse.errors import OptionError
from anticollapse.figures.compare import forest_alt, forest_figure, slices_alt, slices_figure
from anticollapse.figures.style import CONFIG, Series, colours
from anticollapse.measures.resampling import default_resamples
from anticollapse.wording import count

LIBRARIES = ("numpy", "scipy", "torch", "transformers", "sentence-transformers", "plotly")
DISAGREEMENTS = 20

STYLE = """
:root { color-scheme: light dark; --ink: #0A0E14; --paper: #FFFFFF; --soft: #5A6472; --line: #DDE2E9; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #E6EAF0; --paper: #11151B; --soft: #A3AEBD; --line: #2C3440; } }
body { font: 15px/1.55 system-ui, -apple-system, "Segoe UI", "Noto Sans", "Noto Sans CJK SC", sans-serif;
  color: var(--ink); background: var(--paper); max-width: 1200px; margin: 32px auto; padding: 0 20px; }
h1 { font-size: 1.7rem; line-height: 1.3; } h2 { font-size: 1.25rem; margin-top: 2.2rem; }
p.note { color: var(--soft); max-width: 75ch; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 12px 0; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th small, td small { color: var(--soft); font-weight: 400; }
"""

# Figures are drawn once and take their colours from the page's theme, also when that changes.
PAINT = """
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function paint() {
  const ink = dark.matches ? "#E6EAF0" : "#0A0E14", line = dark.matches ? "#2C3440" : "#DDE2E9";
  for (const plot of document.querySelectorAll(".js-plotly-plot")) {
    const change = {"font.color": ink, "hoverlabel.bgcolor": dark.matches ? "#1A2029" : "#FFFFFF",
      "hoverlabel.font.color": ink};
    for (const key of Object.keys(plot._fullLayout)) if (/^[xy]axis\\d*$/.test(key)) {
      change[key + ".gridcolor"] = line; change[key + ".linecolor"] = line; change[key + ".tickcolor"] = line; }
    Plotly.relayout(plot, change);
  }
}
window.addEventListener("load", paint);
dark.addEventListener("change", paint);
"""


def comparison_report(
    comparison: Comparison,
    *,
    series: Sequence[Series] | None = None,
    command: str = "",
    parameters: Mapping[str, object] | None = None,
) -> str:
    """The report as HTML.

    Args:
        comparison: The comparison.
        series: Name and colour of each encoder; default by :func:`anticollapse.figures.style.colours`.
        command: The command that gives this report.
        parameters: Further facts on how the numbers were made, for the last table.
    """
    shown = series or _series(comparison)
    parts = {i: slices(comparison, i) for i in comparison.others}
    parts = {i: found for i, found in parts.items() if found}
    body = [
        f"<h1>{html.escape(finding(comparison))}</h1>",
        _note(_subject(comparison)),
        *map(_note, comparison.notes),
        *_differences(comparison, shown),
        *_measures(comparison, shown),
        *_slices(comparison, parts, shown),
        *_disagreements(comparison, shown),
        *_how(comparison, command, parameters or {}),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Comparison on {html.escape(comparison.pairs.name)}</title><style>{STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head>\n"
        f"<body><main>{''.join(body)}</main><script>{PAINT}</script></body></html>\n"
    )


def write_report(path: Path, text: str) -> None:
    """Write a report so that there is never half of it.

    Raises:
        OptionError: The place cannot be written.
    """
    with _atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="replace")


@contextmanager
def _atomic(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise OptionError(f"cannot be written ({error.strerror or error})", where=str(path)) from error
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)


def _series(comparison: Comparison) -> list[Series]:
    names = comparison.names
    chosen = colours(names, ["+" not in name for name in names])
    return [Series(name, chosen[name]) for name in names]


def _subject(comparison: Comparison) -> str:
    pairs = comparison.pairs
    kind = "pair" if pairs.has_pairs else "sentence"
    used = (
        "" if len(comparison.used) == pairs.n or not pairs.has_pairs else f", {len(comparison.used):,} of them compared"
    )
    return (
        f"{', '.join(comparison.names)} on {pairs.name}: {count(pairs.n, kind)}{used}. "
        f"Everything is measured against {comparison.names[comparison.reference]}."
    )


def _differences(comparison: Comparison, series: Sequence[Series]) -> list[str]:
    judged = [i for i in comparison.others if "spearman" in comparison.encoders[i].verdicts]
    if not any(comparison.encoders[i].differences["spearman"].defined for i in judged):
        return []
    rows = [
        [_dot(series[i]), html.escape(kind.capitalize()), html.escape(comparison.encoders[i].verdicts[kind].text)]
        for i in judged
        for kind in ("spearman", "pearson")
    ]
    return [
        "<h2>Who is better, and is it real?</h2>",
        _figure(forest_figure(comparison, series), forest_alt(comparison, series)),
        _note(
            "Points are differences on the same pairs, lines their 95 % intervals. An interval that includes 0 shows "
            "no difference. Spearman is the outcome: does the encoder order the pairs as people do?"
        ),
        _table(["encoder", "measure", "verdict"], rows),
        _note(correction(comparison)),
    ]


def _measures(comparison: Comparison, series: Sequence[Series]) -> list[str]:
    first = comparison.encoders[comparison.reference].report.diagnosis.measures
    order = [comparison.reference, *comparison.others]
    header = ["measure", *(series[i].name for i in order)]
    rows = []
    for key, measure in first.items():
        cells = [f"{html.escape(measure.name)}<br><small>{html.escape(f'{measure.unit}; {measure.reads_as}')}</small>"]
        for i in order:
            value = html.escape(value_text(comparison.encoders[i].report.diagnosis.measures[key]))
            if i != comparison.reference:
                difference = difference_text(comparison.encoders[i].differences.get(key))
                value += f"<br><small>{html.escape(difference)}</small>"
            cells.append(value)
        rows.append(cells)
    return [
        "<h2>All measures</h2>",
        _table(header, rows, numbers=range(1, len(header))),
        _note(
            "In brackets: 95 % intervals. Small print: the difference to the reference. Differences of diagnoses, "
            "which describe the sentence vectors and not the outcome, have no interval of their own."
        ),
    ]


def _slices(comparison: Comparison, found: Mapping[int, Sequence[Slice]], series: Sequence[Series]) -> list[str]:
    if not found:
        return []
    rows = [
        [
            _dot(series[i]),
            html.escape(SLICE_TITLES[one.by]),
            html.escape(one.name),
            f"{one.result.n:,}",
            html.escape(difference_text(one.result.contribution)),
            share(one.result.won),
            share(one.result.lost),
        ]
        for i, slices_of in found.items()
        for one in slices_of
    ]
    header = ["encoder", "cut by", "slice", "pairs", "part of the difference", "closer to people", "farther"]
    return [
        "<h2>Where does the difference come from?</h2>",
        _figure(slices_figure(found, series, comparison.reference), slices_alt(found, series, comparison.reference)),
        _note(
            "Each bar is a part of the difference in Spearman, exactly: the bars of one encoder in one panel sum to "
            "it. Closer and farther: the share of the slice's pairs that the encoder ranks closer to where people rank "
            "them than the reference does, and the share that it ranks farther."
        ),
        _table(header, rows, numbers=range(3, 7)),
    ]


def _disagreements(comparison: Comparison, series: Sequence[Series]) -> list[str]:
    parts: list[str] = []
    for i in comparison.others:
        frame = disagreement_frame(comparison, i, disagreements(comparison, i, top=DISAGREEMENTS))
        if frame.empty:
            continue
        if not parts:
            parts.append("<h2>The pairs on which they disagree most</h2>")
            parts.append(
                _note(
                    "Place: how similar the pair is among all pairs, from 0 (the least similar) to 100 (the most). "
                    "Places and not cosines are compared, because under a collapsed encoder all cosines are high."
                )
            )
        rows = [
            [html.escape(cell) if isinstance(cell, str) else _number(cell) for cell in row]
            for row in frame.itertuples(index=False)
        ]
        numbers = [k for k, cell in enumerate(frame.iloc[0]) if not isinstance(cell, str)]
        parts.append(f"<h3>{_dot(series[i])} and {html.escape(series[comparison.reference].name)}</h3>")
        parts.append(_table(list(frame.columns), rows, numbers=numbers))
    return parts


def _how(comparison: Comparison, command: str, parameters: Mapping[str, object]) -> list[str]:
    facts: dict[str, object] = {}
    if command:
        facts["command"] = command
    facts |= {
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "pairs": f"{comparison.pairs.name}, SHA-256 {comparison.pairs.digest}",
        "reference": comparison.names[comparison.reference],
        "seed of all resamples": comparison.seed,
        "resamples": f"{default_resamples(len(comparison.used)):,}" if len(comparison.used) else "none",
        **parameters,
    }
    for encoder in comparison.encoders:
        facts[f"encoder {encoder.name}"] = f"SHA-256 {encoder.report.digest}"
        if cut := int(encoder.report.truncated.sum()):
            facts[f"cut by {encoder.name}"] = f"{count(cut, 'row')} of more than {encoder.report.max_tokens} tokens"
    facts["anticollapse"] = __version__
    facts["Python"] = f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    facts |= {name: metadata.version(name) for name in LIBRARIES}
    rows = [[html.escape(name), html.escape(str(value))] for name, value in facts.items()]
    method = (
        "Differences are paired: both encoders see the same resamples of the pairs. Interval and p are Student's t "
        "with the bootstrap's standard error; “needs about n pairs” is for a chance of 80 % to see a "
        "difference of the size observed. Slices have percentile intervals of the same resamples."
    )
    return ["<h2>How these numbers were made</h2>", _note(method), _table(["what", "value"], rows)]


def _figure(figure: go.Figure, alt: str) -> str:
    """A figure without Plotly's own code, which is in the page once."""
    figure = go.Figure(figure).update_layout(template="plotly_white", font={"family": "inherit"})
    figure.update_layout(paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)")
    plot = figure.to_html(full_html=False, include_plotlyjs=False, config=CONFIG)
    return f'<div role="img" aria-label="{html.escape(alt)}">{plot}</div>'


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Iterable[int] = ()) -> str:
    """A table; cells are HTML, headings text.

    Args:
        header: Titles.
        rows: Cells.
        numbers: Columns that are aligned to the right.
    """
    right = set(numbers)

    def cell(tag: str, i: int, text: str) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{scope}{' class=number' if i in right else ''}>{text}</{tag}>"

    head = "".join(cell("th", i, html.escape(title)) for i, title in enumerate(header))
    body = "".join(f"<tr>{''.join(cell('td', i, text) for i, text in enumerate(row))}</tr>" for row in rows)
    # A wide table scrolls by itself, also with the keyboard.
    return f'<div class="wide" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _number(value: float) -> str:
    """Places and rows are whole numbers, labels have a decimal at most."""
    return f"{value:.0f}" if value == round(value) or value > 5 else f"{value:.1f}"


def _dot(series: Series) -> str:
    return f'<span style="color:{series.colour}" aria-hidden="true">●</span> {html.escape(series.name)}'


def _note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'
