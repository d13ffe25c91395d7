"""The sidebar: which pairs, which encoders; the same on every page, its state in the URL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import cast

import streamlit as st

from anticollapse.cures import CURES
from anticollapse.cures.text import fit_source
from anticollapse.data import (
    ColumnMap,
    OnBadRow,
    PairSet,
    Scale,
    load_pairs,
    mostly_chinese,
    peek_columns,
    read_pairs,
)
from anticollapse.encoding import list_encoders
from anticollapse.errors import AntiCollapseError
from pages.common import finetune, links, training, work
from pages.common.state import Workbench, escape

UPLOAD = "my file"
# The link carries what a widget shows, so options are called what the command line calls them.
DATA = {
    "demo": "1,200 English pairs written for this project.",
    "stsb": "STS Benchmark, English.",
    "stsb-zh": "STS Benchmark, translated into Chinese.",
    UPLOAD: "",
}
SPLITS = ["dev", "test", "train"]
TYPES = ["csv", "tsv", "txt", "xlsx", "jsonl", "json", "parquet"]
DEFAULT_ENCODERS = (("raw-mini", "cured-mini"), ("raw-mini", "raw-mini+centring"))
"""What is chosen at first: the first of these whose encoders are all there, else what is there of the last."""
CHINESE_ENCODERS = (("raw-mini-zh", "raw-mini-zh+whitening"), *DEFAULT_ENCODERS)
"""The same for Chinese, which the others cannot read."""
NOTHING = "(none)"
SCALES = ["recognise", "0-1", "0-5", "1-5", "0-100"]


def draw() -> None:
    """Draw the sidebar and leave a :class:`Workbench` for the page of this run."""
    with st.sidebar:
        pairs, fit_text, fit_name = _pairs()
        names = _encoders(pairs)
        for note in training.notes(names, pairs):
            st.caption(escape(note))
        data = st.session_state.get("data", UPLOAD)
        finetune.draw(pairs, None if data == UPLOAD else data, _named)
    st.session_state["_workbench"] = Workbench(pairs, tuple(names), fit_text, fit_name)


def _pairs() -> tuple[PairSet | None, Callable[[], Sequence[str]], str]:
    st.subheader("Sentence pairs")
    data = st.selectbox("Data", list(DATA), key="data", bind="query-params", label_visibility="collapsed")
    if data == UPLOAD:
        pairs = _upload()
        return pairs, *_text_for(pairs)
    split = st.segmented_control(
        "Split",
        SPLITS,
        default="dev",
        required=True,
        key="split",
        bind="query-params",
        help="Cures are fitted on the training sentences. Choose on development pairs; look at test pairs once.",
    )
    fit_name = f"the training sentences of {data}"
    try:
        pairs = _named(data, split or "dev")
    except AntiCollapseError as error:
        st.session_state["_data_error"] = str(error)
        return None, *_text_for(None)
    st.session_state.pop("_data_error", None)
    st.caption(DATA[data])
    _facts(pairs)
    if split == "train":
        st.caption("Cures are fitted on these very sentences, so they look better here than they are.")
    return pairs, _named_text(data), fit_name


def _text_for(pairs: PairSet | None) -> tuple[Callable[[], Sequence[str]], str]:
    """What cures are fitted on where a file is judged: other text of its language."""
    source = fit_source("" if pairs is None else pairs.name, () if pairs is None else pairs.sentences)
    if pairs is not None and source == pairs.name:
        return lambda: pairs.sentences, "the sentences of the file itself, as no other Chinese text is at hand"
    name = source.partition(":")[0]
    return _named_text(name), f"the training sentences of {name}"


def _upload() -> PairSet | None:
    file = st.file_uploader(
        "CSV, TSV, XLSX, JSONL, Parquet or one sentence a line",
        type=TYPES,
        key="upload",
        help="The file stays on this machine. Columns and score scale are recognised; you can correct them.",
    )
    if file is None:
        st.session_state["_data_error"] = ""
        return None
    content = file.getvalue()
    skip = st.toggle(
        "Leave out bad rows",
        key="skip_bad_rows",
        persist_state="session",
        help="Rows without a sentence or with a score that is no number are left out and listed instead.",
    )
    on_bad_row: OnBadRow = "skip" if skip else "error"
    digest = hashlib.sha256(content).hexdigest()
    st.session_state.pop("_data_error", None)
    columns, scale = _columns(content, digest, file.name)
    try:
        pairs = _read(content, digest, file.name, columns, scale, on_bad_row)
    except AntiCollapseError as error:
        st.session_state["_data_error"] = str(error)
        return None
    _facts(pairs)
    return pairs


def _columns(content: bytes, digest: str, name: str) -> tuple[ColumnMap | None, Scale | None]:
    """What the reader of the file corrects; None is left to be recognised. It is there also when reading fails."""
    key = ("columns", digest, name)
    found = work.results().get(key)
    if found is None:
        found = peek_columns(content, name=name)
        work.results().put(key, found)
    names, taken = list(found[0]), found[1]
    if not names:
        return None, None
    with st.expander("Columns and scale"):
        header = st.toggle(
            "The first row holds names", bool(taken.header), key=f"header_{digest[:12]}", persist_state="session"
        )
        options: list[int | str] = ["", *range(1, len(names) + 1)]

        def pick(label: str, before: str | int | None) -> int | str:
            chosen = st.selectbox(
                label,
                options,
                index=options.index(before) if before in options else 0,
                format_func=lambda number: names[int(number) - 1] if number else NOTHING,
                key=f"column_{label}_{digest[:12]}",
                persist_state="session",
            )
            return chosen if chosen is not None else ""

        first = pick("First sentence", taken.sentence1)
        second = pick("Second sentence", taken.sentence2)
        score = pick("Score", taken.score)
        scale = st.selectbox(
            "Scale of the scores", SCALES, key=f"scale_{digest[:12]}", persist_state="session", disabled=not score
        )
    stated: Scale | None = None if scale in {None, SCALES[0]} else cast("Scale", scale)
    same = (first, second, score, header) == (
        taken.sentence1 or "",
        taken.sentence2 or "",
        taken.score or "",
        bool(taken.header),
    )
    if same or not first:
        return None, stated
    return ColumnMap(sentence1=first, sentence2=second, score=score, split="", header=header), stated


def _encoders(pairs: PairSet | None) -> list[str]:
    st.subheader("Encoders")
    unfinished = {run.id for run in training.all_runs() if not run.has_ended}
    names = [info.name for info in list_encoders() if info.name not in unfinished]
    options = [option for name in names for option in (name, *(f"{name}+{cure}" for cure in CURES))]
    wishes = CHINESE_ENCODERS if pairs is not None and mostly_chinese(pairs.sentences) else DEFAULT_ENCODERS
    whole = (wanted for wanted in wishes if set(wanted) <= set(options))
    default = [name for name in next(whole, DEFAULT_ENCODERS[-1]) if name in options]
    links.restore("encoders", default)
    chosen = st.multiselect(
        "Encoders",
        options,
        key="encoders",
        on_change=links.was_chosen,
        args=("encoders",),
        format_func=training.label,
        accept_new_options=True,
        max_selections=8,
        placeholder="Choose, or type a Hub name",
        label_visibility="collapsed",
        help="Checkpoints on this machine, each also with a training-free cure. A name such as organisation/model is "
        "downloaded from the Hub, when you are online and say so.",
    )
    links.keep("encoders", chosen, default)
    return list(dict.fromkeys(chosen))


def _facts(pairs: PairSet) -> None:
    """What was read and what was made of it."""
    kind = "pairs" if pairs.has_pairs else "sentences"
    labels = "" if pairs.labelled or not pairs.has_pairs else ", without labels"
    st.caption(f"{pairs.n:,} {kind}{labels}, {len(pairs.sentences):,} different sentences.")
    if pairs.skipped:
        st.caption(f"{len(pairs.skipped):,} bad row{'' if len(pairs.skipped) == 1 else 's'} left out.")
        bad = [{"row": row.row, "column": row.column, "reason": row.reason} for row in pairs.skipped]
        st.dataframe(bad, hide_index=True, height=180, alt="Rows that were left out and why")
    if pairs.notes:
        with st.expander("How the file was read"):
            for note in pairs.notes:
                st.markdown(escape(note))


def _named(data: str, split: str) -> PairSet:
    key = ("pairs", data, split)
    found = work.results().get(key)
    if found is None:
        with work.working(f"Fetching {data}") as progress:
            found = load_pairs(data, split=split, progress=lambda _, done, total: progress(done, max(total, done)))
        work.results().put(key, found)
    return found


def _read(
    content: bytes, digest: str, name: str, columns: ColumnMap | None, scale: Scale | None, on_bad_row: OnBadRow
) -> PairSet:
    key = ("file", digest, name, columns, scale, on_bad_row)
    found = work.results().get(key)
    if found is None:
        found = read_pairs(content, name=name, columns=columns, scale=scale, on_bad_row=on_bad_row)
        work.results().put(key, found)
    return found


def _named_text(data: str) -> Callable[[], Sequence[str]]:
    return lambda: _named(data, "train").sentences
