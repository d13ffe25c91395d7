"""The sidebar's third item: train an encoder on the chosen data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import streamlit as st

from anticollapse import runs
from anticollapse.data import PairSet
from anticollapse.encoding import EncoderInfo, is_trained, list_encoders
from anticollapse.errors import AntiCollapseError
from anticollapse.runs.split import hold_out
from anticollapse.training import TrainingOptions, Variant, variants
from pages.common import fields, fragments, links, training, work
from pages.common.state import escape

FIRST = ("sbert", "simcse")
"""What is offered first, where the data allows it."""
MAIN = ("steps", "epochs", "batch_size", "seed")
Named = Callable[[str, str], PairSet]


def draw(pairs: PairSet | None, data: str | None, named: Named) -> None:
    """Draw the form in the sidebar.

    Args:
        pairs: The chosen pairs.
        data: The named set they are from, or None for an upload.
        named: Gives a split of a named set.
    """
    st.subheader("Fine-tune", anchor=False)
    if pairs is None:
        st.caption("Choose sentence pairs above first.")
        return
    fragments.draw(_form, None, pairs, data, named)


def _form(pairs: PairSet, data: str | None, named: Named) -> None:
    """Drawn as a fragment: to change a field runs neither the page nor the rest of the sidebar again."""
    try:
        train, dev = _sets(pairs, data, named)
    except AntiCollapseError as error:
        st.caption(escape(str(error)))
        return
    variant = _choose_variant(train)
    if variant is None:
        return
    backbone = _choose_backbone()
    values, options = _choose_values(variant, train)
    st.caption(_facts(variant, train, dev))
    try:
        chosen, checked = variant.with_parameters(values), TrainingOptions(**options)
    except AntiCollapseError as error:
        st.error(escape(str(error)))
        return
    _estimate(chosen, backbone, train, dev, checked)
    name = st.text_input(
        "Name",
        key="ft_name",
        max_chars=80,
        placeholder=f"{chosen.id} from {training.label(backbone)}",
        help="What the encoder will be called here. You may leave it empty.",
        persist_state="session",
    )
    if st.button("Start", type="primary", icon=":material/play_arrow:", width="stretch", key="ft_start"):
        _start(chosen, backbone, train, dev, checked, name)
    if error_text := st.session_state.get("_ft_error", ""):
        st.error(escape(error_text))


def _sets(pairs: PairSet, data: str | None, named: Named) -> tuple[PairSet, PairSet | None]:
    """What is trained on, and what the best step is chosen on."""
    if data is not None:
        return named(data, "train"), named(data, "dev")
    key = ("held out", pairs.digest)
    found = work.results().get(key)
    if found is None:
        found = hold_out(pairs)
        work.results().put(key, found)
    return found


def _facts(variant: Variant, train: PairSet, dev: PairSet | None) -> str:
    n, what = (train.n, "pairs") if variant.supervised is not None else (len(train.sentences), "sentences")
    text = f"Trains on {n:,} {what} of {escape(train.name)}. "
    if dev is None:
        return text + "There are too few scored pairs to choose the best step by, so the last one is kept."
    return text + f"The best step is chosen on {dev.n:,} other pairs."


def _choose_variant(train: PairSet) -> Variant | None:
    known = {name: variant for name, variant in variants().items() if variant.trains}
    obstacles = {name: runs.needs(name, train) for name in known}
    allowed = [name for name in known if not obstacles[name]]
    if not allowed:
        st.caption("No variant can be trained on this data.")
        return None
    first = next((name for name in FIRST if name in allowed), allowed[0])
    if st.session_state.get("ft_variant") not in {None, *allowed}:
        st.session_state.pop("ft_variant")
    name = st.selectbox(
        "Variant", allowed, index=allowed.index(first), key="ft_variant", help="How the encoder is trained."
    )
    variant = known[name]
    st.caption(escape(variant.summary) + (f" [Paper]({variant.paper})" if variant.paper else ""))
    if variant.gives == "pair scores":
        st.caption("It gives a scorer of pairs: its vectors alone are not what was trained for.")
    for reason in dict.fromkeys(obstacles[name] for name in known if obstacles[name]):
        names = ", ".join(name for name in known if obstacles[name] == reason)
        st.caption(f"Not with this data: {names}. {reason}.")
    return variant


def _choose_backbone() -> str:
    running = {run.id for run in training.all_runs() if not run.has_ended}
    found = [info for info in list_encoders() if info.name not in running]
    shown = {name.partition("+")[0] for name in st.session_state.get("encoders", ())}

    def rank(info: EncoderInfo) -> tuple[bool, bool, bool]:
        # Where nothing was trained yet comes first, as a cure of a cure is not what most people start with; of these
        # what the page shows, which is of the language of the data.
        return info.kind == "trained", is_trained(info.folder), info.name not in shown

    names = [info.name for info in sorted(found, key=rank)]
    if names and not st.session_state.get("_ft_backbone_chosen"):
        st.session_state["ft_backbone"] = names[0]
    return st.selectbox(
        "Backbone",
        names,
        key="ft_backbone",
        on_change=links.was_chosen,
        args=("ft_backbone",),
        format_func=training.label,
        help="The encoder to start from: one of this machine, or a Hub name such as organisation/model.",
        accept_new_options=True,
    )


def _choose_values(variant: Variant, train: PairSet) -> tuple[dict[str, Any], dict[str, Any]]:
    """The variant's parameters and the training's options."""
    general = training.options()
    steps, _ = runs.steps_of(variant, TrainingOptions(), train)
    key = f"ft_{variant.id}"
    left, right = st.columns(2)
    chosen: dict[str, Any] = {}
    with right:  # first: how many steps a pass over the data has depends on it
        batch = next(p for p in general if p.name == "batch_size")
        batch = dataclasses.replace(batch, default=variant.defaults.batch_size, minimum=1, help=_batch_help(variant))
        chosen |= fields.draw([batch], key)
    one_pass, _ = runs.steps_of(variant, TrainingOptions(epochs=1, batch_size=chosen["batch_size"]), train)
    with left:
        chosen["steps"] = st.number_input(
            "Steps", 1, 1_000_000, steps, step=10, key=f"{key}_{train.digest[:8]}_steps", persist_state="session",
            help=f"Batches the encoder learns from. With this batch size, {one_pass:,} are one pass over the data.",
        )  # fmt: skip
    with st.expander("Seed and parameters"):
        chosen |= fields.draw([p for p in general if p.name == "seed"], key)
        values = fields.draw(variant.parameters, key)
        st.caption("How it is trained")
        chosen |= fields.draw([p for p in general if p.name not in MAIN], key)
    return values, chosen


def _batch_help(variant: Variant) -> str:
    return ("pairs" if variant.supervised is not None else "sentences") + " a step"


def _estimate(variant: Variant, backbone: str, train: PairSet, dev: PairSet | None, options: TrainingOptions) -> None:
    speed = (options.batch_size, options.accumulation, options.precision, options.threads)
    evaluated = "" if dev is None else dev.digest
    key = (variant.id, tuple(variant.values.items()), backbone, train.digest, evaluated, *speed)
    arguments = (variant, backbone, train)
    future = training.measured(key)
    error = future.exception() if future is not None and future.done() else None
    if future is None or error is not None:
        st.button(
            "Estimate the time",
            icon=":material/timer:",
            key="ft_estimate",
            width="stretch",
            help="Trains a few steps aside and measures them. Takes some seconds.",
            on_click=lambda: training.measure(key, *arguments, dev=dev, options=options, confined=True),
        )
    if error is not None:
        st.caption(f"No estimate: {escape(str(error))}")
    elif future is not None and not future.done():
        fragments.draw(_wait, 1.0, key)
    elif future is not None:
        measured = future.result()
        steps, looks = runs.steps_of(variant, options, train)
        one = f"{measured.step:.2f} s" if measured.step >= 0.1 else f"{measured.step * 1000:.0f} ms"
        plural = "thread" if measured.threads == 1 else "threads"
        st.caption(
            f"About **{work.duration(measured.seconds(steps, looks))}** for {steps:,} steps: {one} a step was measured "
            f"with {measured.threads} {plural}. It may end earlier."
        )


def _wait(key: object) -> None:
    future = training.measured(key)
    if future is not None and future.done():
        st.rerun()
    st.caption("Measuring a few steps …")


def _start(
    variant: Variant, backbone: str, train: PairSet, dev: PairSet | None, options: TrainingOptions, name: str
) -> None:
    try:
        run = runs.start(variant, backbone, train, dev=dev, options=options, name=name, confined=True)
    except AntiCollapseError as error:
        st.session_state["_ft_error"] = str(error)
        return
    st.session_state["_ft_error"] = ""
    training.show(run.id)
    training.all_runs(fresh=True)
    st.rerun()
