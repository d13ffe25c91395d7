"""The studies that are here, with the published claims beside what they measured."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from anticollapse.encoding import checkpoint_root
from anticollapse.errors import AntiCollapseError
from anticollapse.figures.studies import ClaimPoint, QueuePoint, claims_figure, queue_figure
from anticollapse.figures.style import CONFIG
from anticollapse.measures.result import format_number
from anticollapse.measures.verdict import LEVEL, signed
from anticollapse.studies import load_study, queue_tables
from anticollapse.studies.results import FORMULA
from anticollapse.studies.statistics import ONE_SEED
from anticollapse.studies.tables import JUDGED, several_commits
from anticollapse.studies.wording import COUNTS, LIMITED, SAME, number, percent
from anticollapse.wording import count
from pages.common import links, work
from pages.common.state import escape

PLAN, SUMMARY = "study.json", "summary.json"
KINDS = {"ladder": "Ladder", "queue": "Queue"}
LARGEST = 64 * 2**20
"""Bytes of a summary that are read."""

Plain = Mapping[str, Any]


def draw(pairs: str = "", encoders: Sequence[str] = ()) -> None:
    """Draw the panel; where there is no study it says how to make one.

    Args:
        pairs: Name of the set that the page shows: a study on it is shown first.
        encoders: Names of the encoders that it shows: a study from one of them is next.
    """
    st.subheader("What training brings: claims and measurements", anchor=False)
    folders = found()
    if not folders:
        st.caption(
            "There is no study here yet. On the command line, “anticollapse study ladder” trains every system from one "
            "backbone with several seeds, and “study queue” varies the size of the negative queue; a study in a folder "
            "below the checkpoints shows up here, beside the published claims."
        )
        return
    name = _nearest(folders, pairs, encoders)
    if len(folders) > 1:
        links.restore("study", [name], of_one=True)
        if st.session_state["study"] not in folders:
            st.session_state["study"] = name
        chosen = st.selectbox("Study", list(folders), key="study", on_change=links.was_chosen, args=("study",)) or name
        links.keep("study", [chosen], [name])
        name = chosen
    try:
        plain = _plain(folders[name], name)
        if plain is not None:
            _study(plain)
    except AntiCollapseError as error:
        st.error(escape(str(error)), icon=":material/error:")
    except (KeyError, TypeError, ValueError, AttributeError):
        # A summary that another version wrote: the rest of the page does not depend on it.
        st.error(f"The study {escape(name)} is of another form and cannot be shown.", icon=":material/error:")


def _nearest(folders: Mapping[str, Path], pairs: str, encoders: Sequence[str]) -> str:
    """The first of the studies on this set, else of those from one of these encoders, else of all."""

    def distance(name: str) -> tuple[bool, bool]:
        try:
            plan = json.loads((folders[name] / PLAN).read_text(encoding="utf-8"))
            return plan["pairs"]["name"] != pairs.split(":")[0], plan["backbone"]["name"] not in encoders
        except (OSError, ValueError, KeyError, TypeError):
            return True, True  # what is wrong with it is said when it is chosen

    return min(folders, key=distance)


def found() -> dict[str, Path]:
    """Folders of studies by name: those below the checkpoint root, and one level deeper in ``studies``.

    Two folders of one name are told apart by where they are.
    """
    root = checkpoint_root()
    files = [*root.glob(f"*/{PLAN}"), *root.glob(f"studies/*/{PLAN}"), *root.glob(f"studies/*/{SUMMARY}")]
    places = sorted({file.parent for file in files})
    names = Counter(place.name for place in places)
    return {place.name if names[place.name] == 1 else place.relative_to(root).as_posix(): place for place in places}


def _plain(folder: Path, name: str) -> Plain | None:
    """The study as plain types: its summary, or, after a button, computed.

    Computed it is where there is no summary, where the study has grown since, and where another formula made it.
    """
    summary, runs = folder / SUMMARY, len(list(folder.glob("runs/*/result.json")))
    if summary.is_file() and summary.stat().st_size <= LARGEST:
        plain = json.loads(summary.read_text(encoding="utf-8"))
        if plain["finished"] >= runs and plain.get("formula") == FORMULA:
            return plain
    key = ("study", str(folder), runs)
    plain = work.results().get(key)
    if plain is None:
        st.caption(f"{escape(name)}: {runs:,} runs are finished; their intervals are not computed yet.")
        if not st.button("Compute them", icon=":material/calculate:", key="study_compute"):
            return None
        with st.spinner("Resampling pairs and seeds", show_time=True):
            plain = load_study(folder).to_json()
        work.results().put(key, plain)
        st.rerun()  # the button has done its work
    return plain


def _study(plain: Plain) -> None:
    plan = plain["plan"]
    missing = len(plain["missing"])
    state = "; one run is still missing" if missing == 1 else f"; {missing:,} runs are still missing" if missing else ""
    seeds = max((len(row["seeds"]) for row in plain["rows"]), default=0)
    trained = "one seed" if seeds == 1 else f"up to {seeds} seeds"
    sizes = f"{plan['pairs']['train']['n']:,} pairs to train on, {plan['pairs']['test']['n']:,} to test on"
    st.caption(
        f"{KINDS.get(plan['kind'], 'Study')} on {escape(plan['pairs']['name'])} from "
        f"{escape(plan['backbone']['name'])}: "
        f"{plan['steps']:,} steps, {trained}, {sizes}{state}. Intervals are over "
        + ("pairs alone." if seeds < 2 else "pairs and seeds together.")
    )
    commits = several_commits({row["row"]["key"]: row["commits"] for row in plain["rows"]})
    if commits:
        st.caption(escape(commits.replace("`", "")))
    if plain["claims"]:
        _claims(plain["claims"])
    if plan["kind"] == "queue":
        _queue(plain)
    _rows(plain)


def _claims(claims: Sequence[Plain]) -> None:
    points = [
        ClaimPoint(
            f"{one['row']} to {one['reference']}",
            one["claim"]["value"],
            one["estimate"]["value"],
            None if one["estimate"]["interval"] is None else tuple(one["estimate"]["interval"]),
        )
        for one in claims
        if one["estimate"]["value"] is not None
    ]
    if points:
        alt = "; ".join(_alt(point) for point in points)
        st.plotly_chart(claims_figure(points), config=CONFIG, key="claims", alt=f"Claims and measurements. {alt}")
    rows = [
        {
            "system": escape(one["row"]),
            "compared with": escape(one["reference"]),
            "claimed": escape(one["claim"]["text"]),
            "measured, test": escape(_points(one["estimate"])),
            "reading": escape(one["reading"]),
        }
        for one in claims
    ]
    st.table(pd.DataFrame(rows).set_index("system"), border="horizontal")
    _marks([one["estimate"] for one in claims])
    st.caption(
        "Claims: bert-base, 25,000 labelled pairs, one run each, without intervals (dev Spearman). They were made on "
        f"another backbone and other data than this study's. {JUDGED}"
    )


def _alt(point: ClaimPoint) -> str:
    claimed = "no number claimed" if point.claimed is None else f"claimed {signed(point.claimed, 2)}"
    return f"{point.name}: {claimed}, measured {signed(point.measured, 2)}"


def _marks(estimates: Sequence[Plain]) -> None:
    """What the marks beside differences mean."""
    comparisons = max((one["comparisons"] for one in estimates), default=0)
    if comparisons:
        st.caption(f"{COUNTS} A difference after Holm's correction for {count(comparisons, 'comparison')} (p ≤ 0.05).")
    if any(one["one_seed"] and one["interval"] is not None for one in estimates):
        st.caption(f"{LIMITED} {ONE_SEED}")


def _queue(plain: Plain) -> None:
    rows = sorted(plain["rows"], key=lambda one: (one["row"]["batch_size"], one["row"]["queue_size"] or 0))
    to_baseline, to_other = _column(plain, "baseline"), _column(plain, "reference")
    points = [_point(row, plain["baselines"], to_baseline) for row in rows if row["spearman"].get("test")]
    if not points:
        return
    named = _baseline_name(plain)
    alt = "Difference in Spearman to no queue, and the shares of false and hard negatives, by the size of the queue"
    st.plotly_chart(queue_figure(points), config=CONFIG, key="queue", alt=alt)
    st.caption(
        f"Left: Spearman on the test pairs less that of {escape(named)}, with the 95 % interval of each comparison by "
        "itself; an interval that holds 0 shows no difference. Middle and right: share of a training's negatives."
    )
    table = pd.DataFrame([_queue_line(row, named, to_baseline, to_other) for row in _by_variant(rows)])
    st.table(table.set_index("system"), border="horizontal")
    _marks(list(to_baseline.values()))
    others = max((one["comparisons"] for one in to_other.values()), default=0)
    if others:
        st.caption(f"In the last column the correction is for {others} comparisons.")
    texts = [escape(text) for text in queue_changes(rows)]
    if any(row["row"]["key"] == "sbert-queue-q0" for row in rows):
        texts.append(escape(queue_tables.WITHOUT))
    for text in texts:
        st.caption(text)


def _point(row: Plain, baselines: Mapping[str, str], differences: Mapping[str, Plain]) -> QueuePoint:
    found, rates = row["row"], row["rates"]
    key = found["key"]
    # What others are compared with has no difference of its own, and is drawn at 0.
    value, interval = (0.0 if baselines[key] == key else None), None
    if key in differences:
        value, interval = differences[key]["value"], differences[key]["interval"]
    return QueuePoint(
        found["variant"],
        found["queue_size"] or 0.0,
        value,
        None if interval is None else tuple(interval),
        rates.get("false_negative_rate"),
        rates.get("hard_negative_rate"),
        found["batch_size"],
    )


def _queue_line(
    row: Plain, named: str, to_baseline: Mapping[str, Plain], to_other: Mapping[str, Plain]
) -> dict[str, str]:
    found = row["row"]
    spearman = row["spearman"]["test"]["value"] if row["spearman"].get("test") else None
    line = {
        "system": escape(found["variant"]),
        "queue": escape(f"{found['queue_size'] or 0:g} × {queue_tables.sentences_a_step(found)} sentences"),
        "Spearman, test": _spread(spearman, row["std"].get("test")),
        f"difference to {escape(named)}": escape(_points(to_baseline.get(found["key"]))),
    }
    if to_other:
        line["difference to the same queue without the filter"] = escape(_points(to_other.get(found["key"])))
    return line


def _by_variant(rows: Sequence[Plain]) -> list[Plain]:
    variants = list(dict.fromkeys(row["row"]["variant"] for row in rows))
    return sorted(rows, key=lambda row: variants.index(row["row"]["variant"]))


def _column(plain: Plain, of: str) -> dict[str, Plain]:
    """Differences on test by key of the row, of one column (see :class:`anticollapse.studies.Difference`)."""
    found = [one for one in plain["differences"] if (one["split"], one["column"]) == ("test", of)]
    return {one["row"]: one["estimate"] for one in found}


def _baseline_name(plain: Plain) -> str:
    sizes = {row["row"]["key"]: row["row"]["queue_size"] for row in plain["rows"]}
    return queue_tables.baseline_name(plain["baselines"].values(), sizes)


def queue_changes(rows: Sequence[Plain]) -> list[str]:
    """What becomes of the false negatives between the shortest and the longest queue of each system, as sentences.

    A share and a number need not go the same way: a longer queue has more negatives, of which fewer may be false.

    Args:
        rows: Rows of the study, ascending by queue.
    """
    systems: dict[tuple[str, int], list[Plain]] = {}
    for row in rows:
        if row["rates"].get("false_negative_rate") is not None:
            systems.setdefault((row["row"]["variant"], row["row"]["batch_size"]), []).append(row)
    several = len({batch for _, batch in systems}) > 1
    texts = []
    for (variant, batch), some in systems.items():
        first, last = some[0], some[-1]
        sizes = [one["row"]["queue_size"] or 0 for one in (first, last)]
        if sizes[0] == sizes[1]:
            continue
        shares = [percent(one["rates"]["false_negative_rate"]) for one in (first, last)]
        name = f"{variant}, batch {batch}" if several else variant
        text = (
            f"{name}, from a queue of {sizes[0]:g} to one of {sizes[1]:g} batches ({queue_tables.keys(last['row']):,} "
            f"keys): the share of the negatives that are false goes from {shares[0]} to {shares[1]}"
        )
        before, after = (one["per_step"].get("false_negatives") for one in (first, last))
        if before is not None and after is not None:
            text += f", their number a step from {number(before)} to {number(after)}"
        added = last["added"].get("added_false_negative_rate")
        if added is not None:
            text += f"; of the negatives that the queue adds {percent(added)} are false"
        texts.append(f"{text}.")
    return texts


RATES = {
    "hard_negative_rate": "hard negatives",
    "false_negative_rate": "false negatives",
}
FILTER_RATES = {
    "filtered_share": "filtered, of all",
    "paraphrases_filtered": "filtered, of the known paraphrases",
    "paraphrases_among_filtered": "known paraphrases among the filtered",
    "paraphrases_among_candidates": "known paraphrases among all candidates",
    "precision_on_graded_pairs": "filter: precision on graded pairs",
    "recall_on_graded_pairs": "filter: recall on graded pairs",
    "paraphrases_among_graded_pairs": "filter: precision of chance on graded pairs",
}


def _rows(plain: Plain) -> None:
    differences = _column(plain, "baseline")
    column = f"difference to {_baseline_name(plain)}, test [95 %]"
    rows = []
    for row in plain["rows"]:
        key = row["row"]["key"]
        line = {"system": key, "seeds": len(row["seeds"])}
        for split in ("dev", "test"):
            estimate = row["spearman"].get(split)
            line[f"Spearman, {split}"] = _spread(None if estimate is None else estimate["value"], row["std"].get(split))
        line[column] = _points(differences.get(key))
        line["mean unrelated cosine, test"] = _spread(
            row["means"]["test"].get("mean_unrelated_cosine"), row["stds"]["test"].get("mean_unrelated_cosine"), 2
        )
        rates = RATES | (FILTER_RATES if "swav" in row["row"]["parts"] else {})
        line |= {title: percent(row["rates"].get(rate)) for rate, title in rates.items() if row["rates"]}
        rows.append(line)
    queue = plain["plan"]["kind"] == "queue"
    with st.expander("All systems of this study"):
        st.dataframe(pd.DataFrame(rows).fillna("–"), hide_index=True, alt="Systems of the study with their Spearman")
        _marks(list(differences.values()))
        if any(row["rates"] for row in plain["rows"]):
            st.caption(f"{queue_tables.NEGATIVES} {queue_tables.ADDED}" if queue else queue_tables.NEGATIVES)
        if any("swav" in row["row"]["parts"] and row["rates"] for row in plain["rows"]):
            st.caption(queue_tables.FILTER)


def _points(estimate: Plain | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "–"
    if estimate["value"] == 0 and list(estimate["interval"] or ()) == [0, 0]:
        return SAME
    text = signed(estimate["value"], 2)
    if estimate["interval"] is not None:
        low, high = (signed(bound, 2) for bound in estimate["interval"])
        stands = estimate["p_corrected"] is not None and estimate["p_corrected"] <= LEVEL
        text += f" [{low}, {high}]" + (f" {LIMITED}" if estimate["one_seed"] else f" {COUNTS}" if stands else "")
    return text


def _spread(mean: float | None, std: float | None, decimals: int = 1) -> str:
    if mean is None:
        return "–"
    return format_number(mean, decimals) + ("" if std is None else f" ± {format_number(std, decimals)}")
