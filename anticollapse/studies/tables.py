"""A study as Markdown: one table of rows, one of claims, and what they rest on."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anticollapse.studies.claims import AMOUNT_ONLY, SOURCE
from anticollapse.studies.statistics import ONE_SEED, Estimate

if TYPE_CHECKING:
    from anticollapse.studies.results import Difference, RowFound, Study

NONE = "–"
COUNTS, LIMITED = "∗", "†"
"""Marks of a difference that stands after the correction, and of one whose interval is over pairs alone."""

FILTER = (
    "“Known paraphrases” are pairs graded 4 and up; the grade of most pairs that meet is unknown, so their shares are "
    "lower bounds. Beside the known paraphrases among what the filter took out stand those among all candidates, which "
    "a filter that knows nothing would reach. Precision and recall on graded pairs are of the partners in a batch, "
    "which are never each other's negatives: of those that the filter puts into one cluster the share graded 4 and up, "
    "and of those graded 4 and up the share that it puts into one."
)


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
    """``+0.6 [−0.1, +1.3]``, with a mark where it stands after the correction or rests on one seed."""
    if estimate is None or estimate.value is None:
        return NONE
    text = f"{estimate.value:+.2f}"
    if estimate.interval is not None:
        text += f" [{estimate.interval[0]:+.2f}, {estimate.interval[1]:+.2f}]"
        text += f" {LIMITED}" if estimate.one_seed else f" {COUNTS}" if estimate.shown else ""
    return text.replace("-", "−")


def percent(mean: float | None, std: float | None = None) -> str:
    """``3.1 % ± 0.2``; below 1 % with two significant digits: ``0.0045 %``."""
    if mean is None:
        return NONE
    digits = _digits(100 * mean)
    tail = "" if std is None else f" ± {100 * std:.{digits}f}"
    return f"{100 * mean:.{digits}f} %{tail}"


def number(value: float) -> str:
    """A number a step: ``0.64``, ``13,724.9``; below 1 with two significant digits."""
    return f"{value:,.{_digits(value)}f}"


def _digits(value: float) -> int:
    """Decimals that show two significant digits, at least one."""
    return 1 if value >= 1 or value <= 0 else 1 - math.floor(math.log10(value))


def _spearman(row: RowFound, split: str) -> str:
    estimate = row.spearman.get(split)
    return NONE if estimate is None else spread(estimate.value, row.std[split])


def _ladder(study: Study) -> str:
    header = [
        "system", "seeds", "dev Spearman", "test Spearman", f"difference to `{study.baseline}`, test",
        "mean unrelated cosine, test: before → after", "effective rank, test", "min a run",
    ]  # fmt: skip
    lines = []
    column = study.column()
    for row in study.rows:
        means, stds = row.means["test"], row.stds["test"]
        before = spread(means.get("mean_unrelated_cosine_before"), None, 2)
        after = spread(means.get("mean_unrelated_cosine"), stds.get("mean_unrelated_cosine"), 2)
        lines.append(
            [
                f"`{row.row.key}`",
                str(len(row.seeds)),
                _spearman(row, "dev"),
                _spearman(row, "test"),
                _difference(column, row),
                f"{before} → {after}" if row.seeds else NONE,
                spread(means.get("effective_rank"), stds.get("effective_rank")),
                NONE if row.seconds is None else f"{row.seconds / 60:.1f}",
            ]
        )
    return table(header, lines) + marks([one.estimate for one in column.values()])


def _difference(column: Mapping[str, Difference], row: RowFound) -> str:
    return points(column[row.row.key].estimate) if row.row.key in column else NONE


def marks(estimates: Sequence[Estimate]) -> str:
    """What the marks below a column of differences mean, as paragraphs; empty where nothing is to be said."""
    texts = []
    number_of = max((one.comparisons for one in estimates), default=0)
    if number_of:
        texts.append(f"{COUNTS} A difference after Holm's correction for {number_of} comparisons (p ≤ 0.05).")
    if any(one.one_seed and one.interval is not None for one in estimates):
        texts.append(f"{LIMITED} {ONE_SEED}")
    return "".join(f"\n\n{text}" for text in texts)


def _queue(study: Study) -> str:
    several = len({row.row.batch_size for row in study.rows}) > 1
    to = "the row without a queue of the same batch size" if several else f"`{study.baseline}`"
    header = [
        "variant", "queue, × batch", "batch", "seeds", "dev Spearman", "test Spearman", f"difference to {to}, test",
        "hard negatives", "false negatives", "filtered", "known paraphrases among the filtered",
        "precision on graded pairs", "recall on graded pairs",
    ]  # fmt: skip
    lines = []
    column = study.column()
    plain = ("hard_negative_rate", "false_negative_rate")
    of_filter = (
        "filtered_share", "paraphrases_among_filtered", "precision_on_graded_pairs", "recall_on_graded_pairs",
    )  # fmt: skip
    for row in study.rows:
        filtered = "swav" in row.row.parts
        shares = {name: percent(row.rates.get(name), row.rate_stds.get(name)) for name in (*plain, *of_filter)}
        base = row.rates.get("paraphrases_among_candidates")
        if base is not None:
            shares["paraphrases_among_filtered"] += f" (of all {percent(base)})"
        lines.append(
            [
                f"`{row.row.variant}`",
                f"{row.row.queue_size:g}",
                str(row.row.batch_size),
                str(len(row.seeds)),
                _spearman(row, "dev"),
                _spearman(row, "test"),
                _difference(column, row),
                *(shares[name] for name in plain),
                *(shares[name] if filtered else NONE for name in of_filter),
            ]
        )
    text = table(header, lines) + marks([one.estimate for one in column.values()])
    known = [row.rates.get("paraphrases_among_graded_pairs") for row in study.rows]
    share = next((value for value in known if value is not None), None)
    if share is None:
        return text
    return (
        f"{text}\n\nHard negatives: share of the negatives whose cosine with the anchor is at least the positive's. "
        f"False negatives: share of the negatives that are known paraphrases. {FILTER} Of all graded pairs "
        f"{100 * share:.1f} % are graded 4 and up, which is the precision of chance."
    )


JUDGED = (
    "The amount of a claim is judged by the 95 % interval of its comparison alone, its direction after the correction; "
    f"a claim of less than {AMOUNT_ONLY:g} points has no direction."
)


def _claims(study: Study) -> str:
    header = ["system", "compared with", "claimed", "measured, test", "reading"]
    lines = [
        [f"`{one.row}`", f"`{one.reference}`", one.claim.text, points(one.estimate), one.reading]
        for one in study.claims
    ]
    text = f"Claims ({SOURCE}) beside what was measured here:\n\n" + table(header, lines, left=(0, 1, 2, 4))
    return f"{text}{marks([one.estimate for one in study.claims])}\n\n{JUDGED}"


def _basis(study: Study) -> str:
    plan = study.plan
    results = list(study.results.values())
    sizes = ", ".join(f"{split} {plan.pairs[split]['n']:,}" for split in ("train", "dev", "test"))
    facts = [
        f"{_intervals(study)} Checkpoints were chosen on dev; test was measured once, in float32.",
        f"Backbone {plan.backbone['name']} (SHA-256 {plan.backbone['digest'][:12]}), {plan.pairs['name']} ({sizes} "
        f"pairs), {plan.steps:,} optimizer steps for every trained row, seeds {_some(plan.seeds)}.",
        f"{_some(_machine(result) for result in results)}; {_versions(results)}; commit "
        f"{_some(result['commit'] or 'unknown' for result in results)}; {_dates(results)}.",
        *([text] if (text := several_commits({row.row.key: row.commits for row in study.rows})) else []),
        f"Command: {_some('`' + result['command'] + '`' for result in results)}",
    ]
    return "\n\n".join(facts)


def _intervals(study: Study) -> str:
    """What the numbers are, as far as the seeds that are there allow."""
    trained = {len(row.seeds) for row in study.rows if row.seeds and not row.row.deterministic}
    resamples = f"Student's t, {_resamples(study)} resamples"
    if not trained or max(trained) < 2:
        return f"Spearman × 100 of one run each; differences with 95 % intervals over pairs alone ({resamples})."
    text = (
        "Spearman × 100: mean ± standard deviation over seeds; differences with 95 % intervals over seeds and pairs "
        f"together ({resamples} of both)"
    )
    return f"{text}, over pairs alone where a trained system has one seed ({LIMITED})." if 1 in trained else f"{text}."


def several_commits(commits: Mapping[str, Sequence[str]]) -> str:
    """Says which rows were computed by which commits, as a sentence; empty where all of it was one.

    Args:
        commits: Of each row, by its key; nothing where no run is finished.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for key, some in commits.items():
        if some:
            groups.setdefault(tuple(some), []).append(f"`{key}`")
    if len({one for some in groups for one in some}) < 2:
        return ""
    rows = [f"{', '.join(keys)} computed by {_commits(some)}" for some, keys in groups.items()]
    return f"Not all of it is of one commit, and code may differ between them: {'; '.join(rows)}."


def _commits(some: Sequence[str]) -> str:
    return f"commit {some[0]}" if len(some) == 1 else f"commits {', '.join(some)}"


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
