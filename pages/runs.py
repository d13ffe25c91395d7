"""What was trained: every run with its curves, parameters and log; resume, duplicate, delete, download."""

from __future__ import annotations

import tempfile
import time
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import pandas as pd
import streamlit as st

from anticollapse import runs
from anticollapse.errors import AntiCollapseError, OptionError
from anticollapse.figures import runs as figures
from anticollapse.figures.style import CONFIG
from anticollapse.runs import Run
from anticollapse.runs.store import RESUMABLE, size_of
from anticollapse.training import Variant, get_variant
from pages.common import fields, fragments, state, strip, training, work

SHOWN_MEASURES = {
    "dev_spearman": ("dev Spearman × 100", ".1f"),
    "mean_unrelated_cosine": ("mean cosine of unrelated sentences", ".2f"),
    "effective_rank": ("effective rank", ".0f"),
    "std_sqrt_d": ("std × √d", ".2f"),
}


def main() -> None:
    state.current()
    found = training.all_runs()
    _finding(found)
    if not found:
        return
    chosen = _table(found)
    _detail(chosen.id, f"{_best(chosen)}", live=not chosen.has_ended)


def _finding(found: list[Run]) -> None:
    """One sentence that states what the runs gave."""
    if not found:
        st.title("Nothing was trained yet", anchor=False)
        st.info(
            "Choose a variant under Fine-tune in the sidebar and press Start. The training goes on when you close "
            "this page, and everything about it will be found here.",
            icon=":material/model_training:",
        )
        return
    measured = [run for run in found if run.request.dev and _best(run) is not None and _start(run) is not None]
    if not measured:
        many = f"{len(found):,} runs, none of them measured yet"
        st.title("1 run, not measured yet" if len(found) == 1 else many, anchor=False)
        return
    # Spearman on other pairs is another number: the best is one of those that were measured as the newest was.
    digest = (measured[0].request.dev or {})["digest"]
    alike = [run for run in measured if (run.request.dev or {})["digest"] == digest]
    run = max(alike, key=lambda run: _best(run) or 0.0)
    gain = (_best(run) or 0.0) - (_start(run) or 0.0)
    backbone = state.escape(training.label(run.request.backbone))
    title = f"Best so far: {state.escape(run.name)}, {gain:+.1f} points of Spearman over {backbone}"
    st.title(title.replace("-", "−") if gain < 0 else title, anchor=False)
    others = len(measured) - len(alike)
    left_out = f" Runs measured on other pairs ({others:,}) cannot be compared with it." if others else ""
    st.caption(
        "Points are Spearman × 100 on the pairs that the best step was chosen on "
        f"({state.escape(str((run.request.dev or {})['name']))}), so they flatter a little. Show the run against its "
        f"backbone on pairs that neither has seen before you trust them.{left_out}"
    )


def _best(run: Run) -> float | None:
    progress = run.progress
    found = progress.get("dev_spearman_best", progress.get("best_dev_spearman"))
    return None if found is None else float(found)


def _start(run: Run) -> float | None:
    found = run.progress.get("dev_spearman_before")
    return None if found is None else float(found)


def _table(found: list[Run]) -> Run:
    """The table of runs; gives the chosen one."""
    by_id = {run.id: run for run in found}
    first = next((run for run in found if run.state == "running"), found[0])
    wanted = st.query_params.get("run", "")
    rows = [_row(run) for run in found]
    number = st.column_config.NumberColumn
    # A tick is a row number: with other runs it is another table, else the tick would pass to another run.
    marker = zlib.crc32(f"{list(by_id)} {st.session_state.get('_runs_table')}".encode())
    event = st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        key=f"runs_table_{marker}",
        on_select="rerun",
        selection_mode="single-row",
        height=min(38 + 35 * len(rows), 320),
        alt="All runs with their state and measures",
        placeholder="–",
        column_config={
            "run": st.column_config.TextColumn("run", width=190),
            "state": st.column_config.TextColumn("state", width=70),
            "Spearman": number("Spearman", format="%.1f", help="× 100, on the dev pairs, of the encoder that is kept"),
            "gain": number("gain", format="%+.1f", width=60, help="over the backbone, in points"),
            "cosine": number("unrelated", format="%.2f", help="mean cosine of unrelated sentences, −1 to 1"),
            "started": st.column_config.DatetimeColumn("started", format="MMM D, HH:mm"),
        },
    )
    ticked = event["selection"]["rows"]
    if ticked and ticked[0] < len(found):
        chosen = found[ticked[0]]
        st.session_state["_run_shown"] = chosen.id
    else:
        chosen = by_id.get(wanted) or by_id.get(st.session_state.get("_run_shown", "")) or first
        st.caption("Tick a row to see that run below.")
    if st.query_params.get("run") != chosen.id:
        st.query_params["run"] = chosen.id
    return chosen


