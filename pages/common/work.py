"""Work that pages ask for: cached by content, shown with progress and an estimate, and stoppable."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import streamlit as st

from anticollapse.cures import cure_encoder, split_name
from anticollapse.data import PairSet
from anticollapse.doctor import Report, examine
from anticollapse.encoding import EmbeddingCache, Encoder, is_downloaded, load_encoder, resolve_encoder
from anticollapse.errors import EncoderError

KEEP_ENCODERS = 24  # eight can be chosen, each cured one needs its base, and several people look at once
KEEP_RESULTS = 64
SHOW_AFTER = 0.4
"""Seconds before a progress line appears: quick work should not flicker."""


class Store:
    """The last results, shared by all sessions; values are never changed once they are in.

    Streamlit's own caches cannot hold work that reports progress from inside.

    Args:
        size: Most values.
        max_bytes: Most bytes of those whose size is told; the newest value stays in any case.
    """

    def __init__(self, size: int, max_bytes: int | None = None) -> None:
        self._size = size
        self._max_bytes = max_bytes
        self._items: OrderedDict[Hashable, Any] = OrderedDict()
        self._bytes: dict[Hashable, int] = {}
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Any:  # noqa: ANN401
        """The value, or None."""
        with self._lock:
            if key in self._items:
                self._items.move_to_end(key)
            return self._items.get(key)

    def put(self, key: Hashable, value: object, nbytes: int = 0) -> None:
        """Keep a value of that many bytes; those used longest ago leave."""
        with self._lock:
            self._items[key] = value
            self._items.move_to_end(key)
            self._bytes[key] = nbytes
            while len(self._items) > self._size or (len(self._items) > 1 and self._too_many_bytes()):
                oldest, _ = self._items.popitem(last=False)
                del self._bytes[oldest]

    def _too_many_bytes(self) -> bool:
        return self._max_bytes is not None and sum(self._bytes.values()) > self._max_bytes


@st.cache_resource
def encoders() -> Store:
    """Loaded encoders of all sessions."""
    return Store(KEEP_ENCODERS)


@st.cache_resource
def results() -> Store:
    """Reports, tables and figures' data of all sessions."""
    return Store(KEEP_RESULTS)


@st.cache_resource
def vectors() -> EmbeddingCache:
    """Sentence vectors on disk."""
    return EmbeddingCache()


def text_digest(sentences: Sequence[str]) -> str:
    """What identifies a text that a cure is fitted on."""
    return hashlib.sha256("\0".join(sentences).encode("utf-8", "surrogatepass")).hexdigest()


def open_encoder(name: str, fit_text: Callable[[], Sequence[str]]) -> Encoder:
    """An encoder for reading, shared between sessions; ``BASE+CURE`` is fitted on demand.

    Args:
        name: As the sidebar gives it: under the checkpoint root or on the Hub.
        fit_text: Unlabelled text for a cure.

    Raises:
        AntiCollapseError: It cannot be loaded, or there is no such cure.
    """
    base_name, cure = split_name(name)
    place = resolve_encoder(base_name, confined=True)
    base_key = (str(place), _stamp(place))
    base = encoders().get(base_key)
    if base is None:
        if isinstance(place, str) and not is_downloaded(place):
            _ask_for_download(place)
        with st.spinner(f"Loading {base_name}", show_time=True):
            base = load_encoder(base_name, confined=True)
        encoders().put(base_key, base)
    if not cure:
        return base
    text = list(fit_text())
    key = (*base_key, cure, text_digest(text))
    cured = encoders().get(key)
    if cured is None:
        with working(f"Fitting {name} on {len(text):,} sentences") as progress:
            cured = cure_encoder(base, cure, text, cache=vectors(), progress=progress)
        encoders().put(key, cured)
    return cured


def _ask_for_download(name: str) -> None:
    """A link may name any encoder of the Hub; fetching it is the reader's decision."""
    if st.session_state.get(f"_download_{name}"):
        return
    allow = st.button(
        f"Download {name} from the Hub", key=f"download_{name}", icon=":material/cloud_download:", help="May be large."
    )
    if not allow:
        raise EncoderError(
            f'"{name}" is not on this machine', remedy="Press the button to download it, or use a local encoder"
        )
    st.session_state[f"_download_{name}"] = True


def report(encoder: Encoder, pairs: PairSet) -> Report:
    """The diagnosis of an encoder on a set; at once when it was made before.

    Raises:
        AntiCollapseError: The encoder cannot be used on these sentences.
    """
    key = ("report", encoder.digest, pairs.digest)
    found = results().get(key)
    if found is None:
        what = f"Encoding {len(pairs.sentences):,} sentences with {encoder.name}"
        with working(what) as progress, st.spinner(f"Measuring {encoder.name} on {pairs.name}", show_time=True):
            found = examine(encoder, pairs, cache=vectors(), progress=progress)
        results().put(key, found)
    return found


@contextmanager
def working(what: str) -> Iterator[Callable[[int, int], None]]:
    """A line that says what is being done, how far it is and how long it will take, with a button to stop.

    Streamlit interrupts a script at its next call when a widget is used; the progress line is that call. What was
    encoded until then is on disk, so going on later starts there.

    Args:
        what: What is being done, without a full stop.

    Yields:
        A function to be called with (done, total).
    """
    if st.session_state.get("stopped") == what:
        st.info(f"Stopped: {what[0].lower()}{what[1:]}. What was finished is kept.")
        if not st.button("Go on", key=f"go_on_{what}"):
            st.stop()
        st.session_state.pop("stopped")
    place = st.empty()
    started, shown = time.monotonic(), 0.0

    def show(done: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - started < SHOW_AFTER or (shown and now - shown < 0.25 and done < total):
            return
        if not shown:
            with place.container(horizontal=True, vertical_alignment="center"):
                line.append(st.progress(0.0))
                st.button("Stop", key=f"stop_{what}", on_click=_stop, args=(what,))
        shown = now
        left = (now - started) * (total - done) / max(done, 1)
        line[0].progress(
            min(done / max(total, 1), 1.0), text=f"{what}: {done:,} of {total:,}, about {duration(left)} left"
        )

    line: list[Any] = []
    try:
        yield show
    finally:
        place.empty()


def duration(seconds: float) -> str:
    """A time a person can plan with."""
    if seconds < 90:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _stop(what: str) -> None:
    st.session_state["stopped"] = what


def _stamp(place: object) -> str:
    """Changes when a checkpoint of the same name is written again."""
    if not hasattr(place, "glob"):
        return ""
    files = sorted(place.rglob("*.safetensors")) + sorted(place.rglob("*.json"))
    return "/".join(f"{file.stat().st_mtime_ns}:{file.stat().st_size}" for file in files)
