"""A study as Markdown: one table of rows, one of claims, and what they rest on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anticollapse.studies.claims import SOURCE
from anticollapse.studies.statistics import Estimate

if TYPE_CHECKING:
    from anticollapse.studies.results import RowFound, Study

NONE = "–"


def markdown(study: Study) -> str:
    """All tables of a study.

    Args:
        study: The study.
    """
    title = "Ladder" if study.plan.kind == "ladder" else "Queue study"
    parts = [f"## {title}: {study.plan.pairs['name']} from {study.plan.backbone['name']}"]
    if study.missing:
        parts.append(f"**Not finished: {len(study.missing)} of {len(study.plan.cells)} runs are missing.**")
    if not study.results:
        return "\n\n".join(parts)
    parts.append(_ladder(study) if study.plan.kind == "ladder" else _queue(study))
    if study.claims:
        parts.append(_claims(study))
    parts.append(_basis(study))
    return "\n\n".join(parts)


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> str:
    """A Markdown table.

    Args:
        header: Column titles.
        rows: Cells.
        left: Columns that are aligned to the left.
    """
    rule = ["---" if i in left else "--:" for i in range(len(header))]
    lines = ["| " + " | ".join(line) + " |" for line in (header, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def spread(mean: float | None, std: float | None, digits: int = 1) -> str:
    """``61.2 ± 0.4``; the deviation is left out where there is none."""
    if mean is None:
        return NONE
    text = f"{mean:.{digits}f}" if std is None else f"{mean:.{digits}f} ± {std:.{digits}f}"
    return text.replace("-", "−")


def points(estimate: Estimate | None) -> str:
    """``+0.6 [−0.1, +1.3]``."""
    if estimate is None or estimate.value is None:
        return NONE
    text = f"{estimate.value:+.2f}"
    if estimate.interval is not None:
        text += f" [{estimate.interval[0]:+.2f}, {estimate.interval[1]:+.2f}]"
    return text.replace("-", "−")


def percent(mean: float | None, std: float | None) -> str:
    """``3.1 % ± 0.2``, with two digits where it is small."""
    if mean is None:
        return NONE
    digits = 1 if mean >= 0.01 or mean == 0 else 3
    tail = "" if std is None else f" ± {100 * std:.{digits}f}"
    return f"{100 * mean:.{digits}f} %{tail}"


def _spearman(row: RowFound, split: str) -> str:
    estimate = row.spearman.get(split)
    return NONE if estimate is None else spread(estimate.value, row.std[split])


def _ladder(study: Study) -> str:
    header = [
        "system", "seeds", "dev Spearman", "test Spearman", f"difference to `{study.baseline}`, test",
        "mean unrelated cosine, test: before → after", "effective rank, test", "min a run",
    ]  # fmt: skip
    lines = []
    for row in study.rows:
        found = study.difference(row.row.key, study.baseline) if row.row.key != study.baseline else None
        means, stds = row.means["test"], row.stds["test"]
        before = spread(means.get("mean_unrelated_cosine_before"), None, 2)
        after = spread(means.get("mean_unrelated_cosine"), stds.get("mean_unrelated_cosine"), 2)
        lines.append(
            [
                f"`{row.row.key}`",
                str(len(row.seeds)),
                _spearman(row, "dev"),
                _spearman(row, "test"),
                points(None if found is None else found.estimate),
                f"{before} → {after}" if row.seeds else NONE,
                spread(means.get("effective_rank"), stds.get("effective_rank")),
                NONE if row.seconds is None else f"{row.seconds / 60:.1f}",
            ]
        )
    return table(header, lines)


def _queue(study: Study) -> str:
    header = [
        "variant", "queue, × batch", "batch", "seeds", "dev Spearman", "test Spearman",
        f"difference to `{study.baseline}`, test", "hard negatives", "false negatives", "filtered",
        "filter: precision", "filter: recall",
    ]  # fmt: skip
    lines = []
    for row in study.rows:
        found = study.difference(row.row.key, study.baseline) if row.row.key != study.baseline else None
        names = ("hard_negative_rate", "false_negative_rate", "filtered_share", "filter_precision", "filter_recall")
        filtered = "swav" in row.row.parts
        shares = [percent(row.rates.get(name), row.rate_stds.get(name)) for name in names]
        lines.append(
            [
                f"`{row.row.variant}`",
                f"{row.row.queue_size:g}",
                str(row.row.batch_size),
                str(len(row.seeds)),
                _spearman(row, "dev"),
                _spearman(row, "test"),
                points(None if found is None else found.estimate),
                *(shares if filtered else [*shares[:2], NONE, NONE, NONE]),
            ]
        )
    known = [row.rates.get("paraphrase_share") for row in study.rows]
    share = next((value for value in known if value is not None), None)
    text = table(header, lines)
    if share is not None:
        text += (
            "\n\nHard negatives: share of the negatives whose cosine with the anchor is at least the positive's. False "
            "negatives: share of the negatives that are graded 4 and up. Precision and recall of the filter: of the "
            "graded pairs of a batch that it puts into one cluster, the share graded 4 and up, and the share of those "
            f"that it finds; {100 * share:.1f} % of all graded pairs are, which is the precision of chance."
        )
    return text


def _claims(study: Study) -> str:
    header = ["system", "compared with", "claimed", "measured, test", "reading"]
    lines = [
        [f"`{one.row}`", f"`{one.reference}`", one.claim.text, points(one.estimate), one.reading]
        for one in study.claims
    ]
    return f"Claims ({SOURCE}) beside what was measured here:\n\n" + table(header, lines, left=(0, 1, 2, 4))


def _basis(study: Study) -> str:
    plan = study.plan
    results = list(study.results.values())
    sizes = ", ".join(f"{split} {plan.pairs[split]['n']:,}" for split in ("train", "dev", "test"))
    facts = [
        f"Spearman × 100: mean ± standard deviation over seeds; differences with 95 % intervals over seeds and pairs "
        f"together (Student's t, {_resamples(study)} resamples of both). Checkpoints were chosen on dev; test was "
        "measured once, in float32.",
        f"Backbone {plan.backbone['name']} (SHA-256 {plan.backbone['digest'][:12]}), {plan.pairs['name']} ({sizes} "
        f"pairs), {plan.steps:,} optimizer steps for every trained row, seeds {_some(plan.seeds)}.",
        f"{_some(_machine(result) for result in results)}; {_versions(results)}; commit "
        f"{_some(result['commit'] or 'unknown' for result in results)}; {_dates(results)}.",
        f"Command: {_some('`' + result['command'] + '`' for result in results)}",
    ]
    return "\n\n".join(facts)


def _resamples(study: Study) -> str:
    some = next(iter(study.runs["test"].values()))
    return f"{len(some.samples):,}"


def _machine(result: Mapping[str, Any]) -> str:
    trained = result.get("training") or {}
    precision = f", trained in {trained['precision']}" if trained else ""
    return f"{result['device']} ({result['device_name']}, {result['threads']} threads{precision})"


def _versions(results: Sequence[Mapping[str, Any]]) -> str:
    names = ("torch", "transformers", "sentence-transformers")
    return _some(", ".join(f"{name} {result['versions'][name]}" for name in names) for result in results)


def _dates(results: Sequence[Mapping[str, Any]]) -> str:
    days = sorted({time.strftime("%Y-%m-%d", time.gmtime(result["ended"])) for result in results})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _some(values: Any) -> str:  # noqa: ANN401  anything that can be listed
    return ", ".join(dict.fromkeys(str(value) for value in values))