def _row(run: Run) -> dict[str, Any]:
    progress, start, best = run.progress, _start(run), _best(run)
    cosine = progress.get("mean_unrelated_cosine_best", progress.get("mean_unrelated_cosine"))
    done = f"{progress.get('step', 0):,} of {progress['steps']:,}" if progress.get("steps") else "–"
    seconds = progress.get("seconds")
    return {
        "run": run.name,
        "state": run.state,
        "Spearman": best,
        "gain": None if best is None or start is None else best - start,
        "cosine": cosine,
        "steps": done,
        "data": run.request.data["name"],
        "started": None if run.started is None else pd.Timestamp(run.started, unit="s", tz="UTC"),
        "took": "–" if seconds is None else work.duration(float(seconds)),
    }


def _detail(run_id: str, best: str, *, live: bool) -> None:
    fragments.draw(_draw_detail, 2.0 if live else None, run_id, best)


def _draw_detail(run_id: str, best: str) -> None:
    """The chosen run; ``best`` is its Spearman in the title and the table above."""
    run = next((run for run in training.all_runs() if run.id == run_id), None)
    if st.session_state.pop("_runs_changed", False) or run is None:
        st.rerun()  # sidebar, strip and table have to know too
    if f"{_best(run)}" != best:
        st.rerun()  # a better step was found: title and table have to say so
    st.subheader(state.escape(run.name), anchor=False)
    st.markdown(_state_line(run))
    events = runs.read_metrics(run.folder)
    last = next(reversed(figures.evaluations(events)), {})
    if alarm := last.get("alarm"):
        st.warning(state.escape(f"Step {last['step']:,}: {alarm}"), icon=":material/warning:")
    _actions(run)
    _curves(run, events)
    names = ["What was asked for", "Log"]
    asked, log = st.tabs(names, default=names[run.state in {"failed", "lost"}], key=f"tabs_{run.id}")
    with asked:
        _parameters(run)
    with log:
        text = runs.log_tail(run.folder, 100)
        st.code(text or "Nothing was said yet.", language=None, wrap_lines=True, height=380)


def _state_line(run: Run) -> str:
    if run.state == "running":
        return "Running; the line at the top says how far it is."
    if run.state == "queued":
        return "Waiting for its turn: first come, first served."
    return strip.ended_line(run).partition(" · ")[2]


def _actions(run: Run) -> None:
    with st.container(horizontal=True, key=f"actions_{run.id}"):
        if run.state in {"running", "queued"}:
            label = "Stop" if run.state == "running" else "Take out of the queue"
            st.button(
                label if not run.stop_asked else "Stopping …",
                key="run_stop",
                icon=":material/stop:",
                disabled=run.stop_asked,
                on_click=_do,
                args=(training.stop, run.id),
            )
        usable = run.has_model and run.has_ended and run.is_readable
        if usable:
            strip.show_button(run, "run_show")
        if run.state in RESUMABLE and run.is_readable:
            st.button(
                "Resume", key="run_resume", icon=":material/play_arrow:", on_click=_do, args=(runs.resume, run.id),
                help="Goes on from the last checkpoint, with the same data and parameters.",
            )  # fmt: skip
        if usable:
            st.download_button(
                "Download",
                lambda: _zip(run),
                f"{run.request.variant}-{run.id[:8]}.zip",
                "application/zip",
                key="run_download",
                icon=":material/download:",
                on_click="ignore",
                help=_download_help(run),
            )
        if run.is_readable:
            with st.popover("Duplicate", icon=":material/content_copy:", width="content"):
                _duplicate(run)
        if run.state != "running":
            with st.popover("Delete", icon=":material/delete:", width="content"):
                _deletion(run)
    if error := st.session_state.pop("_run_error", ""):
        st.error(state.escape(error), icon=":material/error:")


def _deletion(run: Run) -> None:
    if others := runs.dependants(run.id):
        names = ", ".join(state.escape(one.name) for one in others)
        st.markdown(f"It cannot be deleted while others start from its encoder and are not done: {names}.")
        return
    st.markdown(
        f"This deletes **{state.escape(run.name)}** with its encoder, curves and log "
        f"({size_of(run.folder) / 2**20:,.0f} MiB). There is no way back."
    )
    st.button("Delete for good", type="primary", key="run_delete", on_click=_do, args=(_delete, run.id))


