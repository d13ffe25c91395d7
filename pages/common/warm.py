"""What a first map would wait for is compiled in the background, once a server."""

from __future__ import annotations

import logging
import threading
import time

import streamlit as st

logger = logging.getLogger(__name__)

WAIT = 8.0
"""Seconds after the start: the first page a person sees comes first."""


@st.cache_resource
def start() -> None:
    """Start compiling; the first caller's thread goes on at once."""
    threading.Thread(target=_run, daemon=True, name="warm-up").start()


def _run() -> None:
    time.sleep(WAIT)
    from anticollapse.measures.projection import warm_up

    try:
        warm_up()
    except Exception:  # a first map that waits is better than a server that reports a thread
        logger.exception("the warm-up of the map failed")
