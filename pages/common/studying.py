"""The studies that are here, with the published claims beside what they measured."""

from __future__ import annotations

import json
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
from anticollapse.measures.verdict import signed
from anticollapse.studies import load_study
from pages.common import work
from pages.common.state import escape

PLAN, SUMMARY = "study.json", "summary.json"
KINDS = {"ladder": "Ladder", "queue": "Queue"}
LARGEST = 64 * 2**20
"""Bytes of a summary that are read."""

Plain = Mapping[str, Any]


def draw() -> None:
    """Draw the panel; where there is no study it says how to make one."""
    st.subheader("What training brings: claims and measurements", anchor=False)
    folders = found()
    if not folders:
        st.caption(
            "There is no study here yet. On the command line, “anticollapse study ladder” trains every system from one "
            "backbone with several seeds, and “study queue” varies the size of the negative queue; a study in a folder "
            "below the checkpoints shows up here, beside the published claims."
        )
        return
    name = next(iter(folders))
    if len(folders) > 1:
        name = st.selectbox("Study", list(folders), key="study", bind="query-params") or name
    try:
        plain = _plain(folders.get(name, next(iter(folders.values()))), name)
        if plain is not None:
            _study(plain)
    except AntiCollapseError as error:
        st.error(escape(str(error)), icon=":material/error:")
    except (KeyError, TypeError, ValueError, AttributeError):
        # A summary that another version wrote: the rest of the page does not depend on it.
        st.error(f"The study {escape(name)} is of another form and cannot be shown.", icon=":material/error:")


def found() -> dict[str, Path]:
    """Folders of studies by name: those below the checkpoint root, and one level deeper in ``studies``."""
    root = checkpoint_root()
    places = [*root.glob(f"*/{PLAN}"), *root.glob(f"studies/*/{PLAN}"), *root.glob(f"studies/*/{SUMMARY}")]
    return {place.parent.name: place.parent for place in sorted(places)}


def _plain(folder: Path, name: str) -> Plain | None:
    """The study as plain types: its summary, or, when it has none or has grown since, after a button, computed."""
    summary, runs = folder / SUMMARY, len(list(folder.glob("runs/*/result.json")))
    if summary.is_file() and summary.stat().st_size <= LARGEST:
        plain = json.loads(summary.read_text(encoding="utf-8"))
        if plain["finished"] >= runs:
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
        f"{plan['steps']:,} steps, {trained}, {sizes}{state}. Intervals are over pairs and seeds together."
    )
    if plain["claims"]:
        _claims(plain["claims"])
    if plan["kind"] == "queue":
        _queue(plain["rows"])
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
        alt = "; ".join(f"{p.name}: claimed {p.claimed}, measured {p.measured:+.2f}" for p in points)
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
    st.caption(
        "Claims: bert-base, 25,000 labelled pairs, one run each, without intervals (dev Spearman). A difference "
        "measured on another backbone and other data can confirm a direction, not an amount."
    )


def _queue(rows: Sequence[Plain]) -> None:
    points = [
        QueuePoint(
            row["row"]["variant"],
            row["row"]["queue_size"],
            row["spearman"]["test"]["value"],
            row["std"]["test"],
            row["rates"].get("false_negative_rate"),
        )
        for row in rows
        if row["spearman"].get("test") and row["row"]["queue_size"] is not None
    ]
    if points:
        alt = "Spearman and the share of false negatives against the size of the queue"
        st.plotly_chart(queue_figure(points), config=CONFIG, key="queue", alt=alt)
        st.caption(
            "Bars: standard deviation over seeds. A longer queue gives more negatives, and more of them are false: "
            "they mean the same as the anchor (graded 4 and up)."
        )


def _rows(plain: Plain) -> None:
    differences = {
        one["row"]: one["estimate"]
        for one in plain["differences"]
        if one["split"] == "test" and one["reference"] == plain["baseline"]
    }
    rows = []
    for row in plain["rows"]:
        key = row["row"]["key"]
        line = {"system": key, "seeds": len(row["seeds"])}
        for split in ("dev", "test"):
            estimate = row["spearman"].get(split)
            line[f"Spearman, {split}"] = _spread(None if estimate is None else estimate["value"], row["std"].get(split))
        line[f"difference to {plain['baseline']}, test [95 %]"] = _points(differences.get(key))
        line["mean unrelated cosine, test"] = _spread(
            row["means"]["test"].get("mean_unrelated_cosine"), row["stds"]["test"].get("mean_unrelated_cosine"), 2
        )
        for rate in ("hard_negative_rate", "false_negative_rate", "filter_precision") if row["rates"] else ():
            value = row["rates"].get(rate)
            line[rate.replace("_", " ")] = "–" if value is None else f"{100 * value:.2f} %"
        rows.append(line)
    with st.expander("All systems of this study"):
        st.dataframe(pd.DataFrame(rows).fillna("–"), hide_index=True, alt="Systems of the study with their Spearman")


def _points(estimate: Plain | None) -> str:
    if estimate is None or estimate["value"] is None:
        return "–"
    text = signed(estimate["value"], 2)
    if estimate["interval"] is not None:
        low, high = (signed(bound, 2) for bound in estimate["interval"])
        text += f" [{low}, {high}]"
    return text


def _spread(mean: float | None, std: float | None, decimals: int = 1) -> str:
    if mean is None:
        return "–"
    return format_number(mean, decimals) + ("" if std is None else f" ± {format_number(std, decimals)}")