def _download_help(run: Run) -> str:
    if runs.gives_pair_scores(run):
        return (
            "A zip of a folder with the encoder (model) and what scores a pair (heads): load_pair_scorer(…) of "
            "anticollapse.training loads it."
        )
    return "A zip of one folder that SentenceTransformer(…) loads."


def _variant(run: Run) -> Variant | None:
    """What it trains; None where this version does not know it."""
    try:
        return get_variant(run.request.variant)
    except OptionError:
        return None


def _do(action: Callable[[str], object], run_id: str) -> None:
    """Do something to a run; what goes wrong is a message."""
    try:
        action(run_id)
    except AntiCollapseError as error:
        st.session_state["_run_error"] = str(error)
    training.all_runs(fresh=True)
    st.session_state["_runs_changed"] = True


def _delete(run_id: str) -> None:
    runs.delete(run_id)
    st.session_state.pop("_run_shown", None)
    chosen = st.session_state.get("encoders", [])
    st.session_state["encoders"] = [name for name in chosen if name.partition("+")[0] != run_id]


def _zip(run: Run) -> BinaryIO:
    """A file on the disk that has no name any more: an encoder in memory twice may be more than there is."""
    with tempfile.NamedTemporaryFile(suffix=".zip") as made:
        runs.write_zip(run, made)
        made.flush()
        return open(made.name, "rb")  # noqa: PTH123  Streamlit reads it and lets it go


def _duplicate(run: Run) -> None:
    """A form with the old run's values."""
    request = run.request
    variant = _variant(run)
    if variant is None:
        st.markdown(f"This version knows no variant called {state.escape(request.variant)}.")
        return
    st.markdown(
        f"A new run on the same pairs ({state.escape(str(request.data['name']))}, {request.data['n']:,} rows) from "
        f"{state.escape(training.label(request.backbone))}. Change what you like."
    )
    with st.form(f"duplicate_{run.id}", border=False):
        name = st.text_input("Name", run.name, max_chars=80)
        options = fields.draw(training.options(), f"dup_{run.id}", request.options)
        values = fields.draw(variant.parameters, f"dup_{run.id}", request.parameters)
        if not st.form_submit_button("Start", type="primary", icon=":material/play_arrow:"):
            return
    try:
        new = runs.duplicate(run.id, name=name, parameters=values, options=options)
    except AntiCollapseError as error:
        st.error(state.escape(str(error)), icon=":material/error:")
        return
    training.all_runs(fresh=True)
    training.show(new.id)
    st.rerun()


def _curves(run: Run, events: list[dict[str, Any]]) -> None:
    looks = figures.evaluations(events)
    if not looks:
        st.caption("There are no curves yet: they begin with the first evaluation.")
        return
    backbone = training.label(run.request.backbone)
    st.plotly_chart(
        figures.curves(events, backbone=backbone, revision=run.id),
        config=CONFIG,
        key=f"curves_{run.id}",
        alt="Loss and measures over the steps of the run, with the backbone's values dashed",
    )
    st.caption(
        "Dashed: the backbone. Ringed: the step whose encoder is kept. A cure takes the mean cosine of unrelated "
        "sentences down and the directions in use up while the agreement with people rises."
    )
    with st.expander("The same as a table"):
        columns = {"step": "step", "loss": "loss", **{key: name for key, (name, _) in SHOWN_MEASURES.items()}}
        columns |= {"queue_fill": "queue filled (share)", "filtered_share": "negatives left out (share)"}
        table = pd.DataFrame([{name: look.get(key) for key, name in columns.items()} for look in looks])
        table = table.dropna(axis="columns", how="all")
        st.dataframe(table.style.format(precision=3), hide_index=True, alt="Measures at each evaluation")


def _parameters(run: Run) -> None:
    request, variant = run.request, _variant(run)
    dev = "none" if request.dev is None else f"{request.dev['name']}, {request.dev['n']:,} rows"
    rows: dict[str, object] = {
        "variant": request.variant if variant is None else variant.title,
        "backbone": training.label(request.backbone),
        "training data": f"{request.data['name']}, {request.data['n']:,} rows",
        "best step chosen on": dev,
        **{key.replace("_", " "): value for key, value in request.options.items()},
        **{key.replace("_", " "): value for key, value in request.parameters.items()},
        "threads": run.threads or "–",
        "created": time.strftime("%Y-%m-%d %H:%M", time.localtime(run.created)),
        "id": run.id,
        "folder": str(run.folder),
    }
    table = pd.DataFrame({"what": list(rows), "value": [str(value) for value in rows.values()]})
    st.dataframe(table, hide_index=True, height=380, alt="Request of the run")


main()
