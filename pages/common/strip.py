"""The strip above every page: how far the training is, and what came of the last one."""

from __future__ import annotations

import time
from collections.abc import Sequence

import streamlit as st

from anticollapse.encoding import checkpoint_root
from anticollapse.runs import Run
from pages.common import fragments, links, training, work
from pages.common.state import escape

BUSY, IDLE = 1.0, 3.0
"""Seconds between two looks, with and without something going on."""
RECENT = 12 * 3600.0
"""Seconds for which a new session is told of a run that has ended."""


def draw() -> None:
    """Draw the strip; where there is nothing to say it takes no room."""
    found = training.all_runs()
    st.session_state["_runs_seen"] = training.signature(found)
    busy = any(not run.has_ended for run in found)
    fragments.draw(_strip, BUSY if busy else IDLE)


def _strip() -> None:
    found = training.all_runs()
    if training.signature(found) != st.session_state.get("_runs_seen"):
        st.rerun()  # a run came, went, started or ended: sidebar and page have to know
    running = [run for run in found if run.state == "running"]
    waiting = sorted((run for run in found if run.state == "queued"), key=lambda run: run.ticket)
    for run in running:
        _running(run)
    if waiting:
        names = ", ".join(escape(run.name) for run in waiting[:3]) + (" …" if len(waiting) > 3 else "")
        verb = "is" if len(waiting) == 1 else "are"
        st.caption(f"{len(waiting)} {verb} waiting for a turn: {names}.")
    if why := training.held_up(found):
        st.warning(f"Nothing is started: {escape(why)}.", icon=":material/hard_drive:")
    if error := st.session_state.pop("_queue_error", ""):
        st.error(escape(error), icon=":material/error:")
    _ended(found)


def _running(run: Run) -> None:
    progress = run.progress
    step, steps = int(progress.get("step", 0)), int(progress.get("steps", 0))
    with st.container(horizontal=True, vertical_alignment="center", key=f"strip_{run.id}"):
        st.progress(min(step / steps, 1.0) if steps else 0.0, text=line(run))
        if run.stop_asked:
            st.button("Stopping …", disabled=True, key=f"strip_stopping_{run.id}")
        else:
            st.button(
                "Stop",
                key=f"strip_stop_{run.id}",
                icon=":material/stop:",
                on_click=training.attempt,
                args=(training.stop, run.id),
                help="The best encoder so far is kept, and the run can be resumed.",
            )
    if alarm := progress.get("alarm"):
        st.warning(escape(str(alarm)), icon=":material/warning:")


def line(run: Run) -> str:
    """A running training in one line of Markdown."""
    progress = run.progress
    silent = training.silence(run)
    silence = [f"no sign of life for {work.duration(silent)}"] if silent else []
    if not progress.get("steps"):
        return " · ".join([f"**{escape(run.name)}** · getting ready", *silence])
    backbone = escape(training.label(run.request.backbone))
    parts = [f"**{escape(run.name)}** · step {progress['step']:,} of {progress['steps']:,}"]
    if (loss := progress.get("loss")) is not None:
        parts.append(f"loss {loss:.3g}")
    now, start = (progress.get(key) for key in ("dev_spearman", "dev_spearman_before"))
    if now is not None:
        parts.append(f"dev Spearman {now:.1f}" + (f" ({backbone} {start:.1f})" if start is not None else ""))
    now, start = (progress.get(key) for key in ("mean_unrelated_cosine", "mean_unrelated_cosine_before"))
    if now is not None:
        parts.append(f"unrelated sentences score {now:.2f}" + (f" ({start:.2f})" if start is not None else ""))
    if (left := progress.get("seconds_left")) is not None:
        parts.append(f"about {work.duration(left)} left")
    return " · ".join(parts + silence)


def _ended(found: Sequence[Run]) -> None:
    """The run that ended last, until it is put away."""
    away = st.session_state.setdefault("_runs_away", set())
    last = max((run for run in found if run.has_ended and run.ended), key=lambda run: run.ended or 0.0, default=None)
    if last is None or last.id in away or not _is_recent(last):
        return
    # Sized to its content, the line takes a row of its own where there is no room for the buttons beside it.
    with st.container(horizontal=True, vertical_alignment="center", key=f"ended_{last.id}"):
        st.markdown(ended_line(last), width="content")
        if last.has_model:
            show_button(last, f"strip_show_{last.id}")
        if last.state != "done":
            _details_button(last)
        st.button(
            "Close", key=f"strip_close_{last.id}", icon=":material/close:", type="tertiary",
            on_click=away.add, args=(last.id,),
        )  # fmt: skip


def _is_recent(run: Run) -> bool:
    return time.time() - (run.ended or 0.0) < RECENT


def ended_line(run: Run) -> str:
    """What came of a run, in one line of Markdown."""
    colour = {"done": "green", "stopped": "gray"}.get(run.state, "red")
    start, best = (run.progress.get(key) for key in ("dev_spearman_before", "dev_spearman_best"))
    gain = f" Dev Spearman {start:.1f} → {best:.1f}." if start is not None and best is not None else ""
    return f"**{escape(run.name)}** · :{colour}[{run.state}] · {escape(run.reason)}{gain}"


def show_button(run: Run, key: str) -> None:
    """A button that shows a run's encoder against its backbone on the Collapse page."""
    if st.button("Show against its backbone", key=key, icon=":material/compress:", on_click=choose, args=(run,)):
        # Not in the callback: a button that is put away before it is drawn again never says that it was pressed.
        st.session_state.setdefault("_runs_away", set()).add(run.id)
        _go_to("pages/collapse.py")


def _details_button(run: Run) -> None:
    if st.button("Details", key=f"strip_details_{run.id}", icon=":material/model_training:"):
        training.show(run.id)
        _go_to("pages/runs.py")


def _go_to(page: str) -> None:
    """Switch the page; told nothing about the link, Streamlit refuses where a widget is bound to it."""
    st.switch_page(page, query_params={})


def choose(run: Run) -> None:
    """Choose the backbone and the run in the sidebar."""
    backbone = run.request.backbone
    inside = not backbone.startswith("/") or backbone.startswith(str(checkpoint_root()))
    st.session_state["encoders"] = [*([backbone] if inside else []), run.id]
    links.was_chosen("encoders")
