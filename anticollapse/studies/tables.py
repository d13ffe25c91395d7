"""A study as Markdown: one table of rows, one of claims, and what they rest on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from anticollapse.studies.claims import AMOUNT_ONLY, SOURCE
from anticollapse.studies.queue_tables import queue_tables
from anticollapse.studies.wording import LIMITED, NONE, cell, marks, points, spearman, spread, table
from anticollapse.wording import count

if TYPE_CHECKING:
    from anticollapse.studies.results import Study


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
    parts += [_ladder(study)] if study.plan.kind == "ladder" else queue_tables(study)
    if study.claims:
        parts.append(_claims(study))
    parts.append(_basis(study))
    return "\n\n".join(parts)


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
                spearman(row, "dev"),
                spearman(row, "test"),
                cell(column, row),
                f"{before} → {after}" if row.seeds else NONE,
                spread(means.get("effective_rank"), stds.get("effective_rank")),
                NONE if row.seconds is None else f"{row.seconds / 60:.1f}",
            ]
        )
    return table(header, lines) + marks([one.estimate for one in column.values()])


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
        f"{_machines(results)}; {_versions(results)}; commit "
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


def _machines(results: Sequence[Mapping[str, Any]]) -> str:
    """Where it was computed, and in which precision what was trained was trained."""
    trained = {result["training"]["precision"] for result in results if result.get("training")}
    precision = f", trained in {_some(sorted(trained))}" if trained else ""
    return f"{_some(_machine(result) for result in results)}{precision}"


def _machine(result: Mapping[str, Any]) -> str:
    # A GPU's work does not depend on the threads of its host.
    threads = f", {count(result['threads'], 'thread')}" if str(result["device"]) == "cpu" else ""
    return f"{result['device']} ({result['device_name']}{threads})"


def _versions(results: Sequence[Mapping[str, Any]]) -> str:
    names = ("torch", "transformers", "sentence-transformers")
    return _some(", ".join(f"{name} {result['versions'][name]}" for name in names) for result in results)


def _dates(results: Sequence[Mapping[str, Any]]) -> str:
    days = sorted({time.strftime("%Y-%m-%d", time.gmtime(result["ended"])) for result in results})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"


def _some(values: Any) -> str:  # noqa: ANN401  anything that can be listed
    return ", ".join(dict.fromkeys(str(value) for value in values))
